"""Summary of a simulated day: what each circuit carried, and what each EVSE got. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from controller.simulate.day_record import NEAR, DayRecord, SimulatedCircuit, SimulatedEvseRecord

REASONS = 2
"""Number of an EVSE's reasons that are shown, the longest first."""


def told(record: DayRecord) -> str:
    """Return two tables, and the totals."""
    evses = list(record.evses.values())
    got_kwh, asked_kwh = (sum(values) / 1000 for values in _energies(evses))
    lines = [*_circuits(record.circuits), "", *_evses(evses), ""]
    lines.append(f"{got_kwh:.1f} kWh charged of {asked_kwh:.1f} kWh asked for")
    car_h = sum(evse.plugged_s for evse in evses) / 3600
    if car_h:
        stops, writes = sum(evse.stops for evse in evses), sum(evse.writes for evse in evses)
        lines.append(
            f"per car and hour: {stops / car_h:.2f} commanded stops, {writes / car_h:.0f} limits sent"
        )
    return "\n".join(lines)


def _energies(evses: Sequence[SimulatedEvseRecord]) -> tuple[list[float], list[float]]:
    return [evse.got_wh for evse in evses], [evse.asked_wh for evse in evses]


def _circuits(circuits: Sequence[SimulatedCircuit]) -> Iterator[str]:
    width = max(len("circuit"), *(len(record.circuit.id) for record in circuits))
    near = f">= {NEAR:.0%}"
    yield f"{'circuit':<{width}}  {'limit A':>11}  {'peak L1/L2/L3 A':>17}  {'at':>5}  {near:>8}  over limit"
    for record in circuits:
        limits = record.circuit.limit_a
        limit = f"{limits[0]:g}" if len(set(limits)) == 1 else "/".join(f"{amps:g}" for amps in limits)
        peak = "/".join(f"{amps:.1f}" for amps in record.peak_a)
        clock = f"{record.peak_minute // 60:02}:{record.peak_minute % 60:02}"
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
