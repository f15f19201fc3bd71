"""What stations show of themselves, and what is made of it."""

from __future__ import annotations

import pytest

from controller.chargers.quirks import Quirk
from controller.load_management.events import QuirkSelected
from controller.load_management.evse.consumption import ConsumptionTracker
from controller.load_management.evse.learned_values import (
    REACTION_S,
    SLOWEST_S,
    UNSHOWN_S,
    WINDOW,
    ChargerResponse,
    LearnedResponse,
)
from controller.load_management.metering.fuse_curve import CUT_S, WAY_S, FuseLoad, FuseWatch
from controller.load_management.site_tree import Fuse, PhaseAmps
from controller.model.observations import EvseRef, NeedsSeen
from tests.scenario.site_harness import CarModel, SiteHarness, make_grid, make_station


def cut(manners: ChargerResponse, *draws: tuple[float, float]) -> LearnedResponse:
    """From 32 A to 10 A, with reports of (s after the yes, A)."""
    manners.on_draw(32.0, 990.0)
    manners.on_limit_accepted(10.0, 1000.0)
    for after_s, drawn_a in draws:
        manners.on_draw(drawn_a, 1000.0 + after_s)
    return manners.learned


@pytest.mark.parametrize(
    ("draws", "reaction_s", "obeys"),
    [
        ([(3.0, 9.8)], REACTION_S, True),
        ([(60.0, 9.8)], REACTION_S, True),  # its reports are seldom: that shows nothing of its speed
        ([(8.0, 32.0), (18.0, 10.9)], 18.0, True),
        ([(4.0, 32.0), (14.0, 9.8)], REACTION_S, True),
        ([(8.0, 32.0)], REACTION_S, None),
        ([(8.0, 32.0), (SLOWEST_S + 1, 32.0)], REACTION_S, False),
    ],
)
def test_charger_response_cut_shows_how_long_it_takes_to_obey(
    draws: list[tuple[float, float]], reaction_s: float, obeys: bool | None
) -> None:
    learned = cut(ChargerResponse(), *draws)
    assert (learned.reaction_s, learned.obeys) == (reaction_s, obeys)


def test_charger_response_slowest_of_last_cuts_counts() -> None:
    manners = ChargerResponse()
    cut(manners, (8.0, 32.0), (18.0, 9.8))
    for _ in range(WINDOW - 1):
        assert cut(manners, (3.0, 9.8)).reaction_s == 18.0
    assert cut(manners, (3.0, 9.8)).reaction_s == REACTION_S


def test_charger_response_limit_that_is_raised_again_shows_nothing() -> None:
    manners = ChargerResponse()
    cut(manners, (8.0, 32.0))
    manners.on_limit_accepted(32.0, 1010.0)
    manners.on_draw(32.0, 1100.0)
    assert manners.learned == LearnedResponse()


@pytest.mark.parametrize(("draws", "reaction_s"), [((8.0, 32.0), 17.0), ((4.0, 32.0), REACTION_S)])
def test_charger_response_limit_that_is_raised_in_part_is_followed(
    draws: tuple[float, float], reaction_s: float
) -> None:
    manners = ChargerResponse()
    cut(manners, draws)
    manners.on_limit_accepted(20.0, 1009.0)
    manners.on_draw(19.8, 1017.0)
    manners.on_draw(19.8, 1090.0)  # 10 A is no limit any more
    assert manners.learned == LearnedResponse(reaction_s=reaction_s, obeys=True)


def follow(
    *limits: tuple[float, float], draws: list[tuple[float, float]]
) -> tuple[ConsumptionTracker, ChargerResponse]:
    """A station at 32 A for long, then with offers of (s, A), and with reports at (s, A)."""
    tracker, response = ConsumptionTracker(make_station("A").evse, -1000.0), ChargerResponse()
    tracker.set_reaction(REACTION_S, UNSHOWN_S)
    reported_at = -1.0
    tracker.offer(32.0, -900.0)
    tracker.add_report((32.0, 32.0, 32.0), reported_at)
    for at, amps, is_limit in sorted([(*each, True) for each in limits] + [(*each, False) for each in draws]):
        if is_limit:
            tracker.offer(amps, at)
            continue
        tracker.add_report((amps, amps, amps), at)
        if tracker.followed_since is not None:
            response.on_followed(tracker.followed_since, reported_at, amps, at)
        reported_at = at
    return tracker, response


@pytest.mark.parametrize(
    ("limits", "draws", "shown_s"),
    [
        ([(0.0, 10.0)], [], UNSHOWN_S),
        ([(0.0, 10.0)], [(8.0, 9.8)], 8.0),
        ([(0.0, 10.0)], [(8.0, 32.0), (28.0, 9.8)], 28.0),
        ([(0.0, 10.0)], [(8.0, 16.0)], UNSHOWN_S),  # a car on its way to it, or at a limit of its own
        ([(0.0, 10.0)], [(8.0, 31.5)], UNSHOWN_S),  # no step
        ([(0.0, 20.0), (15.0, 10.0)], [(18.0, 19.9)], 18.0),  # slow: it is at the first of the two
        ([(0.0, 20.0), (15.0, 10.0)], [(18.0, 9.9)], 3.0),
        ([(0.0, 10.0), (15.0, 20.0)], [(4.0, 9.9), (18.0, 19.9)], 3.0),  # a rise shows it as well
        ([(0.0, 10.0), (15.0, 32.0)], [(4.0, 9.9), (18.0, 31.9)], 3.0),  # it was at 10 A in between
        ([(0.0, 10.0), (100.0, 20.0)], [(29.0, 9.9), (120.0, 9.9), (126.0, 19.9)], 26.0),  # late once
        ([(0.0, 10.0), (100.0, 20.0)], [(20.0, 9.9), (120.0, 19.9)], REACTION_S),  # seldom, never late
    ],
)
def test_charger_response_shows_how_long_station_takes_at_most(
    limits: list[tuple[float, float]], draws: list[tuple[float, float]], shown_s: float
) -> None:
    _, response = follow(*limits, draws=draws)
    assert response.learned.shown_s == shown_s


