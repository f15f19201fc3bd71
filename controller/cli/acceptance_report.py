"""Acceptance report of a site: signed JSON for programs, HTML for people and for printing.

The signature is ECDSA over the JSON's canonical form (RFC 8785) without its member `signature`, by a key of
the controller or of the installer. Without a key, the printed SHA-256 of that form shows later changes.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

import msgspec
import rfc8785
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from controller.cli.arguments import CommandError
from controller.cli.commissioning_checks import CheckResult
from controller.signing import curves, payload_signatures, signing_keys
from controller.signing.curves import CurveKeyError
from controller.signing.signing_keys import OwnKey

_STYLE = """body{font:11pt sans-serif;margin:2cm}table{border-collapse:collapse;width:100%}
td,th{border:1px solid #999;padding:4px 8px;text-align:left;vertical-align:top}
.failed{background:#fdd}.passed{background:#dfd}.signature{margin-top:2cm}"""


class InvalidReportError(CommandError):
    """A file is not an acceptance report, or was changed. Its text states why."""


class InstalledDevice(msgspec.Struct, frozen=True, kw_only=True):
    """A meter or station of the site, by its own texts; empty where it has none."""

    kind: str
    id: str
    vendor: str = ""
    model: str = ""
    serial_number: str = ""
    firmware: str = ""


class ReportSignature(msgspec.Struct, frozen=True, kw_only=True):
    """Signature of a report: `key` is the SHA-256 of the public key (DER), which follows in PEM; base64."""

    algorithm: str
    key: str
    public_key: str
    value: str


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
    devices: tuple[InstalledDevice, ...] = ()
    signature: ReportSignature | None = None


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def has_passed(results: Sequence[CheckResult]) -> bool:
    """Return True if nothing failed and something was checked."""
    verdicts = {result.verdict for result in results}
    return "failed" not in verdicts and "passed" in verdicts


def sign_report(report: AcceptanceReport, key: OwnKey) -> AcceptanceReport:
    """Return the report with a signature of this key."""
    value = curves.sign_text(key.private, signed_text(msgspec.to_builtins(report)))
    curve = curves.curve_of(key.private.public_key())
    return msgspec.structs.replace(
        report,
        signature=ReportSignature(
            algorithm=f"ECDSA {curve.name}",
            key=signing_keys.fingerprint(key.known.id),
            public_key=signing_keys.public_pem(key),
            value=base64.b64encode(value).decode(),
        ),
    )


def verify_report(text: bytes, trusted: Sequence[ec.EllipticCurvePublicKey] = ()) -> AcceptanceReport:
    """Return a report whose signature is valid; with `trusted`, only if one of these keys has signed it.

    Raises InvalidReportError for anything else.
    """
    try:
        document = msgspec.json.decode(text)
        report = msgspec.convert(document, AcceptanceReport)
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise InvalidReportError(f"it is no acceptance report: {error}") from error
    signature = report.signature
    if signature is None:
        raise InvalidReportError(f"it is not signed; the SHA-256 of its content is {report_digest(document)}")
    try:
        key = load_pem_public_key(signature.public_key.encode())
        if not isinstance(key, ec.EllipticCurvePublicKey):
            raise CurveKeyError("it is not an elliptic-curve key")
        curve = curves.curve_of(key)
        value = base64.b64decode(signature.value, validate=True)
    except (ValueError, CurveKeyError, binascii.Error) as error:
        raise InvalidReportError(f"its signature cannot be read: {error}") from error
    found = signing_keys.fingerprint(payload_signatures.key_id(key))
    if not curves.is_valid_signature(curve, key, value, signed_text(document)) or found != signature.key:
        raise InvalidReportError("it was changed after it was signed: the signature does not fit its content")
    names = {signing_keys.fingerprint(payload_signatures.key_id(each)) for each in trusted}
    if names and found not in names:
        raise InvalidReportError(f"it is signed by another key, {found}")
    return report


def signed_text(document: dict[str, Any]) -> bytes:
    """Return the bytes that a report's signature covers."""
    return rfc8785.dumps({name: value for name, value in document.items() if name != "signature"})


def report_digest(document: dict[str, Any]) -> str:
    """Return the SHA-256 of the bytes that a signature covers, in hexadecimal."""
    return hashlib.sha256(signed_text(document)).hexdigest()


def write_report(report: AcceptanceReport, stem: Path) -> tuple[Path, Path]:
    """Write the report beside `stem` as .json and .html; return both paths. Raises OSError."""
    as_json, as_html = stem.with_suffix(".json"), stem.with_suffix(".html")
    as_json.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n")
    as_html.write_text(render_html(report), encoding="utf-8")
    return as_json, as_html


def render_html(report: AcceptanceReport) -> str:
    """Render the report as one page of HTML."""
    facts = [
        ("Site", report.site),
        ("Installer", report.installer),
        ("Began", report.began),
        ("Ended", report.ended),
        ("Version", report.version),
        ("Configuration", f"{report.config}, SHA-256 {report.config_sha256}"),
        ("Result", "passed" if report.passed else "not passed"),
        ("SHA-256 of the content", report_digest(msgspec.to_builtins(report))),
    ]
    if report.signature is not None:
        facts.append(("Signed", f"{report.signature.algorithm}, key {report.signature.key}"))
    head = "".join(f"<tr><th>{escape(name)}</th><td>{escape(value)}</td></tr>" for name, value in facts)
    devices = "".join(
        "<tr>" + "".join(f"<td>{escape(text)}</td>" for text in msgspec.structs.astuple(device)) + "</tr>"
        for device in report.devices
    )
    rows = "".join(
        f'<tr class="{result.verdict}"><td>{escape(result.time)}</td><td>{escape(result.step)}</td>'
        f"<td>{escape(result.subject)}</td><td>{result.verdict}</td><td>{escape(result.text)}</td></tr>"
        for result in report.results
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Acceptance report</title>'
        f"<style>{_STYLE}</style></head><body><h1>Acceptance report</h1><table>{head}</table><h2>Devices</h2>"
        "<table><tr><th>Kind</th><th>Id</th><th>Vendor</th><th>Model</th><th>Serial number</th>"
        f"<th>Firmware</th></tr>{devices}</table><h2>Tests</h2>"
        f"<table><tr><th>Time</th><th>Test</th><th>Subject</th><th>Result</th><th>Values</th></tr>{rows}</table>"
        '<p class="signature">Date, signature: ______________________________</p></body></html>\n'
    )
