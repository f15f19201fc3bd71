"""Summary of a simulated day: what each circuit carried, and what each EVSE got. Sans-IO."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from controller.simulate.day_clock import MINUTE_S, QUARTER_S, DayClock
from controller.simulate.day_record import NEAR, DayRecord, SimulatedCircuit, SimulatedEvseRecord
from controller.simulate.overload_causes import CAUSES
from drivers.coded_text import join_and

REASONS = 2
"""Number of an EVSE's reasons that are shown, the longest first."""
MOST_REASONS = 8
"""Number of the whole day's reasons that are shown."""
LEAST_PART = 0.005
"""Part of the time from which on a reason of the whole day is shown."""


def render_summary(record: DayRecord) -> str:
    """Return two tables, and the figures of the whole day."""
    evses = list(record.evses.values())
    lines = [*_circuits(record), "", *_evses(evses), "", *_figures(record, evses)]
    return "\n".join(lines)


def day_figures(record: DayRecord) -> dict[str, object]:
    """Return the figures of the day for programs; energies in kWh, powers in kW."""
    evses = list(record.evses.values())
    car_h = record.car_hours
    reasons = record.reasons()
    waited = max(1, sum(reasons.values()))
    return {
        "charged_kwh": round(sum(evse.got_wh for evse in evses) / 1000, 3),
        "asked_kwh": round(sum(evse.asked_wh for evse in evses) / 1000, 3),
        "utilisation": None if record.utilisation is None else round(record.utilisation, 4),
        "utilisation_without": list(record.uncounted),
        "stops_per_car_hour": round(sum(evse.stops for evse in evses) / car_h, 3) if car_h else None,
        "worst_stops_per_hour": round(max((evse.stops_per_hour for evse in evses), default=0.0), 3),
        "limits_per_car_hour": round(sum(evse.writes for evse in evses) / car_h, 2) if car_h else None,
        "over_limit_ampere_s": {cause: round(a_s, 1) for cause, a_s in sorted(record.overload_as().items())},
        "reasons": {reason: round(minutes / waited, 4) for reason, minutes in reasons.most_common()},
        "quarter_hours_above_target": {
            each.circuit.id: sum(
                target_w is not None and mean_w > target_w
                for mean_w, target_w in zip(each.quarters_w, each.targets_w, strict=True)
            )
            for each in record.circuits
            if each.has_target
        },
        "quarter_hour_peak_kw": {
            each.circuit.id: round(each.quarters_w[each.peak_quarter] / 1000, 3) for each in record.circuits
        },
    }


def _figures(record: DayRecord, evses: Sequence[SimulatedEvseRecord]) -> Iterator[str]:
    got_kwh = sum(evse.got_wh for evse in evses) / 1000
    asked_kwh = sum(evse.asked_wh for evse in evses) / 1000
    yield f"{got_kwh:.1f} kWh charged of {asked_kwh:.1f} kWh asked for"
    if record.utilisation is not None:
        has_targets = any(each.has_target for each in record.circuits)
        bounds = "limits, margins and quarter-hour targets" if has_targets else "limits and margins"
        without = f", without {join_and(record.uncounted)}" if record.uncounted else ""
        yield (
            f"utilisation: {record.utilisation:.0%} of what an omniscient allocator gives, "
            f"same {bounds}{without}"
        )
    car_h = record.car_hours
    if car_h:
        stops, writes = sum(evse.stops for evse in evses), sum(evse.writes for evse in evses)
        worst = max(evses, key=lambda evse: evse.stops_per_hour)
        yield (
            f"per car and hour: {stops / car_h:.2f} commanded stops, {writes / car_h:.0f} limits sent; "
            f"most stops: {worst.stops_per_hour:.2f} at {worst.ref}"
        )
    overload = record.overload_as()
    total_as = sum(overload.values())
    parts = ", ".join(f"{cause} {overload[cause]:.0f}" for cause in CAUSES if overload[cause] >= 0.5)
    yield f"above limits: {total_as:.0f} ampere seconds" + (f" ({parts})" if parts else "")
    yield from _quarters(record.circuits, record.clock)
    reasons = record.reasons()
    waited = sum(reasons.values())
    if waited:
        yield f"cars took less than they could for {waited / 60:.1f} h of {car_h:.1f} h, as:"
        shown = [pair for pair in reasons.most_common(MOST_REASONS) if pair[1] >= LEAST_PART * waited]
        for reason, minutes in shown:
            yield f"  {minutes / waited:4.0%}  {reason}"
        others = waited - sum(minutes for _, minutes in shown)
        if others >= LEAST_PART * waited:
            yield f"  {others / waited:4.0%}  other reasons"


def _quarters(circuits: Sequence[SimulatedCircuit], clock: DayClock) -> Iterator[str]:
    """Yield the highest quarter hour of the grid connection and of circuits with a target."""
    for each in circuits:
        if each.circuit.parent is None or each.has_target:
            quarter = each.peak_quarter
            target_w = each.targets_w[quarter]
            target = "" if target_w is None else f", target {target_w / 1000:g} kW"
            yield (
                f"highest quarter hour of {each.circuit.id}: {each.quarters_w[quarter] / 1000:.1f} kW at "
                f"{clock.label(quarter * QUARTER_S)}{target}"
            )


def _circuits(day: DayRecord) -> Iterator[str]:
    width = max(len("circuit"), *(len(record.circuit.id) for record in day.circuits))
    near = f">= {NEAR:.0%}"
    yield f"{'circuit':<{width}}  {'limit A':>11}  {'peak L1/L2/L3 A':>17}  {'at':>5}  {near:>8}  over limit"
    for record in day.circuits:
        limits = record.circuit.limit_a
        limit = f"{limits[0]:g}" if len(set(limits)) == 1 else "/".join(f"{amps:g}" for amps in limits)
        peak = "/".join(f"{amps:.1f}" for amps in record.peak_a)
        clock = day.clock.label(record.peak_minute * MINUTE_S)
        yield (
            f"{record.circuit.id:<{width}}  {limit:>11}  {peak:>17}  {clock:>5}  "
            f"{record.near_s / 60:4.0f} min  {record.over_s:.0f} s"
        )


def _evses(evses: Sequence[SimulatedEvseRecord]) -> Iterator[str]:
    width = max(len("EVSE"), *(len(str(evse.ref)) for evse in evses))
    yield f"{'EVSE':<{width}}  {'got':>9}  {'of':>9}  {'plugged':>7}  {'charging':>8}  {'mean':>6}  mostly"
    for evse in evses:
        if not evse.plugged_s:
            yield f"{evse.ref!s:<{width}}  no car came"
            continue
        yield (
            f"{evse.ref!s:<{width}}  {evse.got_wh / 1000:5.1f} kWh  {evse.asked_wh / 1000:5.1f} kWh  "
            f"{evse.plugged_s / 3600:5.1f} h  {evse.charging_s / 3600:6.1f} h  {evse.mean_a:4.1f} A  "
            f"{_reasons(evse)}"
        )


def _reasons(evse: SimulatedEvseRecord) -> str:
    longest = sorted(evse.reasons.items(), key=lambda pair: (-pair[1], pair[0]))[:REASONS]
    return "; ".join(f"{reason} ({_duration(minutes)})" for reason, minutes in longest)


def _duration(minutes: int) -> str:
    return f"{minutes} min" if minutes < 60 else f"{minutes / 60:.1f} h"
