"""Buses on real sockets and pseudo-terminals: gateways as they are, faults, and recovery from each."""

from __future__ import annotations

import os
import tty
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
import trio

from drivers.errors import BusError, Cause, ModbusAnswerError
from drivers.meter_model import load_model
from drivers.modbus.bus import RECONNECTS, TurnQueue
from drivers.modbus.framing import RtuExchange
from drivers.modbus.pymodbus_frames import DeviceException, Registers
from drivers.modbus.serial_bus import SerialBus
from drivers.modbus.tcp_bus import TcpBus, UdpBus
from drivers.read_plan import ReadRange
from drivers.simulated import (
    Fault,
    GatewayBehavior,
    SerialTiming,
    SimulatedBus,
    SimulatedMeter,
    serve_serial,
    serve_tcp,
)
from tests.drivers.memory_bus import MemoryBus
from tests.drivers.terminal import pseudo_terminal

CURRENTS = ReadRange(4, 6, 6)
ABSENT = ReadRange(4, 9000, 2)
VALUES = Registers((0x3F80, 0, 0x4000, 0, 0x4040, 0))
SHORT_S, LONG_S = 0.1, 10.0

Handler = Callable[[trio.SocketStream], Awaitable[None]]


@pytest.fixture
def meter() -> SimulatedMeter:
    meter = SimulatedMeter(load_model("eastron-sdm630-v2"))
    meter.set_values({"current_l1": 1.0, "current_l2": 2.0, "current_l3": 3.0})
    return meter


@asynccontextmanager
async def listening(handler: Handler) -> AsyncIterator[int]:
    """Run a TCP server; yield its port."""
    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, handler, listeners)
        yield listeners[0].socket.getsockname()[1]
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("rtu", [False, True])
async def test_tcp_bus_continues_after_refusal_and_timeout(
    meter: SimulatedMeter, nursery: trio.Nursery, rtu: bool
) -> None:
    port = await nursery.start(partial(serve_tcp, meter, rtu=rtu))
    bus = TcpBus("127.0.0.1", port, rtu=rtu)
    assert await bus.read(1, CURRENTS, LONG_S) == VALUES
    assert await bus.read(1, ABSENT, LONG_S) == DeviceException(2)
    for fault, text in (
        (Fault.SILENT, f"no answer from unit 1 on 127.0.0.1:{port} within 0.1 s"),
        (Fault.HALF_FRAME, "ended after"),
        (Fault.FOREIGN_UNIT, "unit 2 answered instead of unit 1"),
    ):
        meter.fault = fault
        with pytest.raises(ModbusAnswerError, match=text):
            await bus.read(1, CURRENTS, SHORT_S)
    meter.fault = None
    assert await bus.read(1, CURRENTS, LONG_S) == VALUES
    await bus.close()


async def test_bus_slow_meter_is_reported_to_raise_timeout(
    meter: SimulatedMeter, nursery: trio.Nursery
) -> None:
    port = await nursery.start(partial(serve_tcp, meter, behavior=GatewayBehavior(delay_s=5.0)))
    with pytest.raises(ModbusAnswerError, match="raise timeout_s if it is slow"):
        await TcpBus("127.0.0.1", port).read(1, CURRENTS, SHORT_S)


async def test_bus_refused_connection_names_port() -> None:
    async with listening(trio.aclose_forcefully) as port:
        pass
    with pytest.raises(BusError, match="refuses the connection: nothing listens there") as raised:
        await TcpBus("127.0.0.1", port).read(1, CURRENTS, LONG_S)
    assert raised.value.cause is Cause.UNREACHABLE


async def test_connection_closed_after_each_answer_is_opened_anew(
    meter: SimulatedMeter, nursery: trio.Nursery
) -> None:
    gateway = GatewayBehavior(close_after=1)
    port = await nursery.start(partial(serve_tcp, meter, behavior=gateway))
    bus = TcpBus("127.0.0.1", port)
    for _ in range(4):
        assert await bus.read(1, CURRENTS, LONG_S) == VALUES
    assert gateway.connections == 4
    assert bus.events["reconnects"] == 3
    await bus.close()


