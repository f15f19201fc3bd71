"""Encoding of limits as the SetChargingProfile that their station accepts: its scope, quirk and clock."""

from __future__ import annotations

import uuid
from datetime import timedelta

import trio

from controller.load_management.events import SetLimit
from controller.model.effects import OwnCall
from controller.ocpp.frames import Version
from controller.profiles.limit_profiles import LimitKind, LimitTerms, set_limit
from controller.services.station_capabilities import StationCapabilities
from controller.services.station_clocks import StationClocks
from controller.services.station_profiles import StationProfiles
from controller.services.wall_clock import utc_now


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
        value, after = (limit.limit_w, limit.after_w) if quirk.in_watts else (limit.limit_a, limit.after_a)
        terms = LimitTerms(
            quirk=quirk,
            after=absorbed.cap_limit(evse, LimitKind.FALLBACK, after, None, now),
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
