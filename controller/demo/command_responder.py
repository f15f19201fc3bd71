"""Answers of a simulated station to commands, in OCPP 1.6 and 2.x; sans-IO.

The actions and members are those of OCPP 1.6 edition 2, section 5, and OCPP 2.0.1 Part 2.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import UTC, datetime
from typing import NamedTuple

from controller.demo.demo_frames import Payload
from controller.demo.installed_profiles import Charging, InstalledProfiles, ProfileRefusedError, parse_profile
from controller.demo.station_messages import MeteredSession

_UNLIMITED_A = 32.0
"""Limit in a composite schedule without profiles: the EVSE's maximum."""

_VALUES = {
    "HeartbeatInterval": "30",
    "ChargeProfileMaxStackLevel": "10",
    "ChargingScheduleAllowedChargingRateUnit": "Current",
    "ChargingScheduleMaxPeriods": "24",
    "MaxChargingProfilesInstalled": "10",
    "MeterValueSampleInterval": "10",
}
"""Configuration keys of the station in OCPP 1.6."""


class StationAnswer(NamedTuple):
    """A command's result; `triggered` names the message that the station sends as its consequence."""

    payload: Payload
    triggered: str = ""


class CommandResponder:
    """Answers of a station to commands, with its profiles and running sessions."""

    def __init__(self, profiles: InstalledProfiles) -> None:
        self._profiles = profiles
        self._sessions: dict[int, MeteredSession] = {}
        self._responder: dict[str, Callable[[Payload, float], StationAnswer]] = {
            "SetChargingProfile": self._set_profile,
            "ClearChargingProfile": self._clear_profile,
            "GetCompositeSchedule": self._composite_schedule,
            "GetConfiguration": self._configuration,
            "GetVariables": self._variables,
            "TriggerMessage": self._trigger,
            "DataTransfer": self._data_transfer,
        }

    def begin(self, session: MeteredSession) -> None:
        """Note the start of a session."""
        self._sessions[session.evse] = session

    def end(self, session: MeteredSession) -> None:
        """Note the end of a session; its TxProfile is removed."""
        del self._sessions[session.evse]
        self._profiles.end_transaction(session.evse)

    def answer(self, action: str, payload: Payload, utc: float) -> StationAnswer | None:
        """Return the answer to a command; None for an unknown action."""
        responder = self._responder.get(action)
        return responder(payload, utc) if responder else None

    def limit_a(self, evse: int, utc: float) -> float:
        """Return the limit of an EVSE at `utc` (A per phase)."""
        return self._profiles.limit_a(evse, utc, self._charging(evse), sharers=len(self._sessions))

    def _charging(self, evse: int) -> Charging | None:
        session = self._sessions.get(evse)
        return Charging(_transaction(session), session.since, session.phases) if session else None

    def _set_profile(self, payload: Payload, utc: float) -> StationAnswer:
        try:
            profile = parse_profile(payload, utc)
            session = self._sessions.get(profile.evse)
            self._profiles.install(profile, _transaction(session) if session else None)
        except ProfileRefusedError:
            return StationAnswer({"status": "Rejected"})
        return StationAnswer({"status": "Accepted"})

    def _clear_profile(self, payload: Payload, utc: float) -> StationAnswer:
        criteria = payload.get("chargingProfileCriteria", payload)
        cleared = self._profiles.clear(
            id=payload.get("chargingProfileId", payload.get("id")),
            evse=criteria.get("evseId", criteria.get("connectorId")),
            purpose=criteria.get("chargingProfilePurpose"),
            stack_level=criteria.get("stackLevel"),
        )
        return StationAnswer({"status": "Accepted" if cleared else "Unknown"})

    def _composite_schedule(self, payload: Payload, utc: float) -> StationAnswer:
        """Answer with one period: the limit of this moment."""
        old = "connectorId" in payload
        evse = payload["connectorId" if old else "evseId"]
        limit = self.limit_a(evse, utc)
        start = datetime.fromtimestamp(utc, UTC).isoformat(timespec="seconds")
        schedule: Payload = {
            "duration": payload["duration"],
            "chargingRateUnit": "A",
            "chargingSchedulePeriod": [
                {"startPeriod": 0, "limit": round(limit if limit < math.inf else _UNLIMITED_A, 1)}
            ],
        }
        if old:
            return StationAnswer(
                {
                    "status": "Accepted",
                    "connectorId": evse,
                    "scheduleStart": start,
                    "chargingSchedule": schedule,
                }
            )
        return StationAnswer(
            {"status": "Accepted", "schedule": schedule | {"evseId": evse, "scheduleStart": start}}
        )

    def _configuration(self, payload: Payload, utc: float) -> StationAnswer:
        keys = payload.get("key") or list(_VALUES)
        return StationAnswer(
            {
                "configurationKey": [
                    {"key": key, "readonly": True, "value": _VALUES[key]} for key in keys if key in _VALUES
                ],
                "unknownKey": [key for key in keys if key not in _VALUES],
            }
        )

    def _variables(self, payload: Payload, utc: float) -> StationAnswer:
        known = {
            "HeartbeatInterval": "30",
            "RateUnit": "A",
            "ProfileStackLevel": "10",
            "TxUpdatedInterval": "10",
        }
        results = []
        for asked in payload["getVariableData"]:
            value = known.get(asked["variable"]["name"])
            named = {"component": asked["component"], "variable": asked["variable"]}
            if value is None:
                results.append({"attributeStatus": "UnknownVariable", **named})
            else:
                results.append({"attributeStatus": "Accepted", "attributeValue": value, **named})
        return StationAnswer({"getVariableResult": results})

    def _trigger(self, payload: Payload, utc: float) -> StationAnswer:
        requested = payload["requestedMessage"]
        if requested in ("Heartbeat", "StatusNotification"):
            return StationAnswer({"status": "Accepted"}, triggered=requested)
        return StationAnswer({"status": "NotImplemented"})

    def _data_transfer(self, payload: Payload, utc: float) -> StationAnswer:
        return StationAnswer({"status": "UnknownVendorId"})


def _transaction(session: MeteredSession) -> str:
    """Return the transaction id in profiles: in 1.6 it is the backend's number."""
    return session.transaction if session.number is None else str(session.number)
