"""Capability discovery: one question a station, one clearing, answers read leniently."""

from __future__ import annotations

import pytest

from controller.chargers.capability_discovery import CapabilityDiscovery
from controller.chargers.quirks import NO_QUIRK, LeaseForm, LimitScope, limit_purpose
from controller.model.observations import Booted
from controller.ocpp.frames import Version
from tests.controller.ocpp.schemas import check, request

TERRA = Booted("ABB", "CDT_TACW22::NET_WIFI", "TAC3Z9119006710273::V1.8.21")
ONE_LEVEL = b'{"configurationKey":[{"key":"ChargeProfileMaxStackLevel","readonly":true,"value":"0"}]}'


def asked(discovery: CapabilityDiscovery, station: str = "A") -> int:
    question = discovery.next_question(station, Version.V16)
    assert question is not None
    return question.token


def test_unknown_station_follows_ocpp_until_it_reports_bounds() -> None:
    discovery = CapabilityDiscovery()
    assert discovery.quirk("A") == NO_QUIRK
    discovery.on_result(asked(discovery), ONE_LEVEL)
    assert discovery.quirk("A").form is LeaseForm.STEPPED
    assert discovery.quirk("B") == NO_QUIRK


def test_capability_discovery_station_without_answer_is_asked_once() -> None:
    discovery = CapabilityDiscovery()
    discovery.on_result(asked(discovery), None)
    assert discovery.next_question("A", Version.V16) is None
    assert discovery.quirk("A") == NO_QUIRK


def test_capability_discovery_question_is_repeated_after_lost_link() -> None:
    discovery = CapabilityDiscovery()
    discovery.on_link_lost(asked(discovery))
    assert discovery.next_question("A", Version.V16) is not None


def test_question_tokens_are_unique_and_below_zero() -> None:
    discovery = CapabilityDiscovery()
    assert len({asked(discovery, name) for name in "ABC"}) == 3
    assert asked(discovery, "D") < 0


def test_capability_discovery_boot_of_another_model_repeats_question() -> None:
    discovery = CapabilityDiscovery()
    discovery.on_result(asked(discovery), ONE_LEVEL)
    discovery.on_boot("A", TERRA)
    assert discovery.quirk("A").name == "ABB Terra AC"
    discovery.on_result(asked(discovery), ONE_LEVEL)
    discovery.on_boot("A", TERRA)
    assert discovery.next_question("A", Version.V16) is None


def test_unexpected_result_changes_nothing() -> None:
    discovery = CapabilityDiscovery()
    discovery.on_result(-7, ONE_LEVEL)
    assert discovery.quirk("A") == NO_QUIRK


@pytest.mark.parametrize("version", list(Version))
@pytest.mark.parametrize("evses", [1, 2])
def test_foreign_profiles_in_own_purpose_are_cleared_once(version: Version, evses: int) -> None:
    discovery = CapabilityDiscovery()
    first = discovery.next_question("A", version, evses)
    assert first is not None
    discovery.on_result(first.token, None)
    clearing = discovery.next_question("A", version, evses)
    assert clearing is not None
    assert clearing.question.action == "ClearChargingProfile"
    check(version, request(version, "ClearChargingProfile"), clearing.question.payload)
    ours = limit_purpose(version, LimitScope.STATION if evses == 1 else LimitScope.EVSE)
    assert f'"chargingProfilePurpose":"{ours}"' in clearing.question.payload.decode()
    discovery.on_result(clearing.token, b'{"status":"Undiscovery"}')
    assert discovery.next_question("A", version, evses) is None


def test_capability_discovery_cleared_purpose_follows_quirk() -> None:
    discovery = CapabilityDiscovery()
    discovery.on_boot("A", TERRA)
    discovery.on_result(asked(discovery), None)
    clearing = discovery.next_question("A", Version.V16, 1)
    assert clearing is not None
    assert b"TxDefaultProfile" in clearing.question.payload


def test_capability_discovery_clearing_is_repeated_after_lost_link() -> None:
    discovery = CapabilityDiscovery()
    discovery.on_result(asked(discovery), None)
    clearing = discovery.next_question("A", Version.V16, 1)
    assert clearing is not None
    discovery.on_link_lost(clearing.token)
    assert discovery.next_question("A", Version.V16, 1) is not None


def test_capability_discovery_station_with_own_limits_is_not_cleared() -> None:
    discovery = CapabilityDiscovery()
    discovery.mark_cleared("A")
    discovery.on_result(asked(discovery), None)
    assert discovery.next_question("A", Version.V16, 1) is None


def test_station_that_is_marked_uncleared_is_cleared_again() -> None:
    discovery = CapabilityDiscovery()
    discovery.mark_cleared("A")
    discovery.on_result(asked(discovery), None)
    assert discovery.next_question("A", Version.V16, 1) is None
    discovery.mark_uncleared("A")
    question = discovery.next_question("A", Version.V16, 1)
    assert question is not None
    assert question.question.action == "ClearChargingProfile"


def test_dc_station_takes_limits_in_watts() -> None:
    discovery = CapabilityDiscovery(["DC01"])
    assert discovery.quirk("DC01").in_watts
    assert not discovery.quirk("CS01").in_watts
