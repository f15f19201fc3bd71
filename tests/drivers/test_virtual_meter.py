"""Virtual meters: sums, differences, and the quality that their sources leave."""

from __future__ import annotations

import pytest
import trio
from msgspec import structs

from drivers.errors import Cause
from drivers.meter_model import load_model
from drivers.meter_service import run_meters
from drivers.reading import MeterState, PerPhase, Quality, Reading
from drivers.settings import MeterSettings
from drivers.simulated import SimulatedMeter, serve_tcp
from drivers.virtual_meter import VirtualMeter, VirtualMeters, find_source_mistakes
from tests.bounds import HANG_S


def virtual(plus: tuple[str, ...], minus: tuple[str, ...] = (), name: str = "sum") -> MeterSettings:
    return MeterSettings(id=name, driver="virtual", transport="virtual", plus=plus, minus=minus)


def good(meter: str, amps: PerPhase, *, time: float = 0.0, unknown: tuple[int, ...] = ()) -> MeterState:
    reading = Reading(
        time=time, current_a=amps, power_total_w=1000.0, energy_import_wh=50.0, frequency_hz=50.0,
        voltage_v=(230.0, None, None), direction_unknown=unknown,
    )  # fmt: skip
    return MeterState(meter=meter, quality=Quality.GOOD, reading=reading)


def combined(meter: VirtualMeter, *states: MeterState, now: float = 0.0) -> MeterState:
    results = [meter.on_state(state, now) for state in states]
    assert results[:-1] == [None] * (len(states) - 1)
    assert results[-1] is not None
    return results[-1]


def test_virtual_meter_difference_of_site_and_building_is_what_is_left() -> None:
    state = combined(
        VirtualMeter(virtual(("site",), ("building",))),
        good("site", (30.0, 20.0, -5.0), time=2.0),
        good("building", (10.0, 25.0, 5.0), time=1.0),
        now=2.0,
    )
    assert state.quality is Quality.GOOD
    assert state.reading is not None
    assert state.reading.current_a == (20.0, -5.0, -10.0)
    assert (state.reading.power_total_w, state.reading.energy_import_wh) == (0.0, 0.0)
    assert state.reading.voltage_v == (230.0, None, None)
    assert state.reading.time == 1.0


def test_sum_adds_all_phases() -> None:
    state = combined(
        VirtualMeter(virtual(("a", "b"))), good("a", (1.0, 2.0, 3.0)), good("b", (10.0, 20.0, 30.0))
    )
    assert state.reading is not None
    assert state.reading.current_a == (11.0, 22.0, 33.0)


def test_virtual_meter_source_in_trouble_gives_quality_and_name() -> None:
    dead = MeterState(meter="b", quality=Quality.DEAD, problem="unit 2 does not answer")
    state = combined(VirtualMeter(virtual(("a", "b"))), good("a", (1.0, 2.0, 3.0)), dead)
    assert (state.quality, state.cause) == (Quality.DEAD, Cause.SOURCE)
    assert state.problem == "its source b is dead: unit 2 does not answer"


def test_virtual_meter_source_that_is_silent_makes_it_stale() -> None:
    meter = VirtualMeter(virtual(("a", "b")))
    combined(meter, good("a", (1.0, 2.0, 3.0)), good("b", (1.0, 2.0, 3.0)))
    state = meter.on_state(good("a", (1.0, 2.0, 3.0), time=6.0), 6.0)
    assert state is not None
    assert state.quality is Quality.STALE
    assert state.problem == "its source b has no reading for 6 s"


def test_unknown_direction_counts_as_import_also_where_it_is_subtracted() -> None:
    state = combined(
        VirtualMeter(virtual(("site",), ("solar",))),
        good("site", (30.0, 20.0, 5.0)),
        good("solar", (10.0, 10.0, 10.0), unknown=(2,)),
    )
    assert state.reading is not None
    assert state.reading.current_a == (20.0, 30.0, -5.0)
    assert state.reading.direction_unknown == (2,)


def test_sources_of_different_phases_are_implausible() -> None:
    state = combined(
        VirtualMeter(virtual(("a", "b"))), good("a", (1.0, 2.0, 3.0)), good("b", (1.0, None, None))
    )
    assert state.quality is Quality.IMPLAUSIBLE
    assert "current of L2 and L3" in state.problem


def test_virtual_meter_of_virtual_meter_follows() -> None:
    meters = VirtualMeters([virtual(("a", "b"), name="sum"), virtual(("grid",), ("sum",), name="rest")])
    assert list(meters.on_state(good("grid", (50.0, 50.0, 50.0)), 0.0)) == []
    assert list(meters.on_state(good("a", (1.0, 1.0, 1.0)), 0.0)) == []
    derived = list(meters.on_state(good("b", (2.0, 2.0, 2.0)), 0.0))
    assert [state.meter for state in derived] == ["sum", "rest"]
    assert derived[1].reading is not None
    assert derived[1].reading.current_a == (47.0, 47.0, 47.0)


