"""A Modbus meter in software: the demo's and the tests' field hardware, on real sockets and serial lines.

The core is pure: quantities go in, registers come out by the same map that reads them. `faults` makes
it misbehave in the ways that real lines do.
"""

from __future__ import annotations

import enum
import os
from collections.abc import Mapping

import trio
from pymodbus.framer import FramerRTU, FramerSocket
from pymodbus.pdu import DecodePDU, ExceptionResponse, ModbusPDU
from pymodbus.pdu.register_message import (
    ReadHoldingRegistersRequest,
    ReadHoldingRegistersResponse,
    ReadInputRegistersRequest,
    ReadInputRegistersResponse,
)

from drivers.registers import RegisterMap

SUNSPEC_BASE = 40000
_COMMON_LENGTH = 66
_EXPONENTS = {"current": -2, "voltage": -1, "frequency": -2, "power": 1, "energy": 0}
"""SunSpec scale factors, so that a depot's values fit into 16 bits."""
REOPENED_POLL_S = 0.05
_RTU_REQUEST = 8
_MBAP = 7
_ILLEGAL_FUNCTION, _ILLEGAL_ADDRESS = 1, 2


class Fault(enum.Enum):
    """How the meter may misbehave."""

    SILENT = "silent"
    EXCEPTION = "exception"
    BAD_CRC = "bad crc"
    HALF_FRAME = "half frame"
    FOREIGN_UNIT = "foreign unit"
    NOT_A_NUMBER = "not a number"


class SimulatedMeter:
    """One unit. Registers that its map does not have answer exception 2, unless gaps are `filled`."""

    def __init__(self, register_map: RegisterMap, unit: int = 1, *, filled: bool = True) -> None:
        self.unit = unit
        self.fault: Fault | None = None
        self._map = register_map
        self._filled = filled
        self._functions = {register.function for register in register_map.register}
        self._registers: dict[int, int] = {}
        self._base = 0
        if register_map.sunspec is not None:
            self._lay_sunspec_chain(register_map.sunspec.models[0], register_map.sunspec.length)
        self.set(dict.fromkeys((register.quantity for register in register_map.register), 0.0))

    def set(self, values: Mapping[str, float | None]) -> None:
        """Measure these from now on, by quantity, in V, A, W, Hz, Wh; what the map lacks is left out."""
        for register in self._map.register:
            if register.quantity not in values:
                continue
            exponent = _EXPONENTS[register.quantity.split("_")[0]]
            words = register.encode(values[register.quantity], exponent)
            for offset, word in enumerate(words):
                self._registers[self._base + register.address + offset] = word
            if register.scale_register is not None:
                self._registers[self._base + register.scale_register] = exponent & 0xFFFF

    def answer(self, request: ModbusPDU) -> ModbusPDU:
        """The answer to one request for this unit."""
        reads = isinstance(request, ReadHoldingRegistersRequest | ReadInputRegistersRequest)
        if not reads or request.function_code not in self._functions:
            return self._refusal(request, _ILLEGAL_FUNCTION)
        if self.fault is Fault.EXCEPTION:
            return self._refusal(request, 4)
        words = [self._word(address) for address in range(request.address, request.address + request.count)]
        if any(word is None for word in words):
            return self._refusal(request, _ILLEGAL_ADDRESS)
        registers = [word for word in words if word is not None]
        if self.fault is Fault.NOT_A_NUMBER:
            registers = [0x7FFF] * len(registers)
        kind = ReadHoldingRegistersResponse if request.function_code == 3 else ReadInputRegistersResponse
        return kind(registers=registers, dev_id=self.unit, transaction_id=request.transaction_id)

    def _word(self, address: int) -> int | None:
        if address in self._registers:
            return self._registers[address]
        known = self._registers.keys()
        return 0 if self._filled and min(known) <= address <= max(known) else None

    def _refusal(self, request: ModbusPDU, code: int) -> ModbusPDU:
        return ExceptionResponse(request.function_code, code, self.unit, request.transaction_id)

    def _lay_sunspec_chain(self, model: int, length: int) -> None:
        """SunS, the common model, the meter model, the end (SunSpec Information Model, section 6)."""
        self._base = SUNSPEC_BASE + 2 + 2 + _COMMON_LENGTH
        heads = {
            SUNSPEC_BASE: 0x5375,
            SUNSPEC_BASE + 1: 0x6E53,
            SUNSPEC_BASE + 2: 1,
            SUNSPEC_BASE + 3: _COMMON_LENGTH,
            self._base: model,
            self._base + 1: length,
            self._base + 2 + length: 0xFFFF,
            self._base + 3 + length: 0,
        }
        self._registers.update(heads)


