"""Site and settings from a configuration."""

from __future__ import annotations

from controller.config import Config, EvseConfig, StationConfig
from controller.config.energy_rules import find_evses
from controller.load_management.energy.energy_builder import build_energy_settings
from controller.load_management.metering.station_meters import StationMeters
from controller.load_management.sharing_settings import SiteSettings
from controller.load_management.site_tree import CircuitNode, EvseNode, Fuse, SiteTree
from controller.model.observations import EvseRef

_PHASES = {"L1": 0, "L2": 1, "L3": 2}


def build_site(config: Config) -> SiteTree:
    """Build the tree of a checked configuration: circuits parents first, EVSEs in its order.

    Raises ValueError, naming the place, for what the check of the configuration reports as errors:
    circuits in a ring or without a parent that exists, and EVSEs without a circuit.
    """
    return SiteTree(
        circuits=_parents_first(config),
        evses=tuple(_evse(config, station, evse) for station in config.station for evse in station.evse),
    )


def site_settings(config: Config) -> SiteSettings:
    """Build the settings of load management, with the site's voltage."""
    chosen = config.load_management
    slowest_s = max((meter.interval_s + meter.stale_after_s for meter in config.meter), default=0.0)
    return SiteSettings(
        tick_s=chosen.tick_s,
        margin_a=SiteSettings().margin_a if isinstance(chosen.margin_a, str) else chosen.margin_a,
        rotation_s=chosen.rotation_s,
        lease_s=chosen.lease_s,
        writes_per_day=chosen.writes_per_day,
        voltage_v=config.site.voltage,
        silence_s=max(SiteSettings().silence_s, 2 * slowest_s),
        energy=build_energy_settings(config),
    )


def build_station_meters(config: Config, site: SiteTree) -> StationMeters:
    """Build the meters that are made of the stations' own values."""
    return StationMeters([meter.settings() for meter in config.meter], site)


def find_refs(config: Config, name: str) -> list[EvseRef]:
    """Return the EVSEs that a name means: of a STATION, the one of STATION/EVSE; all for an empty one."""
    names = [name] if name else [station.id for station in config.station]
    return [EvseRef(*ref) for each in names for ref in find_evses(config, each)]


def _evse(config: Config, station: StationConfig, evse: EvseConfig) -> EvseNode:
    circuit = config.circuit_of(station, evse)
    if circuit is None:
        raise ValueError(f"station {station.id}, EVSE {evse.id}: no circuit; give it or its station one")
    return EvseNode(
        ref=EvseRef(station.id, evse.id),
        circuit=circuit,
        phases=tuple(_PHASES[phase] for phase in evse.phases),
        min_a=evse.min_a,
        max_a=evse.max_a,
        fallback_a=config.fallback_a(evse),
        priority=evse.priority,
        surplus=evse.mode == "surplus",
        is_controllable=evse.is_controllable,
        phase_switching=evse.phase_switching,
        reports_on_grid=evse.reports_on == "grid",
        is_dc=evse.max_kw is not None,
        reserve_a=evse.reserve_a(config.site.voltage),
        watts_per_a=evse.watts_per_phase_ampere(config.site.voltage),
        divides_watts=evse.watts_for == "all-phases",
        is_site=station.mode == "overlay",
    )


def _parents_first(config: Config) -> tuple[CircuitNode, ...]:
    placed: dict[str, CircuitNode] = {}
    waiting = list(config.circuit)
    while waiting:
        ready = [circuit for circuit in waiting if circuit.parent is None or circuit.parent in placed]
        if not ready:
            names = ", ".join(circuit.id for circuit in waiting)
            raise ValueError(f"circuits that the grid connection does not feed: {names}")
        for circuit in ready:
            placed[circuit.id] = CircuitNode(
                id=circuit.id,
                parent=circuit.parent,
                limit_a=circuit.limits_a,
                meter=circuit.meter,
                margin_a=None if isinstance(circuit.margin_a, str) else circuit.margin_a,
                learns_margin=isinstance(config.margin_a(circuit), str),
                fuse=Fuse(circuit.fuse),
                limit_w=circuit.limit_w,
                unbalance_a=circuit.unbalance_a,
                base_load_a=circuit.base_load_a or 0.0,
                generation_a=circuit.generation_a,
                measures_building=circuit.measures == "building",
            )
        waiting = [circuit for circuit in waiting if circuit.id not in placed]
    return tuple(placed.values())
