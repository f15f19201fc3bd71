"""Service of the energy plan: files of prices and departures, classes of cards, commands of programs."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import trio

from controller.access.permissions import Actor
from controller.commands.site_command import SetDeparture, SetPrices
from controller.config import Config
from controller.config.energy_rules import find_evses
from controller.load_management.energy.csv_error import EnergyFileError
from controller.load_management.events import StationObserved
from controller.model.observations import EvseRef, NeedsSeen
from controller.services.command_service import CommandService, SiteCommandError, TargetUnknownError
from controller.services.load_management_service import LoadManagementService
from controller.services.session_ledger_service import SessionLedger
from controller.store.state_store import StateStore

log = logging.getLogger("controller")

CLASSES_S = 5.0
"""Interval at which the classes of the cards that charge are looked up."""
FILES_S = 30.0
"""Interval at which files are checked for a change."""
LARGEST_FILE = 2_000_000
"""Size of a file (bytes) above which it is not read."""


class EnergyService:
    """Feeds the energy plan of the load management."""

    def __init__(
        self,
        config: Config,
        load_management: LoadManagementService,
        sessions: SessionLedger,
        store: StateStore,
        commands: CommandService,
    ) -> None:
        self._config = config
        self._load_management = load_management
        self._plans = load_management.energy.evses
        self._sessions = sessions
        self._store = store
        self._changed_at: dict[str, float] = {}
        commands.add_handler(SetDeparture, self._on_set_departure)
        commands.add_handler(SetPrices, self._on_set_prices)

    def replace_stations(self, config: Config) -> None:
        """Find EVSEs by name among the stations of another configuration."""
        self._config = config

    async def run(self) -> None:
        """Look up classes of cards and read changed files, until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._watch_files)
            while True:
                self.update_classes()
                await trio.sleep(CLASSES_S)

    def update_classes(self) -> None:
        """Pass the priority classes of the cards that charge now to the plan."""
        classes: dict[EvseRef, str] = {}
        for session in self._sessions.running():
            if session.evse is not None and session.card is not None and session.card.priority_class:
                classes[EvseRef(session.station, session.evse)] = session.card.priority_class
        self._plans.set_priority_classes(classes)

    async def _watch_files(self) -> None:
        while True:
            await self.read_files()
            await trio.sleep(FILES_S)

    async def read_files(self) -> None:
        """Read the files of prices and departures that have changed."""
        if self._config.prices is not None and self._config.prices.file is not None:
            await self._read(self._config.prices.file, self._plans.read_prices)
        if self._config.load_management.departures is not None:
            await self._read(self._config.load_management.departures, self._use_departures)

    async def _read(self, file: str, use: Callable[[str], int]) -> None:
        """Read a changed file and use it; where it has errors the previous content stays in force."""
        try:
            changed_at, text = await trio.to_thread.run_sync(
                _read_if_changed, Path(file), self._changed_at.get(file)
            )
            self._changed_at[file] = changed_at
            if text is not None:
                log.info("energy file read file=%s rows=%d", file, use(text))
        except (OSError, UnicodeDecodeError) as error:
            if self._changed_at.get(file) != 0.0:
                self._changed_at[file] = 0.0
                log.warning("energy file not read file=%s reason=%s remedy=correct the file", file, error)
        except EnergyFileError as error:
            log.warning("energy file not used file=%s reason=%s remedy=correct the file", file, error)

    def _use_departures(self, text: str) -> int:
        return self._plans.read_departures(text, self._find_evses)

    def _find_evses(self, name: str) -> list[EvseRef]:
        return [EvseRef(*ref) for ref in find_evses(self._config, name)]

    async def _on_set_departure(self, command: SetDeparture, _: Actor) -> object:
        """Set the departure goal of the car at an EVSE. Raises TargetUnknownError."""
        ref = EvseRef(command.station, command.evse)
        if ref not in self._find_evses(command.station):
            raise TargetUnknownError(f"EVSE {ref} is not configured")
        needs = NeedsSeen(command.evse, 1000 * command.energy_kwh, command.leaves_in_s)
        self._load_management.handle_event(StationObserved(command.station, needs))
        return {}

    async def _on_set_prices(self, command: SetPrices, _: Actor) -> object:
        """Use other prices from now on. Raises SiteCommandError."""
        try:
            record = self._plans.make_price_record(
                [(point.begin.timestamp(), point.price) for point in command.prices]
            )
        except EnergyFileError as error:
            raise SiteCommandError(str(error)) from error
        await self._store.persist([record])
        self._plans.restore(record)
        return {"prices": len(record.begins)}


def _read_if_changed(file: Path, changed_at: float | None) -> tuple[float, str | None]:
    """Return when a file was changed, and its text if that was at another time than `changed_at`.

    Raises OSError, UnicodeDecodeError.
    """
    status = file.stat()
    if status.st_mtime == changed_at:
        return status.st_mtime, None
    if status.st_size > LARGEST_FILE:
        raise OSError(f"larger than {LARGEST_FILE} bytes")
    return status.st_mtime, file.read_text("utf-8-sig")
