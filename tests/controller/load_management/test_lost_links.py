"""Lost links and restarts: whether the car that comes back is the one that charged before."""

from __future__ import annotations

import msgspec
import pytest

from controller.load_management.events import StationDown, StationObserved, StationUp
from controller.load_management.evse.evse_model import SAME_CAR_S
from controller.model.observations import EvseState, StateSeen, TransactionSeen
from tests.scenario.site_harness import CarModel, SiteHarness, StationModel, make_grid, make_row, make_station

ROTATIONS = [(0, 1, 2), (1, 2, 0), (2, 0, 1)]
LIMIT_A = 50.0


def cars_on_one_phase(circuit: str = "grid") -> SiteHarness:
    """Return a site with six one-phase cars, two on each phase, that have 22 A each beside 5 A."""
    stations = [
        make_station(f"S{place}", circuit, phases=ROTATIONS[place % 3], car=CarModel(32.0, (0,)))
        for place in range(6)
    ]
    for station in stations:
        station.evse = msgspec.structs.replace(station.evse, fallback_a=0.0)
    site = SiteHarness(
        (make_grid(LIMIT_A), make_row("row", 200.0)), stations, lambda now: (5.0 + now % 3 / 100,) * 3
    )
    site.connect()
    site.wait(900)
    assert [station.draw_a for station in stations] == pytest.approx([22.0] * 6, abs=0.3)
    return site


def disconnect(site: SiteHarness) -> None:
    for station in site.stations.values():
        station.up = False
        site.handle(StationDown(station.ref.station))


def connect_again(site: SiteHarness, each_s: int = 1) -> None:
    """Let the stations connect one by one, each with its state, as in the transactions from before."""
    for station in site.stations.values():
        name = station.ref.station
        station.up = True
        site.handle(StationUp(name))
        site.report(name, StateSeen(1, station.next_state()))
        site.wait(each_s)


def restore_states(site: SiteHarness) -> None:
    """Report the states and transactions that were stored before a restart, while no station is connected."""
    for station in site.stations.values():
        name = station.ref.station
        site.handle(StationObserved(name, StateSeen(1, EvseState.CHARGING)))
        site.handle(StationObserved(name, TransactionSeen(1, True)))


def least_lease_a(station: StationModel, since: float) -> float:
    return min(limit_a for at, limit_a in station.leases if at >= since)


@pytest.mark.parametrize("is_restart", [False, True])
@pytest.mark.parametrize("lost_s", [3, 40])
def test_short_loss_of_all_links_stops_no_car_on_one_phase(lost_s: int, is_restart: bool) -> None:
    site = cars_on_one_phase()
    lost_at = site.now
    if is_restart:
        site.restart()
        restore_states(site)
    else:
        disconnect(site)
    site.wait(lost_s)
    connect_again(site)
    site.wait(60)
    assert min(least_lease_a(each, lost_at) for each in site.stations.values()) >= 6.0
    assert site.seconds_over("grid", LIMIT_A) == 0


@pytest.mark.parametrize("is_restart", [False, True])
def test_station_that_is_away_for_long_may_have_another_car(is_restart: bool) -> None:
    # A car on L1 has 32 A, and one on L2 as much of 60 A. Another car at A may draw 32 A on L2, too.
    first = make_station("A", car=CarModel(32.0, (0,)))
    second = make_station("B", phases=(1,), car=CarModel(32.0, (0,)))
    site = SiteHarness((make_grid(60.0),), [first, second], lambda now: (5.0 + now % 3 / 100,) * 3)
    site.connect()
    site.wait(600)
    if is_restart:
        site.restart()
        restore_states(site)
        site.connect("B")
    else:
        site.disconnect("A")
    site.wait(int(SAME_CAR_S) - 10)
    assert second.draw_a == pytest.approx(32.0, abs=0.1)
    site.wait(20)
    assert second.draw_a == pytest.approx(22.0, abs=0.5)


def test_other_car_after_short_loss_of_its_link_is_cut_as_meter_shows_it() -> None:
    site = cars_on_one_phase()
    disconnect(site)
    site.wait(10)
    site.station("S0").car = CarModel(32.0)
    connect_again(site)
    site.wait(120)
    assert site.longest_over("grid", LIMIT_A) <= 20
    assert max(site.flowed[-1]) <= LIMIT_A


def test_link_lost_below_circuit_without_meter_drops_phases_at_once() -> None:
    site = cars_on_one_phase("row")
    lost_at = site.now
    disconnect(site)
    site.wait(3)
    connect_again(site)
    assert min(least_lease_a(each, lost_at) for each in site.stations.values()) < 22.0


@pytest.mark.parametrize("away_s", [0, 5, 20, 50])
def test_restart_beside_waiting_car_stops_none(away_s: int) -> None:
    """The limits of a waiting car are below its fallback: it is not taken to draw that after a restart."""
    stations = [make_station(name, car=CarModel()) for name in ("A", "B")]
    site = SiteHarness((make_grid(13.0),), stations, lambda now: (2.0,) * 3)
    site.connect()
    site.wait(400)
    (charging,) = [station for station in stations if station.draw_a == 10.0]
    assert sum(station.draw_a for station in stations) == 10.0
    restarted_at = site.now
    site.restart()
    site.wait(away_s)
    site.connect(charging.ref.station)
    site.connect()
    site.wait(120)
    assert least_lease_a(charging, restarted_at) >= 6.0
    assert sum(station.draw_a for station in stations) == charging.draw_a
    assert site.seconds_over("grid", 13.0) == 0
