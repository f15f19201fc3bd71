"""Core driver: the pure state machines of a whole site, glued by their effects, in virtual time.

    relay of each station --ObservationMade--> SiteControl --SetLimit--> relay --ToStation--> Station
                         <--BackendUp, texts-- Csms --texts--> SiteIdentity --command--> DimmingController

There is no trio task, no socket and no clock in it; a verb that waits lets virtual time pass.
"""

from __future__ import annotations

import itertools
import uuid
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from controller.chargers.quirks import LimitScope
from controller.config import Config
from controller.dimming import dimming_messages
from controller.dimming.dimming_builder import make_dimming_settings
from controller.dimming.dimming_controller import DimmingController
from controller.dimming.events import ClockTrusted, CommandAnswer, CommandReceived, DimmingChanged
from controller.load_management.events import (
    ControlTick,
    LimitAnswered,
    MeterUpdated,
    SetLimit,
    SiteDimmed,
    SiteEvent,
    StationDown,
    StationObserved,
    StationUp,
)
from controller.load_management.evse.limit_delivery import DeliveryMemory
from controller.load_management.site_builder import build_site, site_settings
from controller.load_management.site_control import SiteControl
from controller.model.effects import BackendLost, BackendUp, FromBackend, OwnCall, TimePassed, ToBackend
from controller.model.journal import Persist, Record
from controller.model.observations import EvseRef
from controller.ocpp.frames import parse
from controller.ocpp.payloads import OWN_TIME, is_accepted
from controller.ocpp.station_state import StationStateTracker
from controller.profiles.absorbed_profiles import AbsorbedProfiles, EvseWiring
from controller.profiles.arbiter import ProfileArbiter
from controller.profiles.limit_profiles import LimitKind, LimitTerms, set_limit
from controller.relay.events import (
    Action,
    Close,
    Commandable,
    Event,
    FromObserver,
    FromStation,
    ObservationMade,
    ObserverLost,
    ObserverUp,
    OwnAnswered,
    Redial,
    ToObserver,
    ToStation,
)
from controller.relay.policy_check import PolicyCheck
from controller.relay.station_relay import StationRelay
from controller.services.dimming.dimming_trust import DimmingTrust
from controller.services.signing.policy_service import open_policy_service
from controller.services.stations.relay_backends import RelayBackends
from controller.services.stations.relay_memory import RelayJournals
from controller.site_identity.identity import (
    IdentityEvent,
    OwnFrame,
    SiteFrame,
    SiteIdentity,
    SiteIdentitySettings,
    SiteReply,
    SiteRequest,
)
from controller.store.state_store import StateStore
from drivers.reading import MeterState, Quality, Reading
from tests.scenario.peers import Station
from tests.scenario.scenario_site import METER, OWNER, SITE, ScenarioSite, SiteSpec, build_config

PATIENCE_S = 600.0
"""Virtual time that a verb waits."""
UTC_0 = 1_795_996_800.0
"""UTC (POSIX s) when the virtual clock stands at 0."""
METER_INTERVAL_S = 1.0


class CoreClock:
    """Virtual time: it passes while a verb waits, from one deadline of the site to the next."""

    def __init__(self) -> None:
        self.now = 0.0
        self.site: CoreSite | None = None

    def utc(self) -> datetime:
        """Return the virtual time of day."""
        return datetime.fromtimestamp(UTC_0 + self.now, UTC)

    async def wait_until(self, is_reached: Callable[[], bool], expected: str) -> None:
        """Let time pass until the condition holds. Raises AssertionError after PATIENCE_S."""
        assert self.site is not None
        end = self.now + PATIENCE_S
        self.site.run_queue()
        while not is_reached():
            assert self.now < end, f"did not come in {PATIENCE_S:g} s: {expected}"
            self.site.pass_time()


class _CoreLine:
    """An end of a link: texts go into the queue of the site."""

    def __init__(
        self, queue: deque[Callable[[], None]], on_text: Callable[[str], None], on_closed: Callable[[], None]
    ) -> None:
        self._queue = queue
        self._on_text = on_text
        self._on_closed = on_closed

    def send_text(self, text: str) -> None:
        """Queue a text for the state machine at the other end."""
        self._queue.append(partial(self._on_text, text))

    def close(self) -> None:
        """Queue the end of the link."""
        self._queue.append(self._on_closed)


