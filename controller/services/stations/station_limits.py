"""Limits of the stations: sends them as CALLs, and reports to load management what the stations send.

    StationSession --events--> StationLimits --SiteEvent--> LoadManagementService
                  <---CALL---               <--SetLimit---

Before the first limit, a station is asked for its capabilities. A limit becomes the SetChargingProfile that
its station accepts, by its scope, quirk and clock.
"""

from __future__ import annotations

import logging
import uuid
from datetime import timedelta

import trio

from controller.load_management.events import (
    LimitAnswered,
    QuirkSelected,
    SetLimit,
    StationDown,
    StationObserved,
    StationUp,
)
from controller.load_management.metering.station_meters import StationMeters
from controller.model.effects import UNTRACKED, OwnCall
from controller.model.observations import Booted, Observation
from controller.ocpp.frames import Version
from controller.ocpp.payloads import describe_status, is_accepted
from controller.profiles.limit_profiles import LimitKind, LimitTerms, set_limit
from controller.services.load_management.load_management_service import LoadManagementService
from controller.services.machine.wall_clock import utc_now
from controller.services.stations.station_capabilities import StationCapabilities, StationClocks
from controller.services.stations.station_profiles import StationProfiles
from controller.stations.registry import SessionRegistry

log = logging.getLogger("controller")

NO_ANSWER = "no answer in time"


class LimitEncoder:
    """Encodes limits for all stations; the lower one of a backend's profile is sent."""

    def __init__(
        self,
        capabilities: StationCapabilities,
        profiles: StationProfiles,
        clocks: StationClocks,
    ) -> None:
        self._capabilities = capabilities
        self._profiles = profiles
        self._clocks = clocks

    def encode(self, limit: SetLimit, version: Version) -> OwnCall:
        """Return the CALL that sets a limit at its station, in `version`."""
        station, evse = limit.ref
        absorbed, now, wall = self._profiles.find_absorbed(station), trio.current_time(), utc_now()
        clock = self._clocks.find_clock(station)
        clock.follow(now, wall.timestamp())
        quirk = self._capabilities.find_quirk(station)
        value, fallback = (
            (limit.limit_w, limit.fallback_w) if quirk.in_watts else (limit.limit_a, limit.fallback_a)
        )
        terms = LimitTerms(
            quirk=quirk,
            fallback=absorbed.cap_limit(evse, LimitKind.FALLBACK, fallback, None, now),
            number_phases=limit.number_phases,
        )
        payload = set_limit(
            version,
            self._capabilities.find_scope(station),
            evse,
            limit.kind,
            absorbed.cap_limit(evse, limit.kind, value, limit.duration_s, now, limit.token),
            wall + timedelta(seconds=clock.write_offset()),
            limit.duration_s,
            terms,
        )
        return OwnCall(limit.token, str(uuid.uuid4()), "SetChargingProfile", payload, urgent=limit.urgent)


class StationLimits:
    """The stations' side of load management; see `stations.session.SessionSite`.

    `sent` and `failed` count the limits sent and those that a station did not accept.
    """

    def __init__(
        self,
        load_management: LoadManagementService,
        capabilities: StationCapabilities,
        profiles: StationProfiles,
        meters: StationMeters,
        encoder: LimitEncoder,
        registry: SessionRegistry,
    ) -> None:
        self.sent = self.failed = 0
        self.profiles = profiles
        self.capabilities = capabilities
        self._load_management = load_management
        self._meters = meters
        self._encoder = encoder
        self._registry = registry
        for ref in load_management.stored_evses:
            capabilities.mark_cleared(ref.station)

    def send_limit(self, limit: SetLimit) -> None:
        """Send a limit; without a link to its station it has failed."""
        session = self._registry.find_session(limit.ref.station)
        if session is None:
            self._load_management.handle_event(LimitAnswered(limit.token, False, "not connected"))
            return
        self.sent += 1
        session.call(self._encoder.encode(limit, session.version))

    # -- events of a session --------------------------------------------------------------------------

    def on_station_up(self, station: str, version: Version) -> None:
        """Begin to send limits to a station, after the capability questions that are still open."""
        self._meters.on_link(station, trio.current_time(), is_connected=True)
        session = self._registry.find_session(station)
        question = None if session is None else self.capabilities.next_question(station, version)
        if session is None or question is None:
            self._load_management.handle_event(StationUp(station))
        else:
            session.call(question)

    def on_station_down(self, station: str) -> None:
        """Pass on that a station is disconnected."""
        self._meters.on_link(station, trio.current_time(), is_connected=False)
        self._load_management.handle_event(StationDown(station))

    def on_observation(self, station: str, observation: Observation) -> None:
        """Pass on an observation of a station."""
        now = trio.current_time()
        if isinstance(observation, Booted):
            self.capabilities.on_boot(station, observation)
            self._apply_quirk(station)
        self._meters.on_observation(station, observation, now)
        self._load_management.handle_event(StationObserved(station, observation))
        session = self._registry.find_session(station)
        if self.profiles.check_station(station, observation, now) and session is not None:
            self.capabilities.mark_uncleared(station)
            self.on_station_up(station, session.version)

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
        absorbed = self.profiles.find_absorbed(station)
        absorbed.on_limit_result(token, accepted=good if answered or good else None)
        if not good and not detail:
            detail = describe_status(result or b"")
        if not good and is_open:  # else its link has ended, which is logged there
            self.failed += 1
            log.warning("limit rejected station=%s reason=%s", station, detail)
        outcome = LimitAnswered(token, good, detail)
        self._load_management.handle_event(outcome)

    def _on_question_answered(self, station: str, token: int, result: bytes | None, *, is_open: bool) -> None:
        """Process the end of a capability question: the next one follows, or the limits."""
        session = self._registry.find_session(station)
        if session is None or not is_open:
            self.capabilities.on_link_lost(token)
            return
        self.capabilities.on_answer(token, result)
        self._apply_quirk(station)
        self.on_station_up(station, session.version)

    def _apply_quirk(self, station: str) -> None:
        """Apply the quirk that follows from what is known of the station."""
        quirk = self.capabilities.select_quirk(station)
        self.profiles.apply_quirk(station)
        self._load_management.handle_event(QuirkSelected(station, quirk))
