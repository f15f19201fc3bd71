"""Keys that take effect while the controller runs, and the comparison of two configurations by them.

A reload applies the keys of LIVE_KEYS at once, without dropping a link, and adds and removes stations. All
other changes are named: they need a restart, and until then the values in use stay as they are.

    plan = plan_reload(in_use, loaded)
    plan.config            # in use from now on
    plan.applied           # ("circuit grid limit_a",)
    plan.needs_restart     # ("listen port",)
    plan.removed           # ("CS02",): its tables stay in plan.config until it is gone, see remove_stations
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import msgspec

from controller.config.backend_rules import backend_names
from controller.config.cross_rules import check_tables
from controller.config.schema import Config, StationConfig

REMOVED_BOOKED_S = 1800.0
"""Least time without an attempt to connect after which a removed station is taken to be gone (s)."""

ALL = frozenset({"*"})

LIVE_KEYS: Mapping[str, frozenset[str]] = {
    "circuit": frozenset(
        {
            "limit_a",
            "limit_w",
            "limit_kva",
            "margin_a",
            "unbalance_a",
            "base_load_a",
            "generation_a",
            "peak_kw",
            "peak_reached_is_free",
        }
    ),
    "load_management": frozenset(
        {"tick_s", "margin_a", "rotation_s", "fallback_a", "fairness", "departures"}
    ),
    "station": frozenset({"label", "circuit"}),
    "station.evse": frozenset({"priority", "mode", "circuit", "phases", "min_a", "max_a", "fallback_a"}),
    "listen": frozenset({"unknown_stations"}),
    "meter": frozenset({"interval_s", "stale_after_s", "frozen_after_s"}),
    "local_csms": ALL,
    "card": ALL,
    "sessions": ALL,
    "calendar": ALL,
    "group": ALL,
    "priority_class": ALL,
    "departure": ALL,
    "prices": ALL,
    "battery": ALL,
    "log": ALL,
}
"""The keys that a reload applies, by table; "*": the whole table."""


class ReloadPlan(msgspec.Struct, frozen=True, kw_only=True):
    """Difference of a loaded configuration to that in use.

    `config` is the one in use with what can be applied. `applied` and `needs_restart` name the changed keys.
    `removed`: stations that are not served any more. They stay in `config`, since they may still draw and
    their messages may still wait for backends.
    """

    config: Config
    applied: tuple[str, ...] = ()
    needs_restart: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()

    @property
    def assumed(self) -> tuple[str, ...]:
        """Return what the controller assumes of removed stations, and what a person has to do."""
        minutes = find_booked_s(self.config) / 60
        return tuple(
            f"station {station}: it may still draw, its EVSEs stay booked until it has not tried to connect "
            f"for {minutes:g} min; disconnect it from its circuit"
            for station in self.removed
        )

    def describe(self) -> dict[str, tuple[str, ...]]:
        """Return the plan as the result of a command."""
        return {"applied": self.applied, "needs_restart": self.needs_restart, "assumed": self.assumed}


def plan_reload(in_use: Config, loaded: Config, removed: Collection[str] = ()) -> ReloadPlan:
    """Compare two configurations, and merge what can be applied into the one in use.

    `removed`: stations of the one in use that an earlier reload has removed.
    """
    found = _Differences(in_use, removed)
    config = found.merge_table("", in_use, loaded, "")
    back = [f"station {station} (added)" for station in removed if station not in found.removed]
    applied, needs_restart = (*back, *found.applied), tuple(found.needs_restart)
    if applied and needs_restart and check_tables(remove_stations(config, found.removed)):
        # What can be applied is only valid together with what cannot, e.g. a limit with lower fallbacks.
        return ReloadPlan(config=in_use, needs_restart=(*applied, *needs_restart), removed=tuple(removed))
    return ReloadPlan(
        config=config, applied=applied, needs_restart=needs_restart, removed=tuple(found.removed)
    )


def find_booked_s(config: Config) -> float:
    """Return how long after its last attempt to connect a removed station stays booked (s)."""
    return max(REMOVED_BOOKED_S, 2 * config.load_management.lease_s)


def remove_stations(config: Config, stations: Collection[str]) -> Config:
    """Return a configuration without these stations; itself if it has none of them."""
    left = tuple(station for station in config.station if station.id not in stations)
    return config if len(left) == len(config.station) else msgspec.structs.replace(config, station=left)


class _Differences:
    def __init__(self, in_use: Config, removed: Collection[str]) -> None:
        self._in_use = in_use
        self._removed_before = removed
        self.applied: list[str] = []
        self.needs_restart: list[str] = []
        self.removed: list[str] = []

    def merge_table(self, table: str, old: Any, new: Any, place: str) -> Any:
        """Return `old` with the live keys of `new`; `table` like "station.evse", `place` for people."""
        changed: dict[str, object] = {}
        for key in old.__struct_fields__:
            before, after = getattr(old, key), getattr(new, key)
            if before == after:
                continue
            inner = f"{table}.{key}" if table else key
            if inner == "station_defaults":  # the stations have its values, and are compared
                changed[key] = after
                continue
            name = f"{place} {key}".strip()
            if isinstance(before, msgspec.Struct) and isinstance(after, msgspec.Struct):
                changed[key] = self.merge_table(inner, before, after, name)
            elif self._is_live(table, key) and not _is_other_phase_count(key, before, after):
                self.applied.append(name)
                changed[key] = after
            elif _are_tables(before) and _are_tables(after) and _ids(before) and _ids(after):
                changed[key] = self._merge_tables(inner, before, after, place)
            else:
                self.needs_restart.append(name)
        return msgspec.structs.replace(old, **changed) if changed else old

    def _merge_tables(self, table: str, old: Any, new: Any, place: str) -> Any:
        """Return the tables of `old` with the live keys of those in `new` that have the same id."""
        name = table.rpartition(".")[2]
        there = {each.id: each for each in new}
        before, merged, added = set(_ids(old)), [], []
        for each in new:
            if each.id in before:
                continue
            is_live = isinstance(each, StationConfig) and _can_be_added(each, self._in_use)
            added += [each] if is_live else []
            changes = self.applied if is_live else self.needs_restart
            changes.append(f"{place} {name} {each.id} (added)".strip())
        for each in old:
            if each.id not in there:
                is_live = isinstance(each, StationConfig) and self._in_use.overlay is None
                self.removed += [each.id] if is_live else []
                if not is_live or each.id not in self._removed_before:
                    changes = self.applied if is_live else self.needs_restart
                    changes.append(f"{place} {name} {each.id} (removed)".strip())
                merged.append(each)
            else:
                where = f"{place} {name} {each.id}".strip()
                merged.append(self.merge_table(table, each, there[each.id], where))
        return (*merged, *added)

    def _is_live(self, table: str, key: str) -> bool:
        keys = LIVE_KEYS.get(table, frozenset())
        return key in keys or keys == ALL or (not table and LIVE_KEYS.get(key) == ALL)


def _can_be_added(station: StationConfig, in_use: Config) -> bool:
    """Return True if the running site has the circuits and backends of a new station.

    The node of an overlay network has the routes of the stations that it started with.
    """
    circuits = {circuit.id for circuit in in_use.circuit}
    placed = {in_use.circuit_of(station, evse) for evse in station.evse}
    backends = {station.owner, *station.observers} - {None}
    return placed <= circuits and backends <= backend_names(in_use).keys() and in_use.overlay is None


def _is_other_phase_count(key: str, before: Any, after: Any) -> bool:
    """Return True for `phases` of another number: what is known of the EVSE is of the former ones."""
    return key == "phases" and len(before) != len(after)


def _are_tables(value: object) -> bool:
    return isinstance(value, tuple) and all(isinstance(each, msgspec.Struct) for each in value)


def _ids(tables: Any) -> list[object]:
    """Return the ids of an array of tables; empty if they have none, or one is there twice."""
    ids = [getattr(each, "id", None) for each in tables]
    return ids if None not in ids and len(set(ids)) == len(ids) else []