@pytest.mark.parametrize(
    ("meters", "text"),
    [
        ([virtual(("gird",))], 'meter "gird" does not exist'),
        ([virtual(("sum",))], "is computed from itself"),
        ([virtual(("b",), name="a"), virtual(("a",), name="b")], "is computed from itself"),
        ([virtual(("a", "a")), virtual((), name="a")], "names a meter twice"),
    ],
)
def test_virtual_meter_source_errors_are_found(meters: list[MeterSettings], text: str) -> None:
    assert any(mistake.text == text for mistake in find_source_mistakes(meters))


async def test_virtual_meter_is_published_with_sources(nursery: trio.Nursery) -> None:
    models = [SimulatedMeter(load_model("janitza-umg96"), unit) for unit in (1, 2)]
    for meter, amps in zip(models, (30.0, 10.0), strict=True):
        meter.set_values({f"current_l{phase}": amps for phase in (1, 2, 3)})
    port = await nursery.start(serve_tcp, *models)
    meters = [
        MeterSettings(
            id=name, driver="janitza-umg96", transport="tcp", host="127.0.0.1", port=port, unit=unit,
            interval_s=0.05,
        )
        for name, unit in (("site", 1), ("building", 2))
    ]  # fmt: skip
    states: dict[str, MeterState] = {}
    done = trio.Event()

    def on_state(state: MeterState) -> None:
        states[state.meter] = state
        if state.meter == "stations":
            done.set()

    nursery.start_soon(run_meters, [*meters, virtual(("site",), ("building",), "stations")], on_state)
    with trio.fail_after(HANG_S):
        await done.wait()
    assert states["stations"].reading is not None
    assert states["stations"].reading.current_a == pytest.approx((20.0, 20.0, 20.0))
    nursery.cancel_scope.cancel()


def with_backup(now: float, main: MeterState, backup: MeterState) -> MeterState:
    meter = VirtualMeter(structs.replace(virtual(("main",)), backup="cars"))
    meter.on_state(backup, now)
    state = meter.on_state(main, now)
    assert state is not None
    return state


def test_virtual_meter_backup_stands_in_for_dead_source_and_is_named() -> None:
    dead = MeterState(meter="main", quality=Quality.DEAD, problem="unit 2 is silent", cause=Cause.NO_ANSWER)
    cars = structs.replace(good("cars", (6.0, 6.0, 6.0)), stations_alone=True)
    state = with_backup(60.0, dead, cars)
    assert (state.meter, state.quality, state.stations_alone) == ("sum", Quality.GOOD, True)
    assert state.reading is not None
    assert state.reading.current_a == (6.0, 6.0, 6.0)
    assert state.limitation == "the values of cars stand in: its source main is dead: unit 2 is silent"
    assert state.cause is Cause.SOURCE


def test_virtual_meter_backup_is_not_used_while_source_is_good() -> None:
    state = with_backup(0.0, good("main", (9.0, 9.0, 9.0)), good("cars", (6.0, 6.0, 6.0)))
    assert state.reading is not None
    assert state.reading.current_a == (9.0, 9.0, 9.0)
    assert not state.limitation


@pytest.mark.parametrize("quality", [Quality.STALE, Quality.DEAD, Quality.IMPLAUSIBLE])
def test_backup_meter_without_good_reading_replaces_none(quality: Quality) -> None:
    dead = MeterState(meter="main", quality=Quality.DEAD, problem="unit 2 is silent")
    backup = structs.replace(good("cars", (6.0, 6.0, 6.0)), quality=quality)
    assert with_backup(0.0, dead, backup).quality is Quality.DEAD


def test_virtual_meter_backup_with_old_reading_stands_in_for_nothing() -> None:
    dead = MeterState(meter="main", quality=Quality.DEAD, problem="unit 2 is silent")
    assert with_backup(6.0, dead, good("cars", (6.0, 6.0, 6.0))).quality is Quality.DEAD


def test_virtual_meter_backup_in_circle_is_error() -> None:
    one = structs.replace(virtual(("x",), name="one"), backup="two")
    other = virtual(("one",), name="two")
    real = MeterSettings(id="x", driver="janitza-umg96", transport="tcp")
    mistakes = {(each.meter, each.text) for each in find_source_mistakes([one, other, real])}
    assert mistakes == {("one", "is computed from itself"), ("two", "is computed from itself")}
