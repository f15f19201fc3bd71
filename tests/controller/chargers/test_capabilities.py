"""Capabilities: the question, reading of any answer, and how they narrow a quirk."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.chargers.capability_discovery import (
    Capabilities,
    capability_question,
    narrow_quirk,
    read_capabilities,
)
from controller.chargers.quirks import NO_QUIRK, LeaseForm, Quirk
from controller.ocpp.frames import Version
from tests.controller.ocpp.schemas import check, request


def answer_16(**values: Any) -> bytes:
    keys = [{"key": key, "readonly": True, "value": value} for key, value in values.items()]
    return json.dumps({"configurationKey": keys, "unknownKey": []}).encode()


def answer_2(**values: str) -> bytes:
    results = [
        {
            "attributeStatus": "Accepted",
            "attributeValue": value,
            "component": {"name": "SmartChargingCtrlr"},
            "variable": {"name": name},
        }
        for name, value in values.items()
    ]
    return json.dumps({"getVariableResult": results}).encode()


@pytest.mark.parametrize("version", list(Version))
def test_capabilities_capability_question_fits_schema(version: Version) -> None:
    asked = capability_question(version)
    check(version, request(version, asked.action), asked.payload)


@pytest.mark.parametrize(
    ("units", "read"),
    [
        ("Current,Power", {"A", "W"}),
        ("Current, Power", {"A", "W"}),
        ("Power", {"W"}),
        ("W", {"W"}),
        ("A,W", {"A", "W"}),
        ("horses", set()),
        ("", set()),
    ],
)
def test_units_in_any_spelling_are_read(units: str, read: set[str]) -> None:
    capabilities = read_capabilities(Version.V16, answer_16(ChargingScheduleAllowedChargingRateUnit=units))
    assert capabilities.units == read
    assert read_capabilities(Version.V201, answer_2(RateUnit=units)).units == read


def test_bounds_as_text_or_number_are_read() -> None:
    answer = answer_16(
        ChargeProfileMaxStackLevel=8, ChargingScheduleMaxPeriods="24", MaxChargingProfilesInstalled="10.0"
    )
    capabilities = read_capabilities(Version.V16, answer)
    assert capabilities == Capabilities(max_stack_level=8, max_periods=24, max_profiles=10)
    capabilities = read_capabilities(
        Version.V21, answer_2(ProfileStackLevel="1", PeriodsPerSchedule="5", Entries="9")
    )
    assert capabilities == Capabilities(max_stack_level=1, max_periods=5, max_profiles=9)


def test_impossible_bound_counts_as_missing() -> None:
    answer = answer_16(
        ChargeProfileMaxStackLevel="-1", ChargingScheduleMaxPeriods="0", MaxChargingProfilesInstalled=None
    )
    assert read_capabilities(Version.V16, answer) == Capabilities()
    assert read_capabilities(Version.V16, None) == Capabilities()


@given(st.sampled_from(Version), st.binary() | st.text().map(str.encode))
def test_capabilities_any_bytes_are_read_without_exception(version: Version, answer: bytes) -> None:
    assert read_capabilities(version, answer) == Capabilities()


def test_capabilities_narrowed_quirk_has_lower_bound() -> None:
    terra = Quirk(name="says 3, takes 0", max_stack_level=0)
    assert narrow_quirk(terra, Capabilities(max_stack_level=3)).max_stack_level == 0
    assert narrow_quirk(NO_QUIRK, Capabilities(max_stack_level=0)).form is LeaseForm.STEPPED
    assert narrow_quirk(NO_QUIRK, Capabilities(max_profiles=1, max_periods=1)).form is LeaseForm.LASTING
    assert narrow_quirk(NO_QUIRK, Capabilities()) == NO_QUIRK


def test_station_of_watts_only_gets_watts_unless_quirk_names_unit() -> None:
    assert narrow_quirk(NO_QUIRK, Capabilities(units=frozenset({"W"}))).in_watts
    assert not narrow_quirk(NO_QUIRK, Capabilities(units=frozenset({"A", "W"}))).in_watts
    assert not narrow_quirk(Quirk(name="go-e", unit="A"), Capabilities(units=frozenset({"W"}))).in_watts


@pytest.mark.parametrize(
    ("text", "capabilities"), [("true", True), (" TRUE", True), ("false", False), ("maybe", None), ("", None)]
)
def test_capabilities_quirk_overrides_reported_phase_switching(text: str, capabilities: bool | None) -> None:
    old = read_capabilities(Version.V16, answer_16(ConnectorSwitch3to1PhaseSupported=text))
    new = read_capabilities(Version.V201, answer_2(ACPhaseSwitchingSupported=text))
    assert old.phase_switching is new.phase_switching is capabilities
    assert narrow_quirk(NO_QUIRK, old).phase_switching is capabilities
    assert narrow_quirk(Quirk(name="knows", phase_switching=False), old).phase_switching is False


def test_boolean_value_is_read() -> None:
    assert read_capabilities(Version.V16, answer_16(ConnectorSwitch3to1PhaseSupported=True)).phase_switching
