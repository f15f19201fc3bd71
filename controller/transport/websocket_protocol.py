"""Messages to bytes and back: one open WebSocket (RFC 6455) with its extensions, sans-IO.

The protocol is the Sans-I/O layer of `websockets`. This module joins its frames to messages and turns each
of its ends into one `CloseCause`. Most messages come as one text frame: those are decoded here without the
library's parser, in a quarter of the time; deflated ones by its extension.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from math import inf

import msgspec
from websockets.exceptions import PayloadTooBig, ProtocolError
from websockets.frames import BINARY, CLOSE, CONT, TEXT, Close, CloseCode, Frame
from websockets.http11 import Request, Response
from websockets.protocol import CLIENT, CLOSED, OPEN, Protocol

from controller.model.peer_text import bounded_text

try:
    from websockets.speedups import apply_mask
except ImportError:  # built without a compiler
    from websockets.utils import apply_mask

SMALLEST_DEFLATED = 128
"""Bytes below which deflate hardly shortens a message: it is sent uncompressed."""

CLEAN_CODES = (CloseCode.NORMAL_CLOSURE, CloseCode.GOING_AWAY, CloseCode.NO_STATUS_RCVD)
"""Close codes (RFC 6455, 7.4.1) that report no error."""

WHOLE_TEXT = 0x81
"""First byte of a frame that is a whole uncompressed text message (RFC 6455, 5.2)."""

DEFLATED_TEXT = 0xC1
"""First byte of a frame that is a whole deflated text message (RFC 7692, 6)."""

_MEDIUM_HEAD = struct.Struct(">BBH")
"""Head of a frame with a 16-bit length, as nearly all frames have it (RFC 6455, 5.2)."""

KEYS_AT_ONCE = 1024
"""Masking keys that one system call gives: it takes as long as a quarter of a frame."""

VANISHED = "the connection ended without a close frame"


class CloseCause(msgspec.Struct, frozen=True):
    """Reason for the end of a WebSocket; `is_clean`: a close frame that reports no error."""

    reason: str
    is_clean: bool = False


def _draw_masking_keys() -> Iterator[bytes]:
    """Yield masking keys from the system's source of strong entropy (RFC 6455, 5.3), each used once."""
    while True:
        entropy = os.urandom(4 * KEYS_AT_ONCE)
        for at in range(0, len(entropy), 4):
            yield entropy[at : at + 4]


_masking_keys = _draw_masking_keys()


