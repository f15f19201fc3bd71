"""The whole room in virtual time: an hour of a site, and each thing that can go wrong in it."""

from __future__ import annotations

import msgspec
import pytest

from controller.chargers.quirks import Quirk
from controller.load_management.events import (
    ControlTick,
    GroupLimit,
    LimitAnswered,
    MeterUpdated,
    QuirkSelected,
    StationObserved,
    StationUp,
)
from controller.load_management.evse.limit_delivery import LOW_LEASE_S
from controller.load_management.evse.limit_reasons import RISING
from controller.load_management.metering.fuse_curve import MOTOR_S
from controller.load_management.metering.metered_circuit import BRIDGE_S
from controller.load_management.sharing_settings import SiteSettings
from controller.load_management.site_control import AT_ONCE, SiteControl
from controller.load_management.site_tree import Fuse, PhaseAmps, SiteTree
from controller.model.observations import EvseRef, EvseState, ProfilesTouched, StateSeen, TransactionSeen
from controller.profiles.limit_profiles import LimitKind
from drivers.reading import MeterState, Quality, Reading
from tests.scenario.site_harness import (
    GRID_METER,
    CarModel,
    SiteHarness,
    good_state,
    make_grid,
    make_row,
    make_station,
    stale_state,
)

ONE_PHASE = (0,)
TWO_PHASES = (0, 1)
ROTATIONS = [(0, 1, 2), (1, 2, 0), (2, 0, 1)]


def depot(building: PhaseAmps | None = None) -> SiteHarness:
    """Twelve stations in two rows, cars of one, two and three phases, a building with steps."""
    circuits = (make_grid(125.0), make_row("a", 63.0), make_row("b", 63.0))
    cars = [
        CarModel(32.0),
        CarModel(16.0),
        CarModel(32.0, ONE_PHASE),
        CarModel(16.0, TWO_PHASES),
        CarModel(20.0),
        CarModel(32.0),
    ]
    stations = [
        make_station(f"S{i:02}", "a" if i < 6 else "b", phases=ROTATIONS[i % 3], car=cars[i % 6])
        for i in range(12)
    ]

    def steps(now: float) -> PhaseAmps:
        high = 600 <= now < 1500 or 2400 <= now < 2700
        return (85.0, 70.0, 60.0) if high else (30.0, 25.0, 20.0)

    return SiteHarness(circuits, stations, (lambda now: building) if building else steps)


def test_site_control_stepping_building_stays_within_every_limit() -> None:
    site = depot()
    site.connect()
    site.wait(3600)
    # 1 s until the meter shows a step, 1 s until the stations answer, 3 s until the cars obey; those that
    # have to stop do so when the step has lasted.
    assert site.longest_over("grid", 125.0) <= 6 + MOTOR_S
    assert site.seconds_over("grid", 125.0) <= 2 * (6 + MOTOR_S)
    settled = slice(60, None)  # before, the stations connect with no limit in them
    for name in ("a", "b"):
        assert max(max(amps) for amps in site.row_flowed[name][settled]) <= 63.0
    fullest = [max(amps) for amps in site.flowed[120:]]
    assert sum(fullest) / len(fullest) > 0.85 * 124.0
    assert max(site.limit_changes(ref.station) for ref in site.stations) <= 40


def test_site_control_high_demand_uses_fullest_phase() -> None:
    site = depot((60.0, 60.0, 60.0))
    site.connect()
    site.wait(1800)
    fullest = [max(amps) for amps in site.flowed[300:]]
    cars = sum(fullest) / len(fullest) - 60.0
    assert cars > 0.85 * (125.0 - 1.0 - 60.0)
    assert max(max(amps) for amps in site.flowed[60:]) <= 125.0


def test_nothing_changes_while_nothing_happens() -> None:
    site = depot((60.0, 60.0, 60.0))
    site.connect()
    site.wait(1200)  # S09 has shown by then that it uses two phases, and charges beside the others
    assert all(site.evse_view(ref.station).offered_a >= 6.0 for ref in site.stations)
    before = {ref: len(s.leases) for ref, s in site.stations.items()}
    changes = {ref: site.limit_changes(ref.station) for ref in site.stations}
    site.wait(600)
    assert {ref: site.limit_changes(ref.station) for ref in site.stations} == changes
    renewals = [len(s.leases) - before[ref] for ref, s in site.stations.items()]
    assert max(renewals) <= 11  # a lease of 120 s is renewed at half of its life


def two_rows_of_one(**how: float) -> SiteHarness:
    return SiteHarness(
        (make_grid(40.0),), [make_station("A", car=CarModel(), **how), make_station("B", car=CarModel())]
    )


