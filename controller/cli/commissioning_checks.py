"""Evaluation of a site's commissioning, from measurements before and after a step. Sans-IO. Currents in A."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations
from typing import Literal

import msgspec

from controller.load_management.site_tree import PhaseAmps
from drivers.reading import Quality

Verdict = Literal["passed", "failed", "skipped"]

TOLERANCE_A = 1.0
TOLERANCE = 0.1
"""A step of the current may differ by so much, or by this part of it: the other loads go on."""
MIN_STEP_A = 4.0
"""A smaller load is not distinguished from other loads that change."""
RATIOS = tuple(range(2, 2001))
FOLLOW_TOLERANCE_A = 1.0
NAMES = ("L1", "L2", "L3")


class CheckResult(msgspec.Struct, frozen=True, kw_only=True):
    """Result of one step: its subject, what was expected and measured, and what to do if it failed."""

    step: str
    subject: str
    verdict: Verdict
    text: str
    time: str = ""


def check_meter(circuit: str, quality: Quality | None, problem: str) -> CheckResult:
    """Check that the meter of a circuit is good and lacks nothing."""
    passed = quality is Quality.GOOD and not problem
    text = f"meter is {quality}" + (f": {problem}" if problem else "")
    return CheckResult(step="meter", subject=circuit, verdict="passed" if passed else "failed", text=text)


def check_load_step(
    circuit: str, phase: int, expected_a: float, before: PhaseAmps, after: PhaseAmps
) -> CheckResult:
    """Check the direction, phase and ratio of a meter by a load on one phase (1 to 3) of the site."""
    delta = [late - early for late, early in zip(after, before, strict=True)]
    expected = [expected_a if number == phase else 0.0 for number in (1, 2, 3)]
    shown = ", ".join(f"{name} {value:+.1f} A" for name, value in zip(NAMES, delta, strict=True))
    subject = f"{circuit} {NAMES[phase - 1]}"
    text = f"load of {expected_a:.1f} A on {NAMES[phase - 1]}: {shown}"
    if _close(delta, expected):
        return CheckResult(step="load", subject=subject, verdict="passed", text=text)
    return CheckResult(
        step="load", subject=subject, verdict="failed", text=f"{text}; {_explain(delta, phase, expected_a)}"
    )


def check_station_step(
    circuit: str,
    station: str,
    drawn_before: PhaseAmps,
    drawn_after: PhaseAmps,
    before: PhaseAmps,
    after: PhaseAmps,
) -> CheckResult:
    """Check that what a station reports appears on the same phases of the meter of its circuit."""
    reported = [late - early for late, early in zip(drawn_after, drawn_before, strict=True)]
    delta = [late - early for late, early in zip(after, before, strict=True)]
    subject = f"{station} at {circuit}"
    text = f"the station reports {_listed(reported)}, the meter shows {_listed(delta)}"
    if max(map(abs, reported)) < MIN_STEP_A:
        return CheckResult(
            step="station", subject=subject, verdict="failed",
            text=f"{text}; the station's current did not change by {MIN_STEP_A:.0f} A: charge a car",
        )  # fmt: skip
    if _close(delta, reported):
        return CheckResult(step="station", subject=subject, verdict="passed", text=text)
    for order in permutations(range(3)):
        if _close(delta, [reported[order.index(number)] for number in range(3)]):
            places = ", ".join(f'"{NAMES[number]}"' for number in order)
            remedy = f"set phases = [{places}] at its EVSE, relative to what is set now"
            return CheckResult(
                step="station", subject=subject, verdict="failed", text=f"{text}; phases differ: {remedy}"
            )
    return CheckResult(
        step="station", subject=subject, verdict="failed",
        text=f"{text}; repeat it while other loads are still, then check its circuit and its meter",
    )  # fmt: skip


def check_fuse_margin(circuit: str, limit_a: PhaseAmps, measured_a: PhaseAmps | None) -> CheckResult:
    """Check that a circuit carries less than its limit now."""
    if measured_a is None:
        return CheckResult(
            step="fuse margin", subject=circuit, verdict="skipped", text=f"limit {_listed(limit_a)}; no meter"
        )
    free = min(limit - amps for limit, amps in zip(limit_a, measured_a, strict=True))
    return CheckResult(
        step="fuse margin",
        subject=circuit,
        verdict="passed" if free > 0 else "failed",
        text=f"limit {_listed(limit_a)}, now {_listed(measured_a)}: {free:.1f} A free",
    )


def check_fallback(
    station: str, fallback_a: float, connected: bool, before: PhaseAmps, after: PhaseAmps, drawn: PhaseAmps
) -> CheckResult:
    """Check that a station whose link was cut keeps to its fallback: by the meter of its circuit.

    `before` and `after`: the meter's currents before the cut and after the lease has ended; `drawn`: what the
    station drew before the cut.
    """
    if connected:
        return CheckResult(
            step="fallback",
            subject=station,
            verdict="failed",
            text="the station is still connected: cut its link",
        )
    falls = [early - late for early, late in zip(before, after, strict=True)]
    must = [max(0.0, amps - fallback_a) for amps in drawn]
    text = f"it drew {_listed(drawn)}; the meter fell by {_listed(falls)}, its fallback is {fallback_a:g} A"
    if max(drawn) <= fallback_a:
        return CheckResult(
            step="fallback", subject=station, verdict="skipped",
            text=f"{text}; it drew no more than its fallback: charge a car with more",
        )  # fmt: skip
    kept = all(
        fall >= need - FOLLOW_TOLERANCE_A - TOLERANCE * need for fall, need in zip(falls, must, strict=True)
    )
    return CheckResult(
        step="fallback",
        subject=station,
        verdict="passed" if kept else "failed",
        text=text if kept else f"{text}; it does not obey its fallback profile: do not leave it in service",
    )


def check_dimming(dimmed: bool, why: str, after_s: float, lifted: bool) -> CheckResult:
    """Check that the dimming contact took effect, and was lifted."""
    if not dimmed:
        text = f"no dimming within {after_s:.0f} s; check the contact, its module and [[dimming.contact]]"
    elif not lifted:
        text = f"{why} after {after_s:.0f} s, and not lifted when the contact opened"
    else:
        text = f"{why} after {after_s:.0f} s, and lifted again"
    verdict: Verdict = "passed" if dimmed and lifted else "failed"
    return CheckResult(step="dimming", subject="contact", verdict=verdict, text=text)


def _explain(delta: Sequence[float], phase: int, expected_a: float) -> str:
    """Explain a step that appears otherwise than expected, with the key that corrects it."""
    at = max(range(3), key=lambda number: abs(delta[number]))
    seen = delta[at]
    others = [abs(value) for number, value in enumerate(delta) if number != at]
    if abs(seen) < TOLERANCE_A / 2 or max(others) > max(TOLERANCE_A, 0.5 * abs(seen)):
        return "no single phase shows it; repeat it while other loads are still"
    remedies = []
    if seen < 0:
        remedies.append("the direction is reversed: set invert = true at the meter, or turn the transformers")
    if at != phase - 1:
        remedies.append(
            f"{NAMES[phase - 1]} of the site is on phase {at + 1} of the meter: set phase_order so that its "
            f'entry {at + 1} is "{NAMES[phase - 1]}"'
        )
    ratio = expected_a / abs(seen)
    if abs(abs(seen) - expected_a) > max(TOLERANCE_A, TOLERANCE * expected_a):
        nearest = min(RATIOS, key=lambda each: abs(each - ratio))
        if ratio > 1.5 and abs(nearest - ratio) <= 0.1 * ratio:
            remedies.append(f"it shows 1/{ratio:.0f} of the current: set ct_ratio = {nearest} at the meter")
        else:
            remedies.append(f"it shows {abs(seen):.1f} A instead: check its transformers and their ratio")
    return "; ".join(remedies)


def _close(values: Sequence[float], expected: Sequence[float]) -> bool:
    largest = max(map(abs, expected))
    return all(
        abs(value - target) <= max(TOLERANCE_A, TOLERANCE * largest)
        for value, target in zip(values, expected, strict=True)
    )


def _listed(amps: Sequence[float]) -> str:
    return "/".join(f"{value:.1f}" for value in amps) + " A"
