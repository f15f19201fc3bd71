"""Cars that take nothing of their offer: they yield, and are woken now and then."""

from __future__ import annotations

from controller.load_management.allocation.rotation import NEWCOMER_S, Rotation
from controller.load_management.evse.evse_model import ASLEEP_S, PROBE_EVERY_S, PROBE_S, EvseModel
from controller.model.observations import EvseRef, EvseState, StateSeen
from tests.controller.load_management.toysite import Car, ToySite, ToyStation, grid, station


class Sleeper(ToyStation):
    """Its car is full: the station says so as long as it is there."""

    def next_state(self) -> EvseState:
        return EvseState.SUSPENDED_EV if self.car else EvseState.AVAILABLE


def test_a_car_sleeps_after_a_while_without_taking_anything_and_is_probed_each_hour() -> None:
    model = EvseModel(station("A").evse, 0.0)
    model.handle(StateSeen(1, EvseState.SUSPENDED_EV), 6.0, 100.0)
    asleep = [model.asleep(100.0 + after) for after in (0, ASLEEP_S - 1, ASLEEP_S, PROBE_EVERY_S - 1)]
    assert asleep == [False, False, True, True]
    probed = [model.asleep(100.0 + PROBE_EVERY_S + after) for after in (0, PROBE_S - 1, PROBE_S)]
    assert probed == [False, False, True]
    model.handle(StateSeen(1, EvseState.CHARGING), 6.0, 9000.0)
    assert not model.asleep(9000.0 + ASLEEP_S)


def test_sleepers_come_last() -> None:
    turns, a, b = Rotation(900.0), EvseRef("A", 1), EvseRef("B", 1)
    turns.wanting([a, b], 0.0)
    later = NEWCOMER_S + 1
    assert turns.ranks(later, {a})[a] > turns.ranks(later, {a})[b]
    assert turns.ranks(later, {b})[a] < turns.ranks(later, {b})[b]


def test_where_there_is_not_room_for_all_a_sleeper_makes_way_and_gets_his_probe() -> None:
    sleeper = Sleeper(evse=station("Z").evse, car=Car(0.0))
    site = ToySite((grid(11.0),), [sleeper, station("A", car=Car())])
    site.connect()
    site.run(int(ASLEEP_S) + 100)
    shares = []
    for _ in range(2 * int(PROBE_EVERY_S)):
        site.step()
        shares.append(sleeper.limit_a(site.now))
    assert shares[0] == 0.0
    assert shares.count(0.0) > 0.9 * len(shares)
    assert shares.count(6.0) >= PROBE_S / 2