def test_site_control_stale_meter_brings_all_to_fallback() -> None:
    site = two_rows_of_one()
    site.connect()
    site.wait(120)
    assert site.evse_view("A").offered_a > 15.0
    site.meter = stale_state
    site.wait(int(BRIDGE_S))
    assert all(s.limit_a(site.now) > 6.0 for s in site.stations.values())
    site.wait(10)
    assert [s.limit_a(site.now) for s in site.stations.values()] == [6.0, 6.0]
    assert site.evse_view("A").reason == "meter grid is stale: held at its fallback"


def test_site_control_meter_without_readings_counts_as_dead() -> None:
    site = two_rows_of_one()
    site.connect()
    site.wait(120)
    site.is_reporting = False
    site.wait(45)
    assert site.evse_view("A").offered_a == 6.0
    assert site.circuit_view("grid").meter_quality == "dead"


def test_site_control_offline_station_keeps_current_until_lease_end() -> None:
    site = SiteHarness(
        (make_grid(40.0, meter=None),), [make_station("A", car=CarModel()), make_station("B", car=CarModel())]
    )
    site.connect()
    site.wait(120)
    connected = len(site.flowed)
    lease = site.evse_view("A").offered_a
    assert lease == 19.5
    site.disconnect("A")
    site.wait(30)
    assert site.evse_view("A").reason == "offline: 19.5 A kept free for it"
    assert site.evse_view("B").offered_a == lease
    site.wait(300)
    assert site.evse_view("A").reason == "offline: 6 A kept free for it"
    assert site.evse_view("B").offered_a == 32.0
    assert max(max(amps) for amps in site.flowed[connected:]) <= 40.0


def test_site_control_unknown_station_is_reserved_maximum() -> None:
    site = SiteHarness((make_grid(40.0, meter=None),), [make_station("A"), make_station("B", car=CarModel())])
    site.connect("B")
    site.wait(240)
    assert site.evse_view("B").offered_a == 7.0
    assert site.evse_view("A").reason == "offline: 32 A kept free for it"


def test_site_control_disobedient_station_is_compensated() -> None:
    site = two_rows_of_one(obeys=False)
    site.connect()
    site.wait(600)
    assert site.station("A").draw_a == 32.0
    assert site.evse_view("B").offered_a <= 7.0
    assert site.seconds_over("grid", 40.0) <= 30


def test_station_rejecting_limits_counts_with_maximum_and_is_retried() -> None:
    site = two_rows_of_one()
    site.station("A").refuses = True
    site.connect()
    site.wait(50)
    assert site.evse_view("A").reason == "refuses limits (Rejected): 32 A kept free for it"
    assert site.evse_view("B").offered_a <= 7.0
    site.station("A").refuses = False
    site.wait(180)
    assert 17.0 <= site.evse_view("A").offered_a <= 22.0
    assert site.seconds_over("grid", 40.0) <= 60


def test_site_control_that_stops_leaves_fallbacks_within_limit() -> None:
    site = depot((20.0, 20.0, 20.0))
    site.connect()
    site.wait(300)
    site.is_controlled = False
    site.wait(int(SiteSettings().lease_s) + 10)
    assert all(s.limit_a(site.now) <= 6.0 for s in site.stations.values())
    site.wait(int(LOW_LEASE_S))
    assert all(s.limit_a(site.now) == 6.0 for s in site.stations.values())
    site.wait(10)
    assert max(site.flowed[-1]) <= 125.0
    assert all(max(site.row_flowed[name][-1]) <= 63.0 for name in ("a", "b"))


def test_more_cars_than_minima_take_turns() -> None:
    site = SiteHarness((make_grid(20.0),), [make_station(f"S{i}", car=CarModel()) for i in range(5)])
    site.connect()
    site.wait(4 * 3600)
    energies = [s.energy_as for s in site.stations.values()]
    assert min(energies) > 0.5 * max(energies)
    assert site.seconds_over("grid", 20.0) <= 10  # the moment when all connect without a limit
    assert max(site.limit_changes(ref.station) for ref in site.stations) < 60


def test_site_control_waiting_evse_has_a_reason() -> None:
    site = SiteHarness(
        (make_grid(11.0),), [make_station("A", car=CarModel()), make_station("B", car=CarModel())]
    )
    site.connect()
    site.wait(300)
    assert {s.limit_a(site.now) for s in site.stations.values()} == {0.0, 10.0}
    waits = next(name for name in "AB" if site.station(name).limit_a(site.now) == 0.0)
    assert site.evse_view(waits).reason == "no room for its minimum of 6 A, grid L1 full: waiting"


def test_site_control_newcomer_charges_when_turn_is_over() -> None:
    stations = [make_station("A", car=CarModel()), make_station("B", car=CarModel()), make_station("C")]
    site = SiteHarness((make_grid(14.0),), stations, settings=SiteSettings(rotation_s=600.0))
    site.connect()
    site.wait(650)
    site.plug_in("C", CarModel())
    site.wait(30)
    assert site.evse_view("C").offered_a >= 6.0
    assert site.station("C").draw_a >= 6.0