class SimulatedLine:
    """The meters of one line: takes the bytes of requests, gives the bytes of answers."""

    def __init__(self, *meters: SimulatedMeter, rtu: bool) -> None:
        self._meters = {meter.unit: meter for meter in meters}
        self._rtu = rtu
        decoder = DecodePDU(is_server=True)
        self._framer = FramerRTU(decoder) if rtu else FramerSocket(decoder)
        self._buffer = b""

    def feed(self, data: bytes) -> bytes:
        """Bytes in, bytes out; requests may come in any pieces."""
        self._buffer += data
        answers = b""
        while frame := self._next_frame():
            answers += self._answer(frame)
        return answers

    def _next_frame(self) -> bytes:
        if self._rtu:
            length = _RTU_REQUEST
        else:
            length = 6 + int.from_bytes(self._buffer[4:6], "big") if len(self._buffer) >= _MBAP else _MBAP
        if len(self._buffer) < length:
            return b""
        frame, self._buffer = self._buffer[:length], self._buffer[length:]
        return frame

    def _answer(self, frame: bytes) -> bytes:
        unit = frame[0] if self._rtu else frame[6]
        meter = self._meters.get(unit)
        if meter is None or meter.fault is Fault.SILENT:
            return b""
        _, request = self._framer.handleFrame(frame, unit, 0)
        if request is None:  # a request with a wrong CRC: what is left of it answers nothing either
            self._buffer = b""
            return b""
        return _spoilt(self._framer.buildFrame(meter.answer(request)), meter.fault, rtu=self._rtu)


def _spoilt(answer: bytes, fault: Fault | None, *, rtu: bool) -> bytes:
    if fault is Fault.BAD_CRC and rtu:
        return answer[:-1] + bytes([answer[-1] ^ 0xFF])
    if fault is Fault.HALF_FRAME:
        return answer[: len(answer) // 2]
    if fault is Fault.FOREIGN_UNIT:
        at = 0 if rtu else 6
        return answer[:at] + bytes([answer[at] + 1]) + answer[at + 1 :]
    return answer


async def serve_tcp(
    *meters: SimulatedMeter,
    port: int = 0,
    rtu: bool = False,
    task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve meters on 127.0.0.1 until cancelled; starts with the bound port."""
    listeners = await trio.open_tcp_listeners(port, host="127.0.0.1")

    async def serve(stream: trio.SocketStream) -> None:
        line = SimulatedLine(*meters, rtu=rtu)
        async with stream:
            try:
                async for data in stream:
                    if answer := line.feed(bytes(data)):
                        await stream.send_all(answer)
            except trio.BrokenResourceError:
                return  # the master is gone: nothing to answer

    task_status.started(listeners[0].socket.getsockname()[1])
    await trio.serve_listeners(serve, listeners)


async def serve_serial(
    descriptor: int, *meters: SimulatedMeter, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    """Serve meters on a serial line's descriptor (the master's end of a pseudo-terminal) until cancelled."""
    line = SimulatedLine(*meters, rtu=True)
    os.set_blocking(descriptor, False)
    task_status.started()
    while True:
        await trio.lowlevel.wait_readable(descriptor)
        try:
            if answer := line.feed(os.read(descriptor, 1024)):
                await trio.lowlevel.wait_writable(descriptor)
                os.write(descriptor, answer)
        except OSError:  # nobody has the other end open: a pseudo-terminal says EIO then, and has no event
            await trio.sleep(REOPENED_POLL_S)
