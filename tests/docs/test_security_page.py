"""docs/security.md: the events that it lists exist with their fields, and so do the tests of each duty."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "security.md").read_text()
LOGGED = "\n".join(
    re.sub(r"\"\s*\n\s*f?\"", "", file.read_text()) for file in (ROOT / "controller").rglob("*.py")
)
"""The source, with texts of several lines joined."""
EVENTS = [
    (event, re.findall(r"`([A-Z]+)`", fields))
    for names, fields in re.findall(r"^\| (`[a-zA-Z].*?) \| (`[A-Z].*) \|$", PAGE, re.M)
    for event in re.findall(r"`([^`]+)`", names)
]
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")] for line in PAGE.splitlines() if line[:1] == "|"
]
DUTIES = [(row[2], re.findall(r"`([^`]+)`", row[4])) for row in ROWS if len(row) == 5 and row[0][0] in "IA"]


@pytest.mark.parametrize(("event", "fields"), EVENTS)
def test_security_events_have_their_fields(event: str, fields: list[str]) -> None:
    name = re.escape(event).replace("ends\\ soon", "%s").replace("has\\ ended", "%s")
    messages = re.findall(rf"[\"'](?:{name}[ \"'])[^\n]*(?:\n[^\n]*){{0,5}}", LOGGED)
    assert messages, event
    found = {each.upper() for message in messages for each in re.findall(r"\b([a-z]+)=", message)}
    if event == "upgrade rejected":  # STATUS and REASON are the text of a Rejection
        found |= {"STATUS", "REASON"}
    if event in ("configuration error", "reload rejected", "command done"):  # fields of the pair of events
        found |= set(fields)
    assert set(fields) <= found, (event, messages)


def test_security_page_duties_name_tests_that_exist() -> None:
    assert len(DUTIES) > 15
    tests = {
        name
        for file in (ROOT / "tests").rglob("test_*.py")
        for name in re.findall(r"def (test_\w+)", file.read_text())
    }
    for duty, names in DUTIES:
        for name in names:
            assert name in tests or (ROOT / name).is_file(), (duty, name)
