"""Cars that wait for their driver in a transaction that began with the cable (2.x TxStartPoint)."""

from __future__ import annotations

import pytest

from controller.load_management.evse.evse_model import AUTHORIZE_S
from controller.model.observations import EvseState, StateSeen, TransactionSeen
from tests.scenario.site_harness import CarModel, SiteHarness, StationModel, make_grid, make_station

CARS, CABLES = ("A", "B"), tuple(f"C{number}" for number in range(8))


class SilentStation(StationModel):
    """It reports no current, and the state EVConnected while no energy flows."""

    def next_state(self) -> EvseState:
        return EvseState.CHARGING if self.draw_a > 0 else EvseState.PREPARING


def make_site(meter: str | None) -> SiteHarness:
    stations = []
    for name in (*CARS, *CABLES):
        model = make_station(name, car=CarModel() if name in CARS else None, report_s=0)
        stations.append(SilentStation(evse=model.evse, car=model.car, report_s=0))
    site = SiteHarness((make_grid(79, meter),), stations)
    site.connect(*CARS)
    for name in CABLES:
        site.station(name).up = True
        site.station(name).state = EvseState.PREPARING
        site.connect(name)
        site.report(name, TransactionSeen(1, True, name, waits=True))
        site.report(name, StateSeen(1, EvseState.PREPARING))
    return site


@pytest.mark.parametrize("meter", ["grid", None])
def test_waiting_cables_leave_current_to_cars(meter: str | None) -> None:
    """8 of them beside two cars on 79 A: 32 A each once the cables have had their three minutes."""
    site = make_site(meter)
    site.wait(int(AUTHORIZE_S) + 120)
    for _ in range(600):
        site.step()
        assert [site.station(name).draw_a for name in CARS] == [32.0, 32.0]
    assert site.seconds_over("grid", 79) == 0


@pytest.mark.parametrize("meter", ["grid", None])
def test_waiting_cable_that_is_authorized_gets_its_share(meter: str | None) -> None:
    """78 A for three cars: 26 A each."""
    site = make_site(meter)
    site.wait(900)
    site.station("C0").car = CarModel()
    site.report("C0", TransactionSeen(1, True, "C0"))
    site.wait(120)
    for name in (*CARS, "C0"):
        assert site.station(name).draw_a == pytest.approx(26.0, abs=1.0)
    assert site.seconds_over("grid", 79) == 0
