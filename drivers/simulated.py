"""Simulated Modbus meters and gateways: the field hardware of the demo and the tests, on real sockets and
pseudo-terminals.

The core is sans-IO: quantities are encoded by the model that decodes them. `Fault` makes a meter misbehave,
`GatewayBehavior` what is between, as real buses and gateways do.
"""

from __future__ import annotations

import enum
import os
from collections.abc import Callable, Mapping, Sequence

import msgspec
import trio

from drivers.meter_model import MeterModel
from drivers.modbus.pymodbus_frames import (
    DISCRETE_INPUTS,
    MBAP,
    RTU_REQUEST,
    ReadRequest,
    append_crc,
    build_answer,
    build_exception,
    parse_request,
)

SUNSPEC_BASE = 40000
_COMMON_LENGTH = 66
_UNLOADED = {"voltage": 230.0, "frequency": 50.0}
"""Values of a meter on a healthy grid without a load, by the first word of the quantity; 0 for the others."""
_EXPONENTS = {"current": -2, "voltage": -1, "frequency": -2, "power": 1, "energy": 0}
"""Scale factors, so that a depot's values fit into 16 bits."""
REOPENED_POLL_S = 0.05
_ILLEGAL_FUNCTION, _ILLEGAL_ADDRESS, _ILLEGAL_VALUE, _DEVICE_FAILURE = 1, 2, 3, 4


class Fault(enum.Enum):
    """Misbehavior of a meter."""

    SILENT = "silent"
    EXCEPTION = "exception"
    BAD_CRC = "bad crc"
    HALF_FRAME = "half frame"
    FOREIGN_UNIT = "foreign unit"
    NOT_A_NUMBER = "not a number"
    SWAPPED_WORDS = "swapped words"
    NOISE = "noise"
    ECHO = "echo"


class SimulatedMeter:
    """One unit. Registers that its model does not have answer exception 2, unless gaps are `filled`."""

    def __init__(self, model: MeterModel, unit: int = 1, *, filled: bool = True) -> None:
        self.unit = unit
        self.fault: Fault | None = None
        self.exception = _DEVICE_FAILURE
        """Code that Fault.EXCEPTION answers with."""
        self.max_registers = 125
        self.reads = 0
        self._model = model
        self._filled = filled
        self._functions: set[int] = {register.function for register in model.register}
        self._registers: dict[int, int] = {}
        self._base = 0
        if model.sunspec is not None:
            self._lay_sunspec_chain(model)
        self.set_values({quantity: _unloaded_value(quantity) for quantity in model.by_quantity})

    def set_values(self, values: Mapping[str, float | None]) -> None:
        """Measure these from now on, by quantity, in the quantity's unit; what the model lacks is ignored.

        An active power is set for import and export where the meter has these.
        """
        for register in self._model.by_quantity.values():
            value = _value_of(register.quantity, values)
            if register.quantity not in values and value is None:
                continue
            exponent = _EXPONENTS[register.quantity.partition("_")[0]]
            words = register.encode(value, exponent)
            for offset, word in enumerate(words):
                self._registers[self._base + register.address + offset] = word
            if register.scale_register is not None:
                self._registers[self._base + register.scale_register] = exponent & 0xFFFF

    def set_register(self, function: int, address: int, word: int) -> None:
        """Hold one more register, besides those of the model, and answer `function`."""
        self._registers[address] = word
        self._functions.add(function)

    def set_registers(self, base: int, words: Sequence[int]) -> None:
        """Hold exactly these registers from now on."""
        self._registers = {base + offset: word for offset, word in enumerate(words)}
        self._filled = False
        self._functions = {3, 4}

    def move_registers(self, by: int, *, behind: int) -> None:
        """Move all registers from `behind` on, as a firmware update does; the SunSpec length follows."""
        moved = {
            address + by if address >= behind + 2 else address: word
            for address, word in self._registers.items()
        }
        moved[behind + 1] += by
        moved.setdefault(behind + 2, 0)
        self._registers = moved

    def answer(self, request: ReadRequest) -> Sequence[int] | int:
        """Answer a request for this unit with registers, or with an exception code."""
        self.reads += 1
        if request.function not in self._functions:
            return _ILLEGAL_FUNCTION
        if self.fault is Fault.EXCEPTION:
            return self.exception
        if not 0 < request.count <= self.max_registers:
            return _ILLEGAL_VALUE
        words = [self._word(address) for address in range(request.address, request.address + request.count)]
        registers = [word for word in words if word is not None]
        if len(registers) < len(words):
            return _ILLEGAL_ADDRESS
        if self.fault is Fault.NOT_A_NUMBER:
            return [0x7FFF] * len(registers)
        if self.fault is Fault.SWAPPED_WORDS:
            return [
                registers[at ^ 1] if at ^ 1 < len(registers) else registers[at] for at in range(len(words))
            ]
        return registers

    def _word(self, address: int) -> int | None:
        if address in self._registers:
            return self._registers[address]
        known = self._registers.keys()
        return 0 if self._filled and min(known) <= address <= max(known) else None

    def _lay_sunspec_chain(self, model: MeterModel) -> None:
        """Lay out SunS, the common model, the meter model, the end (SunSpec Information Model, 6)."""
        assert model.sunspec is not None
        number = 213 if 213 in model.sunspec.models else 203
        length = model.sunspec.length
        self._base = SUNSPEC_BASE + 2 + 2 + _COMMON_LENGTH
        heads = {
            SUNSPEC_BASE: 0x5375,
            SUNSPEC_BASE + 1: 0x6E53,
            SUNSPEC_BASE + 2: 1,
            SUNSPEC_BASE + 3: _COMMON_LENGTH,
            self._base: number,
            self._base + 1: length,
            self._base + 2 + length: 0xFFFF,
            self._base + 3 + length: 0,
        }
        self._registers.update(heads)


