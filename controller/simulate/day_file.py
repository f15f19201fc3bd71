"""File of a day: what the building draws, and which cars come and go. Sans-IO.

CSV with a head line; empty lines and lines that begin with "#" are skipped. `what` is one of:

- `load`: from `time` on, the circuit `where` carries `l1_a`, `l2_a`, `l3_a` beside the EVSEs (A; negative
  feeds in), until its next `load`. Before its first one it carries nothing.
- `plug`: a car comes to the EVSE `where` and takes `kwh` in the end, on `phases` phases (default: all of
  the EVSE) with `max_a` at most (default: all that the EVSE gives).
- `unplug`: it leaves, full or not. Without one it stays until midnight.

`time` is HH:MM or HH:MM:SS by the site's clock. Where an hour comes twice, so do its loads, and cars come and
leave at the first of two times. In an hour that is left out, cars come and leave at its end. Lines may stand
in any order. `where` of a car is STATION/EVSE, or STATION alone if that has one EVSE.
"""

from __future__ import annotations

import csv
import re
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Mapping
from operator import attrgetter

import msgspec

from controller.load_management.site_tree import LEAST_CAR_A, ZERO, EvseNode, PhaseAmps, SiteTree
from controller.model.observations import EvseRef

DAY_S = 86_400
COLUMNS = ("time", "what", "where", "l1_a", "l2_a", "l3_a", "kwh", "phases", "max_a")
MOST_A = 10_000.0
MOST_KWH = 10_000.0
LEAST_STAY_S = 60.0

_TIME = re.compile(r"(\d\d):(\d\d)(?::(\d\d))?")


class SimulationError(Exception):
    """Base of the errors of a simulation."""


class DayFileError(SimulationError):
    """Errors in the file of a day: lines of text, each with its place and the remedy."""

    def __init__(self, mistakes: list[str]) -> None:
        super().__init__("\n".join(mistakes))


class Stay(msgspec.Struct, frozen=True, kw_only=True):
    """Stay of a car at an EVSE from `begin_s` to `end_s` (s of the day): what it needs and can take."""

    ref: EvseRef
    begin_s: float
    end_s: float
    need_wh: float
    phases: int
    max_a: float


class DayLoad(msgspec.Struct, frozen=True):
    """Load of a circuit beside the EVSEs: `amps[k]` from `since_s[k]` on (s of the day)."""

    since_s: tuple[float, ...]
    amps: tuple[PhaseAmps, ...]

    def __call__(self, now: float) -> PhaseAmps:
        """Return the A per phase at `now`."""
        index = bisect_right(self.since_s, now)
        return self.amps[index - 1] if index else ZERO


class Day(msgspec.Struct, frozen=True):
    """Loads by circuit, and the cars' stays in the order of their arrival."""

    loads: Mapping[str, DayLoad]
    stays: tuple[Stay, ...]


class _LineError(SimulationError):
    """Error in one line, and the remedy."""


class _Line(msgspec.Struct, frozen=True, kw_only=True):
    """Parsed line; `evse` for cars, `circuit` and `amps` for loads."""

    number: int
    time_s: float
    what: str
    circuit: str = ""
    amps: PhaseAmps = ZERO
    evse: EvseNode | None = None
    need_wh: float = 0.0
    phases: int = 0
    max_a: float = 0.0


def read_day(text: str, file: str, site: SiteTree) -> Day:
    """Read the day in a file's text. Raises DayFileError with all that is wrong in it."""
    mistakes: list[str] = []
    lines: list[_Line] = []
    rows = [
        (number, row)
        for number, row in enumerate(text.splitlines(), start=1)
        if row.strip() and not row.lstrip().startswith("#")
    ]
    if not rows or tuple(cell.strip().lower() for cell in rows[0][1].split(",")) != COLUMNS:
        place = rows[0][0] if rows else 1
        raise DayFileError([f"{file}:{place}: no head; the first line is: {','.join(COLUMNS)}"])
    reader = csv.DictReader((row for _, row in rows[1:]), fieldnames=COLUMNS)
    for (number, _), cells in zip(rows[1:], reader, strict=True):
        try:
            lines.append(_line(number, cells, site))
        except _LineError as wrong:
            mistakes.append(f"{file}:{number}: {wrong}")
    lines.sort(key=lambda line: (line.time_s, line.what == "plug"))  # at one time: first out, then in
    stays, left = _stays(lines)
    mistakes += [f"{file}:{number}: {problem}" for number, problem in left]
    if mistakes:
        raise DayFileError(mistakes)
    return Day(_loads(lines), tuple(stays))


