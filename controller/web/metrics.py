"""The status as Prometheus reads it: text format 0.0.4, pure.

https://prometheus.io/docs/instrumenting/exposition_formats/
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from operator import attrgetter

from controller.load_management.site_tree import PhaseAmps
from controller.model.observations import EvseState
from controller.web.status_model import (
    BackendStatus,
    CircuitStatus,
    ControllerStatus,
    DimmingStatus,
    EvseStatus,
    OverlayStatus,
    VerdictStatus,
)
from drivers.errors import Cause
from drivers.reading import Quality

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
PREFIX = "local_controller_"

Labels = dict[str, str]
Sample = tuple[Labels, float]


def exposition(status: ControllerStatus) -> str:
    """All metrics of a status.

    A reason is a label of `evse_reason_info`, alone there: each new text begins a new time series. Who
    does not want to store those drops that one metric.
    """
    lines: list[str] = []
    for name, kind, help_text, samples in _families(status):
        lines += (f"# HELP {PREFIX}{name} {help_text}", f"# TYPE {PREFIX}{name} {kind}")
        lines += (f"{PREFIX}{name}{_labels(labels)} {value!r}" for labels, value in samples)
    return "\n".join(lines) + "\n"


Family = tuple[str, str, str, Iterable[Sample]]
"""Name without prefix, type, help, samples."""


def _families(status: ControllerStatus) -> Iterator[Family]:
    build = {"site": status.site, "version": status.version}
    yield "info", "gauge", "The site and the version of its controller.", [(build, 1.0)]
    yield "healthy", "gauge", "1 while the control loop keeps its pace.", [({}, float(status.healthy))]
    yield "tick_age_seconds", "gauge", "Time since the current was last shared.", [({}, status.tick_age_s)]
    yield from _circuits(status.circuits)
    yield from _evses(status.evses)
    yield from _links(status)
    if status.dimming is not None:
        yield from _dimming(status.dimming)
    yield from _backends(status.backends)
    yield _verdicts(status.signatures)
    if status.overlay is not None:
        yield from _overlay(status.overlay)


_CIRCUIT_COLUMNS: tuple[tuple[str, str, Callable[[CircuitStatus], PhaseAmps | None]], ...] = (
    ("limit", "Limit of the circuit.", attrgetter("limit_a")),
    ("measured", "Current by the circuit's meter, its last word.", attrgetter("measured_a")),
    ("base", "Current beside the stations, as far as known.", attrgetter("base_a")),
    ("booked", "Current that the stations may be drawing.", attrgetter("booked_a")),
)


def _circuits(circuits: Sequence[CircuitStatus]) -> Iterator[Family]:
    for name, help_text, amps_of in _CIRCUIT_COLUMNS:
        samples = [s for c in circuits if (amps := amps_of(c)) for s in _per_phase({"circuit": c.id}, amps)]
        yield f"circuit_{name}_amperes", "gauge", help_text, samples
    qualities = [
        ({"circuit": circuit.id, "quality": quality.value}, float(circuit.meter_quality is quality))
        for circuit in circuits
        if circuit.meter_quality is not None
        for quality in Quality
    ]
    yield "meter_quality", "gauge", "1 for the quality of the circuit's meter now, 0 for the rest.", qualities
    causes = [
        ({"circuit": circuit.id, "cause": cause.value}, float(circuit.meter_cause is cause))
        for circuit in circuits
        if circuit.meter_quality is not None
        for cause in Cause
    ]
    yield "meter_cause", "gauge", "1 for the cause of the trouble of the circuit's meter now, 0 else.", causes


def _evses(evses: Iterable[EvseStatus]) -> Iterator[Family]:
    rows = [({"station": evse.station, "evse": str(evse.evse)}, evse) for evse in evses]
    yield (
        "evse_connected",
        "gauge",
        "1 while the EVSE's station is connected.",
        [(labels, float(evse.connected)) for labels, evse in rows],
    )
    yield (
        "evse_offered_amperes",
        "gauge",
        "Current per phase that the EVSE may draw.",
        [(labels, evse.offered_a) for labels, evse in rows],
    )
    yield (
        "evse_drawn_amperes",
        "gauge",
        "Current that the EVSE last reported, on the site's phases.",
        [sample for labels, evse in rows for sample in _per_phase(labels, evse.drawn_a)],
    )
    yield (
        "evse_single_phase",
        "gauge",
        "1 while the EVSE is told to charge on one of its phases.",
        [(labels, float(evse.single_phase)) for labels, evse in rows],
    )
    yield from _habits(rows)
    yield (
        "evse_state",
        "gauge",
        "1 for the state that the EVSE is in, 0 for the rest.",
        [
            (labels | {"state": state.value}, float(evse.state is state))
            for labels, evse in rows
            for state in EvseState
        ],
    )
    yield (
        "evse_reason_info",
        "gauge",
        "Why the EVSE is not offered more, in words.",
        [(labels | {"circuit": evse.circuit, "reason": evse.reason}, 1.0) for labels, evse in rows],
    )


def _habits(rows: Iterable[tuple[Labels, EvseStatus]]) -> Iterator[Family]:
    yield (
        "evse_reaction_seconds",
        "gauge",
        "Time from a station's yes to a lower limit until its car obeys.",
        [(labels, evse.reaction_s) for labels, evse in rows],
    )
    yield (
        "evse_step_amperes",
        "gauge",
        "What the station was seen to leave of a limit by rounding.",
        [(labels, evse.step_a) for labels, evse in rows],
    )
    yield (
        "evse_obeys",
        "gauge",
        "Whether the station followed its last lower limit; none before the first.",
        [(labels, float(evse.obeys)) for labels, evse in rows if evse.obeys is not None],
    )


def _links(status: ControllerStatus) -> Iterator[Family]:
    links = status.links
    connected = [({"ocpp": version}, float(count)) for version, count in links.connected.items()]
    yield "stations_connected", "gauge", "Stations connected, by OCPP version.", connected
    for name, help_text, count in (
        ("links_accepted_total", "Connections of stations accepted.", links.accepted_total),
        ("links_refused_total", "Connections of stations refused.", links.refused_total),
        ("messages_from_stations_total", "Messages received from stations.", links.from_stations_total),
        ("messages_from_backends_total", "Messages received from backends.", links.from_backends_total),
        ("limits_total", "Limits sent to stations.", links.limits_total),
        ("limits_failed_total", "Limits refused or not answered.", links.limits_failed_total),
    ):
        yield name, "counter", help_text, [({}, float(count))]


def _backends(backends: Sequence[BackendStatus]) -> Iterator[Family]:
    links = [
        ({"backend": each.id, "uplink": uplink}, float(count))
        for each in backends
        for uplink, count in each.links.items()
    ]
    yield "backend_links", "gauge", "Open links to the backend, by uplink.", links
    for name, kind, help_text, value_of in _BACKEND_COLUMNS:
        yield name, kind, help_text, [({"backend": each.id}, float(value_of(each))) for each in backends]


_BACKEND_COLUMNS: tuple[tuple[str, str, str, Callable[[BackendStatus], float]], ...] = (
    ("backend_waiting", "gauge", "Messages that wait for the backend.", attrgetter("waiting")),
    ("backend_oldest_seconds", "gauge", "Age of the oldest that waits.", attrgetter("oldest_s")),
    ("backend_dropped_total", "counter", "Messages that had no room.", attrgetter("dropped_total")),
    ("backend_set_aside", "gauge", "Messages that it will not take.", attrgetter("set_aside")),
)


def _verdicts(verdicts: Iterable[VerdictStatus]) -> Family:
    samples = [
        ({"rule": each.rule, "outcome": each.outcome}, float(each.messages_total)) for each in verdicts
    ]
    return "signature_verdicts_total", "counter", "Messages, by what a rule has said of them.", samples


def _overlay(overlay: OverlayStatus) -> Iterator[Family]:
    reached = [({"neighbour": each.link}, float(len(each.reached))) for each in overlay.neighbours]
    yield "overlay_reached_nodes", "gauge", "Nodes that are reached over a neighbour's link.", reached
    dropped = [({"reason": reason}, float(count)) for reason, count in overlay.dropped_total.items()]
    yield "overlay_dropped_total", "counter", "Messages that went no further, by the reason.", dropped


def _dimming(dimming: DimmingStatus) -> Iterator[Family]:
    for name, help_text, watts in (
        ("limit", "What the grid operator leaves all steerable EVSEs together.", dimming.limit_w),
        ("minimum", "What the law leaves them.", dimming.minimum_w),
        ("drawn", "What they draw, as far as known.", dimming.drawn_w),
        ("grid", "What the grid connection's meter shows.", dimming.grid_w),
    ):
        yield f"dimming_{name}_watts", "gauge", help_text, [] if watts is None else [({}, watts)]
    yield (
        "dimming_active",
        "gauge",
        "1 while the grid operator limits anything.",
        [({}, float(dimming.dimmed))],
    )
    yield (
        "dimming_source",
        "gauge",
        "1 for each source that limits now.",
        [({"source": source}, 1.0) for source in dimming.sources],
    )
    verdicts = [({"verdict": "accepted"}, float(dimming.accepted_total))]
    verdicts += [({"verdict": reason}, float(count)) for reason, count in dimming.refused_total.items()]
    yield "dimming_commands_total", "counter", "Dimming commands, by what was found of them.", verdicts
    for name, help_text, count in (
        ("evidence_records", "Records in the evidence log.", dimming.evidence_records),
        ("evidence_failed_total", "What could not be put on record.", dimming.evidence_failed_total),
    ):
        yield name, "counter" if name.endswith("_total") else "gauge", help_text, [({}, float(count))]


def _per_phase(labels: Labels, amps: PhaseAmps) -> list[Sample]:
    return [(labels | {"phase": f"L{phase}"}, value) for phase, value in enumerate(amps, start=1)]


def _labels(labels: Labels) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items()) + "}"


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
