"""`local-controller commission`: walk through the tests of a new site, and write its acceptance report.

The controller runs; each step is done by hand at the site and judged by what its status shows. Exit status: 0
everything passed; 1 something failed, or no controller answers; 2 the configuration cannot be read. With
`--verify`: 0 the report is as it was signed; 1 it is not; 2 a file cannot be read. `--json` prints the report
as JSON in the end; questions and results of the steps go to stderr then.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TextIO

import msgspec

from controller.cli.acceptance_report import (
    AcceptanceReport,
    InstalledDevice,
    InvalidReportError,
    file_digest,
    has_passed,
    sign_report,
    verify_report,
    write_report,
)
from controller.cli.arguments import (
    FAILED,
    OK,
    UNREADABLE,
    CommandError,
    Subcommands,
    add_config,
    add_json,
    file_error,
    new_file,
    print_json,
    read_configuration,
)
from controller.cli.commissioning_checks import (
    CheckResult,
    check_dimming,
    check_fallback,
    check_fuse_margin,
    check_load_step,
    check_meter,
    check_station_step,
)
from controller.cli.key_arguments import read_bytes, read_public_keys
from controller.cli.status import fetch, local_page
from controller.config import Config
from controller.load_management.site_tree import PhaseAmps
from controller.signing.signing_keys import KeyFileError, OwnKey, read_key_files, select_signing_key
from controller.web.status_model import CircuitStatus, ControllerStatus, DimmingStatus, EvseStatus

SAMPLES = 5
SAMPLE_S = 1.0
SETTLE_S = 5.0
"""Time that meters and stations get to show a step."""
DIMMING_S = 120.0

Fetch = Callable[[], ControllerStatus]
Ask = Callable[[str], str]
Wait = Callable[[float], None]


class PrintedReport(msgspec.Struct, frozen=True, kw_only=True):
    """A report as `--json` prints it, with the files that it is in."""

    files: tuple[str, ...]
    report: AcceptanceReport


def add_parser(commands: Subcommands) -> None:
    """Add the subcommand."""
    parser = commands.add_parser("commission", help="test a new site step by step, and write the report")
    add_config(parser)
    action = parser.add_mutually_exclusive_group(required=True)
    action.add_argument("--report", type=new_file, metavar="FILE", help="report to write, as .json and .html")
    action.add_argument("--verify", type=Path, metavar="FILE", help="report to verify (.json)")
    parser.add_argument("--installer", default="", metavar="NAME", help="name of the tester, for the report")
    parser.add_argument(
        "--key",
        type=Path,
        metavar="FILE",
        help="private key that signs the report; default: that of [signing]",
    )
    parser.add_argument(
        "--trusted",
        type=Path,
        action="append",
        default=[],
        metavar="PUB",
        help="with --verify: public key that must have signed it (keys export --pem); may be repeated",
    )
    add_json(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run all steps and write the report, or verify one. Raises CommandError where that cannot be done."""
    if options.verify is not None:
        return _verify(options.verify, options.trusted, as_json=options.json)
    config = read_configuration(options.config)
    if config.web is None:
        raise CommandError(f"{options.config}: has no [web], which serves the status; add [web]")
    page = local_page(config.web, Path(config.store.directory))
    key = _signing_key(config, options.key)
    status = fetch(page)
    began = _now()
    terminal = sys.stderr if options.json else sys.stdout
    walk = Walk(config, lambda: fetch(page), partial(_ask, terminal), time.sleep)
    results: list[CheckResult] = []
    try:
        for result in walk.run():
            results.append(msgspec.structs.replace(result, time=_now()))
            line = f"{result.verdict.upper():<8} {result.step}: {result.subject}: {result.text}"
            print(line, file=terminal, flush=True)
    except (KeyboardInterrupt, EOFError):
        print("ended; the report holds the steps so far", file=sys.stderr)
    report = AcceptanceReport(
        site=config.site.id,
        installer=options.installer,
        began=began,
        ended=_now(),
        version=version("ocpp-local-controller"),
        config=str(options.config),
        config_sha256=file_digest(options.config),
        passed=has_passed(results),
        results=tuple(results),
        devices=_devices(status),
    )
    if key is not None:
        report = sign_report(report, key)
    else:
        print("the report is not signed: name a key with --key, or set [signing] key", file=sys.stderr)
    try:
        files = write_report(report, Path(options.report))
    except OSError as error:
        raise file_error(error, Path(options.report)) from error
    if options.json:
        print_json(PrintedReport(files=tuple(map(str, files)), report=report))
    else:
        print("\n".join(map(str, files)))
    return OK if report.passed else FAILED


