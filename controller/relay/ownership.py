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


_Carrier = v16.SetChargingProfileHead | v16.RemoteStartTransactionHead | v2.ProfileCarrier
_CARRIERS_16: dict[str, type[_Carrier]] = {
    "SetChargingProfile": v16.SetChargingProfileHead,
    "RemoteStartTransaction": v16.RemoteStartTransactionHead,
}
_CARRIERS_2: dict[str, type[_Carrier]] = {
    "SetChargingProfile": v2.ProfileCarrier,
    "RequestStartTransaction": v2.ProfileCarrier,
}


def _owned(version: Version, scope: Scope) -> set[str]:
    """The purposes that are ours in a station, and those that would rise above our limits.

    LocalGeneration (2.1) adds to what limits allow. With limits per EVSE, a transaction's own profile
    takes the place of the default that is ours (1.6 ed. 2, 3.13.1), and so does PriorityCharging (2.1).
    """
    owned = {purpose(version, scope), "LocalGeneration"}
    return owned if scope is Scope.STATION else owned | {"TxProfile", "PriorityCharging"}


class Ownership:
    """Judges the commands of a backend to one station. `scope` is that of our limits in it."""

    def __init__(self, version: Version, scope: Scope) -> None:
        self._version = version
        self._owned = _owned(version, scope)
        self._carriers = _CARRIERS_16 if version is Version.V16 else _CARRIERS_2

    def judge(self, call: Call) -> Ruling:
        """The ruling on one CALL of the backend."""
        if call.action in _WIPES:
            return _WIPING
        profile = self._profile(call)
        if profile is None:
            return _HARMLESS
        if profile.purpose in self._owned:
            return self._refuse(call, f"the site's load management owns {profile.purpose} at this station")
        if profile.number is not None and is_ours(profile.number):
            return self._refuse(
                call, f"chargingProfileId {profile.number} is reserved for the site's load management"
            )
        return _HARMLESS

    def _profile(self, call: Call) -> v16.ProfileHead | v2.ProfileHead | None:
        """The profile that a CALL brings; None where it has none, or one that the station will refuse."""
        carrier = self._carriers.get(call.action)
        if carrier is None:
            return None
        try:
            return msgspec.json.decode(call.payload, type=carrier).profile
        except (msgspec.DecodeError, RecursionError, UnicodeError):
            return None

    def _refuse(self, call: Call, reason: str) -> Ruling:
        if self._version is Version.V16:
            return Ruling(Effect.LOOSENS, call_result(call.id, b'{"status":"Rejected"}'), reason)
        info = {"reasonCode": "UnsupportedRequest", "additionalInfo": reason}
        payload = msgspec.json.encode({"status": "Rejected", "statusInfo": info})
        return Ruling(Effect.LOOSENS, call_result(call.id, payload), reason)
