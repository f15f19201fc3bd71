"""Evaluation of the steps of a commissioning."""

from __future__ import annotations

import pytest

from controller.cli.commissioning_checks import (
    Verdict,
    check_dimming,
    check_fallback,
    check_fuse_margin,
    check_load_step,
    check_meter,
    check_station_step,
)
from controller.load_management.site_tree import PhaseAmps
from drivers.reading import Quality

BEFORE: PhaseAmps = (12.0, 8.0, 5.0)


def after(*delta: float) -> PhaseAmps:
    first, second, third = (amps + step for amps, step in zip(BEFORE, delta, strict=True))
    return (first, second, third)


@pytest.mark.parametrize(
    ("delta", "verdict", "text"),
    [
        ((10.0, 0.3, -0.5), "passed", "L1 +10.0 A"),
        ((-10.0, 0.0, 0.0), "failed", "set invert = true"),
        ((0.0, 10.0, 0.0), "failed", 'phase_order so that its entry 2 is "L1"'),
        ((0.25, 0.0, 0.0), "failed", "no single phase shows it"),
        ((2.0, 0.0, 0.0), "failed", "set ct_ratio = 5"),
        ((0.0, 0.0, -5.0), "failed", 'entry 3 is "L1"; it shows 1/2'),
        ((7.5, 0.0, 0.0), "failed", "check its transformers"),
        ((5.0, 5.0, 5.0), "failed", "no single phase shows it"),
    ],
)
def test_load_step_names_direction_phase_and_ratio(
    delta: tuple[float, ...], verdict: Verdict, text: str
) -> None:
    result = check_load_step("grid", 1, 10.0, BEFORE, after(*delta))
    assert result.verdict == verdict
    assert text in result.text


@pytest.mark.parametrize(
    ("reported", "delta", "verdict", "text"),
    [
        ((16.0, 0.0, 0.0), (15.5, 0.2, 0.0), "passed", "16.0/0.0/0.0 A"),
        ((16.0, 0.0, 0.0), (0.0, 16.0, 0.0), "failed", "phases differ"),
        ((1.0, 0.0, 0.0), (1.0, 0.0, 0.0), "failed", "charge a car"),
        ((16.0, 0.0, 0.0), (8.0, 0.0, 0.0), "failed", "repeat it"),
    ],
)
def test_commissioning_checks_station_step_compares_with_meter(
    reported: PhaseAmps, delta: tuple[float, ...], verdict: Verdict, text: str
) -> None:
    result = check_station_step("grid", "CS01/1", (0.0, 0.0, 0.0), reported, BEFORE, after(*delta))
    assert result.verdict == verdict
    assert text in result.text


@pytest.mark.parametrize(
    ("connected", "drawn", "fall", "verdict", "text"),
    [
        (False, (16.0, 16.0, 16.0), 10.0, "passed", "fallback is 6 A"),
        (False, (16.0, 16.0, 16.0), 2.0, "failed", "does not obey its fallback"),
        (True, (16.0, 16.0, 16.0), 10.0, "failed", "still connected"),
        (False, (6.0, 6.0, 6.0), 0.0, "skipped", "no more than its fallback"),
    ],
)
def test_commissioning_checks_fallback_is_judged_by_meter(
    connected: bool, drawn: PhaseAmps, fall: float, verdict: Verdict, text: str
) -> None:
    result = check_fallback("CS01/1", 6.0, connected, BEFORE, after(-fall, -fall, -fall), drawn)
    assert result.verdict == verdict
    assert text in result.text


def test_meter_and_fuse_margin_are_checked() -> None:
    assert check_meter("grid", Quality.GOOD, "").verdict == "passed"
    limited = check_meter("grid", Quality.GOOD, "the direction of L1 is unknown")
    assert (limited.verdict, "direction of L1" in limited.text) == ("failed", True)
    assert check_fuse_margin("grid", (63.0, 63.0, 63.0), (60.0, 20.0, 10.0)).verdict == "passed"
    assert check_fuse_margin("grid", (63.0, 63.0, 63.0), (64.0, 20.0, 10.0)).verdict == "failed"
    assert check_fuse_margin("grid", (63.0, 63.0, 63.0), None).verdict == "skipped"


@pytest.mark.parametrize(
    ("dimmed", "lifted", "verdict"),
    [(True, True, "passed"), (True, False, "failed"), (False, False, "failed")],
)
def test_dimming_contact_must_take_effect_and_be_lifted(dimmed: bool, lifted: bool, verdict: Verdict) -> None:
    assert check_dimming(dimmed, "dimmed by box to 4.2 kW", 3.0, lifted).verdict == verdict
