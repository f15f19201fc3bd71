"""The whole room in virtual time: an hour of a site, and each thing that can go wrong in it."""

from __future__ import annotations

import msgspec
import pytest

from controller.load_management.events import (
    ControlTick,
    GroupLimit,
    LimitAnswered,
    MeterUpdated,
    StationObserved,
    StationUp,
)
from controller.load_management.evse.evse_controller import RISING
from controller.load_management.evse.limit_delivery import LOW_LEASE_S
from controller.load_management.metering.base_load import PLAIN_WAIT_S
from controller.load_management.metering.metered_circuit import BRIDGE_S
from controller.load_management.sharing_settings import SiteSettings
from controller.load_management.site_control import AT_ONCE, SiteControl
from controller.load_management.site_tree import PhaseAmps, SiteTree
from controller.model.observations import EvseState, ProfilesTouched, StateSeen, TransactionSeen
from controller.profiles.limit_profiles import LimitKind
from drivers.reading import MeterState, Quality, Reading
from tests.controller.load_management.toysite import Car, ToySite, good, grid, row, stale, station

ONE_PHASE = (0,)
TWO_PHASES = (0, 1)
ROTATIONS = [(0, 1, 2), (1, 2, 0), (2, 0, 1)]


def depot(building: PhaseAmps | None = None) -> ToySite:
    """Twelve stations in two rows, cars of one, two and three phases, a building with steps."""
    circuits = (grid(125.0), row("a", 63.0), row("b", 63.0))
    cars = [Car(32.0), Car(16.0), Car(32.0, ONE_PHASE), Car(16.0, TWO_PHASES), Car(20.0), Car(32.0)]
    stations = [
        station(f"S{i:02}", "a" if i < 6 else "b", phases=ROTATIONS[i % 3], car=cars[i % 6])
        for i in range(12)
    ]

    def steps(now: float) -> PhaseAmps:
        high = 600 <= now < 1500 or 2400 <= now < 2700
        return (85.0, 70.0, 60.0) if high else (30.0, 25.0, 20.0)

    return ToySite(circuits, stations, (lambda now: building) if building else steps)


def test_site_control_stepping_building_stays_within_every_limit() -> None:
    site = depot()
    site.connect()
    site.run(3600)
    # 1 s until the meter shows a step, 1 s until the stations answer, 3 s until the cars obey; those that
    # have to stop do so when the step has lasted.
    assert site.longest_over("grid", 125.0) <= 6 + PLAIN_WAIT_S
    assert site.seconds_over("grid", 125.0) <= 2 * (6 + PLAIN_WAIT_S)
    settled = slice(60, None)  # before, the stations connect with no limit in them
    for name in ("a", "b"):
        assert max(max(amps) for amps in site.row_flowed[name][settled]) <= 63.0
    fullest = [max(amps) for amps in site.flowed[120:]]
    assert sum(fullest) / len(fullest) > 0.85 * 124.0
    assert max(site.changes(ref.station) for ref in site.stations) <= 40


def test_when_demand_exceeds_supply_fullest_phase_is_used_well() -> None:
    site = depot((60.0, 60.0, 60.0))
    site.connect()
    site.run(1800)
    fullest = [max(amps) for amps in site.flowed[300:]]
    cars = sum(fullest) / len(fullest) - 60.0
    assert cars > 0.85 * (125.0 - 1.0 - 60.0)
    assert max(max(amps) for amps in site.flowed[60:]) <= 125.0


def test_nothing_changes_while_nothing_happens() -> None:
    site = depot((60.0, 60.0, 60.0))
    site.connect()
    site.run(600)
    before = {ref: len(s.leases) for ref, s in site.stations.items()}
    changes = {ref: site.changes(ref.station) for ref in site.stations}
    site.run(600)
    assert {ref: site.changes(ref.station) for ref in site.stations} == changes
    renewals = [len(s.leases) - before[ref] for ref, s in site.stations.items()]
    assert max(renewals) <= 11  # a lease of 120 s is renewed at half of its life


def two_rows_of_one(**how: float) -> ToySite:
    return ToySite((grid(40.0),), [station("A", car=Car(), **how), station("B", car=Car())])


