"""EVSEs of a station that the configuration does not name: counted at their worst case, limited, shown."""

from __future__ import annotations

import pytest

from controller.chargers.quirks import Quirk
from controller.load_management.events import (
    ControlTick,
    LimitAnswered,
    QuirkSelected,
    SetLimit,
    SiteEvent,
    StationDown,
    StationObserved,
    StationUp,
)
from controller.load_management.sharing_settings import SiteSettings
from controller.load_management.site_control import SiteControl
from controller.load_management.site_tree import EvseNode, SiteTree
from controller.load_management.site_view import UnconfiguredView
from controller.model.observations import (
    Booted,
    DrawSeen,
    EvseRef,
    EvseState,
    Observation,
    StateSeen,
    TransactionSeen,
)
from controller.profiles.limit_profiles import LimitKind
from tests.scenario.site_harness import make_grid

THIRD = EvseRef("A", 3)


def make_evse(number: int, station: str = "A") -> EvseNode:
    return EvseNode(
        ref=EvseRef(station, number), circuit="grid", phases=(0, 1, 2), min_a=6, max_a=32, fallback_a=6
    )


class UnmeteredSite:
    """Station A with `count` configured EVSEs and station B, on one circuit without a meter."""

    def __init__(self, count: int = 2, limit_a: float = 64.0) -> None:
        evses = (*(make_evse(number) for number in range(1, count + 1)), make_evse(1, "B"))
        tree = SiteTree(circuits=(make_grid(limit_a, meter=None),), evses=evses)
        self._control = SiteControl(tree, SiteSettings(), 0.0)
        self.accepts = True
        self.sent: list[SetLimit] = []
        self.now = 0.0
        for station in ("A", "B"):
            self.handle(StationUp(station))
        self.observe(*(StateSeen(number, EvseState.AVAILABLE) for number in range(1, count + 1)))
        self.handle(StationObserved("B", StateSeen(1, EvseState.CHARGING)))
        self.run(20)

    def handle(self, event: SiteEvent) -> None:
        commands = self._control.handle(event, self.now)
        self.sent += commands
        for command in commands:
            accepted = self.accepts or command.ref != THIRD
            self.handle(LimitAnswered(command.token, accepted, "" if accepted else "Rejected"))

    def observe(self, *observations: Observation) -> None:
        for observation in observations:
            self.handle(StationObserved("A", observation))
        self.run(1)

    def plug_in(self, number: int) -> None:
        self.observe(TransactionSeen(number, True), StateSeen(number, EvseState.CHARGING))

    def run(self, seconds: int) -> None:
        for _ in range(seconds):
            self.now += 1.0
            self.handle(ControlTick())

    def limits_of(self, ref: EvseRef) -> list[tuple[LimitKind, float]]:
        return [(each.kind, each.limit_a) for each in self.sent if each.ref == ref]

    @property
    def booked_a(self) -> float:
        return self._control.snapshots.take_view(self.now).circuits[0].booked_a[0]

    @property
    def unconfigured(self) -> UnconfiguredView:
        [view] = self._control.snapshots.take_view(self.now).unconfigured
        return view

    @property
    def notices(self) -> list[str]:
        return [str(line) for line in self._control.take_log() if line.warning]


def test_unconfigured_evse_of_station_with_several_is_held_at_fallback() -> None:
    site = UnmeteredSite()
    site.plug_in(3)
    assert site.limits_of(THIRD) == [(LimitKind.FALLBACK, 6), (LimitKind.LEASE, 6)]
    site.run(20)
    assert site.unconfigured.is_limited
    assert site.unconfigured.booked_a == 6
    # B rises by its last 3 A with a later lease.
    assert site.booked_a in (29 + 6, 32 + 6)


def test_unconfigured_evse_without_car_is_limited_before_one_comes() -> None:
    site = UnmeteredSite()
    site.observe(StateSeen(3, EvseState.AVAILABLE))
    assert (LimitKind.FALLBACK, 6) in site.limits_of(THIRD)
    assert site.unconfigured.booked_a == 0
    assert site.notices == []


def test_unconfigured_evse_that_refuses_limits_is_booked_at_its_maximum() -> None:
    site = UnmeteredSite(limit_a=40.0)
    site.accepts = False
    site.plug_in(3)
    site.run(20)
    assert not site.unconfigured.is_limited
    assert site.unconfigured.booked_a == 32
    [share] = [limit for kind, limit in site.limits_of(EvseRef("B", 1))[-1:] if kind is LimitKind.LEASE]
    assert share <= 40 - 32


def test_unconfigured_evse_that_draws_above_its_limit_is_booked_with_it() -> None:
    site = UnmeteredSite()
    site.plug_in(3)
    site.run(20)
    site.observe(DrawSeen(3, (25.0, 25.0, 25.0)))
    assert not site.unconfigured.is_limited
    assert site.unconfigured.booked_a == 25


def test_unconfigured_evse_is_warned_of_with_the_table_to_add() -> None:
    site = UnmeteredSite()
    site.plug_in(3)
    [text] = site.notices
    assert "EVSE not configured evse=A/3" in text
    assert '[[station.evse]] id = 3 phases = ["L1", "L2", "L3"] max_a = 32' in text
    site.run(60)
    assert site.notices == []


def test_unconfigured_evse_gets_its_limits_again_after_boot() -> None:
    site = UnmeteredSite()
    site.plug_in(3)
    site.run(20)
    site.sent.clear()
    site.observe(Booted("V", "M"))
    assert (LimitKind.FALLBACK, 6) in site.limits_of(THIRD)


def test_unconfigured_evse_number_without_profile_id_is_not_limited() -> None:
    site = UnmeteredSite()
    site.plug_in(5_000_000)
    assert site.limits_of(EvseRef("A", 5_000_000)) == []
    assert site.unconfigured.booked_a == 32


def test_unconfigured_evse_under_limit_of_whole_station_shares_it() -> None:
    site = UnmeteredSite(count=1, limit_a=80.0)
    site.plug_in(2)
    site.run(20)
    assert site.limits_of(EvseRef("A", 2)) == []
    assert site.unconfigured.shares_limit
    site.observe(DrawSeen(2, (5.9, 5.9, 5.9)))
    assert site.unconfigured.is_limited
    assert site.booked_a == 32 + 6  # the fallback of the whole station


@pytest.mark.parametrize("report", [DrawSeen(2, (20.0, 20.0, 20.0)), StateSeen(2, EvseState.CHARGING)])
def test_unconfigured_evse_not_seen_under_station_limit_is_booked_beside(report: Observation) -> None:
    site = UnmeteredSite(count=1, limit_a=80.0)
    site.plug_in(2)
    site.run(20)
    site.observe(report)
    assert site.booked_a == 32 + 6 + 32


def test_unconfigured_evse_of_single_one_with_limit_per_evse_is_limited() -> None:
    site = UnmeteredSite(count=1)
    site.handle(QuirkSelected("A", Quirk(name="no station purpose", purpose="tx-default")))
    site.plug_in(2)
    assert (LimitKind.FALLBACK, 6) in site.limits_of(EvseRef("A", 2))


def test_unconfigured_evse_of_station_that_is_gone_may_have_a_car() -> None:
    site = UnmeteredSite(count=1)
    site.observe(StateSeen(2, EvseState.AVAILABLE))
    site.handle(StationDown("A"))
    site.run(1)
    assert site.unconfigured.may_draw
    assert site.booked_a >= 32 + 6
