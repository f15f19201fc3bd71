"""`local-controller signatures`: verify signed payloads from a file, with the reasons of the daemon."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import msgspec
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec

from controller.cli.arguments import (
    FAILED,
    OK,
    UNREADABLE,
    CommandError,
    Subcommands,
    add_json,
    file_error,
    print_json,
)
from controller.cli.key_arguments import read_bytes, read_public_keys
from controller.ocpp.frames import Version
from controller.signing import SigningError, payload_signatures, signature_format
from controller.signing.curves import CurveKeyError
from controller.signing.payload_signatures import KeyId, SignatureReport
from controller.signing.signature_format import Direction, MessageKind

_VERSIONS = {version.value.removeprefix("ocpp"): version for version in Version}
MAX_FILE_BYTES = 64 * 1024 * 1024


class SignedPayloadEntry(msgspec.Struct, frozen=True):
    """One element of the file. `author`: in 1.6 `cs` is the central system, in 2.x the station."""

    id: str
    version: str
    kind: MessageKind
    action: str
    author: Literal["cs", "csms", "cp"]
    wire: str

    @property
    def direction(self) -> Direction:
        """Direction of the message."""
        station = "cp" if self.version == "1.6" else "cs"
        return Direction.UP if self.author == station else Direction.DOWN


class PrintedVerification(msgspec.Struct, frozen=True):
    """Result of one element as `--json` prints it. `text`: what was hashed, with `--text`."""

    id: str
    valid: bool
    reason: str
    text: str | None = None


def add_parser(commands: Subcommands) -> None:
    """Add the subcommand and its actions."""
    parser = commands.add_parser("signatures", help="verify signed messages outside of the controller")
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    check = actions.add_parser(
        "check", help="print whether the signatures of each message are valid, and why not"
    )
    check.add_argument(
        "file",
        type=Path,
        metavar="FILE",
        help="JSON array of {id, version, kind, action, author, wire}; wire is the payload's text",
    )
    check.add_argument(
        "--key",
        type=Path,
        action="append",
        metavar="FILE",
        help="public key or certificate in PEM; only keys that are named count (default: any key)",
    )
    check.add_argument("--text", action="store_true", help="print the text that was hashed as well")
    add_json(check)
    check.set_defaults(run=_check)


def _check(options: argparse.Namespace) -> int:
    entries = _read_entries(options.file)
    if not entries:
        raise CommandError(f"{options.file} has no message: nothing was checked", UNREADABLE)
    if options.key is None:
        if not options.json:
            print("no --key is given: any key counts that fits its signature")
        is_known: Callable[[KeyId], bool] = lambda _: True  # noqa: E731
    else:
        is_known = frozenset(key for file in options.key for key in _read_keys(file)).__contains__
    results = [_verify(entry, is_known) for entry in entries]
    if options.json:
        print_json(
            [
                PrintedVerification(
                    entry.id, reason is None, reason or "", _shown(text) if options.text else None
                )
                for entry, (reason, text) in zip(entries, results, strict=True)
            ]
        )
    else:
        for entry, (reason, text) in zip(entries, results, strict=True):
            print(f"{entry.id} valid" if reason is None else f"{entry.id} invalid: {reason}")
            if options.text and text:
                print(f"    {_shown(text)}")
    return OK if all(reason is None for reason, _ in results) else FAILED


def _shown(text: bytes) -> str:
    return text.decode("utf-8", "replace")


def _verify(entry: SignedPayloadEntry, is_known: Callable[[KeyId], bool]) -> tuple[str | None, bytes]:
    """Return why the signatures of a payload are invalid, None if they are valid, and the hashed text."""
    version = _VERSIONS.get(entry.version.removeprefix("ocpp"))
    if version is None:
        return f"version {entry.version} is unknown; {', '.join(_VERSIONS)} are known", b""
    context = signature_format.context(version, entry.direction, entry.kind, entry.action)
    try:
        report = payload_signatures.verify_payload(
            entry.wire.encode("utf-8", "surrogatepass"),
            context,
            is_known,
            free_data=entry.action == "DataTransfer",
        )
    except SigningError as error:
        return str(error), b""
    return _objection(report), report.text


def _objection(report: SignatureReport) -> str | None:
    if not report.signatures:
        return "it is not signed"
    return next((each.wrong for each in report.signatures if each.wrong is not None), None)


def _read_entries(file: Path) -> list[SignedPayloadEntry]:
    try:
        if file.stat().st_size > MAX_FILE_BYTES:
            raise CommandError(f"{file} is longer than {MAX_FILE_BYTES} bytes", UNREADABLE)
        # Not msgspec: the text of a payload may have half a surrogate pair, which is one of the cases.
        content = json.loads(file.read_text("utf-8"))
        return msgspec.convert(content, list[SignedPayloadEntry])
    except OSError as error:
        raise file_error(error, file) from error
    except (ValueError, RecursionError) as error:
        raise CommandError(
            f"{file} is not a JSON array of {{id, version, kind, action, author, wire}}: {error}", UNREADABLE
        ) from error


def _read_keys(file: Path) -> list[KeyId]:
    data = read_bytes(file)
    if b"-----BEGIN CERTIFICATE" not in data:
        return [payload_signatures.key_id(key) for key in read_public_keys(file)]
    try:
        keys = [each.public_key() for each in x509.load_pem_x509_certificates(data)]
        found = [payload_signatures.key_id(key) for key in keys if isinstance(key, ec.EllipticCurvePublicKey)]
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise CommandError(f"{file} has a certificate that cannot be read", UNREADABLE) from error
    except CurveKeyError as error:
        raise CommandError(f"{file}: {error}", UNREADABLE) from error
    if not found:
        raise CommandError(f"{file} has no ECC key", UNREADABLE)
    return found