class _StationLink:
    """The relay of one connected station, with the links that it has opened."""

    def __init__(self, site: CoreSite, station: Station, relay: StationRelay) -> None:
        self.relay = relay
        self.station = station
        self.attached: set[str] = set()
        self._site = site

    def handle(self, event: Event) -> None:
        """Pass an event to the relay and execute its effects in order."""
        if not self.relay.is_open:
            return
        self.execute(self.relay.handle(event, self._site.now, self._site.utc))

    def execute(self, actions: list[Action]) -> None:
        """Execute effects; those that follow from them are queued."""
        for action in actions:
            match action:
                case ToStation(text):
                    self.station.on_text(text)
                case ToBackend(text):
                    self._site.csms.links[self.station.name].on_text(text)
                case ToObserver(_, text):
                    self._site.observer.links[self.station.name].on_text(text)
                case Redial(backend):
                    self._site.post(partial(self.lose_backend, backend, "opened again"))
                case Close():
                    self._site.post(partial(self._site.end_link, self))
                case _:
                    self._site.execute(self, action)

    def open_backends(self) -> None:
        """Open the links that the relay requests, to the CSMSs that are not away."""
        for csms in self._site.backends:
            name = csms.name
            if name in self.attached or csms.is_away or not self.relay.needs_link(name):
                continue
            self.attached.add(name)
            on_text = partial(self._on_backend_text, name)
            csms.accept(self.station.name, self._site.make_line(on_text, partial(self.lose_backend, name)))
            self.handle(BackendUp() if name == OWNER else ObserverUp(name))

    def _on_backend_text(self, backend: str, text: str) -> None:
        self.handle(FromBackend(text) if backend == OWNER else FromObserver(backend, text))

    def lose_backend(self, backend: str, reason: str = "connection reset") -> None:
        """End the link to a CSMS."""
        if backend in self.attached:
            self.attached.discard(backend)
            csms = self._site.csms if backend == OWNER else self._site.observer
            csms.links[self.station.name].on_closed()
            self.handle(BackendLost(reason) if backend == OWNER else ObserverLost(backend, reason))