def _verify(file: Path, trusted: Sequence[Path], *, as_json: bool) -> int:
    try:
        report = verify_report(read_bytes(file), [key for path in trusted for key in read_public_keys(path)])
    except InvalidReportError as error:
        raise CommandError(f"{file}: {error}") from error
    assert report.signature is not None
    if as_json:
        print_json(PrintedReport(files=(str(file),), report=report))
        return OK
    print(
        f"{file}: as it was signed by key {report.signature.key}: site {report.site}, {report.ended}, "
        f"{'passed' if report.passed else 'not passed'}"
        + ("" if trusted else "; name the key that you trust with --trusted")
    )
    return OK


def _signing_key(config: Config, file: Path | None) -> OwnKey | None:
    """Return the key that signs the report; None without one. Raises CommandError."""
    own = None if config.signing is None else config.signing.key
    path = file or (None if own is None else Path(own))
    if path is None:
        return None
    try:
        keys = read_key_files(path).values()
    except KeyFileError as error:
        raise CommandError(f"{path}: {error}", UNREADABLE) from error
    return select_signing_key(keys, time.time())


def _devices(status: ControllerStatus) -> tuple[InstalledDevice, ...]:
    """Return the meters and stations of the site."""
    meters = [
        InstalledDevice(
            kind="meter",
            id=each.id,
            vendor=each.manufacturer,
            model=each.model or each.driver,
            serial_number=each.serial_number,
            firmware=each.firmware,
        )
        for each in status.meters
    ]
    stations = [
        InstalledDevice(
            kind="station",
            id=each.station,
            vendor=each.vendor,
            model=each.model,
            serial_number=each.serial_number,
            firmware=each.firmware,
        )
        for each in status.station_devices
    ]
    return (*meters, *stations)


