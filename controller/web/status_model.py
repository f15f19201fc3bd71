"""Status of a running controller: the JSON of `/api/status`.

The page, `/metrics`, `/healthz` and `local-controller status` are rendered from this value. Scripts rely on
its members: they are added, never renamed or given another meaning.
Currents in A per phase of the site (L1, L2, L3), times in s.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from datetime import UTC, datetime

import msgspec

from controller.load_management.energy.energy_view import EnergyView
from controller.load_management.evse.learned_values import REACTION_S
from controller.load_management.site_tree import PhaseAmps, SiteTree
from controller.load_management.site_view import CircuitView, EvseView, SiteView, UnconfiguredView
from controller.model.expiry import Expiry
from controller.model.observations import Booted, EvseRef, EvseState
from controller.model.parts import Parts, cut_in_parts
from controller.model.statements import Statement, StatementCode, detailed
from controller.ocpp.frames import Version
from controller.signing.signature_policy import PolicyOutcome
from drivers.coded_text import TextParts
from drivers.errors import Cause
from drivers.reading import Quality

EXCESS_NOISE_A = 0.5
"""An excess up to this is no sign of anything (A)."""
_CODES = {code.value: code for code in StatementCode}
METER_CODES = {cause: _CODES[f"meter-{cause.value.replace('_', '-')}"] for cause in Cause}
"""Code of the statement for each cause of a meter's trouble."""
MISSED_TICKS = 3
"""After so many missed ticks the control loop counts as unhealthy."""


class CircuitStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One circuit; `parent` is null for the grid connection.

    `limit_now_a`: the limit that holds now: the calendar or a backend may have lowered it;
    null: unknown.
    `measured_a` is the last current of its `meter`, `meter_quality` its quality (good, stale, dead,
    implausible); all null without one. `meter_problem` is the fault of the meter, or what its good
    readings lack, in a sentence, `meter_cause` the same as a label and `meter_statement` as code and
    values. `base_a` is the base load, as far as known; `booked_a` what the EVSEs may be drawing now;
    `reserve_a` what is kept free for cars that come and draw their fallback at once. `over_limit_s`: for
    how long the circuit has been above its limit (s); `overloads`: how often it was for longer than 10 s.
    `margin_a` has to absorb `jump_a`, the largest of the `jumps` of the base load so far; `jumps_beyond`:
    how often one was above it. `proposed_margin_a` absorbs the jumps that recur, null before it is known;
    `learns_margin`: it is the margin. `excess_a`: by how much it may be above its limit (A), because the
    stations of the EVSEs `unlimited` have not taken their limits.
    """

    id: str
    parent: str | None
    limit_a: PhaseAmps
    measured_a: PhaseAmps | None
    base_a: PhaseAmps
    booked_a: PhaseAmps
    meter_quality: Quality | None
    meter_problem: str = ""
    meter_cause: Cause = Cause.NONE
    over_limit_s: float = 0.0
    overloads: int = 0
    margin_a: float = 0.0
    jump_a: float = 0.0
    jumps: int = 0
    jumps_beyond: int = 0
    proposed_margin_a: float | None = None
    learns_margin: bool = False
    limit_now_a: PhaseAmps | None = None
    excess_a: float = 0.0
    unlimited: tuple[str, ...] = ()
    reserve_a: PhaseAmps = (0.0, 0.0, 0.0)
    meter_statement: Statement | None = None
    meter: str | None = None


class ClockOffsetStatus(msgspec.Struct, frozen=True, kw_only=True):
    """Clock that is `offset_s` (s) ahead of the gateway's. `kind`: station or backend."""

    kind: str
    id: str
    offset_s: float


class EvseStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One EVSE: its offer, its last reported current, and why it is not offered more.

    `statement`: the reason as code and values.

    `ocpp` is the OCPP version of its station, null while the station is away. `single_phase`: it is limited
    to one of its phases. `offered_w`: the offer in W of all phases, where its station accepts W only; else
    null.

    The charger response: `reaction_s` from an accepted lower limit until the car follows (5 unless a longer
    one was seen), `step_a` by which limits are rounded down at most, and `obeys`, whether the last lower
    limit was followed; null before the first. `goal_kwh`: energy that its car still needs until it leaves in
    `leaves_in_s` (s, in steps of a minute); null without a departure goal.
    """

    station: str
    evse: int
    circuit: str
    ocpp: str | None
    connected: bool
    state: EvseState
    offered_a: float
    drawn_a: PhaseAmps
    reason: str
    single_phase: bool = False
    reaction_s: float = REACTION_S
    step_a: float = 0.0
    obeys: bool | None = None
    offered_w: float | None = None
    statement: Statement | None = None
    goal_kwh: float | None = None
    leaves_in_s: float | None = None


class UnconfiguredEvseStatus(msgspec.Struct, frozen=True, kw_only=True):
    """An EVSE that its station reports and the configuration does not name.

    `has_car`: one may be there. `booked_a`: current that is kept free for it beside the configured EVSEs (A
    per phase). `is_limited`: a limit is in force, at its station's fallback, or `shares_limit`: that of the
    whole station. `table`: TOML to add to the station, with the wiring that is assumed.
    """

    station: str
    evse: int
    has_car: bool
    drawn_a: PhaseAmps
    booked_a: float
    is_limited: bool
    shares_limit: bool
    table: str


class RemovedEvseStatus(msgspec.Struct, frozen=True, kw_only=True):
    """An EVSE of a removed station. `booked_a`: the most that it may still draw (A per phase)."""

    station: str
    evse: int
    circuit: str
    booked_a: float


OptionalPhases = tuple[float | None, float | None, float | None]
"""One value for each of L1, L2, L3; null where it is not measured."""


class MeterStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One meter, also one without a circuit: values of its last good reading, import positive.

    `problem`, `cause` and `statement` (the problem as code and values) as of circuits; `age_s` of the
    reading, null before the first. `driver` is its model in the configuration; `manufacturer`, `model`,
    `serial_number` and `firmware` are the device's own texts, empty where it has none. `events_total`:
    failed polls by cause, and counters that ran backwards.
    """

    id: str
    driver: str
    quality: Quality
    problem: str
    cause: Cause
    age_s: float | None
    current_a: OptionalPhases
    voltage_v: OptionalPhases
    power_w: OptionalPhases
    power_total_w: float | None
    energy_import_wh: float | None
    energy_export_wh: float | None
    frequency_hz: float | None
    manufacturer: str
    model: str
    serial_number: str
    firmware: str
    events_total: dict[str, int]
    statement: Statement | None = None


class StationDeviceStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One station that has booted, by the texts of its last BootNotification; empty where it has none."""

    station: str
    vendor: str
    model: str
    firmware: str
    serial_number: str


class BusStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One Modbus bus, by its port or address. `events_total`: requests, answers and what went wrong."""

    name: str
    events_total: dict[str, int]


class PeakStatus(msgspec.Struct, frozen=True, kw_only=True):
    """Quarter-hour peak of a circuit: target, energy used in the running quarter of what it may use.

    `assumed`: it was not measured all the time, and what is unknown counts at its worst. `ends_in_s`: time
    until the quarter's end. `month_kw`: highest mean of the month, 0 before its first.
    """

    circuit: str
    target_kw: float
    used_kwh: float
    budget_kwh: float
    ends_in_s: float
    month_kw: float
    assumed: bool = False


class GroupStatus(msgspec.Struct, frozen=True, kw_only=True):
    """Group of EVSEs: guaranteed current on each phase, energy of the day and its quota (null: none)."""

    id: str
    guaranteed_a: float
    used_kwh: float
    quota_kwh: float | None


class WaitStatus(msgspec.Struct, frozen=True, kw_only=True):
    """EVSE whose car waits for a lower price; `begins`: when it charges next (RFC 3339; null: unknown)."""

    station: str
    evse: int
    begins: str | None


