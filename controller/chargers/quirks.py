"""Chargers that want to be spoken to differently: data, matched by what a BootNotification says.

A row of `quirks.toml` tells who it is for and how it wants its limits. The exact row (that names a model
or a firmware) goes before its vendor's, and without either a station is taken to follow OCPP.
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
from typing import Literal

import msgspec

from controller.ocpp.frames import Version

FILE = "quirks.toml"
DAY_S = 86_400.0
LASTING_S = 10 * 365 * DAY_S
"""A limit without an end is booked as one that ends so late."""
_HALF_FOR_CHANGES = 2
_RENEWALS_PER_LEASE = 2


class QuirksError(Exception):
    """A table of quirks that cannot be used. Its text names the file, the row and the mend."""


class LeaseForm(enum.Enum):
    """How a limit with an end can be told to a station."""

    STACKED = "stacked"
    """The lease stands one stack level above the floor and ends by itself."""
    STEPPED = "stepped"
    """One profile: the lease's limit first, the floor's from the lease's end on, for ever."""
    LASTING = "lasting"
    """One profile without an end: the station keeps its last limit until it is told another."""


class Quirk(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How one kind of station wants its limits.

    `vendor`, `model`, `firmware` are globs (upper and lower case alike) on its BootNotification.
    `purpose`: of our profiles; None as the number of its EVSEs asks. `max_stack_level`, `max_periods`,
    `max_profiles`: None where nothing is known of a bound. `unit`: A unless it takes W only; None: as it
    says itself. `zero` "minimum": a limit of 0 does it harm, it is never told less than its minimum.
    `decimals` of a limit. `steps_a`: what it can do (A), other limits are rounded down.
    `phase_switching`: whether it heeds numberPhases; None: as it says itself.
    `writes_per_day`: its memory wears out; None: as often as wanted. `start_slack_s`: schedules start
    so much (s) in the past, for a clock that is slow. `reaction_s`: from its answer to its current.

    Of its link: `protocol`, the version that it speaks best, and speaks where it names none; `ping_s`,
    at most how long (s) it may go without a WebSocket ping, 0: it answers none, and is sent none.
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
        """The safest form of a lease that it can take."""
        stacks = self.max_stack_level is None or self.max_stack_level >= 1
        if stacks and (self.max_profiles is None or self.max_profiles >= 2):
            return LeaseForm.STACKED
        # Relative periods count from a transaction's start, so they cannot end at a time of ours.
        if self.kind == "Absolute" and (self.max_periods is None or self.max_periods >= 2):
            return LeaseForm.STEPPED
        return LeaseForm.LASTING

    @property
    def in_watts(self) -> bool:
        """Whether its limits are W of all phases together."""
        return self.unit == "W"

    def matches(self, vendor: str, model: str, firmware: str) -> bool:
        """Whether the row is for a station that says this of itself."""
        said = ((vendor, self.vendor), (model, self.model), (firmware, self.firmware))
        return all(fnmatchcase(word.strip().lower(), glob.lower()) for word, glob in said)

    def rounded_a(self, limit_a: float) -> float:
        """The highest limit not above `limit_a` (A per phase) that it can do."""
        if self.steps_a:
            return max((step for step in self.steps_a if step <= limit_a + 1e-6), default=0.0)
        parts = 10 if self.decimals else 1
        return math.floor(limit_a * parts + 1e-6) / parts

    def lease_s(self, wanted_s: float) -> float:
        """How long a lease lasts: as wanted, or so long that its renewals spare half of the day's writes."""
        if self.form is LeaseForm.LASTING:
            return LASTING_S
        if self.writes_per_day is None:
            return wanted_s
        spared_s = DAY_S * _HALF_FOR_CHANGES * _RENEWALS_PER_LEASE / self.writes_per_day
        return max(wanted_s, spared_s)

    def rise_s(self, wanted_s: float) -> float:
        """At least how long between two rises: as wanted, or spread over the day like the other half."""
        if self.writes_per_day is None:
            return wanted_s
        return max(wanted_s, DAY_S / (_HALF_FOR_CHANGES * self.writes_per_day))


NO_QUIRK = Quirk(name="follows OCPP")
"""A station of which nothing else is known."""


def find_quirk(vendor: str, model: str, firmware: str) -> Quirk:
    """The row for a station that says this of itself when it boots; `NO_QUIRK` if there is none."""
    return choose(all_quirks(), vendor, model, firmware)


def choose(rows: Sequence[Quirk], vendor: str, model: str, firmware: str) -> Quirk:
    """The most exact of the rows that match: one that names a firmware, then one with a model."""
    found = [row for row in rows if row.matches(vendor, model, firmware)]
    return max(found, key=lambda row: (row.firmware != "*", row.model != "*"), default=NO_QUIRK)


@cache
def all_quirks() -> tuple[Quirk, ...]:
    """The table that comes with the controller."""
    return parse_quirks(resources.files("controller.chargers").joinpath(FILE).read_text(), FILE)


def parse_quirks(text: str, file: str) -> tuple[Quirk, ...]:
    """The rows of a table in TOML. Raises QuirksWrong with every mistake: file, row, what and its mend."""
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise QuirksError(f"{file}: {error}") from error
    unknown = tables.keys() - {"quirk"}
    if unknown or not isinstance(tables.get("quirk", []), list):
        raise QuirksError(f"{file}: {', '.join(sorted(unknown)) or 'quirk'}: rows are written [[quirk]]")
    rows: list[Quirk] = []
    mistakes: list[str] = []
    for number, table in enumerate(tables.get("quirk", []), start=1):
        try:
            row = msgspec.convert(table, Quirk)
        except msgspec.ValidationError as error:
            mistakes.append(f"row {number} ({table.get('name', 'without a name')}): {error}")
            continue
        rows.append(row)
        mistakes += [f"row {number} ({row.name}): {mistake}" for mistake in _mistakes(row)]
    mistakes += _twice(rows)
    if mistakes:
        raise QuirksError("\n".join(f"{file}: {mistake}" for mistake in mistakes))
    return tuple(rows)


def _mistakes(row: Quirk) -> Iterator[str]:
    if (row.vendor, row.model) == ("*", "*"):
        yield "matches every station; name its vendor or its model"
    if not row.why or not row.sources:
        yield "nobody can judge it later; say why, and name its sources"
    if list(row.steps_a) != sorted({step for step in row.steps_a if step > 0}):
        yield f"steps_a = {list(row.steps_a)}: write them rising, each once, above 0"
    if row.in_watts and row.steps_a:
        yield "steps_a are amperes, and it takes W; remove one of them"
    for key in ("max_stack_level", "start_slack_s", "reaction_s", "ping_s"):
        if (getattr(row, key) or 0) < 0:
            yield f"{key} = {getattr(row, key):g}: write 0 or more"
    for key in ("max_periods", "max_profiles"):
        value = getattr(row, key)
        if value is not None and value < 1:
            yield f"{key} = {value}: a station with none cannot be limited; write 1 or more"
    if row.writes_per_day is not None and row.writes_per_day < 4:
        yield f"writes_per_day = {row.writes_per_day}: a lease needs 4 at least"


def _twice(rows: Sequence[Quirk]) -> Iterator[str]:
    places = Counter((row.vendor.lower(), row.model.lower(), row.firmware.lower()) for row in rows)
    for (vendor, model, firmware), times in places.items():
        if times > 1:
            yield f"vendor {vendor}, model {model}, firmware {firmware}: {times} rows; keep one"
