"""Load management service: observations of the stations go into `SiteControl`, its limits out as CALLs.

`SiteControl` is pure and has no OCPP. This module passes events to it, makes its limits durable, and then
sends each as the charging profile that its station accepts.
"""

from __future__ import annotations

import logging
import uuid
from collections import defaultdict, deque
from collections.abc import Mapping, Sequence
from datetime import timedelta

import trio

from controller.chargers.quirks import LimitScope, Quirk, limit_scope
from controller.config import Config, StationConfig
from controller.load_management.energy.energy_planner import EnergyPlanner
from controller.load_management.events import (
    ControlTick,
    GroupLimit,
    LimitAnswered,
    QuirkSelected,
    SetLimit,
    SiteDimmed,
    SiteEvent,
    StationDown,
    StationObserved,
    StationUp,
)
from controller.load_management.site_builder import build_site, build_station_meters, site_settings
from controller.load_management.site_control import SiteControl
from controller.load_management.site_view import SiteView
from controller.model.effects import OwnCall
from controller.model.journal import BootStored, ProfilesStored, Record, StoredProfile
from controller.model.observations import Booted, DrawSeen, EvseRef, Observation
from controller.ocpp.frames import Version
from controller.ocpp.payloads import is_accepted
from controller.profiles.absorbed_profiles import NOISE_A, AbsorbedProfiles, EvseWiring
from controller.profiles.arbiter import ProfileArbiter, owned_purposes
from controller.profiles.limit_profiles import LimitKind, LimitTerms, set_limit
from controller.profiles.overdraw_watch import OverdrawWatch
from controller.profiles.profile_messages import BackendProfile, ProfileError, read_stored_profile
from controller.profiles.station_clock import ClockWatch, StationClock
from controller.services.clock_state import is_synchronised
from controller.services.quirk_rules import make_discovery
from controller.services.wall_clock import utc, utc_now
from controller.stations.registry import SessionRegistry
from controller.store.limit_records import LimitStored, covered_limit, delivery_memory, limit_record
from controller.store.state_journal import StoreError
from controller.store.state_store import StateStore
from controller.transport.deadline_timer import DeadlineTimer

log = logging.getLogger("controller")

NO_ANSWER = "no answer in time"
UNTRACKED = -(2**40)
"""Token of CALLs that are neither limits nor capability questions: their answers are ignored."""


