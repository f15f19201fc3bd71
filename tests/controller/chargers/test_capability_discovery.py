"""Stations are asked once, and again when they boot as another."""

from __future__ import annotations

import pytest

from controller.chargers.capability_discovery import CapabilityDiscovery
from controller.chargers.quirks import NO_QUIRK, LeaseForm
from controller.model.observations import Booted
from controller.ocpp.frames import Version
from controller.profiles.limit_profiles import ProfileScope, purpose
from tests.controller.ocpp.schemas import check, request

TERRA = Booted("ABB", "CDT_TACW22::NET_WIFI", "TAC3Z9119006710273::V1.8.21")
ONE_LEVEL = b'{"configurationKey":[{"key":"ChargeProfileMaxStackLevel","readonly":true,"value":"0"}]}'


def asked(known: CapabilityDiscovery, station: str = "A") -> int:
    question = known.ask(station, Version.V16)
    assert question is not None
    return question.token


def test_a_stranger_follows_ocpp_until_it_says_otherwise() -> None:
    known = CapabilityDiscovery()
    assert known.quirk("A") == NO_QUIRK
    known.answered(asked(known), ONE_LEVEL)
    assert known.quirk("A").form is LeaseForm.STEPPED
    assert known.quirk("B") == NO_QUIRK


def test_it_is_asked_once_whether_or_not_it_answers() -> None:
    known = CapabilityDiscovery()
    known.answered(asked(known), None)
    assert known.ask("A", Version.V16) is None
    assert known.quirk("A") == NO_QUIRK


def test_a_link_that_ends_is_no_answer() -> None:
    known = CapabilityDiscovery()
    known.unanswered(asked(known))
    assert known.ask("A", Version.V16) is not None


def test_questions_have_tokens_of_their_own_below_all_limits() -> None:
    known = CapabilityDiscovery()
    assert len({asked(known, name) for name in "ABC"}) == 3
    assert asked(known, "D") < 0


def test_another_firmware_is_asked_again_the_same_is_not() -> None:
    known = CapabilityDiscovery()
    known.answered(asked(known), ONE_LEVEL)
    known.booted("A", TERRA)
    assert known.quirk("A").name == "ABB Terra AC"
    known.answered(asked(known), ONE_LEVEL)
    known.booted("A", TERRA)
    assert known.ask("A", Version.V16) is None


def test_an_answer_that_nobody_waits_for_says_nothing() -> None:
    known = CapabilityDiscovery()
    known.answered(-7, ONE_LEVEL)
    assert known.quirk("A") == NO_QUIRK


@pytest.mark.parametrize("version", list(Version))
@pytest.mark.parametrize("evses", [1, 2])
def test_a_stranger_is_rid_once_of_what_others_left_in_our_purpose(version: Version, evses: int) -> None:
    known = CapabilityDiscovery()
    first = known.ask("A", version, evses)
    assert first is not None
    known.answered(first.token, None)
    clearing = known.ask("A", version, evses)
    assert clearing is not None
    assert clearing.question.action == "ClearChargingProfile"
    check(version, request(version, "ClearChargingProfile"), clearing.question.payload)
    ours = purpose(version, ProfileScope.STATION if evses == 1 else ProfileScope.EVSE)
    assert f'"chargingProfilePurpose":"{ours}"' in clearing.question.payload.decode()
    known.answered(clearing.token, b'{"status":"Unknown"}')
    assert known.ask("A", version, evses) is None


def test_the_purpose_is_that_of_its_kind() -> None:
    known = CapabilityDiscovery()
    known.booted("A", TERRA)
    known.answered(asked(known), None)
    clearing = known.ask("A", Version.V16, 1)
    assert clearing is not None
    assert b"TxDefaultProfile" in clearing.question.payload


def test_a_link_that_ends_before_it_was_rid_of_them_is_asked_again() -> None:
    known = CapabilityDiscovery()
    known.answered(asked(known), None)
    clearing = known.ask("A", Version.V16, 1)
    assert clearing is not None
    known.unanswered(clearing.token)
    assert known.ask("A", Version.V16, 1) is not None


def test_who_was_told_our_limits_before_a_restart_keeps_them() -> None:
    known = CapabilityDiscovery()
    known.told_before("A")
    known.answered(asked(known), None)
    assert known.ask("A", Version.V16, 1) is None
