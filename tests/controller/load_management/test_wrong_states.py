"""Stations whose state contradicts what their car does, each with the currents that were computed by hand."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from controller.model.observations import (
    DrawSeen,
    EvseRef,
    EvseState,
    Observation,
    StateSeen,
    TransactionSeen,
)
from tests.controller.load_management.test_scenes import TOLERANCE_A, Counted, car, steady
from tests.scenario.site_harness import CarModel, SiteHarness, StationModel, make_grid, make_row

ENDED = (EvseState.AVAILABLE, EvseState.FINISHING)


@dataclass
class WrongStation(StationModel):
    """Station that reports `wrong` whenever current flows."""

    wrong: EvseState = EvseState.AVAILABLE

    def next_state(self) -> EvseState:
        return self.wrong if self.draw_a > 0 else super().next_state()


class Stations16(SiteHarness):
    """Stations whose state ends their transaction, as the tracker of a 1.6 station finds it."""

    without_transactions = False
    _running: frozenset[str] = frozenset()

    def report(self, name: str, observation: Observation) -> None:
        if isinstance(observation, TransactionSeen):
            if self.without_transactions:
                return
            self._running = self._running | {name} if observation.running else self._running - {name}
        is_end = isinstance(observation, StateSeen) and observation.state in ENDED
        if is_end and name in self._running:
            self._running -= {name}
            super().report(name, TransactionSeen(1, False, inferred=True))
        super().report(name, observation)


def wrong_station(name: str, wrong: EvseState, report_s: int, circuit: str = "grid") -> WrongStation:
    made = car(name, circuit=circuit)
    return WrongStation(evse=made.evse, car=made.car, report_s=report_s, wrong=wrong)


def check_charges_steadily(site: SiteHarness, share_a: float) -> None:
    """Check that all cars draw their share for half an hour, after the first 15 min."""
    site.wait(900)
    counted = {ref.station: Counted(site, ref.station) for ref in site.stations}
    written = {name: len(site.station(name).leases) for name in counted}
    before_as = {name: site.station(name).energy_as for name in counted}
    site.wait(1800)
    for name in counted:
        assert (site.station(name).energy_as - before_as[name]) / 1800 == pytest.approx(share_a, abs=0.5)
        assert len(site.station(name).leases) - written[name] <= 20  # 40 an hour


@pytest.mark.parametrize("report_s", [10, 60, 300, 0])
@pytest.mark.parametrize("wrong", [EvseState.AVAILABLE, EvseState.FINISHING, EvseState.PREPARING])
def test_car_charges_beside_state_of_an_ended_session(wrong: EvseState, report_s: int) -> None:
    # 30 A less the margin and the building are 28.5 A for two cars.
    stations: list[StationModel] = [wrong_station(name, wrong, report_s) for name in "ab"]
    site = Stations16((make_grid(30.0),), stations, steady(0.5, 0.5, 0.5))
    site.connect()
    check_charges_steadily(site, 14.2)


@pytest.mark.parametrize("wrong", [EvseState.AVAILABLE, EvseState.FAULTED, EvseState.UNAVAILABLE])
@pytest.mark.parametrize("report_s", [60, 300])
def test_car_without_transaction_charges_beside_wrong_state(wrong: EvseState, report_s: int) -> None:
    # An unmetered row of 50 A for two cars.
    stations: list[StationModel] = [wrong_station(name, wrong, report_s, "row") for name in "ab"]
    site = Stations16((make_grid(400.0), make_row("row", 50.0)), stations)
    site.without_transactions = True
    site.connect()
    check_charges_steadily(site, 24.5)


@pytest.mark.parametrize("report_s", [60, 120, 300, 600, 900])
def test_car_charges_beside_suspended_state_whatever_the_interval(report_s: int) -> None:
    # The state counts until reports show that it is wrong.
    stations: list[StationModel] = [wrong_station(name, EvseState.SUSPENDED_EV, report_s) for name in "abc"]
    site = Stations16((make_grid(63.0),), stations, steady(6.0, 6.0, 6.0))
    site.connect()
    site.wait(max(600, 3 * report_s))  # the first two reports show their interval
    check_charges_steadily(site, 18.6)


def test_car_that_stops_by_its_state_alone_is_to_report() -> None:
    # It is asked for a report in the first minute, as its state may be wrong.
    site = SiteHarness((make_grid(63.0),), [wrong_station("a", EvseState.SUSPENDED_EV, 900), car("b")])
    site.connect()
    site.wait(70)  # with 6 A from 60 s on, when its first rest is over
    assert site.control.silent_evses(site.now) == [EvseRef("a", 1)]
    site.report("a", DrawSeen(1, site.station("a").drawn()))
    assert site.control.silent_evses(site.now) == []


@pytest.mark.parametrize("answer_s", [1.0, 3.0])
@pytest.mark.parametrize("gap_s", [4, 8, 15])
@pytest.mark.parametrize(("limit_a", "cars"), [(40.0, 2), (50.0, 3), (63.0, 4)])
def test_car_that_is_back_after_seconds_gets_only_free_room(
    limit_a: float, cars: int, gap_s: int, answer_s: float
) -> None:
    # Others have its room by then: what it was offered before is not booked for it any more.
    stations = [car(f"c{number}", circuit="row") for number in range(cars)]
    for each in stations:
        each.report_s, each.answer_s = 60, answer_s
    site = SiteHarness((make_grid(400.0), make_row("row", limit_a)), stations)
    site.connect()
    site.wait(900)
    before = site.seconds_over("row", limit_a)  # slow answers at the start
    for _ in range(3):
        site.report("c0", StateSeen(1, EvseState.AVAILABLE))
        site.wait(gap_s)
        site.report("c0", StateSeen(1, EvseState.CHARGING))
        site.wait(200)
    assert site.seconds_over("row", limit_a) == before


@dataclass
class ZeroStation(StationModel):
    """Station that reports 0 A whatever flows."""

    def read_meter(self, _now: float) -> list[Observation]:
        return [DrawSeen(1, (0.0, 0.0, 0.0))]


@pytest.mark.parametrize(
    ("limit_a", "report_s", "others", "share_a"),
    [(40.0, 10, 1, 19.2), (40.0, 60, 2, 11.3), (63.0, 300, 3, 14.2)],
)
def test_car_charges_beside_reports_of_no_current(
    limit_a: float, report_s: int, others: int, share_a: float
) -> None:
    # The meter shows that it follows its offer: its reports count as missing. The building takes the rest.
    base_a = limit_a - 1.0 - share_a * (others + 1)
    stations = [car(f"c{number}") for number in range(others + 1)]
    stations[0] = ZeroStation(evse=stations[0].evse, car=stations[0].car)
    for each in stations:
        each.report_s = report_s
    site = SiteHarness((make_grid(limit_a),), stations, steady(base_a, base_a, base_a))
    site.connect()
    site.wait(300)
    check_charges_steadily(site, share_a)
    assert site.longest_over("grid", limit_a) <= 10


@pytest.mark.parametrize("used", [(0,), (0, 1, 2)])
@pytest.mark.parametrize(
    ("wrong", "others", "report_s", "share_a"), [(2, 0, 10, 19.5), (2, 1, 60, 13.0), (4, 0, 10, 9.4)]
)
def test_cars_charge_beside_reports_of_no_current_of_several_stations(
    used: tuple[int, ...], wrong: int, others: int, report_s: int, share_a: float
) -> None:
    # They would start and stop together, so that each hides what the meter shows of the others.
    stations = [car(f"c{number}", report_s=report_s) for number in range(wrong + others)]
    for place in range(wrong):
        stations[place] = ZeroStation(evse=stations[place].evse, car=CarModel(32.0, used), report_s=report_s)
    site = SiteHarness((make_grid(40.0),), stations)
    site.connect()
    site.wait(300 * wrong)  # they are tested one by one
    check_charges_steadily(site, share_a)
    assert site.seconds_over("grid", 40.0) == 0


class IdleCar(CarModel):
    """Car that takes nothing."""

    def draw_a(self, _limit_a: float) -> float:
        return 0.0


class ChargingByState(StationModel):
    """Station whose state is Charging as long as a car is there."""

    def next_state(self) -> EvseState:
        return EvseState.AVAILABLE if self.car is None else EvseState.CHARGING


@pytest.mark.parametrize("report_s", [10, 60])
def test_car_that_takes_nothing_while_charging_leaves_room(report_s: int) -> None:
    # Loads of the building that come and go do not count as its draw: the others have 27 A each beside 8 A.
    stations = [ChargingByState(evse=car("a").evse, car=IdleCar()), car("b"), car("c")]
    for each in stations:
        each.report_s = report_s
    site = SiteHarness((make_grid(63.0),), stations, lambda now: (4.0 if now % 400 < 150 else 8.0,) * 3)
    site.connect()
    site.wait(1200)
    before_as = {name: site.station(name).energy_as for name in "abc"}
    site.wait(2400)
    assert site.station("a").energy_as == 0.0
    for name in "bc":
        assert (site.station(name).energy_as - before_as[name]) / 2400 >= 25.5


@pytest.mark.parametrize("is_reported", [True, False])
def test_true_end_of_a_session_leaves_the_room_to_others(is_reported: bool) -> None:
    # a's station has reported Available while current flowed. b's share rises when a's car has gone.
    stations: list[StationModel] = [wrong_station("a", EvseState.AVAILABLE, 10), car("b")]
    site = Stations16((make_grid(30.0),), stations)
    site.connect()
    site.wait(600)
    assert site.station("b").draw_a == pytest.approx(14.5, abs=TOLERANCE_A)
    if is_reported:
        site.plug_in("a", None)
    else:  # reports of no current show it
        site.station("a").car = None
    site.wait(300)
    assert site.station("b").draw_a == pytest.approx(29.0, abs=TOLERANCE_A)
    site.plug_in("a", CarModel())
    site.wait(400)
    assert site.station("a").draw_a == pytest.approx(14.5, abs=TOLERANCE_A)