@pytest.mark.parametrize("report_s", [0, 10])
def test_site_control_turns_change_where_margin_fits_one_more(report_s: int) -> None:
    """23 A for six cars: three charge with 7.6 A, and the minima of four fit into the margin of 1 A."""
    stations = [make_station(name, car=CarModel(16.0), report_s=report_s) for name in "ABCDEF"]
    site = SiteHarness((make_grid(25.0),), stations, lambda now: (1.0, 1.0, 1.0))
    site.connect()
    site.wait(7200)
    received = [station.energy_as / 7200 for station in stations]
    assert sum(received) >= 0.95 * 23.0  # 0.86 before
    assert min(received) >= 3.2  # 0.7 before
    assert max(received) <= 4.4  # 6.5 before
    assert site.seconds_over("grid", 25.0) == 0


def test_site_control_one_phase_car_gives_back_phases_that_it_does_not_use() -> None:
    cars = [
        make_station("A", car=CarModel(32.0, ONE_PHASE)),
        make_station("B", car=CarModel(32.0), phases=(1, 2, 0)),
    ]
    site = SiteHarness((make_grid(40.0), make_row("a", 40.0)), cars)
    site.connect()
    site.wait(300)
    assert site.evse_view("A").offered_a == 19.5
    assert site.evse_view("A").drawn_a == (19.5, 0.0, 0.0)
    site.plug_in("B", CarModel(32.0, ONE_PHASE))
    site.wait(300)
    assert site.evse_view("A").offered_a == site.evse_view("B").offered_a == 32.0


@pytest.mark.parametrize(
    ("car_phases", "shares_a"), [(ONE_PHASE, [6.5, 6.5, 13.0]), ((0, 1, 2), [0.0, 6.5, 6.5])]
)
def test_site_control_waiting_car_shows_its_phases(
    car_phases: tuple[int, ...], shares_a: list[float]
) -> None:
    # L1 has room for two minima. C's station has its own L1 on L2, where nobody charges.
    cars = [
        make_station("A", car=CarModel(32.0, ONE_PHASE)),
        make_station("B", car=CarModel(32.0, ONE_PHASE)),
    ]
    site = SiteHarness((make_grid(14.0),), [*cars, make_station("C", phases=(1, 2, 0))])
    site.connect()
    site.wait(1000)
    site.plug_in("C", CarModel(32.0, car_phases))
    site.wait(100)
    assert site.evse_view("C").offered_a == 0.0
    site.wait(600)
    assert sorted(site.evse_view(name).offered_a for name in "ABC") == shares_a
    assert site.evse_view("C").offered_a == max(shares_a)
    changes = {name: site.limit_changes(name) for name in "ABC"}
    site.wait(900)
    assert {name: site.limit_changes(name) - changes[name] for name in "ABC"} == dict.fromkeys("ABC", 0)


def test_site_control_evse_that_is_removed_while_it_goes_first() -> None:
    cars = [make_station(name, car=CarModel(32.0, ONE_PHASE)) for name in "AB"]
    site = SiteHarness((make_grid(14.0),), [*cars, make_station("C", phases=(1, 2, 0))])
    site.connect()
    site.wait(1000)
    site.plug_in("C", CarModel(32.0, ONE_PHASE))
    site.wait(135)
    assert min(site.evse_view(name).offered_a for name in "AB") == 0.0  # one has stopped for C
    site.replace_site(msgspec.structs.replace(site.site, evses=site.site.evses[:2]), SiteSettings())
    site.wait(300)
    assert [site.evse_view(name).offered_a for name in "AB"] == [6.5, 6.5]


def test_site_control_rest_of_a_small_car_goes_to_the_others() -> None:
    site = SiteHarness(
        (make_grid(40.0),), [make_station("A", car=CarModel(10.0)), make_station("B", car=CarModel())]
    )
    site.connect()
    site.wait(300)
    assert site.evse_view("A").offered_a == 12.0
    assert site.evse_view("A").reason == "all that its car takes"
    assert site.evse_view("B").offered_a == 27.0


def test_site_control_evse_without_car_reserves_nothing() -> None:
    site = SiteHarness((make_grid(40.0),), [make_station("A"), make_station("B", car=CarModel())])
    site.connect()
    site.wait(600)
    assert site.evse_view("A").reason == "no car"
    assert site.station("A").limit_a(site.now) == 6.0
    assert len(site.station("A").leases) <= 3
    assert site.evse_view("B").offered_a == 32.0


