"""Metrics of a status for Prometheus (text format 0.0.4), as a collector of `prometheus_client`.

A reason is a label of `evse_reason_info` alone, without the values that change: a text begins a time series.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from operator import attrgetter

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.registry import Collector

from controller.load_management.site_tree import PhaseAmps
from controller.model.observations import EvseState
from controller.web.status_model import (
    BackendStatus,
    CircuitStatus,
    ClockReport,
    ControllerStatus,
    DimmingStatus,
    EebusStatus,
    EnergyStatus,
    EvseStatus,
    OverlayStatus,
    PeakStatus,
    UnconfiguredEvseStatus,
)
from drivers.errors import Cause
from drivers.reading import Quality

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
PREFIX = "local_controller_"

Family = GaugeMetricFamily | CounterMetricFamily


def render_metrics(status: ControllerStatus) -> bytes:
    """Return all metrics of a status in the text format."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_StatusCollector(status))
    return generate_latest(registry)


class _StatusCollector(Collector):
    """Collector of the metrics of one status."""

    def __init__(self, status: ControllerStatus) -> None:
        self._status = status

    def describe(self) -> Iterable[Family]:
        """Return nothing: the names are those that `collect` yields."""
        return ()

    def collect(self) -> Iterator[Family]:
        """Yield every family of metrics."""
        status = self._status
        build = [((status.site, status.version), 1.0)]
        yield _gauge("info", "Site and version of the controller.", ("site", "version"), build)
        yield _gauge("healthy", "1 while the control loop runs on time.", (), [((), float(status.healthy))])
        store = status.store
        yield _gauge("store_writable", "1 while the store can be written.", (), [((), float(store.writable))])
        yield _gauge("store_kept", "Changes that are in memory alone.", (), [((), float(store.kept))])
        for name, megabytes in (("free", store.free_mb), ("size", store.size_mb)):
            samples = [] if megabytes is None else [((), megabytes * 1048576.0)]
            yield _gauge(f"store_{name}_bytes", _SPACE_TEXTS[name], (), samples)
        yield _gauge("tick_age_seconds", "Time since the last control step.", (), [((), status.tick_age_s)])
        yield from _circuits(status.circuits)
        yield from _meters(status)
        yield from _evses(status.evses)
        yield from _unconfigured(status.unconfigured)
        yield from _energy(status.energy)
        yield from _links(status)
        if status.dimming is not None:
            yield from _dimming(status.dimming)
        yield from _backends(status.backends)
        verdicts = [((each.rule, each.outcome), each.messages_total) for each in status.signatures]
        yield _counter(
            "signature_verdicts_total", "Messages, by rule and its decision.", ("rule", "outcome"), verdicts
        )
        if status.clock is not None:
            yield from _clock(status.clock)
        yield from _expiries(status)
        alarms = [((each.kind, each.subject, each.severity), 1.0) for each in status.alarms]
        yield _gauge("alarm", "1 for each alarm that is present.", ("kind", "subject", "severity"), alarms)
        if status.eebus is not None:
            yield from _eebus(status.eebus)
        if status.overlay is not None:
            yield from _overlay(status.overlay)


_SPACE_TEXTS = {"free": "Free space of the disk of the store.", "size": "Size of the disk of the store."}


def _expiries(status: ControllerStatus) -> Iterator[Family]:
    now = datetime.fromisoformat(status.time).timestamp()
    ends = [((each.name,), each.not_after) for each in status.expiries]
    yield _gauge("expiry_timestamp_seconds", "End of a certificate or key.", ("name",), ends)
    levels = [((each.name,), float(each.level(now))) for each in status.expiries]
    text = "Urgency of a renewal: 1 from 30, 2 from 14, 3 from 7 days before the end, 4 after it."
    yield _gauge("expiry_level", text, ("name",), levels)


def _clock(clock: ClockReport) -> Iterator[Family]:
    states = [((state,), float(state == clock.state)) for state in ("legal", "synchronised", "unverified")]
    yield _gauge("clock_state", "1 for the state of the clock.", ("state",), states)
    if clock.error_bound_s is not None:
        yield _gauge(
            "clock_error_bound_seconds", "How far the clock may be off.", (), [((), clock.error_bound_s)]
        )
    yield _gauge("clock_servers_agree", "Authenticated servers that agree.", (), [((), clock.servers_agree)])


Samples = Iterable[tuple[Sequence[str], float]]


def _gauge(name: str, text: str, labels: Sequence[str], samples: Samples) -> GaugeMetricFamily:
    family = GaugeMetricFamily(PREFIX + name, text, labels=labels)
    for values, value in samples:
        family.add_metric(list(values), value)
    return family


def _counter(name: str, text: str, labels: Sequence[str], samples: Samples) -> CounterMetricFamily:
    family = CounterMetricFamily(PREFIX + name, text, labels=labels)
    for values, value in samples:
        family.add_metric(list(values), value)
    return family