class EnergyStatus(msgspec.Struct, frozen=True, kw_only=True):
    """Energy plan: quarter-hour peaks, entries of the calendar in force, groups, waiting cars.

    `price`: of a kWh now, null where unknown. `battery_a`: what a battery delivers and no car may use.
    """

    peaks: tuple[PeakStatus, ...] = ()
    calendar: tuple[str, ...] = ()
    groups: tuple[GroupStatus, ...] = ()
    waiting: tuple[WaitStatus, ...] = ()
    price: float | None = None
    battery_a: float = 0.0


class BackendStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One backend. `links`: open ones by endpoint.

    `waiting` messages are queued for it; the oldest came `oldest_s` ago. `dropped_total`: less important
    messages dropped for lack of room. `set_aside`: transaction messages that it does not accept, kept for
    a person to decide. `unanswered`: messages that it has not answered in the last 10 minutes, the last one
    an `unanswered_action`.
    """

    id: str
    links: dict[str, int]
    waiting: int
    oldest_s: float
    dropped_total: int
    set_aside: int
    unanswered: int = 0
    unanswered_action: str = ""


class VerdictStatus(msgspec.Struct, frozen=True, kw_only=True):
    """Number of messages with one decision of a policy rule: forward, mark, refuse, drop."""

    rule: str
    outcome: str
    messages_total: int


class LinkCounts(msgspec.Struct, frozen=True, kw_only=True):
    """Connected stations by OCPP version, and counts since the start.

    Counted are accepted and rejected connections of stations, received messages, and the controller's own
    limits: those sent, and those of them that were rejected or not answered.
    """

    connected: dict[str, int]
    accepted_total: int
    refused_total: int
    from_stations_total: int
    from_backends_total: int
    limits_total: int
    limits_failed_total: int


class DimmingSpanStatus(msgspec.Struct, frozen=True, kw_only=True):
    """Time span in which `sources` limited the controllable EVSEs.

    `since` and `until` are RFC 3339 times in UTC; `until` null: it goes on.

    `limit_w`: all of them together; null where each had a limit of its own. `assumed`: nobody ordered it, a
    source was lost.
    """

    since: str
    until: str | None
    limit_w: float | None
    sources: tuple[str, ...]
    assumed: bool = False


class SourceFaultStatus(msgspec.Struct, frozen=True, kw_only=True):
    """Limit source that is lost, and why; `why_parts`: its template and values."""

    source: str
    why: str
    why_parts: TextParts | None = None


class DimmingStatus(msgspec.Struct, frozen=True, kw_only=True):
    """Dimming under section 14a EnWG. Powers in W.

    `why` describes the limits in force, empty while there are none, and `statement` the same as code and
    values: `limit_w` for all `devices` (controllable EVSEs) together, `phases_w` on each phase, `evses_w`
    for single ones. `drawn_w` is what they draw now, `grid_w` what the meter of the grid connection
    shows, null where it is unknown; `minimum_w` what the law leaves them. `spans`: the last limits,
    oldest first. Since the start: accepted commands, rejected ones by reason, and records that could not
    be written; `evidence_records`: number of records. `source_fault`: the sources that are lost, and
    why, also where a lower limit of another one holds; empty without any. `source_fault_parts`: its template
    and values; `source_faults`: the same, each source by itself.
    """

    dimmed: bool
    why: str
    limit_w: float | None
    phases_w: tuple[float | None, float | None, float | None]
    evses_w: dict[str, float]
    sources: tuple[str, ...]
    drawn_w: float | None
    grid_w: float | None
    devices: int
    minimum_w: float
    spans: tuple[DimmingSpanStatus, ...]
    accepted_total: int
    refused_total: dict[str, int]
    evidence_records: int
    evidence_failed_total: int
    source_fault: str = ""
    source_fault_parts: TextParts | None = None
    source_faults: tuple[SourceFaultStatus, ...] = ()
    statement: Statement | None = None


class EebusLimitStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One direction of power: the state of its machine, and the limit that applies (W; null: none).

    `until_s`: time until that ends by itself; null: it does not.
    """

    state: str
    limit_w: float | None
    until_s: float | None
    failsafe_w: float
    failsafe_duration_s: float


class EebusPartnerStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One EEBUS partner. `phase` of its connection: away, cmi, hello, protocol, pin, data, closing.

    `trusted` false: it waits to be accepted. `guard`: it is bound to our limits, and its heartbeats count.
    """

    ski: str
    trusted: bool
    phase: str
    ship_id: str = ""
    device: str = ""
    guard: bool = False


class EebusStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The controller as an EEBUS device. `production` is null where it is not offered.

    `heartbeat_age_s`: age of the energy guard's last heartbeat; null: there was none. `register_s`: for how
    long a new partner is accepted without a user. `qr`: text of the QR code for a partner's user. Since the
    start: limits accepted and refused, messages refused, and connections opened.
    """

    ski: str
    ship_id: str
    consumption: EebusLimitStatus
    production: EebusLimitStatus | None
    heartbeat_age_s: float | None
    partners: tuple[EebusPartnerStatus, ...]
    register_s: float
    qr: str
    accepted_total: int
    refused_total: int
    messages_refused_total: int
    connections_total: int


class NeighborStatus(msgspec.Struct, frozen=True, kw_only=True):
    """A neighbor in the overlay network, and the best priority of each node that is reached over it."""

    link: str
    reached: dict[str, int]


class OverlayStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The overlay network. `dropped_total`: messages that were not routed, by reason.

    Reasons are: no route, too many hops, looped, spoofed, refused by the policy of signatures, and others.
    """

    neighbours: tuple[NeighborStatus, ...]
    dropped_total: dict[str, int]


class StoreHealth(msgspec.Struct, frozen=True, kw_only=True):
    """State of the store: writable or not.

    `error`: why not; `error_parts`: its template and values. `kept`: changes that are in memory alone.
    `free_mb` of `size_mb` are free on its disk (MiB; null where unknown); `low`: that is too little.
    """

    writable: bool = True
    error: str = ""
    kept: int = 0
    error_parts: TextParts | None = None
    free_mb: int | None = None
    size_mb: int | None = None
    low: bool = False


class ClockReport(msgspec.Struct, frozen=True, kw_only=True):
    """State of the gateway's clock: legal, synchronised or unverified, with the reason.

    `reason_parts`: template and values of the reason. `source`: the time daemon. `error_bound_s`: how far
    the clock may be off; null if unknown.
    """

    state: str
    reason: str = ""
    reason_parts: TextParts | None = None
    source: str | None = None
    authority: str | None = None
    error_bound_s: float | None = None
    servers_agree: int = 0


class OverrideStatus(msgspec.Struct, frozen=True, kw_only=True):
    """Override of a person for an EVSE: pause, limit (`value` in A), priority or boost, until a time.

    `until`: RFC 3339, UTC.
    """

    evse: int
    kind: str
    value: float
    until: str
    by: str


class ChargingStationStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One station. `vendor`, `model`, `firmware`: of its last BootNotification, empty before it.

    `quirk`: what it does otherwise than the standard. `peer`: address of its connection. `ocpp` is null
    while it is away. `owner` is empty where the controller serves it itself.
    """

    id: str
    label: str
    connected: bool
    ocpp: str | None
    owner: str
    observers: tuple[str, ...]
    when_backend_away: str
    vendor: str = ""
    model: str = ""
    firmware: str = ""
    quirk: str = ""
    peer: str = ""
    overrides: tuple[OverrideStatus, ...] = ()


class AlarmStatus(msgspec.Struct, frozen=True, kw_only=True):
    """An alarm that is present: its kind and subject, what is wrong, the remedy, and its beginning.

    `severity`: info, warning or critical. `since`: RFC 3339, UTC. `statement` and `remedy_statement` are the
    texts as code and values.
    """

    kind: str
    subject: str
    severity: str
    text: str
    remedy: str
    since: str
    statement: Statement | None = None
    remedy_statement: Statement | None = None