def test_foreign_clear_command_sends_both_limits_again() -> None:
    site = two_rows_of_one(answer_s=0.0)
    site.connect()
    site.wait(121)
    a = site.station("A")
    offered = site.evse_view("B").offered_a
    a.fallback_a, a.lease = None, None
    site.report("A", ProfilesTouched("ClearChargingProfile"))
    site.wait(2)
    assert a.fallback_a == 6.0
    assert a.limit_a(site.now) == site.evse_view("A").offered_a
    site.wait(20)
    assert site.evse_view("B").offered_a == offered  # others are not cut for a moment's doubt


def test_site_control_station_without_reports_is_served_steadily() -> None:
    site = two_rows_of_one(report_s=0)
    site.connect()
    site.wait(400)  # A's phases are known by then
    changes = site.limit_changes("A"), site.limit_changes("B")
    site.wait(900)
    assert (site.limit_changes("A"), site.limit_changes("B")) == changes
    assert site.evse_view("A").offered_a == site.evse_view("B").offered_a == 19.5
    assert site.evse_view("A").draw_unknown


@pytest.mark.parametrize("silent", ["A", "B"])
def test_overload_is_cut_where_reports_show_that_current_flows(silent: str) -> None:
    # The car of the silent station draws 10 of its 22 A: to cut it to 10 A would help nothing.
    reporting = "AB".replace(silent, "")
    cars = {silent: CarModel(10.0), reporting: CarModel(32.0)}
    stations = [make_station(each, car=cars[each], report_s=0 if each == silent else 10) for each in "AB"]
    site = SiteHarness((make_grid(45.0),), stations, lambda now: (20.0 if now > 600 else 0.0,) * 3)
    site.connect()
    site.wait(600)
    assert site.evse_view(silent).offered_a > 15.0
    site.wait(10)
    assert site.evse_view(reporting).offered_a <= 14.0
    assert max(site.flowed[-1]) <= 45.0
    assert site.longest_over("grid", 45.0) <= 8


def test_station_that_reports_once_minute_is_served_without_swinging() -> None:
    site = two_rows_of_one(report_s=60)
    site.connect()
    site.wait(600)
    changes = site.limit_changes("A")
    site.wait(1200)
    assert site.limit_changes("A") - changes <= 2
    assert site.evse_view("A").offered_a > 15.0


def test_site_control_answer_from_before_restart_is_ignored() -> None:
    site = two_rows_of_one()
    site.connect()
    site.report("A", StateSeen(1, EvseState.CHARGING))
    site.disconnect("A")
    site.connect("A")
    site.wait(30)
    assert site.evse_view("A").offered_a <= 19.5
    assert site.longest_over("grid", 40.0) <= 6


def test_site_control_overload_is_cut_in_one_urgent_pass() -> None:
    load = [10.0]
    site = SiteHarness(
        (make_grid(63.0),),
        [make_station(f"S{i}", car=CarModel()) for i in range(4)],
        lambda now: (load[0], 5.0, 5.0),
    )
    site.connect()
    site.wait(122)
    load[0] = 30.0
    reading = Reading(time=site.now, current_a=(82.0, 57.0, 57.0))
    commands = site.control.handle(MeterUpdated(good_state(reading)), site.now)
    assert all(command.urgent for command in commands)
    assert sum(site.evse_view(f"S{i}").offered_a for i in range(4)) + 30.0 <= 63.0


def test_overload_that_lasts_while_cars_react_is_not_cut_twice() -> None:
    load = [10.0]
    site = SiteHarness(
        (make_grid(63.0),),
        [make_station(f"S{i}", car=CarModel()) for i in range(4)],
        lambda now: (load[0], 5.0, 5.0),
    )
    site.connect()
    site.wait(122)
    load[0] = 25.0
    before = {ref: len(s.leases) for ref, s in site.stations.items()}
    site.wait(25)
    assert all(len(s.leases) - before[ref] <= 2 for ref, s in site.stations.items())
    # 63 A less the building's 25 A and the margin of 1 A: more than a second cut would leave them.
    assert sum(site.evse_view(f"S{i}").offered_a for i in range(4)) > 30.0


def test_unconfigured_evses_are_not_reported_to_site() -> None:
    site = two_rows_of_one()
    site.handle(StationUp("nobody"))
    site.handle(StationObserved("nobody", StateSeen(1, EvseState.CHARGING)))
    site.handle(StationObserved("A", StateSeen(7, EvseState.CHARGING)))
    site.handle(LimitAnswered(4711, True))
    site.handle(MeterUpdated(MeterState(meter="building", quality=Quality.DEAD)))
    assert [view.ref.station for view in site.control.snapshots.take_view(0).evses] == ["A", "B"]


def test_site_without_stations_does_nothing() -> None:
    control = SiteControl(SiteTree(circuits=(make_grid(40.0),), evses=()), SiteSettings(), 0.0)
    assert control.handle(ControlTick(), 1) == []
    assert control.handle(LimitAnswered(1, True), 1) == []


