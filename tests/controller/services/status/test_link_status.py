"""Age of what waits for a backend, by a clock that is set wrong at first or later."""

from __future__ import annotations

import pytest

from controller.services.status.link_status import QueueAges

UTC = 1_796_000_000.0
YEAR_S = 31_536_000.0


def test_queue_age_is_that_of_the_oldest_message() -> None:
    ages = QueueAges()
    assert ages.measure("cpo", None, UTC, 10.0) == 0.0
    assert ages.measure("cpo", UTC - 300, UTC, 10.0) == 300.0
    assert ages.measure("cpo", UTC - 300, UTC + 60, 70.0) == 360.0
    assert ages.measure("cpo", UTC + 20, UTC + 90, 100.0) == 70.0
    assert ages.measure("other", UTC + 90, UTC + 90, 100.0) == 0.0
    assert ages.measure("cpo", None, UTC + 90, 100.0) == 0.0
    assert ages.measure("cpo", UTC + 20, UTC + 90, 100.0) == 70.0


@pytest.mark.parametrize("set_to", [UTC, UTC + YEAR_S, UTC - YEAR_S])
def test_queue_age_stays_over_a_step_of_the_clock(set_to: float) -> None:
    ages = QueueAges()
    assert ages.measure("cpo", UTC - 300, UTC, 10.0) == 300.0
    assert ages.measure("cpo", UTC - 300, set_to, 20.0) == 310.0


def test_queue_age_of_message_dated_by_a_wrong_clock_begins_when_seen() -> None:
    ages = QueueAges()
    assert ages.measure("unset", 60.0, UTC, 10.0) == 0.0
    assert ages.measure("unset", 60.0, UTC, 40.0) == 30.0
    assert ages.measure("ahead", UTC + YEAR_S, UTC, 10.0) == 0.0
    assert ages.measure("ahead", UTC + YEAR_S, UTC, 40.0) == 30.0
