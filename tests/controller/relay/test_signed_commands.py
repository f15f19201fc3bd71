"""OCPP's own signed commands (2.x Part 4, section 7): untouched, and past our limits no more than others."""

from __future__ import annotations

import base64
import json

import pytest

from controller.chargers.quirks import LimitScope
from controller.model.observations import ProfilesTouched
from controller.ocpp.frames import Version, parse
from controller.profiles.limit_profiles import LimitKind, profile_id
from tests.controller.profiles.test_arbiter import brings
from tests.controller.relay.playbook import Playbook, call, result

V2 = (Version.V201, Version.V21)


def sealed(text: str) -> str:
    """The command as somebody signs it; nobody here looks at the signature."""
    frame = parse(text)
    inner = base64.urlsafe_b64encode(frame.payload).rstrip(b"=").decode()  # type: ignore[union-attr]
    jws = {"payload": inner, "protected": "e30", "signature": "AA"}
    return call("b", f"{frame.action}-Signed", json.dumps(jws))  # type: ignore[union-attr]


@pytest.mark.parametrize("version", V2)
@pytest.mark.parametrize(
    ("scope", "named", "passes"),
    [
        (LimitScope.STATION, "TxDefaultProfile", True),
        (LimitScope.STATION, "TxProfile", True),
        (LimitScope.STATION, "ChargingStationMaxProfile", False),
        (LimitScope.EVSE, "ChargingStationMaxProfile", True),
        (LimitScope.EVSE, "TxDefaultProfile", False),
        (LimitScope.EVSE, "TxProfile", False),
        (LimitScope.EVSE, "PriorityCharging", False),
    ],
)
@pytest.mark.parametrize("action", ["SetChargingProfile", "RequestStartTransaction"])
def test_a_signed_profile_that_could_loosen_our_limits_is_refused(
    version: Version, scope: LimitScope, named: str, passes: bool, action: str
) -> None:
    play, text = Playbook(version, scope), sealed(brings(version, named, action=action))
    if passes:
        play.passes_down(text)
    else:
        play.backend(text)
        play.backend_hears_error("b", "NotSupported", "send it without this signature")
        play.done()


def test_our_profile_ids_are_ours_in_signed_commands_too() -> None:
    play = Playbook(Version.V201)
    play.backend(sealed(brings(Version.V201, "TxDefaultProfile", profile_id(1, LimitKind.LEASE))))
    play.backend_hears_error("b", "NotSupported")


def test_after_a_signed_clearing_our_limits_are_asserted_again() -> None:
    play = Playbook(Version.V201)
    play.passes_down(sealed(call("b", "ClearChargingProfile")))
    play.station(result("b", '{"payload":"e30","protected":"e30","signature":"AA"}'))
    play.commands_allowed()
    play.backend_hears(result("b", '{"payload":"e30","protected":"e30","signature":"AA"}'))
    play.site_learns(ProfilesTouched("ClearChargingProfile-Signed"))
    play.done()


@pytest.mark.parametrize("payload", ["{}", '{"payload":"?","protected":"e30","signature":""}'])
def test_a_signed_profile_that_nobody_can_read_does_not_pass(payload: str) -> None:
    play = Playbook(Version.V201)
    play.backend(call("b", "SetChargingProfile-Signed", payload))
    play.backend_hears_error("b", "FormatViolation", "nobody can tell what it brings")
    play.done()


def test_other_signed_commands_pass_whatever_is_in_them() -> None:
    Playbook(Version.V201).passes_down(call("b", "SetVariables-Signed", "{}"))