def test_site_control_stale_meter_brings_all_to_fallback() -> None:
    site = two_rows_of_one()
    site.connect()
    site.run(120)
    assert site.view("A").offered_a > 15.0
    site.meter = stale
    site.run(int(BRIDGE_S))
    assert all(s.limit_a(site.now) > 6.0 for s in site.stations.values())
    site.run(10)
    assert [s.limit_a(site.now) for s in site.stations.values()] == [6.0, 6.0]
    assert site.view("A").reason == "meter grid is stale: held at its fallback"


def test_site_control_meter_of_which_no_one_brings_word_counts_as_dead() -> None:
    site = two_rows_of_one()
    site.connect()
    site.run(120)
    site._report = lambda: None  # type: ignore[method-assign]
    site.run(45)
    assert site.view("A").offered_a == 6.0
    assert site.circuit("grid").meter_quality == "dead"


def test_site_control_offline_station_keeps_current_until_lease_end() -> None:
    site = ToySite((grid(40.0, meter=None),), [station("A", car=Car()), station("B", car=Car())])
    site.connect()
    site.run(120)
    connected = len(site.flowed)
    lease = site.view("A").offered_a
    assert lease == 19.5
    site.disconnect("A")
    site.run(30)
    assert site.view("A").reason == "offline: 19.5 A kept free for it"
    assert site.view("B").offered_a == lease
    site.run(300)
    assert site.view("A").reason == "offline: 6 A kept free for it"
    assert site.view("B").offered_a == 32.0
    assert max(max(amps) for amps in site.flowed[connected:]) <= 40.0


def test_site_control_station_that_has_never_been_seen_is_kept_maximum() -> None:
    site = ToySite((grid(40.0, meter=None),), [station("A"), station("B", car=Car())])
    site.connect("B")
    site.run(120)
    assert site.view("B").offered_a == 7.0
    assert site.view("A").reason == "offline: 32 A kept free for it"


def test_site_control_station_that_does_not_obey_is_paid_for_by_others() -> None:
    site = two_rows_of_one(obeys=False)
    site.connect()
    site.run(600)
    assert site.station("A").draw_a == 32.0
    assert site.view("B").offered_a <= 7.0
    assert site.seconds_over("grid", 40.0) <= 30


def test_station_rejecting_limits_counts_with_maximum_and_is_retried() -> None:
    site = two_rows_of_one()
    site.station("A").refuses = True
    site.connect()
    site.run(50)
    assert site.view("A").reason == "refuses limits (Rejected): 32 A kept free for it"
    assert site.view("B").offered_a <= 7.0
    site.station("A").refuses = False
    site.run(180)
    assert 17.0 <= site.view("A").offered_a <= 22.0
    assert site.seconds_over("grid", 40.0) <= 60


def test_site_control_gone_leaves_leases_to_end_and_fallbacks_fit() -> None:
    site = depot((20.0, 20.0, 20.0))
    site.connect()
    site.run(300)
    site.controlled = False
    site.run(int(SiteSettings().lease_s) + 10)
    assert all(s.limit_a(site.now) <= 6.0 for s in site.stations.values())
    site.run(int(LOW_LEASE_S))
    assert all(s.limit_a(site.now) == 6.0 for s in site.stations.values())
    site.run(10)
    assert max(site.flowed[-1]) <= 125.0
    assert all(max(site.row_flowed[name][-1]) <= 63.0 for name in ("a", "b"))


def test_more_cars_than_minima_take_turns() -> None:
    site = ToySite((grid(20.0),), [station(f"S{i}", car=Car()) for i in range(5)])
    site.connect()
    site.run(4 * 3600)
    energies = [s.energy_as for s in site.stations.values()]
    assert min(energies) > 0.5 * max(energies)
    assert site.seconds_over("grid", 20.0) <= 10  # the moment when all connect without a limit
    assert max(site.changes(ref.station) for ref in site.stations) < 60


def test_site_control_waiting_evse_has_a_reason() -> None:
    site = ToySite((grid(11.0),), [station("A", car=Car()), station("B", car=Car())])
    site.connect()
    site.run(300)
    assert {s.limit_a(site.now) for s in site.stations.values()} == {0.0, 10.0}
    waits = next(name for name in "AB" if site.station(name).limit_a(site.now) == 0.0)
    assert site.view(waits).reason == "no room for its minimum of 6 A, grid L1 full: waiting"


