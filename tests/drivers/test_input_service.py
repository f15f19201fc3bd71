"""Digital inputs on a Modbus module over a real socket, and on GPIO lines of a simulated kernel."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
from contextlib import suppress
from pathlib import Path

import pytest
import trio

from drivers import gpio
from drivers.bus_registry import BusRegistry
from drivers.errors import InputError, ModelFileError
from drivers.gpio import GpioLines
from drivers.input_modules import list_input_modules, load_input_module
from drivers.input_service import input_bus_settings, run_digital_inputs
from drivers.meter_model import load_model
from drivers.meter_service import run_meters
from drivers.modbus.framing import InvalidAnswer, RtuExchange, TcpExchange
from drivers.modbus.pymodbus_frames import DeviceException, ReadRequest, Registers, build_answer
from drivers.read_plan import ReadRange
from drivers.reading import MeterState, Quality
from drivers.settings import InputModuleSettings, MeterSettings
from drivers.simulated import SimulatedBus, SimulatedMeter
from tests.drivers.terminal import pseudo_terminal

BITS = (1, 0, 1, 1, 0, 0, 0, 1, 0, 1)


def answer(bits: tuple[int, ...] = BITS, *, rtu: bool) -> bytes:
    return build_answer(ReadRequest(1, 9, 2, 0, len(bits)), bits, rtu=rtu)


# -- frames ------------------------------------------------------------------------------------------


def test_input_service_request_for_inputs_equals_manual() -> None:
    assert RtuExchange(1, 2, 0, 8).request == bytes.fromhex("01 02 00 00 00 08 79 cc")


@pytest.mark.parametrize("count", [1, 7, 8, 9, 10])
@pytest.mark.parametrize("cut", range(6))
def test_inputs_are_decoded_in_any_pieces(count: int, cut: int) -> None:
    for exchange in (RtuExchange(1, 2, 0, count), TcpExchange(1, 2, 0, count, 9)):
        frame = answer(BITS[:count], rtu=isinstance(exchange, RtuExchange))
        assert exchange.feed(frame[:cut]) is None
        assert exchange.feed(frame[cut:]) == Registers(BITS[:count])


def test_answer_of_another_length_is_invalid() -> None:
    assert isinstance(TcpExchange(1, 2, 0, 8, 9).feed(answer(BITS, rtu=False)), InvalidAnswer)
    refused = bytes.fromhex("000900000003018202")
    assert TcpExchange(1, 2, 0, 8, 9).feed(refused) == DeviceException(2)


# -- models ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", list_input_modules())
def test_module_model_is_valid(name: str) -> None:
    found = load_input_module(name)
    assert found.vendor
    assert found.sources
    assert found.range_of((3, 1)) == ReadRange(2, found.address + 1, 3)


def test_input_service_bus_of_module_has_delivery_settings() -> None:
    on_serial = input_bus_settings(
        InputModuleSettings(
            id="m", transport="rtu", inputs=(0,), driver="waveshare-rtu-io-8ch", device="/dev/x", baud=19200
        )
    )
    assert (on_serial.key, on_serial.baud, on_serial.parity) == (("/dev/x",), 19200, "N")
    on_tcp = input_bus_settings(InputModuleSettings(id="m", transport="tcp", inputs=(0,), host="h"))
    assert on_tcp.key == ("tcp", "h", 502)
    with pytest.raises(ModelFileError, match='module "nothing" is unknown'):
        load_input_module("nothing")


# -- polling -----------------------------------------------------------------------------------------


class Module:
    """A module on a real socket; without `inputs` it refuses."""

    def __init__(self) -> None:
        self.inputs: list[bool] | None = [True, False, False, True]
        self.asked: list[bytes] = []
        self.refused_often = trio.Event()

    async def serve(self, stream: trio.SocketStream) -> None:
        with suppress(trio.BrokenResourceError):  # the driver resets a connection that it gives up
            await self._answer_requests(stream)

    async def _answer_requests(self, stream: trio.SocketStream) -> None:
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
    settings = InputModuleSettings(
        id="io", transport="tcp", inputs=inputs, driver="wago-750", host="127.0.0.1", port=port,
        interval_s=0.01,
    )  # fmt: skip
    send, receive = trio.open_memory_channel[tuple[bool, ...]](1000)

    def publish(name: str, levels: tuple[bool, ...]) -> None:
        assert name == "io"
        send.send_nowait(levels)

    nursery.start_soon(run_digital_inputs, [settings], publish)
    return receive


async def test_wired_inputs_are_published_in_their_order(nursery: trio.Nursery) -> None:
    module = Module()
    published = await polled(nursery, module, (3, 1))
    assert await published.receive() == (True, False)
    assert module.asked[0] == bytes.fromhex("02 0001 0003")[:5]
    module.inputs = [True, True, False, False]
    while await published.receive() != (False, True):
        pass


async def test_module_that_refuses_publishes_nothing_and_logs_once(
    nursery: trio.Nursery, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    module = Module()
    module.inputs = None
    published = await polled(nursery, module, (0,))
    await module.refused_often.wait()
    with pytest.raises(trio.WouldBlock):
        published.receive_nowait()
    module.inputs = [True]
    assert await published.receive() == (True,)
    assert [record.getMessage() for record in caplog.records] == [
        "digital inputs failed module=io problem=it answers exception 2 (illegal data address); "
        'is "wago-750" the right driver?',
        "digital inputs recovered module=io after=0s",
    ]


# -- GPIO --------------------------------------------------------------------------------------------


class Kernel:
    """The two calls of the character device; `high` has a bit for each line that is high."""

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


def test_input_service_gpio_line_that_is_low_is_closed_contact(kernel: Kernel, tmp_path: Path) -> None:
    chip = tmp_path / "gpiochip0"
    chip.touch()
    lines = GpioLines(str(chip), [17, 27, 5])
    assert kernel.requests == [(17, 27, 5)]
    kernel.high = 0b010
    assert lines.read_closed() == (True, False, True)
    kernel.high = 0b111  # nothing is wired
    assert lines.read_closed() == (False, False, False)
    kernel.broken = True
    with pytest.raises(InputError, match="stop other programs that use its lines"):
        lines.read_closed()
    lines.close()


def test_missing_gpio_chip_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="gpiochip9 cannot be read"):
        GpioLines(str(tmp_path / "gpiochip9"), [1])


async def test_gpio_lines_that_fail_are_requested_again(
    kernel: Kernel, nursery: trio.Nursery, tmp_path: Path
) -> None:
    chip = tmp_path / "gpiochip0"
    chip.touch()
    settings = InputModuleSettings(id="pi", transport="gpio", inputs=(17,), device=str(chip), interval_s=0.01)
    send, published = trio.open_memory_channel[tuple[bool, ...]](1000)
    nursery.start_soon(run_digital_inputs, [settings], lambda _, levels: send.send_nowait(levels))
    assert await published.receive() == (True,)
    kernel.broken = True
    await kernel.failed.wait()
    kernel.broken, kernel.high = False, 1
    while await published.receive() != (False,):
        pass
    assert len(kernel.requests) == 2


async def test_meter_and_inputs_share_one_serial_port() -> None:
    """The usual cabinet has one RS485 adapter for both."""
    module = ReadRequest(2, 0, 2, 0, 8)
    meter = SimulatedMeter(load_model("eastron-sdm630-v2"), unit=1)
    meter.set_values({"current_l1": 1.0})
    states: list[MeterState] = []
    levels: list[tuple[bool, ...]] = []
    both = trio.Event()

    def on_state(state: MeterState) -> None:
        states.append(state)
        if len(states) >= 2 and len(levels) >= 2:
            both.set()

    with pseudo_terminal() as (near, device):
        served = trio.CancelScope()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_serve_both, near, meter, module, served)
            registry = BusRegistry()
            settings = MeterSettings(
                id="grid", driver="eastron-sdm630-v2", transport="rtu", device=device, interval_s=0.05
            )
            inputs = InputModuleSettings(
                id="io", transport="rtu", inputs=(0, 1), driver="waveshare-rtu-io-8ch", device=device, unit=2,
                interval_s=0.05,
            )  # fmt: skip
            nursery.start_soon(run_meters, [settings], on_state, registry)
            nursery.start_soon(
                run_digital_inputs, [inputs], lambda _, closed: levels.append(closed), registry
            )
            with trio.fail_after(10):
                await both.wait()
            assert len(registry.buses) == 1
            nursery.cancel_scope.cancel()
    assert {state.quality for state in states} == {Quality.GOOD}
    assert set(levels) == {(True, False)}


async def _serve_both(near: int, meter: SimulatedMeter, module: ReadRequest, scope: trio.CancelScope) -> None:
    """Answer a meter's and a module's requests on one port; overlapping requests fail the test."""
    bus = SimulatedBus(meter, rtu=True)
    os.set_blocking(near, False)
    with scope:
        while True:
            await trio.lowlevel.wait_readable(near)
            request = os.read(near, 64)
            assert len(request) == 8, "requests overlap"
            answered = (
                build_answer(module, (1, 0), rtu=True) if request[0] == module.unit else bus.feed(request)
            )
            await trio.lowlevel.wait_writable(near)
            os.write(near, answered)
