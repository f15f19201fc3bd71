"""Contacts on a Modbus module over a real socket, and on GPIO lines of a kernel that is played here."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
from pathlib import Path

import pytest
import trio
from pymodbus.framer import FramerRTU, FramerSocket
from pymodbus.pdu import DecodePDU
from pymodbus.pdu.bit_message import ReadDiscreteInputsResponse

from drivers import gpio
from drivers.contacts import open_line, run_contacts
from drivers.decoding import Block
from drivers.gpio import GpioFailed, GpioLines
from drivers.input_maps import list_input_maps, load_input_map
from drivers.modbus.framing import DeviceException, Noise, Registers, RtuExchange, TcpExchange
from drivers.modbus.line import SerialLine, TcpLine
from drivers.settings import ModuleSettings

BITS = (1, 0, 1, 1, 0, 0, 0, 1, 0, 1)


def answer(bits: tuple[int, ...] = BITS, transaction: int = 9) -> ReadDiscreteInputsResponse:
    return ReadDiscreteInputsResponse(bits=[bool(bit) for bit in bits], dev_id=1, transaction_id=transaction)


# -- frames ------------------------------------------------------------------------------------------


def test_the_request_is_the_one_of_the_manual() -> None:
    assert RtuExchange(1, 2, 0, 8).request == bytes.fromhex("01 02 00 00 00 08 79 cc")


@pytest.mark.parametrize("count", [1, 7, 8, 9, 10])
@pytest.mark.parametrize("cut", range(6))
def test_inputs_are_read_in_any_pieces(count: int, cut: int) -> None:
    for exchange, framer in (
        (RtuExchange(1, 2, 0, count), FramerRTU(DecodePDU(is_server=True))),
        (TcpExchange(1, 2, 0, count, 9), FramerSocket(DecodePDU(is_server=True))),
    ):
        frame = framer.buildFrame(answer(BITS[:count]))
        assert exchange.feed(frame[:cut]) is None
        assert exchange.feed(frame[cut:]) == Registers(BITS[:count])


def test_an_answer_of_another_length_is_none() -> None:
    frame = FramerSocket(DecodePDU(is_server=True)).buildFrame(answer(BITS))
    assert isinstance(TcpExchange(1, 2, 0, 8, 9).feed(frame), Noise)
    refused = bytes.fromhex("000900000003018202")
    assert TcpExchange(1, 2, 0, 8, 9).feed(refused) == DeviceException(2)


# -- maps --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", list_input_maps())
def test_a_map_is_good(name: str) -> None:
    found = load_input_map(name)
    assert found.vendor
    assert found.sources
    assert found.block((3, 1)) == Block(2, found.address + 1, 3)


def test_a_line_is_what_the_module_speaks() -> None:
    line = open_line(
        ModuleSettings(id="m", transport="rtu", inputs=(0,), driver="waveshare-rtu-io-8ch", device="/dev/x")
    )
    assert isinstance(line, SerialLine)
    assert isinstance(open_line(ModuleSettings(id="m", transport="tcp", inputs=(0,), host="h")), TcpLine)
    with pytest.raises(KeyError):
        load_input_map("nothing")


# -- polling -----------------------------------------------------------------------------------------


class Module:
    """A module on a real socket; without `inputs` it refuses."""

    def __init__(self) -> None:
        self.inputs: list[bool] | None = [True, False, False, True]
        self.asked: list[bytes] = []
        self.refused_often = trio.Event()

    async def serve(self, stream: trio.SocketStream) -> None:
        async for request in stream:
            self.asked.append(request[7:12])
            head = request[:4]
            if self.inputs is None:
                if len(self.asked) == 5:
                    self.refused_often.set()
                await stream.send_all(head + bytes.fromhex("0003018202"))
                continue
            first, count = int.from_bytes(request[8:10], "big"), int.from_bytes(request[10:12], "big")
            bits = sum(bit << at for at, bit in enumerate(self.inputs[first : first + count]))
            await stream.send_all(head + bytes.fromhex("0004010201") + bytes([bits]))


async def polled(
    nursery: trio.Nursery, module: Module, inputs: tuple[int, ...]
) -> trio.MemoryReceiveChannel[tuple[bool, ...]]:
    """What is published of inputs of the module."""
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    nursery.start_soon(trio.serve_listeners, module.serve, listeners)
    port = listeners[0].socket.getsockname()[1]
    settings = ModuleSettings(
        id="io",
        transport="tcp",
        inputs=inputs,
        driver="wago-750",
        host="127.0.0.1",
        port=port,
        interval_s=0.01,
    )
    send, receive = trio.open_memory_channel[tuple[bool, ...]](1000)

    def publish(name: str, levels: tuple[bool, ...]) -> None:
        assert name == "io"
        send.send_nowait(levels)

    nursery.start_soon(run_contacts, [settings], publish)
    return receive


async def test_wired_inputs_are_published_in_their_order(nursery: trio.Nursery) -> None:
    module = Module()
    published = await polled(nursery, module, (3, 1))
    assert await published.receive() == (True, False)
    assert module.asked[0] == bytes.fromhex("02 0001 0003")[:5]
    module.inputs = [True, True, False, False]
    while await published.receive() != (False, True):
        pass


async def test_a_module_that_refuses_publishes_nothing_and_is_told_once(
    nursery: trio.Nursery, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    module = Module()
    module.inputs = None
    published = await polled(nursery, module, (0,))
    await module.refused_often.wait()
    with pytest.raises(trio.WouldBlock):
        published.receive_nowait()
    module.inputs = [True]
    assert await published.receive() == (True,)
    assert [record.getMessage() for record in caplog.records] == [
        'contacts io cannot be read: it answers exception 2 (illegal data address); is "wago-750" the right '
        "driver?",
        "contacts io are read again",
    ]


# -- GPIO --------------------------------------------------------------------------------------------


class Kernel:
    """The two calls of the character device, for lines that are high where `high` says so."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.high = 0
        self.broken = False
        self.failed = trio.Event()
        self.requests: list[tuple[int, ...]] = []
        monkeypatch.setattr(fcntl, "ioctl", self.ioctl)

    def ioctl(self, file: int, code: int, data: bytearray) -> int:
        if self.broken:
            self.failed.set()
            raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))
        if code == 0xC250B407:
            assert len(data) == 592
            fields = list(gpio._REQUEST.unpack(data))
            self.requests.append(tuple(fields[: fields[67]]))
            assert fields[64].rstrip(b"\0") == b"local-controller"
            assert fields[65] == 1 << 2 | 1 << 8  # an input, pulled up
            fields[-1] = os.open(os.devnull, os.O_RDONLY)
            data[:] = gpio._REQUEST.pack(*fields)
        else:
            assert code == 0xC010B40E
            mask = int.from_bytes(data[8:], "little")
            data[:8] = (self.high & mask).to_bytes(8, "little")
        return 0


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Kernel:
    return Kernel(monkeypatch)