def test_charger_response_of_new_link_shows_nothing_yet() -> None:
    tracker = ConsumptionTracker(make_station("A").evse, 0.0)
    tracker.add_report((32.0, 32.0, 32.0), 1.0)
    tracker.offer(10.0, 2.0)
    tracker.add_report((9.8, 9.8, 9.8), 5.0)
    assert tracker.followed_since is None  # it may be at a limit of before


def test_charger_response_limit_between_two_may_follow_yet() -> None:
    limits = [(0.0, 18.0), (4.0, 11.0), (14.0, 20.0), (20.0, 14.0)]
    for at, drawn_a, follows_a in ((29.0, 18.0, 20.0), (34.0, 11.0, 20.0), (51.0, 14.0, 14.0)):
        tracker, _ = follow(*limits, draws=[(at, drawn_a)])
        assert tracker.follows_a == follows_a


def test_charger_response_lease_that_is_renewed_is_same_cut() -> None:
    manners = ChargerResponse()
    cut(manners, (8.0, 32.0))
    manners.on_limit_accepted(10.0, 1010.0)
    manners.on_draw(9.8, 1018.0)
    assert manners.learned.reaction_s == 18.0


def test_station_that_rounds_down_is_reported_from_car_that_takes_no_more() -> None:
    rounding, small, beginning = ChargerResponse(), ChargerResponse(), ChargerResponse()
    for offered_a, drawn_a in [(12.0, 10.0), (13.0, 13.0), (15.9, 13.0), (16.0, 16.0)]:
        rounding.on_settled_draw(offered_a, drawn_a)
    for offered_a in (12.0, 13.0, 16.0):
        small.on_settled_draw(offered_a, 10.0)
    for offered_a, drawn_a in [(6.0, 0.0), (9.0, 9.0)]:
        beginning.on_settled_draw(offered_a, drawn_a)
    assert rounding.learned.step_a == 2.9
    assert small.learned.step_a == 0.0
    assert beginning.learned.step_a == 0.0


def test_charger_response_fuse_is_given_less_patience_with_slow_stations() -> None:
    def bears(slowest_s: float) -> FuseLoad:
        return FuseWatch(100.0, Fuse.GG, 0.0).on_reading(128.0, 1.0, slowest_s)  # trips after 43 s

    assert bears(0.0) is bears(CUT_S - WAY_S) is FuseLoad.WITHSTOOD
    assert bears(SLOWEST_S) is FuseLoad.OVER


def stepping(now: float) -> PhaseAmps:
    """A load that comes for two minutes in every ten."""
    return (40.0, 40.0, 40.0) if now % 600 < 120 and now > 600 else (10.0, 10.0, 10.0)


def slow() -> SiteHarness:
    site = SiteHarness(
        (make_grid(60.0),), [make_station("A", car=CarModel(), reaction_s=20, report_s=5)], stepping
    )
    site.connect()
    site.wait(1000)
    return site


def test_slow_station_delay_is_learned_from_first_cut() -> None:
    site = slow()
    assert 20.0 <= site.evse_view("A").learned.reaction_s <= 30.0
    assert site.evse_view("A").learned.obeys
    blamed = []
    for _ in range(1200):
        site.step()
        blamed.append("though it may take" in site.evse_view("A").reason)
    assert not any(blamed)


def test_charger_response_survives_a_restart() -> None:
    site = slow()
    site.report("A", NeedsSeen(1, 20_000.0, 7200.0))
    assert site.control.unsaved_evses == {EvseRef("A", 1)}
    site.stored |= site.control.delivery_records(site.control.unsaved_evses, site.now)
    assert site.control.unsaved_evses == set()
    learned = site.evse_view("A").learned
    site.restart()
    assert site.evse_view("A").learned == learned
    site.connect("A")
    site.building = lambda now: (45.0, 45.0, 45.0)
    site.wait(240)
    assert "leaves in 2 h, needs 15 A on average" in site.evse_view("A").reason


def test_charger_response_days_writes_outlive_restart() -> None:
    worn = Quirk(name="wears out", writes_per_day=4)

    def writes(site: SiteHarness, *, seconds: int = 1800) -> int:
        before = len(site.commands)
        site.wait(seconds)
        return len(site.commands) - before

    site = SiteHarness((make_grid(60.0),), [make_station("A", car=CarModel())])
    site.handle(QuirkSelected("A", worn))
    site.connect()
    site.wait(1800)
    assert len(site.commands) <= 4
    site.restart()
    site.handle(QuirkSelected("A", worn))
    site.connect()
    assert writes(site) <= 2  # its fallback and one lease are to be sure of after any link
    held = site.stored[EvseRef("A", 1)]
    assert len(held.written) == 4
