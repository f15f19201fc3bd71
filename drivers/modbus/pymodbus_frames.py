"""Frames of Modbus, with the framers and messages of pymodbus: the only file that uses its internals.

pymodbus' public interface is its clients and servers, which own the transport and run on asyncio. Its
framers and messages are what is needed here; they change between minor versions, so what depends on
them is here, and `tests/drivers/modbus/test_pymodbus_frames.py` is run against several of them.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from functools import lru_cache

import msgspec
from pymodbus.exceptions import ModbusException
from pymodbus.framer import FramerBase, FramerRTU, FramerSocket
from pymodbus.pdu import DecodePDU, ExceptionResponse, ModbusPDU
from pymodbus.pdu.bit_message import ReadDiscreteInputsRequest, ReadDiscreteInputsResponse
from pymodbus.pdu.register_message import (
    ReadHoldingRegistersRequest,
    ReadHoldingRegistersResponse,
    ReadInputRegistersRequest,
    ReadInputRegistersResponse,
)

DISCRETE_INPUTS, HOLDING_REGISTERS, INPUT_REGISTERS = 2, 3, 4
MBAP = 7
"""Bytes of the header of Modbus TCP with the unit."""
RTU_REQUEST = 8

_REQUESTS: dict[int, type[ModbusPDU]] = {
    DISCRETE_INPUTS: ReadDiscreteInputsRequest,
    HOLDING_REGISTERS: ReadHoldingRegistersRequest,
    INPUT_REGISTERS: ReadInputRegistersRequest,
}
_RTU_CLIENT, _RTU_SERVER = FramerRTU(DecodePDU(is_server=False)), FramerRTU(DecodePDU(is_server=True))
_TCP_CLIENT, _TCP_SERVER = FramerSocket(DecodePDU(is_server=False)), FramerSocket(DecodePDU(is_server=True))

_NAMES = {
    1: "illegal function", 2: "illegal data address", 3: "illegal data value", 4: "device failure",
    5: "acknowledge", 6: "device busy", 8: "memory parity error", 10: "gateway path unavailable",
    11: "gateway target device failed to respond",
}  # fmt: skip


class Registers(msgspec.Struct, frozen=True):
    """Answer to a read: as many registers as were asked for; of discrete inputs, 0 or 1 for each."""

    values: tuple[int, ...]


class DeviceException(msgspec.Struct, frozen=True):
    """Exception response of a device (application protocol, section 7)."""

    code: int

    def __str__(self) -> str:
        return f"exception {self.code} ({_NAMES.get(self.code, 'unknown')})"


class ReadRequest(msgspec.Struct, frozen=True):
    """Request that a server has received; `count` is 0 for a function that does not read."""

    unit: int
    transaction: int
    function: int
    address: int
    count: int


def build_request(
    unit: int, function: int, address: int, count: int, transaction: int | None = None
) -> bytes:
    """Build a read request: for Modbus TCP with a `transaction`, else for RTU."""
    if transaction is None:
        return _build_frame(_RTU_CLIENT, unit, function, address, count)
    frame = _build_frame(_TCP_CLIENT, unit, function, address, count)
    return transaction.to_bytes(2, "big") + frame[2:]  # the header begins with the transaction


@lru_cache(maxsize=1024)
def _build_frame(framer: FramerBase, unit: int, function: int, address: int, count: int) -> bytes:
    """Build a request without a transaction; meters are asked the same again and again."""
    return bytes(framer.buildFrame(_REQUESTS[function](address=address, count=count, dev_id=unit)))


def parse_rtu_answer(frame: bytes, count: int) -> Registers | DeviceException | None:
    """Parse one whole RTU frame of any unit; None if its CRC or length is wrong."""
    if len(frame) < 5 or append_crc(frame[:-2]) != frame:
        return None
    return _parse_pdu(frame[1:-2], count)


def parse_tcp_answer(frame: bytes, count: int) -> Registers | DeviceException | None:
    """Parse one whole frame of Modbus TCP of any unit and transaction; None if it is invalid."""
    return _parse_pdu(frame[MBAP:], count)


def parse_request(frame: bytes, *, rtu: bool) -> ReadRequest | None:
    """Parse one whole request frame on the server's side; None if it is invalid."""
    pdu = _decode(_RTU_SERVER if rtu else _TCP_SERVER, frame)
    if pdu is None:
        return None
    unit, transaction = (frame[0], 0) if rtu else (frame[6], int.from_bytes(frame[:2], "big"))
    reads = isinstance(
        pdu, ReadDiscreteInputsRequest | ReadHoldingRegistersRequest | ReadInputRegistersRequest
    )
    return ReadRequest(
        unit, transaction, pdu.function_code, pdu.address if reads else 0, pdu.count if reads else 0
    )


def build_answer(request: ReadRequest, values: Sequence[int], *, rtu: bool) -> bytes:
    """Build the answer of a server."""
    unit, transaction = request.unit, request.transaction
    answer: ModbusPDU
    if request.function == DISCRETE_INPUTS:
        bits = [bool(value) for value in values]
        answer = ReadDiscreteInputsResponse(bits=bits, dev_id=unit, transaction_id=transaction)
    elif request.function == HOLDING_REGISTERS:
        answer = ReadHoldingRegistersResponse(registers=list(values), dev_id=unit, transaction_id=transaction)
    else:
        answer = ReadInputRegistersResponse(registers=list(values), dev_id=unit, transaction_id=transaction)
    return bytes((_RTU_SERVER if rtu else _TCP_SERVER).buildFrame(answer))


def build_exception(request: ReadRequest, code: int, *, rtu: bool) -> bytes:
    """Build the exception response of a server."""
    answer = ExceptionResponse(request.function, code, request.unit, request.transaction)
    return bytes((_RTU_SERVER if rtu else _TCP_SERVER).buildFrame(answer))


def append_crc(frame: bytes) -> bytes:
    """Append the checksum of RTU to a frame."""
    return frame + FramerRTU.compute_CRC(frame).to_bytes(2, "big")


def _decode(framer: FramerBase, frame: bytes, unit: int = 0) -> ModbusPDU | None:
    """Decode one whole frame; `unit` 0 accepts any. None if it is invalid or of an unknown function."""
    try:
        return framer.handleFrame(frame, unit, 0)[1]
    except ModbusException:
        return None


def _parse_pdu(pdu: bytes, count: int) -> Registers | DeviceException | None:
    """Parse function code and data of an answer (application protocol, 6.2 to 6.4 and 7).

    pymodbus decodes register by register, which costs more than all the rest of a read.
    """
    if len(pdu) == 2 and pdu[0] & 0x80:
        return DeviceException(pdu[1])
    function, data = pdu[0], pdu[2:]
    if len(pdu) < 2 or pdu[1] != len(data):
        return None
    if function in (HOLDING_REGISTERS, INPUT_REGISTERS) and len(data) == 2 * count:
        return Registers(struct.unpack(f">{count}H", data))
    if function == DISCRETE_INPUTS and len(data) == (count + 7) // 8:
        bits = int.from_bytes(data, "little")
        return Registers(tuple(bits >> number & 1 for number in range(count)))
    return None
