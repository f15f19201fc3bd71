"""Scenario: read every quantity of a meter over RS485, unplug the adapter, plug it in again."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import trio

from drivers.meter_model import MeterModel, load_model
from drivers.meter_service import run_meters
from drivers.reading import MeterState, Quality, Reading
from drivers.settings import MeterSettings
from hil.cable import Cable

FIRST_READING_S = 15.0


class Failed(Exception):
    """A step of the scenario. Its text says what was expected and what was there."""


class Watch:
    """The newest state of the meter, and waiting for one that is wanted."""

    def __init__(self) -> None:
        self.state: MeterState | None = None
        self._news = trio.Event()

    def see(self, state: MeterState) -> None:
        """The meter was polled."""
        self.state = state
        self._news.set()
        self._news = trio.Event()

    async def until(self, wanted: Callable[[Quality], bool], limit_s: float, what: str) -> MeterState:
        """The first new state that is wanted. Raises Failed after `limit_s`."""
        with trio.move_on_after(limit_s):
            while True:
                await self._news.wait()
                if self.state is not None and wanted(self.state.quality):
                    return self.state
        last = f"{self.state.quality}: {self.state.problem}" if self.state else "nothing at all"
        raise Failed(f"{what} within {limit_s:.0f} s; the last state was {last}")


async def read_unplug_replug(meter: MeterSettings, cable: Cable) -> bool:
    """Run the scenario, printing its steps; whether it passed."""
    watch = Watch()
    async with trio.open_nursery() as nursery:
        await nursery.start(run_meters, [meter], watch.see)
        try:
            await _steps(watch, load_model(meter.driver), cable)
            passed, verdict = True, "PASS"
        except Failed as error:
            passed, verdict = False, f"FAIL  {error}"
        nursery.cancel_scope.cancel()
    print(verdict)
    return passed


async def _steps(watch: Watch, model: MeterModel, cable: Cable) -> None:
    state = await watch.until(_good, FIRST_READING_S, "expected a good reading")
    _show(model, state)
    await cable.unplug()
    state = await watch.until(_not_good, cable.patience_s, "expected the loss to be noticed")
    print(f"PASS  unplugged: {state.quality}, {state.problem}")
    await cable.plug()
    await watch.until(_good, cable.patience_s, "expected a good reading again")
    print("PASS  plugged in again: good")


def _good(quality: Quality) -> bool:
    return quality is Quality.GOOD


def _not_good(quality: Quality) -> bool:
    return quality is not Quality.GOOD


def _show(model: MeterModel, state: MeterState) -> None:
    assert state.reading is not None
    values = dict(_quantities(state.reading))
    missing = []
    for quantity, register in model.by_quantity.items():
        if quantity not in values:
            continue
        value = values[quantity]
        verdict = "PASS" if value is not None else "none" if register.optional else "FAIL"
        if verdict == "FAIL":
            missing.append(quantity)
        shown = "-" if value is None else f"{value:.2f}"
        print(f"{verdict}  {quantity:<20} {shown:>14} {register.unit}")
    if missing:
        raise Failed(f"expected a value of {', '.join(missing)}")


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