def _per_phase(values: Sequence[str], amps: PhaseAmps) -> Samples:
    return [((*values, f"L{phase}"), value) for phase, value in enumerate(amps, start=1)]


_CIRCUIT_COLUMNS: tuple[tuple[str, str, Callable[[CircuitStatus], PhaseAmps | None]], ...] = (
    ("limit", "Limit of the circuit.", attrgetter("limit_a")),
    ("measured", "Last current of the circuit's meter.", attrgetter("measured_a")),
    ("base", "Base load: current beside the EVSEs, as far as known.", attrgetter("base_a")),
    ("booked", "Current that the EVSEs may be drawing.", attrgetter("booked_a")),
)


def _circuits(circuits: Sequence[CircuitStatus]) -> Iterator[Family]:
    for name, text, amps_of in _CIRCUIT_COLUMNS:
        samples = [
            sample for each in circuits if (amps := amps_of(each)) for sample in _per_phase((each.id,), amps)
        ]
        yield _gauge(f"circuit_{name}_amperes", text, ("circuit", "phase"), samples)
    overloads = [((each.id,), float(each.overloads)) for each in circuits]
    yield _counter(
        "circuit_overloads", "Times above the limit for longer than 10 s.", ("circuit",), overloads
    )
    excess = [((each.id,), each.excess_a) for each in circuits]
    text = "Current above the limit that may flow, as stations below have not taken their limits."
    yield _gauge("circuit_excess_amperes", text, ("circuit",), excess)
    jumps = [((each.id,), each.jump_a) for each in circuits]
    text = "Largest jump of the base load so far, which the margin has to absorb."
    yield _gauge("circuit_jump_amperes", text, ("circuit",), jumps)
    beyond = [((each.id,), float(each.jumps_beyond)) for each in circuits]
    yield _counter(
        "circuit_jumps_beyond_margin", "Jumps of the base load above the margin.", ("circuit",), beyond
    )
    margins = [((each.id,), each.margin_a) for each in circuits]
    yield _gauge("circuit_margin_amperes", "Current kept free below the limit.", ("circuit",), margins)
    proposed = [
        ((each.id,), each.proposed_margin_a) for each in circuits if each.proposed_margin_a is not None
    ]
    text = "Margin that absorbs the jumps of the base load that recur."
    yield _gauge("circuit_proposed_margin_amperes", text, ("circuit",), proposed)
    metered = [each for each in circuits if each.meter_quality is not None]
    qualities = [
        ((each.id, quality.value), float(each.meter_quality is quality))
        for each in metered
        for quality in Quality
    ]
    yield _gauge(
        "meter_quality",
        "1 for the quality of the circuit's meter, 0 for the others.",
        ("circuit", "quality"),
        qualities,
    )
    causes = [
        ((each.id, cause.value), float(each.meter_cause is cause)) for each in metered for cause in Cause
    ]
    yield _gauge(
        "meter_cause",
        "1 for the cause of a fault of the circuit's meter, 0 for the others.",
        ("circuit", "cause"),
        causes,
    )


def _meters(status: ControllerStatus) -> Iterator[Family]:
    ages = [((each.id,), each.age_s) for each in status.meters if each.age_s is not None]
    yield _gauge("meter_reading_age_seconds", "Age of the meter's last good reading.", ("meter",), ages)
    of_meters = [((each.id, name), n) for each in status.meters for name, n in each.events_total.items()]
    yield _counter(
        "meter_events_total",
        "Failed polls of a meter by cause, and counters that ran backwards.",
        ("meter", "event"),
        of_meters,
    )
    of_buses = [((each.name, name), n) for each in status.buses for name, n in each.events_total.items()]
    text = "Requests and answers on a Modbus bus, and what went wrong."
    yield _counter("bus_events_total", text, ("bus", "event"), of_buses)


def _unconfigured(evses: Sequence[UnconfiguredEvseStatus]) -> Iterator[Family]:
    rows = [((each.station, str(each.evse)), each) for each in evses if each.has_car]
    text = "Current kept free for a car at an EVSE that the configuration does not name."
    booked = [(key, each.booked_a) for key, each in rows]
    yield _gauge("unconfigured_evse_booked_amperes", text, ("station", "evse"), booked)
    text = "1 if an EVSE that the configuration does not name is limited."
    limited = [(key, float(each.is_limited)) for key, each in rows]
    yield _gauge("unconfigured_evse_limited", text, ("station", "evse"), limited)


