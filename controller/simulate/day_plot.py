"""Plot of a simulated day (SVG 1.1), sans-IO: panels of circuits, quarter hours and cars, strips of EVSEs."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from xml.sax.saxutils import escape

from controller.simulate.day_clock import MINUTE_S, DayClock
from controller.simulate.day_record import DayRecord, SimulatedCircuit, SimulatedEvseRecord

WIDTH = 1000
LEFT, RIGHT = 110, 20
PANEL, GAP, STRIP = 150, 46, 18
HEAD = 50
LEVELS = 8
"""Shades of a strip, from nothing to the EVSE's maximum."""

_COLORS = ("#8a4b1f", "#1f1f1f", "#7d7d7d")
"""L1, L2, L3 as cables are marked (IEC 60445: brown, black, gray)."""

_STYLE = """
text { font: 12px system-ui, sans-serif; fill: #222; } .quiet { fill: #666; } .title { font-weight: 600; }
.grid { stroke: #ddd; } .limit { stroke: #c22f2b; stroke-dasharray: 5 4; } .line { fill: none; }
.possible { stroke: #4a3b8f; } .here { fill: #e4e8e4; } .power { fill: #24824b; }
.quarter { fill: #8fa9c4; }
"""


def render_plot(record: DayRecord, title: str) -> str:
    """Return the whole plot. `title` stands above it."""
    evses = [evse for evse in record.evses.values() if evse.here]
    with_target = [circuit for circuit in record.circuits if circuit.has_target]
    quarters_at = HEAD + len(record.circuits) * (PANEL + GAP)
    power_at = quarters_at + len(with_target) * (PANEL + GAP)
    strips_at = power_at + PANEL + GAP
    height = strips_at + GAP + len(evses) * (STRIP + 4)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}">',
        f"<style>{_STYLE}</style>",
        f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>',
        _text(LEFT, 20, title, "title"),
        *_legend(),
    ]
    for index, circuit in enumerate(record.circuits):
        parts += _panel(circuit, record.clock, HEAD + index * (PANEL + GAP))
    for index, circuit in enumerate(with_target):
        parts += _quarter_panel(circuit, record.clock, quarters_at + index * (PANEL + GAP))
    parts += _power_panel(record, power_at)
    if evses:
        parts += _hours(record.clock, strips_at, strips_at + len(evses) * (STRIP + 4))
    for index, evse in enumerate(evses):
        parts += _strip(evse, record.clock, strips_at + index * (STRIP + 4))
    return "\n".join([*parts, "</svg>"]) + "\n"


def _legend() -> Iterator[str]:
    for phase, color in enumerate(_COLORS):
        x = WIDTH - RIGHT - 360 + 45 * phase
        yield f'<line x1="{x}" x2="{x + 14}" y1="16" y2="16" stroke="{color}" stroke-width="2"/>'
        yield _text(x + 18, 20, f"L{phase + 1}")
    yield f'<line class="limit" x1="{WIDTH - 240}" x2="{WIDTH - 220}" y1="16" y2="16"/>'
    yield _text(WIDTH - 216, 20, "limit")
    yield _text(WIDTH - 165, 20, "highest of each minute", "quiet")


def _panel(record: SimulatedCircuit, clock: DayClock, top: float) -> Iterator[str]:
    limits = record.circuit.limit_a
    highest = 1.1 * max(*limits, *record.peak_a)
    lowest = min(0.0, *(min(amps) for amps in record.minutes))

    def y(amps: float) -> float:
        return round(top + PANEL * (highest - amps) / (highest - lowest), 1)

    yield from _hours(clock, top, top + PANEL)
    yield f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(0)}" y2="{y(0)}"/>'
    yield _text(8, top + 14, record.circuit.id, "title")
    yield _text(LEFT - 6, y(0) + 4, "0 A", "quiet", "end")
    for limit in set(limits):
        yield f'<line class="limit" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(limit)}" y2="{y(limit)}"/>'
    yield _text(
        LEFT - 6, y(max(limits)) + 4, f"{'/'.join(f'{a:g}' for a in dict.fromkeys(limits))} A", "quiet", "end"
    )
    for phase, color in enumerate(_COLORS):
        points = " ".join(
            f"{_x(minute, clock)},{y(amps[phase])}"
            for minute, amps in enumerate(record.minutes)
            if not _repeats(record, minute, phase)
        )
        yield f'<polyline class="line" stroke="{color}" points="{points}"/>'


