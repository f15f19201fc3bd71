"""What a backend's command would do to the limits that the controller keeps in a station.

The controller owns one thing: how much current each station may take. A backend's profiles pass
untouched wherever they cannot loosen that; a profile in a purpose that is ours is refused with a
reason; a command that may wipe ours passes, and ours are asserted again at once.
"""

from __future__ import annotations

import enum

import msgspec

from controller.ocpp import v2, v16
from controller.ocpp.frames import Call, Version, call_result
from controller.ocpp.profiles import Scope, is_ours, purpose

_WIPES = {"ClearChargingProfile"}  # a Reset ends in a boot or a new link, which assert ours anyway


class Effect(enum.Enum):
    """What a command of the backend does to our limits."""

    NONE = "none"
    WIPES = "wipes"
    LOOSENS = "loosens"


class Ruling(msgspec.Struct, frozen=True):
    """The effect of a command, and for one that must not pass, the answer and the reason."""

    effect: Effect
    answer: str = ""
    reason: str = ""


_HARMLESS = Ruling(Effect.NONE)
_WIPING = Ruling(Effect.WIPES)


class Ownership:
    """Judges the commands of a backend to one station. `scope` is that of our limits in it."""

    def __init__(self, version: Version, scope: Scope) -> None:
        self._version = version
        self._scope = scope
        # With limits per EVSE, a transaction's own profile would overrule them (1.6 ed. 2, 3.13.1).
        self._ours = (
            {purpose(version, Scope.STATION)}
            if scope is Scope.STATION
            else {purpose(version, Scope.EVSE), "TxProfile"}
        )

    def judge(self, call: Call) -> Ruling:
        """The ruling on one CALL of the backend."""
        if call.action in _WIPES:
            return _WIPING
        if call.action != "SetChargingProfile":
            return _HARMLESS
        head = self._head(call.payload)
        if head is None:
            return _HARMLESS  # the station will refuse it for what it is
        number, named = head
        if named in self._ours:
            return self._refuse(call, f"the site's load management owns {named} at this station")
        if number is not None and is_ours(number):
            return self._refuse(
                call, f"chargingProfileId {number} is reserved for the site's load management"
            )
        return _HARMLESS

    def _refuse(self, call: Call, reason: str) -> Ruling:
        if self._version is Version.V16:
            return Ruling(Effect.LOOSENS, call_result(call.id, b'{"status":"Rejected"}'), reason)
        info = {"reasonCode": "UnsupportedRequest", "additionalInfo": reason}
        payload = msgspec.json.encode({"status": "Rejected", "statusInfo": info})
        return Ruling(Effect.LOOSENS, call_result(call.id, payload), reason)

    def _head(self, payload: bytes) -> tuple[int | None, str] | None:
        try:
            if self._version is Version.V16:
                profile16 = msgspec.json.decode(payload, type=v16.SetChargingProfileHead).cs_charging_profiles
                return profile16.charging_profile_id, profile16.charging_profile_purpose
            profile = msgspec.json.decode(payload, type=v2.SetChargingProfileHead).charging_profile
        except (msgspec.DecodeError, RecursionError, UnicodeError):
            return None
        return profile.id, profile.charging_profile_purpose