class UnknownStationStatus(msgspec.Struct, frozen=True, kw_only=True):
    """A station that tried to connect and is not in the configuration. Times are RFC 3339, UTC.

    Vendor, model, serial number and firmware are empty where it could not send a BootNotification.
    """

    id: str
    peer: str
    first_seen: str
    last_seen: str
    tries: int
    ocpp: tuple[str, ...] = ()
    vendor: str = ""
    model: str = ""
    serial_number: str = ""
    firmware: str = ""


class SigningWaitStatus(msgspec.Struct, frozen=True, kw_only=True):
    """Wait in which no signed message is accepted, so that none is accepted twice.

    `until`: its end (RFC 3339, UTC); null: one window after the clock is synchronised. `can_shorten`: by the
    command signing.resume.
    """

    until: str | None
    can_shorten: bool


class RevisionStatus(msgspec.Struct, frozen=True, kw_only=True):
    """Numbers that rise with each change of what is recorded, from the start of the controller on.

    `sessions` with the energy of running ones, `events`, `configuration`: its file and versions, `users` with
    bearer tokens.
    """

    sessions: int = 0
    events: int = 0
    configuration: int = 0
    users: int = 0


class ControllerStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The whole controller at one moment: circuits parents first, EVSEs in the configuration's order.

    `time` is the gateway's clock (RFC 3339, UTC). `tick_age_s`: time since the last control step; `healthy`
    while that is less than three ticks. `damaged`: files of the store that were damaged at the start, where
    they are now. `signatures`: decisions of the policy. `signing_wait`: null while
    signed messages are accepted. `dimming`: null without limit sources. `timezone`:
    the site's, in which reasons name times of day. `overlay` and `eebus`: null without their tables.
    `expiries`: certificates and keys, the first end first.
    `configuration_problem`: errors of the file, while the last valid copy is in use. `buses`: the Modbus
    buses in use. `alarms`: those that are present, the most severe first. `unknown_stations`: those that
    tried to connect. `clock_offsets`: clocks of stations and backends that differ from the gateway's.
    `unconfigured`: EVSEs of configured stations that the configuration does not name. `removed`: EVSEs of
    stations that were removed while the controller runs. `revisions`: of the lists that have addresses of
    their own. `voltage_v`: nominal, between line and neutral (V).
    """

    site: str
    version: str
    time: str
    healthy: bool
    tick_age_s: float
    circuits: tuple[CircuitStatus, ...]
    evses: tuple[EvseStatus, ...]
    links: LinkCounts
    backends: tuple[BackendStatus, ...] = ()
    damaged: tuple[str, ...] = ()
    store: StoreHealth = StoreHealth()
    signatures: tuple[VerdictStatus, ...] = ()
    dimming: DimmingStatus | None = None
    timezone: str = "UTC"
    overlay: OverlayStatus | None = None
    eebus: EebusStatus | None = None
    clock: ClockReport | None = None
    expiries: tuple[Expiry, ...] = ()
    configuration_problem: str = ""
    meters: tuple[MeterStatus, ...] = ()
    buses: tuple[BusStatus, ...] = ()
    station_devices: tuple[StationDeviceStatus, ...] = ()
    stations: tuple[ChargingStationStatus, ...] = ()
    alarms: tuple[AlarmStatus, ...] = ()
    unknown_stations: tuple[UnknownStationStatus, ...] = msgspec.field(default=(), name="knocks")
    energy: EnergyStatus = EnergyStatus()
    clock_offsets: tuple[ClockOffsetStatus, ...] = ()
    unconfigured: tuple[UnconfiguredEvseStatus, ...] = ()
    removed: tuple[RemovedEvseStatus, ...] = ()
    signing_wait: SigningWaitStatus | None = None
    revisions: RevisionStatus = RevisionStatus()
    voltage_v: float = 230.0

    def json(self) -> bytes:
        """Return the JSON of `/api/status`."""
        return msgspec.json.encode(self)


def read_status(text: bytes) -> ControllerStatus:
    """Parse the JSON of a status. Raises ValueError for anything else."""
    return msgspec.json.decode(text, type=ControllerStatus)


StatusParts = Parts[ControllerStatus]
"""A status that is read in parts."""


def circuit_statuses(site: SiteTree, view: SiteView) -> tuple[CircuitStatus, ...]:
    """Return the status of each circuit, with its place in the tree."""
    doubtful = {each.ref: each for each in view.evses if each.connected and each.problem}
    return tuple(_circuit(site, circuit, doubtful) for circuit in view.circuits)


def meter_statement(cause: Cause, problem: str) -> Statement | None:
    """Return a meter's trouble as code and values; None without one."""
    if not problem:
        return None
    return detailed(METER_CODES[cause], problem)


