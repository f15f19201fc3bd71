"""One request and its answer on a Modbus line, byte by byte. Pure.

pymodbus builds and reads the frames. But its framers take what comes for granted: an answer of the
wrong length or function, and a good frame behind noise is lost with it. On an RS485 line noise,
another unit's late answer and the echo of our own request are everyday. So an `Exchange` knows exactly
which frames could answer its request, looks for one at every position, and lets pymodbus read only that.

Sources: Modbus application protocol 1.1b3 (sections 6.3, 6.4, 7), Modbus over serial line 1.02
(section 2.5.1), Modbus messaging on TCP/IP 1.0b (section 3.1).
"""

from __future__ import annotations

from typing import Protocol

import msgspec
from pymodbus.framer import FramerRTU, FramerSocket
from pymodbus.pdu import DecodePDU, ExceptionResponse, ModbusPDU
from pymodbus.pdu.bit_message import ReadDiscreteInputsRequest, ReadDiscreteInputsResponse
from pymodbus.pdu.register_message import (
    ReadHoldingRegistersRequest,
    ReadHoldingRegistersResponse,
    ReadInputRegistersRequest,
    ReadInputRegistersResponse,
)

MOST_BYTES = 2048
"""More than this without an answer in it is a line that only makes noise."""

_DISCRETE_INPUTS = 2
_REQUESTS: dict[int, type[ModbusPDU]] = {
    _DISCRETE_INPUTS: ReadDiscreteInputsRequest,
    3: ReadHoldingRegistersRequest,
    4: ReadInputRegistersRequest,
}
_MBAP = 7
_NAMES = {
    1: "illegal function",
    2: "illegal data address",
    3: "illegal data value",
    4: "device failure",
    5: "acknowledge",
    6: "device busy",
    8: "memory parity error",
    10: "gateway path unavailable",
    11: "gateway target device failed to respond",
}


class Registers(msgspec.Struct, frozen=True):
    """The answer: as many registers as were asked for; of discrete inputs, 0 or 1 for each."""

    values: tuple[int, ...]


class DeviceException(msgspec.Struct, frozen=True):
    """The device's refusal (application protocol, section 7)."""

    code: int

    def __str__(self) -> str:
        return f"exception {self.code} ({_NAMES.get(self.code, 'unknown')})"


class Noise(msgspec.Struct, frozen=True):
    """No answer will come of these bytes; the line has to be started anew."""

    why: str


Answer = Registers | DeviceException | Noise


class Exchange(Protocol):
    """One request, and the eyes for its answer."""

    request: bytes

    def feed(self, data: bytes) -> Answer | None:
        """Bytes that came, in any pieces; None as long as the answer is not whole."""


class RtuExchange:
    """An exchange on a serial line, or on RTU over TCP."""

    def __init__(self, unit: int, function: int, address: int, count: int) -> None:
        self._framer = FramerRTU(DecodePDU(is_server=False))
        self._unit = unit
        self._function = function
        self._count = count
        self._buffer = bytearray()
        self._received = 0
        self.request = self._framer.buildFrame(_request(unit, function, address, count))

    def feed(self, data: bytes) -> Answer | None:
        """See `Exchange`."""
        self._buffer += data
        self._received += len(data)
        answer = self._search()
        if answer is None and self._received > MOST_BYTES:
            return Noise("the line makes nothing but noise; check its baud rate, parity and wiring")
        return answer

    def _search(self) -> Answer | None:
        """The first good answer. Bytes that can begin none are dropped, so less than a frame stays."""
        buffer, incomplete = self._buffer, None
        for start in range(len(buffer)):
            length = self._length(buffer[start : start + 3])
            if length == 0:
                continue
            if start + length > len(buffer):
                incomplete = start if incomplete is None else incomplete
                continue
            answer = self._read(bytes(buffer[start : start + length]))
            if answer is not None:
                return answer
        del buffer[: len(buffer) if incomplete is None else incomplete]
        return None

    def _length(self, head: bytearray) -> int:
        """How long an answer that begins like this is; 0 where none does."""
        size = _size(self._function, self._count)
        expected = (self._unit, self._function, size)
        if head[0] != self._unit:
            return 0
        if len(head) > 1 and head[1] == self._function | 0x80:
            return 5
        return 5 + size if tuple(head) == expected[: len(head)] else 0

    def _read(self, frame: bytes) -> Answer | None:
        _, pdu = self._framer.handleFrame(frame, self._unit, 0)  # None where the CRC is wrong
        return _answer(pdu, self._count)


class TcpExchange:
    """An exchange on Modbus TCP or TLS. `transaction` numbers it, 1 to 65535."""

    def __init__(self, unit: int, function: int, address: int, count: int, transaction: int) -> None:
        self._framer = FramerSocket(DecodePDU(is_server=False))
        self._unit = unit
        self._function = function
        self._count = count
        self._transaction = transaction
        self._buffer = bytearray()
        request = _request(unit, function, address, count)
        request.transaction_id = transaction
        self.request = self._framer.buildFrame(request)

    def feed(self, data: bytes) -> Answer | None:
        """See `Exchange`."""
        self._buffer += data
        while len(self._buffer) >= _MBAP:
            protocol = int.from_bytes(self._buffer[2:4], "big")
            length = int.from_bytes(self._buffer[4:6], "big")
            if protocol != 0 or not 3 <= length <= 254:
                return Noise("what came is not Modbus TCP; if the gateway speaks RTU, set rtu-over-tcp")
            end = 6 + length
            if len(self._buffer) < end:
                return None
            frame = bytes(self._buffer[:end])
            del self._buffer[:end]
            if self._is_ours(frame):
                return self._read(frame)
        return None

    def _is_ours(self, frame: bytes) -> bool:
        """By its transaction; some gateways lose that, others the unit, none both."""
        transaction, unit = int.from_bytes(frame[:2], "big"), frame[6]
        if transaction == self._transaction:
            return unit in (self._unit, 0, 255)
        return transaction == 0 and unit == self._unit

    def _read(self, frame: bytes) -> Answer:
        function, count = frame[7], self._count
        refusal = function == self._function | 0x80 and len(frame) == _MBAP + 2
        size = _size(function, count)
        fits = function == self._function and frame[8] == size and len(frame) == _MBAP + 2 + size
        # 0, 0: whichever unit and transaction; that they are ours we have seen.
        pdu = self._framer.handleFrame(frame, 0, 0)[1] if refusal or fits else None
        return _answer(pdu, count) or Noise(
            f"function {function} in {len(frame)} bytes answers another question than ours"
        )


def _request(unit: int, function: int, address: int, count: int) -> ModbusPDU:
    return _REQUESTS[function](address=address, count=count, dev_id=unit)


def _size(function: int, count: int) -> int:
    """How many bytes of data an answer has (application protocol, 6.2 to 6.4)."""
    return (count + 7) // 8 if function == _DISCRETE_INPUTS else 2 * count


def _answer(pdu: ModbusPDU | None, count: int) -> Answer | None:
    if isinstance(pdu, ExceptionResponse):
        return DeviceException(pdu.exception_code)
    if (
        isinstance(pdu, ReadHoldingRegistersResponse | ReadInputRegistersResponse)
        and len(pdu.registers) == count
    ):
        return Registers(tuple(pdu.registers))
    if isinstance(pdu, ReadDiscreteInputsResponse) and len(pdu.bits) >= count:
        return Registers(tuple(int(bit) for bit in pdu.bits[:count]))
    return None
