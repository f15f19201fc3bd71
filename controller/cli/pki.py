"""`local-controller pki`: the certificates of a site: its CA, and the controller's own identities."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path

from controller.access.passwords import PasswordError, check_passphrase
from controller.cli.arguments import (
    FAILED,
    OK,
    UNREADABLE,
    CommandError,
    Subcommands,
    add_json,
    file_error,
    number,
    print_json,
)
from controller.pki import PkiError
from controller.pki.ca_folder import CREDENTIAL, CaFolder, CaSettings, read_passphrase
from controller.pki.certificate_ledger import CertificateState, IssuedCertificate, RevocationReason
from controller.pki.certificate_profiles import DAY_S, Purpose
from controller.pki.certificate_requests import RequestContent
from controller.pki.identity_files import IdentityFolder, ImportedIdentity
from controller.pki.issuance import Applicant
from controller.pki.object_ids import OWN_ARC, ObjectIds

USUAL_FOLDER = Path("/var/lib/local-controller/pki")


def add_parser(commands: Subcommands) -> None:
    """Add the subcommand and its actions."""
    parser = commands.add_parser("pki", help="the site's certificate authority and own certificates")
    actions = parser.add_subparsers(required=True, metavar="ACTION")

    init = actions.add_parser("init", help="make the site CA: a root and an issuing CA")
    init.add_argument("--name", required=True, help="name of the CA, e.g. that of the site")
    init.add_argument("--arc", default=OWN_ARC, help="OID arc of the extensions (default: %(default)s)")
    init.add_argument("--max-days", type=number, help="longest validity of any certificate")
    init.add_argument("--party-id", action="append", help="party id that certificates may name; repeatable")
    _finish(init, _init)

    sign = actions.add_parser("sign", help="issue a certificate for a request (PKCS#10)")
    sign.add_argument("request", type=Path, metavar="FILE", help="request in PEM or DER")
    _add_applicant(sign)
    sign.add_argument("-o", "--out", type=Path, metavar="FILE", help="where the chain goes (default: stdout)")
    _finish(sign, _sign)

    issue = actions.add_parser("issue", help="make a key here and issue its certificate")
    issue.add_argument("identity", metavar="NAME", help="name of the identity: its file is NAME.pem")
    _add_applicant(issue)
    _finish(issue, _issue)

    revoke = actions.add_parser("revoke", help="revoke a certificate")
    revoke.add_argument("serial", metavar="SERIAL", help="in hexadecimal, as `pki list` shows it")
    revoke.add_argument(
        "--reason",
        choices=[reason.value for reason in RevocationReason],
        default=RevocationReason.UNSPECIFIED.value,
        help="default: %(default)s",
    )
    _finish(revoke, _revoke)

    listing = actions.add_parser("list", help="all certificates with their states and ends")
    listing.add_argument("--due", action="store_true", help="only those that are to be renewed now")
    add_json(listing)
    _finish(listing, _list)

    renew = actions.add_parser("renew", help="make a new key and its request for an own identity")
    renew.add_argument("identity", metavar="NAME", help="name of the identity")
    renew.add_argument("--common-name", metavar="CN", help="default: that of the certificate in use")
    renew.add_argument("--key-group", metavar="ID", help="key group of the request")
    _finish(renew, _renew)

    take = actions.add_parser("import", help="import certificates for keys that were made here")
    take.add_argument("file", type=Path, metavar="FILE", help="PEM of one or many certificates")
    _finish(take, _import)

    export = actions.add_parser(
        "export", help="export requests, chains and trust anchors; never a private key"
    )
    export.add_argument("what", choices=["trust", "crl", "request", "chain"])
    export.add_argument("name", nargs="?", help="identity for a request, serial number for a chain")
    _finish(export, _export)

    rotate = actions.add_parser("rotate", help="make the next issuing CA; the older one stays trusted")
    rotate.add_argument("--root-key", type=Path, metavar="FILE", help="if it is kept elsewhere")
    _finish(rotate, _rotate)


def _finish(parser: argparse.ArgumentParser, run: Callable[[argparse.Namespace], int]) -> None:
    parser.add_argument(
        "--folder", type=Path, default=USUAL_FOLDER, metavar="FOLDER", help="default: %(default)s"
    )
    parser.add_argument(
        "--passphrase-file",
        type=Path,
        metavar="FILE",
        help=f"passphrase of the CA's keys (default: systemd credential {CREDENTIAL}, if there is one)",
    )
    parser.set_defaults(run=_with_errors(run))


def _add_applicant(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--profile", choices=[purpose.value for purpose in Purpose], required=True)
    parser.add_argument("--id", required=True, help="identity that the certificate is for")
    parser.add_argument("--host", action="append", default=[], help="DNS name or address; repeatable")
    parser.add_argument("--evse", action="append", default=[], help="EVSE of a station; repeatable")
    parser.add_argument("--connection-point", action="append", default=[], metavar="ID", help="repeatable")
    parser.add_argument("--modbus-role", metavar="ROLE", help="for profile modbus-client")


def _with_errors(run: Callable[[argparse.Namespace], int]) -> Callable[[argparse.Namespace], int]:
    def wrapped(options: argparse.Namespace) -> int:
        try:
            return run(options)
        except PkiError as error:
            raise CommandError(str(error)) from error

    return wrapped


def _init(options: argparse.Namespace) -> int:
    settings = CaSettings(
        name=options.name,
        arc=options.arc,
        max_days=options.max_days,
        party_ids=frozenset(options.party_id) if options.party_id else None,
    )
    passphrase = _passphrase(options)
    if passphrase is not None:
        try:
            check_passphrase(passphrase.decode("utf-8", "replace"))
        except PasswordError as error:
            raise CommandError(f"{error}; no CA was made") from error
    folder = CaFolder.create(options.folder, settings, passphrase, time.time())
    print(f"{folder.path / 'root.pem'}")
    if passphrase is None:
        print("the CA's keys are not encrypted: pass --passphrase-file to encrypt them", file=sys.stderr)
    root_key = folder.path / "root.key.pem"
    print(f"move {root_key} to a safe place; only `pki rotate` needs it", file=sys.stderr)
    return OK


def _sign(options: argparse.Namespace) -> int:
    folder = CaFolder(options.folder)
    request = folder.read_request(_read(options.request))
    for left_out in request.ignored:
        print(f"left out: {left_out}", file=sys.stderr)
    chain, record = folder.sign(request, _applicant(options), _passphrase(options), time.time())
    _print_issued(record)
    if options.out is None:
        sys.stdout.write(chain.decode())
    else:
        _write(options.out, chain)
    return OK


def _issue(options: argparse.Namespace) -> int:
    folder, now = CaFolder(options.folder), time.time()
    identities = IdentityFolder(options.folder / "identities")
    request = identities.new_request(options.identity, options.id, RequestContent(), folder.ids)
    chain, record = folder.sign(folder.read_request(request), _applicant(options), _passphrase(options), now)
    _print_issued(record)
    _print_imported(identities.import_certificates(chain, now))
    return OK


def _revoke(options: argparse.Namespace) -> int:
    folder = CaFolder(options.folder)
    reason = RevocationReason(options.reason)
    record = folder.revoke(options.serial, reason, _passphrase(options), time.time())
    print(f"revoked {record.serial} of {record.subject} ({record.purpose})")
    return OK


def _list(options: argparse.Namespace) -> int:
    ledger, now = CaFolder(options.folder).ledger(), time.time()
    records = ledger.due(now) if options.due else sorted(ledger, key=lambda each: each.not_after)
    if options.json:
        print_json([_described(record, ledger.state(record.serial, now)) for record in records])
        return OK
    if not records:
        print("no certificate is to be renewed now" if options.due else "no certificate has been issued yet")
    for record in records:
        state = ledger.state(record.serial, now)
        days = (record.not_after - now) / DAY_S
        left = f", {days:.0f} days left" if state is CertificateState.VALID else ""
        print(f"{record.serial}  {record.subject}  {record.purpose}  {record.key_group}")
        print(f"    {state}{left}, from {_format(record.not_before)} until {_format(record.not_after)}")
    return OK


def _described(record: IssuedCertificate, state: CertificateState) -> dict[str, object]:
    """Return the members that `list --json` has of a certificate; times in RFC 3339."""
    return {
        "serial": str(record.serial),
        "subject": record.subject,
        "purpose": record.purpose,
        "key_group": record.key_group,
        "state": state,
        "not_before": _format(record.not_before),
        "not_after": _format(record.not_after),
    }


def _renew(options: argparse.Namespace) -> int:
    identities = IdentityFolder(options.folder / "identities")
    name = options.common_name or identities.common_name(options.identity)
    content = RequestContent(key_group=options.key_group)
    request = identities.new_request(options.identity, name, content, _ids(options.folder))
    sys.stdout.write(request.decode())
    return OK


def _import(options: argparse.Namespace) -> int:
    identities = IdentityFolder(options.folder / "identities")
    _print_imported(identities.import_certificates(_read(options.file), time.time()))
    return OK


def _export(options: argparse.Namespace) -> int:
    if options.what in ("request", "chain") and options.name is None:
        raise CommandError(f"name the {'identity' if options.what == 'request' else 'serial number'}")
    match options.what:
        case "trust":
            sys.stdout.write(CaFolder(options.folder).trust(time.time()).decode())
        case "crl":
            folder = CaFolder(options.folder)
            for file in folder.write_revocation_lists(_passphrase(options), time.time()):
                sys.stdout.write(file.read_text("ascii"))
        case "request":
            sys.stdout.write(IdentityFolder(options.folder / "identities").request(options.name).decode())
        case "chain":
            sys.stdout.write(CaFolder(options.folder).chain(options.name).decode())
    return OK


def _rotate(options: argparse.Namespace) -> int:
    name = CaFolder(options.folder).rotate_issuing_ca(_passphrase(options), time.time(), options.root_key)
    print(f"{name} signs from now on")
    return OK


def _applicant(options: argparse.Namespace) -> Applicant:
    return Applicant(
        id=options.id,
        purpose=Purpose(options.profile),
        hosts=tuple(options.host),
        evses=tuple(options.evse),
        connection_points=tuple(options.connection_point),
        modbus_role=options.modbus_role,
    )


def _ids(folder: Path) -> ObjectIds:
    """Return the OIDs of the site CA, or the usual ones if there is none here."""
    return CaFolder(folder).ids if (folder / "ca.json").exists() else ObjectIds()


def _passphrase(options: argparse.Namespace) -> bytes | None:
    try:
        return read_passphrase(options.passphrase_file, os.environ.get("CREDENTIALS_DIRECTORY"))
    except PkiError as error:
        raise CommandError(str(error), UNREADABLE) from error


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise file_error(error, file) from error


def _write(file: Path, data: bytes) -> None:
    try:
        file.write_bytes(data)
    except OSError as error:
        raise file_error(error, file, FAILED) from error


def _print_issued(record: IssuedCertificate) -> None:
    print(
        f"issued {record.serial} for {record.subject} ({record.purpose}, {record.key_group}) "
        f"until {_format(record.not_after)}",
        file=sys.stderr,
    )


def _print_imported(imported: Iterable[ImportedIdentity]) -> None:
    for each in imported:
        print(f"{each.name}: {each.file} until {_format(each.not_after)}")


def _format(utc: float) -> str:
    return datetime.fromtimestamp(utc, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