def test_site_control_newcomer_charges_when_turn_is_over() -> None:
    stations = [station("A", car=Car()), station("B", car=Car()), station("C")]
    site = ToySite((grid(14.0),), stations, settings=SiteSettings(rotation_s=600.0))
    site.connect()
    site.run(650)
    site.plug("C", Car())
    site.run(30)
    assert site.view("C").offered_a >= 6.0
    assert site.station("C").draw_a >= 6.0


def test_site_control_one_phase_car_gives_back_phases_that_it_does_not_use() -> None:
    cars = [station("A", car=Car(32.0, ONE_PHASE)), station("B", car=Car(32.0), phases=(1, 2, 0))]
    site = ToySite((grid(40.0), row("a", 40.0)), cars)
    site.connect()
    site.run(300)
    assert site.view("A").offered_a == 19.5
    assert site.view("A").drawn_a == (19.5, 0.0, 0.0)
    site.plug("B", Car(32.0, ONE_PHASE))
    site.run(300)
    assert site.view("A").offered_a == site.view("B").offered_a == 32.0


def test_site_control_rest_of_a_small_car_goes_to_the_others() -> None:
    site = ToySite((grid(40.0),), [station("A", car=Car(10.0)), station("B", car=Car())])
    site.connect()
    site.run(300)
    assert site.view("A").offered_a == 12.0
    assert site.view("A").reason == "all that its car takes"
    assert site.view("B").offered_a == 27.0


def test_site_control_evse_without_car_books_nothing_and_is_left_alone() -> None:
    site = ToySite((grid(40.0),), [station("A"), station("B", car=Car())])
    site.connect()
    site.run(600)
    assert site.view("A").reason == "no car"
    assert site.station("A").limit_a(site.now) == 6.0
    assert len(site.station("A").leases) <= 3
    assert site.view("B").offered_a == 32.0


def test_foreign_clear_command_sends_both_limits_again() -> None:
    site = two_rows_of_one(answer_s=0.0)
    site.connect()
    site.run(121)
    a = site.station("A")
    offered = site.view("B").offered_a
    a.floor_a, a.lease = None, None
    site.observe("A", ProfilesTouched("ClearChargingProfile"))
    site.run(2)
    assert a.floor_a == 6.0
    assert a.limit_a(site.now) == site.view("A").offered_a
    site.run(20)
    assert site.view("B").offered_a == offered  # others are not cut for a moment's doubt


def test_site_control_station_without_reports_is_served_steadily() -> None:
    site = two_rows_of_one(report_s=0)
    site.connect()
    site.run(300)
    changes = site.changes("A"), site.changes("B")
    site.run(900)
    assert (site.changes("A"), site.changes("B")) == changes
    assert site.view("A").offered_a == site.view("B").offered_a >= 13.0
    assert site.view("A").draw_unknown


def test_station_that_reports_once_minute_is_served_without_swinging() -> None:
    site = two_rows_of_one(report_s=60)
    site.connect()
    site.run(600)
    changes = site.changes("A")
    site.run(1200)
    assert site.changes("A") - changes <= 2
    assert site.view("A").offered_a > 15.0


def test_site_control_late_answer_of_older_life_is_ignored() -> None:
    site = two_rows_of_one()
    site.connect()
    site.observe("A", StateSeen(1, EvseState.CHARGING))
    site.disconnect("A")
    site.connect("A")
    site.run(30)
    assert site.view("A").offered_a <= 19.5
    assert site.longest_over("grid", 40.0) <= 6


def test_site_control_overload_cuts_all_stations_in_one_urgent_pass() -> None:
    load = [10.0]
    site = ToySite(
        (grid(63.0),), [station(f"S{i}", car=Car()) for i in range(4)], lambda now: (load[0], 5.0, 5.0)
    )
    site.connect()
    site.run(122)
    load[0] = 30.0
    reading = Reading(time=site.now, current_a=(82.0, 57.0, 57.0))
    commands = site.control.handle(MeterUpdated(good(reading)), site.now)
    assert {command.ref.station for command in commands} == {"S0", "S1", "S2", "S3"}
    assert all(command.urgent for command in commands)
    assert sum(command.limit_a for command in commands) + 30.0 <= 63.0


