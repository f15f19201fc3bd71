"""`python -m hil`: the scenarios, against hardware or its simulation.

    HIL_DEVICE=/dev/serial/by-id/... HIL_DRIVER=eastron-sdm630-v2 [HIL_BAUD=9600] [HIL_UNIT=1]

Without HIL_DEVICE it runs against a simulated meter (of HIL_DRIVER, if set) on a pseudo-terminal.
Exit status: 0 passed, 1 failed, 2 wrong environment.
"""

from __future__ import annotations

import logging
import os
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import trio

from drivers.errors import ModelFileError
from drivers.meter_model import load_model
from drivers.settings import MeterSettings
from drivers.simulated import SimulatedMeter
from hil.cable import PersonsCable, SimulatedCable
from hil.rs485 import read_unplug_replug

SIMULATED_DRIVER = "eastron-sdm630-v2"
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
"""What the simulated meter shows, in V, A, W, Hz, Wh."""


class EnvironmentWrong(Exception):
    """The HIL_ variables do not fit. Its text names the variable and the mend."""


def settings_from(environment: Mapping[str, str], device: str) -> MeterSettings:
    """The meter that the HIL_ variables describe. Raises EnvironmentWrong."""
    driver = environment.get("HIL_DRIVER")
    if driver is None and "HIL_DEVICE" in environment:
        raise EnvironmentWrong("HIL_DEVICE needs HIL_DRIVER: set it to the meter's register map")
    numbers: dict[str, int] = {}
    for key in ("HIL_BAUD", "HIL_UNIT"):
        text = environment.get(key, "0")
        if not text.isascii() or not text.isdigit():
            raise EnvironmentWrong(f'{key} is "{text}"; set it to a number')
        numbers[key] = int(text)
    try:
        load_model(driver or SIMULATED_DRIVER)
    except ModelFileError as error:
        raise EnvironmentWrong(f"HIL_DRIVER: {error}") from error
    return MeterSettings(
        id="hil",
        driver=driver or SIMULATED_DRIVER,
        transport="rtu",
        device=device,
        baud=numbers["HIL_BAUD"] or None,
        unit=numbers["HIL_UNIT"] or 1,
        interval_s=0.5,
        stale_after_s=1.5,
    )


async def run(environment: Mapping[str, str]) -> bool:
    """Run the scenario against what the environment names; whether it passed. Raises EnvironmentWrong."""
    if device := environment.get("HIL_DEVICE"):
        return await read_unplug_replug(settings_from(environment, device), PersonsCable(device))
    with tempfile.TemporaryDirectory() as folder:
        meter = settings_from(environment, str(Path(folder) / "meter"))
        async with trio.open_nursery() as nursery:
            simulated = SimulatedMeter(load_model(meter.driver), meter.unit)
            simulated.set_values(MEASURED)
            cable = SimulatedCable(simulated, Path(folder), nursery)
            await cable.plug()
            passed = await read_unplug_replug(meter, cable)
            nursery.cancel_scope.cancel()
    return passed


def main() -> int:
    """Run it; the exit status."""
    logging.basicConfig(format="      %(message)s", stream=sys.stdout)
    try:
        return 0 if trio.run(run, os.environ) else 1
    except EnvironmentWrong as error:
        print(error)
        return 2


if __name__ == "__main__":
    sys.exit(main())
