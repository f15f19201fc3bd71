"""Plausible values: quantities in another unit, and those that contradict each other or have no effect.

Every rule here is a slip that an installer makes and that the type of the key allows.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from controller.config.address_rules import check_hosts_and_urls
from controller.config.clock_rules import check_time_zone
from controller.config.schema import Config
from controller.config.web_rules import check_mqtt, check_web, check_webhooks, find_web_hints
from controller.model.section_14a import DEVICE_W
from controller.tomlcheck.diagnostics import Problem
from controller.tomlcheck.positions import DataPath
from drivers.coded_text import coded, decimal, literal

LEAST_CHARGING_A = 6.0
"""The lowest current of a control pilot (IEC 61851-1, table A.7)."""
MOST_AC_A = 80.0
"""The highest current of a control pilot (IEC 61851-1, table A.7)."""
LEAST_W = 100.0
"""A lower limit in watts is most likely one in kilowatts."""
KILOWATTS_OF_A = {
    3.6: 16,
    3.7: 16,
    4.6: 20,
    7.0: 32,
    7.2: 32,
    7.4: 32,
    11.0: 16,
    22.0: 32,
    43.0: 63,
    44.0: 63,
}
"""Rated powers of AC stations in kW, and the current of each."""
PARTS_OF_POWER = {30.0: 0.3, 60.0: 0.6, 0.3: 0.3, 0.6: 0.6}
"""Steps of a ripple-control receiver, in percent and as a part of 1 (VDE-AR-N 4105: 60 %, 30 %, 0 %)."""
LEAST_MARGIN_A = 0.5
"""A lower margin is most likely a part of the limit, e.g. 0.1 for 10 %."""
CONTRACT_TOLERANCE = 1.1
"""A contract may count with another voltage than the nominal one."""
USUAL_LOAD_A = 10.0
"""Current of a load that every building switches on: a kettle, a heater of 2.3 kW."""
LARGEST_MAIN_A = 630.0
"""Largest fuse of a house connection (NH3); above it a site has a transformer of its own (A)."""
BREAKER_CARRIES = 1.145
"""Multiple of its rating that a warm B or C breaker carries for the 10 s in which cars obey (IEC 60898-1)."""


def check_values(config: Config) -> Iterator[Problem]:
    """Find values and addresses that cannot be meant."""
    yield from check_time_zone(config)
    yield from _margins(config)
    yield from _watts(config)
    yield from check_hosts_and_urls(config)
    yield from check_web(config)
    yield from check_mqtt(config)
    yield from check_webhooks(config)


def find_value_hints(config: Config) -> Iterator[Problem]:
    """Find values that are possible, but unusual."""
    yield from _currents(config)
    yield from _labels(config)
    yield from _large_margins(config)
    yield from _breaker_margins(config)
    yield from _learned_margins(config)
    yield from _small_margins(config)
    yield from _dimming_limits(config)
    yield from _without_effect(config)
    yield from _large_connection(config)
    yield from _unbalance(config)
    yield from _single_phase(config)
    yield from _contractual_maximum(config)
    yield from find_web_hints(config)
    for index, contact in enumerate(() if config.dimming is None else config.dimming.contact):
        if contact.on_when == "closed":
            yield Problem(
                ("dimming", "contact", index, "on_when"),
                coded("with a broken wire the grid operator's limit is lost unnoticed"),
                coded('use the contact that opens for the limit, and on_when = "open"'),
            )


def _margins(config: Config) -> Iterator[Problem]:
    for path, margin_a, limit_a, remedy in _all_margins(config):
        if margin_a >= limit_a:
            what = coded(
                "margin_a of {margin} A leaves nothing of the limit of {limit} A",
                margin=decimal(margin_a),
                limit=decimal(round(limit_a, 1)),
            )
            yield Problem(path, what, remedy)


def _large_margins(config: Config) -> Iterator[Problem]:
    for path, margin_a, limit_a, remedy in _all_margins(config):
        left_a = limit_a - margin_a
        if margin_a and 0 < left_a < LEAST_CHARGING_A:
            yield Problem(
                path,
                coded(
                    "margin_a of {margin_a} A leaves {left_a} A of the limit of {limit_a} A; no car charges "
                    "below {least_charging_a} A",
                    margin_a=decimal(margin_a),
                    left_a=decimal(left_a),
                    limit_a=decimal(limit_a),
                    least_charging_a=decimal(LEAST_CHARGING_A),
                ),
                remedy,
            )


def _all_margins(config: Config) -> Iterator[tuple[DataPath, float, float, str]]:
    """Return place, margin (A), lowest limit (A) and what to change, for each circuit with a fixed margin."""
    for index, circuit in enumerate(config.circuit):
        own = circuit.margin_a is not None
        margin_a = config.margin_a(circuit)
        if isinstance(margin_a, str):
            continue
        path: DataPath = ("circuit", index, "margin_a" if own else "limit_a")
        remedy = (
            coded("lower margin_a")
            if own
            else coded("lower margin_a in [load_management], or set one in this circuit")
        )
        yield path, margin_a, min(circuit.limits_a), remedy


def _breaker_margins(config: Config) -> Iterator[Problem]:
    """Find breakers that trip before cars obey, when the building switches on a usual load."""
    for index, circuit in enumerate(config.circuit):
        margin_a = config.margin_a(circuit)
        has_others = circuit.meter is not None or circuit.base_load_a
        if circuit.fuse not in ("B", "C") or not has_others or isinstance(margin_a, str):
            continue
        needed_a = USUAL_LOAD_A - (BREAKER_CARRIES - 1) * min(circuit.limits_a)
        if margin_a < needed_a:
            yield Problem(
                ("circuit", index, "fuse"),
                coded(
                    "margin_a of {margin_a} A is too little: a load of {usual_load_a} A that is switched on "
                    "trips a full {fuse} breaker before cars obey",
                    margin_a=decimal(margin_a),
                    usual_load_a=decimal(USUAL_LOAD_A),
                    fuse=circuit.fuse,
                ),
                coded(
                    'set margin_a = {needed_a} or more in this circuit, or margin_a = "auto"',
                    needed_a=literal(math.ceil(needed_a)),
                ),
            )


def _learned_margins(config: Config) -> Iterator[Problem]:
    for index, circuit in enumerate(config.circuit):
        if isinstance(circuit.margin_a, str) and circuit.meter is None:
            yield Problem(
                ("circuit", index, "margin_a"),
                coded('the circuit has no meter, so that "auto" learns nothing and 1 A is kept free'),
                coded("give the circuit a meter, or write the margin in A"),
            )


def _small_margins(config: Config) -> Iterator[Problem]:
    """Find margins that no meter resolves: most likely a part of the limit."""
    places: list[tuple[DataPath, object]] = [
        (("load_management", "margin_a"), config.load_management.margin_a)
    ]
    places += [(("circuit", index, "margin_a"), each.margin_a) for index, each in enumerate(config.circuit)]
    for path, margin_a in places:
        if isinstance(margin_a, float) and 0 < margin_a < LEAST_MARGIN_A:
            yield Problem(
                path,
                coded("{margin_a} A is less than the jumps of any load", margin_a=decimal(margin_a)),
                coded("write amperes, not a part of the limit, e.g. 1 (A)"),
            )


def _dimming_limits(config: Config) -> Iterator[Problem]:
    """Find limits of dimming below what the law leaves a single device."""
    dimming = config.dimming
    if dimming is None:
        return
    limits: list[tuple[DataPath, float | None]] = [(("dimming", "failsafe_w"), dimming.failsafe_w)]
    limits += [
        (("dimming", "contact", index, "limit_w"), each.limit_w or None)  # a contact may stand for 0 %
        for index, each in enumerate(dimming.contact)
    ]
    for path, watts in limits:
        if watts is not None and (watts == 0 or LEAST_W <= watts < DEVICE_W):
            yield Problem(
                path,
                coded(
                    "{watts} W is less than the law leaves a single device, {device_w} W",
                    watts=decimal(watts),
                    device_w=decimal(DEVICE_W),
                ),
                coded(
                    "write {device_w} or more for all controllable EVSEs together (W)",
                    device_w=literal(DEVICE_W),
                ),
            )


def _watts(config: Config) -> Iterator[Problem]:
    found: list[tuple[DataPath, float | None]] = [
        (("circuit", index, "limit_w"), circuit.limit_w) for index, circuit in enumerate(config.circuit)
    ]
    if config.dimming is not None:
        found.append((("dimming", "failsafe_w"), config.dimming.failsafe_w))
        found += [
            (("dimming", "contact", index, "limit_w"), contact.limit_w)
            for index, contact in enumerate(config.dimming.contact)
        ]
    if config.eebus is not None:
        found.append((("eebus", "consumption_w"), config.eebus.consumption_w))
        found.append((("eebus", "production_w"), config.eebus.production_w))
    most_w = _controllable_w(config)
    for path, watts in found:
        if watts is None or not 0 < watts < LEAST_W:
            continue
        remedy: str = coded("did you mean {meant} (W)?", meant=literal(watts * 1000))
        part = PARTS_OF_POWER.get(watts)
        if part is not None and path[:2] == ("dimming", "contact") and most_w:
            remedy = coded(
                "{part} of what all controllable EVSEs draw is {most_w} (W)",
                part=f"{part:.0%}",
                most_w=f"{most_w * part:.0f}",
            )
        yield Problem(path, coded("{power} W is less than any device draws", power=decimal(watts)), remedy)


def _labels(config: Config) -> Iterator[Problem]:
    """Find stations that the page would show under one name."""
    seen: dict[str, str] = {}
    for index, station in enumerate(config.station):
        other = seen.setdefault(station.label, station.id) if station.label else station.id
        if other != station.id:
            yield Problem(
                ("station", index, "label"),
                coded('is that of station "{other}", too', other=other),
                coded("give each station its own label"),
            )


def _currents(config: Config) -> Iterator[Problem]:
    limits = {circuit.id: max(circuit.limits_a) for circuit in config.circuit}
    for index, station in enumerate(config.station):
        for number, evse in enumerate(station.evse):
            path: DataPath = ("station", index, "evse", number)
            if evse == type(evse)():
                continue
            limit_a = limits.get(config.circuit_of(station, evse) or "")
            if evse.max_a > MOST_AC_A and evse.max_kw is None:
                yield Problem(
                    (*path, "max_a"),
                    coded(
                        "{max_a} A is more than an AC station can offer ({most_ac_a} A, IEC 61851-1)",
                        max_a=decimal(evse.max_a),
                        most_ac_a=decimal(MOST_AC_A),
                    ),
                    coded("keep it for a DC station, else write its rated current per phase, e.g. 32"),
                )
            elif limit_a is not None and evse.max_a > limit_a:
                is_dc = evse.max_kw is not None
                yield Problem(
                    (*path, "max_kw" if is_dc else "max_a"),
                    coded(
                        "{max_a} A is above the limit of its circuit, {limit_a} A",
                        max_a=decimal(round(evse.max_a, 1)),
                        limit_a=decimal(round(limit_a, 1)),
                    ),
                    coded("write the rated power of the station in kW")
                    if is_dc
                    else coded("write the rated current of the station per phase, e.g. 32"),
                )
            elif evse.max_kw is None and evse.max_a in KILOWATTS_OF_A:
                kilowatts, phases = evse.max_a, "one phase" if evse.max_a < 11 else "three phases"
                yield Problem(
                    (*path, "max_a"),
                    coded(
                        "{kilowatts} A is no rated current; {kilowatts} kW on {phases} are "
                        "{kilowatts_of_a} A",
                        kilowatts=decimal(kilowatts),
                        phases=phases,
                        kilowatts_of_a=KILOWATTS_OF_A[evse.max_a],
                    ),
                    coded("write the rated current of the station per phase in A"),
                )
            if evse.min_a < LEAST_CHARGING_A:
                yield Problem(
                    (*path, "min_a"),
                    coded(
                        "{min_a} A is below {least_charging_a} A, the least of IEC 61851-1",
                        min_a=decimal(evse.min_a),
                        least_charging_a=decimal(LEAST_CHARGING_A),
                    ),
                    coded("write 6, unless the station's manual names a lower current"),
                )


def _large_connection(config: Config) -> Iterator[Problem]:
    """Find a grid connection above the largest fuse of a house connection, without its transformer."""
    for index, circuit in enumerate(config.circuit):
        if circuit.parent is None and circuit.limit_kva is None and max(circuit.limits_a) > LARGEST_MAIN_A:
            yield Problem(
                ("circuit", index, "limit_a"),
                coded(
                    "{limit} A on each phase is more than the largest main fuse, {most} A",
                    limit=decimal(max(circuit.limits_a)),
                    most=decimal(LARGEST_MAIN_A),
                ),
                coded("correct it, or name the transformer that feeds the site: limit_kva"),
            )


def _without_effect(config: Config) -> Iterator[Problem]:
    """Find limits in W or kW that are above what can be drawn at all."""
    for index, circuit in enumerate(config.circuit):
        carries_kw = sum(circuit.limits_a) * config.site.voltage / 1000
        if circuit.peak_kw is not None and circuit.peak_kw > carries_kw:
            yield Problem(
                ("circuit", index, "peak_kw"),
                coded(
                    "has no effect: the circuit carries {carries_kw} kW",
                    carries_kw=decimal(carries_kw, ".4g"),
                ),
                coded("write the highest mean power that is to be paid for"),
            )
        if circuit.limit_kva is not None:  # limit_w is then derived from it
            if circuit.limit_kva > carries_kw:
                yield Problem(
                    ("circuit", index, "limit_kva"),
                    coded(
                        "has no effect: the circuit carries {carries_kw} kVA",
                        carries_kw=decimal(carries_kw, ".4g"),
                    ),
                    coded("write the rated power of the transformer that feeds it (kVA), or remove it"),
                )
        elif circuit.limit_w is not None and circuit.limit_w > carries_kw * 1000:
            yield Problem(
                ("circuit", index, "limit_w"),
                coded(
                    "has no effect: the circuit carries {carries_kw} W", carries_kw=f"{carries_kw * 1000:.0f}"
                ),
                coded("write a lower limit of all phases together (W), or remove it"),
            )
    if config.dimming is not None:
        limits: list[tuple[DataPath, float | None]] = [(("dimming", "failsafe_w"), config.dimming.failsafe_w)]
        for index, contact in enumerate(config.dimming.contact):
            limits.append((("dimming", "contact", index, "limit_w"), contact.limit_w))
        most_w = _controllable_w(config)
        for path, watts in limits:
            if watts is not None and most_w and watts > max(most_w, DEVICE_W):
                yield Problem(
                    path,
                    coded(
                        "has no effect: all controllable EVSEs together draw at most {most_w} W",
                        most_w=f"{most_w:.0f}",
                    ),
                    coded("write the limit of the grid operator for all of them together (W)"),
                )


def _single_phase(config: Config) -> Iterator[Problem]:
    """Find phase switching of EVSEs with one phase, and of DC stations."""
    for index, station in enumerate(config.station):
        for number, evse in enumerate(station.evse):
            if evse.phase_switching is not None and evse.max_kw is not None:
                yield Problem(
                    ("station", index, "evse", number, "phase_switching"),
                    coded("has no effect: a DC station draws from all phases"),
                    coded("remove it"),
                )
            elif evse.phase_switching and len(evse.phases) == 1:
                yield Problem(
                    ("station", index, "evse", number, "phase_switching"),
                    coded("has no effect: the EVSE has one phase"),
                    coded('remove it, or write all phases, e.g. phases = ["L1", "L2", "L3"]'),
                )


def _contractual_maximum(config: Config) -> Iterator[Problem]:
    """Find a contractual maximum that the grid connection cannot carry, or below that of one device."""
    watts = None if config.eebus is None else config.eebus.consumption_w
    grid = next((circuit for circuit in config.circuit if circuit.parent is None), None)
    if watts is None or grid is None or watts < LEAST_W:
        return
    carries_w = sum(grid.limits_a) * config.site.voltage
    if watts > carries_w * CONTRACT_TOLERANCE:
        yield Problem(
            ("eebus", "consumption_w"),
            coded(
                '{watts} W is more than "{id}" carries, {carries_w} W',
                watts=decimal(watts),
                id=grid.id,
                carries_w=f"{carries_w:.0f}",
            ),
            coded("write the power of the connection's contract (W), or leave it out"),
        )
    elif watts < DEVICE_W:
        yield Problem(
            ("eebus", "consumption_w"),
            coded(
                "{watts} W is less than the law leaves a single device, {device_w} W",
                watts=decimal(watts),
                device_w=decimal(DEVICE_W),
            ),
            coded("write the power of the connection's contract (W), or leave it out"),
        )


def _controllable_w(config: Config) -> float:
    """Return what all controllable EVSEs can draw together (W)."""
    volts = config.site.voltage
    return sum(
        evse.max_a * volts * len(set(evse.phases))
        for station in config.station
        for evse in station.evse
        if evse.is_controllable
    )


def _unbalance(config: Config) -> Iterator[Problem]:
    for index, circuit in enumerate(config.circuit):
        unbalance_a = circuit.unbalance_a
        if unbalance_a is None:
            continue
        if unbalance_a < LEAST_CHARGING_A:
            amps = unbalance_a * 1000 / config.site.voltage
            yield Problem(
                ("circuit", index, "unbalance_a"),
                coded(
                    "{unbalance_a} A is too little for any car on one phase", unbalance_a=decimal(unbalance_a)
                ),
                coded(
                    "write it in A: {unbalance_a} kVA are {amps} A at {voltage} V",
                    unbalance_a=decimal(unbalance_a),
                    amps=f"{amps:.0f}",
                    voltage=decimal(config.site.voltage),
                ),
            )
        elif unbalance_a >= max(circuit.limits_a):
            yield Problem(
                ("circuit", index, "unbalance_a"),
                coded(
                    "has no effect: the limit of the circuit is {limits_a} A",
                    limits_a=decimal(max(circuit.limits_a)),
                ),
                coded("write the largest difference between two phases (A), e.g. 20"),
            )
