"""Visits of cars, seeded, one after the other at each EVSE."""

from __future__ import annotations

import random
from collections.abc import Iterator

import msgspec

from controller.demo.simulated_car import CarSpec

TAGS = ("04A7C3D2", "VID:0A1B2C3D4E5F", "DE-ABC-C00123-4", "Jörg", "04E1F20B667788")


class Visit(msgspec.Struct, frozen=True):
    """One visit: a car arrives after `gap_s` and stays `linger_s` once it is full.

    Its driver presents `tag`, `card_delay_s` after the plug.
    """

    gap_s: float
    car: CarSpec
    tag: str
    card_delay_s: float
    linger_s: float


def generate_visits(seed: str, phases: int, first_gap_s: float) -> Iterator[Visit]:
    """Yield the visits at one EVSE, without end. `phases` is the number that the first car uses."""
    dice = random.Random(seed)
    gap_s = first_gap_s
    while True:
        max_a = dice.choice((16.0, 16.0, 20.0, 32.0)) if phases == 3 else dice.choice((16.0, 32.0))
        yield Visit(
            gap_s,
            CarSpec(
                phases=phases,
                max_a=max_a,
                need_wh=dice.uniform(60, 900),
                ramp_s=dice.uniform(2, 6),
                reaction_s=dice.uniform(1, 5),
                resume_s=dice.uniform(2, 5),
            ),
            dice.choice(TAGS),
            dice.uniform(1, 3),
            dice.uniform(3, 10),
        )
        gap_s = dice.uniform(5, 20)
        phases = dice.choice((1, 2, 3, 3))