def test_site_control_view_adds_up() -> None:
    site = two_rows_of_one()
    site.connect()
    site.wait(240)
    circuit = site.circuit_view("grid")
    assert circuit.limit_a == (40.0, 40.0, 40.0)
    assert circuit.measured_a == (39.0, 39.0, 39.0)
    assert circuit.booked_a == (39.0, 39.0, 39.0)
    assert circuit.base_a == (0.0, 0.0, 0.0)
    assert circuit.meter_quality == "good"
    assert site.evse_view("A").drawn_a == (19.5, 19.5, 19.5)
    assert site.evse_view("A").state is EvseState.CHARGING


def test_site_control_rise_waits_until_another_has_left_the_room() -> None:
    slow = make_station("A", max_a=18.0, car=CarModel(), answer_s=20.0)
    site = SiteHarness((make_grid(36.0, meter=None),), [slow, make_station("B"), make_station("C")])
    site.connect()
    site.wait(180)
    assert site.evse_view("A").offered_a == 18.0
    site.plug_in("B", CarModel())
    site.plug_in("C", CarModel())
    statements = set()
    for _ in range(20 + 5):  # until A has answered, and its car has obeyed
        site.step()
        assert max(site.circuit_view("grid").booked_a) <= 35.0
        assert max(site.flowed[-1]) <= 35.0
        statements.add(site.evse_view("C").statement)
    assert RISING in statements
    site.wait(int(SiteSettings().lease_s))
    assert [site.evse_view(name).offered_a for name in "ABC"] == [11.6, 11.6, 11.6]


def test_site_control_meter_fault_lowers_limits_at_once() -> None:
    site = two_rows_of_one()
    site.connect()
    site.wait(121)
    late = site.now + BRIDGE_S + 1
    commands = site.control.handle(MeterUpdated(stale_state(Reading(time=site.now))), late)
    assert [(c.ref.station, c.limit_a) for c in commands] == [("A", 6.0), ("B", 6.0)]


def test_site_control_refused_cut_is_compensated_at_once() -> None:
    stations = [make_station("A", car=CarModel()), make_station("B", car=CarModel()), make_station("C")]
    site = SiteHarness((make_grid(40.0, meter=None),), stations)
    site.connect()
    site.wait(121)
    plugged = TransactionSeen(1, True)
    before = {name: site.evse_view(name).offered_a for name in ("A", "B")}
    cuts = {c.ref.station: c for c in site.control.handle(StationObserved("C", plugged), site.now)}
    # C takes its fallback of 6 A at once: one of the two makes room for it.
    assert {name: cut.limit_a for name, cut in cuts.items()} == {"B": before["B"] - 6.0}
    refusal = LimitAnswered(cuts["B"].token, False, "Rejected")
    further = site.control.handle(refusal, site.now + 1)
    assert [(c.ref.station, c.limit_a) for c in further] == [("A", before["A"] - 6.0)]
    assert site.evse_view("B").reason == f"refuses limits (Rejected): {before['B']:g} A kept free for it"


def test_unmetered_station_that_reports_nothing_is_not_held_back() -> None:
    site = SiteHarness((make_grid(40.0, meter=None),), [make_station("A", car=CarModel(), report_s=0)])
    site.connect()
    site.wait(300)
    assert site.evse_view("A").offered_a == 32.0


def test_site_control_circuit_keeps_own_margin_free() -> None:
    site = SiteHarness(
        (make_grid(63.0, margin_a=10.0),), [make_station(f"S{i}", car=CarModel()) for i in range(4)]
    )
    site.connect()
    site.wait(300)
    flowed = [max(amps) for amps in site.row_flowed["grid"][60:]]
    assert 50.0 < max(flowed) <= 53.0


def test_backend_s_limit_on_whole_site_holds_until_it_is_lifted() -> None:
    site = SiteHarness(
        (make_grid(63.0),),
        [make_station(f"S{i}", car=CarModel()) for i in range(4)],
        lambda now: (5.0, 5.0, 5.0),
    )
    site.connect()
    site.wait(200)
    site.handle(GroupLimit(40.0))
    site.wait(60)
    flowed = [max(amps) for amps in site.row_flowed["grid"][220:]]
    assert 35.0 < max(flowed) <= 39.0
    assert site.evse_view("S0").reason.startswith("the backend limits the site to 40 A: grid L")
    site.handle(GroupLimit(None))
    site.wait(120)
    assert 55.0 < max(max(amps) for amps in site.row_flowed["grid"][280:]) <= 62.0


