"""The home of the project: one placeholder, in the places that CONTRIBUTING names."""

from __future__ import annotations

from tests.docs.example_sites import ROOT

PLACEHOLDER = b"example.org/local-controller"
MAILBOX = b"@example.org"
PLACES = {"debian/control", "debian/copyright", "debian/changelog"}


def test_home_placeholder_is_where_contributing_names_it() -> None:
    files = [*ROOT.glob("*.*"), *(ROOT / "docs").glob("*.md"), *(ROOT / "debian").iterdir()]
    found = {
        str(file.relative_to(ROOT))
        for file in files
        if file.is_file() and any(text in file.read_bytes() for text in (PLACEHOLDER, MAILBOX))
    }
    assert found == PLACES
    guide = (ROOT / "CONTRIBUTING.md").read_text()
    assert all(f"`{place}`" in guide for place in PLACES)


def test_security_policy_names_no_mailbox_that_nobody_reads() -> None:
    assert "example.org" not in (ROOT / "SECURITY.md").read_text()
