"""Stations that follow whole amperes only: what they cannot use of their shares goes to others."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pytest
from msgspec.structs import replace

from controller.chargers.quirks import NO_QUIRK, Quirk
from controller.load_management.events import QuirkSelected
from controller.load_management.evse.learned_values import WHOLE_OFFERS, ChargerResponse
from controller.load_management.site_tree import CircuitNode, PhaseAmps
from tests.scenario.site_harness import CarModel, SiteHarness, StationModel, make_grid, make_station

WHOLE = replace(NO_QUIRK, decimals=0)


@dataclass
class Rounding(StationModel):
    """A station that rounds its limits down to whole amperes."""

    @property
    def draw_a(self) -> float:
        return float(math.floor(super().draw_a + 1e-6))


def make_rounding(name: str, priority: int = 0) -> StationModel:
    made = make_station(name, car=CarModel())
    return Rounding(evse=replace(made.evse, fallback_a=0.0, priority=priority), car=made.car)


def make_exact(name: str) -> StationModel:
    made = make_station(name, car=CarModel())
    made.evse = replace(made.evse, fallback_a=0.0)
    return made


def run(
    grid: CircuitNode, stations: list[StationModel], quirk: Quirk | None = WHOLE, seconds: int = 600
) -> SiteHarness:
    site = SiteHarness((grid,), stations)
    site.connect()
    if quirk is not None:
        for each in stations:
            if isinstance(each, Rounding):
                site.handle(QuirkSelected(each.ref.station, quirk))
    site.wait(seconds)
    return site


def draws(site: SiteHarness) -> list[float]:
    return [each.draw_a for each in site.stations.values()]


def test_remainders_of_four_whole_shares_raise_three() -> None:
    # 63 A for four: 15.75 A each. 15 A are usable, and the 3 A that are left raise three of them to 16 A.
    site = run(make_grid(64.0), [make_rounding(name) for name in "ABCD"])
    assert sorted(draws(site)) == [15.0, 16.0, 16.0, 16.0]


def test_remainder_goes_to_station_that_follows_tenths() -> None:
    # 27 A for two: 13.5 A each. The other one takes the half that is left of it.
    site = run(make_grid(28.0), [make_rounding("A"), make_exact("B")])
    assert draws(site) == pytest.approx([13.0, 14.0], abs=0.05)


def test_remainder_of_more_than_one_ampere_raises_whole_step_first() -> None:
    # 41 A for three: 13.6 A each. Whole amperes leave 1.4 A: 1 A for one, and 0.4 A for the one with tenths.
    site = run(make_grid(42.0), [make_rounding("A"), make_rounding("B"), make_exact("C")])
    assert draws(site) == pytest.approx([14.0, 13.0, 14.0], abs=0.05)


def test_remainder_goes_to_more_important_station_first() -> None:
    # 27 A: 6 A for each of the less important, 7.5 A for two others; one of these rises to 8 A.
    names = {"A": 0, "B": 0, "C": 1, "D": 1}
    site = run(make_grid(28.0), [make_rounding(name, priority) for name, priority in names.items()])
    assert sorted(draws(site)) == [6.0, 6.0, 7.0, 8.0]
    assert draws(site)[:2] == [6.0, 6.0]


def test_remainders_below_limited_unbalance_raise_nobody() -> None:
    site = run(make_grid(64.0, unbalance_a=20.0), [make_rounding(name) for name in "ABCD"])
    assert draws(site) == [15.0] * 4


def test_remainders_in_steady_state_need_no_further_limits() -> None:
    site = run(make_grid(64.0), [make_rounding(name) for name in "ABCD"], seconds=300)
    given = [each.limit_a(site.now) for each in site.stations.values()]
    changes = 0
    for _ in range(600):
        site.step()
        now = [each.limit_a(site.now) for each in site.stations.values()]
        changes += now != given
        given = now
    assert changes == 0
    assert max(max(amps) for amps in site.flowed) <= 64.0


def test_remainders_station_that_rounds_unannounced_is_learned() -> None:
    def building(now: float) -> PhaseAmps:
        amps = (0.0, 1.8, 3.6, 5.2)[int(now) // 300 % 4]
        return (amps, amps, amps)

    site = SiteHarness((make_grid(28.0),), [make_rounding("A"), make_exact("B")], building)
    site.connect()
    site.wait(1490)
    assert site.evse_view("A").learned.whole_amps
    assert not site.evse_view("B").learned.whole_amps
    assert draws(site) == pytest.approx([13.0, 14.0], abs=0.05)


def test_charger_response_whole_amperes_of_several_offers_are_learned() -> None:
    response = ChargerResponse()
    for offer_a in (10.4, 12.7, 9.5):
        assert not response.learned.whole_amps
        response.on_settled_draw(offer_a, float(math.floor(offer_a)))
    assert WHOLE_OFFERS == 3
    assert response.learned.whole_amps
    again = ChargerResponse()
    again.restore(response.learned)
    assert again.learned.whole_amps


def test_charger_response_car_at_own_limit_shows_no_rounding() -> None:
    response = ChargerResponse()
    for offer_a in (16.4, 16.5, 16.9, 20.5, 25.7):
        response.on_settled_draw(offer_a, 16.0)
    assert not response.learned.whole_amps


def test_charger_response_fraction_ends_learned_rounding() -> None:
    response = ChargerResponse()
    for offer_a in (10.4, 12.7, 9.5):
        response.on_settled_draw(offer_a, float(math.floor(offer_a)))
    response.on_settled_draw(11.5, 11.4)
    assert not response.learned.whole_amps
