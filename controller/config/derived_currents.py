"""Currents of circuits and EVSEs that are declared in kVA and kW."""

from __future__ import annotations

import math

import msgspec

from controller.config.schema import CircuitConfig, Config, EvseConfig, StationConfig

PHASES = 3


def with_derived_currents(config: Config) -> Config:
    """Return the configuration with limit_kva as limits of circuits, and max_kw as currents of EVSEs."""
    volts = config.site.voltage
    return msgspec.structs.replace(
        config,
        circuit=tuple(_derive_circuit(circuit, volts) for circuit in config.circuit),
        station=tuple(_derive_station(station, volts) for station in config.station),
    )


def _derive_circuit(circuit: CircuitConfig, volts: float) -> CircuitConfig:
    """Limit each phase to the transformer's rated current, and all together to its rated power.

    The power is held with measured voltages and nothing reactive, which makes it the apparent power.
    """
    if circuit.limit_kva is None:
        return circuit
    rated_a = circuit.limit_kva * 1000 / (PHASES * volts)
    first, second, third = (min(limit_a, rated_a) for limit_a in circuit.limits_a)
    rated_w = circuit.limit_kva * 1000
    limit_w = rated_w if circuit.limit_w is None else min(circuit.limit_w, rated_w)
    return msgspec.structs.replace(circuit, limit_a=(first, second, third), limit_w=limit_w)


def _derive_station(station: StationConfig, volts: float) -> StationConfig:
    if all(evse.max_kw is None for evse in station.evse):
        return station
    return msgspec.structs.replace(station, evse=tuple(_derive_evse(evse, volts) for evse in station.evse))


def _derive_evse(evse: EvseConfig, volts: float) -> EvseConfig:
    """Turn the power to the car into the current at the input; the minimum is rounded up."""
    watts_per_a = evse.dc_watts_per_ampere(volts)
    if watts_per_a is None or evse.max_kw is None:
        return evse
    max_a = math.floor(evse.max_kw * 10_000 / watts_per_a) / 10
    min_a = math.ceil(evse.min_kw * 10_000 / watts_per_a) / 10
    return msgspec.structs.replace(evse, max_a=max_a, min_a=min_a)