class LoadManagementService:
    """Passes events to the site's control and delivers its limits; see `stations.session.SessionSite`.

    `limits_sent` and `limits_failed` count the limits sent and those that a station did not accept. Limits
    are sent while `run` runs.
    """

    def __init__(self, config: Config, registry: SessionRegistry, store: StateStore) -> None:
        self.site = build_site(config)
        self.limits_sent = self.limits_failed = 0
        self._config = config
        self._voltage = config.site.voltage
        self.station_meters = build_station_meters(config, self.site)
        self._registry = registry
        self._stations = {station.id: station for station in config.station}
        self._control = SiteControl(self.site, site_settings(config), trio.current_time())
        self._timer = DeadlineTimer(lambda: self._control.due_at)
        self._discovery = make_discovery(config)
        self._watts_per_phase_ampere = {
            EvseRef(station.id, evse.id): evse.watts_per_phase_ampere(config.site.voltage)
            for station in config.station
            for evse in station.evse
        }
        self._arbiters: dict[str, ProfileArbiter] = {}
        self._dimmed: defaultdict[str, set[int]] = defaultdict(set)
        self._pending: dict[int, EvseRef] = {}
        self._store = store
        self._outgoing: deque[tuple[list[LimitStored], list[SetLimit]]] = deque()
        """Limits of each event that are sent once their records are durable."""
        self._energy_records: list[Record] = []
        self._outgoing_added = trio.Event()
        self._boots: dict[str, Booted] = {}
        self._applied_quirks: dict[str, Quirk] = {}
        self._restore_boots()
        self._stored: dict[EvseRef, LimitStored] = {
            EvseRef(each.station, each.evse): each for each in store.load(LimitStored)
        }
        wall, now = utc_now(), trio.current_time()
        self._control.restore({ref: delivery_memory(each, wall, now) for ref, each in self._stored.items()})
        self._control.energy.set_clock(wall.timestamp(), now)
        self._control.energy.restore(each for kind in EnergyPlanner.record_types for each in store.load(kind))
        for ref in self._stored:
            self._discovery.mark_cleared(ref.station)
        self._clocks = {station.id: StationClock() for station in config.station}
        self._clock_watch = ClockWatch()
        self._overdraw = {station.id: OverdrawWatch() for station in config.station}
        self._absorbed = {station.id: _make_absorbed(config, station) for station in config.station}
        self._restore_profiles()

    @property
    def energy(self) -> EnergyPlanner:
        """Return the energy plan of the site."""
        return self._control.energy

    def replace_site(self, config: Config) -> None:
        """Apply the limits, margins, priorities and modes of another configuration while the site runs.

        Raises ValueError if its circuits or EVSEs are others.
        """
        site, now = build_site(config), trio.current_time()
        limits = self._control.replace_site(site, site_settings(config), now)
        self.site, self._config = site, config
        self._queue_limits(limits, {limit.ref for limit in limits})
        self.share_current()

    def view(self) -> SiteView:
        """Return the state of the site for people and monitoring."""
        return self._control.snapshot(trio.current_time())

    def find_silent_evses(self) -> list[EvseRef]:
        """Return the EVSEs that charge and have not reported their draw for too long."""
        return self._control.silent_evses(trio.current_time())

    @property
    def boots(self) -> Mapping[str, Booted]:
        """The last boot of each station that has booted."""
        return self._boots

    def find_boot(self, station: str) -> Booted | None:
        """Return the last boot of a station; None before the first."""
        return self._boots.get(station)

    def find_quirk(self, station: str) -> Quirk:
        """Return the quirk that applies to a station."""
        return self._discovery.quirk(station)

    def clock_offsets(self) -> dict[str, float]:
        """Return the offset (s) of each clock that differs, by `station=` or `backend=` and its id."""
        return self._clock_watch.offsets()

    def make_arbiter(self, station: str, version: Version) -> ProfileArbiter:
        """Return the arbiter of charging profiles for a session of the station that begins now."""
        clock = self._clocks[station]
        arbiter = ProfileArbiter(version, self._scope(station), self._absorbed[station], clock)
        arbiter.set_dimmed(self._dimmed[station])
        self._arbiters[station] = arbiter
        return arbiter

    def make_absent_arbiter(self, station: str, version: Version) -> ProfileArbiter:
        """Return an arbiter for deliveries while the station is absent: it decides nothing."""
        return ProfileArbiter(
            version, LimitScope.STATION, _make_absorbed(self._config, self._stations[station])
        )

    def handle_event(self, event: SiteEvent) -> None:
        """Pass an event to the site's control and queue the limits that follow.

        Each limit is durable before it is sent.
        """
        if isinstance(event, SiteDimmed):
            self._mark_dimmed(event)
        limits = self._control.handle(event, trio.current_time())
        for decision in self._control.take_decisions():
            log.info("%s", decision)
        for notice in self._control.take_notices():
            log.log(logging.WARNING if notice.warning else logging.INFO, "%s", notice.text)
        concerned = {limit.ref for limit in limits}
        if isinstance(event, LimitAnswered) and (ref := self._pending.pop(event.token, None)):
            concerned.add(ref)
        concerned |= self._control.unsaved_evses()
        self._queue_limits(limits, concerned)
        if energy_records := self._control.energy.take_records():
            self._energy_records += energy_records
            self._outgoing_added.set()
        self._timer.update()

    def _queue_limits(self, limits: Sequence[SetLimit], concerned: set[EvseRef]) -> None:
        """Queue limits with the records of all EVSEs that are concerned."""
        if concerned:
            now, wall = trio.current_time(), utc_now()
            memories = self._control.delivery_records(concerned, now)
            records = [limit_record(ref, memory, wall, now) for ref, memory in memories.items()]
            self._outgoing.append((records, list(limits)))
            self._outgoing_added.set()
        for limit in limits:
            self._pending[limit.token] = limit.ref

    def share_current(self) -> None:
        """Let the site's control make a pass at the present time of day."""
        self.handle_event(ControlTick(utc_now().timestamp()))

    def set_site_limit(self, limit_a: float | None) -> None:
        """Apply the backend's limit of the whole site (A per phase); None: no limit."""
        self.handle_event(GroupLimit(limit_a))

    async def run(self) -> None:
        """Send limits, and let the site decide again when it is due; until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._send_stored_limits)
            while True:
                await self._timer.wait_due()
                self.share_current()

    async def _send_stored_limits(self) -> None:
        """Send each limit once its record is durable; if it cannot be, send what is stored already covers."""
        while True:
            await self._outgoing_added.wait()
            self._outgoing_added = trio.Event()
            batch = [self._outgoing.popleft() for _ in range(len(self._outgoing))]
            records = {(each.station, each.evse): each for stored, _ in batch for each in stored}
            limits = [limit for _, sent in batch for limit in sent]
            energy_records, self._energy_records = self._energy_records, []
            try:
                await self._store.persist([*records.values(), *energy_records])
            except StoreError:
                self._send_covered_limits(limits)
                continue
            self._stored |= {EvseRef(*ref): record for ref, record in records.items()}
            for limit in limits:
                self._send_limit(limit)

    def _send_covered_limits(self, limits: Sequence[SetLimit]) -> None:
        for limit in limits:
            covered = covered_limit(limit, self._stored.get(limit.ref), utc_now())
            if covered is not None:
                self._send_limit(covered)
            else:
                self.handle_event(LimitAnswered(limit.token, False, "the store cannot be written"))

    def _store_boot(self, station: str, boot: Booted) -> None:
        """Store a station's boot, unless it is as before."""
        if self._boots.get(station) != boot:
            self._boots[station] = boot
            texts = (boot.vendor, boot.model, boot.firmware, boot.serial_number)
            self._store.persist_now([BootStored(station, *texts)])

    def _mark_dimmed(self, dimmed: SiteDimmed) -> None:
        """Mark the EVSEs that are dimmed: their backends are notified with that reason."""
        self._dimmed.clear()
        for evse in self.site.evses:
            if evse.steerable and (dimmed.total_w is not None or evse.ref in dimmed.evses_w):
                self._dimmed[evse.ref.station].add(evse.ref.evse)
        for station, arbiter in self._arbiters.items():
            arbiter.set_dimmed(self._dimmed.get(station, ()))

    # -- events of a session: see `stations.session.SessionSite` --------------------------------------

    def on_station_up(self, station: str, version: Version) -> None:
        """Begin to send limits to a station, after the capability questions that are still open."""
        self.station_meters.on_link(station, trio.current_time(), is_connected=True)
        session = self._registry.find_session(station)
        evses = len(self._stations[station].evse)
        asked = self._discovery.next_question(station, version, evses) if session is not None else None
        if session is None or asked is None:
            self.handle_event(StationUp(station))
        else:
            question = asked.question
            session.call(OwnCall(asked.token, str(uuid.uuid4()), question.action, question.payload))

    def on_station_down(self, station: str) -> None:
        """Pass on that a station is disconnected."""
        self.station_meters.on_link(station, trio.current_time(), is_connected=False)
        self.handle_event(StationDown(station))

    def on_observation(self, station: str, observation: Observation) -> None:
        """Pass on an observation of a station."""
        if isinstance(observation, Booted):
            self._store_boot(station, observation)
            self._discovery.on_boot(station, observation)
            self._apply_quirk(station)
        self._check_clock(station)
        self.station_meters.on_observation(station, observation, trio.current_time())
        self.handle_event(StationObserved(station, observation))
        if isinstance(observation, DrawSeen):
            self._check_draw(station, observation)

    def _check_draw(self, station: str, seen: DrawSeen) -> None:
        """Clear foreign profiles of a station that draws more than a limit that it has accepted."""
        absorbed, now, session = (
            self._absorbed[station],
            trio.current_time(),
            self._registry.find_session(station),
        )
        if seen.evse not in absorbed.evses or session is None:
            return
        limit_a = absorbed.limit_in_force_a(seen.evse, now)
        drawn_a = self._overdraw[station].on_draw(seen.evse, seen.current_a, limit_a, now)
        if drawn_a is not None:
            log.warning(
                "draw above the accepted limit station=%s evse=%d drawn=%.1fA limit=%.1fA: other profiles in "
                "our purpose are cleared and ours set anew; if it goes on, check the station's firmware",
                station,
                seen.evse,
                drawn_a,
                limit_a,
            )
            self._discovery.mark_uncleared(station)
            self.on_station_up(station, session.version)

    def _check_clock(self, station: str) -> None:
        """Log clocks that differ."""
        backend = self._stations[station].owner_or_local
        for entry in self._clock_watch.check(station, backend, self._clocks[station], _ntp_state):
            log.log(entry.level, "%s", entry.text)

    def on_profiles_absorbed(
        self, station: str, version: Version, profiles: Sequence[BackendProfile]
    ) -> None:
        """Store the profiles that are kept for the station's backend."""
        stored = tuple(StoredProfile(each.profile.evse, each.raw) for each in profiles)
        self._store.persist_now([ProfilesStored(station, version, stored)])

    def on_call_answered(self, station: str, token: int, result: bytes | None, detail: str) -> None:
        """Process the result of a limit or capability question; `result` None: it failed."""
        if token == UNTRACKED:
            return
        session = self._registry.find_session(station)
        is_open = session is not None and session.is_open
        if token < 0:
            self._on_question_answered(station, token, result, is_open=is_open)
            return
        good = result is not None and is_accepted(result)
        answered = is_open and detail != NO_ANSWER
        self._absorbed[station].on_limit_result(token, accepted=good if answered or good else None)
        if not good and is_open:  # else its link has ended, which is logged there
            self.limits_failed += 1
            log.warning("limit rejected station=%s reason=%s", station, detail or "not accepted")
        self.handle_event(LimitAnswered(token, good, detail or ("" if good else "not accepted")))

    # -- capabilities and quirks -----------------------------------------------------------------------

    def _on_question_answered(self, station: str, token: int, result: bytes | None, *, is_open: bool) -> None:
        """Process the end of a capability question: the next one follows, or the limits."""
        session = self._registry.find_session(station)
        if session is None or not is_open:
            self._discovery.on_link_lost(token)
            return
        self._discovery.on_result(token, result)
        self._apply_quirk(station)
        self.on_station_up(station, session.version)

    def _restore_boots(self) -> None:
        """Restore the boots of stations: a station does not boot again because the controller restarts."""
        for stored in self._store.load(BootStored):
            station = stored.station
            boot = Booted(stored.vendor, stored.model, stored.firmware, stored.serial_number)
            self._boots[station] = boot
            self._discovery.on_boot(station, boot)
            self._control.handle(QuirkSelected(station, self._discovery.quirk(station)), trio.current_time())

    def _restore_profiles(self) -> None:
        """Restore the backends' profiles of stations that are still configured."""
        restored: defaultdict[tuple[str, Version], list[BackendProfile]] = defaultdict(list)
        stored = [
            (each.station, Version(each.version), each.profiles) for each in self._store.load(ProfilesStored)
        ]
        for station, version, texts in stored:
            for text in texts:
                try:
                    profile = read_stored_profile(version, text.evse, text.profile)
                except ProfileError as error:
                    log.warning("stored profile dropped station=%s reason=%s", station, error)
                    continue
                restored[station, version].append(profile)
        for (station, version), profiles in restored.items():
            if station in self._absorbed:
                owned = owned_purposes(version, self._scope(station))
                self._absorbed[station].restore(version, owned, profiles)

    def _apply_quirk(self, station: str) -> None:
        """Apply the quirk that follows from what is known of the station."""
        quirk = self._discovery.quirk(station)
        if self._applied_quirks.get(station) != quirk:
            log.info("quirk selected station=%s quirk=%s lease=%s", station, quirk.name, quirk.form.value)
            self._applied_quirks[station] = quirk
        if station in self._arbiters:
            self._arbiters[station].set_scope(self._scope(station))
        self.handle_event(QuirkSelected(station, quirk))

    def _scope(self, station: str) -> LimitScope:
        return limit_scope(self._discovery.quirk(station), len(self._stations[station].evse))

    # -- limits ---------------------------------------------------------------------------------------

    def _send_limit(self, limit: SetLimit) -> None:
        session = self._registry.find_session(limit.ref.station)
        if session is None:
            self.handle_event(LimitAnswered(limit.token, False, "not connected"))
            return
        station, evse = limit.ref
        absorbed, now = self._absorbed[station], trio.current_time()
        quirk = self._discovery.quirk(station)
        phases = self._watt_phases(limit, quirk)
        terms = LimitTerms(
            quirk=quirk,
            after_a=absorbed.cap_limit(evse, LimitKind.FALLBACK, limit.after_a, None, now),
            number_phases=limit.number_phases,
            watts_per_ampere=self._watts_per_phase_ampere[limit.ref] * phases,
        )
        payload = set_limit(
            session.version,
            self._scope(station),
            evse,
            limit.kind,
            absorbed.cap_limit(evse, limit.kind, limit.limit_a, limit.duration_s, now, limit.token),
            utc_now() + timedelta(seconds=self._clocks[station].write_offset()),
            limit.duration_s,
            terms,
        )
        self.limits_sent += 1
        session.call(
            OwnCall(limit.token, str(uuid.uuid4()), "SetChargingProfile", payload, urgent=limit.urgent)
        )

    def _watt_phases(self, limit: SetLimit, quirk: Quirk) -> int:
        """Return on how many phases a limit is used: in W they share it, in A it holds for each.

        The maximum of an EVSE may be used on all of its phases: no car draws more than it on one of them.
        """
        absorbed = self._absorbed[limit.ref.station]
        if not quirk.in_watts:
            return limit.phases
        wiring = absorbed.evses[limit.ref.evse]
        phases = wiring.phases if limit.limit_a >= wiring.max_a - NOISE_A else limit.phases
        if limit.kind is LimitKind.LEASE:
            absorbed.set_watt_phases(limit.ref.evse, phases)
        return phases


def _make_absorbed(config: Config, station: StationConfig) -> AbsorbedProfiles:
    evses = {
        evse.id: EvseWiring(phases=len(evse.phases), max_a=evse.max_a, fallback_a=config.fallback_a(evse))
        for evse in station.evse
    }
    volts = max((evse.watts_per_phase_ampere(config.site.voltage) for evse in station.evse), default=0.0)
    return AbsorbedProfiles(evses, volts, config.load_management.lease_s, utc)


def _ntp_state() -> str:
    return "synchronised" if is_synchronised() else "not-synchronised"
