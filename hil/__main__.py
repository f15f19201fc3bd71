"""`python -m hil`: the scenarios, against hardware or its simulation.

    HIL_DEVICE=/dev/serial/by-id/... HIL_DRIVER=eastron-sdm630-v2 [HIL_BAUD=9600] [HIL_UNIT=1]
    [HIL_SECOND_UNIT=2] [HIL_MODULE=waveshare-rtu-io-8ch HIL_MODULE_UNIT=3]

Without HIL_DEVICE they run against simulated meters (of HIL_DRIVER, if set) on a pseudo-terminal, with the
timing of the bus. Exit status: 0 passed, 1 failed, 2 invalid environment.
"""

from __future__ import annotations

import logging
import os
import sys
import tempfile
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from pathlib import Path

import msgspec
import trio

from drivers.errors import ModelFileError
from drivers.input_modules import load_input_module
from drivers.meter_model import load_model
from drivers.settings import InputModuleSettings, MeterSettings
from drivers.simulated import SimulatedInputModule, SimulatedMeter
from hil import scenarios
from hil.bench_bus import BenchBus, HandBus, SimulatedBenchBus
from hil.scenarios import ScenarioError

SIMULATED_DRIVER = "eastron-sdm630-v2"
SIMULATED_MODULE = "waveshare-rtu-io-8ch"
SIMULATED_BAUD = 9600
MEASURED = {
    "voltage_l1": 230.1,
    "voltage_l2": 229.8,
    "voltage_l3": 231.0,
    "current_l1": 12.5,
    "current_l2": 6.0,
    "current_l3": 0.4,
    "power_active_l1": 2876.0,
    "power_active_l2": 1379.0,
    "power_active_l3": 92.0,
    "power_active_total": 4347.0,
    "frequency": 50.01,
    "energy_import_total": 1_234_000.0,
    "energy_export_total": 56_000.0,
}
"""Values of the simulated meters, in V, A, W, Hz, Wh."""

NUMBERS = ("HIL_BAUD", "HIL_UNIT", "HIL_SECOND_UNIT", "HIL_MODULE_UNIT")


class HilEnvironmentError(Exception):
    """The HIL_ variables are invalid. The text names the variable and the remedy."""


class Setup(msgspec.Struct, frozen=True, kw_only=True):
    """Devices on the bus: a meter, perhaps a second one of the same model, and an input module."""

    meter: MeterSettings
    second: MeterSettings | None = None
    module: InputModuleSettings | None = None


def setup_from(environment: Mapping[str, str], device: str) -> Setup:
    """Read the HIL_ variables. Raises HilEnvironmentError."""
    simulated = "HIL_DEVICE" not in environment
    driver = environment.get("HIL_DRIVER")
    if driver is None and not simulated:
        raise HilEnvironmentError("HIL_DEVICE needs HIL_DRIVER: set it to the meter's model")
    numbers: dict[str, int] = {}
    for key in NUMBERS:
        text = environment.get(key, "0")
        if not text.isascii() or not text.isdigit():
            raise HilEnvironmentError(f'{key} is "{text}"; set it to a number')
        numbers[key] = int(text)
    module = environment.get("HIL_MODULE") or (SIMULATED_MODULE if simulated else None)
    try:
        load_model(driver or SIMULATED_DRIVER)
        if module is not None:
            load_input_module(module)
    except ModelFileError as error:
        raise HilEnvironmentError(f"HIL_DRIVER or HIL_MODULE: {error}") from error
    meter = MeterSettings(
        id="meter",
        driver=driver or SIMULATED_DRIVER,
        transport="rtu",
        device=device,
        baud=numbers["HIL_BAUD"] or None,
        unit=numbers["HIL_UNIT"] or 1,
        interval_s=0.5,
        stale_after_s=1.5,
    )
    second = numbers["HIL_SECOND_UNIT"] or (2 if simulated else 0)
    return Setup(
        meter=meter,
        second=msgspec.structs.replace(meter, id="second", unit=second) if second else None,
        module=None
        if module is None
        else InputModuleSettings(
            id="inputs",
            transport="rtu",
            inputs=(0, 1, 2, 3),
            driver=module,
            device=device,
            baud=meter.baud,
            unit=numbers["HIL_MODULE_UNIT"] or 3,
            interval_s=0.25,
        ),
    )


async def run(environment: Mapping[str, str], only: str = "") -> bool:
    """Run the scenarios against what the environment names; return whether all passed."""
    if device := environment.get("HIL_DEVICE"):
        return await run_scenarios(setup_from(environment, device), HandBus(device), only)
    with tempfile.TemporaryDirectory() as folder:
        setup = setup_from(environment, str(Path(folder) / "adapter"))
        async with trio.open_nursery() as nursery:
            units = [each.unit for each in (setup.meter, setup.second) if each is not None]
            meters = [SimulatedMeter(load_model(setup.meter.driver), unit) for unit in units]
            for meter in meters:
                meter.set_values(MEASURED)
            assert setup.module is not None
            module = SimulatedInputModule(setup.module.unit, (True, False, True, False))
            bus = SimulatedBenchBus([*meters, module], Path(folder), nursery, SIMULATED_BAUD)
            await bus.plug()
            passed = await run_scenarios(setup, bus, only)
            nursery.cancel_scope.cancel()
    return passed


async def run_scenarios(setup: Setup, bus: BenchBus, only: str = "") -> bool:
    """Run the scenarios that the setup allows, printing each result; return whether all passed."""
    steps: dict[str, Callable[[], Awaitable[str]]] = {
        "read every quantity": partial(scenarios.read_every_quantity, setup.meter, bus),
        "rates": partial(scenarios.measure_rates, setup.meter, bus),
        "unplug and replug": partial(scenarios.unplug_and_replug, setup.meter, bus),
        "noise": partial(scenarios.survive_noise, setup.meter, bus),
    }
    if setup.second is not None:
        steps["two units"] = partial(scenarios.read_two_units, setup.meter, setup.second, bus)
    if setup.module is not None:
        steps["inputs beside"] = partial(scenarios.read_inputs_beside, setup.meter, setup.module, bus)
    passed = True
    for name, step in steps.items():
        if only not in name:
            continue
        try:
            print(f"PASS  {name}: {await step()}", flush=True)
        except ScenarioError as error:
            passed = False
            print(f"FAIL  {name}: {error}", flush=True)
    return passed


def main() -> int:
    """Run the scenarios; return the exit status."""
    logging.basicConfig(format="      %(message)s", stream=sys.stdout)
    try:
        return 0 if trio.run(run, os.environ) else 1
    except HilEnvironmentError as error:
        print(error)
        return 2


if __name__ == "__main__":
    sys.exit(main())
