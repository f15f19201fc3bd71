"""The table of quirks: matching, derived values, and errors of its rows."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.chargers.quirks import (
    NO_QUIRK,
    LeaseForm,
    LimitScope,
    Quirk,
    QuirksError,
    all_quirks,
    find_quirk,
    limit_scope,
    parse_quirks,
)

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
def test_quirks_boot_finds_most_specific_quirk(vendor: str, model: str, firmware: str, name: str) -> None:
    assert find_quirk(vendor, model, firmware).name == name


def test_every_quirk_is_found_by_some_boot() -> None:
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
def test_quirks_lease_form_is_safest_that_station_supports(quirk: Quirk, form: LeaseForm) -> None:
    assert quirk.form is form


@given(st.floats(0, 100), st.sampled_from([(), (6.0, 8.0, 10.0, 13.0, 16.0)]), st.sampled_from([0, 1]))
def test_rounded_limit_is_lower_and_stays_when_rounded_again(
    limit_a: float, steps_a: tuple[float, ...], decimals: int
) -> None:
    quirk = row(steps_a=steps_a, decimals=decimals)
    rounded_a = quirk.rounded_a(limit_a)
    assert 0 <= rounded_a <= limit_a + 1e-6
    assert quirk.rounded_a(rounded_a) == rounded_a


def test_limit_is_rounded_to_steps_and_decimals() -> None:
    assert row(steps_a=(6, 8, 10)).rounded_a(9.9) == 8
    assert row(steps_a=(6, 8, 10)).rounded_a(5.9) == 0
    assert row(decimals=0).rounded_a(9.9) == 9
    assert NO_QUIRK.rounded_a(0.3) == 0.3


def test_bounded_writes_give_longer_leases_and_rarer_rises() -> None:
    (easee,) = [row for row in all_quirks() if row.name == "Easee"]
    lease_s = easee.lease_s(120)
    assert easee.writes_per_day
    renewals = 86_400 / (lease_s / 2)
    rises = 86_400 / easee.rise_s(10)
    assert renewals <= easee.writes_per_day / 2
    assert rises <= 2 * easee.writes_per_day
    assert (NO_QUIRK.lease_s(120), NO_QUIRK.rise_s(10)) == (120, 10)


def test_limit_scope_follows_purpose_and_evse_count() -> None:
    assert limit_scope(NO_QUIRK, 1) is LimitScope.STATION
    assert limit_scope(NO_QUIRK, 2) is LimitScope.EVSE
    assert limit_scope(row(purpose="tx-default"), 1) is LimitScope.EVSE
    assert limit_scope(row(purpose="station"), 2) is LimitScope.EVSE


GOOD = """[[quirk]]
name = "x"
vendor = "X*"
why = "because"
sources = ["a thread"]
"""


def test_valid_row_is_read() -> None:
    (found,) = parse_quirks(GOOD, "f.toml")
    assert found == Quirk(name="x", vendor="X*", why="because", sources=("a thread",))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[[quirk", "f.toml:1: TOML: "),
        ("[[quirks]]\nname='x'", "f.toml:1: quirks: is not a known key; did you mean quirk?"),
        ("quirk = 3", "f.toml:1: quirk: cannot be 3; write [[quirk]] with two brackets"),
        (GOOD + "unit = 'kW'", 'f.toml:6: quirk "x" unit: cannot be "kW"; did you mean "W"?'),
        (GOOD + "colour = 'red'", 'f.toml:6: quirk "x" colour: is not a known key; remove it'),
        (GOOD + "version = '1.5'", 'f.toml:6: quirk "x" version: is not a known key; did you mean firmware?'),
        (GOOD + "protocol = '1.6'", 'f.toml:6: quirk "x" protocol: cannot be "1.6"; did you mean "ocpp1.6"?'),
        (GOOD + "decimals = 2", 'f.toml:6: quirk "x" decimals: cannot be 2; write one of 0, 1'),
        (
            GOOD + "purpose = 'ChargePointMaxProfile'",
            'f.toml:6: quirk "x" purpose: cannot be "ChargePointMaxProfile"; did you mean "station"?',
        ),
        ("[[quirk]]\nvendor='X'", "f.toml:1: quirk[0].name: is missing; add name = ... (a text)"),
        (GOOD.replace("X*", "*"), 'f.toml:1: quirk "x": matches every station; add vendor or model'),
        (
            GOOD.replace("X*", "X.*"),
            'f.toml:3: quirk "x" vendor: "X.*" matches no station: only * and ? stand for other '
            'characters; did you mean "X*"?',
        ),
        (
            GOOD + "firmware = '>= 1.5'",
            'f.toml:6: quirk "x" firmware: ">= 1.5" matches no station: only * and ? stand for other '
            'characters; did you mean "1.5"?',
        ),
        (GOOD.replace("because", ""), 'f.toml:1: quirk "x": why or sources is missing; add both'),
        (
            GOOD + "steps_a = [8, 6]",
            'f.toml:6: quirk "x" steps_a: does not ascend from above 0; write the limits (A) in '
            "ascending order",
        ),
        (GOOD + "steps_a = [0, 6]", 'quirk "x" steps_a: does not ascend from above 0'),
        (GOOD + "steps_a = [6]\nunit = 'W'", 'quirk "x" steps_a: is in A, and unit is W; remove one of them'),
        (GOOD + "max_stack_level = -1", 'quirk "x" max_stack_level: cannot be -1; write 0 or more'),
        (GOOD + "max_periods = 0", 'quirk "x" max_periods: cannot be 0; write 1 or more'),
        (GOOD + "writes_per_day = 3", 'quirk "x" writes_per_day: cannot be 3; write 4 or more'),
        (GOOD + GOOD, 'f.toml:7: quirk "x" name: "x" is already defined'),
        (
            GOOD + GOOD.replace('name = "x"', 'name = "y"'),
            'f.toml:6: quirk "y": vendor, model and firmware are those of another row; keep one of the two',
        ),
    ],
)
def test_invalid_row_names_file_row_and_correction(text: str, words: str) -> None:
    with pytest.raises(QuirksError) as wrong:
        parse_quirks(text, "f.toml")
    assert words in str(wrong.value)


def test_all_errors_are_reported_at_once() -> None:
    with pytest.raises(QuirksError) as wrong:
        parse_quirks(GOOD + "max_periods = 0\n[[quirk]]\nname='y'\nunit=3", "f.toml")
    assert len(wrong.value.errors) == 3
