"""Messages to bytes and back: one open WebSocket (RFC 6455) with what it has agreed on, pure.

The protocol is that of the Sans-I/O layer of `websockets`. Here its frames become whole messages, and each
of its ends one sentence. Most that comes is one text message in one frame: that is taken without it, in a
quarter of the time.
"""

from __future__ import annotations

from math import inf

import msgspec
from websockets.frames import BINARY, CLOSE, CONT, TEXT, Close, CloseCode, Frame
from websockets.http11 import Request, Response
from websockets.protocol import CLIENT, CLOSED, OPEN, Protocol

try:
    from websockets.speedups import apply_mask
except ImportError:  # where it was built without a compiler
    from websockets.utils import apply_mask

SMALL = 128
"""Bytes of a message that deflate would make hardly shorter: it goes as it is."""

PROPER = (CloseCode.NORMAL_CLOSURE, CloseCode.GOING_AWAY, CloseCode.NO_STATUS_RCVD)
"""The close codes (RFC 6455, 7.4.1) of a peer that has nothing to complain of."""

WHOLE_TEXT = 0x81
"""How a frame begins that is a whole text message, not compressed (RFC 6455, 5.2)."""

VANISHED = "it vanished without a close frame"


class CloseCause(msgspec.Struct, frozen=True):
    """How a WebSocket ended, in a person's words; `clean` where the peer closed it properly."""

    reason: str
    clean: bool = False


class WebSocketProtocol:
    """One WebSocket, from its first byte to its last: bytes are fed in, and taken out.

    `head`: the HTTP request or response that it began with. `messages`: what has come and nobody has
    taken yet. `gone`: how it ended; None while it is open. `over`: nothing more that matters can come.
    """

    def __init__(self, protocol: Protocol) -> None:
        self.head: Request | Response | None = None
        self.messages: list[str | bytes] = []  # a deque would take 600 bytes where it is empty
        self.gone: CloseCause | None = None
        self.over = False
        self._protocol = protocol
        self._masks = protocol.side is CLIENT
        self._most = protocol.max_message_size or inf
        self._is_between_messages = False
        self.fragment_bytes = 0
        """Greatest payload of a binary frame; 0: a message is one frame."""
        self._opening: Frame | None = None
        self._parts = bytearray()

    @property
    def deflates(self) -> bool:
        """Whether it has agreed on permessage-deflate."""
        return bool(self._protocol.extensions)

    @property
    def ended(self) -> bool:
        """Whether nothing may be sent after what has been taken."""
        return self._protocol.eof_sent

    # -- in -----------------------------------------------------------------------------------------

    def feed(self, data: bytes) -> None:
        """What has come; no byte at all is the end of the stream."""
        protocol = self._protocol
        if self._is_between_messages and data and not (data := self._whole_texts(data)):
            return
        if data:
            protocol.receive_data(data)
        else:
            self.over = True
            protocol.receive_eof()
        for event in protocol.events_received():
            if not isinstance(event, Frame):
                self.head = event
            elif self.gone is None:
                self._came(event)
        if self.gone is None and (protocol.parser_exc is not None or protocol.state is CLOSED):
            self._failed()
        self._is_between_messages = (
            protocol.state is OPEN and self._opening is None and not protocol.reader.buffer
        )

    def _whole_texts(self, data: bytes) -> bytes:
        """Take the whole text messages that it begins with. The rest is for the protocol, also to judge."""
        at, end, masked = 0, len(data), not self._masks
        while at + 1 < end and data[at] == WHOLE_TEXT and (data[at + 1] >= 0x80) is masked:
            length, start = data[at + 1] & 0x7F, at + 2
            if length == 126:
                length, start = int.from_bytes(data[start : start + 2], "big"), start + 2
            if masked:
                start += 4
            if start + length > end or length > self._most or length == 127:
                break
            payload = data[start : start + length]
            if masked:
                payload = apply_mask(payload, data[start - 4 : start])
            try:
                self.messages.append(str(payload, "utf-8"))
            except UnicodeDecodeError:
                break
            at = start + length
        return data[at:]

    def _came(self, frame: Frame) -> None:
        opcode = frame.opcode
        if opcode is TEXT or opcode is BINARY:
            if frame.fin:
                self._complete(frame, frame.data)
            else:
                self._opening = frame
                self._parts += frame.data
        elif opcode is CONT and self._opening is not None:
            self._parts += frame.data
            if frame.fin:
                opening, parts = self._opening, self._parts
                self._opening, self._parts = None, bytearray()
                self._complete(opening, parts)
        elif opcode is CLOSE and (close := self._protocol.close_rcvd) is not None:
            self.gone = CloseCause(_in_words(close), clean=close.code in PROPER)
            self.over = True

    def _complete(self, opening: Frame, data: bytes | bytearray | memoryview) -> None:
        if opening.opcode is BINARY:
            self.messages.append(bytes(data))
            return
        try:
            self.messages.append(str(data, "utf-8"))
        except UnicodeDecodeError:
            self._protocol.fail(CloseCode.INVALID_DATA, "a text message is not UTF-8")
            self._failed()

    def _failed(self) -> None:
        """Its stream has ended too early; or the peer has broken the protocol, and is told so."""
        told = self._protocol.close_sent
        self.gone = CloseCause(VANISHED if told is None else _in_words(told))

    # -- out ----------------------------------------------------------------------------------------

    def text(self, text: bytes) -> bytes:
        """The frame of a text message, given in UTF-8, to be sent after what `take` gives."""
        extensions = self._protocol.extensions if len(text) >= SMALL else ()
        return Frame(TEXT, text).serialize(mask=self._masks, extensions=extensions)

    def binary(self, data: bytes) -> bytes:
        """Return the frames of a binary message, of `fragment_bytes` at most; they are not deflated."""
        most = self.fragment_bytes or len(data)
        if len(data) <= most:
            return Frame(BINARY, data).serialize(mask=self._masks)
        frames = [
            Frame(CONT if start else BINARY, data[start : start + most], fin=start + most >= len(data))
            for start in range(0, len(data), most)
        ]
        return b"".join(frame.serialize(mask=self._masks) for frame in frames)

    def ping(self) -> None:
        """Ask for a sign of life."""
        self._protocol.send_ping(b"")

    def close(self, code: int, reason: str) -> None:
        """Begin the closing handshake, unless the peer has begun it or it is too late for it."""
        if self._protocol.state is OPEN:
            self._protocol.send_close(code, _fits(reason))

    def take(self) -> bytes:
        """What is to be sent now, messages apart: answers to pings, and the closing handshake."""
        writes = self._protocol.data_to_send()
        return writes[0] if len(writes) == 1 else b"".join(writes)


def _in_words(close: Close) -> str:
    return f"closed with {int(close.code)}" + (f", {close.reason}" if close.reason else "")


def _fits(reason: str) -> str:
    """A close frame has room for 123 bytes of reason (RFC 6455, 5.5)."""
    return reason.encode()[:123].decode(errors="ignore")
