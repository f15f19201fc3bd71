"""Currents of circuits and EVSEs that are declared in kVA and kW."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import msgspec

from controller.config.schema import CircuitConfig, Config, EvseConfig, StationConfig
from controller.tomlcheck.diagnostics import Problem
from drivers.coded_text import coded

PHASES = 3


def with_derived_currents(config: Config) -> Config:
    """Return the configuration with limit_kva as limits of circuits, and max_kw as currents of EVSEs."""
    volts = config.site.voltage
    return msgspec.structs.replace(
        config,
        circuit=tuple(_derive_circuit(circuit, volts) for circuit in config.circuit),
        station=tuple(_derive_station(station, volts) for station in config.station),
    )


def without_contradictions(config: Config, tables: Mapping[str, Any]) -> tuple[Config, list[Problem]]:
    """Return the configuration without powers that cannot be derived from, and each of them as a problem.

    Without them the rules that follow find what contradicts the other keys, and nothing that only follows.
    `tables`: what the file has, without the defaults.
    """
    problems: list[Problem] = []
    circuits, stations = list(config.circuit), list(config.station)
    for index, circuit in enumerate(circuits):
        rated_a = (circuit.limit_kva or math.inf) * 1000 / (PHASES * config.site.voltage)
        if rated_a < EvseConfig().min_a:
            problems.append(
                Problem(
                    ("circuit", index, "limit_kva"),
                    coded(
                        "{limit_kva} kVA are {rated_a} A on each phase: no car charges",
                        limit_kva=f"{circuit.limit_kva:g}",
                        rated_a=f"{rated_a:.3g}",
                    ),
                    coded("write the rated power of the transformer that feeds it (kVA), or remove it"),
                )
            )
            circuits[index] = msgspec.structs.replace(circuit, limit_kva=None)
    for index, station in enumerate(stations):
        evses = list(station.evse)
        for number, evse in enumerate(evses):
            written = () if evse.max_kw is None else tables["station"][index]["evse"][number]
            for key, of_dc in (("max_a", "max_kw"), ("min_a", "min_kw")):
                if key in written:
                    what = coded(
                        "{key} stands beside max_kw, which makes it a DC station: {of_dc} counts",
                        key=key,
                        of_dc=of_dc,
                    )
                    remedy = coded("remove {key}; remove max_kw if it is an AC station", key=key)
                    problems.append(Problem(("station", index, "evse", number, key), what, remedy))
                    if not _OF_DC.intersection(written):
                        evses[number] = msgspec.structs.replace(evse, max_kw=None)
        stations[index] = msgspec.structs.replace(station, evse=tuple(evses))
    return msgspec.structs.replace(config, circuit=tuple(circuits), station=tuple(stations)), problems


_OF_DC = frozenset({"min_kw", "efficiency", "power_factor", "reserve_kw"})
"""Keys that an AC station does not have."""


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