def test_overload_that_lasts_while_cars_react_is_not_cut_twice() -> None:
    load = [10.0]
    site = ToySite(
        (grid(63.0),), [station(f"S{i}", car=Car()) for i in range(4)], lambda now: (load[0], 5.0, 5.0)
    )
    site.connect()
    site.run(122)
    load[0] = 25.0
    before = {ref: len(s.leases) for ref, s in site.stations.items()}
    site.run(25)
    assert all(len(s.leases) - before[ref] <= 2 for ref, s in site.stations.items())
    assert min(site.view(f"S{i}").offered_a for i in range(4)) > 8.0


def test_strangers_report_site_nothing() -> None:
    site = two_rows_of_one()
    site.tell(StationUp("nobody"))
    site.tell(StationObserved("nobody", StateSeen(1, EvseState.CHARGING)))
    site.tell(StationObserved("A", StateSeen(7, EvseState.CHARGING)))
    site.tell(LimitAnswered(4711, True))
    site.tell(MeterUpdated(MeterState(meter="building", quality=Quality.DEAD)))
    assert [view.ref.station for view in site.control.snapshot(0).evses] == ["A", "B"]


def test_site_without_stations_does_nothing() -> None:
    control = SiteControl(SiteTree(circuits=(grid(40.0),), evses=()), SiteSettings(), 0.0)
    assert control.handle(ControlTick(), 1) == []
    assert control.handle(LimitAnswered(1, True), 1) == []


def test_site_control_view_adds_up() -> None:
    site = two_rows_of_one()
    site.connect()
    site.run(120)
    circuit = site.circuit("grid")
    assert circuit.limit_a == (40.0, 40.0, 40.0)
    assert circuit.measured_a == (39.0, 39.0, 39.0)
    assert circuit.booked_a == (39.0, 39.0, 39.0)
    assert circuit.base_a == (0.0, 0.0, 0.0)
    assert circuit.meter_quality == "good"
    assert site.view("A").drawn_a == (19.5, 19.5, 19.5)
    assert site.view("A").state is EvseState.CHARGING


def test_site_control_rise_waits_until_another_has_left_the_room() -> None:
    slow = station("A", max_a=18.0, car=Car(), answer_s=20.0)
    site = ToySite((grid(36.0, meter=None),), [slow, station("B"), station("C")])
    site.connect()
    site.run(180)
    assert site.view("A").offered_a == 18.0
    site.plug("B", Car())
    site.plug("C", Car())
    reasons = set()
    for _ in range(20 + 5):  # until A has answered, and its car has obeyed
        site.step()
        assert max(site.circuit("grid").booked_a) <= 35.0
        assert max(site.flowed[-1]) <= 35.0
        reasons.add(site.view("C").reason)
    assert RISING in reasons
    site.run(int(SiteSettings().lease_s))
    assert [site.view(name).offered_a for name in "ABC"] == [11.6, 11.6, 11.6]


def test_site_control_trouble_with_meter_is_answered_in_same_moment() -> None:
    site = two_rows_of_one()
    site.connect()
    site.run(121)
    late = site.now + BRIDGE_S + 1
    commands = site.control.handle(MeterUpdated(stale(Reading(time=site.now))), late)
    assert [(c.ref.station, c.limit_a) for c in commands] == [("A", 6.0), ("B", 6.0)]


def test_site_control_refused_cut_is_paid_for_by_others_in_same_moment() -> None:
    stations = [station("A", car=Car()), station("B", car=Car()), station("C")]
    site = ToySite((grid(40.0, meter=None),), stations)
    site.connect()
    site.run(121)
    plugged = TransactionSeen(1, True)
    cuts = {c.ref.station: c for c in site.control.handle(StationObserved("C", plugged), site.now)}
    assert {name: cut.limit_a for name, cut in cuts.items()} == {"A": 13.0, "B": 13.5}
    refusal = LimitAnswered(cuts["A"].token, False, "Rejected")
    further = site.control.handle(refusal, site.now + 1)
    assert [(c.ref.station, c.limit_a) for c in further] == [("B", 7.5)]
    assert site.view("A").reason == "refuses limits (Rejected): 19.5 A kept free for it"


def test_unmetered_station_that_reports_nothing_is_not_held_back() -> None:
    site = ToySite((grid(40.0, meter=None),), [station("A", car=Car(), report_s=0)])
    site.connect()
    site.run(300)
    assert site.view("A").offered_a == 32.0