async def test_connections_closed_at_once_are_opened_again(
    meter: SimulatedMeter, nursery: trio.Nursery
) -> None:
    gateway = GatewayBehavior(close_first=RECONNECTS)
    port = await nursery.start(partial(serve_tcp, meter, behavior=gateway))
    bus = TcpBus("127.0.0.1", port)
    assert await bus.read(1, CURRENTS, LONG_S) == VALUES
    await bus.close()
    gateway.close_first = 100
    with pytest.raises(
        BusError, match="closed the connection; some gateways allow one client only"
    ) as raised:
        await bus.read(1, CURRENTS, LONG_S)
    assert raised.value.cause is Cause.CONNECTION_CLOSED


async def test_wrong_transaction_id_is_named(meter: SimulatedMeter, nursery: trio.Nursery) -> None:
    port = await nursery.start(partial(serve_tcp, meter, behavior=GatewayBehavior(wrong_transaction=True)))
    with pytest.raises(ModbusAnswerError, match="the gateway answered transaction") as raised:
        await TcpBus("127.0.0.1", port).read(1, CURRENTS, SHORT_S)
    assert raised.value.cause is Cause.WRONG_ANSWER


async def test_peer_of_another_protocol_is_disconnected() -> None:
    closed = trio.Event()

    async def serve_http(stream: trio.SocketStream) -> None:
        await stream.send_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        async for _ in stream:
            pass
        closed.set()

    async with listening(serve_http) as port:
        with pytest.raises(ModbusAnswerError, match="not Modbus TCP"):
            await TcpBus("127.0.0.1", port).read(1, CURRENTS, LONG_S)
        with trio.fail_after(LONG_S):
            await closed.wait()


async def test_udp_bus_reads_and_names_closed_port(meter: SimulatedMeter, nursery: trio.Nursery) -> None:
    server = trio.socket.socket(trio.socket.AF_INET, trio.socket.SOCK_DGRAM)
    await server.bind(("127.0.0.1", 0))
    port = server.getsockname()[1]

    async def serve() -> None:
        far_end = SimulatedBus(meter, rtu=False)
        for _ in range(2):
            data, address = await server.recvfrom(300)
            await server.sendto(far_end.feed(data), address)
        server.close()

    nursery.start_soon(serve)
    bus = UdpBus("127.0.0.1", port)
    assert await bus.read(1, CURRENTS, LONG_S) == VALUES
    assert await bus.read(1, ABSENT, LONG_S) == DeviceException(2)
    with trio.fail_after(LONG_S):
        while server.fileno() != -1:
            await trio.lowlevel.checkpoint()
    with pytest.raises(BusError, match="refused the request"):
        await bus.read(1, CURRENTS, LONG_S)
    await bus.close()


async def _within(scope: trio.CancelScope, served: Callable[[], Awaitable[None]]) -> None:
    with scope:
        await served()


@asynccontextmanager
async def serial_meter(meter: SimulatedMeter, timing: SerialTiming | None = None) -> AsyncIterator[str]:
    """Serve a meter on a pseudo-terminal; yield its device."""
    with pseudo_terminal() as (near, device):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(serve_serial, near, meter, timing=timing))
            yield device
            nursery.cancel_scope.cancel()


@pytest.mark.slow
async def test_serial_bus_continues_after_refusal_and_timeout(meter: SimulatedMeter) -> None:
    async with serial_meter(meter) as device:
        bus = SerialBus(device, 19200, "N", 1)
        assert await bus.read(1, CURRENTS, LONG_S) == VALUES
        assert await bus.read(1, ABSENT, LONG_S) == DeviceException(2)
        for fault, text, cause in (
            (Fault.SILENT, f"no answer from unit 1 on {device}", Cause.NO_ANSWER),
            (Fault.BAD_CRC, "wrong checksum", Cause.CORRUPT_ANSWER),
            (Fault.HALF_FRAME, "ended after", Cause.CORRUPT_ANSWER),
            (Fault.FOREIGN_UNIT, "unit 2 answered instead of unit 1", Cause.WRONG_ANSWER),
        ):
            meter.fault = fault
            with pytest.raises(ModbusAnswerError, match=text) as raised:
                await bus.read(1, CURRENTS, SHORT_S)
            assert raised.value.cause is cause
        assert bus.events["corrupt_answer"] == 2
        meter.fault = None
        assert await bus.read(1, CURRENTS, LONG_S) == VALUES
        await bus.close()


@pytest.mark.parametrize("fault", [Fault.ECHO, Fault.NOISE])
async def test_serial_bus_with_echo_or_noise_reads(meter: SimulatedMeter, fault: Fault) -> None:
    meter.fault = fault
    async with serial_meter(meter) as device:
        bus = SerialBus(device, 19200, "N", 1)
        for _ in range(3):
            assert await bus.read(1, CURRENTS, LONG_S) == VALUES
        await bus.close()


