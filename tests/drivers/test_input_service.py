"""Digital inputs on a Modbus module over a real socket, and on GPIO lines of a simulated kernel."""

from __future__ import annotations

import errno
import logging
import os
from contextlib import suppress
from pathlib import Path

import pytest
import trio

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
from tests.bounds import HANG_S
from tests.drivers.gpio_kernel import GpioKernel
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


def test_input_service_gpio_line_that_is_low_is_closed_contact(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    kernel = GpioKernel(monkeypatch, tmp_path)
    lines = GpioLines(kernel.chip, [17, 27, 5])
    assert kernel.requests == [(17, 27, 5)]
    kernel.high = 0b010
    assert lines.read_closed() == (True, False, True)
    kernel.high = 0b111  # nothing is wired
    assert lines.read_closed() == (False, False, False)
    kernel.error = errno.ENODEV
    with pytest.raises(
        InputError, match=r"gpiochip0 does not exist: connect its adapter, or write a chip that"
    ):
        lines.read_closed()
    lines.close()


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        (
            [17, 54],
            r"line 54 of \S+ does not exist \(its lines are 0 to 53\): correct the input of the contact",
        ),
        ([17, 4], r"line 4 of \S+ is used by 'w1\\nERROR': stop it, or wire the contact to another line"),
        ([5], r"line 5 of \S+ is used by the kernel: stop it"),
        ([27], r"lines of \S+ are used by another local-controller: stop it"),
    ],
    ids=["missing", "of a program", "without a name", "of another controller"],
)
def test_gpio_line_that_cannot_be_requested_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, lines: list[int], problem: str
) -> None:
    kernel = GpioKernel(monkeypatch, tmp_path)
    kernel.used = {4: b"w1\nERROR", 5: b"", 27: b"local-controller"}
    with pytest.raises(InputError, match=problem):
        GpioLines(kernel.chip, lines)
    assert kernel.requests == []


@pytest.mark.parametrize(
    ("error", "problem"),
    [
        (errno.EACCES, "may not be opened by the controller's user: `sudo local-controller doctor`"),
        (errno.EIO, r"cannot be read \(Input/output error\): connect it again"),
    ],
    ids=["rights", "other"],
)
def test_gpio_chip_that_fails_is_named_with_remedy(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, error: int, problem: str
) -> None:
    kernel = GpioKernel(monkeypatch, tmp_path)
    kernel.error = error
    with pytest.raises(InputError, match=problem):
        GpioLines(kernel.chip, [1])


def test_gpio_device_that_is_no_chip_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"gpiochip9 does not exist: connect its adapter"):
        GpioLines(str(tmp_path / "gpiochip9"), [1])
    with pytest.raises(InputError, match="/dev/null is not a GPIO chip: write a chip that `gpioinfo` lists"):
        GpioLines(os.devnull, [1])


async def test_gpio_lines_of_removed_chip_are_requested_again(
    monkeypatch: pytest.MonkeyPatch, nursery: trio.Nursery, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    kernel = GpioKernel(monkeypatch, tmp_path)
    chip = kernel.chip
    settings = InputModuleSettings(id="pi", transport="gpio", inputs=(17,), device=chip, interval_s=0.01)
    send, published = trio.open_memory_channel[tuple[bool, ...]](1000)
    nursery.start_soon(run_digital_inputs, [settings], lambda _, levels: send.send_nowait(levels))
    assert await published.receive() == (True,)
    kernel.error = errno.ENODEV
    await kernel.failed.wait()
    kernel.error, kernel.high = 0, 1
    while await published.receive() != (False,):
        pass
    assert len(kernel.requests) == 2
    assert [record.getMessage() for record in caplog.records] == [
        f"digital inputs failed module=pi problem={chip} does not exist: connect its adapter, "
        "or write a chip that `gpioinfo` lists",
        "digital inputs recovered module=pi after=0s",
    ]


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
            with trio.fail_after(HANG_S):
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