_PEAK_COLUMNS: tuple[tuple[str, str, Callable[[PeakStatus], float]], ...] = (
    ("target_watts", "Target of the mean power of a quarter hour.", lambda peak: 1000 * peak.target_kw),
    ("used_watt_hours", "Import of the running quarter hour so far.", lambda peak: 1000 * peak.used_kwh),
    (
        "left_watt_hours",
        "Import that the running quarter hour has left below its target; below 0: above it.",
        lambda peak: 1000 * (peak.budget_kwh - peak.used_kwh),
    ),
    ("ends_in_seconds", "Time until the end of the running quarter hour.", attrgetter("ends_in_s")),
    (
        "month_watts",
        "Highest mean power of a quarter hour of the month; 0 before its first.",
        lambda peak: 1000 * peak.month_kw,
    ),
)


def _energy(energy: EnergyStatus) -> Iterator[Family]:
    for name, text, value_of in _PEAK_COLUMNS:
        samples = [((peak.circuit,), value_of(peak)) for peak in energy.peaks]
        yield _gauge(f"peak_{name}", text, ("circuit",), samples)
    used = [((group.id,), 1000 * group.used_kwh) for group in energy.groups]
    yield _gauge("group_used_watt_hours", "Energy that the group has used today.", ("group",), used)
    quotas = [((group.id,), 1000 * group.quota_kwh) for group in energy.groups if group.quota_kwh is not None]
    yield _gauge("group_quota_watt_hours", "Energy that the group may use in a day.", ("group",), quotas)
    guaranteed = [((group.id,), group.guaranteed_a) for group in energy.groups]
    text = "Current on each phase that the group is guaranteed."
    yield _gauge("group_guaranteed_amperes", text, ("group",), guaranteed)
    entries = [((name,), 1.0) for name in energy.calendar]
    yield _gauge("calendar_active", "1 for each entry of the calendar that holds now.", ("entry",), entries)
    waiting = [((each.station, str(each.evse)), 1.0) for each in energy.waiting]
    text = "1 for each EVSE whose car waits for a lower price."
    yield _gauge("evse_waits_for_price", text, ("station", "evse"), waiting)
    prices = [] if energy.price is None else [((), energy.price)]
    yield _gauge("energy_price", "Price of a kWh now.", (), prices)
    text = "Current of all phases that the battery delivers and no car may use."
    yield _gauge("battery_hidden_amperes", text, (), [((), energy.battery_a)])


_EVSE_COLUMNS: tuple[tuple[str, str, Callable[[EvseStatus], float | bool | None]], ...] = (
    ("connected", "1 while the EVSE's station is connected.", attrgetter("connected")),
    ("offered_amperes", "Current per phase that the EVSE may draw.", attrgetter("offered_a")),
    (
        "offered_watts",
        "Power of all phases that the EVSE may draw, where its station accepts W only.",
        attrgetter("offered_w"),
    ),
    ("single_phase", "1 while the EVSE is limited to one of its phases.", attrgetter("single_phase")),
    (
        "reaction_seconds",
        "Time from an accepted lower limit until the car follows.",
        attrgetter("reaction_s"),
    ),
    ("step_amperes", "Most by which the station rounds limits down.", attrgetter("step_a")),
    (
        "obeys",
        "1 if the station followed its last lower limit; absent before the first.",
        attrgetter("obeys"),
    ),
)


def _evses(evses: Sequence[EvseStatus]) -> Iterator[Family]:
    rows = [((each.station, str(each.evse)), each) for each in evses]
    for name, text, value_of in _EVSE_COLUMNS:
        samples = [(key, float(value)) for key, each in rows if (value := value_of(each)) is not None]
        yield _gauge(f"evse_{name}", text, ("station", "evse"), samples)
    drawn = [sample for key, each in rows for sample in _per_phase(key, each.drawn_a)]
    text = "Last reported current of the EVSE on the site's phases."
    yield _gauge("evse_drawn_amperes", text, ("station", "evse", "phase"), drawn)
    states = [((*key, state.value), float(each.state is state)) for key, each in rows for state in EvseState]
    text = "1 for the state of the EVSE, 0 for the others."
    yield _gauge("evse_state", text, ("station", "evse", "state"), states)
    reasons = [((*key, each.circuit, _reason_kind(each)), 1.0) for key, each in rows]
    text = "Why the EVSE is not offered more."
    yield _gauge("evse_reason_info", text, ("station", "evse", "circuit", "reason"), reasons)


def _links(status: ControllerStatus) -> Iterator[Family]:
    links = status.links
    connected = [((version,), count) for version, count in links.connected.items()]
    yield _gauge("stations_connected", "Connected stations, by OCPP version.", ("ocpp",), connected)
    for name, text, count in (
        ("links_accepted_total", "Accepted connections of stations.", links.accepted_total),
        ("links_refused_total", "Rejected connections of stations.", links.refused_total),
        ("messages_from_stations_total", "Messages received from stations.", links.from_stations_total),
        ("messages_from_backends_total", "Messages received from backends.", links.from_backends_total),
        ("limits_total", "Limits sent to stations.", links.limits_total),
        ("limits_failed_total", "Limits that were rejected or not answered.", links.limits_failed_total),
    ):
        yield _counter(name, text, (), [((), count)])


