"""One request and its answer on a Modbus bus, byte by byte. Sans-IO.

pymodbus builds and parses the frames, but its framers accept an answer of the wrong length or function,
and lose a good frame behind noise. On an RS485 bus noise, another unit's late answer and the echo of our
own request are common. So an `Exchange` holds exactly which frames could answer its request, looks for
one at every position, and has only that parsed. If no answer comes, `diagnose` names what came instead.

Sources: Modbus application protocol 1.1b3 (sections 6.3, 6.4, 7), Modbus over serial line 1.02
(section 2.5.1), Modbus messaging on TCP/IP 1.0b (section 3.1).
"""

from __future__ import annotations

from typing import Protocol

import msgspec

from drivers.coded_text import coded
from drivers.errors import Cause
from drivers.modbus.pymodbus_frames import (
    DISCRETE_INPUTS,
    MBAP,
    DeviceException,
    Registers,
    build_request,
    parse_rtu_answer,
    parse_tcp_answer,
)

MAX_BYTES = 2048
"""More than this without an answer in it is a bus that carries only noise."""


class Diagnosis(msgspec.Struct, frozen=True):
    """Explanation of an exchange without a valid answer, as a sentence."""

    text: str
    cause: Cause = Cause.CORRUPT_ANSWER


class InvalidAnswer(msgspec.Struct, frozen=True):
    """Bytes that cannot become an answer; the bus has to be opened again."""

    diagnosis: Diagnosis


Answer = Registers | DeviceException | InvalidAnswer


class Exchange(Protocol):
    """One request, and the search for its answer."""

    request: bytes

    def feed(self, data: bytes) -> Answer | None:
        """Take received bytes, in any pieces; return None until the answer is complete.

        Fed further, it searches for another answer behind.
        """

    def diagnose(self) -> Diagnosis | None:
        """Explain why there is no answer, from the bytes that came; None if none came."""