def evse_statuses(
    site: SiteTree, view: SiteView, versions: Mapping[str, Version]
) -> Parts[tuple[EvseStatus, ...]]:
    """Return the status of each EVSE; `versions` has the OCPP version of each connected station."""
    found: list[EvseStatus] = []
    for part in cut_in_parts(view.evses):
        found += [_evse(site, evse, versions.get(evse.ref.station)) for evse in part]
        yield
    return tuple(found)


def station_device_statuses(boots: Mapping[str, Booted]) -> tuple[StationDeviceStatus, ...]:
    """Return the device of each station that has booted, ordered by its id."""
    return tuple(
        StationDeviceStatus(
            station=station,
            vendor=boot.vendor,
            model=boot.model,
            firmware=boot.firmware,
            serial_number=boot.serial_number,
        )
        for station, boot in sorted(boots.items())
    )


def energy_status(view: EnergyView) -> EnergyStatus:
    """Return the status of the energy plan."""
    return EnergyStatus(
        peaks=tuple(
            PeakStatus(
                circuit=peak.circuit,
                target_kw=round(peak.target_w / 1000, 3),
                used_kwh=round(peak.used_wh / 1000, 3),
                budget_kwh=round(peak.target_w / 4000, 3),
                ends_in_s=round(peak.ends_in_s),
                month_kw=round(peak.month_w / 1000, 3),
                assumed=not peak.is_measured,
            )
            for peak in view.peaks
        ),
        calendar=view.calendar,
        groups=tuple(
            GroupStatus(
                id=group.id,
                guaranteed_a=group.guaranteed_a,
                used_kwh=round(group.used_wh / 1000, 3),
                quota_kwh=None if group.quota_wh is None else group.quota_wh / 1000,
            )
            for group in view.groups
        ),
        waiting=tuple(
            WaitStatus(
                station=each.ref.station,
                evse=each.ref.evse,
                begins=None
                if each.begins_at is None
                else datetime.fromtimestamp(each.begins_at, UTC).isoformat(timespec="seconds"),
            )
            for each in view.waiting
        ),
        price=view.price,
        battery_a=round(view.battery_a, 2),
    )


def verdict_statuses(counted: Mapping[tuple[str, PolicyOutcome], int]) -> tuple[VerdictStatus, ...]:
    """Return the counted decisions, ordered by rule."""
    return tuple(
        VerdictStatus(rule=rule, outcome=outcome.value, messages_total=count)
        for (rule, outcome), count in sorted(counted.items())
    )


def clock_offset_statuses(offsets: Mapping[str, float]) -> tuple[ClockOffsetStatus, ...]:
    """Return the clocks that differ, by `station=` or `backend=` and its id."""
    named = ((*name.partition("="), offset_s) for name, offset_s in sorted(offsets.items()))
    return tuple(
        ClockOffsetStatus(kind=kind, id=each, offset_s=round(offset_s, 1))
        for kind, _, each, offset_s in named
    )


