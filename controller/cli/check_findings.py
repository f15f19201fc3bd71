"""Findings of `check` beside the configuration file: certificates, their ends, and stations never seen."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

from controller.cli.arguments import PrintedDiagnostic
from controller.config import Config, StationConfig
from controller.model.expiry import BEGIN_REMEDY, Expiry, ExpiryLevel
from controller.model.journal import BootStored
from controller.services.backends.connection_settings import unusable_certificates
from controller.services.certificates.certificate_service import (
    due_expiries,
    find_located_expiries,
    year_hints,
)
from controller.services.configuration.configuration import plan_since_last_use
from controller.store.record_rules import kind_of_type, read_entry
from controller.store.state_journal import StoreError
from controller.store.store_transfer import open_store_file
from controller.tomlcheck.positions import DataPath

MOST_NAMED = 5
"""Stations without a first connection that are named one by one."""


def find_unusable_certificates(
    config: Config, path: Path, lines: Mapping[DataPath, int]
) -> Iterator[PrintedDiagnostic]:
    """Yield an error for each set of certificate files with which a start would fail.

    `lines`: those of the keys in the file.
    """
    for table, failure in unusable_certificates(config):
        what, _, remedy = failure.rpartition("; ")
        keys = [key for key in ("certificate", "ca", "client_ca") if (*table, key) in lines]
        line = lines[(*table, keys[0])] if keys else lines.get(table)
        yield PrintedDiagnostic(
            severity="error", file=str(path), line=line, key="certificate", what=what, remedy=remedy
        )


def find_beside_file(
    config: Config, path: Path, lines: Mapping[DataPath, int], utc: float
) -> Iterator[PrintedDiagnostic]:
    """Yield what the files and the store beside a valid configuration give reason to mention.

    `lines`: those of the keys in the file.
    """
    located = find_located_expiries(config)
    places = {end: lines.get(place) for place, end in located}
    ends = [end for _, end in located]
    for each in due_expiries(ends, utc):
        yield _warn_of_end(each, path, places[each], utc)
    for each in ends:
        if begin := each.describe_begin(utc):
            yield PrintedDiagnostic(
                severity="warning",
                file=str(path),
                line=places[each],
                key=each.name,
                what=begin,
                remedy=BEGIN_REMEDY,
            )
    for each in year_hints(ends, utc):
        yield _hint(path, each.name, each.describe(utc), "plan its renewal", places[each])
    yield from _find_unseen_stations(config, path)
    yield from _find_restarts(config, path)


def _warn_of_end(end: Expiry, path: Path, line: int | None, utc: float) -> PrintedDiagnostic:
    """Return a warning of an end that is near, more urgent from level to level."""
    warning = PrintedDiagnostic(
        severity="warning",
        file=str(path),
        line=line,
        key=end.name,
        what=end.describe(utc),
        remedy="renew it in time",
    )
    match end.level(utc):
        case ExpiryLevel.SOON:
            return warning
        case ExpiryLevel.URGENT:
            return msgspec.structs.replace(warning, severity="urgent", remedy="renew it this week")
        case _:
            return msgspec.structs.replace(warning, severity="critical", remedy="renew it now")


def _hint(path: Path, key: str, what: str, remedy: str, line: int | None = None) -> PrintedDiagnostic:
    return PrintedDiagnostic(severity="hint", file=str(path), line=line, key=key, what=what, remedy=remedy)


def _find_restarts(config: Config, path: Path) -> Iterator[PrintedDiagnostic]:
    """Yield a hint for each change since the last start or reload that a reload does not apply."""
    plan = plan_since_last_use(config, path)
    for key in () if plan is None else plan.needs_restart:
        what = f"the change of {key} takes effect after a restart only"
        yield _hint(path, key, what, "run `sudo systemctl restart local-controller`")


def _find_unseen_stations(config: Config, path: Path) -> Iterator[PrintedDiagnostic]:
    """Yield hints about stations that have never booted here, as their rated current is reserved."""
    directory = Path(config.store.directory)
    try:
        journal = open_store_file(directory)
        known = {
            each.station
            for each in map(read_entry, journal.load(kind_of_type(BootStored)))
            if isinstance(each, BootStored)
        }
    except StoreError:
        known = set()  # there is no store before the first start, or another user's
    unseen = [station for station in config.station if station.id not in known]
    end = "until it has accepted its fallback once"
    if len(unseen) <= MOST_NAMED:
        for station in unseen:
            what = f"station {station.id} has never connected: {_rated_a(station):g} A stay reserved for it"
            remedy = "connect it, or remove its table until it is installed"
            yield _hint(path, f'station "{station.id}"', f"{what} {end}", remedy)
        return
    total_a = sum(map(_rated_a, unseen))
    yield _hint(
        path,
        "station",
        f"{len(unseen)} stations have never connected: each reserves its rated current ({total_a:g} A "
        f"together) {end}",
        "connect them, or remove their tables until they are installed",
    )


def _rated_a(station: StationConfig) -> float:
    return sum(evse.max_a for evse in station.evse)
