"""Quirks: deviations of charging stations from OCPP, as data matched on their BootNotification.

A row of `quirks.toml` matches vendor, model and firmware, and describes how limits are written for such a
station. A row that names a model or a firmware has precedence over the vendor's; a station without a row is
taken to follow OCPP.
"""

from __future__ import annotations

import enum
import math
import re
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Literal

import msgspec

from controller.ocpp.frames import Version
from controller.tomlcheck.diagnostics import (
    ErrorDiagnostic,
    NotTextError,
    Problem,
    decode_text,
    defined_already,
    locate_problems,
)
from controller.tomlcheck.positions import DataPath
from controller.tomlcheck.schema_check import SchemaCheck
from controller.tomlcheck.toml_syntax import parse_toml
from drivers.coded_text import coded, literal

FILE = "quirks.toml"
DAY_S = 86_400.0
LASTING_S = 10 * 365 * DAY_S
"""The end (s) that is assumed of a limit without an end."""
_HALF_FOR_CHANGES = 2
_RENEWALS_PER_LEASE = 2


class QuirksError(Exception):
    """A table of quirks is invalid. `errors`: each with file, line, key and remedy."""

    def __init__(self, errors: Sequence[ErrorDiagnostic]) -> None:
        super().__init__("\n".join(map(str, errors)))
        self.errors = tuple(errors)


class LeaseForm(enum.Enum):
    """Form of a limit with an end in a station's charging profiles."""

    STACKED = "stacked"
    """Two profiles: the lease one stack level above the fallback; it ends by its duration."""
    STEPPED = "stepped"
    """One profile of two periods: the lease's limit, and from its end on the fallback, without an end."""
    LASTING = "lasting"
    """One profile without an end: the station keeps its last limit until it receives another."""


class LimitScope(enum.Enum):
    """Scope of one of our limits: the whole station, or one EVSE."""

    STATION = "station"
    EVSE = "evse"


_STATION_PURPOSES = {
    Version.V16: "ChargePointMaxProfile",
    Version.V201: "ChargingStationMaxProfile",
    Version.V21: "ChargingStationMaxProfile",
}


def limit_purpose(version: Version, scope: LimitScope) -> str:
    """Return the charging profile purpose that the controller uses in a station."""
    return _STATION_PURPOSES[version] if scope is LimitScope.STATION else "TxDefaultProfile"