class WatchedBus(SerialBus):
    """Sets an event when it has given up an answer."""

    def __init__(self, device: str) -> None:
        super().__init__(device, 19200, "N", 1)
        self.given_up = trio.Event()

    async def _drain(self, timeout_s: float) -> None:
        self.given_up.set()
        await super()._drain(timeout_s)


@pytest.mark.slow
async def test_bus_late_answer_is_not_taken_for_next_one(
    meter: SimulatedMeter, nursery: trio.Nursery
) -> None:
    """RTU answers do not name the addresses that they belong to."""
    with pseudo_terminal() as (near, device):
        bus = WatchedBus(device)
        far_end = SimulatedBus(meter, rtu=True)

        async def answer_the_first_late() -> None:
            await trio.lowlevel.wait_readable(near)
            answer = far_end.feed(os.read(near, 64))
            await bus.given_up.wait()
            os.write(near, answer)
            await _answer_once(near, far_end)

        nursery.start_soon(answer_the_first_late)
        with pytest.raises(ModbusAnswerError):
            await bus.read(1, ReadRange(4, 0, CURRENTS.count), 3 * SHORT_S)
        assert await bus.read(1, CURRENTS, LONG_S) == VALUES
        assert bus.events["late_bytes"] == 17
        await bus.close()


OTHERS = ReadRange(4, 0, CURRENTS.count)
"""As many registers as `CURRENTS`, of another place."""


@pytest.mark.slow
@pytest.mark.parametrize("gap_s", [0.0, 0.05])
async def test_answer_after_silence_is_not_taken_for_next_request(
    meter: SimulatedMeter, nursery: trio.Nursery, gap_s: float
) -> None:
    """A late answer that comes when the next request is out fits it, but for its place."""
    with pseudo_terminal() as (near, device):
        bus, far_end = SerialBus(device, 19200, "N", 1), SimulatedBus(meter, rtu=True)

        async def answer_the_first_with_the_second() -> None:
            await trio.lowlevel.wait_readable(near)
            late = far_end.feed(os.read(near, 64))
            await trio.lowlevel.wait_readable(near)
            answer = far_end.feed(os.read(near, 64))
            os.write(near, late)
            await trio.sleep(gap_s)
            os.write(near, answer)

        nursery.start_soon(answer_the_first_with_the_second)
        with pytest.raises(ModbusAnswerError):
            await bus.read(1, OTHERS, 3 * SHORT_S)
        with pytest.raises(ModbusAnswerError, match="two answers came to one request") as raised:
            await bus.read(1, CURRENTS, LONG_S)
        assert raised.value.cause is Cause.WRONG_ANSWER
        assert bus.events["late_answers"] == 1
        nursery.start_soon(_answer_once, near, far_end)
        assert await bus.read(1, CURRENTS, LONG_S) == VALUES
        await bus.close()


@pytest.mark.slow
async def test_repeated_answer_is_not_taken_for_next_request(
    meter: SimulatedMeter, nursery: trio.Nursery
) -> None:
    """A request was made again, and both are answered: the second answer comes beside the next request."""
    with pseudo_terminal() as (near, device):
        bus, far_end = SerialBus(device, 19200, "N", 1), SimulatedBus(meter, rtu=True)

        async def answer_one_request_behind() -> None:
            answers: list[bytes] = []
            for _ in range(3):
                await trio.lowlevel.wait_readable(near)
                answers.append(far_end.feed(os.read(near, 64)))
                os.write(near, b"".join(answers[-2:-1]))
            await trio.sleep(SHORT_S / 2)
            os.write(near, answers[-1])

        nursery.start_soon(answer_one_request_behind)
        with pytest.raises(ModbusAnswerError):
            await bus.read(1, OTHERS, 3 * SHORT_S)
        others = await bus.read(1, OTHERS, LONG_S)
        assert others != VALUES
        with pytest.raises(ModbusAnswerError, match="two answers came to one request"):
            await bus.read(1, CURRENTS, LONG_S)
        await bus.close()