def _backends(backends: Sequence[BackendStatus]) -> Iterator[Family]:
    links = [((each.id, endpoint), count) for each in backends for endpoint, count in each.links.items()]
    yield _gauge("backend_links", "Open links to the backend, by endpoint.", ("backend", "uplink"), links)
    for name, family, text, value_of in _BACKEND_COLUMNS:
        yield family(name, text, ("backend",), [((each.id,), value_of(each)) for each in backends])


_BACKEND_COLUMNS: tuple[tuple[str, Callable[..., Family], str, Callable[[BackendStatus], float]], ...] = (
    ("backend_waiting", _gauge, "Messages that wait for the backend.", attrgetter("waiting")),
    ("backend_oldest_seconds", _gauge, "Age of the oldest waiting message.", attrgetter("oldest_s")),
    ("backend_dropped_total", _counter, "Messages dropped for lack of room.", attrgetter("dropped_total")),
    ("backend_set_aside", _gauge, "Messages set aside for a person to decide.", attrgetter("set_aside")),
)


def _eebus(eebus: EebusStatus) -> Iterator[Family]:
    directions = [("consumption", eebus.consumption), ("production", eebus.production)]
    offered = [(name, limit) for name, limit in directions if limit is not None]
    states = [((name, limit.state), 1.0) for name, limit in offered]
    yield _gauge("eebus_state", "State of the limitation of power.", ("direction", "state"), states)
    limits = [((name,), limit.limit_w) for name, limit in offered if limit.limit_w is not None]
    yield _gauge("eebus_limit_watts", "Limit that applies by EEBUS.", ("direction",), limits)
    age_s = eebus.heartbeat_age_s
    ages = [] if age_s is None else [((), age_s)]
    yield _gauge("eebus_heartbeat_age_seconds", "Age of the energy guard's last heartbeat.", (), ages)
    connected = sum(partner.phase == "data" for partner in eebus.partners)
    yield _gauge("eebus_partners", "Partners that are connected.", (), [((), connected)])
    writes = [(("accepted",), eebus.accepted_total), (("refused",), eebus.refused_total)]
    text = "Limits and failsafe values that were written, by the answer."
    yield _counter("eebus_writes_total", text, ("answer",), writes)
    for name, text, count in (
        ("eebus_messages_refused_total", "Messages refused or ignored.", eebus.messages_refused_total),
        ("eebus_connections_total", "Connections opened.", eebus.connections_total),
    ):
        yield _counter(name, text, (), [((), count)])


def _overlay(overlay: OverlayStatus) -> Iterator[Family]:
    reached = [((each.link,), len(each.reached)) for each in overlay.neighbours]
    yield _gauge(
        "overlay_reached_nodes", "Nodes that are reached over a neighbor's link.", ("neighbour",), reached
    )
    dropped = [((reason,), count) for reason, count in overlay.dropped_total.items()]
    yield _counter("overlay_dropped_total", "Messages that were not routed, by reason.", ("reason",), dropped)


def _dimming(dimming: DimmingStatus) -> Iterator[Family]:
    for name, text, watts in (
        ("limit", "Limit of all controllable EVSEs together.", dimming.limit_w),
        ("minimum", "Power that the law leaves to the controllable EVSEs.", dimming.minimum_w),
        ("drawn", "Power that the controllable EVSEs draw, as far as known.", dimming.drawn_w),
        ("grid", "Power that the meter of the grid connection shows.", dimming.grid_w),
    ):
        yield _gauge(f"dimming_{name}_watts", text, (), [] if watts is None else [((), watts)])
    yield _gauge(
        "dimming_active", "1 while a limit source limits anything.", (), [((), float(dimming.dimmed))]
    )
    sources = [((source,), 1.0) for source in dimming.sources]
    yield _gauge("dimming_source", "1 for each limit source that limits now.", ("source",), sources)
    verdicts: list[tuple[Sequence[str], float]] = [(("accepted",), dimming.accepted_total)]
    verdicts += [((reason,), count) for reason, count in dimming.refused_total.items()]
    yield _counter("dimming_commands_total", "Dimming commands, by verdict.", ("verdict",), verdicts)
    records = [((), float(dimming.evidence_records))]
    yield _gauge("evidence_records", "Records of the evidence.", (), records)
    failed = [((), float(dimming.evidence_failed_total))]
    yield _counter("evidence_failed_total", "Records that could not be written.", (), failed)


def _reason_kind(evse: EvseStatus) -> str:
    """Return the reason of a limit without the values that change: each text begins a new time series."""
    return evse.reason if evse.statement is None else evse.statement.kind
