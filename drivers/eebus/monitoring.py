"""Monitoring of power consumption (MPC 1.0.0): values of the grid connection's meter, sans-IO.

We are the actor MonitoredUnit. Quantities that the meter does not measure are not described. Consumption is
positive, as in our readings; voltage and frequency have no sign. While the meter cannot be read, its values
are marked as `error`.
"""

from __future__ import annotations

from typing import NamedTuple

from drivers.eebus import spine_features as features
from drivers.eebus.spine_data import (
    ConnectionDescription,
    ConnectionDescriptions,
    MeasurementData,
    MeasurementDescription,
    MeasurementDescriptions,
    MeasurementList,
    ParameterDescription,
    ParameterDescriptions,
    ScaledNumber,
    format_time,
    from_float,
)
from drivers.eebus.spine_features import ELECTRICAL_CONNECTION, MEASUREMENT, Key, LocalDevice, UseCase
from drivers.reading import Reading

NOTIFY_S = 5.0
"""Least time between two notifications of measured values."""


class _Quantity(NamedTuple):
    """Measured quantity: its scenario of MPC, its names in SPINE, and the decimals that are sent."""

    scenario: int
    type: str
    unit: str
    scope: str
    phases: str
    decimals: int


def _quantities(reading: Reading) -> list[tuple[_Quantity, float | None]]:
    """Return all quantities with their values, in the order of their identifiers."""

    def per_phase(scenario: int, type_: str, unit: str, scope: str, decimals: int) -> list[_Quantity]:
        return [_Quantity(scenario, type_, unit, scope, phase, decimals) for phase in "abc"]

    return [
        (_Quantity(1, "power", "W", "acPowerTotal", "abc", 0), _total_w(reading)),
        *zip(per_phase(1, "power", "W", "acPower", 0), reading.power_w, strict=True),
        (_Quantity(2, "energy", "Wh", "acEnergyConsumed", "abc", 0), reading.energy_import_wh),
        (_Quantity(2, "energy", "Wh", "acEnergyProduced", "abc", 0), reading.energy_export_wh),
        *zip(per_phase(3, "current", "A", "acCurrent", 2), reading.current_a, strict=True),
        *zip(per_phase(4, "voltage", "V", "acVoltage", 1), reading.voltage_v, strict=True),
        (_Quantity(5, "frequency", "Hz", "acFrequency", "abc", 2), reading.frequency_hz),
    ]


def _total_w(reading: Reading) -> float | None:
    if reading.power_total_w is not None:
        return reading.power_total_w
    known = [watts for watts in reading.power_w if watts is not None]
    return sum(known) if len(known) == len(reading.power_w) else None


class Monitoring:
    """Data of the measurements; the total power alone is described until the first reading."""

    def __init__(self, local: LocalDevice) -> None:
        self._local = local
        self._described: dict[int, _Quantity] = {}
        self._values: dict[int, ScaledNumber] = {}
        self._notified_at = float("-inf")
        self._pending = False
        self._describe({0: _quantities(Reading(time=0.0))[0][0]})
        local.set_data(MEASUREMENT, features.MEASUREMENTS, MeasurementList())

    @property
    def use_case(self) -> UseCase:
        """Use case with the scenarios that the meter can serve."""
        scenarios = sorted({quantity.scenario for quantity in self._described.values()})
        return UseCase("MonitoredUnit", features.MPC, tuple(scenarios))

    @property
    def deadline(self) -> float | None:
        """Time of the next `tick`; None: nothing is due."""
        return self._notified_at + NOTIFY_S if self._pending else None

    def update(self, reading: Reading | None, now: float, utc: float) -> list[tuple[Key, str]]:
        """Take over a reading; None: the meter cannot be read. Return the functions to be notified."""
        changed: list[tuple[Key, str]] = []
        if reading is not None:
            quantities = dict(enumerate(_quantities(reading)))
            described = {number: each for number, (each, value) in quantities.items() if value is not None}
            if new := described.keys() - self._described.keys():
                self._describe({number: described[number] for number in new} | self._described)
                changed += [
                    (MEASUREMENT, features.MEASUREMENT_DESCRIPTIONS),
                    (ELECTRICAL_CONNECTION, features.PARAMETER_DESCRIPTIONS),
                ]
            self._values = {
                number: from_float(value, each.decimals)
                for number, (each, value) in quantities.items()
                if value is not None
            }
        self._pending |= self._publish(format_time(utc), failed=reading is None)
        return changed + self.tick(now)

    def tick(self, now: float) -> list[tuple[Key, str]]:
        """Return the measurements if a notification of changed values is due."""
        if not self._pending or now < self._notified_at + NOTIFY_S:
            return []
        self._pending, self._notified_at = False, now
        return [(MEASUREMENT, features.MEASUREMENTS)]

    def _publish(self, timestamp: str, *, failed: bool) -> bool:
        """Store the values; False if no value has changed."""
        stored = self._local.data(MEASUREMENT, features.MEASUREMENTS)
        before = stored.measurement_data if isinstance(stored, MeasurementList) else ()
        values = {each.measurement_id: (each.value, each.value_state) for each in before}
        data = tuple(
            MeasurementData(
                measurement_id=number,
                timestamp=timestamp,
                value=self._values.get(number),
                value_state="error" if failed or number not in self._values else None,
            )
            for number in self._described
        )
        self._local.set_data(MEASUREMENT, features.MEASUREMENTS, MeasurementList(measurement_data=data))
        return values != {each.measurement_id: (each.value, each.value_state) for each in data}

    def _describe(self, quantities: dict[int, _Quantity]) -> None:
        self._described = dict(sorted(quantities.items()))
        phases = {each.phases for each in self._described.values() if each.phases != "abc"}
        set_data = self._local.set_data
        set_data(
            MEASUREMENT,
            features.MEASUREMENT_DESCRIPTIONS,
            MeasurementDescriptions(
                measurement_description_data=tuple(
                    MeasurementDescription(
                        measurement_id=number,
                        measurement_type=each.type,
                        commodity_type="electricity",
                        unit=each.unit,
                        scope_type=each.scope,
                    )
                    for number, each in self._described.items()
                )
            ),
        )
        set_data(
            ELECTRICAL_CONNECTION,
            features.CONNECTION_DESCRIPTIONS,
            ConnectionDescriptions(
                electrical_connection_description_data=(
                    ConnectionDescription(
                        electrical_connection_id=0,
                        power_supply_type="ac",
                        ac_connected_phases=len(phases) or 3,
                        positive_energy_direction="consume",
                    ),
                )
            ),
        )
        set_data(
            ELECTRICAL_CONNECTION,
            features.PARAMETER_DESCRIPTIONS,
            ParameterDescriptions(
                electrical_connection_parameter_description_data=tuple(
                    _parameter(number, each) for number, each in self._described.items()
                )
            ),
        )


def _parameter(number: int, quantity: _Quantity) -> ParameterDescription:
    return ParameterDescription(
        electrical_connection_id=0,
        parameter_id=number,
        measurement_id=number,
        voltage_type="ac",
        ac_measured_phases=quantity.phases,
        ac_measured_in_reference_to="neutral" if quantity.phases != "abc" else None,
        ac_measurement_type="real",
        ac_measurement_variant="rms",
        scope_type=quantity.scope,
    )
