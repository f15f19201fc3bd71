"""`local-controller eebus`: status of the EEBUS node, pairing with the control box, and its QR code.

All actions ask the running controller, over the control socket in the directory of its store.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import msgspec
import segno

from controller.cli.arguments import (
    OK,
    CommandError,
    Subcommands,
    add_config,
    new_file,
    read_configuration,
    whole_number,
)
from controller.services.machine.control_socket import ControlError, send_command
from controller.web.status_model import EebusLimitStatus, EebusStatus


def add_parser(commands: Subcommands) -> None:
    """Add the subcommand and its actions."""
    eebus = commands.add_parser("eebus", help="the control box over EEBUS: status, pairing, QR code")
    actions = eebus.add_subparsers(required=True, metavar="ACTION")

    status = actions.add_parser("status", help="print the limit, its state, and the partners")
    status.add_argument("--json", action="store_true", help="as JSON")
    pair = actions.add_parser("pair", help="trust a partner")
    who = pair.add_mutually_exclusive_group(required=True)
    who.add_argument(
        "ski", nargs="?", metavar="SKI", help="40 hexadecimal digits; `status` lists waiting partners"
    )
    who.add_argument(
        "--register",
        type=whole_number,
        metavar="SECONDS",
        help="trust the first partner that connects within this time (0 to 3600; 0 ends it)",
    )
    unpair = actions.add_parser("unpair", help="trust a partner no longer, and disconnect it")
    unpair.add_argument("ski", metavar="SKI")
    qr = actions.add_parser("qr", help="print the QR code that a partner's user scans")
    qr.add_argument("--out", type=_image, metavar="FILE", help="write it as FILE.png or FILE.svg")
    suspend = actions.add_parser(
        "suspend", help="refuse active limits because the site cannot obey (safety, law)"
    )
    suspend.add_argument("reason", metavar="REASON", help="is sent to the control box and recorded")
    resume = actions.add_parser("resume", help="obey limits again")
    for action, run in (
        (status, _status),
        (pair, _pair),
        (unpair, _unpair),
        (qr, _qr),
        (suspend, _suspend),
        (resume, _resume),
    ):
        add_config(action)
        action.set_defaults(run=run)


def _status(options: argparse.Namespace) -> int:
    status = _send(options, "eebus.status")
    if options.json:
        print(json.dumps(status, indent=2))
    else:
        print("\n".join(status_lines(msgspec.convert(status, EebusStatus))))
    return OK


def _pair(options: argparse.Namespace) -> int:
    if options.register is not None:
        _send(options, "eebus.register", seconds=options.register)
        print(f"the first partner that connects within {options.register} s is trusted")
    else:
        print(f"trusted: {_send(options, 'eebus.pair', ski=options.ski)['ski']}")
    return OK


def _unpair(options: argparse.Namespace) -> int:
    removed = _send(options, "eebus.unpair", ski=options.ski)
    print(f"removed: {removed['ski']}")
    if removed["configured"]:
        print("it is in the configuration: without its [[eebus.partner]] there it stays removed")
    return OK


def _qr(options: argparse.Namespace) -> int:
    text = _send(options, "eebus.status")["qr"]
    code = segno.make(text, error="m")
    if options.out is not None:
        code.save(str(options.out), scale=6, border=4)
        print(f"written: {options.out}")
    else:
        print(text)
        code.terminal(compact=True)
    return OK


def _suspend(options: argparse.Namespace) -> int:
    _send(options, "eebus.suspend", reason=options.reason)
    print("active limits are refused from now on; `eebus resume` ends it, and so does a restart")
    return OK


def _resume(options: argparse.Namespace) -> int:
    _send(options, "eebus.resume")
    print("limits are obeyed")
    return OK


def status_lines(status: EebusStatus) -> list[str]:
    """Return the status in lines for a person."""
    lines = [f"SKI          {status.ski}", f"SHIP id      {status.ship_id}"]
    lines.append(f"consumption  {_limit_text(status.consumption)}")
    if status.production is not None:
        lines.append(f"production   {_limit_text(status.production)} (reported, not enforced)")
    age_s = status.heartbeat_age_s
    lines.append("heartbeat    " + ("none since the start" if age_s is None else f"{age_s:.0f} s ago"))
    if status.register_s:
        lines.append(f"registration open for {status.register_s:.0f} s")
    for partner in status.partners:
        state = "trusted" if partner.trusted else "waits: eebus pair " + partner.ski
        guard = ", energy guard" if partner.guard else ""
        lines.append(f"partner      {partner.ski} {partner.phase}{guard}, {state} {partner.device}".rstrip())
    if not status.partners:
        lines.append("partner      none: accept the control box with `eebus pair SKI`")
    return lines


def _limit_text(limit: EebusLimitStatus) -> str:
    text = "not limited" if limit.limit_w is None else f"{limit.limit_w:.0f} W"
    if limit.until_s is not None:
        text += f" for {limit.until_s:.0f} s"
    hours = limit.failsafe_duration_s / 3600
    return f"{limit.state}: {text} (failsafe {limit.failsafe_w:.0f} W, {hours:g} h)"


def _send(options: argparse.Namespace, command: str, **arguments: object) -> Any:
    config = read_configuration(options.config)
    if config.eebus is None:
        raise CommandError(f"{options.config} has no [eebus]: add it, with a [[dimming.source]] for it")
    try:
        return send_command(Path(config.store.directory), command, **arguments)
    except ControlError as error:
        raise CommandError(str(error)) from error


def _image(text: str) -> Path:
    path = new_file(text)
    if path.suffix not in (".png", ".svg"):
        raise argparse.ArgumentTypeError("end the name in .png or .svg")
    return path
