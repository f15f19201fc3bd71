"""The table of quirks: who is meant, what it may say, and what follows from it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.chargers.quirks import (
    NO_QUIRK,
    LeaseForm,
    Quirk,
    QuirksError,
    all_quirks,
    find_quirk,
    parse_quirks,
)
from controller.profiles.limit_profiles import ProfileScope, scope_of

BOOTS = [
    ("ABB", "CDT_TACW22::NET_WIFI", "TAC3Z9119006710273::V1.8.21", "ABB Terra AC"),
    ("Wall Box Chargers", "PLP1-0-2-4", "6.7.38", "Wallbox"),
    ("Wall Box Chargers", "CPB1-S-2-4", "5.17.87", "Wallbox, firmware 5"),
    ("Easee ASA", "Easee One", "343", "Easee"),
    ("go-e", "Gemini", "056.8", "go-e"),
    ("Fronius", "Wattpilot Home 11 J", "40.7", "Fronius Wattpilot"),
    ("Huawei", "SCharger-22KT-S0", "V100R024", "Huawei SCharger"),
    ("", "ACChargePoint", "", "Huawei SCharger that does not name its vendor"),
    ("EV-BOX", "Elvi", "P0424B0424v0.220706", "EVBox Elvi"),
    ("NEcharge", "", "", "NEcharge"),
    (" EASEE asa ", "", "", "Easee"),
    ("EN+", "37", "1.1.805", "EN+"),
    ("FoxESS", "A022KP1-E-A", "1.10", "FoxESS"),
    ("Somebody", "BS-EV22", "448.3251.0Q03197", "Ocular LTE Plus"),
    ("United Chargers", "GRS-*", "05.633:A3A5:2A3C", "Grizzl-E"),
    ("ABB", "Terra 54", "", "follows OCPP"),
    ("Fronius", "Gen24", "", "follows OCPP"),
    ("", "", "", "follows OCPP"),
    ("Somebody", "ACChargePoint", "", "follows OCPP"),
]


@pytest.mark.parametrize(("vendor", "model", "firmware", "name"), BOOTS)
def test_a_station_is_known_by_what_it_says_when_it_boots(
    vendor: str, model: str, firmware: str, name: str
) -> None:
    assert find_quirk(vendor, model, firmware).name == name


def test_every_row_is_met_by_one_of_these_boots() -> None:
    assert {row.name for row in all_quirks()} == {name for *_, name in BOOTS} - {NO_QUIRK.name}


def row(**keys: object) -> Quirk:
    return Quirk(name="one", **keys)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("quirk", "form"),
    [
        (NO_QUIRK, LeaseForm.STACKED),
        (row(max_stack_level=1, max_profiles=2), LeaseForm.STACKED),
        (row(max_stack_level=0), LeaseForm.STEPPED),
        (row(max_profiles=1), LeaseForm.STEPPED),
        (row(max_profiles=1, max_periods=1), LeaseForm.LASTING),
        (row(kind="Relative"), LeaseForm.STACKED),
        (row(kind="Relative", max_stack_level=0), LeaseForm.LASTING),
    ],
)
def test_the_form_of_a_lease_is_the_safest_that_the_station_can_take(quirk: Quirk, form: LeaseForm) -> None:
    assert quirk.form is form


@given(st.floats(0, 100), st.sampled_from([(), (6.0, 8.0, 10.0, 13.0, 16.0)]), st.sampled_from([0, 1]))
def test_rounding_never_rises_and_stays_what_it_is(
    limit_a: float, steps_a: tuple[float, ...], decimals: int
) -> None:
    quirk = row(steps_a=steps_a, decimals=decimals)
    rounded_a = quirk.rounded_a(limit_a)
    assert 0 <= rounded_a <= limit_a + 1e-6
    assert quirk.rounded_a(rounded_a) == rounded_a


def test_steps_and_decimals() -> None:
    assert row(steps_a=(6, 8, 10)).rounded_a(9.9) == 8
    assert row(steps_a=(6, 8, 10)).rounded_a(5.9) == 0
    assert row(decimals=0).rounded_a(9.9) == 9
    assert NO_QUIRK.rounded_a(0.3) == 0.3


def test_a_memory_that_wears_out_gets_longer_leases_and_rarer_rises() -> None:
    (easee,) = [row for row in all_quirks() if row.name == "Easee"]
    lease_s = easee.lease_s(120)
    assert easee.writes_per_day
    renewals = 86_400 / (lease_s / 2)
    rises = 86_400 / easee.rise_s(10)
    assert renewals <= easee.writes_per_day / 2
    assert rises <= 2 * easee.writes_per_day
    assert (NO_QUIRK.lease_s(120), NO_QUIRK.rise_s(10)) == (120, 10)


def test_a_purpose_decides_what_our_limits_hold_for() -> None:
    assert scope_of(NO_QUIRK, 1) is ProfileScope.STATION
    assert scope_of(NO_QUIRK, 2) is ProfileScope.EVSE
    assert scope_of(row(purpose="tx-default"), 1) is ProfileScope.EVSE
    assert scope_of(row(purpose="station"), 2) is ProfileScope.EVSE


GOOD = """[[quirk]]
name = "x"
vendor = "X*"
why = "because"
sources = ["a thread"]
"""


def test_a_good_row_is_read() -> None:
    (found,) = parse_quirks(GOOD, "f.toml")
    assert found == Quirk(name="x", vendor="X*", why="because", sources=("a thread",))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[[quirk", "f.toml: "),
        ("[[quirks]]\nname='x'", "f.toml: quirks: rows are written [[quirk]]"),
        ("quirk = 3", "f.toml: quirk: rows are written [[quirk]]"),
        (GOOD + "unit = 'kW'", "f.toml: row 1 (x): Invalid enum value 'kW' - at `$.unit`"),
        (GOOD + "colour = 'red'", "f.toml: row 1 (x): Object contains unknown field `colour`"),
        ("[[quirk]]\nvendor='X'", "f.toml: row 1 (without a name): Object missing required field `name`"),
        (GOOD.replace("X*", "*"), "row 1 (x): matches every station; name its vendor or its model"),
        (GOOD.replace("because", ""), "row 1 (x): nobody can judge it later; say why, and name its sources"),
        (GOOD + "steps_a = [8, 6]", "row 1 (x): steps_a = [8.0, 6.0]: write them rising, each once, above 0"),
        (GOOD + "steps_a = [0, 6]", "write them rising, each once, above 0"),
        (GOOD + "steps_a = [6]\nunit = 'W'", "steps_a are amperes, and it takes W; remove one of them"),
        (GOOD + "max_stack_level = -1", "max_stack_level = -1: write 0 or more"),
        (GOOD + "max_periods = 0", "max_periods = 0: a station with none cannot be limited; write 1 or more"),
        (GOOD + "writes_per_day = 3", "writes_per_day = 3: a lease needs 4 at least"),
        (GOOD + GOOD, "f.toml: vendor x*, model *, firmware *: 2 rows; keep one"),
    ],
)
def test_a_mistake_names_the_file_the_row_and_the_mend(text: str, words: str) -> None:
    with pytest.raises(QuirksError) as wrong:
        parse_quirks(text, "f.toml")
    assert words in str(wrong.value)


def test_all_mistakes_are_told_at_once() -> None:
    with pytest.raises(QuirksError) as wrong:
        parse_quirks(GOOD + "max_periods = 0\n[[quirk]]\nname='y'\nunit=3", "f.toml")
    assert len(str(wrong.value).splitlines()) == 2
