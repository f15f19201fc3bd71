"""A station that reports for moments that its car takes nothing, while it charges."""

from __future__ import annotations

import pytest

from controller.model.observations import EvseState
from tests.scenario.site_harness import CarModel, SiteHarness, StationModel, make_grid, make_station


class FlippingStation(StationModel):
    """Its state is wrong for some seconds out of each 20."""

    wrong = EvseState.SUSPENDED_EV

    def next_state(self) -> EvseState:
        right = super().next_state()
        return self.wrong if right is EvseState.CHARGING and self.energy_as % 390 < 20 else right


@pytest.mark.parametrize("wrong", [EvseState.SUSPENDED_EV, EvseState.SUSPENDED_EVSE])
@pytest.mark.parametrize("meter", ["grid", None])
def test_state_that_is_wrong_for_moments_costs_few_limits(meter: str | None, wrong: EvseState) -> None:
    """Two cars on 40 A: 19.5 A each, by at most 40 limits an hour, and a meter that stays trusted."""
    evse = make_station("A").evse
    flipping = FlippingStation(evse=evse, car=CarModel())
    flipping.wrong = wrong
    site = SiteHarness((make_grid(40, meter),), [flipping, make_station("B", car=CarModel())])
    site.connect()
    site.wait(300)
    written, before_as = len(flipping.leases), flipping.energy_as
    site.wait(3600)
    assert len(flipping.leases) - written <= 40
    assert (flipping.energy_as - before_as) / 3600 == pytest.approx(19.5, abs=0.5)
    assert site.seconds_over("grid", 40) == 0
