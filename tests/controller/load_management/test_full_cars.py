"""Cars that take nothing of their offer: full, probed, and charging again."""

from __future__ import annotations

import pytest
from msgspec import structs

from controller.load_management.evse.evse_model import (
    FIRST_PROBES_S,
    FULL_S,
    PROBE_EVERY_S,
    PROBE_S,
    START_A,
    START_PROBE_AT_S,
    START_PROBE_S,
    EvseModel,
)
from controller.model.observations import DrawSeen, EvseState, StateSeen, TransactionSeen
from tests.scenario.site_harness import Car, SiteHarness, StationModel, make_grid, make_station


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


def test_evse_model_full_car_is_probed_each_hour() -> None:
    model = EvseModel(make_station("A").evse, 0.0)
    model.on_observation(StateSeen(1, EvseState.SUSPENDED_EV), 6.0, 100.0)
    probed = [model.takes_nothing(100.0 + PROBE_EVERY_S + after) for after in (0, PROBE_S - 1, PROBE_S)]
    assert probed == [False, False, True]


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


@pytest.mark.parametrize(
    ("first_s", "duration_s"), [(START_PROBE_AT_S, START_PROBE_S), (FIRST_PROBES_S[0], PROBE_S)]
)
def test_evse_model_first_probes_offer_more_to_car_that_never_started(
    first_s: float, duration_s: float
) -> None:
    model = EvseModel(make_station("A").evse, 0.0)
    model.on_observation(StateSeen(1, EvseState.SUSPENDED_EV), 6.0, 100.0)
    moments = [100.0 + after for after in (first_s - 1, first_s, first_s + duration_s)]
    assert [model.start_a(moment) for moment in moments] == [6.0, START_A, 6.0]
    assert [model.takes_nothing(moment) for moment in moments] == [True, False, True]


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
    assert not model.idle


def scene(limit_a: float, full_cars: int, fallback_a: float = 6.0) -> SiteHarness:
    full = [
        FullCarStation(evse=structs.replace(make_station(f"F{k}").evse, fallback_a=fallback_a), car=Car(0.0))
        for k in range(full_cars)
    ]
    hungry = [make_station(name, car=Car()) for name in "AB"]
    for each in hungry:
        each.evse = structs.replace(each.evse, fallback_a=fallback_a)
    site = SiteHarness((make_grid(limit_a),), [*full, *hungry])
    site.connect()
    for name in [*(f"F{k}" for k in range(full_cars)), "A", "B"]:
        site.report(name, TransactionSeen(1, True))
    return site


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
    full_station = FullCarStation(evse=make_station("Z").evse, car=Car(0.0))
    site = SiteHarness((make_grid(11.0),), [full_station, make_station("A", car=Car())])
    site.connect()
    site.wait(int(FULL_S) + 200)
    shares = []
    for _ in range(2 * int(PROBE_EVERY_S)):
        site.step()
        shares.append(full_station.limit_a(site.now))
    assert shares[0] == 0.0
    assert shares.count(0.0) > 0.9 * len(shares)
    assert sum(share >= 6.0 for share in shares) >= PROBE_S / 3