class Walk:
    """The steps of a commissioning. `ask` returns what the installer types, "s" to skip a step."""

    def __init__(self, config: Config, fetch_status: Fetch, ask: Ask, wait: Wait) -> None:
        self._config = config
        self._fetch = fetch_status
        self._ask = ask
        self._wait = wait

    def run(self) -> Iterator[CheckResult]:
        """Run all steps in order and yield their results."""
        status = self._fetch()
        metered = [circuit for circuit in status.circuits if circuit.meter_quality is not None]
        for circuit in metered:
            yield check_meter(circuit.id, circuit.meter_quality, circuit.meter_problem)
        for circuit in metered:
            for phase in (1, 2, 3):
                yield self._load_step(circuit.id, phase)
        for evse in status.evses:
            yield self._station_step(evse)
        for circuit in self._fetch().circuits:
            yield check_fuse_margin(circuit.id, circuit.limit_a, circuit.measured_a)
        for evse in status.evses:
            yield self._fallback_step(evse)
        if self._config.dimming is not None:
            yield self._dimming_step()

    def _load_step(self, circuit: str, phase: int) -> CheckResult:
        """Compare a known load on one phase with the meter."""
        text = self._ask(
            f"{circuit}: name a load on L{phase} alone in A (e.g. a heater of 2300 W: 10), or s to skip: "
        )
        try:
            expected_a = float(text)
        except ValueError:
            return _skipped("load", f"{circuit} L{phase}")
        before = self._measured(circuit)
        self._ask("switch it on, then press Enter: ")
        self._wait(SETTLE_S)
        return check_load_step(circuit, phase, expected_a, before, self._measured(circuit))

    def _station_step(self, evse: EvseStatus) -> CheckResult:
        """Compare a station's own charging with the meter above it."""
        name = f"{evse.station}/{evse.evse}"
        circuit = self._metered_above(evse.circuit)
        if (
            circuit is None
            or self._ask(f"{name}: stop its charging, then press Enter, or s to skip: ") == "s"
        ):
            return _skipped("station", name)
        self._wait(SETTLE_S)
        before, drawn_before = self._measured(circuit), self._evse(evse).drawn_a
        self._ask(f"{name}: charge a car on one phase, wait until its current stands, press Enter: ")
        self._wait(SETTLE_S)
        after, drawn_after = self._measured(circuit), self._evse(evse).drawn_a
        return check_station_step(circuit, name, drawn_before, drawn_after, before, after)

    def _fallback_step(self, evse: EvseStatus) -> CheckResult:
        """Cut the link of a station that charges, and compare the meter with its fallback."""
        name = f"{evse.station}/{evse.evse}"
        circuit = self._metered_above(evse.circuit)
        fallback_a = self._fallback_of(evse)
        lease_s = self._config.load_management.lease_s
        if (
            circuit is None
            or self._ask(f"{name}: charge a car above {fallback_a:g} A, press Enter, or s to skip: ") == "s"
        ):
            return _skipped("fallback", name)
        before, drawn = self._measured(circuit), self._evse(evse).drawn_a
        self._ask(f"{name}: unplug its network cable, then press Enter: ")
        self._wait(lease_s + SETTLE_S)
        after, connected = self._measured(circuit), self._evse(evse).connected
        result = check_fallback(name, fallback_a, connected, before, after, drawn)
        self._ask(f"{name}: plug its network cable in again, then press Enter: ")
        return result

    def _dimming_step(self) -> CheckResult:
        """Close the dimming contact and open it again."""
        if self._ask("close the dimming contact, then press Enter, or s to skip: ") == "s":
            return _skipped("dimming", "contact")
        dimmed, after_s, why = self._wait_for_dimming(True)
        if not dimmed:
            return check_dimming(False, "", after_s, False)
        self._ask(f"{why}; open the contact again, then press Enter: ")
        lifted, _, _ = self._wait_for_dimming(False)
        return check_dimming(True, why, after_s, lifted)

    def _wait_for_dimming(self, is_dimmed: bool) -> tuple[bool, float, str]:
        """Wait until dimming is ordered, or not; return whether it came, after how long (s), and why."""
        waited_s = 0.0
        while waited_s <= DIMMING_S:
            dimming = self._fetch().dimming
            if dimming is not None and self._is_ordered(dimming) is is_dimmed:
                return True, waited_s, dimming.why
            self._wait(SAMPLE_S)
            waited_s += SAMPLE_S
        return False, DIMMING_S, ""

    def _is_ordered(self, dimming: DimmingStatus) -> bool:
        """Return True if a contact limits, or without contacts any source, and not because it is lost."""
        assert self._config.dimming is not None  # else the step is not made
        sources = self._config.dimming.source
        contacts = {source.id for source in sources if source.kind == "contact"}
        lost = {fault.source for fault in dimming.source_faults}
        return not ((contacts or {source.id for source in sources}) - lost).isdisjoint(dimming.sources)

    def _measured(self, circuit: str) -> PhaseAmps:
        """Return the mean of some readings of a circuit's meter (A)."""
        samples = []
        for _ in range(SAMPLES):
            self._wait(SAMPLE_S)
            found = _find(self._fetch().circuits, circuit)
            if found.measured_a is None:
                raise CommandError(f"{circuit}: its meter shows no current; {found.meter_problem}")
            samples.append(found.measured_a)
        first, second, third = (sum(values) / len(samples) for values in zip(*samples, strict=True))
        return (first, second, third)

    def _evse(self, evse: EvseStatus) -> EvseStatus:
        return next(
            each for each in self._fetch().evses if (each.station, each.evse) == (evse.station, evse.evse)
        )

    def _metered_above(self, circuit: str | None) -> str | None:
        """Find the nearest circuit with a meter, from this one upwards."""
        circuits = self._fetch().circuits
        while circuit is not None:
            found = _find(circuits, circuit)
            if found.meter_quality is not None:
                return circuit
            circuit = found.parent
        return None

    def _fallback_of(self, evse: EvseStatus) -> float:
        station = next(each for each in self._config.station if each.id == evse.station)
        table = next((each for each in station.evse if each.id == evse.evse), None)
        common = self._config.load_management.fallback_a
        return common if table is None else self._config.fallback_a(table)


def _find(circuits: Iterable[CircuitStatus], name: str) -> CircuitStatus:
    return next(circuit for circuit in circuits if circuit.id == name)


def _skipped(step: str, subject: str) -> CheckResult:
    return CheckResult(step=step, subject=subject, verdict="skipped", text="not tested")


def _ask(terminal: TextIO, text: str) -> str:
    """Ask a question on the terminal; the answer comes from stdin. Raises EOFError at its end."""
    print(text, end="", file=terminal, flush=True)
    return input().strip()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
