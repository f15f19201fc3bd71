"""What a simulated station answers to commands, in OCPP 1.6 and 2.x; pure.

The actions and members are those of OCPP 1.6 edition 2, section 5, and OCPP 2.0.1 Part 2.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import UTC, datetime
from typing import NamedTuple

from controller.demo.messages import Session
from controller.demo.profiles import Charging, InstalledProfiles, ProfileRefused, parse
from controller.demo.wire import Payload

_UNLIMITED_A = 32.0
"""What a composite schedule says where nothing limits: the outlet's maximum."""

_VALUES = {
    "HeartbeatInterval": "30",
    "ChargeProfileMaxStackLevel": "10",
    "ChargingScheduleAllowedChargingRateUnit": "Current",
    "ChargingScheduleMaxPeriods": "24",
    "MaxChargingProfilesInstalled": "10",
    "MeterValueSampleInterval": "10",
}
"""1.6: the configuration keys that the station knows."""


class Answer(NamedTuple):
    """A command's result; `triggered` names the message that the station sends as its consequence."""

    payload: Payload
    triggered: str = ""


class CommandDesk:
    """A station's answers: it holds the profiles, and knows the sessions that run."""

    def __init__(self, profiles: InstalledProfiles) -> None:
        self._profiles = profiles
        self._sessions: dict[int, Session] = {}
        self._desk: dict[str, Callable[[Payload, float], Answer]] = {
            "SetChargingProfile": self._set_profile,
            "ClearChargingProfile": self._clear_profile,
            "GetCompositeSchedule": self._composite_schedule,
            "GetConfiguration": self._configuration,
            "GetVariables": self._variables,
            "TriggerMessage": self._trigger,
            "DataTransfer": self._data_transfer,
        }

    def begin(self, session: Session) -> None:
        """A session runs from now on."""
        self._sessions[session.evse] = session

    def end(self, session: Session) -> None:
        """A session is over; its TxProfile goes with it."""
        del self._sessions[session.evse]
        self._profiles.end_transaction(session.evse)

    def answer(self, action: str, payload: Payload, utc: float) -> Answer | None:
        """The answer to a command; None for an action that the station does not know."""
        desk = self._desk.get(action)
        return desk(payload, utc) if desk else None

    def limit_a(self, evse: int, utc: float) -> float:
        """What the profiles allow an outlet at `utc` (A per phase)."""
        return self._profiles.limit_a(evse, utc, self._charging(evse), sharers=len(self._sessions))

    def _charging(self, evse: int) -> Charging | None:
        session = self._sessions.get(evse)
        return Charging(_transaction(session), session.since, session.phases) if session else None

    def _set_profile(self, payload: Payload, utc: float) -> Answer:
        try:
            profile = parse(payload, utc)
            session = self._sessions.get(profile.evse)
            self._profiles.install(profile, _transaction(session) if session else None)
        except ProfileRefused:
            return Answer({"status": "Rejected"})
        return Answer({"status": "Accepted"})

    def _clear_profile(self, payload: Payload, utc: float) -> Answer:
        criteria = payload.get("chargingProfileCriteria", payload)
        cleared = self._profiles.clear(
            id=payload.get("chargingProfileId", payload.get("id")),
            evse=criteria.get("evseId", criteria.get("connectorId")),
            purpose=criteria.get("chargingProfilePurpose"),
            stack_level=criteria.get("stackLevel"),
        )
        return Answer({"status": "Accepted" if cleared else "Unknown"})

    def _composite_schedule(self, payload: Payload, utc: float) -> Answer:
        """One period: what holds now. A coarse schedule, but a true one for this moment."""
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
            return Answer(
                {
                    "status": "Accepted",
                    "connectorId": evse,
                    "scheduleStart": start,
                    "chargingSchedule": schedule,
                }
            )
        return Answer({"status": "Accepted", "schedule": schedule | {"evseId": evse, "scheduleStart": start}})

    def _configuration(self, payload: Payload, utc: float) -> Answer:
        keys = payload.get("key") or list(_VALUES)
        return Answer(
            {
                "configurationKey": [
                    {"key": key, "readonly": True, "value": _VALUES[key]} for key in keys if key in _VALUES
                ],
                "unknownKey": [key for key in keys if key not in _VALUES],
            }
        )

    def _variables(self, payload: Payload, utc: float) -> Answer:
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
        return Answer({"getVariableResult": results})

    def _trigger(self, payload: Payload, utc: float) -> Answer:
        wanted = payload["requestedMessage"]
        if wanted in ("Heartbeat", "StatusNotification"):
            return Answer({"status": "Accepted"}, triggered=wanted)
        return Answer({"status": "NotImplemented"})

    def _data_transfer(self, payload: Payload, utc: float) -> Answer:
        return Answer({"status": "UnknownVendorId"})


def _transaction(session: Session) -> str:
    """What profiles call the session's transaction: 1.6 has the backend's number for it."""
    return session.transaction if session.number is None else str(session.number)