def _line(number: int, cells: Mapping[str | None, str | list[str] | None], site: SiteTree) -> _Line:
    if None in cells:
        raise _LineError(f"has more than {len(COLUMNS)} columns")
    row = {name: str(cells[name] or "").strip() for name in COLUMNS}
    time_s = _time(row["time"])
    match row["what"]:
        case "load":
            if row["where"] not in site.circuit_by_id:
                known = ", ".join(site.circuit_by_id)
                raise _LineError(f'where: "{row["where"]}" is no circuit; there is: {known}')
            l1, l2, l3 = (_number(row, name, -MOST_A, MOST_A) for name in ("l1_a", "l2_a", "l3_a"))
            return _Line(number=number, time_s=time_s, what="load", circuit=row["where"], amps=(l1, l2, l3))
        case "plug":
            evse = _evse(row["where"], site)
            phases = _number(row, "phases", 1, len(evse.phases), default=len(evse.phases))
            if phases != int(phases):
                raise _LineError(f"phases: {row['phases']} is no whole number")
            return _Line(
                number=number,
                time_s=time_s,
                what="plug",
                evse=evse,
                need_wh=1000 * _number(row, "kwh", 0.001, MOST_KWH),
                phases=int(phases),
                max_a=_number(row, "max_a", LEAST_CAR_A, MOST_A, default=max(evse.max_a, LEAST_CAR_A)),
            )
        case "unplug":
            return _Line(number=number, time_s=time_s, what="unplug", evse=_evse(row["where"], site))
    raise _LineError(f'what: "{row["what"]}" is none of load, plug, unplug')


def _time(text: str) -> float:
    match = _TIME.fullmatch(text)
    if match is None:
        raise _LineError(f'time: "{text}" is none; write it as 07:30 or 07:30:15')
    hours, minutes, seconds = (int(part or 0) for part in match.groups())
    if hours > 23 or minutes > 59 or seconds > 59:
        raise _LineError(f"time: {text} is not on the clock, which goes from 00:00 to 23:59:59")
    return hours * 3600 + minutes * 60 + seconds


def _number(
    row: Mapping[str, str], name: str, lowest: float, highest: float, *, default: float | None = None
) -> float:
    text = row[name]
    if not text and default is not None:
        return default
    try:
        value = float(text)
    except ValueError:
        raise _LineError(f'{name}: "{text}" is no number') from None
    if not lowest <= value <= highest:  # and what is no number at all is refused as well: NaN
        raise _LineError(f"{name}: {text} is not between {lowest:g} and {highest:g}")
    return value


def _evse(name: str, site: SiteTree) -> EvseNode:
    station, _, number = name.rpartition("/")
    for evse in site.evses:
        if evse.ref.station == station and str(evse.ref.evse) == number:
            return evse
    own = [evse for evse in site.evses if evse.ref.station == name]
    if len(own) == 1:
        return own[0]
    if own:
        raise _LineError(
            f"where: {name} has several EVSEs; write one of {', '.join(str(e.ref) for e in own)}"
        )
    raise _LineError(f'where: "{name}" is no EVSE of the configuration; write STATION/EVSE')


def _stays(lines: list[_Line]) -> tuple[list[Stay], list[tuple[int, str]]]:
    """Return the stays, and the lines that do not fit together, with what is wrong."""
    here: dict[EvseRef, _Line] = {}
    stays: list[Stay] = []
    wrong: list[tuple[int, str]] = []
    for line in lines:
        if line.evse is None:
            continue
        ref = line.evse.ref
        before = here.get(ref)
        if line.what == "plug" and before is not None:
            wrong.append((line.number, f"{ref} has a car since line {before.number}; unplug that one first"))
        elif line.what == "plug":
            here[ref] = line
        elif before is None:
            wrong.append((line.number, f"{ref} has no car to unplug"))
        else:
            stays.append(_stay(ref, here.pop(ref), line.time_s))
            if stays[-1].end_s - stays[-1].begin_s < LEAST_STAY_S:
                wrong.append(
                    (line.number, f"{ref}: a stay of less than {LEAST_STAY_S:g} s is too short to tell")
                )
    stays += [_stay(ref, line, DAY_S) for ref, line in here.items()]
    return sorted(stays, key=attrgetter("begin_s")), wrong


def _stay(ref: EvseRef, plugged: _Line, end_s: float) -> Stay:
    return Stay(
        ref=ref,
        begin_s=plugged.time_s,
        end_s=end_s,
        need_wh=plugged.need_wh,
        phases=plugged.phases,
        max_a=plugged.max_a,
    )


def _loads(lines: list[_Line]) -> dict[str, DayLoad]:
    by_circuit: defaultdict[str, list[_Line]] = defaultdict(list)
    for line in lines:
        if line.what == "load":
            by_circuit[line.circuit].append(line)
    return {
        circuit: DayLoad(tuple(line.time_s for line in loads), tuple(line.amps for line in loads))
        for circuit, loads in by_circuit.items()
    }