def test_a_line_that_is_low_is_a_contact_that_is_closed(kernel: Kernel, tmp_path: Path) -> None:
    chip = tmp_path / "gpiochip0"
    chip.touch()
    lines = GpioLines(str(chip), [17, 27, 5])
    assert kernel.requests == [(17, 27, 5)]
    kernel.high = 0b010
    assert lines.closed() == (True, False, True)
    kernel.high = 0b111  # nothing is wired
    assert lines.closed() == (False, False, False)
    kernel.broken = True
    with pytest.raises(GpioFailed, match="no other program hold its lines"):
        lines.closed()
    lines.close()


def test_a_chip_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(GpioFailed, match="gpiochip9 cannot be read"):
        GpioLines(str(tmp_path / "gpiochip9"), [1])


async def test_lines_that_fail_are_taken_anew(kernel: Kernel, nursery: trio.Nursery, tmp_path: Path) -> None:
    chip = tmp_path / "gpiochip0"
    chip.touch()
    settings = ModuleSettings(id="pi", transport="gpio", inputs=(17,), device=str(chip), interval_s=0.01)
    send, published = trio.open_memory_channel[tuple[bool, ...]](1000)
    nursery.start_soon(run_contacts, [settings], lambda _, levels: send.send_nowait(levels))
    assert await published.receive() == (True,)
    kernel.broken = True
    await kernel.failed.wait()
    kernel.broken, kernel.high = False, 1
    while await published.receive() != (False,):
        pass
    assert len(kernel.requests) == 2