@pytest.mark.slow
async def test_lost_answer_delays_only_requests_that_it_fits(meter: SimulatedMeter) -> None:
    async with serial_meter(meter) as device:
        bus = SerialBus(device, 19200, "N", 1)
        meter.fault = Fault.SILENT
        with pytest.raises(ModbusAnswerError):
            await bus.read(1, OTHERS, 4 * SHORT_S)
        meter.fault = None
        for read_range, is_late in ((OTHERS, False), (ReadRange(4, 0, 4), False), (CURRENTS, True)):
            begun = trio.current_time()
            await bus.read(1, read_range, LONG_S)
            assert (trio.current_time() - begun >= 4 * SHORT_S) is is_late
        await bus.close()


async def test_stray_bytes_are_discarded(meter: SimulatedMeter, nursery: trio.Nursery) -> None:
    with pseudo_terminal() as (near, device):
        bus, far_end = SerialBus(device, 19200, "N", 1), SimulatedBus(meter, rtu=True)
        nursery.start_soon(_answer_once, near, far_end)
        assert await bus.read(1, CURRENTS, LONG_S) == VALUES
        os.write(near, far_end.feed(RtuExchange(1, 4, 0, CURRENTS.count).request))
        nursery.start_soon(_answer_once, near, far_end)
        assert await bus.read(1, CURRENTS, LONG_S) == VALUES
        await bus.close()


async def test_serial_port_in_use_is_named(meter: SimulatedMeter) -> None:
    async with serial_meter(meter) as device:
        bus = SerialBus(device, 19200, "N", 1)
        await bus.read(1, CURRENTS, LONG_S)
        with pytest.raises(BusError, match="is used by another program"):
            await SerialBus(device, 19200, "N", 1).read(1, CURRENTS, LONG_S)
        await bus.close()


async def test_serial_bus_keeps_silence_and_gap(
    meter: SimulatedMeter, autojump_clock: trio.testing.MockClock
) -> None:
    bus = MemoryBus(meter)
    for _ in range(3):
        await bus.read(1, CURRENTS, 1.0, gap_s=0.05)
    gaps = [later - earlier for earlier, later in zip(bus.requested_at, bus.requested_at[1:], strict=False)]
    assert gaps == pytest.approx([0.05, 0.05])


async def test_bus_vanished_serial_port_is_named_until_it_is_back(
    meter: SimulatedMeter, tmp_path: Path
) -> None:
    link = tmp_path / "meter"
    bus = SerialBus(str(link), 19200, "N", 1)
    far_end = SimulatedBus(meter, rtu=True)
    with pytest.raises(BusError, match="does not exist: the adapter is unplugged"):
        await bus.read(1, CURRENTS, LONG_S)
    for _ in range(2):
        near, far = os.openpty()
        tty.setraw(far)
        link.symlink_to(os.ttyname(far))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_answer_once, near, far_end)
            assert await bus.read(1, CURRENTS, LONG_S) == VALUES
        link.unlink()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_unplug_when_asked, near, far)
            with pytest.raises(BusError, match=r"does not exist|is gone"):
                await bus.read(1, CURRENTS, LONG_S)
        with pytest.raises(BusError, match="does not exist"):
            await bus.read(1, CURRENTS, LONG_S)


async def test_bus_turns_follow_priority_without_starvation(
    autojump_clock: trio.testing.MockClock,
) -> None:
    turns = TurnQueue()
    order: list[str] = []

    async def take(name: str, priority: int, asked_at: float) -> None:
        await trio.sleep(asked_at)
        await turns.acquire(priority)
        order.append(name)
        await trio.sleep(1.0)
        turns.release()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(take, "holder", 0, 0.0)
        nursery.start_soon(take, "low", 0, 0.1)
        nursery.start_soon(take, "urgent", 1, 0.5)
        nursery.start_soon(take, "urgent but late", 1, 1.9)
    assert order == ["holder", "urgent", "low", "urgent but late"]


async def test_bus_turn_of_cancelled_waiter_is_passed_on(autojump_clock: trio.testing.MockClock) -> None:
    turns = TurnQueue()
    await turns.acquire(0)
    with trio.move_on_after(1.0):
        await turns.acquire(0)
    turns.release()
    with trio.fail_after(1.0):
        await turns.acquire(0)


async def _answer_once(near: int, far_end: SimulatedBus) -> None:
    await trio.lowlevel.wait_readable(near)
    os.write(near, far_end.feed(os.read(near, 64)))


async def _unplug_when_asked(near: int, far: int) -> None:
    await trio.lowlevel.wait_readable(near)
    assert os.read(near, 64) == RtuExchange(1, 4, CURRENTS.address, CURRENTS.count).request
    os.close(far)
    os.close(near)
