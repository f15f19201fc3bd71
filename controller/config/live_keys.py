"""Keys that take effect while the controller runs, and the comparison of two configurations by them.

A reload applies the keys of LIVE_KEYS at once, and adds and removes backends, circuits, meters and stations.
All other changes are named: they need a restart, and until then the values in use stay as they are.

    plan = plan_reload(in_use, loaded)
    plan.config            # in use from now on
    plan.applied           # ("circuit grid limit_a",)
    plan.needs_restart     # ("listen port",)
    plan.waiting           # ("station CS01 owner",): until its transaction has ended
    plan.removed           # ("CS02",): its tables stay in plan.config until it is gone, see remove_stations
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import msgspec

from controller.config.backend_rules import backend_names, endpoints_by_backend
from controller.config.cross_rules import check_tables
from controller.config.schema import BackendConfig, CircuitConfig, Config, MeterConfig, StationConfig

REMOVED_BOOKED_S = 1800.0
"""Least time without an attempt to connect after which a removed station is taken to be gone (s)."""

ALL = frozenset({"*"})

OWNER_KEYS = frozenset(
    {
        "owner",
        "observers",
        "when_backend_away",
        "grace_s",
        "authorise_when_away",
        "stop_unauthorised",
    }
)
"""The keys of a station about its backends: with another owner, they are only valid together."""

LIVE_KEYS: Mapping[str, frozenset[str]] = {
    "backend": frozenset(
        {
            "url",
            "ca",
            "certificate",
            "key",
            "password_file",
            "connect_timeout_s",
            "compression",
            "observe",
            "commands",
            "priority",
            "group",
            "mode",
            "node",
            "est_url",
            "renew_by_ocpp",
        }
    ),
    "circuit": frozenset(CircuitConfig.__struct_fields__),
    "load_management": frozenset(
        {"tick_s", "margin_a", "rotation_s", "fallback_a", "fairness", "departures"}
    ),
    "station": frozenset({"label", "circuit", "password_file", "ping_s", "protocol", "quirk", *OWNER_KEYS}),
    "station.evse": frozenset({"priority", "mode", "circuit", "phases", "min_a", "max_a", "fallback_a"}),
    "listen": frozenset({"unknown_stations"}),
    "overlay": frozenset({"route", "group"}),
    "meter": frozenset(MeterConfig.__struct_fields__),
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
    "web": frozenset({"names", "open_status", "role", "certificate", "key"}),
}
"""The keys that a reload applies, by table; "*": the whole table."""

DC_KEYS = frozenset({"max_kw", "min_kw", "efficiency", "power_factor", "reserve_kw"})
"""The keys of an EVSE that a reload applies while it stays a DC one: others have no power in kW."""
_OF_POWER = frozenset({"min_a", "max_a"})
"""The keys that follow from those of a DC EVSE."""


class ReloadPlan(msgspec.Struct, frozen=True, kw_only=True):
    """Difference of a loaded configuration to that in use.

    `config` is the one in use with what can be applied. `applied` and `needs_restart` name the changed keys,
    `waiting` those that can be applied later, without a restart: once a transaction has ended, or a removed
    station is gone. `removed`: stations that are not served any more. They stay in `config`, since they may
    still draw and their messages may still wait for backends. `removed_backends`: names of backends that
    `config` has no more.
    """

    config: Config
    applied: tuple[str, ...] = ()
    needs_restart: tuple[str, ...] = ()
    waiting: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    removed_backends: tuple[str, ...] = ()

    @property
    def assumed(self) -> tuple[str, ...]:
        """Return what the controller assumes of what was removed, and what a person has to do."""
        minutes = find_booked_s(self.config) / 60
        stations = (
            f"station {station}: it may still draw, its EVSEs stay booked until it has not tried to connect "
            f"for {minutes:g} min; disconnect it from its circuit"
            for station in self.removed
        )
        backends = (
            f"backend {backend}: messages that wait for it stay stored; `local-controller outbox list` names "
            "them, and they are delivered when it is configured again"
            for backend in self.removed_backends
        )
        return (*stations, *backends)

    def describe(self) -> dict[str, tuple[str, ...]]:
        """Return the plan as the result of a command."""
        return {
            "applied": self.applied,
            "needs_restart": self.needs_restart,
            "waiting": self.waiting,
            "assumed": self.assumed,
        }


def plan_reload(
    in_use: Config,
    loaded: Config,
    removed: Collection[str] = (),
    busy: Collection[str] = (),
    queued: Collection[str] = (),
) -> ReloadPlan:
    """Compare two configurations, and merge what can be applied into the one in use.

    `removed`: stations of the one in use that an earlier reload has removed. `busy`: stations with a running
    transaction, which ends at the owner with which it began. `queued`: backends for which messages wait.
    """
    found = _Differences(in_use, loaded, removed, busy, queued)
    config = found.keep_used_tables(found.merge_table("", in_use, loaded, ""))
    back = [f"station {station} (added)" for station in removed if station not in found.removed]
    applied, needs_restart = (*back, *found.applied), tuple(found.needs_restart)
    waiting = tuple(found.waiting)
    if applied and (needs_restart or waiting) and check_tables(remove_stations(config, found.removed)):
        # What can be applied is only valid together with what cannot, e.g. a limit with lower fallbacks.
        if needs_restart:
            return ReloadPlan(
                config=in_use, needs_restart=(*applied, *needs_restart, *waiting), removed=tuple(removed)
            )
        return ReloadPlan(config=in_use, waiting=(*applied, *waiting), removed=tuple(removed))
    left = backend_names(config)
    return ReloadPlan(
        config=config,
        applied=applied,
        needs_restart=needs_restart,
        waiting=waiting,
        removed=tuple(found.removed),
        removed_backends=tuple(name for name in endpoints_by_backend(in_use) if name not in left),
    )


def find_booked_s(config: Config) -> float:
    """Return how long after its last attempt to connect a removed station stays booked (s)."""
    return max(REMOVED_BOOKED_S, 2 * config.load_management.lease_s)


def remove_stations(config: Config, stations: Collection[str]) -> Config:
    """Return a configuration without these stations; itself if it has none of them."""
    left = tuple(station for station in config.station if station.id not in stations)
    return config if len(left) == len(config.station) else msgspec.structs.replace(config, station=left)


class _Differences:
    def __init__(
        self,
        in_use: Config,
        loaded: Config,
        removed: Collection[str],
        busy: Collection[str],
        queued: Collection[str],
    ) -> None:
        self._in_use = in_use
        self._loaded = loaded
        self._removed_before = removed
        self._busy = busy
        self._queued = queued
        self._has_same_root = _find_root(in_use).id == _find_root(loaded).id
        self.applied: list[str] = []
        self.needs_restart: list[str] = []
        self.waiting: list[str] = []
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
            if (table == "station" and self._waits_for_transaction(key, old, new)) or (
                table == "backend" and key == "group" and self._waits_for_messages(old)
            ):
                self.waiting.append(name)
            elif isinstance(before, msgspec.Struct) and isinstance(after, msgspec.Struct):
                changed[key] = self.merge_table(inner, before, after, name)
            elif self._is_live(table, key, old, new) and not _is_other_phase_count(key, before, after):
                self.applied.append(name)
                changed[key] = after
            elif _have_ids(before) and _have_ids(after):
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
            is_live = self._can_be_added(each)
            added += [each] if is_live else []
            changes = self.applied if is_live else self.needs_restart
            changes.append(f"{place} {name} {each.id} (added)".strip())
        for each in old:
            if each.id not in there:
                is_station, is_live = isinstance(each, StationConfig), self._can_be_removed(each)
                self.removed += [each.id] if is_live and is_station else []
                if not is_live or not is_station or each.id not in self._removed_before:
                    changes = self.applied if is_live else self.needs_restart
                    changes.append(f"{place} {name} {each.id} (removed)".strip())
                if is_station or not is_live:
                    merged.append(each)
            else:
                where = f"{place} {name} {each.id}".strip()
                merged.append(self.merge_table(table, each, there[each.id], where))
        return (*merged, *added)

    def _is_live(self, table: str, key: str, old: Any, new: Any) -> bool:
        if table == "circuit" and old.parent is None and (key == "parent" or not self._has_same_root):
            return False
        if table == "circuit" and key == "meter" and old.parent is None and self._in_use.eebus is not None:
            return False  # the EEBUS node has the monitoring feature that it started with
        if table == "backend" and key == "group" and self._is_of_site(old):
            return bool(old.name == new.name)  # the site's own identity has its queue under that name
        if table == "station.evse" and key in DC_KEYS | _OF_POWER:
            stays = (old.max_kw is None) == (new.max_kw is None)
            return stays and (key in _OF_POWER or old.max_kw is not None)
        if (
            table == "web"
            and key in ("certificate", "key")
            and None in (getattr(old, key), getattr(new, key))
        ):
            return False  # the page is served by https from then on, or no longer
        keys = LIVE_KEYS.get(table, frozenset())
        return key in keys or keys == ALL or (not table and LIVE_KEYS.get(key) == ALL)

    def _can_be_added(self, table: Any) -> bool:
        """Return True if a table may be added to the running site."""
        if isinstance(table, StationConfig | CircuitConfig):
            return self._has_same_root
        return isinstance(table, BackendConfig | MeterConfig)

    def _can_be_removed(self, table: Any) -> bool:
        match table:
            case BackendConfig():
                return not self._is_of_site(table)
            case CircuitConfig():
                return self._has_same_root
        return isinstance(table, StationConfig | MeterConfig)

    def _is_of_site(self, backend: BackendConfig) -> bool:
        """Return True if a table is an endpoint of the backend of the site's own identity."""
        return self._in_use.site.backend in (backend.id, backend.name)

    def _waits_for_transaction(self, key: str, old: StationConfig, new: StationConfig) -> bool:
        """Return True if a key of a station with a running transaction stays until its end.

        A transaction ends at its owner, and with the OCPP version and the quirk with which it began. What the
        controller itself has begun as the CSMS is handed over to a backend at once.
        """
        if old.id not in self._busy:
            return False
        has_other_owner = old.owner is not None and old.owner != new.owner
        return key in ("protocol", "quirk") or (key in OWNER_KEYS and has_other_owner)

    def _waits_for_messages(self, old: BackendConfig) -> bool:
        """Return True while something is stored under the name that a backend has until its group changes.

        That are its messages, and the transactions of stations whose owner or observer it is.
        """
        names, later = backend_names(self._in_use), backend_names(self._loaded)
        if old.name in self._queued and old.name not in later.values():
            return True
        return any(
            names[each] == old.name != later.get(each)
            for station in self._in_use.station
            if station.id in self._busy
            for each in (station.owner, *station.observers)
            if each is not None
        )

    def keep_used_tables(self, config: Config) -> Config:
        """Return the merged configuration with the removed tables that stations of it still use.

        These are stations that are not gone yet, EVSEs that wait for a restart, and owners of running
        transactions.
        """
        names = backend_names(self._in_use)
        served = [each for station in config.station for each in (station.owner, *station.observers)]
        backends = {names.get(each, each) for each in served if each is not None}
        placed = {config.circuit_of(station, evse) for station in config.station for evse in station.evse}
        parents = {circuit.id: circuit.parent for circuit in self._in_use.circuit}
        circuits = set()
        for circuit in placed:
            while circuit is not None and circuit not in circuits:
                circuits.add(circuit)
                circuit = parents.get(circuit)
        return msgspec.structs.replace(
            config,
            backend=self._restore(
                "backend", config.backend, {each.id for each in self._in_use.backend if each.name in backends}
            ),
            circuit=self._restore("circuit", config.circuit, circuits),
        )

    def _restore(self, table: str, merged: Any, used: Collection[str | None]) -> Any:
        """Return the merged tables and those in use that were removed from them although they are used."""
        there = set(_ids(merged))
        lacking = [each for each in getattr(self._in_use, table) if each.id in used and each.id not in there]
        for each in lacking:
            name = f"{table} {each.id} (removed)"
            self.applied.remove(name)
            self.waiting.append(name)
        return (*merged, *lacking)


def _find_root(config: Config) -> CircuitConfig:
    """Return the grid connection."""
    return next(circuit for circuit in config.circuit if circuit.parent is None)


def _is_other_phase_count(key: str, before: Any, after: Any) -> bool:
    """Return True for `phases` of another number: what is known of the EVSE is of the former ones."""
    return key == "phases" and len(before) != len(after)


def _have_ids(value: Any) -> bool:
    """Return True for an array of tables with ids of their own, also for an empty array."""
    are_tables = isinstance(value, tuple) and all(isinstance(each, msgspec.Struct) for each in value)
    return are_tables and (not value or bool(_ids(value)))


def _ids(tables: Any) -> list[object]:
    """Return the ids of an array of tables; empty if they have none, or one is there twice."""
    ids = [getattr(each, "id", None) for each in tables]
    return ids if None not in ids and len(set(ids)) == len(ids) else []
