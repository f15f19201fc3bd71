"""Lines on real sockets and pseudo-terminals: faults, and that what fails comes back."""

from __future__ import annotations

import os
import ssl
import subprocess
import tty
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
import trio

from drivers.decoding import Block
from drivers.modbus.framing import DeviceException, Registers, RtuExchange
from drivers.modbus.line import LineLost, NoAnswer, SerialLine, TcpLine
from drivers.registers import load_map
from drivers.simulated import Fault, SimulatedLine, SimulatedMeter, serve_serial, serve_tcp
from tests.drivers.terminal import pseudo_terminal

BLOCK = Block(4, 6, 6)
ANSWER = Registers((0x3F80, 0, 0x4000, 0, 0x4040, 0))
PATIENCE_S, LONG_S = 0.1, 10.0

Handler = Callable[[trio.SocketStream], Awaitable[None]]


@pytest.fixture
def meter() -> SimulatedMeter:
    meter = SimulatedMeter(load_map("eastron-sdm630-v2"))
    meter.set({"current_l1": 1.0, "current_l2": 2.0, "current_l3": 3.0})
    return meter


@asynccontextmanager
async def listening(handler: Handler) -> AsyncIterator[int]:
    """A TCP server; its port."""
    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, handler, listeners)
        yield listeners[0].socket.getsockname()[1]
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("rtu", [False, True])
async def test_tcp_reads_refuses_times_out_and_goes_on(
    meter: SimulatedMeter, nursery: trio.Nursery, rtu: bool
) -> None:
    port = await nursery.start(partial(serve_tcp, meter, rtu=rtu))
    line = TcpLine("127.0.0.1", port, rtu=rtu)
    assert await line.exchange(1, BLOCK, LONG_S) == ANSWER
    assert await line.exchange(1, Block(4, 9000, 2), LONG_S) == DeviceException(2)
    for fault in (Fault.SILENT, Fault.HALF_FRAME, Fault.FOREIGN_UNIT):
        meter.fault = fault
        with pytest.raises(NoAnswer, match=f"no answer from unit 1 on 127.0.0.1:{port} within 0.1 s"):
            await line.exchange(1, BLOCK, PATIENCE_S)
    meter.fault = None
    assert await line.exchange(1, BLOCK, LONG_S) == ANSWER
    await line.close()


async def test_a_refused_connection_is_a_lost_line() -> None:
    async with listening(trio.aclose_forcefully) as port:
        pass
    with pytest.raises(LineLost, match=r"cannot be reached .*; check its address and the network"):
        await TcpLine("127.0.0.1", port).exchange(1, BLOCK, LONG_S)


async def test_a_hang_up_is_a_lost_line_and_the_next_exchange_connects_anew(meter: SimulatedMeter) -> None:
    connections = 0

    async def hang_up_at_first(stream: trio.SocketStream) -> None:
        nonlocal connections
        connections += 1
        if connections == 1:
            await stream.receive_some()
            await stream.aclose()
            return
        far_end = SimulatedLine(meter, rtu=False)
        async for data in stream:
            await stream.send_all(far_end.feed(bytes(data)))

    async with listening(hang_up_at_first) as port:
        line = TcpLine("127.0.0.1", port)
        with pytest.raises(LineLost, match="closed the connection"):
            await line.exchange(1, BLOCK, LONG_S)
        assert await line.exchange(1, BLOCK, LONG_S) == ANSWER
        await line.close()


async def test_a_peer_that_does_not_speak_modbus_is_hung_up_on() -> None:
    hung_up = trio.Event()

    async def speak_http(stream: trio.SocketStream) -> None:
        await stream.send_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        async for _ in stream:
            pass
        hung_up.set()

    async with listening(speak_http) as port:
        with pytest.raises(NoAnswer, match="not Modbus TCP"):
            await TcpLine("127.0.0.1", port).exchange(1, BLOCK, LONG_S)
        with trio.fail_after(LONG_S):
            await hung_up.wait()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """A certificate of 127.0.0.1 that vouches for itself, and its key."""
    folder = tmp_path_factory.mktemp("tls")
    files = str(folder / "certificate.pem"), str(folder / "key.pem")
    subprocess.run(
        [
            "openssl",
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-subj",
            "/CN=meter",
            "-addext",
            "subjectAltName=IP:127.0.0.1",
            "-days",
            "2",
            "-out",
            files[0],
            "-keyout",
            files[1],
        ],
        check=True,
        capture_output=True,
    )
    return files


async def test_tls_trusts_whom_it_is_told_to_and_nobody_else(
    meter: SimulatedMeter, certificate: tuple[str, str], tmp_path: Path
) -> None:
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(*certificate)

    async def serve(stream: trio.SocketStream) -> None:
        secured = trio.SSLStream(stream, server, server_side=True)
        far_end = SimulatedLine(meter, rtu=False)
        try:
            async for data in secured:
                await secured.send_all(far_end.feed(bytes(data)))
        except trio.BrokenResourceError:
            return  # the client did not trust us, or hung up

    async with listening(serve) as port:
        told = partial(ssl.create_default_context, cafile=certificate[0])
        line = TcpLine("127.0.0.1", port, tls=told)
        assert await line.exchange(1, BLOCK, LONG_S) == ANSWER
        await line.close()
        with pytest.raises(LineLost, match=r"no TLS with .*; check the certificates"):
            await TcpLine("127.0.0.1", port, tls=ssl.create_default_context).exchange(1, BLOCK, LONG_S)
        nowhere = partial(ssl.create_default_context, cafile=str(tmp_path / "nothing.pem"))
        with pytest.raises(LineLost, match="No such file"):
            await TcpLine("127.0.0.1", port, tls=nowhere).exchange(1, BLOCK, LONG_S)