class RtuExchange:
    """Exchange on a serial bus, or with RTU frames over TCP."""

    def __init__(self, unit: int, function: int, address: int, count: int) -> None:
        self._unit = unit
        self._function = function
        self._count = count
        self._buffer = bytearray()
        self._received = bytearray()
        self._corrupt = 0
        self.request = build_request(unit, function, address, count)

    def feed(self, data: bytes) -> Answer | None:
        """See `Exchange`."""
        self._buffer += data
        self._received += data
        answer = self._search()
        if answer is None and len(self._received) > MAX_BYTES:
            return InvalidAnswer(
                Diagnosis(coded("the bus carries only noise; check its baud rate, parity and wiring"))
            )
        return answer

    def diagnose(self) -> Diagnosis | None:
        """See `Exchange`."""
        received = bytes(self._received)
        rest = received.removeprefix(self.request)
        if not received:
            return None
        if not rest:
            return Diagnosis(
                coded(
                    "only the echo of the request came back: the adapter echoes and the meter does not "
                    "answer; check its wiring and unit number"
                ),
                Cause.NO_ANSWER,
            )
        if self._corrupt:
            return Diagnosis(
                coded("its answer came with a wrong checksum; check baud rate, parity, termination and cable")
            )
        if unit := self._find_other_unit(rest):
            return Diagnosis(
                coded(
                    "unit {other} answered instead of unit {unit}; check that each unit number exists once, "
                    "and that no other master uses the bus",
                    other=unit,
                    unit=self._unit,
                ),
                Cause.WRONG_ANSWER,
            )
        size = _size(self._function, self._count)
        if rest[:3] == bytes((self._unit, self._function, size)):
            return Diagnosis(
                coded(
                    "its answer ended after {received} of {expected} bytes; check termination and cable",
                    received=len(rest),
                    expected=5 + size,
                )
            )
        if rest[:2] == bytes((self._unit, self._function)):
            return Diagnosis(
                coded(
                    "it answered with {received} bytes of data instead of {expected}; check its model",
                    received=rest[2] if len(rest) > 2 else 0,
                    expected=size,
                ),
                Cause.WRONG_ANSWER,
            )
        return Diagnosis(
            coded(
                "{count} bytes came that are no answer; check baud rate, parity and wiring", count=len(rest)
            )
        )

    def _search(self) -> Answer | None:
        """Find the first good answer; drop bytes that can begin none, so less than a frame stays."""
        buffer, incomplete = self._buffer, None
        for start in range(len(buffer)):
            length = self._length(buffer[start : start + 3])
            if length == 0:
                continue
            if start + length > len(buffer):
                incomplete = start if incomplete is None else incomplete
                continue
            answer = parse_rtu_answer(bytes(buffer[start : start + length]), self._count)
            if answer is not None:
                del buffer[: start + length]
                return answer
            self._corrupt += 1
        del buffer[: len(buffer) if incomplete is None else incomplete]
        return None

    def _length(self, head: bytearray) -> int:
        """Return the length of an answer that begins like this; 0 where none does."""
        size = _size(self._function, self._count)
        expected = (self._unit, self._function, size)
        if head[0] != self._unit:
            return 0
        if len(head) > 1 and head[1] == self._function | 0x80:
            return 5
        return 5 + size if tuple(head) == expected[: len(head)] else 0

    def _find_other_unit(self, received: bytes) -> int:
        """Find a good answer of another unit; return its number, else 0."""
        for start in range(len(received) - 4):
            length = 5 + received[start + 2] if received[start + 1] < 0x80 else 5
            frame = received[start : start + length]
            possible = len(frame) == length and frame[0] not in (0, self._unit) and frame[1] & 0x7F in (3, 4)
            if possible and parse_rtu_answer(frame, (length - 5) // 2) is not None:
                return frame[0]
        return 0


class TcpExchange:
    """Exchange on Modbus TCP, TLS or UDP. `transaction` numbers it, 1 to 65535."""

    def __init__(self, unit: int, function: int, address: int, count: int, transaction: int) -> None:
        self._unit = unit
        self._function = function
        self._count = count
        self._transaction = transaction
        self._buffer = bytearray()
        self._others: list[tuple[int, int]] = []
        self.request = build_request(unit, function, address, count, transaction)

    def feed(self, data: bytes) -> Answer | None:
        """See `Exchange`."""
        self._buffer += data
        while len(self._buffer) >= MBAP:
            protocol = int.from_bytes(self._buffer[2:4], "big")
            length = int.from_bytes(self._buffer[4:6], "big")
            if protocol != 0 or not 3 <= length <= 254:
                return InvalidAnswer(_diagnose_protocol(bytes(self._buffer[:3])))
            end = 6 + length
            if len(self._buffer) < end:
                return None
            frame = bytes(self._buffer[:end])
            del self._buffer[:end]
            if self._is_ours(frame):
                return self._parse(frame)
            self._others.append((int.from_bytes(frame[:2], "big"), frame[6]))
            if len(self._others) > MAX_BYTES // MBAP:
                return InvalidAnswer(self.diagnose() or Diagnosis(coded("it sends without being asked")))
        return None

    def diagnose(self) -> Diagnosis | None:
        """See `Exchange`."""
        if self._others:
            transaction, unit = self._others[-1]
            if transaction != self._transaction:
                return Diagnosis(
                    coded(
                        "the gateway answered transaction {other} instead of {transaction}: it mixes up "
                        "requests or answers too late; allow it one client only, or raise timeout_s",
                        other=transaction,
                        transaction=self._transaction,
                    ),
                    Cause.WRONG_ANSWER,
                )
            return Diagnosis(
                coded(
                    "unit {other} answered instead of unit {unit}; check the unit number",
                    other=unit,
                    unit=self._unit,
                ),
                Cause.WRONG_ANSWER,
            )
        if self._buffer:
            if bytes(self._buffer[:2]) == b"\x15\x03":
                return _diagnose_protocol(bytes(self._buffer[:3]))
            return Diagnosis(coded("its answer ended after {count} bytes", count=len(self._buffer)))
        return None

    def _is_ours(self, frame: bytes) -> bool:
        """Compare transaction and unit: some gateways lose the first, others the second, none both."""
        transaction, unit = int.from_bytes(frame[:2], "big"), frame[6]
        if transaction == self._transaction:
            return unit in (self._unit, 0, 255)
        return transaction == 0 and unit == self._unit

    def _parse(self, frame: bytes) -> Answer:
        function, count = frame[7], self._count
        refusal = function == self._function | 0x80 and len(frame) == MBAP + 2
        size = _size(function, count)
        fits = function == self._function and frame[8] == size and len(frame) == MBAP + 2 + size
        answer = parse_tcp_answer(frame, count) if refusal or fits else None
        return answer or InvalidAnswer(
            Diagnosis(
                coded(
                    "it answered with function {other} in {size} bytes, which is no answer to function "
                    "{function} for {count} registers; check its model",
                    other=function,
                    size=len(frame),
                    function=self._function,
                    count=count,
                ),
                Cause.WRONG_ANSWER,
            )
        )


def _diagnose_protocol(head: bytes) -> Diagnosis:
    if head[:2] == b"\x15\x03":  # a TLS alert record
        return Diagnosis(coded('it uses TLS; set transport = "tls" and its port, usually 802'))
    return Diagnosis(
        coded(
            'what came is not Modbus TCP; if the gateway passes on RTU frames, set transport = "rtu-over-tcp"'
        )
    )


def _size(function: int, count: int) -> int:
    """Return the bytes of data in an answer (application protocol, 6.2 to 6.4)."""
    return (count + 7) // 8 if function == DISCRETE_INPUTS else 2 * count
