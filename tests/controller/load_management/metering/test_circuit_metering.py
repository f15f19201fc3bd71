"""Meters put to circuits."""

from __future__ import annotations

import msgspec
import pytest

from controller.load_management.evse.consumption import NOTHING, OfferCredit
from controller.load_management.metering.circuit_metering import LOWERED_S, CircuitMetering
from controller.load_management.metering.metered_circuit import BRIDGE_S, OVER_UNEXPLAINED_S, phase_currents
from controller.load_management.metering.plausibility import STILL_S
from controller.load_management.sharing_settings import SiteSettings
from controller.load_management.site_tree import CircuitNode, EvseNode, PhaseAmps, SiteTree
from controller.model.observations import EvseRef
from controller.model.statements import Statement, StatementCode
from drivers.reading import MeterState, PerPhase, Quality, Reading


def circuit(name: str, parent: str | None = None, meter: str | None = None) -> CircuitNode:
    return CircuitNode(id=name, parent=parent, limit_a=(100.0, 100.0, 100.0), meter=meter)


def metering(*circuits: CircuitNode) -> CircuitMetering:
    return CircuitMetering(SiteTree(circuits=circuits, evses=()), SiteSettings(), 0.0)


def state(meter: str, amps: float, quality: Quality = Quality.GOOD, time: float = 0.0) -> MeterState:
    return MeterState(meter=meter, quality=quality, reading=Reading(time=time, current_a=(amps, amps, amps)))


def flat(amps: float) -> PhaseAmps:
    return (amps, amps, amps)


@pytest.mark.parametrize(
    ("reading", "amps"),
    [
        (Reading(time=0, current_a=(1.0, 2.0, 3.0)), (1.0, 2.0, 3.0)),
        (Reading(time=0, power_w=(230.0, 460.0, -230.0)), (1.0, 2.0, -1.0)),
        (Reading(time=0, power_w=(240.0,) * 3, voltage_v=(240.0,) * 3), (1.0, 1.0, 1.0)),
        (Reading(time=0, current_a=(1.0, None, 3.0)), None),
        (Reading(time=0, power_total_w=1000.0), None),
    ],
)
def test_currents_come_from_powers_where_meter_reports_no_others(
    reading: Reading, amps: PerPhase | None
) -> None:
    assert phase_currents(reading, 230.0) == amps


def test_circuit_without_meter_carries_what_childrens_meters_show() -> None:
    meters = metering(
        circuit("grid"),
        circuit("hall", "grid"),
        circuit("row-a", "hall", meter="a"),
        circuit("row-b", "hall", meter="b"),
    )
    meters.on_meter_state(state("a", 10), 1)
    meters.on_meter_state(state("b", 5), 1)
    assert meters.base(1).assumed == {
        "grid": flat(15),
        "hall": flat(15),
        "row-a": flat(10),
        "row-b": flat(5),
    }


def test_circuit_metering_own_meter_covers_whole_circuit() -> None:
    meters = metering(circuit("grid", meter="g"), circuit("row", "grid", meter="a"))
    meters.on_meter_state(state("g", 40), 1)
    meters.on_meter_state(state("a", 10), 1)
    assert meters.base(1).assumed["grid"] == flat(40)


@pytest.mark.parametrize("quality", [Quality.STALE, Quality.DEAD, Quality.IMPLAUSIBLE])
def test_metering_bridges_short_loss_with_worst_of_past(quality: Quality) -> None:
    meters = metering(circuit("grid", meter="g"), circuit("row", "grid"))
    for now, amps in [(0.0, 50.0), (35.0, 50.0), (100.0, 20.0)]:
        meters.on_meter_state(state("g", amps, time=now), now)
    assert meters.base(100).assumed["grid"] == flat(20)
    assert not meters.on_meter_state(state("g", 500, quality), 101)
    assert meters.troubles_above(100 + BRIDGE_S)["row"] is None
    assert meters.base(100 + BRIDGE_S).assumed["grid"] == flat(50)
    meters.on_meter_state(state("g", 500, quality), 101 + BRIDGE_S)
    assert meters.troubles_above(101 + BRIDGE_S)["row"] == Statement(
        code=StatementCode.METER_NOT_GOOD, name="g", quality=quality.value
    )
    assert meters.base(101 + BRIDGE_S).assumed["grid"] == flat(50)


def test_metering_of_building_alone_adds_cars_to_circuit() -> None:
    wired = EvseNode(ref=EvseRef("A", 1), circuit="grid", phases=(0, 1, 2), min_a=6, max_a=32, fallback_a=6)
    grid = CircuitNode(id="grid", parent=None, limit_a=flat(50), meter="g", measures_building=True)
    meters = CircuitMetering(SiteTree(circuits=(grid,), evses=(wired,)), SiteSettings(), 0.0)
    meters.totals.set(wired, OfferCredit.within(flat(20), flat(20), flat(20)))
    assert not meters.on_meter_state(state("g", 25), 1)
    assert meters.base(1).assumed["grid"] == flat(25)
    assert meters.on_meter_state(state("g", 31, time=2.0), 2)


def test_metering_time_above_lower_limit_begins_anew_with_each() -> None:
    wired = EvseNode(ref=EvseRef("A", 1), circuit="g", phases=(0, 1, 2), min_a=6, max_a=32, fallback_a=6)
    site = SiteTree(circuits=(circuit("g", meter="g"),), evses=(wired,))
    meters = CircuitMetering(site, SiteSettings(), 0.0)
    meters.totals.set(wired, OfferCredit.within(flat(16), flat(16), flat(16)))

    def is_above(now: float, limit_a: float | None) -> bool:
        lowered = None if limit_a is None else flat(limit_a)
        return meters.on_meter_state(state("g", 40, time=now), now, limit_a=lowered)

    assert [is_above(now, 30.0) for now in (1, 3, 5)] == [False, False, False]
    assert is_above(1 + LOWERED_S, 30.0)
    assert not is_above(60, None)
    assert not is_above(600, 30.0)
    assert is_above(600 + LOWERED_S, 30.0)


