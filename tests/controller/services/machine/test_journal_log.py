"""Log records in the journal: priority, fields, and no forged lines."""

from __future__ import annotations

import logging
import os
import socket
import sys
from pathlib import Path

import pytest

from controller.services.machine import journal_log
from controller.services.machine.journal_log import (
    JournalHandler,
    OneLineFormatter,
    fields_of,
    log_handler,
    with_priorities,
)


def a_record(level: int, message: str, *args: object) -> logging.LogRecord:
    return logging.LogRecord("controller.meters", level, __file__, 1, message, args, None)


def test_journal_log_formatter_text_of_peer_cannot_forge_line() -> None:
    record = logging.makeLogRecord(
        {"levelname": "INFO", "msg": "station %s", "args": ("Süd\n\x1bERROR forged",)}
    )
    formatter = OneLineFormatter("%(levelname)s %(message)s")
    assert formatter.format(record) == "INFO station Süd\\n\\x1bERROR forged"


@pytest.mark.parametrize(
    ("level", "priority"),
    [(logging.DEBUG, "7"), (logging.INFO, "6"), (logging.WARNING, "4"), (logging.ERROR, "3")],
)
def test_fields_priority_follows_level(level: int, priority: str) -> None:
    assert dict(fields_of(a_record(level, "x"), "x"))["PRIORITY"] == priority


def test_fields_hold_event_and_pairs() -> None:
    record = a_record(logging.INFO, 'meter recovered meter=%s after=%.0fs reason="no answer"', "grid", 12.0)
    fields = dict(fields_of(record, record.getMessage()))
    assert fields["EVENT"] == "meter recovered"
    assert (fields["METER"], fields["AFTER"], fields["REASON"]) == ("grid", "12s", "no answer")


def test_fields_reason_is_rest_of_message_and_adds_no_field() -> None:
    record = a_record(
        logging.WARNING, "station rejected station=%s reason=%s", "CS01", "no key for meter=grid"
    )
    fields = dict(fields_of(record, record.getMessage()))
    assert fields["REASON"] == "no key for meter=grid"
    assert (fields["EVENT"], fields["STATION"], "METER" in fields) == ("station rejected", "CS01", False)


def test_fields_of_peer_text_stay_one_line_and_keep_reserved_names() -> None:
    record = a_record(logging.WARNING, "station rejected reason=%s", "a\nPRIORITY=0 priority=0")
    fields = fields_of(record, OneLineFormatter("%(message)s").format(record))
    assert [value for name, value in fields if name == "PRIORITY"] == ["4"]
    assert not any("\n" in value for _, value in fields)


def test_journal_handler_sends_one_datagram_per_record(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journal:
        journal.bind(str(path))
        handler = JournalHandler(path)
        handler.emit(a_record(logging.WARNING, "meter lost meter=grid"))
        handler.close()
        lines = journal.recv(65_536).split(b"\n")
    assert b"PRIORITY=4" in lines
    assert b"METER=grid" in lines
    assert b"MESSAGE=meter lost meter=grid" in lines


def test_journal_handler_without_journal_loses_record_only(tmp_path: Path) -> None:
    handler = JournalHandler(tmp_path / "nothing")
    handler.emit(a_record(logging.WARNING, "meter lost"))
    handler.close()


@pytest.mark.parametrize("inherited", [True, False])
def test_log_handler_uses_journal_only_where_stderr_is_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, inherited: bool
) -> None:
    monkeypatch.setattr(journal_log, "SOCKET", tmp_path)
    with (tmp_path / "stderr").open("w") as stderr:
        monkeypatch.setattr(sys, "stderr", stderr)
        status = os.fstat(stderr.fileno())
        inode = status.st_ino + inherited
        monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{inode}")
        handler = log_handler()
        assert isinstance(handler, JournalHandler) is not inherited
        handler.close()


@pytest.mark.parametrize("is_journal", [True, False])
def test_journal_log_error_of_a_start_has_its_priority(
    monkeypatch: pytest.MonkeyPatch, *, is_journal: bool
) -> None:
    monkeypatch.setattr(journal_log, "_stderr_is_journal", lambda: is_journal)
    lines = ("c.toml:3: limit_a: is missing", "c.toml:9: odd (hint)", "1 error")
    prefixes = ("<3>", "<5>", "<3>") if is_journal else ("", "", "")
    expected = "\n".join(f"{prefix}{line}" for prefix, line in zip(prefixes, lines, strict=True))
    assert with_priorities("\n".join(lines)) == expected