def test_station_after_pass_gets_fallback_now_and_share_when_due() -> None:
    site = SiteHarness(
        (make_grid(4000.0),), [make_station(name) for name in ("A", "B", *map(str, range(AT_ONCE)))]
    ).control
    site.handle(StationUp("A"), 0.0)
    (fallback,) = site.handle(StationUp("B"), 0.0)
    assert (fallback.ref.station, fallback.kind, fallback.limit_a) == ("B", LimitKind.FALLBACK, 6.0)
    due_at = site.due_at
    assert due_at is not None
    assert due_at > 0.0
    assert "B" in {limit.ref.station for limit in site.handle(ControlTick(), due_at)}
    assert site.due_at is None


def test_quirk_selected_again_makes_no_pass() -> None:
    site = SiteHarness((make_grid(4000.0),), [make_station("A")]).control
    site.handle(StationUp("A"), 0.0)
    site.handle(ControlTick(), 1.0)
    assert site.due_at is None
    site.handle(QuirkSelected("A", Quirk(name="slow", reaction_s=20.0)), 2.0)
    site.handle(ControlTick(), 3.0)
    site.handle(QuirkSelected("A", Quirk(name="slow", reaction_s=20.0)), 3.0)
    assert site.due_at is None


def test_limit_lowered_and_raised_while_site_runs_holds_at_once() -> None:
    site = SiteHarness(
        (make_grid(63.0),),
        [make_station(f"S{i}", car=CarModel()) for i in range(3)],
        lambda now: (5.0, 5.0, 5.0),
    )
    site.connect()
    site.wait(200)
    before = site.control._model.site
    site.replace_site(replace_limit(before, 40.0), SiteSettings(margin_a=2.0))
    site.wait(120)
    lowered = [max(amps) for amps in site.row_flowed["grid"][200:]]
    assert max(lowered[6:]) <= 40.0
    assert min(lowered[60:]) > 34.0, "no EVSE falls back to less than there is"
    site.replace_site(before, SiteSettings())
    site.wait(200)
    raised = [max(amps) for amps in site.row_flowed["grid"][320:]]
    assert 58.0 < max(raised) <= 63.0


def test_priority_raised_while_site_runs_decides_next_pass() -> None:
    site = SiteHarness(
        (make_grid(40.0),), [make_station(f"S{i}", car=CarModel()) for i in range(2)], lambda now: (0.0,) * 3
    )
    site.connect()
    site.wait(200)
    evses = tuple(
        msgspec.structs.replace(evse, priority=5 * index)
        for index, evse in enumerate(site.control._model.site.evses)
    )
    site.replace_site(SiteTree(circuits=site.control._model.site.circuits, evses=evses), SiteSettings())
    site.wait(200)
    assert site.evse_view("S1").offered_a == 32.0
    assert site.evse_view("S0").offered_a < 8.0


def test_station_added_while_site_runs_is_booked_before_it_connects() -> None:
    site = SiteHarness((make_grid(43.0, None),), [make_station("S0", car=CarModel())])
    site.connect()
    site.wait(200)
    assert site.evse_view("S0").offered_a == 32.0
    site.add_station(make_station("S1"))
    assert site.evse_view("S0").offered_a <= 43.0 - 32.0
    site.wait(20)
    site.plug_in("S1", CarModel())  # it draws its maximum before it connects
    site.wait(20)
    site.connect("S1")
    site.wait(400)
    assert site.evse_view("S0").offered_a == pytest.approx(site.evse_view("S1").offered_a, abs=1.0)
    assert site.evse_view("S1").offered_a > 18.0
    assert site.longest_over("grid", 43.0) == 0


def test_limits_of_before_station_was_added_are_answered_by_their_evse() -> None:
    site = SiteHarness(
        (make_grid(200.0),), [make_station("S0", car=CarModel()), make_station("S1", car=CarModel())]
    )
    site.connect("S0")  # its first limits are not answered yet
    site.add_station(make_station("S2"))
    site.wait(200)
    view = site.evse_view("S0")
    assert (view.problem, view.offered_a) == (None, 32.0)


def test_site_in_other_tree_cannot_replace_running_one() -> None:
    site = SiteHarness((make_grid(63.0),), [make_station("S0"), make_station("S1")])
    renamed = msgspec.structs.replace(site.control._model.site.circuits[0], id="other")
    evses = tuple(msgspec.structs.replace(each, circuit="other") for each in site.control._model.site.evses)
    with pytest.raises(ValueError, match="grid connection"):
        site.replace_site(SiteTree(circuits=(renamed,), evses=evses), SiteSettings())


