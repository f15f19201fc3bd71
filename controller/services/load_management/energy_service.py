"""Service of the energy plan: files of prices and departures, and the command that sets prices."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import trio

from controller.access.permissions import Actor
from controller.commands.site_command import PricePoint, SetPrices
from controller.config import Config
from controller.load_management.energy.energy_csv import (
    MOST_MISTAKES,
    EnergyFileError,
    EnergyInputError,
    ValueMistakeError,
)
from controller.load_management.energy.energy_records import PricesStored
from controller.load_management.energy.price_series import PriceSeries, parse_begin
from controller.services.access.command_service import CommandContentError, CommandService, SiteCommandError
from controller.services.load_management.departure_service import DepartureService
from controller.services.load_management.load_management_service import LoadManagementService
from controller.services.session_ledger.session_ledger_service import SessionLedger
from controller.store.state_store import StateStore

log = logging.getLogger("controller")

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
        self._store = store
        self._changed_at: dict[str, float] = {}
        self._is_reconfigured = trio.Event()
        self._stored_prices = next(iter(store.load(PricesStored)), None)
        self.departures = DepartureService(config, load_management, sessions, store, commands)
        commands.add_handler(SetPrices, self._on_set_prices)

    def set_config(self, config: Config) -> None:
        """Use the files, stations and cards of another configuration; its settings are in force already."""
        before, self._config = self._config, config
        self.departures.set_config(config)
        if _price_file(before) is not None and _price_file(config) is None:
            self._plans.prices.set_prices(PriceSeries())
            if self._stored_prices is not None:
                self._plans.restore(self._stored_prices)
        self._changed_at.clear()  # names in the files may mean other EVSEs now
        self._is_reconfigured.set()

    async def run(self) -> None:
        """Look up the cards that charge and read changed files, until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._watch_files)
            nursery.start_soon(self.departures.run)

    async def _watch_files(self) -> None:
        while True:
            self._is_reconfigured = trio.Event()
            await self.read_files()
            with trio.move_on_after(FILES_S):
                await self._is_reconfigured.wait()

    async def read_files(self) -> None:
        """Read the files of prices and departures that have changed."""
        if (prices := _price_file(self._config)) is not None:
            await self._read(prices, self._plans.waits.read_prices)
        if self._config.load_management.departures is not None:
            await self._read(self._config.load_management.departures, self.departures.read_file)

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

    async def _on_set_prices(self, command: SetPrices, _: Actor) -> object:
        """Use other prices from now on. Raises SiteCommandError, CommandContentError."""
        pairs = _read_points(command.prices)
        try:
            record = self._plans.waits.make_record(
                pairs, self._load_management.energy.utc(trio.current_time())
            )
        except EnergyInputError as error:
            kind = SiteCommandError if self._config.prices is None else CommandContentError
            raise kind(f"prices: {error}") from error
        await self._store.persist([record])
        self._stored_prices = record
        self._plans.restore(record)
        return {"prices": len(record.begins)}


def _read_points(points: Sequence[PricePoint]) -> list[tuple[float, float]]:
    """Return prices as pairs (begin in POSIX s, price). Raises CommandContentError, naming each mistake."""
    pairs, mistakes = [], []
    for number, point in enumerate(points, 1):
        try:
            pairs.append((parse_begin(point.begin), point.price))
        except ValueMistakeError as error:
            mistakes.append(f"price {number}: {error}")
    if mistakes:
        raise CommandContentError("; ".join(mistakes[:MOST_MISTAKES]))
    return pairs


def _price_file(config: Config) -> str | None:
    return None if config.prices is None else config.prices.file


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