def _circuit(site: SiteTree, view: CircuitView, doubtful: Mapping[EvseRef, EvseView]) -> CircuitStatus:
    unlimited = tuple(str(evse.ref) for evse in site.below[view.id] if evse.ref in doubtful)
    drawn = (base + booked for base, booked in zip(view.base_a, view.booked_a, strict=True))
    excess_a = max(amps - limit for amps, limit in zip(drawn, view.limit_a, strict=True))
    may_exceed = bool(unlimited) and excess_a > EXCESS_NOISE_A
    return CircuitStatus(
        id=view.id,
        parent=site.circuit_by_id[view.id].parent,
        limit_a=view.limit_a,
        limit_now_a=view.limit_now_a,
        meter=site.circuit_by_id[view.id].meter,
        measured_a=_rounded(view.measured_a) if view.measured_a else None,
        base_a=_rounded(view.base_a),
        booked_a=_rounded(view.booked_a),
        meter_quality=view.meter_quality,
        meter_problem=str(view.meter_problem),
        meter_cause=view.meter_cause,
        meter_statement=meter_statement(view.meter_cause, view.meter_problem),
        over_limit_s=round(view.over_limit_s, 1),
        overloads=view.overloads,
        margin_a=view.margin_a,
        jump_a=round(view.jump_a, 1),
        jumps=view.jumps,
        jumps_beyond=view.jumps_beyond,
        proposed_margin_a=view.proposed_margin_a,
        learns_margin=view.learns_margin,
        excess_a=round(excess_a, 1) if may_exceed else 0.0,
        unlimited=unlimited if may_exceed else (),
        reserve_a=_rounded(view.reserve_a),
    )


def _evse(site: SiteTree, view: EvseView, version: Version | None) -> EvseStatus:
    statement = _explain(view, version)
    left_wh, leaves_in_s = view.goal or (0.0, 0.0)
    has_goal = leaves_in_s > 0
    return EvseStatus(
        station=view.ref.station,
        evse=view.ref.evse,
        circuit=site.evse_by_ref[view.ref].circuit,
        ocpp=None if version is None else version.value,
        connected=view.connected,
        state=view.state,
        offered_a=round(view.offered_a, 2),
        drawn_a=_rounded(view.drawn_a),
        reason=str(statement),
        statement=statement,
        single_phase=view.single_phase,
        offered_w=None if view.offered_w is None else round(view.offered_w),
        reaction_s=round(view.learned.reaction_s, 1),
        step_a=round(view.learned.step_a, 1),
        obeys=view.learned.obeys,
        goal_kwh=round(max(0.0, left_wh) / 1000, 1) if has_goal else None,
        leaves_in_s=60.0 * math.ceil(leaves_in_s / 60) if has_goal else None,
    )


def without_stations(view: SiteView, removed: Collection[str]) -> SiteView:
    """Return the state of the site without the EVSEs of removed stations."""
    if not removed:
        return view
    return msgspec.structs.replace(
        view,
        evses=tuple(each for each in view.evses if each.ref.station not in removed),
        unconfigured=tuple(each for each in view.unconfigured if each.ref.station not in removed),
    )


def unconfigured_statuses(view: SiteView) -> tuple[UnconfiguredEvseStatus, ...]:
    """Return the status of each EVSE that the configuration does not name."""
    return tuple(_unconfigured(each) for each in view.unconfigured)


def _unconfigured(view: UnconfiguredView) -> UnconfiguredEvseStatus:
    phases = ", ".join(f'"L{phase + 1}"' for phase in view.phases)
    return UnconfiguredEvseStatus(
        station=view.ref.station,
        evse=view.ref.evse,
        has_car=view.may_draw,
        drawn_a=_rounded(view.drawn_a),
        booked_a=round(view.booked_a, 2),
        is_limited=view.is_limited,
        shares_limit=view.shares_limit,
        table=f"[[station.evse]]\nid = {view.ref.evse}\nphases = [{phases}]\nmax_a = {view.max_a:g}\n",
    )


def _explain(view: EvseView, version: Version | None) -> Statement:
    """Return why an EVSE has its limit: a station is there whose backend has not accepted it yet."""
    if view.connected or version is None:
        return view.statement
    pending = Statement(code=StatementCode.REGISTRATION_PENDING)
    kept = view.statement.code is StatementCode.KEPT_FREE
    return msgspec.structs.replace(view.statement, cause=pending) if kept else pending


def _rounded(amps: PhaseAmps) -> PhaseAmps:
    """Round to the resolution of meters."""
    return (round(amps[0], 2), round(amps[1], 2), round(amps[2], 2))
