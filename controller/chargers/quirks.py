"""Quirks: deviations of charging stations from OCPP, as data matched on their BootNotification.

A row of `quirks.toml` matches vendor, model and firmware, and describes how limits are written for such a
station. A row that names a model or a firmware has precedence over the vendor's; a station without a row is
taken to follow OCPP.
"""

from __future__ import annotations

import enum
import math
import tomllib
from collections import Counter
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Literal

import msgspec

from controller.ocpp.frames import Version

FILE = "quirks.toml"
DAY_S = 86_400.0
LASTING_S = 10 * 365 * DAY_S
"""The end (s) that is assumed of a limit without an end."""
_HALF_FOR_CHANGES = 2
_RENEWALS_PER_LEASE = 2


class QuirksError(Exception):
    """A table of quirks is invalid. The text names the file, the row and the correction."""


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
    """Read the quirks of a site's own. Raises QuirksError."""
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise QuirksError(f"{file}: cannot be read: {error}") from error
    return parse_quirks(text, str(file), needs_sources=False)


def parse_quirks(text: str, file: str, *, needs_sources: bool = True) -> tuple[Quirk, ...]:
    """Parse a table in TOML. Raises QuirksError with every error: file, row, what, correction.

    `needs_sources`: each row has to name its reason and sources.
    """
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise QuirksError(f"{file}: {error}") from error
    unknown = tables.keys() - {"quirk"}
    if unknown or not isinstance(tables.get("quirk", []), list):
        raise QuirksError(f"{file}: {', '.join(sorted(unknown)) or 'quirk'}: rows are written [[quirk]]")
    rows: list[Quirk] = []
    errors: list[str] = []
    for number, table in enumerate(tables.get("quirk", []), start=1):
        try:
            row = msgspec.convert(table, Quirk)
        except msgspec.ValidationError as error:
            errors.append(f"row {number} ({table.get('name', 'unnamed')}): {error}")
            continue
        rows.append(row)
        errors += [
            f"row {number} ({row.name}): {error}" for error in _row_errors(row, needs_sources=needs_sources)
        ]
    errors += _duplicates(rows)
    if errors:
        raise QuirksError("\n".join(f"{file}: {error}" for error in errors))
    return tuple(rows)


def _row_errors(row: Quirk, *, needs_sources: bool) -> Iterator[str]:
    if (row.vendor, row.model) == ("*", "*"):
        yield "matches every station; add vendor or model"
    if needs_sources and (not row.why or not row.sources):
        yield "why or sources is missing; add both"
    if list(row.steps_a) != sorted({step for step in row.steps_a if step > 0}):
        yield f"steps_a = {list(row.steps_a)}: write them in ascending order, each once, above 0"
    if row.in_watts and row.steps_a:
        yield "steps_a are amperes, unit is W; remove one of them"
    for key in ("max_stack_level", "start_slack_s", "reaction_s", "ping_s"):
        if (getattr(row, key) or 0) < 0:
            yield f"{key} = {getattr(row, key):g}: write 0 or more"
    for key in ("max_periods", "max_profiles"):
        value = getattr(row, key)
        if value is not None and value < 1:
            yield f"{key} = {value}: a station without any cannot be limited; write 1 or more"
    if row.writes_per_day is not None and row.writes_per_day < 4:
        yield f"writes_per_day = {row.writes_per_day}: a lease needs at least 4"


def _duplicates(rows: Sequence[Quirk]) -> Iterator[str]:
    places = Counter((row.vendor.lower(), row.model.lower(), row.firmware.lower()) for row in rows)
    for (vendor, model, firmware), times in places.items():
        if times > 1:
            yield f"vendor {vendor}, model {model}, firmware {firmware}: {times} rows; keep one"
