"""Acceptance report of a site: as JSON for programs, as HTML for people and for printing."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from html import escape
from pathlib import Path

import msgspec

from controller.cli.commissioning_checks import CheckResult

_STYLE = """body{font:11pt sans-serif;margin:2cm}table{border-collapse:collapse;width:100%}
td,th{border:1px solid #999;padding:4px 8px;text-align:left;vertical-align:top}
.failed{background:#fdd}.passed{background:#dfd}.signature{margin-top:2cm}"""


class AcceptanceReport(msgspec.Struct, frozen=True, kw_only=True):
    """Results of a commissioning. `config_sha256`: of the configuration file's bytes."""

    site: str
    installer: str
    began: str
    ended: str
    version: str
    config: str
    config_sha256: str
    passed: bool
    results: tuple[CheckResult, ...]


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def has_passed(results: Sequence[CheckResult]) -> bool:
    """Return True if nothing failed and something was checked."""
    verdicts = {result.verdict for result in results}
    return "failed" not in verdicts and "passed" in verdicts


def write_report(report: AcceptanceReport, stem: Path) -> tuple[Path, Path]:
    """Write the report beside `stem` as .json and .html; return both paths. Raises OSError."""
    as_json, as_html = stem.with_suffix(".json"), stem.with_suffix(".html")
    as_json.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n")
    as_html.write_text(render_html(report), encoding="utf-8")
    return as_json, as_html


def render_html(report: AcceptanceReport) -> str:
    """Render the report as one page of HTML."""
    facts = (
        ("Site", report.site),
        ("Installer", report.installer),
        ("Began", report.began),
        ("Ended", report.ended),
        ("Version", report.version),
        ("Configuration", f"{report.config}, SHA-256 {report.config_sha256}"),
        ("Result", "passed" if report.passed else "not passed"),
    )
    head = "".join(f"<tr><th>{escape(name)}</th><td>{escape(value)}</td></tr>" for name, value in facts)
    rows = "".join(
        f'<tr class="{result.verdict}"><td>{escape(result.time)}</td><td>{escape(result.step)}</td>'
        f"<td>{escape(result.subject)}</td><td>{result.verdict}</td><td>{escape(result.text)}</td></tr>"
        for result in report.results
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Acceptance report</title>'
        f"<style>{_STYLE}</style></head><body><h1>Acceptance report</h1><table>{head}</table><h2>Tests</h2>"
        f"<table><tr><th>Time</th><th>Test</th><th>Subject</th><th>Result</th><th>Values</th></tr>{rows}</table>"
        '<p class="signature">Date, signature: ______________________________</p></body></html>\n'
    )
