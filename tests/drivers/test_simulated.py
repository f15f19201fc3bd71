"""Simulated meters and gateways: what they refuse, and how they misbehave."""

from __future__ import annotations

import pytest

from drivers.meter_model import load_model
from drivers.modbus.framing import Answer, Exchange, InvalidAnswer, RtuExchange, TcpExchange
from drivers.modbus.pymodbus_frames import DeviceException, Registers
from drivers.read_plan import ReadRange
from drivers.simulated import Fault, GatewayBehavior, SimulatedBus, SimulatedMeter

CURRENTS = ReadRange(4, 6, 6)
VALUES = Registers((0x3F80, 0, 0x4000, 0, 0x4040, 0))


def request(
    meter: SimulatedMeter, wanted: ReadRange = CURRENTS, *, rtu: bool = True, unit: int = 1
) -> Answer | None:
    exchange: Exchange
    if rtu:
        exchange = RtuExchange(unit, wanted.function, wanted.address, wanted.count)
    else:
        exchange = TcpExchange(unit, wanted.function, wanted.address, wanted.count, 1)
    return exchange.feed(SimulatedBus(meter, rtu=rtu).feed(exchange.request))


@pytest.fixture
def meter() -> SimulatedMeter:
    meter = SimulatedMeter(load_model("eastron-sdm630-v2"))
    meter.set_values({"current_l1": 1.0, "current_l2": 2.0, "current_l3": 3.0})
    return meter


@pytest.mark.parametrize("rtu", [True, False])
def test_simulated_meter_answers_and_refuses(meter: SimulatedMeter, rtu: bool) -> None:
    assert request(meter, rtu=rtu) == VALUES
    assert request(meter, ReadRange(3, 6, 6), rtu=rtu) == DeviceException(1)
    assert request(meter, ReadRange(4, 9000, 2), rtu=rtu) == DeviceException(2)
    assert request(meter, rtu=rtu, unit=2) is None
    meter.max_registers = 5
    assert request(meter, rtu=rtu) == DeviceException(3)


def test_simulated_meter_without_filled_gaps_refuses_them() -> None:
    meter = SimulatedMeter(load_model("eastron-sdm630-v2"), filled=False)
    volts = (0x4366, 0)  # 230.0
    assert request(meter, ReadRange(4, 0, 18)) == Registers((*volts * 3, *(0,) * 12))
    assert request(meter, ReadRange(4, 0, 20)) == DeviceException(2)


def test_simulated_meter_without_load_shows_healthy_grid() -> None:
    meter = SimulatedMeter(load_model("eastron-sdm630-v2"))
    assert request(meter, ReadRange(4, 70, 2)) == Registers((0x4248, 0)), "50 Hz"
    assert request(meter, CURRENTS) == Registers((0,) * 6)


@pytest.mark.parametrize(
    ("fault", "on_serial"),
    [
        (Fault.SILENT, None),
        (Fault.EXCEPTION, DeviceException(4)),
        (Fault.BAD_CRC, None),
        (Fault.HALF_FRAME, None),
        (Fault.FOREIGN_UNIT, None),
        (Fault.NOT_A_NUMBER, Registers((0x7FFF,) * 6)),
        (Fault.SWAPPED_WORDS, Registers((0, 0x3F80, 0, 0x4000, 0, 0x4040))),
        (Fault.NOISE, VALUES),
        (Fault.ECHO, VALUES),
    ],
)
def test_simulated_meter_with_fault_misbehaves(
    meter: SimulatedMeter, fault: Fault, on_serial: Answer | None
) -> None:
    meter.fault = fault
    assert request(meter) == on_serial
    assert not isinstance(request(meter), InvalidAnswer)
    meter.fault = None
    assert request(meter) == VALUES


@pytest.mark.parametrize("rtu", [True, False])
def test_simulated_bus_takes_requests_in_pieces(meter: SimulatedMeter, rtu: bool) -> None:
    exchange = RtuExchange(1, 4, 6, 6) if rtu else TcpExchange(1, 4, 6, 6, 1)
    bus = SimulatedBus(meter, rtu=rtu)
    answer = bus.feed(exchange.request)
    assert b"".join(bus.feed(bytes([byte])) for byte in exchange.request) == answer
    assert bus.feed(exchange.request * 2) == answer * 2


def test_simulated_bus_after_broken_request_answers_again(meter: SimulatedMeter) -> None:
    bus = SimulatedBus(meter, rtu=True)
    assert bus.feed(b"\x01\x04\x00\x06\x00\x06\x00\x00") == b""
    assert bus.feed(RtuExchange(1, 4, 6, 6).request) != b""


def test_gateway_answers_long_reads_and_scripted_codes(meter: SimulatedMeter) -> None:
    gateway = GatewayBehavior(max_registers=4, exceptions=[6])
    bus = SimulatedBus(meter, rtu=False)
    bus.override = gateway.intercept

    def ask(count: int) -> Answer | None:
        exchange = TcpExchange(1, 4, 6, count, 1)
        return exchange.feed(bus.feed(exchange.request))

    assert ask(4) == DeviceException(6)
    assert isinstance(ask(4), Registers)
    assert ask(6) == DeviceException(3)
    assert gateway.requests == 3