class SimulatedInputModule:
    """A module with digital inputs, as a unit on a simulated bus."""

    def __init__(self, unit: int, closed: Sequence[bool]) -> None:
        self.unit = unit
        self.fault: Fault | None = None
        self.closed = list(closed)

    def answer(self, request: ReadRequest) -> Sequence[int] | int:
        """Answer a request for this unit with its inputs, or with an exception code."""
        if request.function != DISCRETE_INPUTS:
            return _ILLEGAL_FUNCTION
        inputs = self.closed[request.address : request.address + request.count]
        return [int(closed) for closed in inputs] if len(inputs) == request.count else _ILLEGAL_ADDRESS


SimulatedUnit = SimulatedMeter | SimulatedInputModule


def _unloaded_value(quantity: str) -> float:
    return _UNLOADED.get(quantity.partition("_")[0], 0.0)


def _value_of(quantity: str, values: Mapping[str, float | None]) -> float | None:
    """Return the value to show; of an import or export power, that direction's part of the active power."""
    if quantity in values:
        return values[quantity]
    for part, sign in (("power_import", 1.0), ("power_export", -1.0)):
        power = values.get(quantity.replace(part, "power_active")) if quantity.startswith(part) else None
        if power is not None:
            return max(0.0, sign * power)
    return None


class SimulatedBus:
    """The meters of one bus: takes the bytes of requests, returns the bytes of answers."""

    def __init__(self, *meters: SimulatedUnit, rtu: bool) -> None:
        self._meters = {meter.unit: meter for meter in meters}
        self._rtu = rtu
        self._buffer = b""
        self.override: Callable[[ReadRequest], int | None] | None = None
        """Exception code that a gateway answers a request with; None: the meter answers."""

    def feed(self, data: bytes) -> bytes:
        """Take bytes, return bytes; requests may come in any pieces."""
        self._buffer += data
        answers = b""
        while frame := self._next_frame():
            answers += self._answer(frame)
        return answers

    def _next_frame(self) -> bytes:
        if self._rtu:
            length = RTU_REQUEST
        else:
            length = 6 + int.from_bytes(self._buffer[4:6], "big") if len(self._buffer) >= MBAP else MBAP
        if len(self._buffer) < length:
            return b""
        frame, self._buffer = self._buffer[:length], self._buffer[length:]
        return frame

    def _answer(self, frame: bytes) -> bytes:
        meter = self._meters.get(frame[0] if self._rtu else frame[6])
        if meter is None or meter.fault is Fault.SILENT:
            return b""
        request = parse_request(frame, rtu=self._rtu)
        if request is None:  # a request with a wrong CRC: the rest of it is not answered either
            self._buffer = b""
            return b""
        code = None if self.override is None else self.override(request)
        answer = meter.answer(request) if code is None else code
        if isinstance(answer, int):
            built = build_exception(request, answer, rtu=self._rtu)
        else:
            built = build_answer(request, answer, rtu=self._rtu)
        return _corrupt(built, frame, meter.fault, rtu=self._rtu)


