"""Currents of circuits and EVSEs that are declared in kVA and kW."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from controller.config.schema import CircuitConfig, Config, EvseConfig, StationConfig
from controller.tomlcheck.diagnostics import Problem
from controller.tomlcheck.positions import DataPath
from drivers.coded_text import coded, decimal, join_and

USUAL_V = 230.0
"""Voltage that stands for an impossible one (V)."""


def _voltage(voltage: float) -> Iterator[Problem]:
    """Find a voltage that no mains has, or that is the one between two phases (V)."""
    if not 90 <= voltage <= 280:
        between_phases = 340 <= voltage <= 440
        yield Problem(
            ("site", "voltage"),
            coded("{voltage} V is the voltage between two phases", voltage=decimal(voltage))
            if between_phases
            else coded("{voltage} V is not a mains voltage", voltage=decimal(voltage)),
            coded("write the voltage between line and neutral, e.g. 230 (V)"),
        )


def with_derived_currents(config: Config) -> Config:
    """Return the configuration with limit_kva as limits of circuits, and max_kw as currents of EVSEs."""
    volts = config.site.voltage
    return msgspec.structs.replace(
        config,
        circuit=tuple(_derive_circuit(circuit, volts) for circuit in config.circuit),
        station=tuple(_derive_station(station, volts) for station in config.station),
    )


def without_contradictions(config: Config, tables: Mapping[str, Any]) -> tuple[Config, list[Problem]]:
    """Return the configuration without quantities that cannot be meant, and each of them as a problem.

    Without them the rules that follow find what contradicts the other keys, and nothing that only follows.
    `tables`: what the file has, without the defaults.
    """
    problems = list(_voltage(config.site.voltage))
    if problems:
        config = msgspec.structs.replace(config, site=msgspec.structs.replace(config.site, voltage=USUAL_V))
    circuits, stations = list(config.circuit), list(config.station)
    for index, circuit in enumerate(circuits):
        circuits[index], found = _plausible_circuit(circuit, ("circuit", index), config.site.voltage)
        problems += found
    for index, station in enumerate(stations):
        evses = list(station.evse)
        for number, written in enumerate(tables["station"][index].get("evse", ())):
            path = ("station", index, "evse", number)
            if evses[number].max_kw is None:
                problems += _without_power(written, path)
            else:
                evses[number], found = _plausible_evse(evses[number], written, path)
                problems += found
        stations[index] = msgspec.structs.replace(station, evse=tuple(evses))
    return msgspec.structs.replace(config, circuit=tuple(circuits), station=tuple(stations)), problems


def _plausible_circuit(
    circuit: CircuitConfig, path: DataPath, volts: float
) -> tuple[CircuitConfig, list[Problem]]:
    """Return a circuit without a rated power and a base load that cannot be meant, and each as a problem."""
    problems = []
    rated_a = circuit.transformer_a(volts)
    if circuit.limit_kva is not None and rated_a < EvseConfig().min_a:
        what = coded(
            "{limit_kva} kVA are {rated_a} A on each phase: no car charges",
            limit_kva=decimal(circuit.limit_kva),
            rated_a=decimal(rated_a, ".3g"),
        )
        remedy = coded("write the rated power of the transformer that feeds it (kVA), or remove it")
        problems.append(Problem((*path, "limit_kva"), what, remedy))
        circuit = msgspec.structs.replace(circuit, limit_kva=None)
    if circuit.base_load_a is not None and circuit.base_load_a > min(circuit.limits_a):
        what = coded(
            "{base} A are above the limit of {limit} A: the building alone trips the fuse",
            base=decimal(circuit.base_load_a),
            limit=decimal(min(circuit.limits_a)),
        )
        remedy = coded("write the most that the building draws on a phase (A)")
        problems.append(Problem((*path, "base_load_a"), what, remedy))
        circuit = msgspec.structs.replace(circuit, base_load_a=0.0)
    return circuit, problems


def _plausible_evse(
    evse: EvseConfig, written: Mapping[str, Any], path: DataPath
) -> tuple[EvseConfig, list[Problem]]:
    """Return a DC EVSE that has no keys of an AC one, and those that it has as a problem.

    `written`: its keys in the file.
    """
    of_ac = [key for key in ("max_a", "min_a") if key in written]
    if not of_ac:
        return evse, []
    what = coded(
        "{key} beside max_kw: it makes this a DC station, which has {of_dc}",
        key=join_and(of_ac),
        of_dc=join_and([key.replace("_a", "_kw") for key in of_ac]),
    )
    remedy = coded("remove {key}; remove max_kw if it is an AC station", key=join_and(of_ac))
    if not _OF_DC.intersection(written):
        evse = msgspec.structs.replace(evse, max_kw=None)
    return evse, [Problem((*path, of_ac[0]), what, remedy)]


def _without_power(written: Mapping[str, Any], path: DataPath) -> Iterator[Problem]:
    """Find the keys of a DC EVSE among those of one that has no power."""
    for key in sorted(_OF_DC.intersection(written)):
        yield Problem(
            (*path, key),
            coded("is for DC: max_kw is missing"),
            coded("add max_kw, or remove {key}", key=key),
        )


_OF_DC = frozenset({"min_kw", "efficiency", "power_factor", "reserve_kw"})
"""Keys that an AC station does not have."""


def _derive_circuit(circuit: CircuitConfig, volts: float) -> CircuitConfig:
    """Limit each phase to the transformer's rated current, and all together to its rated power.

    The power is held with measured voltages and nothing reactive, which makes it the apparent power.
    """
    if circuit.limit_kva is None:
        return circuit
    rated_a = circuit.transformer_a(volts)
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
