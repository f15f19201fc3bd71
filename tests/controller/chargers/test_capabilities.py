"""Asking a station what it can take, and believing it as far as it can be read."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.chargers.capabilities import Capabilities, narrowed, question, read_answer
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
def test_the_question_fits_the_schema(version: Version) -> None:
    asked = question(version)
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
def test_units_are_read_however_they_are_spelt(units: str, read: set[str]) -> None:
    said = read_answer(Version.V16, answer_16(ChargingScheduleAllowedChargingRateUnit=units))
    assert said.units == read
    assert read_answer(Version.V201, answer_2(RateUnit=units)).units == read


def test_numbers_are_read_as_text_and_as_numbers() -> None:
    answer = answer_16(
        ChargeProfileMaxStackLevel=8, ChargingScheduleMaxPeriods="24", MaxChargingProfilesInstalled="10.0"
    )
    said = read_answer(Version.V16, answer)
    assert said == Capabilities(max_stack_level=8, max_periods=24, max_profiles=10)
    said = read_answer(Version.V21, answer_2(ProfileStackLevel="1", PeriodsPerSchedule="5", Entries="9"))
    assert said == Capabilities(max_stack_level=1, max_periods=5, max_profiles=9)


def test_what_cannot_be_says_nothing() -> None:
    answer = answer_16(
        ChargeProfileMaxStackLevel="-1", ChargingScheduleMaxPeriods="0", MaxChargingProfilesInstalled=None
    )
    assert read_answer(Version.V16, answer) == Capabilities()
    assert read_answer(Version.V16, None) == Capabilities()


@given(st.sampled_from(Version), st.binary() | st.text().map(str.encode))
def test_no_answer_is_too_odd(version: Version, answer: bytes) -> None:
    assert read_answer(version, answer) == Capabilities()


def test_the_lower_bound_wins() -> None:
    terra = Quirk(name="says 3, takes 0", max_stack_level=0)
    assert narrowed(terra, Capabilities(max_stack_level=3)).max_stack_level == 0
    assert narrowed(NO_QUIRK, Capabilities(max_stack_level=0)).form is LeaseForm.STEPPED
    assert narrowed(NO_QUIRK, Capabilities(max_profiles=1, max_periods=1)).form is LeaseForm.LASTING
    assert narrowed(NO_QUIRK, Capabilities()) == NO_QUIRK


def test_watts_only_where_it_takes_nothing_else_and_no_row_knows_better() -> None:
    assert narrowed(NO_QUIRK, Capabilities(units=frozenset({"W"}))).in_watts
    assert not narrowed(NO_QUIRK, Capabilities(units=frozenset({"A", "W"}))).in_watts
    assert not narrowed(Quirk(name="go-e", unit="A"), Capabilities(units=frozenset({"W"}))).in_watts


@pytest.mark.parametrize(
    ("text", "said"), [("true", True), (" TRUE", True), ("false", False), ("maybe", None), ("", None)]
)
def test_whether_it_switches_phases_is_its_own_word_unless_its_row_knows_better(
    text: str, said: bool | None
) -> None:
    old = read_answer(Version.V16, answer_16(ConnectorSwitch3to1PhaseSupported=text))
    new = read_answer(Version.V201, answer_2(ACPhaseSwitchingSupported=text))
    assert old.phase_switching is new.phase_switching is said
    assert narrowed(NO_QUIRK, old).phase_switching is said
    assert narrowed(Quirk(name="knows", phase_switching=False), old).phase_switching is False


def test_a_yes_may_come_as_a_boolean() -> None:
    assert read_answer(Version.V16, answer_16(ConnectorSwitch3to1PhaseSupported=True)).phase_switching