def _corrupt(answer: bytes, request: bytes, fault: Fault | None, *, rtu: bool) -> bytes:
    if fault is Fault.BAD_CRC and rtu:
        return answer[:-1] + bytes([answer[-1] ^ 0xFF])
    if fault is Fault.HALF_FRAME:
        return answer[: len(answer) // 2]
    if fault is Fault.FOREIGN_UNIT:
        at = 0 if rtu else 6
        other = answer[:at] + bytes([answer[at] + 1]) + answer[at + 1 :]
        return append_crc(other[:-2]) if rtu else other
    if fault is Fault.NOISE and rtu:
        return b"\x00\xff\x13" + answer
    if fault is Fault.ECHO and rtu:
        return request + answer
    return answer


class GatewayBehavior(msgspec.Struct, kw_only=True):
    """Behavior of the gateway in front of simulated meters.

    `close_after`: close the connection after so many answers; `close_first`: close so many connections at
    once. `max_registers`: longer reads get `limit_exception`. `delay_s` before each answer.
    `exceptions`: codes that the next requests get. `wrong_transaction`: answers carry another id.
    """

    close_after: int | None = None
    close_first: int = 0
    max_registers: int = 125
    limit_exception: int = _ILLEGAL_VALUE
    delay_s: float = 0.0
    exceptions: list[int] = msgspec.field(default_factory=list)
    wrong_transaction: bool = False
    connections: int = 0
    requests: int = 0

    def intercept(self, request: ReadRequest) -> int | None:
        """Return the exception code that the gateway answers a request with itself, if any."""
        self.requests += 1
        if self.exceptions:
            return self.exceptions.pop(0)
        return self.limit_exception if request.count > self.max_registers else None


async def serve_tcp(
    *meters: SimulatedMeter,
    port: int = 0,
    rtu: bool = False,
    behavior: GatewayBehavior | None = None,
    task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve meters on 127.0.0.1 until cancelled; starts with the bound port."""
    listeners = await trio.open_tcp_listeners(port, host="127.0.0.1")
    gateway = behavior or GatewayBehavior()

    async def serve(stream: trio.SocketStream) -> None:
        await serve_stream(stream, *meters, rtu=rtu, behavior=gateway)

    task_status.started(listeners[0].socket.getsockname()[1])
    await trio.serve_listeners(serve, listeners)


async def serve_stream(
    stream: trio.abc.Stream, *meters: SimulatedMeter, rtu: bool = False, behavior: GatewayBehavior
) -> None:
    """Serve meters on one connection until either side closes it."""
    behavior.connections += 1
    bus = SimulatedBus(*meters, rtu=rtu)
    bus.override = behavior.intercept
    answers = 0
    async with stream:
        if behavior.connections <= behavior.close_first:
            return
        try:
            while data := await stream.receive_some(1024):
                answer = bus.feed(bytes(data))
                if not answer:
                    continue
                if behavior.delay_s:
                    await trio.sleep(behavior.delay_s)
                if behavior.wrong_transaction and not rtu:
                    answer = bytes([answer[0] ^ 0x55, answer[1] ^ 0x55]) + answer[2:]
                await stream.send_all(answer)
                answers += 1
                if behavior.close_after is not None and answers >= behavior.close_after:
                    return
        except trio.BrokenResourceError:
            return  # the client is gone: nothing to answer


class SerialTiming(msgspec.Struct, frozen=True):
    """Timing of a simulated serial bus: bits per second, time until a meter answers (s).

    A character takes 11 bits (start, 8 data, parity or second stop, stop).
    """

    baud: int
    turnaround_s: float = 0.02

    def duration_s(self, count: int) -> float:
        """Return how long `count` bytes take."""
        return count * 11 / self.baud


async def serve_serial(
    descriptor: int,
    *meters: SimulatedUnit,
    timing: SerialTiming | None = None,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve meters on a serial port's descriptor (the master's end of a pseudo-terminal) until cancelled.

    With `timing`, answers take as long as on a bus of that baud rate.
    """
    bus = SimulatedBus(*meters, rtu=True)
    os.set_blocking(descriptor, False)
    task_status.started()
    while True:
        await trio.lowlevel.wait_readable(descriptor)
        try:
            request = os.read(descriptor, 1024)
            if answer := bus.feed(request):
                if timing is not None:
                    await trio.sleep(
                        timing.duration_s(len(request)) + timing.turnaround_s + timing.duration_s(len(answer))
                    )
                await trio.lowlevel.wait_writable(descriptor)
                os.write(descriptor, answer)
        except OSError:  # the other end is not open: a pseudo-terminal reports EIO and has no event
            await trio.sleep(REOPENED_POLL_S)