def test_station_removed_while_site_runs_frees_its_current() -> None:
    stations = [make_station(f"S{i}", car=CarModel()) for i in range(3)]
    site = SiteHarness((make_grid(48.0, None),), stations)
    site.connect()
    site.wait(200)
    before_a = site.evse_view("S1").offered_a
    tree = site.control._model.site
    site.replace_site(SiteTree(circuits=tree.circuits, evses=tree.evses[1:]), SiteSettings())
    site.control.handle(LimitAnswered(token=0, accepted=True), site.now)  # of the EVSE that is gone
    site.control.handle(StationObserved("S0", StateSeen(1, EvseState.CHARGING)), site.now)
    site.wait(200)
    assert [view.ref.station for view in site.control.snapshots.take_view(site.now).evses] == ["S1", "S2"]
    after_a = site.evse_view("S1").offered_a
    assert after_a > before_a + 4.0
    assert site.circuit_view("grid").booked_a == pytest.approx((2 * after_a,) * 3, abs=2.0)


def test_evse_moved_and_changed_while_site_runs_keeps_every_limit() -> None:
    circuits = (make_grid(80.0, None), make_row("a", 40.0), make_row("b", 40.0))
    stations = [make_station(f"S{i}", "a", car=CarModel()) for i in range(2)]
    site = SiteHarness(circuits, [*stations, make_station("S2", "b", car=CarModel())])
    site.connect()
    site.wait(200)
    tree, replace = site.control._model.site, msgspec.structs.replace
    first, second, third = tree.evses
    moved = replace(first, circuit="b", max_a=16.0, fallback_a=8.0, phases=(1, 2, 0))
    site.replace_site(SiteTree(circuits=tree.circuits, evses=(moved, second, third)), SiteSettings())
    site.wait(200)
    assert site.evse_view("S0").offered_a == 16.0
    assert site.evse_view("S1").offered_a == 32.0
    assert 8.0 < site.evse_view("S2").offered_a <= 24.0
    for row in ("a", "b"):
        assert max(site.circuit_view(row).booked_a) <= 40.0
    assert site.station("S0").fallback_a == 8.0


def test_lowered_limit_of_metered_circuit_is_obeyed_in_the_same_moment() -> None:
    site = SiteHarness(
        (make_grid(63.0),), [make_station(f"S{i}", car=CarModel()) for i in range(3)], busy_building
    )
    site.connect()
    site.wait(200)
    site.commands.clear()
    site.replace_site(replace_limit(site.site, 40.0), SiteSettings())
    assert site.circuit_view("grid").limit_a == (40.0,) * 3
    assert {command.ref.station for at, command in site.commands if at == site.now} == {"S0", "S1", "S2"}
    assert sum(site.evse_view(f"S{i}").offered_a for i in range(3)) <= 40.0 - 10.0
    assert all(command.urgent for at, command in site.commands if at == site.now)


def busy_building(now: float) -> tuple[float, float, float]:
    return (10.0, 10.0, 10.0)


@pytest.mark.parametrize(
    ("before", "after", "is_cut"), [(Fuse.GG, Fuse.PLAIN, True), (Fuse.PLAIN, Fuse.GG, False)]
)
def test_fuse_changed_while_site_runs_decides_on_surge(before: Fuse, after: Fuse, is_cut: bool) -> None:
    def building(now: float) -> tuple[float, float, float]:
        return (36.0 if 300 <= now < 301 else 10.0,) * 3

    site = SiteHarness((make_grid(63.0, fuse=before),), [make_station("S0", car=CarModel())], building)
    site.connect()
    site.wait(200)
    site.replace_site(replace_root(site.site, fuse=after), SiteSettings())
    site.wait(120)
    assert any(at >= 300 and limit < 32.0 for at, limit in site.station("S0").leases) == is_cut


def test_circuit_added_while_site_runs_limits_evses_that_move_to_it() -> None:
    site = SiteHarness((make_grid(100.0, None),), [make_station(f"S{i}", car=CarModel()) for i in range(3)])
    site.connect()
    site.wait(200)
    tree, replace = site.site, msgspec.structs.replace
    moved = tuple(replace(evse, circuit="row") for evse in tree.evses[:2])
    site.replace_site(
        SiteTree(circuits=(*tree.circuits, make_row("row", 24.0)), evses=(*moved, tree.evses[2])),
        SiteSettings(),
    )
    assert site.evse_view("S0").offered_a + site.evse_view("S1").offered_a <= 24.0
    site.wait(200)
    assert max(max(amps) for amps in site.row_flowed["row"][10:]) <= 24.0
    assert site.evse_view("S2").offered_a == 32.0
    site.replace_site(tree, SiteSettings())  # the circuit is removed
    site.wait(400)
    assert site.evse_view("S0").offered_a > 28.0
    assert [view.id for view in site.control.snapshots.take_view(site.now).circuits] == ["grid"]


