"""Encoding of limits as the SetChargingProfile that their station accepts: its scope, quirk and clock."""

from __future__ import annotations

import uuid
from datetime import timedelta

import trio

from controller.chargers.quirks import Quirk
from controller.config import Config
from controller.load_management.events import SetLimit
from controller.model.effects import OwnCall
from controller.model.observations import EvseRef
from controller.ocpp.frames import Version
from controller.profiles.absorbed_profiles import NOISE_A
from controller.profiles.limit_profiles import LimitKind, LimitTerms, set_limit
from controller.services.station_capabilities import StationCapabilities
from controller.services.station_clocks import StationClocks
from controller.services.station_profiles import StationProfiles
from controller.services.wall_clock import utc_now


class LimitEncoder:
    """Encodes limits for all stations of a configuration; the lower one of a backend's profile is sent."""

    def __init__(
        self,
        config: Config,
        capabilities: StationCapabilities,
        profiles: StationProfiles,
        clocks: StationClocks,
    ) -> None:
        self._capabilities = capabilities
        self._profiles = profiles
        self._clocks = clocks
        self._watts_per_phase_ampere = {
            EvseRef(station.id, evse.id): evse.watts_per_phase_ampere(config.site.voltage)
            for station in config.station
            for evse in station.evse
        }

    def encode(self, limit: SetLimit, version: Version) -> OwnCall:
        """Return the CALL that sets a limit at its station, which speaks `version`."""
        station, evse = limit.ref
        absorbed, now = self._profiles.find_absorbed(station), trio.current_time()
        quirk = self._capabilities.find_quirk(station)
        phases = self._watt_phases(limit, quirk)
        terms = LimitTerms(
            quirk=quirk,
            after_a=absorbed.cap_limit(evse, LimitKind.FALLBACK, limit.after_a, None, now),
            number_phases=limit.number_phases,
            watts_per_ampere=self._watts_per_phase_ampere[limit.ref] * phases,
        )
        payload = set_limit(
            version,
            self._capabilities.find_scope(station),
            evse,
            limit.kind,
            absorbed.cap_limit(evse, limit.kind, limit.limit_a, limit.duration_s, now, limit.token),
            utc_now() + timedelta(seconds=self._clocks.find_clock(station).write_offset()),
            limit.duration_s,
            terms,
        )
        return OwnCall(limit.token, str(uuid.uuid4()), "SetChargingProfile", payload, urgent=limit.urgent)

    def _watt_phases(self, limit: SetLimit, quirk: Quirk) -> int:
        """Return on how many phases a limit is used: in W they share it, in A it holds for each.

        The maximum of an EVSE may be used on all of its phases: no car draws more than it on one of them.
        """
        if not quirk.in_watts:
            return limit.phases
        absorbed = self._profiles.find_absorbed(limit.ref.station)
        wiring = absorbed.evses[limit.ref.evse]
        phases = wiring.phases if limit.limit_a >= wiring.max_a - NOISE_A else limit.phases
        if limit.kind is LimitKind.LEASE:
            absorbed.set_watt_phases(limit.ref.evse, phases)
        return phases