class WebSocketProtocol:
    """State machine of one WebSocket, from the first byte of its upgrade to its last.

    `head`: the HTTP request or response of its upgrade. `messages`: received and not yet taken.
    `close_cause`: None while it is open. `is_finished`: nothing that matters can still come.
    `fragment_bytes`: greatest payload of a binary frame that is sent; 0: a message is one frame.
    `frames`: frames received so far, but for those that are a whole uncompressed text message.
    """

    __slots__ = (
        "_is_between_messages",
        "_masks",
        "_most",
        "_opening",
        "_parts",
        "_protocol",
        "close_cause",
        "fragment_bytes",
        "frames",
        "head",
        "is_finished",
        "messages",
    )

    def __init__(self, protocol: Protocol) -> None:
        self.head: Request | Response | None = None
        self.messages: list[str | bytes] = []  # a deque takes 600 bytes when empty
        self.close_cause: CloseCause | None = None
        self.is_finished = False
        self.frames = 0
        self._protocol = protocol
        self._masks = protocol.side is CLIENT
        self._most = protocol.max_message_size or inf
        self._is_between_messages = False
        self.fragment_bytes = 0
        self._opening: Frame | None = None
        self._parts: bytearray | None = None

    @property
    def uses_deflate(self) -> bool:
        """True if permessage-deflate was agreed on."""
        return bool(self._protocol.extensions)

    @property
    def is_send_closed(self) -> bool:
        """True if nothing may be sent after what `take_output` returned."""
        return self._protocol.eof_sent

    # -- receiving ------------------------------------------------------------------------------------

    def receive_data(self, data: bytes) -> None:
        """Pass received bytes; b"" at the end of the stream.

        Whole text messages at the start of `data` are decoded here. Anything unusual (a wrong mask bit, a
        64-bit length, invalid UTF-8) is left to the library, which then fails the connection in the way that
        the standard demands. What cannot be inflated fails it here.
        """
        at, end, mask_bit = 0, len(data) if self._is_between_messages else 0, 0 if self._masks else 0x80
        while at + 4 <= end:
            first, second, length = _MEDIUM_HEAD.unpack_from(data, at)
            if first != WHOLE_TEXT and (first != DEFLATED_TEXT or not self.uses_deflate):
                break
            short = second ^ mask_bit  # 0 to 125: the length; 126: it follows; more: 64 bits, or a wrong bit
            if short == 126:
                start = at + 4
            elif short < 126:
                length, start = short, at + 2
            else:
                break
            if mask_bit:
                start += 4
            behind = start + length
            if behind > end or length > self._most:
                break
            payload = data[start:behind]
            if mask_bit:
                payload = apply_mask(payload, data[start - 4 : start])
            if first == WHOLE_TEXT:
                try:
                    self.messages.append(payload.decode())
                except UnicodeDecodeError:
                    break
            else:
                self._on_deflated(payload)
                if self.close_cause is not None:
                    self._is_between_messages = False
                    return
            at = behind
        if at == 0 or at < len(data):
            self._receive_frames(data[at:])

    def _receive_frames(self, data: bytes) -> None:
        """Pass bytes to the library, and take the messages in its frames."""
        protocol = self._protocol
        if data:
            protocol.receive_data(data)
        else:
            self.is_finished = True
            protocol.receive_eof()
        for event in protocol.events_received():
            if not isinstance(event, Frame):
                self.head = event
            elif self.close_cause is None:
                self.frames += 1
                self._on_frame(event)
        if self.close_cause is None and (protocol.parser_exc is not None or protocol.state is CLOSED):
            self._on_failure()
        self._is_between_messages = (
            protocol.state is OPEN and self._opening is None and not protocol.reader.buffer
        )

    def _on_deflated(self, payload: bytes) -> None:
        """Inflate a whole text message, or fail the connection as the library does."""
        self.frames += 1
        protocol = self._protocol
        (extension,) = protocol.extensions
        try:
            frame = extension.decode(Frame(TEXT, payload, rsv1=True), max_size=protocol.max_message_size)
        except PayloadTooBig as error:
            protocol.fail(CloseCode.MESSAGE_TOO_BIG, str(error))
            self._on_failure()
        except ProtocolError as error:
            protocol.fail(CloseCode.PROTOCOL_ERROR, str(error))
            self._on_failure()
        else:
            self._on_message(frame, frame.data)

    def _on_frame(self, frame: Frame) -> None:
        opcode = frame.opcode
        if opcode is TEXT or opcode is BINARY:
            if frame.fin:
                self._on_message(frame, frame.data)
            else:
                self._opening, self._parts = frame, bytearray(frame.data)
        elif opcode is CONT and self._opening is not None and self._parts is not None:
            self._parts += frame.data
            if frame.fin:
                opening, parts = self._opening, self._parts
                self._opening = self._parts = None
                self._on_message(opening, parts)
        elif opcode is CLOSE and (close := self._protocol.close_rcvd) is not None:
            self.close_cause = CloseCause(_describe(close), is_clean=close.code in CLEAN_CODES)
            self.is_finished = True

    def _on_message(self, opening: Frame, data: bytes | bytearray | memoryview) -> None:
        if opening.opcode is BINARY:
            self.messages.append(bytes(data))
            return
        try:
            self.messages.append(str(data, "utf-8"))
        except UnicodeDecodeError:
            self._protocol.fail(CloseCode.INVALID_DATA, "a text message is not UTF-8")
            self._on_failure()

    def _on_failure(self) -> None:
        """Set the cause: the stream ended too early, or the library has failed the connection."""
        sent = self._protocol.close_sent
        if sent is None:
            self.close_cause = CloseCause(VANISHED)
        elif sent.code is CloseCode.MESSAGE_TOO_BIG:
            self.close_cause = CloseCause(
                f"a message is longer than {self._most} bytes; raise listen.max_message_bytes if it must pass"
            )
        else:
            self.close_cause = CloseCause(_describe(sent))

    # -- sending --------------------------------------------------------------------------------------

    def encode_text(self, text: bytes) -> bytes:
        """Return the frame of a text message, given in UTF-8; send it after `take_output`."""
        first: int = WHOLE_TEXT
        data: bytes | bytearray | memoryview = text
        length = len(text)
        if length >= SMALLEST_DEFLATED and self._protocol.extensions:
            (extension,) = self._protocol.extensions
            first, data = DEFLATED_TEXT, extension.encode(Frame(TEXT, text)).data
            length = len(data)
        # The frame that `Frame.serialize` makes, in a third of its time (RFC 6455, 5.2).
        mask_bit = 0x80 if self._masks else 0
        if 126 <= length < 65_536:
            head = _MEDIUM_HEAD.pack(first, mask_bit | 126, length)
        elif length < 126:
            head = bytes((first, mask_bit | length))
        else:
            head = bytes((first, mask_bit | 127)) + length.to_bytes(8, "big")
        if not self._masks:
            return head + data
        key = next(_masking_keys)
        return head + key + apply_mask(data, key)

    def encode_binary(self, data: bytes) -> bytes:
        """Return the frames of a binary message, of `fragment_bytes` at most; they are not deflated."""
        most = self.fragment_bytes or len(data)
        if len(data) <= most:
            return Frame(BINARY, data).serialize(mask=self._masks)
        frames = [
            Frame(CONT if start else BINARY, data[start : start + most], fin=start + most >= len(data))
            for start in range(0, len(data), most)
        ]
        return b"".join(frame.serialize(mask=self._masks) for frame in frames)

    def send_ping(self) -> None:
        """Queue a ping."""
        self._protocol.send_ping(b"")

    def send_close(self, code: int, reason: str) -> None:
        """Queue a close frame, unless the peer has sent one or the connection has failed."""
        if self._protocol.state is OPEN:
            self._protocol.send_close(code, _cut_reason(reason))

    def take_output(self) -> bytes:
        """Return what is to be sent now, messages apart: the upgrade, pongs and close frames."""
        writes = self._protocol.data_to_send()
        return writes[0] if len(writes) == 1 else b"".join(writes)


def _describe(close: Close) -> str:
    return f"closed with {int(close.code)}" + (f", {bounded_text(close.reason)}" if close.reason else "")


def _cut_reason(reason: str) -> str:
    """Cut a reason to the 123 bytes that a close frame has room for (RFC 6455, 5.5)."""
    return reason.encode()[:123].decode(errors="ignore")