class CoreSite(ScenarioSite):
    """All state machines of a site."""

    def __init__(self, spec: SiteSpec, folder: Path) -> None:
        self._clock = CoreClock()
        super().__init__(spec, self._clock)
        self._clock.site = self
        self._folder = folder
        self._config = self._build_config()
        self._queue: deque[Callable[[], None]] = deque()
        self._delivered: dict[EvseRef, DeliveryMemory] = {}
        self._store = StateStore(folder)
        self._start()

    def _start(self) -> None:
        """Make the state machines of a controller, from what is stored."""
        config, now = self._config, self.now
        self._links: dict[str, _StationLink] = {}
        self._pending: dict[int, tuple[str, SetLimit]] = {}
        self._journals = RelayJournals(config, self._store, b"key")
        self._backends = RelayBackends(config, self._journals, lambda now: UTC_0 + now, OWN_TIME)
        self._policy = open_policy_service(config, self._store)
        self._profiles = {station.id: _make_profiles(config, self.spec.lease_s) for station in config.station}
        self._trackers = {
            station.id: StationStateTracker(self.spec.version, 230.0) for station in config.station
        }
        self.control = SiteControl(build_site(config), site_settings(config), now)
        self.control.restore(self._delivered, now)
        self._ticks_at = self._meter_at = now
        self._identity: SiteIdentity | None = None
        self._dimming: DimmingController | None = None
        if config.dimming is not None:
            self._start_dimming(config)

    def _build_config(self) -> Config:
        ports = {csms.name: 1 for csms in self.backends}
        return build_config(self.spec, self._folder, self.grid_operator.author, ports, 1)

    def apply_spec(self) -> None:
        """Apply the configuration; see ScenarioSite."""
        config = self._config = self._build_config()
        self._journals.replace_stations(config)
        self._backends.set_config(config)
        for station in config.station:
            if station.id not in self._profiles:
                self._profiles[station.id] = _make_profiles(config, self.spec.lease_s)
                self._trackers[station.id] = StationStateTracker(self.spec.version, 230.0)
        for limit in self.control.replace_site(build_site(config), site_settings(config), self.now):
            self.post(partial(self._send_limit, limit))
        self.run_queue()

    def _start_dimming(self, config: Config) -> None:
        assert config.dimming is not None
        settings = SiteIdentitySettings(
            id=SITE, version=config.site.protocol, firmware="1", voltage=230.0, connection_a=self.spec.limit_a
        )
        self._identity = SiteIdentity(settings, lambda: str(uuid.uuid4()))
        trust = DimmingTrust(config, config.dimming, self._policy)
        dimming = make_dimming_settings(config, config.dimming)
        self._dimming = DimmingController(dimming, trust.signatures, self.now)
        self._dimming.handle(ClockTrusted(True), self.now, self.utc)
        self._commands = itertools.count(1)
        self.post(self._open_site_link)

    @property
    def now(self) -> float:
        """Return the virtual time (s)."""
        return self._clock.now

    @property
    def utc(self) -> float:
        """Return the virtual time of day (POSIX s)."""
        return UTC_0 + self._clock.now

    # -- the queue and time ---------------------------------------------------------------------------

    def post(self, step: Callable[[], None]) -> None:
        """Queue a step; steps do not run inside of one another."""
        self._queue.append(step)

    def run_queue(self) -> None:
        """Run all queued steps, and open the links that are wanted."""
        while True:
            while self._queue:
                self._queue.popleft()()
            for link in list(self._links.values()):
                link.open_backends()
            if not self._queue:
                return

    def pass_time(self) -> None:
        """Let time pass until the next deadline of any state machine."""
        deadlines = [self._ticks_at, self._meter_at]
        deadlines += [link.relay.deadline for link in self._links.values()]
        self._clock.now = max(self.now, min(deadlines))
        for link in list(self._links.values()):
            if link.relay.deadline <= self.now:
                link.handle(TimePassed())
        if self._meter_at <= self.now:
            self._meter_at = self.now + METER_INTERVAL_S
            self._read_meter()
        if self._ticks_at <= self.now:
            self._ticks_at = self.now + self._config.load_management.tick_s
            self.handle_site_event(ControlTick(self.utc))
        self.run_queue()

    def make_line(self, on_text: Callable[[str], None], on_closed: Callable[[], None]) -> _CoreLine:
        """Return the far end of a link."""
        return _CoreLine(self._queue, on_text, on_closed)

    # -- stations -------------------------------------------------------------------------------------

    async def connect_station(self, name: str = "CS01") -> Station:
        """Connect a station; see ScenarioSite."""
        if name in self._links:
            self.end_link(self._links[name])
        station, version = self._stations[name], self.spec.version
        table = next(each for each in self._config.station if each.id == name)
        arbiter = ProfileArbiter(version, LimitScope.STATION, self._profiles[name])
        relay = StationRelay(
            name,
            version,
            self._backends.make_owner(table, version),
            self._trackers[name],
            arbiter,
            self._config.listen.call_timeout_s,
            self.now,
            observers=self._backends.make_observers(table, version),
            policy=None if self._policy is None else PolicyCheck(self._policy.enforcer, version, name),
        )
        link = self._links[name] = _StationLink(self, station, relay)
        on_text = lambda text: link.handle(FromStation(text))  # noqa: E731
        station.line = self.make_line(on_text, partial(self._lose_station, link))
        self.run_queue()
        return station

    def _lose_station(self, link: _StationLink) -> None:
        link.execute(link.relay.close("the station is disconnected", self.now, self.utc))

    def end_link(self, link: _StationLink) -> None:
        """End all links of a station whose relay is closed."""
        name = link.station.name
        if self._links.get(name) is link:
            del self._links[name]
            link.station.on_closed()
            for csms in self.backends:
                if csms.name in link.attached:
                    csms.links[name].on_closed()
            self.handle_site_event(StationDown(name))

    async def restart(self) -> None:
        """Continue with new state machines; see ScenarioSite."""
        for link in list(self._links.values()):
            link.station.on_closed()
            for csms in self.backends:
                if csms.name in link.attached:
                    csms.links[link.station.name].on_closed()
        self._queue.clear()
        self._start()
        self.run_queue()

    # -- effects --------------------------------------------------------------------------------------

    def execute(self, link: _StationLink, action: Action) -> None:
        """Execute an effect of a relay that concerns the site; log entries have none."""
        name = link.station.name
        match action:
            case Persist(records):
                self._persist(records)
            case Commandable():
                self.handle_site_event(StationUp(name))
            case ObservationMade(observation):
                self.handle_site_event(StationObserved(name, observation))
            case OwnAnswered(token, result, detail):
                accepted = result is not None and is_accepted(result)
                self._profiles[name].on_limit_result(token, accepted=accepted)
                self.handle_site_event(LimitAnswered(token, accepted, detail))

    def _persist(self, records: tuple[Record, ...]) -> None:
        self._store.persist_now(records)

    def handle_site_event(self, event: SiteEvent) -> None:
        """Pass an event to load management and queue the limits that follow."""
        limits = self.control.handle(event, self.now)
        refs = {limit.ref for limit in limits} | self.control.unsaved_evses
        self._delivered |= self.control.delivery_records(refs, self.now)
        for limit in limits:
            self.post(partial(self._send_limit, limit))

    def _send_limit(self, limit: SetLimit) -> None:
        link = self._links.get(limit.ref.station)
        if link is None:
            self.handle_site_event(LimitAnswered(limit.token, False, "not connected"))
            return
        profiles, evse = self._profiles[limit.ref.station], limit.ref.evse
        fallback = profiles.cap_limit(evse, LimitKind.FALLBACK, limit.fallback_a, None, self.now)
        payload = set_limit(
            self.spec.version,
            LimitScope.STATION,
            evse,
            limit.kind,
            profiles.cap_limit(evse, limit.kind, limit.limit_a, limit.duration_s, self.now, limit.token),
            self._clock.utc(),
            limit.duration_s,
            LimitTerms(fallback=fallback, number_phases=limit.number_phases),
        )
        link.handle(
            OwnCall(limit.token, str(uuid.uuid4()), "SetChargingProfile", payload, urgent=limit.urgent)
        )

    def _read_meter(self) -> None:
        if not self.spec.has_meter:
            return
        if self.meter.has_failed:
            state = MeterState(meter=METER, quality=Quality.STALE, problem="no answer")
        else:
            reading = Reading(time=self.now, current_a=self.meter.total_a(self.stations))
            state = MeterState(meter=METER, quality=Quality.GOOD, reading=reading)
        self.handle_site_event(MeterUpdated(state))

    # -- the grid operator ----------------------------------------------------------------------------

    def _open_site_link(self) -> None:
        self.csms.answer_automatically()
        on_text = lambda text: self._on_identity_event(SiteFrame(parse(text)))  # noqa: E731
        self.csms.accept(SITE, self.make_line(on_text, lambda: None))
        self._on_identity_event(BackendUp())

    def _on_identity_event(self, event: IdentityEvent) -> None:
        assert self._identity is not None
        for action in self._identity.handle(event, self.now, self.utc):
            if isinstance(action, OwnFrame):
                self.csms.links[SITE].on_text(action.frame.text)
            elif isinstance(action, ToBackend):
                self.csms.links[SITE].on_text(action.text)
            elif isinstance(action, SiteRequest):
                reply = SiteReply(action.id, self._answer_data_transfer(action.payload))
                self.post(partial(self._on_identity_event, reply))

    def _answer_data_transfer(self, payload: bytes) -> bytes:
        assert self._dimming is not None
        command = dimming_messages.command_in(dimming_messages.ACTION, payload)
        if command is None:
            return dimming_messages.not_understood(payload)
        answer = b"{}"
        event = CommandReceived(next(self._commands), OWNER, command)
        for action in self._dimming.handle(event, self.now, self.utc):
            if isinstance(action, DimmingChanged):
                total = action.effective.total
                self.handle_site_event(SiteDimmed(total_w=None if total is None else total.watts))
            elif isinstance(action, CommandAnswer):
                version = self._config.site.protocol
                answer = dimming_messages.answer(version, action.payload, accepted=action.accepted)
        return answer


def _make_profiles(config: Config, lease_s: float) -> AbsorbedProfiles:
    """Return the absorbed profiles of a station with one EVSE of 32 A."""
    wiring = EvseWiring(phases=3, max_a=32.0, fallback_a=6.0)
    return AbsorbedProfiles({1: wiring}, config.site.voltage, lease_s, lambda now: UTC_0 + now)