def test_site_control_circuit_keeps_own_margin_free() -> None:
    site = ToySite((grid(63.0, margin_a=10.0),), [station(f"S{i}", car=Car()) for i in range(4)])
    site.connect()
    site.run(300)
    flowed = [max(amps) for amps in site.row_flowed["grid"][60:]]
    assert 50.0 < max(flowed) <= 53.0


def test_backend_s_limit_on_whole_site_holds_until_it_is_lifted() -> None:
    site = ToySite(
        (grid(63.0),), [station(f"S{i}", car=Car()) for i in range(4)], lambda now: (5.0, 5.0, 5.0)
    )
    site.connect()
    site.run(200)
    site.tell(GroupLimit(40.0))
    site.run(60)
    flowed = [max(amps) for amps in site.row_flowed["grid"][220:]]
    assert 35.0 < max(flowed) <= 39.0
    assert site.view("S0").reason.startswith("the backend limits the site to 40 A: grid L")
    site.tell(GroupLimit(None))
    site.run(120)
    assert 55.0 < max(max(amps) for amps in site.row_flowed["grid"][280:]) <= 62.0


def test_station_after_pass_gets_fallback_now_and_share_when_due() -> None:
    site = ToySite((grid(4000.0),), [station(name) for name in ("A", "B", *map(str, range(AT_ONCE)))]).control
    site.handle(StationUp("A"), 0.0)
    (floor,) = site.handle(StationUp("B"), 0.0)
    assert (floor.ref.station, floor.kind, floor.limit_a) == ("B", LimitKind.FALLBACK, 6.0)
    due_at = site.due_at
    assert due_at is not None
    assert due_at > 0.0
    assert "B" in {limit.ref.station for limit in site.handle(ControlTick(), due_at)}
    assert site.due_at is None


def test_limit_lowered_and_raised_while_site_runs_holds_at_once() -> None:
    site = ToySite(
        (grid(63.0),), [station(f"S{i}", car=Car()) for i in range(3)], lambda now: (5.0, 5.0, 5.0)
    )
    site.connect()
    site.run(200)
    before = site.control._model.site
    site.replace_site(replace_limit(before, 40.0), SiteSettings(margin_a=2.0))
    site.run(120)
    lowered = [max(amps) for amps in site.row_flowed["grid"][200:]]
    assert max(lowered[6:]) <= 40.0
    assert min(lowered[60:]) > 34.0, "nobody falls back to less than there is"
    site.replace_site(before, SiteSettings())
    site.run(200)
    raised = [max(amps) for amps in site.row_flowed["grid"][320:]]
    assert 58.0 < max(raised) <= 63.0


def test_priority_raised_while_site_runs_decides_next_pass() -> None:
    site = ToySite((grid(40.0),), [station(f"S{i}", car=Car()) for i in range(2)], lambda now: (0.0,) * 3)
    site.connect()
    site.run(200)
    evses = tuple(
        msgspec.structs.replace(evse, priority=5 * index)
        for index, evse in enumerate(site.control._model.site.evses)
    )
    site.replace_site(SiteTree(circuits=site.control._model.site.circuits, evses=evses), SiteSettings())
    site.run(200)
    assert site.view("S1").offered_a == 32.0
    assert site.view("S0").offered_a < 8.0


def test_site_with_other_evses_cannot_replace_running_one() -> None:
    site = ToySite((grid(63.0),), [station("S0"), station("S1")])
    smaller = SiteTree(circuits=site.control._model.site.circuits, evses=site.control._model.site.evses[:1])
    with pytest.raises(ValueError, match="other circuits or EVSEs"):
        site.replace_site(smaller, SiteSettings())


def replace_limit(site: SiteTree, limit_a: float) -> SiteTree:
    root, *others = site.circuits
    return SiteTree(
        circuits=(msgspec.structs.replace(root, limit_a=(limit_a,) * 3), *others), evses=site.evses
    )


def test_circuit_view_without_cars_books_nothing_and_shows_reserve() -> None:
    site = ToySite((grid(40.0, meter=None),), [station("A", car=Car()), station("B")])
    site.connect()
    site.run(121)
    both = site.circuit("grid")
    assert both.booked_a == (32.0, 32.0, 32.0)
    assert both.reserve_a == (6.0, 6.0, 6.0)
    site.plug("A", None)
    site.run(10)
    assert site.circuit("grid").booked_a == (0.0, 0.0, 0.0)
    assert site.circuit("grid").reserve_a == (12.0, 12.0, 12.0)