def test_meter_added_while_site_runs_stops_no_car_before_its_reading() -> None:
    site = SiteHarness(
        (make_grid(63.0, None, base_load_a=30.0),), [make_station("S0", car=CarModel())], busy_building
    )
    site.connect()
    site.wait(100)
    assert site.evse_view("S0").offered_a == 32.0
    site.replace_site(replace_root(site.site, meter=GRID_METER), SiteSettings())
    assert site.evse_view("S0").offered_a == 32.0
    site.wait(25)
    assert site.circuit_view("grid").measured_a == (42.0, 42.0, 42.0)
    assert all(limit == 32.0 for at, limit in site.station("S0").leases if at > 100)


def test_meter_added_without_reading_leads_to_fallback() -> None:
    site = SiteHarness(
        (make_grid(63.0, None, base_load_a=30.0),), [make_station("S0", car=CarModel())], busy_building
    )
    site.connect()
    site.wait(100)
    site.meter = stale_state
    site.replace_site(replace_root(site.site, meter=GRID_METER), SiteSettings())
    site.wait(40)
    assert site.evse_view("S0").offered_a == site.station("S0").fallback_a


def test_meter_with_another_meaning_is_planned_at_worst_until_it_is_read() -> None:
    site = SiteHarness((make_grid(63.0),), [make_station("S0", car=CarModel())], busy_building)
    site.connect()
    site.wait(1000)
    assert site.evse_view("S0").offered_a == 32.0
    site.meter = stale_state
    site.replace_site(site.site, SiteSettings(), {GRID_METER})  # its ct_ratio was wrong, say
    assert site.evse_view("S0").offered_a == site.station("S0").fallback_a
    site.meter = good_state
    site.wait(400)
    assert site.evse_view("S0").offered_a == 32.0


def test_meter_removed_while_site_runs_leaves_declared_base_load() -> None:
    site = SiteHarness(
        (make_grid(63.0, base_load_a=40.0),), [make_station("S0", car=CarModel())], busy_building
    )
    site.connect()
    site.wait(200)
    assert site.evse_view("S0").offered_a == 32.0
    site.replace_site(replace_root(site.site, meter=None), SiteSettings())
    assert site.evse_view("S0").offered_a == 22.0
    site.wait(100)
    assert site.circuit_view("grid").measured_a is None


def replace_root(site: SiteTree, **keys: object) -> SiteTree:
    root, *others = site.circuits
    return SiteTree(circuits=(msgspec.structs.replace(root, **keys), *others), evses=site.evses)


def replace_limit(site: SiteTree, limit_a: float) -> SiteTree:
    root, *others = site.circuits
    return SiteTree(
        circuits=(msgspec.structs.replace(root, limit_a=(limit_a,) * 3), *others), evses=site.evses
    )


def test_circuit_view_without_cars_reserves_nothing() -> None:
    site = SiteHarness((make_grid(40.0, meter=None),), [make_station("A", car=CarModel()), make_station("B")])
    site.connect()
    site.wait(121)
    both = site.circuit_view("grid")
    assert both.booked_a == (32.0, 32.0, 32.0)
    assert both.reserve_a == (6.0, 6.0, 6.0)
    site.plug_in("A", None)
    site.wait(10)
    assert site.circuit_view("grid").booked_a == (0.0, 0.0, 0.0)
    assert site.circuit_view("grid").reserve_a == (12.0, 12.0, 12.0)


def test_snapshot_of_named_evses_shows_them_as_whole_one_does() -> None:
    site = SiteHarness((make_grid(48.0, None),), [make_station(name) for name in "ABC"])
    site.connect("A", "B")
    site.plug_in("A", CarModel(10.0))
    site.wait(60)
    snapshots, refs = site.control.snapshots, [EvseRef(name, 1) for name in "ACX"]
    whole = {each.ref: each for each in snapshots.take_view(site.now).evses}
    assert snapshots.view_evses(refs, site.now) == [whole[ref] for ref in refs[:2]]
    assert snapshots.draws(refs, site.now) == {refs[0]: (10.0, 10.0, 10.0), refs[1]: None}
    site.station("A").silent = True
    site.wait(3600)
    assert snapshots.take_view(site.now).evses[0].draw_unknown
    assert snapshots.draws(refs[:1], site.now) == {refs[0]: None}


def test_snapshot_is_read_again_if_site_is_replaced_between_its_parts() -> None:
    site = SiteHarness((make_grid(48.0, None),), [make_station(f"S{n}") for n in range(3)])
    site.connect()
    parts = site.control.snapshots.take_parts(site.now)
    next(parts)
    tree = site.control._model.site
    site.replace_site(SiteTree(circuits=tree.circuits, evses=tree.evses[1:]), SiteSettings())
    view = None
    while view is None:
        try:
            parts.send(site.now)
        except StopIteration as ended:
            view = ended.value
    assert view == site.control.snapshots.take_view(site.now)
    assert [each.ref.station for each in view.evses] == ["S1", "S2"]