def test_metering_states_when_circuit_is_above_limit_unexplained() -> None:
    meters = metering(circuit("grid", meter="g"))
    for now in range(int(OVER_UNEXPLAINED_S) + 2):
        meters.on_meter_state(state("g", 120, time=now), now)
    metered = meters.metered("grid")
    assert metered is not None
    assert (metered.over_limit, metered.overloads) == (True, 1)
    assert "without all that the stations below may draw" in str(meters.troubles_above(61.5)["grid"])
    meters.on_meter_state(state("g", 90, time=63), 63)
    assert meters.troubles_above(63)["grid"] is None


@pytest.mark.parametrize(("drawn_a", "is_trusted"), [(10.0, False), (19.0, False), (21.0, True)])
def test_metering_draw_that_explains_part_of_overload_is_no_reason(
    drawn_a: float, *, is_trusted: bool
) -> None:
    # 120 A on 100 A: stations that may draw 10 A do not explain it, whatever they do.
    wired = EvseNode(ref=EvseRef("A", 1), circuit="grid", phases=(0, 1, 2), min_a=6, max_a=32, fallback_a=6)
    meters = CircuitMetering(
        SiteTree(circuits=(circuit("grid", meter="g"),), evses=(wired,)), SiteSettings(), 0.0
    )
    meters.totals.set(wired, OfferCredit.within(flat(0), flat(drawn_a), flat(drawn_a)))
    for now in range(int(OVER_UNEXPLAINED_S) + 2):
        meters.on_meter_state(state("g", 120, time=now), now)
    assert (meters.troubles_above(61.5)["grid"] is None) == is_trusted


def test_circuit_metering_meter_without_readings_is_dead() -> None:
    meters = metering(circuit("grid", meter="g"))
    assert meters.quality(circuit("grid"), 0) is Quality.DEAD
    meters.on_meter_state(state("g", 50), 1)
    assert meters.quality(circuit("grid"), 1 + SiteSettings().silence_s) is Quality.GOOD
    assert str(meters.troubles_above(2 + SiteSettings().silence_s)["grid"]) == "meter g is dead"


def test_meter_without_currents_of_each_phase_cannot_be_planned_with() -> None:
    meters = metering(circuit("grid", meter="g"))
    sum_only = MeterState(meter="g", quality=Quality.GOOD, reading=Reading(time=0, power_total_w=9.0))
    assert not meters.on_meter_state(sum_only, 1)
    assert str(meters.troubles_above(1)["grid"]) == ("meter g does not show the current of each phase")


def test_circuit_metering_overload_is_reported() -> None:
    meters = metering(circuit("grid", meter="g"))
    assert not meters.on_meter_state(state("g", 100), 1)
    assert meters.on_meter_state(state("g", 100.1), 2)


def test_circuit_metering_covers_circuits_below_meter() -> None:
    meters = metering(circuit("grid"), circuit("a", "grid", meter="a"), circuit("a1", "a"))
    assert meters.covers == {"grid": False, "a": True, "a1": True}
    assert meters.circuit_of("building") is None


def test_old_reading_that_stands_for_lost_poll_reports_nothing_new() -> None:
    """A car that has stopped since must not be taken for base load that was always there."""
    wired = EvseNode(ref=EvseRef("A", 1), circuit="grid", phases=(0, 1, 2), min_a=6, max_a=32, fallback_a=6)
    meters = CircuitMetering(
        SiteTree(circuits=(circuit("grid", None, "g"),), evses=(wired,)), SiteSettings(), 0.0
    )
    drawing = OfferCredit.within(flat(20), flat(20), flat(20))
    meters.totals.set(wired, drawing)
    meters.on_meter_state(state("g", 30), 1)
    meters.totals.set(wired, NOTHING)
    meters.on_meter_state(state("g", 30), 2)
    assert meters.base(2).assumed["grid"] == flat(10)


def test_circuit_without_meter_counts_its_declared_load() -> None:
    declared = [
        CircuitNode(id="grid", parent=None, limit_a=flat(100), meter="g", base_load_a=5.0),
        CircuitNode(id="hall", parent="grid", limit_a=flat(100), base_load_a=20.0),
        CircuitNode(id="row", parent="hall", limit_a=flat(100), meter="r", base_load_a=7.0),
    ]
    meters = metering(*declared)
    meters.on_meter_state(state("g", 10), 1)
    meters.on_meter_state(state("r", 2), 1)
    assert meters.base(1).assumed == {"grid": flat(10), "hall": flat(22), "row": flat(2)}
    meters.on_meter_state(state("g", 10, Quality.STALE), 2)
    meters.on_meter_state(state("r", 2, Quality.STALE), 2)
    assert meters.base(2).assumed == {"grid": flat(32), "hall": flat(27), "row": flat(7)}


def test_meter_that_may_have_frozen_is_planned_with_at_worst() -> None:
    meters = metering(circuit("grid", meter="g"))
    for second, amps in enumerate([60.0] * 40 + [10.0] * 40):
        meters.on_meter_state(state("g", amps, time=second), second)
    assert meters.base(80).assumed["grid"] == flat(10)
    meters.on_meter_state(msgspec.structs.replace(state("g", 10, time=80), still_s=STILL_S + 1), 80)
    assert meters.base(80).assumed["grid"] == flat(60)
    meters.on_meter_state(state("g", 10.1, time=81), 81)
    assert meters.base(81).assumed["grid"] == flat(10.1)
