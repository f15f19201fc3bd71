"""Report of chronyd for a daemon that may not ask it: a second process, this module run with `python3 -m`.

Debian's chronyd takes commands from root and its own user only. The unit `local-controller-chrony` runs as
that user, asks at intervals, and writes the report into a file that everybody may read.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from controller.timekeeping import TimekeepingError
from controller.timekeeping.chrony_protocol import MAX_REPLY_BYTES
from controller.timekeeping.chrony_session import ChronySession
from controller.timekeeping.clock_status import ClockReading
from drivers.coded_text import TextParts, coded, decimal, parts_or_text, rebuild_text, text_of

CHRONY_SOCKET = Path("/run/chrony/chronyd.sock")
REPORT_FILE = Path("/run/local-controller-chrony/report.json")
ASK_S = 30.0
"""Interval of the questions to chronyd."""
MAX_AGE_S = 95.0
"""Age (s) beyond which a report is not used: its writer has failed three times."""
REPLY_S = 2.0
"""Time that chronyd may take for a reply."""


class ChronyReport(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Content of the file. `monotonic`: when it was written (s); `problem`: why there is no reading."""

    monotonic: float
    reading: ClockReading | None = None
    problem: TextParts | str = ""


def open_chrony_socket(path: Path) -> tuple[socket.socket, Path]:
    """Return a datagram socket bound beside that of chronyd, and its own path. Raises OSError.

    The caller removes the path.
    """
    own = path.with_name(f"local-controller.{os.getpid()}.sock")
    own.unlink(missing_ok=True)
    made = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        made.bind(str(own))
        own.chmod(0o666)  # chronyd has given up its privileges and must be able to write to it
        made.connect(str(path))
    except OSError:
        made.close()
        raise
    return made, own


def ask_chrony(path: Path) -> ClockReading:
    """Ask chronyd for its state; blocks REPLY_S for each reply at most. Raises OSError, TimekeepingError."""
    made, own = open_chrony_socket(path)
    try:
        made.settimeout(REPLY_S)
        session = ChronySession()
        while (request := session.next_request()) is not None:
            made.send(request)
            session.on_reply(made.recv(MAX_REPLY_BYTES))
        return session.reading()
    finally:
        made.close()
        with contextlib.suppress(OSError):
            own.unlink()


def write_report(path: Path, now: float, chrony: Path = CHRONY_SOCKET) -> ChronyReport:
    """Ask chronyd and write its report, which is returned. Raises OSError if it cannot be written."""
    try:
        report = ChronyReport(monotonic=now, reading=ask_chrony(chrony))
    except (OSError, TimekeepingError) as error:
        report = ChronyReport(monotonic=now, problem=parts_or_text(_describe(error)))
    partial = path.with_suffix(".new")
    partial.write_bytes(msgspec.json.encode(report))
    partial.chmod(0o644)
    partial.replace(path)
    return report


def read_report(path: Path, now: float) -> ClockReading | None:
    """Return the reading in a report; None if there is no report. Raises TimekeepingError.

    It is raised with the reason where chronyd could not be asked, or the report is too old.
    """
    try:
        report = msgspec.json.decode(path.read_bytes(), type=ChronyReport)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError) as error:
        raise TimekeepingError(coded("{file} cannot be read: {reason}", file=path, reason=error)) from None
    if not 0 <= now - report.monotonic <= MAX_AGE_S:
        raise TimekeepingError(
            coded(
                "{path} is too old; check `systemctl status local-controller-chrony` and chronyd",
                path=path,
            )
        )
    if report.reading is None:
        raise TimekeepingError(rebuild_text(report.problem))
    return report.reading


def _describe(error: OSError | TimekeepingError) -> str:
    if isinstance(error, TimeoutError):
        return coded("chronyd did not answer within {duration} s", duration=decimal(REPLY_S))
    if isinstance(error, OSError):
        return coded("chronyd cannot be asked: {reason}", reason=error.strerror)
    return text_of(error)


def keep_report(path: Path, wait: Callable[[float], None], chrony: Path = CHRONY_SOCKET) -> None:
    """Write the report at intervals until chronyd cannot be asked and its socket is another one.

    systemd then starts the process again, in a new sandbox: this one has no folder of a chronyd that was
    started later. While chronyd does not run, it waits: a start writes five lines into the journal.
    `wait`: sleeps for a time (s). Raises OSError if the report cannot be written.
    """
    first = _identify(chrony)
    while not write_report(path, time.monotonic(), chrony).problem or _identify(chrony) == first:
        wait(ASK_S)


def _identify(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


if __name__ == "__main__":
    keep_report(REPORT_FILE, time.sleep)
