"""Rules of circuits: the tree, the currents of its EVSEs, and over-commitment without the controller."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from msgspec.structs import replace

from controller.config.schema import CircuitConfig, Config, EvseConfig, StationConfig
from controller.config.value_rules import LEAST_W
from controller.tomlcheck.diagnostics import Problem, unknown_name
from controller.tomlcheck.positions import DataPath
from drivers.coded_text import coded, decimal, join_or, literal

_PHASES = ("L1", "L2", "L3")
_NO_PARENT = frozenset({"-", "no", "none", "root"})
"""Words that people write for the parent of the grid connection."""
_LESS = coded("lower fallback_a (0: pause), or connect fewer stations there")
Parents = Mapping[str, str | None]
"""The circuit that feeds each circuit; None for the grid connection."""


def check_circuits(config: Config) -> Iterator[Problem]:
    """Find circuits that are not a tree, contradictory currents, and over-committed circuits."""
    parents = {circuit.id: circuit.parent for circuit in config.circuit}
    yield from _root(config, parents)
    yield from _parents(config, parents)
    for index, station in enumerate(config.station):
        path: DataPath = ("station", index)
        if station.circuit is not None and station.circuit not in parents:
            yield unknown_name((*path, "circuit"), station.circuit, parents, "circuit")
        if not station.evse:
            yield Problem((*path, "evse"), coded("is empty"), coded("remove it; one EVSE is then assumed"))
        ids: set[int] = set()
        for number, evse in enumerate(station.evse):
            if evse.id in ids:
                yield Problem(
                    (*path, "evse", number, "id"),
                    coded("EVSE {id} is already defined", id=evse.id),
                    coded("give each its own id"),
                )
            ids.add(evse.id)
            yield from _evse(config, station, evse, (*path, "evse", number), parents)
    yield from _over_committed(config, parents)


def _is_root(circuit: CircuitConfig, parents: Parents) -> bool:
    """Return whether a circuit has no parent, or a word that stands for none."""
    return circuit.parent is None or (circuit.parent not in parents and circuit.parent.lower() in _NO_PARENT)


def _root(config: Config, parents: Parents) -> Iterator[Problem]:
    roots = [index for index, circuit in enumerate(config.circuit) if _is_root(circuit, parents)]
    for index in roots[1:]:
        first = config.circuit[roots[0]].id
        yield Problem(
            ("circuit", index, "parent"),
            coded('is missing: "{first}" is the grid connection already', first=first),
            coded('name the circuit that feeds it, e.g. parent = "{first}"', first=first),
        )
    if not parents:
        yield Problem(
            ("circuit",), coded("no circuit is the grid connection"), coded("leave out parent in one circuit")
        )


def _parents(config: Config, parents: Parents) -> Iterator[Problem]:
    meters = [meter.id for meter in config.meter]
    in_loops: set[str] = set()
    remedy = coded("name the circuit that feeds it")
    if not any(_is_root(circuit, parents) for circuit in config.circuit):
        remedy = coded("name the circuit that feeds it; the grid connection has no parent")
    for index, circuit in enumerate(config.circuit):
        path: DataPath = ("circuit", index, "parent")
        if circuit.parent is not None and _is_root(circuit, parents):
            yield Problem(
                path,
                coded('"{parent}" is no circuit', parent=circuit.parent),
                coded("leave parent out: the circuit is the grid connection"),
            )
        elif circuit.parent is not None and circuit.parent not in parents:
            yield unknown_name(path, circuit.parent, parents, "circuit")
        elif circuit.id not in in_loops and circuit.id in (loop := path_to_root(circuit.parent, parents)):
            in_loops.update(loop)
            yield Problem(path, coded("forms a loop"), remedy)
        if circuit.meter is not None and circuit.meter not in meters:
            problem = unknown_name(("circuit", index, "meter"), circuit.meter, meters, "meter")
            meant = [f'"{each.id}"' for each in config.meter if circuit.meter in (each.driver, each.host)]
            if meant:
                problem = replace(problem, remedy=coded("did you mean {meant}?", meant=join_or(meant)))
            yield problem


def path_to_root(circuit: str | None, parents: Parents) -> list[str]:
    """Return the circuit and all above it, as far as they exist; a loop ends where it closes."""
    path: list[str] = []
    current = circuit
    while current is not None and current in parents and current not in path:
        path.append(current)
        current = parents[current]
    return path


def _evse(
    config: Config, station: StationConfig, evse: EvseConfig, path: DataPath, parents: Parents
) -> Iterator[Problem]:
    if evse.circuit is not None and evse.circuit not in parents:
        yield unknown_name((*path, "circuit"), evse.circuit, parents, "circuit")
    if config.circuit_of(station, evse) is None:
        yield Problem(
            (*path[:2], "circuit"),
            coded("is missing: the EVSE needs a circuit"),
            coded('add circuit = "..."'),
        )
    if len(set(evse.phases)) < len(evse.phases):
        yield Problem((*path, "phases"), coded("names a phase twice"), coded("name each phase once"))
    if evse.min_a > evse.max_a and evse.max_kw is not None:
        return  # derived from min_kw and max_kw, whose rule reports them
    if evse.min_a > evse.max_a:
        own = evse.min_a != EvseConfig().min_a  # else the other key is the one that was written
        yield Problem(
            (*path, "min_a" if own else "max_a"),
            coded("{min_a} A is above max_a, {max_a} A", min_a=decimal(evse.min_a), max_a=decimal(evse.max_a))
            if own
            else coded(
                "{max_a} A is below min_a, {min_a} A: no car charges",
                max_a=decimal(evse.max_a),
                min_a=decimal(evse.min_a),
            ),
            coded("lower min_a or raise max_a"),
        )
    else:
        yield from _fallback(config, evse, path)


def _fallback(config: Config, evse: EvseConfig, path: DataPath) -> Iterator[Problem]:
    fallback = config.fallback_a(evse)
    own = evse.fallback_a is not None
    if fallback > evse.max_a:
        yield Problem(
            (*path, "fallback_a" if own else "max_a"),
            coded(
                "fallback_a is {fallback} A, above max_a of {max_a} A",
                fallback=decimal(fallback),
                max_a=decimal(evse.max_a),
            ),
            coded("lower fallback_a here") if own else coded("set a lower fallback_a here"),
        )
    elif 0 < fallback < evse.min_a and evse.max_kw is not None:
        yield Problem(
            (*path, "fallback_a" if own else "max_kw"),
            coded(
                "fallback_a is {fallback} A, too little for a DC station: its min_kw is {min_a} A",
                fallback=decimal(fallback),
                min_a=decimal(evse.min_a),
            ),
            coded(
                "set fallback_a to 0 or to at least {min_a}; an AC station has max_a in place of max_kw, "
                "e.g. 16 for 11 kW",
                min_a=literal(evse.min_a),
            ),
        )
    elif 0 < fallback < evse.min_a:
        # The key that was written; that of all stations is one problem, however many there are.
        of_all = ("load_management", "fallback_a")
        is_usual = evse.min_a == EvseConfig().min_a
        yield Problem(
            (*path, "fallback_a") if own else of_all if is_usual else (*path, "min_a"),
            coded(
                "fallback_a is {fallback} A, below min_a of {min_a} A: too little to charge",
                fallback=decimal(fallback),
                min_a=decimal(evse.min_a),
            ),
            coded("set fallback_a to at least min_a, or to 0"),
        )


def _over_committed(config: Config, parents: Parents) -> Iterator[Problem]:
    """Find circuits that could not carry all fallbacks below them and the declared base load at once."""
    sums = {circuit: [0.0, 0.0, 0.0] for circuit in parents}
    beside = dict.fromkeys(parents, 0.0)
    for each in config.circuit:
        for circuit in path_to_root(each.id, parents):
            beside[circuit] += each.base_load_a or 0.0
    counted: set[tuple[str, int]] = set()
    for station in config.station:
        for evse in station.evse:
            if (station.id, evse.id) in counted:  # defined twice, which is an error itself
                continue
            counted.add((station.id, evse.id))
            for circuit in path_to_root(config.circuit_of(station, evse), parents):
                for phase in set(evse.phases):
                    sums[circuit][_PHASES.index(phase)] += config.fallback_a(evse)
    for index, each in enumerate(config.circuit):
        base_a = beside[each.id]
        rated_w = (each.limit_kva or math.inf) * 1000
        key = "limit_kva" if min(each.limits_a) >= each.transformer_a(config.site.voltage) else "limit_a"
        yield from _sum(each, sums[each.id], base_a, ("circuit", index, key))
        watts = (sum(sums[each.id]) + 3 * base_a) * config.site.voltage
        if each.limit_w is not None and LEAST_W <= each.limit_w < watts:
            yield Problem(
                ("circuit", index, "limit_kva" if each.limit_w == rated_w else "limit_w"),
                coded(
                    "without the controller, {who} take {watts} W, its limit is {limit_w} W",
                    who=_who(each, base_a),
                    watts=decimal(watts),
                    limit_w=decimal(each.limit_w),
                ),
                _LESS,
            )


def _sum(circuit: CircuitConfig, sums_a: list[float], base_a: float, path: DataPath) -> Iterator[Problem]:
    limits_a = circuit.limits_a
    worst = max(range(3), key=lambda phase: sums_a[phase] - limits_a[phase])
    if sums_a[worst] + base_a > limits_a[worst]:
        yield Problem(
            path,
            coded(
                "without the controller, {who} take {current} A on {phase}, its limit is {limit} A",
                who=_who(circuit, base_a),
                current=decimal(sums_a[worst] + base_a),
                phase=_PHASES[worst],
                limit=decimal(limits_a[worst]),
            ),
            _LESS,
        )


def _who(circuit: CircuitConfig, base_a: float) -> str:
    """Describe what draws below a circuit without the controller."""
    if base_a:
        return coded(
            'the stations below "{circuit}" and the declared base load of {base} A',
            circuit=circuit.id,
            base=decimal(base_a),
        )
    return coded('the stations below "{circuit}"', circuit=circuit.id)