def _quarter_panel(record: SimulatedCircuit, clock: DayClock, top: float) -> Iterator[str]:
    """Yield the mean import of each quarter hour as a bar, and its target as a line."""
    targets_w = [0.0 if target_w is None else target_w for target_w in record.targets_w]
    highest_w = 1.1 * max(*record.quarters_w, *targets_w)

    def y(watts: float) -> float:
        return round(top + PANEL * (1 - watts / highest_w), 1)

    yield from _hours(clock, top, top + PANEL)
    yield _text(8, top - 6, f"{record.circuit.id}, kW", "title")
    yield _text(WIDTH - RIGHT, top - 6, "mean of each quarter hour (bars), target (line)", "quiet", "end")
    yield _text(LEFT - 6, y(0.0) + 4, "0 kW", "quiet", "end")
    yield _text(LEFT - 6, y(max(targets_w)) + 4, f"{max(targets_w) / 1000:g} kW", "quiet", "end")
    for quarter, (mean_w, target_w) in enumerate(zip(record.quarters_w, record.targets_w, strict=True)):
        left, right = _x(15 * quarter, clock), _x(15 * (quarter + 1), clock)
        size = f'width="{round(right - left, 1)}" height="{round(y(0.0) - y(mean_w), 1)}"'
        yield f'<rect class="quarter" x="{left}" y="{y(mean_w)}" {size}/>'
        if target_w is not None:
            yield f'<line class="limit" x1="{left}" x2="{right}" y1="{y(target_w)}" y2="{y(target_w)}"/>'


def _power_panel(record: DayRecord, top: float) -> Iterator[str]:
    """Yield the cars' power as an area, and what was possible as a line."""
    highest_w = max(1.0, *record.charged_w, *record.possible_w) * 1.1

    def y(watts: float) -> float:
        return round(top + PANEL * (1 - watts / highest_w), 1)

    clock = record.clock
    yield from _hours(clock, top, top + PANEL)
    yield _text(8, top + 14, "cars", "title")
    for watts in (0.0, highest_w / 1.1):
        yield _text(LEFT - 6, y(watts) + 4, f"{watts / 1000:.0f} kW", "quiet", "end")
    tops = (f"{_x(minute, clock)},{y(watts)}" for minute, watts in enumerate(record.charged_w))
    area = " ".join([f"{_x(0, clock)},{y(0)}", *tops, f"{_x(clock.minutes - 1, clock)},{y(0)}"])
    yield f'<polygon class="power" fill-opacity="0.5" points="{area}"/>'
    line = " ".join(f"{_x(minute, clock)},{y(watts)}" for minute, watts in enumerate(record.possible_w))
    yield f'<polyline class="line possible" points="{line}"/>'
    words = "drawn (area), possible for an omniscient allocator (line)"
    yield _text(WIDTH - RIGHT, top - 6, words, "quiet", "end")


def _repeats(record: SimulatedCircuit, minute: int, phase: int) -> bool:
    """Return True if a point lies on the level line between its neighbors, and may be left out."""
    if minute in (0, len(record.minutes) - 1):
        return False
    around = record.minutes[minute - 1 : minute + 2]
    return len({round(amps[phase], 1) for amps in around}) == 1


def _strip(evse: SimulatedEvseRecord, clock: DayClock, top: float) -> Iterator[str]:
    """Yield where a car was, and how much it drew: the more, the greener."""
    yield _text(8, top + 13, str(evse.ref))
    shades = [
        max(1, round(LEVELS * evse.minutes[minute] / evse.max_a)) * (evse.minutes[minute] > 0)
        if minute in evse.here
        else -1
        for minute in range(clock.minutes)
    ]
    begin = 0
    for shade, run in groupby(shades):
        end = begin + len(list(run))
        left, right = _x(begin, clock), _x(end, clock)
        place = f'x="{left}" y="{top}" width="{round(right - left, 1)}" height="{STRIP}"'
        if shade >= 0:
            yield f'<rect class="here" {place}/>'
        if shade > 0:
            yield f'<rect class="power" {place} fill-opacity="{min(1.0, shade / LEVELS):.2f}"/>'
        begin = end


def _hours(clock: DayClock, top: float, bottom: float) -> Iterator[str]:
    for hour in range(0, 25, 3):
        x = _x(clock.elapsed_s(hour * 3600.0) / MINUTE_S, clock)
        yield f'<line class="grid" x1="{x}" x2="{x}" y1="{top}" y2="{bottom}"/>'
        yield _text(x, bottom + 16, f"{hour:02}:00", "quiet", "middle")


def _x(minute: float, clock: DayClock) -> float:
    return round(LEFT + (WIDTH - LEFT - RIGHT) * minute / clock.minutes, 1)


def _text(x: float, y: float, words: str, name: str = "", anchor: str = "start") -> str:
    printable = "".join(
        each if each.isprintable() else "?" for each in words
    )  # XML permits no control characters
    return f'<text x="{x}" y="{y}" class="{name}" text-anchor="{anchor}">{escape(printable)}</text>'
