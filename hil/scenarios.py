"""The scenarios: every quantity, rates, unplug and replug, noise, two units, inputs beside."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager

import msgspec
import trio

from drivers.bus_registry import BusRegistry
from drivers.input_service import run_digital_inputs
from drivers.meter_model import load_model
from drivers.meter_service import run_meters
from drivers.reading import MeterState, Quality, Reading
from drivers.settings import InputModuleSettings, MeterSettings
from hil.bench_bus import BenchBus

FIRST_READING_S = 15.0
RATE_S = 5.0
BAUDS = (9600, 19200, 38400, 115200)


class ScenarioError(Exception):
    """A step of a scenario failed. Its text states what was expected and what was there."""


class StateWatch:
    """The newest states of the meters, and waits for a state."""

    def __init__(self) -> None:
        self.states: dict[str, MeterState] = {}
        self.counts: dict[str, int] = {}
        self.levels: list[tuple[bool, ...]] = []
        self._changed = trio.Event()

    def on_state(self, state: MeterState) -> None:
        """Take the state of a poll."""
        self.states[state.meter] = state
        self.counts[state.meter] = self.counts.get(state.meter, 0) + 1
        self._changed.set()
        self._changed = trio.Event()

    def on_inputs(self, module: str, levels: tuple[bool, ...]) -> None:
        """Take the levels of a module's inputs."""
        self.levels.append(levels)

    async def wait_for(
        self, meter: str, wanted: Callable[[Quality], bool], limit_s: float, expected: str
    ) -> MeterState:
        """Wait for a new state of a meter. Raises ScenarioError after `limit_s` (s)."""
        with trio.move_on_after(limit_s):
            while True:
                await self._changed.wait()
                state = self.states.get(meter)
                if state is not None and wanted(state.quality):
                    return state
        state = self.states.get(meter)
        last = f"{state.quality}: {state.problem}" if state else "none at all"
        raise ScenarioError(f"expected {expected} within {limit_s:.0f} s; the last state was {last}")


@asynccontextmanager
async def polling(
    meters: Sequence[MeterSettings], module: InputModuleSettings | None = None
) -> AsyncIterator[StateWatch]:
    """Poll meters, and a module on the same buses, until the end of the block."""
    watch, registry = StateWatch(), BusRegistry()
    failure: ScenarioError | None = None
    async with trio.open_nursery() as nursery:
        await nursery.start(run_meters, meters, watch.on_state, registry)
        if module is not None:
            nursery.start_soon(run_digital_inputs, [module], watch.on_inputs, registry)
        try:
            yield watch
        except ScenarioError as error:  # it leaves the nursery as it is, not in a group
            failure = error
        nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure


async def read_every_quantity(meter: MeterSettings, bus: BenchBus) -> str:
    """Read each quantity that the model has."""
    async with polling([meter]) as watch:
        state = await watch.wait_for(meter.id, _good, FIRST_READING_S, "a good reading")
    assert state.reading is not None
    values, missing = dict(_quantities(state.reading)), []
    for quantity, register in load_model(meter.driver).by_quantity.items():
        if quantity not in values:
            continue
        value = values[quantity]
        if value is None and not register.optional:
            missing.append(quantity)
        print(f"      {quantity:<20} {'-' if value is None else f'{value:.2f}':>14} {register.unit}")
    if missing:
        raise ScenarioError(f"expected a value of {', '.join(missing)}")
    return f"{sum(value is not None for value in values.values())} quantities"


async def measure_rates(meter: MeterSettings, bus: BenchBus) -> str:
    """Measure how many readings a second each baud rate allows."""
    rates = []
    for baud in (meter.baud,) if meter.baud else BAUDS:
        bus.set_baud(baud)
        if not meter.baud:
            await bus.unplug()
            await bus.plug()
        fast = msgspec.structs.replace(meter, baud=baud, interval_s=0.01)
        async with polling([fast]) as watch:
            await watch.wait_for(meter.id, _good, FIRST_READING_S, f"a good reading at {baud} baud")
            before = watch.counts[meter.id]
            await trio.sleep(RATE_S)
            rates.append(f"{(watch.counts[meter.id] - before) / RATE_S:.1f}/s at {baud}")
    return ", ".join(rates)


async def unplug_and_replug(meter: MeterSettings, bus: BenchBus) -> str:
    """Unplug the adapter and plug it in again."""
    state = await _lose_and_recover(meter, bus, bus.unplug, bus.plug, "the loss to be noticed")
    return f"unplugged: {state.quality}, {state.problem}"


async def survive_noise(meter: MeterSettings, bus: BenchBus) -> str:
    """Disturb the bus, and end it."""
    state = await _lose_and_recover(meter, bus, bus.disturb, bus.calm, "the disturbance to be noticed")
    return f"disturbed: {state.quality}, {state.problem}"


async def _lose_and_recover(
    meter: MeterSettings,
    bus: BenchBus,
    begin: Callable[[], Awaitable[None]],
    end: Callable[[], Awaitable[None]],
    expected: str,
) -> MeterState:
    """Begin and end a fault between good readings; return the meter's state during the fault."""
    async with polling([meter]) as watch:
        await watch.wait_for(meter.id, _good, FIRST_READING_S, "a good reading")
        await begin()
        state = await watch.wait_for(meter.id, _bad, bus.wait_s, expected)
        await end()
        await watch.wait_for(meter.id, _good, bus.wait_s, "a good reading again")
    return state


async def read_two_units(meter: MeterSettings, other: MeterSettings, bus: BenchBus) -> str:
    """Read two units on the bus, one of which does not answer for a while in the simulation."""
    async with polling([meter, other]) as watch:
        for each in (meter, other):
            await watch.wait_for(each.id, _good, FIRST_READING_S, f"a good reading of unit {each.unit}")
        before = dict(watch.counts)
        await trio.sleep(RATE_S)
        counts = {name: watch.counts[name] - before[name] for name in before}
        for each in (meter, other):
            state = watch.states[each.id]
            if state.quality is not Quality.GOOD:
                raise ScenarioError(f"expected unit {each.unit} to stay good; {state.problem}")
    return ", ".join(f"unit {each.unit}: {counts[each.id]} readings" for each in (meter, other))


async def read_inputs_beside(meter: MeterSettings, module: InputModuleSettings, bus: BenchBus) -> str:
    """Read a meter and a digital input module on one adapter."""
    async with polling([meter], module) as watch:
        await watch.wait_for(meter.id, _good, FIRST_READING_S, "a good reading")
        before = watch.counts[meter.id]
        await trio.sleep(RATE_S)
        count = watch.counts[meter.id] - before
    if not watch.levels:
        raise ScenarioError("expected the inputs to be read beside the meter")
    return f"{count} readings and {len(watch.levels)} times {len(watch.levels[-1])} inputs"


def _good(quality: Quality) -> bool:
    return quality is Quality.GOOD


def _bad(quality: Quality) -> bool:
    return quality is not Quality.GOOD


def _quantities(reading: Reading) -> Iterator[tuple[str, float | None]]:
    for quantity, values in (
        ("voltage", reading.voltage_v),
        ("current", reading.current_a),
        ("power_active", reading.power_w),
    ):
        for phase, value in enumerate(values, start=1):
            yield f"{quantity}_l{phase}", value
    yield "power_active_total", reading.power_total_w
    yield "frequency", reading.frequency_hz
    yield "energy_import_total", reading.energy_import_wh
    yield "energy_export_total", reading.energy_export_wh
