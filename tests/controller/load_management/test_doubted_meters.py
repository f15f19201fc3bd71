"""Meters whose current changes its sign, or shows a spike, for good reasons: the site keeps on charging."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from msgspec.structs import replace

from controller.load_management.metering.plausibility import SIGN_READINGS
from controller.load_management.site_tree import PhaseAmps
from controller.model.observations import EvseState
from drivers.reading import MeterState, Quality, Reading
from tests.scenario.site_harness import (
    Building,
    CarModel,
    SiteHarness,
    StationModel,
    good_state,
    make_grid,
    make_station,
)

LIMIT_A = 32.0
MARGIN_A = 1.0
SEEN_S = 3600
CHANGE_AT_S = 900.0


def make_site(building: Building, car: CarModel | None) -> SiteHarness:
    """Return a site with generation and two EVSEs, one of which has a car."""
    stations = [make_station("A", car=car), make_station("B")]
    for each in stations:
        each.evse = replace(each.evse, fallback_a=0.0)
    site = SiteHarness((make_grid(LIMIT_A, generation_a=25.0),), stations, building)
    site.connect()
    site.wait(600)
    return site


def watch(site: SiteHarness, seconds: int) -> int:
    """Return for how many seconds the meter was not good."""
    doubted_s = 0
    for _ in range(seconds):
        site.step()
        doubted_s += site.circuit_view("grid").meter_quality is not Quality.GOOD
    return doubted_s


def heater(size_a: float) -> Building:
    """Return a heater on L1 that goes off: from `size_a` of load to as much feed-in."""
    return lambda now: (size_a if now < CHANGE_AT_S else -size_a, 3.0, 3.0)


def reactive(now: float) -> PhaseAmps:
    """Return reactive current around 0 W: its sign is that of the power, which changes every 10 s."""
    amps = 8.0 if now % 20 < 10 else -8.0
    return (amps, amps, amps)


def clouds(now: float) -> PhaseAmps:
    """Return 10 A of feed-in, which a cloud of 60 s turns into 10 A of load every four minutes."""
    amps = 10.0 if now % 240 < 60 else -10.0
    return (amps, amps, amps)


@pytest.mark.parametrize("size_a", [8.0, 16.0])
def test_idle_site_heater_off_costs_meter_few_readings(size_a: float) -> None:
    site = make_site(heater(size_a), None)
    assert 0 < watch(site, SEEN_S) <= SIGN_READINGS
    site.plug_in("B", CarModel())
    site.wait(600)
    # The heater's load is planned with for a quarter of an hour, its feed-in is shared by half after that.
    assert site.station("B").draw_a >= LIMIT_A - MARGIN_A - 3.0 - 0.35


@pytest.mark.parametrize(
    "building",
    [heater(8.0), heater(16.0), reactive, clouds],
    ids=["heater 8", "heater 16", "reactive", "clouds"],
)
def test_site_with_car_charges_on_through_changes_of_sign(building: Building) -> None:
    site = make_site(building, CarModel())
    before_as = site.station("A").energy_as
    good = [watch(site, 1) == 0 for _ in range(SEEN_S)]
    assert sum(good) >= SEEN_S - SIGN_READINGS
    # A base load of 16 A at its highest leaves 15 A; nobody is stopped, and the mean is far above.
    assert (site.station("A").energy_as - before_as) / SEEN_S >= 20.0
    assert site.station("A").leases[-1][1] >= 15.0


def test_building_meter_is_not_doubted_for_declared_generation() -> None:
    # It shows no car, so no step of one could end a doubt: 31 A less 10 A of the building are left at least.
    grid = make_grid(LIMIT_A, generation_a=25.0, base_load_a=25.0, measures_building=True)
    site = SiteHarness((grid,), [make_station("A", car=CarModel())], clouds)
    site.meter = lambda reading: good_state(replace(reading, current_a=clouds(reading.time)))
    site.connect()
    site.wait(600)
    before_as = site.station("A").energy_as
    assert watch(site, 1200) == 0
    assert (site.station("A").energy_as - before_as) / 1200 >= 20.8
    assert len(site.station("A").leases) <= 20


def test_step_of_car_ends_doubt_about_sign() -> None:
    # 2 A of the building and a car of 8 A turn into 10 A of feed-in: a part of that is shared soon.
    grid = make_grid(40.0, generation_a=25.0, base_load_a=25.0)
    stations = [make_station("A", car=CarModel(8.0)), make_station("B")]
    site = SiteHarness((grid,), stations, lambda now: (2.0 if now < 1200 else -18.0,) * 3)
    site.connect()
    site.wait(1260)
    assert max(site.circuit_view("grid").base_a) == 25.0
    site.wait(400)
    assert max(site.circuit_view("grid").base_a) < 0.0


def once(amps: float, at: float) -> Callable[[Reading], MeterState]:
    """Return a meter that shows one reading of `amps` on L1."""

    def meter(reading: Reading) -> MeterState:
        state = good_state(reading)
        if reading.time != at:
            return state
        _, second, third = reading.current_a
        return replace(state, reading=replace(reading, current_a=(amps, second, third)))

    return meter


def test_site_single_spike_of_meter_changes_no_limit() -> None:
    site = make_site(lambda now: (5.0, 5.0, 5.0), CarModel())
    site.meter = once(327.67, site.now + 7.0)
    sent = len(site.commands)
    offered_a = site.station("A").limit_a(site.now)
    good = [watch(site, 1) == 0 for _ in range(20)]
    assert all(good)
    assert not [command for _, command in site.commands[sent:] if command.limit_a < offered_a]
    assert site.station("A").limit_a(site.now) == offered_a


def test_site_spike_that_lasts_cuts_at_second_reading() -> None:
    site = make_site(lambda now: (5.0, 5.0, 5.0), CarModel())
    begin = site.now

    def meter(reading: Reading) -> MeterState:
        _, second, third = reading.current_a
        return good_state(replace(reading, current_a=(327.67, second, third)))

    site.meter = meter
    sent = len(site.commands)
    site.wait(10)
    cuts = [at for at, command in site.commands[sent:] if command.urgent]
    assert cuts
    assert cuts[0] == begin + 2.0


class FlappingStation(StationModel):
    """Station whose state changes each `flap_s` while its car charges without a break."""

    flap_s = 7
    _now = 0

    def step(self, now: float) -> None:
        super().step(now)
        self._now = int(now)

    def next_state(self) -> EvseState:
        is_charging = (len(self.leases) + self._now // self.flap_s) % 2
        return EvseState.CHARGING if is_charging else EvseState.SUSPENDED_EV


@pytest.mark.parametrize(
    ("limit_a", "others", "fallback_a", "reaction_s", "flap_s"),
    [(25.0, 1, 0.0, 10, 7), (32.0, 3, 6.0, 1, 7), (32.0, 3, 6.0, 1, 11)],
)
def test_states_that_contradict_each_other_suspect_no_meter(
    limit_a: float, others: int, fallback_a: float, reaction_s: int, flap_s: int
) -> None:
    stations = [
        FlappingStation(evse=make_station("A").evse, car=CarModel(), report_s=30, reaction_s=reaction_s),
        *(make_station(f"B{k}", car=CarModel(), report_s=30, reaction_s=reaction_s) for k in range(others)),
    ]
    stations[0].flap_s = flap_s
    for each in stations:
        each.evse = replace(each.evse, fallback_a=fallback_a)
    site = SiteHarness((make_grid(limit_a),), [*stations], lambda now: (0.5 + now % 3 / 100,) * 3)
    site.connect()
    assert watch(site, 1500) == 0