async def test_serial_reads_refuses_times_out_and_goes_on(
    meter: SimulatedMeter, nursery: trio.Nursery
) -> None:
    with pseudo_terminal() as (near, device):
        served = trio.CancelScope()
        nursery.start_soon(_within, served, partial(serve_serial, near, meter))
        line = SerialLine(device, 19200, "N", 1)
        assert await line.exchange(1, BLOCK, LONG_S) == ANSWER
        assert await line.exchange(1, Block(4, 9000, 2), LONG_S) == DeviceException(2)
        for fault in (Fault.SILENT, Fault.BAD_CRC, Fault.HALF_FRAME, Fault.FOREIGN_UNIT):
            meter.fault = fault
            with pytest.raises(NoAnswer, match=f"no answer from unit 1 on {device}"):
                await line.exchange(1, BLOCK, PATIENCE_S)
        meter.fault = None
        assert await line.exchange(1, BLOCK, LONG_S) == ANSWER
        await line.close()
        served.cancel()
        await trio.testing.wait_all_tasks_blocked()


async def _within(scope: trio.CancelScope, served: Callable[[], Awaitable[None]]) -> None:
    with scope:
        await served()


class WatchedLine(SerialLine):
    """Tells when it has given up an answer."""

    def __init__(self, device: str) -> None:
        super().__init__(device, 19200, "N", 1)
        self.given_up = trio.Event()

    async def _after_silence(self, timeout_s: float) -> None:
        self.given_up.set()
        await super()._after_silence(timeout_s)


async def test_a_late_answer_does_not_meet_the_next_question(
    meter: SimulatedMeter, nursery: trio.Nursery
) -> None:
    """RTU answers do not say to which addresses they belong."""
    with pseudo_terminal() as (near, device):
        line = WatchedLine(device)
        far_end = SimulatedLine(meter, rtu=True)

        async def answer_the_first_late() -> None:
            await trio.lowlevel.wait_readable(near)
            answer = far_end.feed(os.read(near, 64))
            await line.given_up.wait()
            os.write(near, answer)
            await _answer_once(near, far_end)

        nursery.start_soon(answer_the_first_late)
        with pytest.raises(NoAnswer):
            await line.exchange(1, Block(4, 0, BLOCK.count), 3 * PATIENCE_S)
        assert await line.exchange(1, BLOCK, LONG_S) == ANSWER
        await line.close()


async def test_what_lies_on_the_line_already_is_no_answer(
    meter: SimulatedMeter, nursery: trio.Nursery
) -> None:
    with pseudo_terminal() as (near, device):
        line, far_end = SerialLine(device, 19200, "N", 1), SimulatedLine(meter, rtu=True)
        nursery.start_soon(_answer_once, near, far_end)
        assert await line.exchange(1, BLOCK, LONG_S) == ANSWER
        os.write(near, far_end.feed(RtuExchange(1, 4, 0, BLOCK.count).request))
        nursery.start_soon(_answer_once, near, far_end)
        assert await line.exchange(1, BLOCK, LONG_S) == ANSWER
        await line.close()


async def test_a_device_belongs_to_one(meter: SimulatedMeter, nursery: trio.Nursery) -> None:
    with pseudo_terminal() as (near, device):
        served = trio.CancelScope()
        nursery.start_soon(_within, served, partial(serve_serial, near, meter))
        line = SerialLine(device, 19200, "N", 1)
        await line.exchange(1, BLOCK, LONG_S)
        with pytest.raises(LineLost, match="nobody else's"):
            await SerialLine(device, 19200, "N", 1).exchange(1, BLOCK, LONG_S)
        await line.close()
        served.cancel()
        await trio.testing.wait_all_tasks_blocked()


async def test_a_device_that_vanishes_is_a_lost_line_until_it_is_back(
    meter: SimulatedMeter, tmp_path: Path
) -> None:
    link = tmp_path / "meter"
    line = SerialLine(str(link), 19200, "N", 1)
    far_end = SimulatedLine(meter, rtu=True)
    with pytest.raises(LineLost, match=r"cannot be opened .*No such file"):
        await line.exchange(1, BLOCK, LONG_S)
    for _ in range(2):
        near, far = os.openpty()
        tty.setraw(far)
        link.symlink_to(os.ttyname(far))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_answer_once, near, far_end)
            assert await line.exchange(1, BLOCK, LONG_S) == ANSWER
        link.unlink()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_pull_out_when_asked, near, far)
            with pytest.raises(LineLost, match=r"is gone.*plug it in again"):
                await line.exchange(1, BLOCK, LONG_S)
        with pytest.raises(LineLost, match="cannot be opened"):
            await line.exchange(1, BLOCK, LONG_S)


async def _answer_once(near: int, far_end: SimulatedLine) -> None:
    await trio.lowlevel.wait_readable(near)
    os.write(near, far_end.feed(os.read(near, 64)))


async def _pull_out_when_asked(near: int, far: int) -> None:
    await trio.lowlevel.wait_readable(near)
    assert os.read(near, 64) == RtuExchange(1, BLOCK.function, BLOCK.address, BLOCK.count).request
    os.close(far)
    os.close(near)
