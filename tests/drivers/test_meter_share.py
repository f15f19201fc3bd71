"""Sharing of a meter: another energy manager reads its registers from the last reading."""

from __future__ import annotations

import logging
import shutil

import msgspec
import pytest
import trio

from drivers.meter_model import load_model
from drivers.meter_reader import MeterReader
from drivers.meter_service import run_meters
from drivers.meter_share import SharedRegisters, serve_share
from drivers.modbus.framing import Answer, TcpExchange
from drivers.modbus.pymodbus_frames import DeviceException, Registers
from drivers.modbus.tcp_bus import TcpBus
from drivers.read_plan import ReadRange, RegisterImage
from drivers.reading import MeterState
from drivers.settings import MeterSettings, ShareSettings
from drivers.simulated import SimulatedMeter, serve_tcp
from tests.bounds import HANG_S

SHARE = ShareSettings(port=0, host="127.0.0.1", unit=5, max_age_s=10.0)


def image() -> RegisterImage:
    registers = RegisterImage()
    registers.store(ReadRange(4, 6, 3), (11, 22, 33))
    return registers


def request(function: int, address: int, count: int, *, unit: int = 5, now: float = 100.0) -> Answer | None:
    exchange = TcpExchange(unit, function, address, count, 7)
    shared = SharedRegisters(SHARE, lambda: (image(), 95.0))
    return exchange.feed(shared.answer(exchange.request, now))


def test_meter_share_registers_of_last_reading_are_answered() -> None:
    assert request(4, 6, 3) == Registers((11, 22, 33))
    assert request(4, 7, 1) == Registers((22,))


def test_meter_share_register_not_read_is_illegal_address() -> None:
    assert request(4, 5, 2) == DeviceException(2)
    assert request(3, 6, 1) == DeviceException(2)


def test_meter_share_old_reading_and_other_unit_are_answered_as_by_gateway() -> None:
    assert request(4, 6, 1, now=105.1) == DeviceException(11)
    assert request(4, 6, 1, unit=9) == DeviceException(11)


def test_other_functions_are_refused() -> None:
    assert request(2, 6, 1) == DeviceException(1)
    write = bytes.fromhex("0007 0000 0006 05 06 0006 0001")
    assert SharedRegisters(SHARE, lambda: (image(), 95.0)).answer(write, 100.0)[7:] == b"\x86\x01"
    unknown = bytes.fromhex("0007 0000 0003 05 63 00")
    assert SharedRegisters(SHARE, lambda: (image(), 95.0)).answer(unknown, 100.0)[7:] == b"\xe3\x01"


async def test_meter_share_clients_beyond_limit_and_garbage_are_disconnected(nursery: trio.Nursery) -> None:
    settings = ShareSettings(port=0, host="127.0.0.1", max_clients=1)
    port = await nursery.start(serve_share, "grid", settings, lambda: (image(), trio.current_time()))
    first = await trio.open_tcp_stream("127.0.0.1", port)
    await first.send_all(TcpExchange(1, 4, 6, 3, 1).request)
    assert await first.receive_some()
    second = await trio.open_tcp_stream("127.0.0.1", port)
    with trio.fail_after(HANG_S):
        assert await second.receive_some() == b""
        await first.send_all(b"GET / HTTP/1.1\r\n\r\n")
        assert await first.receive_some() == b""
    nursery.cancel_scope.cancel()


async def test_meter_share_port_in_use_is_warning_only(
    nursery: trio.Nursery, caplog: pytest.LogCaptureFixture
) -> None:
    taken = await trio.open_tcp_listeners(0, host="127.0.0.1")
    settings = ShareSettings(port=taken[0].socket.getsockname()[1], host="127.0.0.1")
    assert await nursery.start(serve_share, "grid", settings, lambda: (image(), 0.0)) == 0
    assert "meter share failed meter=grid" in caplog.text
    for listener in taken:
        await listener.aclose()


@pytest.mark.parametrize("driver", ["eastron-sdm630-v2", "sunspec-203"])
async def test_another_manager_reads_meter_through_controller(nursery: trio.Nursery, driver: str) -> None:
    meter = SimulatedMeter(load_model(driver))
    meter.set_values({"current_l1": 10.0, "current_l2": 11.0, "current_l3": 12.0})
    port = await nursery.start(serve_tcp, meter)
    settings = MeterSettings(id="grid", driver=driver, transport="tcp", host="127.0.0.1", port=port)
    reader = MeterReader(settings, every_quantity=True)
    bus = TcpBus("127.0.0.1", port)
    await reader.read(bus)
    await bus.close()
    shared = await nursery.start(
        serve_share, "grid", ShareSettings(port=0, host="127.0.0.1"), reader.last_registers
    )
    other = MeterReader(msgspec.structs.replace(settings, id="other", port=shared))
    through = TcpBus("127.0.0.1", shared)
    reading = await other.read(through)
    await through.close()
    assert getattr(reading, "current_a", None) == pytest.approx((10.0, 11.0, 12.0))
    nursery.cancel_scope.cancel()


async def test_mbpoll_reads_shared_meter(nursery: trio.Nursery, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    meter = SimulatedMeter(load_model("eastron-sdm630-v2"))
    meter.set_values({"current_l1": 1.5, "current_l2": 20.25, "current_l3": -3.0})
    port = await nursery.start(serve_tcp, meter)
    free = await trio.open_tcp_listeners(0, host="127.0.0.1")
    shared = free[0].socket.getsockname()[1]
    await free[0].aclose()
    settings = MeterSettings(
        id="grid", driver="eastron-sdm630-v2", transport="tcp", host="127.0.0.1", port=port,
        share=(ShareSettings(port=shared, host="127.0.0.1"),),
    )  # fmt: skip
    read = trio.Event()

    def on_state(state: MeterState) -> None:
        read.set()

    nursery.start_soon(run_meters, [settings], on_state)
    with trio.fail_after(HANG_S):
        await read.wait()
        program = shutil.which("mbpoll")
        assert program is not None, "mbpoll is missing: apt install mbpoll"
        command = [program, "-1", "-0", "-m", "tcp", "-p", str(shared), "-a", "1", "-t", "3:float", "-B",
                   "-r", "6", "-c", "3", "127.0.0.1"]  # fmt: skip
        done = await trio.run_process(command, capture_stdout=True, capture_stderr=True, check=False)
    assert "20.25" in done.stdout.decode()
    nursery.cancel_scope.cancel()
