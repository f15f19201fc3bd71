"""`local-controller doctor`: what is wrong with the gateway around the controller, and the remedy."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from controller.cli.arguments import (
    FAILED,
    MAKE_CONFIGURATION,
    OK,
    Subcommands,
    add_config,
    add_json,
    count_of,
    print_json,
)
from controller.cli.doctor_checks import (
    DoctorFinding,
    Level,
    check_backends,
    check_certificates,
    check_clock,
    check_devices,
    check_files,
    check_over_commitment,
    check_running,
    check_store,
    check_store_rights,
    find_service_user,
    installed_time_daemon,
    running_time_daemon,
)
from controller.cli.doctor_disk import check_disk
from controller.cli.site_files import find_site_files
from controller.cli.status import NoStatusError, fetch, fetch_locally, local_page
from controller.config.loader import InvalidConfigError
from controller.config.schema import Config, StoreConfig
from controller.services.certificates.certificate_service import find_expiries
from controller.services.configuration.configuration import load_configuration
from controller.services.machine.clock_state import is_synchronised
from controller.tomlcheck.diagnostics import FileUnreadableError
from controller.web.status_model import ControllerStatus

UNIT = "local-controller.service"
UNIT_FILE = "/usr/lib/systemd/system/" + UNIT
TIMEOUT_S = 10.0
"""Longest time that systemctl may take."""

UNCHECKED = 2
"""Exit status where the configuration cannot be read, so that most cannot be checked."""

_STYLES = {"ok": "green", "warning": "yellow", "error": "bold red"}


def add_parser(commands: Subcommands) -> None:
    """Add the subcommand."""
    parser = commands.add_parser(
        "doctor",
        help="check clock, devices, certificates, disk, backends and more, with remedies",
        description="Check the gateway around the controller. Exit status: 0 no errors, 1 errors, 2 the "
        "configuration cannot be read.",
    )
    add_config(parser)
    add_json(parser)
    parser.set_defaults(run=run)


def run(options: Namespace) -> int:
    """Run all checks and print the findings."""
    findings = diagnose(options.config)
    if options.json:
        print_json(findings)
    else:
        print_findings(findings)
    if any(each.check == "configuration" and each.level == "error" for each in findings):
        return UNCHECKED
    return FAILED if any(each.level == "error" for each in findings) else OK


def diagnose(path: Path) -> list[DoctorFinding]:
    """Return the findings of all checks that are possible on this machine."""
    clock = check_clock(
        synchronised=is_synchronised(), daemon=running_time_daemon(), installed=installed_time_daemon()
    )
    findings = list(clock)
    try:
        config, hints = load_configuration(path)
    except InvalidConfigError as error:
        text = f"{path}: {count_of(len(error.errors), 'error')}"
        return [
            *findings,
            DoctorFinding("configuration", "error", text, "sudo local-controller check shows them"),
        ]
    except FileUnreadableError as error:
        text, _, remedy = str(error).partition("; ")
        # In a folder that is closed to the user nothing is known of the file.
        if os.access(path.parent, os.X_OK) and not path.exists():
            text, remedy = f"{path}: does not exist", MAKE_CONFIGURATION
        return [*findings, DoctorFinding("configuration", "error", text, remedy)]
    level: Level = "warning" if hints else "ok"
    remedy = "sudo local-controller check shows them" if hints else ""
    findings.append(
        DoctorFinding("configuration", level, f"{path}: valid, {count_of(len(hints), 'hint')}", remedy)
    )
    return [*findings, *_check_site(config, path)]


def _check_site(config: Config, path: Path) -> Iterator[DoctorFinding]:
    status, reason = _fetch_status(config)
    directory = Path(config.store.directory)
    user = find_service_user()
    yield from check_files((each.path for each in find_site_files(path).inside), user)
    yield from check_devices(config, user)
    yield from check_store_rights(directory, user, _find_writable())
    yield from check_certificates(find_expiries(config), time.time())
    yield from check_disk(directory)
    yield from check_over_commitment(config)
    yield from check_running(status, reason)
    yield from check_backends(config, status)
    yield from check_store(directory)


def _fetch_status(config: Config) -> tuple[ControllerStatus | None, str]:
    """Return the status of the controller on this machine, or None and why there is none."""
    store = Path(config.store.directory)
    try:
        if config.web is None:
            return fetch_locally(store), ""
        return fetch(local_page(config.web, store)), ""
    except NoStatusError as error:
        return None, str(error)


def _find_writable() -> tuple[Path, ...] | None:
    """Return the directories that the sandbox of the packaged service lets it write; None without it."""
    if not Path(UNIT_FILE).exists() or shutil.which("systemctl") is None:
        return None
    command = ["systemctl", "show", "--property=ReadWritePaths", "--value", UNIT]
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    added = [Path(each.lstrip("-+")) for each in done.stdout.split()]
    return (Path(StoreConfig().directory), Path("/var/lib/private/local-controller"), *added)


def print_findings(findings: list[DoctorFinding]) -> None:
    """Print a table of findings, the remedy below each text."""
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for each in findings:
        text = Text(each.text)
        if each.remedy:
            text.append(f"\nremedy: {each.remedy}", style="bold")
        table.add_row(Text(each.level, style=_STYLES[each.level]), each.check, text)
    Console(width=None if sys.stdout.isatty() else 110).print(table)
