"""The simulated meter: what it refuses, and how it misbehaves when told to."""

from __future__ import annotations

import pytest

from drivers.decoding import Block
from drivers.modbus.framing import (
    Answer,
    DeviceException,
    Exchange,
    Noise,
    Registers,
    RtuExchange,
    TcpExchange,
)
from drivers.registers import load_map
from drivers.simulated import Fault, SimulatedLine, SimulatedMeter

CURRENTS = Block(4, 6, 6)


def ask(meter: SimulatedMeter, block: Block = CURRENTS, *, rtu: bool = True, unit: int = 1) -> Answer | None:
    exchange: Exchange
    if rtu:
        exchange = RtuExchange(unit, block.function, block.address, block.count)
    else:
        exchange = TcpExchange(unit, block.function, block.address, block.count, 1)
    return exchange.feed(SimulatedLine(meter, rtu=rtu).feed(exchange.request))


@pytest.fixture
def meter() -> SimulatedMeter:
    meter = SimulatedMeter(load_map("eastron-sdm630-v2"))
    meter.set({"current_l1": 1.0, "current_l2": 2.0, "current_l3": 3.0})
    return meter


@pytest.mark.parametrize("rtu", [True, False])
def test_it_answers_and_refuses_as_the_standard_has_it(meter: SimulatedMeter, rtu: bool) -> None:
    assert ask(meter, rtu=rtu) == Registers((0x3F80, 0, 0x4000, 0, 0x4040, 0))
    assert ask(meter, Block(3, 6, 6), rtu=rtu) == DeviceException(1)
    assert ask(meter, Block(4, 9000, 2), rtu=rtu) == DeviceException(2)
    assert ask(meter, rtu=rtu, unit=2) is None


def test_gaps_are_refused_where_they_are_not_filled() -> None:
    meter = SimulatedMeter(load_map("eastron-sdm630-v2"), filled=False)
    assert ask(meter, Block(4, 0, 18)) == Registers((0,) * 18)
    assert ask(meter, Block(4, 0, 20)) == DeviceException(2)


@pytest.mark.parametrize(
    ("fault", "on_serial"),
    [
        (Fault.SILENT, None),
        (Fault.EXCEPTION, DeviceException(4)),
        (Fault.BAD_CRC, None),
        (Fault.HALF_FRAME, None),
        (Fault.FOREIGN_UNIT, None),
        (Fault.NOT_A_NUMBER, Registers((0x7FFF,) * 6)),
    ],
)
def test_it_misbehaves_as_told_and_recovers(
    meter: SimulatedMeter, fault: Fault, on_serial: Answer | None
) -> None:
    meter.fault = fault
    assert ask(meter) == on_serial
    assert not isinstance(ask(meter), Noise)
    meter.fault = None
    assert isinstance(ask(meter), Registers)


@pytest.mark.parametrize("rtu", [True, False])
def test_requests_may_come_in_pieces_and_together(meter: SimulatedMeter, rtu: bool) -> None:
    exchange = RtuExchange(1, 4, 6, 6) if rtu else TcpExchange(1, 4, 6, 6, 1)
    line = SimulatedLine(meter, rtu=rtu)
    (one,) = {line.feed(exchange.request)}
    assert b"".join(line.feed(bytes([byte])) for byte in exchange.request) == one
    assert line.feed(exchange.request * 2) == one * 2


def test_after_a_broken_request_it_listens_again(meter: SimulatedMeter) -> None:
    line = SimulatedLine(meter, rtu=True)
    assert line.feed(b"\x01\x04\x00\x06\x00\x06\x00\x00") == b""
    assert line.feed(RtuExchange(1, 4, 6, 6).request) != b""