class Quirk(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Deviation of one kind of charging station from OCPP.

    `vendor`, `model`, `firmware` are globs on its BootNotification, case-insensitive.
    `purpose` of our profiles; None: by the number of its EVSEs. `max_stack_level`, `max_periods`,
    `max_profiles`: None where the bound is unknown. `unit`: "W" where the station accepts W only; None: as it
    reports. `zero` "minimum": a limit of 0 A has side effects, it is sent its minimum instead.
    `decimals` of a limit. `steps_a`: the limits that it supports (A); others are rounded down.
    `phase_switching`: True if it obeys numberPhases; None: as it reports.
    `writes_per_day`: profile writes that its memory endures; None: any number. `start_slack_s`: our schedules
    start so much (s) in the past, for a clock that is behind. `reaction_s`: from its response to its current.

    Of its link: `protocol`, the preferred version, also where the station offers none; `ping_s`, the longest
    time (s) without a WebSocket ping, 0: it does not answer pings, and gets none.
    """

    name: str
    vendor: str = "*"
    model: str = "*"
    firmware: str = "*"
    purpose: Literal["station", "tx-default"] | None = None
    max_stack_level: int | None = None
    max_periods: int | None = None
    max_profiles: int | None = None
    kind: Literal["Absolute", "Relative"] = "Absolute"
    unit: Literal["A", "W"] | None = None
    zero: Literal["limit", "minimum"] = "limit"
    decimals: Literal[0, 1] = 1
    steps_a: tuple[float, ...] = ()
    phase_switching: bool | None = None
    writes_per_day: int | None = None
    start_slack_s: int = 60
    reaction_s: float = 5.0
    protocol: Version | None = None
    ping_s: float | None = None
    why: str = ""
    sources: tuple[str, ...] = ()

    @property
    def form(self) -> LeaseForm:
        """The safest form of a lease that the station supports."""
        stacks = self.max_stack_level is None or self.max_stack_level >= 1
        if stacks and (self.max_profiles is None or self.max_profiles >= 2):
            return LeaseForm.STACKED
        # Relative periods count from a transaction's start, so they cannot end at a time of ours.
        if self.kind == "Absolute" and (self.max_periods is None or self.max_periods >= 2):
            return LeaseForm.STEPPED
        return LeaseForm.LASTING

    @property
    def in_watts(self) -> bool:
        """True if its limits are in W, of all phases together."""
        return self.unit == "W"

    def matches(self, vendor: str, model: str, firmware: str) -> bool:
        """Return True if the row is for a station with this BootNotification."""
        pairs = ((vendor, self.vendor), (model, self.model), (firmware, self.firmware))
        return all(fnmatchcase(value.strip().lower(), glob.lower()) for value, glob in pairs)

    def rounded_a(self, limit_a: float) -> float:
        """Return the highest supported limit not above `limit_a` (A per phase).

        A limit in W is rounded when it is written, to whole W.
        """
        if self.unit == "W":
            return limit_a
        if self.steps_a:
            return max((step for step in self.steps_a if step <= limit_a + 1e-6), default=0.0)
        parts = 10 if self.decimals else 1
        return math.floor(limit_a * parts + 1e-6) / parts

    @property
    def has_whole_steps(self) -> bool:
        """True if its limits are whole amperes, or some of them only."""
        return self.unit != "W" and (bool(self.steps_a) or not self.decimals)

    def next_step_a(self, limit_a: float) -> float:
        """Return the lowest supported limit above `limit_a` (A per phase); infinite if there is none."""
        if self.steps_a:
            return min((step for step in self.steps_a if step > limit_a + 1e-6), default=math.inf)
        parts = 10 if self.decimals else 1
        return math.floor(limit_a * parts + 1 + 1e-6) / parts

    def lease_s(self, wanted_s: float) -> float:
        """Return the length of a lease (s), long enough that renewals take at most half of a day's writes."""
        if self.form is LeaseForm.LASTING:
            return LASTING_S
        if self.writes_per_day is None:
            return wanted_s
        spared_s = DAY_S * _HALF_FOR_CHANGES * _RENEWALS_PER_LEASE / self.writes_per_day
        return max(wanted_s, spared_s)

    def rise_s(self, wanted_s: float) -> float:
        """Return the least time (s) between two rises, within the other half of a day's writes."""
        if self.writes_per_day is None:
            return wanted_s
        return max(wanted_s, DAY_S / (_HALF_FOR_CHANGES * self.writes_per_day))


NO_QUIRK = Quirk(name="follows OCPP")
"""Quirk of a station that is not in the table."""


def limit_scope(quirk: Quirk, evses: int) -> LimitScope:
    """Return the scope of our limits in a station with this number of EVSEs."""
    return LimitScope.STATION if evses == 1 and quirk.purpose != "tx-default" else LimitScope.EVSE


def find_quirk(vendor: str, model: str, firmware: str, own: Sequence[Quirk] = ()) -> Quirk:
    """Return the row for a BootNotification, one of the site's `own` first; `NO_QUIRK` if none matches."""
    found = select_quirk(own, vendor, model, firmware)
    return found if found is not NO_QUIRK else select_quirk(all_quirks(), vendor, model, firmware)


def select_quirk(rows: Sequence[Quirk], vendor: str, model: str, firmware: str) -> Quirk:
    """Return the most specific matching row: by firmware, else by model, else by vendor."""
    found = [row for row in rows if row.matches(vendor, model, firmware)]
    return max(found, key=lambda row: (row.firmware != "*", row.model != "*"), default=NO_QUIRK)


@cache
def all_quirks() -> tuple[Quirk, ...]:
    """Return the table that is part of the controller."""
    return parse_quirks(resources.files("controller.chargers").joinpath(FILE).read_text(), FILE)


def read_site_quirks(file: Path) -> tuple[Quirk, ...]:
    """Read the quirks of a site's own. Raises OSError, QuirksError."""
    try:
        text = decode_text(file.read_bytes())
    except NotTextError as error:
        raise QuirksError(
            [
                ErrorDiagnostic(
                    file=str(file), line=error.line, key="TOML", what=error.what, remedy=error.remedy
                )
            ]
        ) from None
    return parse_quirks(text, str(file), needs_sources=False)


class _QuirkFile(msgspec.Struct, frozen=True, kw_only=True):
    """The whole file."""

    quirk: tuple[Quirk, ...] = ()


def parse_quirks(text: str, file: str, *, needs_sources: bool = True) -> tuple[Quirk, ...]:
    """Parse a table in TOML. Raises QuirksError with every error.

    `needs_sources`: each row has to name its reason and sources.
    """
    data = parse_toml(text, file)
    if isinstance(data, ErrorDiagnostic):
        raise QuirksError([data])
    schema = SchemaCheck(_QuirkFile, {"name": "?"}, _OTHER_NAMES, _OTHER_VALUES)
    rows = msgspec.convert(schema.check_table(_QuirkFile, data, ()), _QuirkFile).quirk
    found = [
        problem
        for index, row in enumerate(rows)
        for problem in _row_errors(row, ("quirk", index), needs_sources=needs_sources)
    ]
    found += _duplicates(rows)
    found = schema.problems + [problem for problem in found if not schema.is_consequence(problem)]
    if found:
        raise QuirksError(locate_problems(found, text, data, file, ErrorDiagnostic))
    return rows


_OTHER_NAMES: dict[str, tuple[str, ...]] = {
    "id": ("name",),
    "manufacturer": ("vendor",),
    "reason": ("why",),
    "source": ("sources",),
    "stack_level": ("max_stack_level",),
    "steps": ("steps_a",),
    "version": ("firmware",),
}
_OTHER_VALUES: dict[str, str] = {
    **dict.fromkeys(("1.6", "1.6j", "ocpp 1.6", "ocpp1.6j"), "ocpp1.6"),
    **dict.fromkeys(("2.0", "2.0.1", "ocpp2.0", "ocpp 2.0.1"), "ocpp2.0.1"),
    **dict.fromkeys(("unit.amps", "unit.ampere", "unit.amperes"), "A"),
    **dict.fromkeys(("unit.watts", "unit.watt", "unit.kw"), "W"),
    **dict.fromkeys(("purpose.chargepointmaxprofile", "purpose.chargingstationmaxprofile"), "station"),
    **dict.fromkeys(("purpose.txdefaultprofile", "purpose.txdefault", "purpose.tx"), "tx-default"),
}


MOST_S = {"start_slack_s": 86_400, "reaction_s": 600, "ping_s": 3600}
"""Longest times of a row (s)."""


def _row_errors(row: Quirk, path: DataPath, *, needs_sources: bool) -> Iterator[Problem]:
    if (row.vendor, row.model) == ("*", "*"):
        yield Problem(path, coded("matches every station"), coded("add vendor or model"), depends_on=path)
    for key in ("vendor", "model", "firmware"):
        glob = getattr(row, key)
        meant = _COMPARISON.sub("", glob.strip("^$")).strip()
        if key != "firmware":  # where 5.* is any version 5
            meant = meant.replace(".*", "*")
        if meant != glob:
            yield Problem(
                (*path, key),
                coded('"{glob}" matches no station: only * and ? stand for other characters', glob=glob),
                coded("did you mean {meant}?", meant=f'"{meant}"'),
            )
    if needs_sources and (not row.why or not row.sources):
        yield Problem(path, coded("why or sources is missing"), coded("add both"))
    if list(row.steps_a) != sorted({step for step in row.steps_a if step > 0}):
        yield Problem(
            (*path, "steps_a"),
            coded("does not ascend from above 0"),
            coded("write the limits (A) in ascending order, each once, above 0"),
        )
    if row.in_watts and row.steps_a:
        yield Problem((*path, "steps_a"), coded("is in A, and unit is W"), coded("remove one of them"))
    yield from _least((*path, "max_stack_level"), row.max_stack_level, 0)
    for key, most_s in MOST_S.items():
        yield from _seconds((*path, key), getattr(row, key), most_s)
    for key in ("max_periods", "max_profiles"):
        yield from _least((*path, key), getattr(row, key), 1)
    yield from _least((*path, "writes_per_day"), row.writes_per_day, LEAST_WRITES)


def _least(path: DataPath, value: float | None, least: int) -> Iterator[Problem]:
    if value is not None and value < least:
        what = coded("cannot be {value}", value=literal(value))
        yield Problem(path, what, coded("write {least} or more", least=least))


def _seconds(path: DataPath, value: float | None, most_s: int) -> Iterator[Problem]:
    if value is not None and not 0 <= value <= most_s:
        what = coded("cannot be {value} s", value=literal(value))
        yield Problem(path, what, coded("write a time from 0 to {most} s", most=most_s))


def _duplicates(rows: Sequence[Quirk]) -> Iterator[Problem]:
    names: set[str] = set()
    places: set[tuple[str, str, str]] = set()
    for index, row in enumerate(rows):
        place = (row.vendor.lower(), row.model.lower(), row.firmware.lower())
        if row.name in names:
            yield defined_already(("quirk", index, "name"), row.name)
        elif place in places:
            what = coded("vendor, model and firmware are those of another row")
            yield Problem(("quirk", index), what, coded("keep one of the two"))
        names.add(row.name)
        places.add(place)


LEAST_WRITES = 4
"""Profile writes a day that a lease needs."""
_COMPARISON = re.compile(r"^(?:[<>]=?|==?|[v~^](?=\d))\s*")
