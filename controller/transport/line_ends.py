"""Line ends of an HTTP head: a bare LF is read as CRLF (RFC 9112, 2.2).

WWCP nodes end their request line and status line so; the parser of the WebSocket library accepts CRLF alone.
"""

from __future__ import annotations

_CR, _LF = 0x0D, 0x0A


class LineEndReader:
    """Converts the line ends of one head, however it is split; what follows the head stays as it is."""

    def __init__(self) -> None:
        self._in_head = True
        self._last = _LF
        """Last byte of the head so far; an empty first line is no end of it."""
        self._line_length = 1
        """Bytes of the current line without its end."""

    def convert(self, data: bytes) -> bytes:
        """Convert the next part of the stream."""
        if not self._in_head:
            return data
        is_first = self._last == _LF and self._line_length > 0
        if is_first and _is_head_with_crlf(data):
            self._in_head = False
            return data
        converted = bytearray()
        for place, byte in enumerate(data):
            if byte != _LF:
                converted.append(byte)
                self._line_length += byte != _CR
            else:
                if self._last != _CR:
                    converted.append(_CR)
                converted.append(_LF)
                if self._line_length == 0:  # an empty line ends the head
                    self._in_head = False
                    return bytes(converted) + data[place + 1 :]
                self._line_length = 0
            self._last = byte
        return bytes(converted)


def _is_head_with_crlf(data: bytes) -> bool:
    """Return True if data begins with a whole head, each of whose lines ends with CR and LF."""
    head = data[: data.find(b"\r\n\r\n") + 4]
    return len(head) > 3 and head.count(b"\n") == head.count(b"\r\n") and b"\r\r" not in head
