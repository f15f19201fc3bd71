"""From the configuration to the site: the only place here that knows how a configuration is written."""

from __future__ import annotations

from collections.abc import Sequence

from controller.config import Circuit as CircuitConfig
from controller.config import Config
from controller.config import Evse as EvseConfig
from controller.ocpp.observations import EvseRef
from controller.site.settings import SiteSettings
from controller.site.tree import Circuit, Evse, PhaseAmps, Site

_PHASES = {"L1": 0, "L2": 1, "L3": 2}


def build_site(config: Config) -> Site:
    """The tree that a checked configuration describes: circuits parents first, EVSEs in its order.

    Raises ValueError for circuits that hang in a ring or from nowhere (the check reports them first).
    """
    evses = [
        _evse(station.id, evse, evse.circuit or station.circuit, config.load_management.fallback_a)
        for station in config.station
        for evse in station.evse
    ]
    return Site(circuits=_parents_first(config.circuit), evses=tuple(evses))


def site_settings(config: Config) -> SiteSettings:
    """The settings of load management, with the site's voltage."""
    chosen = config.load_management
    return SiteSettings(
        tick_s=chosen.tick_s,
        margin_a=chosen.margin_a,
        rotation_s=chosen.rotation_s,
        lease_s=chosen.lease_s,
        voltage_v=config.site.voltage,
    )


def _evse(station: str, evse: EvseConfig, circuit: str, fallback_a: float) -> Evse:
    return Evse(
        ref=EvseRef(station, evse.id),
        circuit=circuit,
        phases=tuple(_PHASES[phase] for phase in evse.phases),
        min_a=evse.min_a,
        max_a=evse.max_a,
        fallback_a=fallback_a,
        priority=evse.priority,
    )


def _parents_first(circuits: Sequence[CircuitConfig]) -> tuple[Circuit, ...]:
    placed: dict[str, Circuit] = {}
    waiting = list(circuits)
    while waiting:
        ready = [circuit for circuit in waiting if circuit.parent is None or circuit.parent in placed]
        if not ready:
            names = ", ".join(circuit.id for circuit in waiting)
            raise ValueError(f"circuits without a way up to the grid connection: {names}")
        for circuit in ready:
            placed[circuit.id] = Circuit(
                id=circuit.id,
                parent=circuit.parent,
                limit_a=_per_phase(circuit.limit_a),
                meter=circuit.meter,
            )
        waiting = [circuit for circuit in waiting if circuit.id not in placed]
    return tuple(placed.values())


def _per_phase(limit_a: float | Sequence[float]) -> PhaseAmps:
    if isinstance(limit_a, int | float):
        return (limit_a, limit_a, limit_a)
    first, second, third = limit_a
    return (first, second, third)
