"""Capabilities and clocks of the stations: boots, the questions to them, and the quirk that follows.

Clocks are compared with those of their backends and of the gateway.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Collection, Mapping, Sequence

from controller.chargers.quirks import NO_QUIRK, LimitScope, Quirk, find_quirk, limit_scope
from controller.config import Config
from controller.config.schema import LOCAL_CSMS
from controller.model.effects import OwnCall
from controller.model.journal import BootStored
from controller.model.observations import Booted
from controller.ocpp.frames import Version
from controller.profiles.station_clock import ClockWatch, OwnClock, StationClock
from controller.services.configuration.quirk_rules import (
    filter_dc_stations,
    find_chosen_quirks,
    make_discovery,
    read_rows_or_report,
)
from controller.services.machine.clock_state import is_synchronised
from controller.services.machine.wall_clock import find_time_of_day
from controller.store.state_store import StateStore

log = logging.getLogger("controller")


class StationClocks:
    """Clock of each station of a configuration."""

    def __init__(self, config: Config) -> None:
        self._backends: dict[str, str] = {}
        self._clocks: dict[str, StationClock] = {}
        self._watch = ClockWatch()
        self.replace_stations(config)

    def replace_stations(self, config: Config) -> None:
        """Use the stations of a configuration; the clocks of those that were in the last one stay."""
        self._backends = {station.id: station.owner_or_local for station in config.station}
        for gone in self._clocks.keys() - self._backends.keys():
            del self._clocks[gone]
            self._watch.drop_station(gone)
        for station in self._backends:
            self._clocks.setdefault(station, StationClock())

    def find_clock(self, station: str) -> StationClock:
        """Return the clock of a station."""
        return self._clocks[station]

    def check(self, station: str) -> None:
        """Log clocks that differ from now on, or no longer do."""
        backend, clock = self._backends[station], self._clocks[station]
        other = None if backend == LOCAL_CSMS else backend
        for entry in self._watch.check(station, other, clock, _read_own_clock):
            log.log(entry.level, "%s", entry.text)

    def offsets(self) -> dict[str, float]:
        """Return the offset (s) of each clock that differs, by `station=` or `backend=` and its id."""
        return self._watch.offsets()


def _read_own_clock() -> OwnClock:
    if find_time_of_day() is None:
        return OwnClock.UNSET
    return OwnClock.SYNCHRONISED if is_synchronised() else OwnClock.NOT_SYNCHRONISED


class StationCapabilities:
    """Boots and quirks of all stations. A station does not boot again because the controller restarts."""

    def __init__(self, config: Config, store: StateStore) -> None:
        self._store = store
        self._evses = {station.id: len(station.evse) for station in config.station}
        self._discovery = make_discovery(config)
        self._rows = read_rows_or_report(config)
        """Rows of the site's own file."""
        self._chosen = find_chosen_quirks(config, self._rows)
        """Row that the configuration names for a station."""
        self._behind: set[str] = set()
        """Stations that keep another row until their transaction has ended."""
        self._boots: dict[str, Booted] = {}
        self._quirks: dict[str, Quirk] = {}
        """Quirk of each station that follows from what is known of it by now."""
        self._logged_quirks: dict[str, Quirk] = {}
        for stored in store.load(BootStored):
            boot = Booted(stored.vendor, stored.model, stored.firmware, stored.serial_number)
            self._boots[stored.station] = boot
            self._discovery.on_boot(stored.station, boot)

    def find_changed_rows(self, config: Config) -> set[str]:
        """Return the stations with another row of quirks, by a configuration and its file of quirks."""
        rows = read_rows_or_report(config)
        chosen = find_chosen_quirks(config, rows)
        # Globs are matched for the stations alone whose row may be another one.
        concerned = self._evses.keys() if rows != self._rows else self._find_chosen_otherwise(chosen)
        return {
            station.id
            for station in config.station
            if station.id in concerned
            and station.id in self._evses
            and self._select_row(station.id, rows, chosen) != self._discovery.row(station.id)
        }

    def _find_chosen_otherwise(self, chosen: Mapping[str, Quirk]) -> set[str]:
        """Return the stations for which another row is named, and those that still keep theirs."""
        named = self._chosen.keys() | chosen.keys()
        return self._behind | {each for each in named if self._chosen.get(each) != chosen.get(each)}

    def _select_row(self, station: str, rows: Sequence[Quirk], chosen: Mapping[str, Quirk]) -> Quirk:
        """Return the row of a station: the one named for it, else the one for its last boot."""
        boot = self._boots.get(station)
        if station in chosen or boot is None:
            return chosen.get(station, NO_QUIRK)
        return find_quirk(boot.vendor, boot.model, boot.firmware, rows)

    def replace_stations(self, config: Config, busy: Collection[str] = ()) -> set[str]:
        """Use the stations of another configuration; what those that are in both have reported stays.

        Returns the stations with another row of quirks from now on. `busy`: stations with a running
        transaction, which keep theirs.
        """
        dc_stations, rows = filter_dc_stations(config), read_rows_or_report(config)
        chosen, differing = find_chosen_quirks(config, rows), self.find_changed_rows(config)
        self._behind = differing & set(busy)
        changed = differing - self._behind
        self._rows, self._chosen = rows, chosen
        self._discovery.set_rows(rows)
        for station in config.station:
            if station.id not in self._evses or station.id in changed:
                is_dc = station.id in dc_stations
                self._discovery.add_station(station.id, chosen.get(station.id), is_dc=is_dc)
                if station.id in self._boots:
                    self._discovery.on_boot(station.id, self._boots[station.id])
                self._quirks.pop(station.id, None)
        self._evses = {station.id: len(station.evse) for station in config.station}
        return changed

    @property
    def boots(self) -> Mapping[str, Booted]:
        """The last boot of each station that has booted."""
        return self._boots

    def find_quirk(self, station: str) -> Quirk:
        """Return the quirk that applies to a station."""
        quirk = self._quirks.get(station)
        if quirk is None:
            quirk = self._quirks[station] = self._discovery.quirk(station)
        return quirk

    def find_scope(self, station: str) -> LimitScope:
        """Return the scope of the limits of a station: an EVSE, or the station as a whole."""
        return limit_scope(self.find_quirk(station), self._evses[station])

    def on_boot(self, station: str, boot: Booted) -> None:
        """Take a boot of a station; it is stored, unless it is as before."""
        self._discovery.on_boot(station, boot)
        self._quirks.pop(station, None)
        if self._boots.get(station) != boot:
            self._boots[station] = boot
            texts = (boot.vendor, boot.model, boot.firmware, boot.serial_number)
            self._store.persist_soon([BootStored(station, *texts)])

    def next_question(self, station: str, version: Version) -> OwnCall | None:
        """Return the next question to a connected station; None: there are no more."""
        asked = self._discovery.next_question(station, version, self._evses[station])
        if asked is None:
            return None
        return OwnCall(asked.token, str(uuid.uuid4()), asked.question.action, asked.question.payload)

    def on_answer(self, token: int, result: bytes | None) -> None:
        """Take the answer to a question; None: it failed."""
        self._discovery.on_result(token, result)
        self._quirks.clear()

    def on_link_lost(self, token: int) -> None:
        """Process a link that was lost before a question was answered."""
        self._discovery.on_link_lost(token)

    def mark_cleared(self, station: str) -> None:
        """Mark that the station has no profiles in our purpose but ours."""
        self._discovery.mark_cleared(station)

    def mark_uncleared(self, station: str) -> None:
        """Mark that other profiles in our purpose have to be cleared again."""
        self._discovery.mark_uncleared(station)

    def select_quirk(self, station: str) -> Quirk:
        """Return the quirk that follows from what is known of a station by now; log a change."""
        quirk = self._quirks[station] = self._discovery.quirk(station)
        if self._logged_quirks.get(station) != quirk:
            log.info("quirk selected station=%s quirk=%s lease=%s", station, quirk.name, quirk.form.value)
            self._logged_quirks[station] = quirk
        return quirk
