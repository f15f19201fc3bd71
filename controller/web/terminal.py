"""The site in a terminal, as tables of rich: shared by `status` and the demo.

Names and reasons are plain text: none of it is read as markup.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from rich.table import Table
from rich.text import Text

from controller.load_management.evse.learned_values import REACTION_S
from controller.load_management.site_tree import PhaseAmps
from controller.model.observations import EvseState
from controller.web.status_model import BackendStatus, CircuitStatus, EnergyStatus, EvseStatus
from drivers.reading import Quality

WIDTH = 100
MOST_NAME_WIDTH = 24
"""Characters of an id on one line; a longer one continues on the next."""
_ASSUMED = " (not measured all the time: what is unknown counts at its worst)"
_BAR = 8
_FULL, _NEAR = 1.0, 0.9
"""Shares of the limit from which a bar is red or yellow."""

_STATES = {
    EvseState.CHARGING: "green",
    EvseState.SUSPENDED_EVSE: "yellow",
    EvseState.FAULTED: "red",
    EvseState.AVAILABLE: "dim",
}


def site_time(time: str, timezone: str) -> str:
    """Return an RFC 3339 time in a zone with full seconds; as it is where this machine lacks the zone."""
    try:
        return datetime.fromisoformat(time).astimezone(ZoneInfo(timezone)).isoformat(timespec="seconds")
    except (ZoneInfoNotFoundError, ValueError):
        return time


def circuits_table(rows: Iterable[CircuitStatus], title: str, notes: Mapping[str, str]) -> Table:
    """Return a table with a bar for each phase of each circuit, and a column `title` with its `notes`.

    Without good readings the bar shows what may be flowing.
    """
    table = _table()
    table.add_column("circuit", width=9, overflow="fold")
    table.add_column("limit", justify="right", width=11, no_wrap=True)
    for phase in ("L1", "L2", "L3"):
        table.add_column(f"{phase} (A)", width=_BAR + 6, no_wrap=True)
    table.add_column(title, justify="right", width=16, no_wrap=True)
    table.add_column("meter", width=12)
    for circuit in rows:
        table.add_row(
            Text(circuit.id),
            _limit(circuit.limit_a),
            *(
                _bar(amps, limit)
                for amps, limit in zip(carried_current(circuit), circuit.limit_a, strict=True)
            ),
            Text(notes[circuit.id]),
            _quality(circuit.meter_quality),
        )
    return table


def evses_table(rows: Iterable[EvseStatus], *, whole: bool = True) -> Table:
    """Return a table of the EVSEs: offer, current, reason; unless `whole`, that is cut to one line."""
    rows, table = list(rows), _table()
    name = _name_width((f"{evse.station}/{evse.evse}" for evse in rows), 8)
    table.add_column("EVSE", width=name, overflow="fold")
    table.add_column("OCPP", width=5)
    table.add_column("state", width=14, no_wrap=True)
    table.add_column("offered", justify="right", width=8)
    table.add_column("drawn L1/L2/L3", justify="right", width=14, no_wrap=True)
    table.add_column("why", width=WIDTH - name - 5 - 14 - 8 - 14 - 6, no_wrap=not whole, overflow="ellipsis")
    for evse in rows:
        table.add_row(
            Text(f"{evse.station}/{evse.evse}"),
            (evse.ocpp or "").removeprefix("ocpp"),
            _state(evse),
            _offered(evse),
            _amps(evse.drawn_a),
            Text(evse.reason),
        )
    return table


def lowered_limit_lines(rows: Iterable[CircuitStatus]) -> list[Text]:
    """Return a line for each circuit whose limit is lowered now."""
    return [
        Text(f"limit of {circuit.id} now {_limit(now_a)}: lowered by the calendar or the backend")
        for circuit in rows
        if (now_a := circuit.limit_now_a) is not None and now_a != circuit.limit_a
    ]


def margin_lines(rows: Iterable[CircuitStatus]) -> list[Text]:
    """Return a line for each circuit whose base load jumped beyond the margin."""
    return [
        Text(
            f"margin of {circuit.id} {circuit.margin_a:g} A: the base load jumped beyond it "
            f"{circuit.jumps_beyond} times, by up to {circuit.jump_a:g} A"
            + (
                f"; {circuit.proposed_margin_a:g} A absorb what recurs"
                if circuit.proposed_margin_a is not None and circuit.proposed_margin_a > circuit.margin_a
                else ""
            )
        )
        for circuit in rows
        if circuit.jumps_beyond
    ]


def meter_problem_lines(rows: Iterable[CircuitStatus]) -> list[Text]:
    """Return a line for each circuit whose meter is in trouble or lacks something."""
    return [
        Text(
            f"meter of {circuit.id} {circuit.meter_quality}: {circuit.meter_problem}",
            style="" if circuit.meter_quality is Quality.GOOD else "red",
        )
        for circuit in rows
        if circuit.meter_problem
    ]


def response_lines(rows: Iterable[EvseStatus]) -> list[Text]:
    """Return a line for each EVSE whose station is slow, rounds limits, or does not follow them."""
    return [
        Text(f"{evse.station}/{evse.evse} {words}") for evse in rows if (words := _learned_response(evse))
    ]


def goal_lines(rows: Iterable[EvseStatus]) -> list[Text]:
    """Return a line for each EVSE whose car has a departure goal."""
    return [
        Text(
            f"{evse.station}/{evse.evse} needs {evse.goal_kwh:.1f} kWh more, "
            f"leaves in {evse.leaves_in_s / 3600:.1f} h"
        )
        for evse in rows
        if evse.goal_kwh is not None and evse.leaves_in_s is not None
    ]


def energy_lines(energy: EnergyStatus, timezone: str) -> list[Text]:
    """Return a line for each quarter-hour peak, calendar entry in force, group, and waiting car."""
    lines = [
        Text(
            f"quarter hour of {peak.circuit}: {peak.used_kwh:.1f} of {peak.budget_kwh:.1f} kWh used"
            f"{_ASSUMED if peak.assumed else ''}, ends in {peak.ends_in_s / 60:.0f} min; "
            f"target {peak.target_kw:g} kW, highest of the month {peak.month_kw:.1f} kW"
        )
        for peak in energy.peaks
    ]
    if energy.calendar:
        lines.append(Text(f"calendar in force: {', '.join(energy.calendar)}"))
    for group in energy.groups:
        quota = "" if group.quota_kwh is None else f" of {group.quota_kwh:g}"
        guaranteed = f", guaranteed {group.guaranteed_a:g} A" if group.guaranteed_a else ""
        lines.append(Text(f"group {group.id}: {group.used_kwh:.1f}{quota} kWh today{guaranteed}"))
    if energy.price is not None:
        lines.append(Text(f"price now: {energy.price:g}"))
    for waiting in energy.waiting:
        until = "" if waiting.begins is None else f" until {site_time(waiting.begins, timezone)}"
        lines.append(Text(f"{waiting.station}/{waiting.evse} waits for a lower price{until}"))
    return lines


def backends_table(rows: Iterable[BackendStatus]) -> Table:
    """Return a table of the backends: links and queue."""
    rows, table = list(rows), _table()
    table.add_column("backend", width=_name_width((each.id for each in rows), 16), overflow="fold")
    table.add_column("links", justify="right", width=6)
    table.add_column("waiting", justify="right", width=8)
    table.add_column("oldest", justify="right", width=9)
    table.add_column("set aside", justify="right", width=9)
    for backend in rows:
        table.add_row(
            Text(backend.id),
            str(sum(backend.links.values())),
            str(backend.waiting),
            f"{backend.oldest_s:.0f} s" if backend.waiting else "",
            str(backend.set_aside or ""),
        )
    return table


def carried_current(circuit: CircuitStatus) -> PhaseAmps:
    """Return the measured current of a circuit; without good readings what may be flowing."""
    if circuit.measured_a is not None and circuit.meter_quality is Quality.GOOD:
        return circuit.measured_a
    base, booked = circuit.base_a, circuit.booked_a
    return (base[0] + booked[0], base[1] + booked[1], base[2] + booked[2])


def _limit(amps: PhaseAmps) -> str:
    """Return one number, or one for each phase where they differ."""
    shown = [f"{round(each, 1):g}" for each in amps]
    return f"{shown[0]} A" if len(set(shown)) == 1 else "/".join(shown)


def _bar(amps: float, limit: float) -> Text:
    share = amps / limit
    style = "red" if share > _FULL else "yellow" if share > _NEAR else "green"
    filled = max(0, min(_BAR, round(share * _BAR)))
    return Text("━" * filled, style=style) + Text("─" * (_BAR - filled), style="dim") + Text(f"{amps:6.1f}")


def _quality(quality: Quality | None) -> Text:
    if quality is None:
        return Text("none", style="dim")
    return Text(quality.value, style="green" if quality is Quality.GOOD else "red")


def _state(evse: EvseStatus) -> Text:
    if not evse.connected:
        return Text("away" if evse.ocpp is None else "pending", style="red")
    return Text(evse.state.value, style=_STATES.get(evse.state, ""))


def _offered(evse: EvseStatus) -> str:
    """Return the offer in A per phase, marked where it is limited to one phase, or in kW."""
    if evse.offered_w is not None:
        return f"{evse.offered_w / 1000:.2f} kW"
    return f"{'1x' if evse.single_phase else ''}{evse.offered_a:.1f} A"


def _learned_response(evse: EvseStatus) -> str:
    words = []
    if evse.obeys is False:
        words.append("did not follow its last lower limit")
    elif evse.reaction_s > REACTION_S:
        words.append(f"takes {evse.reaction_s:.0f} s to follow")
    if evse.step_a:
        words.append(f"rounds limits down, by {evse.step_a:g} A at most")
    return "; ".join(words)


def _amps(amps: PhaseAmps) -> Text:
    return Text("/").join(Text(f"{value:4.1f}") if value else Text("   -", style="dim") for value in amps)


def _name_width(names: Iterable[str], least: int) -> int:
    """Return the width of a column of ids: whole ids, the longest on several lines."""
    return max([least, *(min(len(name), MOST_NAME_WIDTH) for name in names)])


def _table() -> Table:
    return Table(box=None, padding=(0, 1, 0, 0), header_style="bold dim", width=WIDTH)
