"""Cars that take nothing of their offer: full, probed, and charging again."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from msgspec import structs

from controller.load_management.evse.car_idleness import (
    FIRST_PROBE_S,
    FULL_S,
    PAUSE_PROBE_S,
    PAUSE_SPREAD_S,
    PROBE_EVERY_S,
    PROBE_S,
    START_A,
    START_PROBE_AT_S,
    START_PROBE_S,
)
from controller.load_management.evse.evse_model import EvseModel
from controller.model.observations import DrawSeen, EvseState, StateSeen, TransactionSeen
from tests.scenario.site_harness import CarModel, SiteHarness, StationModel, make_grid, make_station


class FullCarStation(StationModel):
    """A station whose car is full, as it reports until the car leaves."""

    def next_state(self) -> EvseState:
        return EvseState.SUSPENDED_EV if self.car else EvseState.AVAILABLE


def test_evse_model_car_without_draw_is_full_after_minute() -> None:
    model = EvseModel(make_station("A").evse, 0.0)
    model.on_observation(StateSeen(1, EvseState.SUSPENDED_EV), 6.0, 100.0)
    takes_nothing_after = [
        model.takes_nothing(100.0 + after) for after in (0, FULL_S - 1, FULL_S, PROBE_EVERY_S - 1)
    ]
    assert takes_nothing_after == [False, False, True, True]


@pytest.mark.parametrize("at_s", [0.0, 1800.0])
@pytest.mark.parametrize("hours", [1, 2])
def test_evse_model_full_car_is_probed_at_its_time_of_each_hour(at_s: float, hours: int) -> None:
    model = EvseModel(make_station("A").evse, 0.0)
    model.idleness.probed_at_s = at_s
    model.on_observation(StateSeen(1, EvseState.SUSPENDED_EV), 6.0, 100.0)
    begins = hours * PROBE_EVERY_S + at_s
    takes_nothing = [model.takes_nothing(begins + after) for after in (-1, 0, PROBE_S - 1, PROBE_S)]
    assert takes_nothing == [True, False, False, True]
    assert model.changes_at(begins - 1) == begins
    assert model.changes_at(begins) == begins + PROBE_S


@pytest.mark.parametrize(("asleep_s", "is_probed"), [(FIRST_PROBE_S - 1, False), (FIRST_PROBE_S, True)])
def test_evse_model_first_probe_waits_for_minutes(asleep_s: float, is_probed: bool) -> None:
    model = EvseModel(make_station("A").evse, 0.0)
    model.on_observation(DrawSeen(1, (10.0, 10.0, 10.0)), 10.0, 50.0)
    model.on_observation(StateSeen(1, EvseState.SUSPENDED_EV), 6.0, PROBE_EVERY_S - asleep_s)
    assert model.takes_nothing(PROBE_EVERY_S) is not is_probed


@pytest.mark.parametrize(
    ("draws_a", "offered_a", "is_probed"),
    [((16.0, 15.8), 32.0, True), ((16.0, 6.0), 6.0, True), ((16.0, 5.0), 16.0, False), ((), 16.0, False)],
    ids=["its own most", "its offer", "taper", "never drawn"],
)
def test_evse_model_car_that_ended_without_taper_is_probed_sooner(
    draws_a: tuple[float, ...], offered_a: float, is_probed: bool
) -> None:
    model = EvseModel(make_station("A").evse, 0.0)
    model.idleness.probed_at_s = 1860.0
    for draw_a in draws_a:
        model.on_observation(DrawSeen(1, (draw_a, draw_a, draw_a)), offered_a, 50.0)
    model.on_observation(StateSeen(1, EvseState.SUSPENDED_EV), offered_a, 100.0)
    begins = 100.0 + PAUSE_PROBE_S + 60.0
    takes_nothing = [model.takes_nothing(begins + after) for after in (-1, 0, PROBE_S - 1, PROBE_S)]
    assert takes_nothing == ([True, False, False, True] if is_probed else [True] * 4)
    if is_probed:
        assert model.changes_at(begins - 1) == begins
        assert model.need_a(begins) == model.least_a


def test_evse_model_car_that_does_not_go_on_is_not_probed_sooner_again() -> None:
    model = EvseModel(make_station("A").evse, 0.0)
    model.on_observation(DrawSeen(1, (16.0, 16.0, 16.0)), 16.0, 50.0)
    model.on_observation(StateSeen(1, EvseState.SUSPENDED_EV), 16.0, 100.0)
    model.on_observation(StateSeen(1, EvseState.CHARGING), 6.0, 700.0)
    model.on_observation(StateSeen(1, EvseState.SUSPENDED_EV), 6.0, 720.0)
    after_help = range(
        int(START_PROBE_AT_S + START_PROBE_S), int(PAUSE_PROBE_S + PAUSE_SPREAD_S + PROBE_S), 10
    )
    assert all(model.takes_nothing(720.0 + after_s) for after_s in after_help)


def test_evse_model_car_stays_full_over_pause_that_controller_ordered() -> None:
    model = EvseModel(make_station("A").evse, 0.0)
    model.on_observation(StateSeen(1, EvseState.SUSPENDED_EV), 6.0, 100.0)
    model.on_observation(StateSeen(1, EvseState.SUSPENDED_EVSE), 0.0, 200.0)
    assert model.takes_nothing(100.0 + START_PROBE_AT_S + START_PROBE_S)


@pytest.mark.parametrize(
    "rise", [StateSeen(1, EvseState.CHARGING), DrawSeen(1, (10.0, 10.0, 10.0))], ids=["state", "report"]
)
def test_evse_model_full_car_charges_again_with_state_or_report(rise: StateSeen | DrawSeen) -> None:
    model = EvseModel(make_station("A").evse, 0.0)
    model.on_observation(StateSeen(1, EvseState.SUSPENDED_EV), 6.0, 100.0)
    assert model.takes_nothing(100.0 + FULL_S)
    assert model.on_observation(rise, 6.0, 200.0)
    assert not model.takes_nothing(200.0 + FULL_S)


def test_evse_model_car_that_never_started_is_offered_more_once() -> None:
    model = EvseModel(make_station("A").evse, 0.0)
    model.on_observation(StateSeen(1, EvseState.SUSPENDED_EV), 6.0, 100.0)
    begins = 100.0 + START_PROBE_AT_S
    moments = [begins - 1, begins, begins + START_PROBE_S]
    assert [model.start_a(moment) for moment in moments] == [6.0, START_A, 6.0]
    assert [model.takes_nothing(moment) for moment in moments] == [True, False, True]


def test_evse_model_car_that_stopped_below_its_need_is_helped_to_start() -> None:
    model = EvseModel(make_station("A").evse, 0.0)
    model.on_observation(StateSeen(1, EvseState.CHARGING), 12.0, 10.0)
    model.draw.offer(12.0, 10.0)
    model.on_observation(DrawSeen(1, (12.0, 12.0, 12.0)), 12.0, 30.0)
    model.draw.offer(8.0, 40.0)
    model.on_observation(StateSeen(1, EvseState.SUSPENDED_EV), 8.0, 50.0)
    begins = 50.0 + START_PROBE_AT_S
    takes_nothing = [
        model.takes_nothing(begins + after) for after in (-1, 0, START_PROBE_S - 1, START_PROBE_S)
    ]
    assert takes_nothing == [True, False, False, True]
    assert model.start_a(begins) == 10.0


@pytest.mark.parametrize("state", [EvseState.PREPARING, EvseState.SUSPENDED_EVSE, EvseState.CHARGING])
def test_evse_model_car_that_refuses_its_offer_takes_nothing(state: EvseState) -> None:
    model = EvseModel(make_station("A").evse, 0.0)
    model.on_observation(TransactionSeen(1, True), 6.0, 80.0)
    model.on_observation(StateSeen(1, state), 6.0, 100.0)
    model.on_observation(DrawSeen(1, (0.0, 0.0, 0.0)), 6.0, 110.0)
    assert model.takes_nothing(110.0 + FULL_S)


def test_evse_model_car_without_offer_is_not_idle() -> None:
    model = EvseModel(make_station("A").evse, 0.0)
    model.on_observation(TransactionSeen(1, True), 0.0, 80.0)
    model.on_observation(StateSeen(1, EvseState.SUSPENDED_EVSE), 0.0, 100.0)
    model.on_observation(DrawSeen(1, (0.0, 0.0, 0.0)), 0.0, 110.0)
    assert model.idleness.since is None


def scene(limit_a: float, full_cars: int, fallback_a: float = 6.0) -> SiteHarness:
    full = [
        FullCarStation(
            evse=structs.replace(make_station(f"F{k}").evse, fallback_a=fallback_a), car=CarModel(0.0)
        )
        for k in range(full_cars)
    ]
    charging = [make_station(name, car=CarModel()) for name in "AB"]
    for each in charging:
        each.evse = structs.replace(each.evse, fallback_a=fallback_a)
    site = SiteHarness((make_grid(limit_a),), [*full, *charging])
    site.connect()
    for name in [*(f"F{k}" for k in range(full_cars)), "A", "B"]:
        site.report(name, TransactionSeen(1, True))
    return site


@pytest.mark.slow
@pytest.mark.parametrize("report_s", [10, 300])
@pytest.mark.parametrize(("limit_a", "full_cars"), [(41.0, 8), (33.0, 12), (63.0, 5)])
def test_probes_of_full_cars_take_little_from_two_that_charge(
    limit_a: float, full_cars: int, report_s: int
) -> None:
    # In each hour each full car is offered 10 A for a minute, as it never drew, one after the other.
    # A cut goes up to 5 A below the share, until the two have levelled theirs.
    site = scene(limit_a, full_cars, 0.0)
    for each in site.stations.values():
        each.report_s = report_s
    site.wait(600 if report_s == 10 else 1200)  # the second report shows that the next ones are seldom
    before_as = [site.station(name).energy_as for name in "AB"]
    lowest_a = math.inf
    for _ in range(5400):
        site.step()
        lowest_a = min(lowest_a, sum(site.station(name).draw_a for name in "AB"))
    taken_as = sum(site.station(name).energy_as for name in "AB") - sum(before_as)
    probe_a = START_A + 3.0
    assert lowest_a >= limit_a - 1.0 - START_A - 5.0
    assert taken_as >= 5400 * (limit_a - 1.0) - full_cars * 1.5 * PROBE_S * probe_a


def test_full_car_that_wants_current_again_is_found_within_an_hour() -> None:
    site = scene(41.0, 8, 0.0)
    site.wait(1200)
    woken = site.station("F5")
    woken.__class__ = StationModel
    woken.car = CarModel()
    seconds = 0
    while woken.draw_a < 6.0:
        site.step()
        seconds += 1
        assert seconds <= PROBE_EVERY_S + PROBE_S
    site.wait(300)
    assert woken.draw_a >= 12.0
    assert woken.draw_a + sum(site.station(name).draw_a for name in "AB") == pytest.approx(40.0, abs=1.0)


@pytest.mark.parametrize(("limit_a", "fallback_a", "share_a"), [(80.0, 6.0, 32.0), (41.0, 0.0, 20.0)])
def test_eight_full_cars_leave_room_to_two_that_charge(
    limit_a: float, fallback_a: float, share_a: float
) -> None:
    site = scene(limit_a, 8, fallback_a)
    site.wait(600)
    assert [site.station(name).draw_a for name in "AB"] == pytest.approx([share_a] * 2, abs=0.35)


def test_full_cars_with_much_room_are_offered_current_to_start_with() -> None:
    site = scene(300.0, 3)
    site.wait(600)
    offers = [site.station(f"F{k}").limit_a(site.now) for k in range(3)]
    assert offers == [START_A] * 3


def test_full_car_without_room_is_paused_and_probed() -> None:
    full_station = FullCarStation(evse=make_station("Z").evse, car=CarModel(0.0))
    site = SiteHarness((make_grid(11.0),), [full_station, make_station("A", car=CarModel())])
    site.connect()
    site.wait(int(FULL_S) + 200)
    shares = []
    for _ in range(2 * int(PROBE_EVERY_S)):
        site.step()
        shares.append(full_station.limit_a(site.now))
    assert shares[0] == 0.0
    assert shares.count(0.0) > 0.9 * len(shares)
    assert sum(share >= 6.0 for share in shares) >= PROBE_S / 3


class ContactorStation(StationModel):
    """Station whose state is Charging whenever it offers its car current."""

    def next_state(self) -> EvseState:
        if self.car is None:
            return EvseState.AVAILABLE
        is_offered = bool(self._limits) and self._limits[0][0] >= self.evse.min_a
        return EvseState.CHARGING if is_offered else EvseState.SUSPENDED_EVSE


class FullCar(CarModel):
    """Car that takes current as long as `is_hungry`."""

    is_hungry = True

    def draw_a(self, limit_a: float) -> float:
        return super().draw_a(limit_a) if self.is_hungry else 0.0


@pytest.mark.parametrize("has_drawn", [False, True])
@pytest.mark.parametrize("report_s", [10, 60, 300])
def test_full_car_is_not_started_again_by_the_state_of_its_station(report_s: int, has_drawn: bool) -> None:
    # Each probe makes it Charging for a moment. The others have 19.5 A each beside the building.
    full = FullCar(32.0)
    full.is_hungry = has_drawn
    stations = [make_station(name, car=CarModel(32.0), report_s=report_s) for name in "abc"]
    stations[0] = ContactorStation(evse=stations[0].evse, car=full, report_s=report_s)
    site = SiteHarness((make_grid(55.0),), stations, lambda now: (15.0, 15.0, 15.0))
    site.connect()
    site.wait(600)
    full.is_hungry = False
    site.wait(1200)
    before_as = {name: site.station(name).energy_as for name in "bc"}
    sent = [len(site.station(name).leases) for name in "abc"]
    site.wait(7200)
    limits = [limit_a for _, limit_a in site.station("a").leases[sent[0] - 1 :]]
    starts = sum(then < 6.0 <= now for then, now in pairwise(limits))
    assert starts <= 2  # a probe each hour
    assert all(
        len(site.station(name).leases) - before <= 80 for name, before in zip("abc", sent, strict=True)
    )
    for name in "bc":
        assert (site.station(name).energy_as - before_as[name]) / 7200 >= 18.4
    full.is_hungry = True
    site.wait(3700)
    assert site.station("a").draw_a == pytest.approx(13.0, abs=0.5)


class StubbornCar(FullCar):
    """Car that starts with 10 A or more only, and charges on with less."""

    _charges = False

    def draw_a(self, limit_a: float) -> float:
        found = super().draw_a(limit_a)
        self._charges = found > 0 and (self._charges or limit_a >= 10.0)
        return found if self._charges else 0.0


def test_others_come_down_by_little_for_a_car_that_does_not_start() -> None:
    # Beside the building and 16 A of the other car 9.4 A are free: the car starts with 10.
    stations = [make_station("a", car=CarModel(16.0)), make_station("b", car=StubbornCar(32.0))]
    site = SiteHarness((make_grid(35.0),), stations, lambda now: (8.6, 8.6, 8.6))
    site.connect()
    site.wait(600)
    assert [each.draw_a for each in stations] == pytest.approx([12.7, 12.7], abs=0.35)


def test_car_that_wakes_starts_with_what_nobody_takes() -> None:
    # Nobody else wants the room: a car that has charged is offered 10 A again, and not its minimum.
    sleeper = StubbornCar(16.0)
    station = FullCarStation(evse=make_station("a").evse, car=sleeper, report_s=60)
    site = SiteHarness((make_grid(63.0),), [station, make_station("b", car=CarModel(16.0))])
    site.connect()
    site.wait(300)
    assert station.draw_a == 16.0
    sleeper.is_hungry = False
    site.wait(600)
    sleeper.is_hungry = True
    site.wait(180)
    assert station.draw_a == 16.0


def test_full_car_is_not_switched_with_the_loads_of_the_building() -> None:
    # What nobody takes comes and goes each 5 min with a load of 18 A.
    full = FullCar(32.0)
    stations = [make_station("a", car=CarModel(16.0)), ContactorStation(make_station("b").evse, car=full)]
    for each in stations:
        each.evse = structs.replace(each.evse, fallback_a=0.0)
    site = SiteHarness((make_grid(40.0),), stations, lambda now: (22.0 if now % 300 < 60 else 4.0,) * 3)
    site.connect()
    site.wait(600)
    full.is_hungry = False
    site.wait(600)
    sent = len(stations[1].leases)
    site.wait(7200)
    limits = [limit_a for _, limit_a in stations[1].leases[sent - 1 :]]
    assert sum(then < 6.0 <= now for then, now in pairwise(limits)) <= 10  # 24 else


def test_car_that_found_no_room_to_start_is_helped_again_each_hour() -> None:
    # It starts with 10 A, and beside four others there are only 6 A for it, until one has left.
    stations = [
        make_station("a"),
        *(make_station(name, car=CarModel()) for name in "bcdef"),
    ]
    for each in stations:
        each.evse = structs.replace(each.evse, fallback_a=0.0)
    site = SiteHarness((make_grid(39.0),), stations)
    site.connect()
    site.wait(300)
    site.plug_in("a", StubbornCar(32.0))
    site.wait(900)
    assert stations[0].draw_a == 0.0
    site.plug_in("f", None)
    site.wait(3600)
    assert stations[0].draw_a > 6.0


@pytest.mark.parametrize("others", [1, 2])
def test_silent_car_finds_its_room_when_it_goes_on(others: int) -> None:
    # Its state is Charging all the time. Without generation the meter shows that it has stopped.
    silent = FullCar(16.0)
    stations = [make_station(f"b{number}", car=CarModel(32.0)) for number in range(others)]
    stations.append(ContactorStation(evse=make_station("a").evse, car=silent, report_s=0))
    for each in stations:
        each.evse = structs.replace(each.evse, fallback_a=0.0)
    site = SiteHarness((make_grid(35.0),), stations, lambda now: (3.0, 6.5, 7.5))
    site.connect()
    site.wait(900)
    before = site.seconds_over("grid", 35.0)
    for _ in range(2):
        silent.is_hungry = False
        site.wait(1200)
        silent.is_hungry = True
        site.wait(300)
    assert site.seconds_over("grid", 35.0) == before


def test_pausing_car_on_full_circuit_goes_on_within_quarter_of_hour() -> None:
    # 39 A for three cars, and for two while one pauses.
    pausing = FullCar(32.0)
    stations = [make_station(name, car=CarModel(32.0)) for name in "ab"]
    site = SiteHarness((make_grid(40.0),), [*stations, make_station("p", car=pausing)])
    site.connect()
    site.wait(600)
    pausing.is_hungry = False
    site.wait(300)
    assert [site.station(name).draw_a for name in "abp"] == [pytest.approx(19.5, abs=0.5)] * 2 + [0.0]
    pausing.is_hungry = True
    site.wait(int(PAUSE_PROBE_S + PAUSE_SPREAD_S + PROBE_S) - 300)
    assert site.station("p").draw_a == pytest.approx(13.0, abs=0.5)
