"""Log lines for systemd's journal, with priority and fields; plain lines on stderr elsewhere.

A log message is an event and its subject as key=value pairs, e.g. `meter recovered meter=grid after=12s`.
In the journal each pair becomes a field: `journalctl METER=grid`, `journalctl -p warning`.
"""

from __future__ import annotations

import logging
import os
import re
import socket
import sys
from pathlib import Path

SOCKET = Path("/run/systemd/journal/socket")
_PRIORITIES = (
    (logging.CRITICAL, 2),
    (logging.ERROR, 3),
    (logging.WARNING, 4),
    (logging.INFO, 6),
)
"""Levels and the priorities of syslog (RFC 5424, 6.2.1) in the journal."""
_PAIR = re.compile(r"(?:^|\s)(?:(reason)=(?!\")(.*)|([a-z][a-z0-9_]{0,47})=(\"[^\"]*\"|\S*))", re.DOTALL)
"""A pair. An unquoted reason is the rest of the message: it may be a peer's text, which must add no field."""
_RESERVED = {"MESSAGE", "PRIORITY", "SYSLOG_IDENTIFIER", "LOGGER", "EVENT"}


class OneLineFormatter(logging.Formatter):
    """Formatter whose messages are one printable line, whatever a peer's text contains."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        """Return the line with everything unprintable escaped."""
        return printable(super().formatMessage(record))


def printable(text: str) -> str:
    """Escape every character that a terminal would act on."""
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)


class JournalHandler(logging.Handler):
    """Handler that sends records to the journal in its native protocol (systemd, JOURNAL_NATIVE_PROTOCOL)."""

    def __init__(self, path: Path = SOCKET) -> None:
        super().__init__()
        self._path = str(path)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)

    def emit(self, record: logging.LogRecord) -> None:
        """Send one record; a journal that does not receive loses it, and nothing waits."""
        data = b"".join(_encode_field(name, value) for name, value in fields_of(record, self.format(record)))
        try:
            self._socket.sendto(data, socket.MSG_DONTWAIT, self._path)
        except OSError:
            self.handleError(record)

    def handleError(self, record: logging.LogRecord) -> None:
        """Leave a record out: stderr is the journal itself, so there is no other place to report it."""

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()
        super().close()


def fields_of(record: logging.LogRecord, text: str) -> list[tuple[str, str]]:
    """Return the journal's fields of a record whose formatted message is `text`."""
    message = record.getMessage()
    first = _PAIR.search(message)
    fields = [
        ("MESSAGE", text),
        ("PRIORITY", str(next((value for level, value in _PRIORITIES if record.levelno >= level), 7))),
        ("SYSLOG_IDENTIFIER", "local-controller"),
        ("LOGGER", record.name),
        ("EVENT", printable(message if first is None else message[: first.start()])),
    ]
    for pair in _PAIR.finditer(message):
        name, value = pair[1] or pair[3], pair[2] if pair[1] else pair[4]
        if name.upper() not in _RESERVED:
            fields.append((name.upper(), printable(value.strip('"'))))
    return fields


def _encode_field(name: str, value: str) -> bytes:
    data = value.encode(errors="backslashreplace")
    if b"\n" in data:  # only a traceback has several lines; its length is written before it
        return name.encode() + b"\n" + len(data).to_bytes(8, "little") + data + b"\n"
    return name.encode() + b"=" + data + b"\n"


def log_handler() -> logging.Handler:
    """Return the handler of the daemon: to the journal where stderr is connected to it, else to stderr."""
    handler: logging.Handler
    if _stderr_is_journal() and SOCKET.exists():
        handler = JournalHandler()
        handler.setFormatter(OneLineFormatter("%(message)s"))
    else:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(OneLineFormatter("%(levelname)s %(name)s: %(message)s"))
    return handler


def with_priorities(text: str) -> str:
    """Return the lines of an error for stderr: in the journal with its priority, hints with a lower one."""
    if not _stderr_is_journal():
        return text
    # The prefixes of sd-daemon(3).
    return "\n".join(f"<{5 if line.endswith('(hint)') else 3}>{line}" for line in text.splitlines())


def _stderr_is_journal() -> bool:
    """Compare stderr with JOURNAL_STREAM (systemd.exec(5)), which may be inherited by another stderr."""
    device, _, inode = os.environ.get("JOURNAL_STREAM", "").partition(":")
    try:
        status = os.fstat(sys.stderr.fileno())
    except (OSError, ValueError):
        return False
    return (device, inode) == (str(status.st_dev), str(status.st_ino))


_LOGGERS = ("controller", "drivers")
"""The loggers whose level the configuration sets."""


def start_logging(level: str | None) -> None:
    """Log to the journal or standard error from `level` on; None: everything, whatever is set later."""
    logging.basicConfig(
        level=logging.DEBUG if level is None else logging.INFO, handlers=[log_handler()], force=True
    )
    if level is not None:
        set_log_level(level)


def set_log_level(level: str) -> None:
    """Set the least level of the controller's own lines, unless everything is logged."""
    if logging.getLogger().level != logging.DEBUG:
        for name in _LOGGERS:
            logging.getLogger(name).setLevel(level.upper())
