"""`local-controller dim`: write and sign a dimming command, as the grid operator would.

It runs on the operator's side: it needs a key of the operator's role and the name of the connection point.
The site verifies the command by the rules of `dimming.verification`.
"""

from __future__ import annotations

import argparse
import re
import secrets
import time
from pathlib import Path

import msgspec

from controller.cli.arguments import (
    OK,
    CommandError,
    Subcommands,
    number,
    whole_number,
)
from controller.dimming import dimming_messages
from controller.dimming.dimming_messages import COMMAND_CONTEXT, CommandMalformedError, read_command
from controller.dimming.verification import LONGEST_S, KeyProofs
from controller.ocpp.frames import Version
from controller.signing import signature_format, signing_keys
from controller.signing.signing_keys import KeyFileError, Keyring, read_key_files

_SPAN = re.compile(r"(\d+(?:\.\d+)?)(s|min|h)")
_UNITS_S = {"s": 1.0, "min": 60.0, "h": 3600.0}


def add_parser(commands: Subcommands) -> None:
    """Add the subcommand."""
    words = "write and sign a grid operator's dimming command"
    parser = commands.add_parser("dim", help=words, description=words.capitalize() + ", on standard output.")
    parser.add_argument(
        "--key",
        type=Path,
        required=True,
        metavar="FILE_OR_FOLDER",
        help="the operator's key, made by `local-controller keys new`",
    )
    parser.add_argument(
        "--connection-point",
        required=True,
        metavar="ID",
        help="as in [dimming]; where none is set there, the site's id",
    )
    limit = parser.add_mutually_exclusive_group(required=True)
    limit.add_argument(
        "--limit-w",
        type=_watts,
        metavar="W",
        help="most grid power of all controllable EVSEs together",
    )
    limit.add_argument("--lift", action="store_true", help="lift the limit of the same role")
    parser.add_argument("--role", default="grid-operator", help="of the key; default: %(default)s")
    parser.add_argument(
        "--for",
        dest="span_s",
        type=_span,
        default=7200.0,
        metavar="SPAN",
        help="duration from now, e.g. 90s, 15min, 2h (the default)",
    )
    parser.add_argument(
        "--evse",
        action="append",
        metavar="ID",
        help='limit one EVSE, e.g. "CS01/1"; may be repeated',
    )
    parser.add_argument("--reason", default="", metavar="TEXT", help="written into the evidence")
    parser.add_argument(
        "--sequence",
        type=whole_number,
        metavar="N",
        help="higher than in the role's last command; default: the time in ms",
    )
    parser.add_argument(
        "--transfer",
        type=Version,
        choices=list(Version),
        help="print the payload of the DataTransfer of this OCPP version",
    )
    parser.set_defaults(run=run)


def _watts(text: str) -> float:
    # A whole number stays whole: a JSON library on the way may rewrite 4200.0 as 4200, which breaks
    # the signature.
    watts = number(text)
    if watts < 0:
        raise argparse.ArgumentTypeError("a number of watts, 0 or more")
    return int(watts) if watts.is_integer() else watts


def _span(text: str) -> float:
    match = _SPAN.fullmatch(text)
    span_s = float(match[1]) * _UNITS_S[match[2]] if match else 0.0
    if not 0 < span_s <= LONGEST_S:
        raise argparse.ArgumentTypeError("write it like 90s, 15min or 2h; a week at most")
    return span_s


def run(options: argparse.Namespace) -> int:
    """Print the signed command. Raises CommandError if it cannot be signed."""
    now = time.time()
    try:
        own = read_key_files(options.key).values()
        if signing_keys.select_signing_key(own, now) is None:
            raise KeyFileError(f"{options.key} has no valid key; see `local-controller keys list`")
        written = msgspec.json.encode(_command(options, now))
        signed = KeyProofs(Keyring(), (), own).sign(written, COMMAND_CONTEXT, now)
        read_command(signed)
    except (KeyFileError, CommandMalformedError) as error:
        raise CommandError(str(error)) from error
    printed = signed if options.transfer is None else dimming_messages.command(options.transfer, signed)
    print(printed.decode())
    return OK


def _command(options: argparse.Namespace, now: float) -> dict[str, object]:
    scope: dict[str, object] = {"connectionPoint": options.connection_point}
    if options.evse:
        scope["evses"] = options.evse
    return {
        "@context": COMMAND_CONTEXT,
        "commandId": secrets.token_hex(8),
        "sequence": round(now * 1000) if options.sequence is None else options.sequence,
        "issuer": {"role": options.role},
        "scope": scope,
        "limitW": options.limit_w,
        "notBefore": signature_format.format_time(now),
        "notAfter": signature_format.format_time(now + options.span_s),
        **({"reason": options.reason} if options.reason else {}),
    }
