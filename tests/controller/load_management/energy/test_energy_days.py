"""Two hours at a change of the calendar, with several features of energy over hours at once."""

from __future__ import annotations

import pytest

from tests.scenario.energy_days import make_day


@pytest.mark.parametrize(
    "seed",
    [
        7,  # peaks by the calendar that change within a quarter hour, before the clock is set back
        25,  # goals and a quota at midnight, with a gap in the meter's values
        28,  # a transformer's power, a quota and a DC station, as the clock is set forward
    ],
)
def test_random_day_of_energy_plan_keeps_all_promises(seed: int) -> None:
    day = make_day(seed).run()
    assert list(map(str, day.find_violations())) == []
