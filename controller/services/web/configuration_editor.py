"""Changes of the configuration file from the page: checked, versioned, written in one step, rolled back.

A file with errors is never written. Each version that was read or written is stored, the last thirty.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

import trio

from controller.access.access_records import ConfigurationForgotten, ConfigurationStored
from controller.access.permissions import Actor
from controller.commands.site_command import AdoptStation, RollBackConfiguration, WriteConfiguration
from controller.config.live_keys import ReloadPlan
from controller.config.schema import Config
from controller.services.access.command_service import CommandService, SiteCommandError, TargetUnknownError
from controller.services.configuration.configuration_check import (
    PlanReload,
    configuration_stamps,
    find_in_configuration,
    is_configuration_in_use,
    read_present_configuration,
)
from controller.services.configuration.first_configuration import version_of, write_configuration_file
from controller.site_setup import SetupError
from controller.site_setup.setup_document import NewStation, SetupDocument, add_station
from controller.store.state_store import StateStore
from controller.web.site_interface import CheckFinding, ConfigurationText, ConfigurationVersion
from drivers.coded_text import coded

log = logging.getLogger("controller")

MOST_VERSIONS = 30

Reload = Callable[[], Awaitable[ReloadPlan]]
"""Makes the controller use its configuration file. Raises ServiceError."""


class Reloads(Protocol):
    """Reloads of the file of a running controller: see `ReloadService`."""

    async def reload(self) -> ReloadPlan:
        """Make the controller use its file. Raises ServiceError."""

    def plan_from_thread(self, loaded: Config) -> ReloadPlan:
        """Return in a worker thread what a reload would do with a configuration."""


class ConfigurationEditor:
    """The configuration file at `path`; None: the daemon was started without a file.

    `reload` makes the controller use the file; it returns what was applied, and what needs a restart.
    `plan` returns the same in advance. `directory`: the directory of the store, where the copy of the file is
    that the controller uses.
    """

    def __init__(
        self,
        path: Path | None,
        store: StateStore,
        directory: str,
        reload: Reload | None,
        plan: PlanReload | None = None,
        utc: Callable[[], float] = time.time,
    ) -> None:
        self._path = path
        self._store = store
        self._directory = directory
        self._reload = reload
        self._plan = plan
        self._utc = utc
        self._writing = trio.Lock()
        self._files = configuration_stamps(self._path, self._directory)
        self._changes = 0

    def register_handlers(self, commands: CommandService) -> None:
        """Register the handlers of the commands that change the file."""
        commands.add_handler(WriteConfiguration, self._on_write)
        commands.add_handler(RollBackConfiguration, self._on_roll_back)
        commands.add_handler(AdoptStation, self._on_adopt)

    @property
    def file_revision(self) -> int:
        """Return a number that rises when the file has changed, also on the gateway, or is in use now."""
        found = configuration_stamps(self._path, self._directory)
        if found != self._files:
            self._files = found
            self._changes += 1
        return self._changes

    async def read(self) -> ConfigurationText:
        """Return the file. Raises ServiceError."""
        path = self._require_path()
        return await trio.to_thread.run_sync(_read, path, self._directory)

    async def versions(self) -> list[ConfigurationVersion]:
        """Return the stored versions, the newest first."""
        return [
            ConfigurationVersion(version=each.version, time=_moment(each.at), actor=each.actor)
            for each in self._stored()
        ]

    async def version(self, version: str) -> ConfigurationText:
        """Return a stored version. Raises TargetUnknownError."""
        found = self._find(version)
        return ConfigurationText(text=found.text, version=found.version, path=str(self._path or ""))

    async def check(self, text: str) -> list[CheckFinding]:
        """Return all errors and hints of a text, and when each of its changes would take effect.

        What the present file has as well is marked.
        """
        path = self._require_path()

        def find() -> list[CheckFinding]:
            return find_in_configuration(text, path, self._plan, read_present_configuration(path))

        return await trio.to_thread.run_sync(find)

    async def _on_write(self, command: WriteConfiguration, actor: Actor) -> object:
        return await self._write(command.text, command.base, actor)

    async def _on_roll_back(self, command: RollBackConfiguration, actor: Actor) -> object:
        present = await self.read()
        return await self._write(self._find(command.version).text, present.version, actor)

    async def _on_adopt(self, command: AdoptStation, actor: Actor) -> object:
        """Add the station to the file; everything else in it stays as it was written."""
        present = await self.read()
        try:
            text = await trio.to_thread.run_sync(_add_station, present.text, command, actor, self._utc())
        except SetupError as error:
            raise SiteCommandError(str(error)) from error
        return await self._write(text, present.version, actor)

    async def _write(self, text: str, base: str, actor: Actor) -> object:
        """Check, write and use a text that was made from the version `base`. Raises ServiceError."""
        path = self._require_path()
        async with self._writing:
            present = await self.read()
            if present.version != base:
                raise SiteCommandError(
                    coded("the file was changed meanwhile; load it again and repeat the change")
                )
            errors = [each for each in await self.check(text) if each.severity == "error"]
            if errors:
                lines = "; ".join(f"line {each.line}: {each.text}" for each in errors[:5])
                raise SiteCommandError(coded("nothing is changed: {lines}", lines=lines))
            known = {each.version for each in self._stored()}
            if present.version not in known:
                await self._keep(present.text, "file")
            try:
                await trio.to_thread.run_sync(write_configuration_file, path, text)
            except OSError as error:
                raise SiteCommandError(
                    coded(
                        "{path} cannot be written: {reason}; let the controller's user write there, or edit "
                        "the file on the gateway",
                        path=path,
                        reason=error.strerror,
                    )
                ) from error
            await self._keep(text, actor.name)
        result = {"version": version_of(text)}
        if self._reload is None:
            return result
        return {**result, **(await self._reload()).describe()}

    async def _keep(self, text: str, actor: str) -> None:
        """Store a version; the oldest above MOST_VERSIONS are deleted."""
        stored = ConfigurationStored(version_of(text), self._utc(), actor, text)
        others = [each for each in self._stored() if each.version != stored.version]
        dropped = [ConfigurationForgotten(each.version) for each in others[MOST_VERSIONS - 1 :]]
        await self._store.persist([stored, *dropped])

    def _stored(self) -> list[ConfigurationStored]:
        return sorted(self._store.load(ConfigurationStored), key=lambda each: each.at, reverse=True)

    def _find(self, version: str) -> ConfigurationStored:
        found = next((each for each in self._stored() if each.version == version), None)
        if found is None:
            raise TargetUnknownError(coded("version {version} is not stored", version=version[:12]))
        return found

    def _require_path(self) -> Path:
        if self._path is None:
            raise SiteCommandError(coded("the controller was started without a configuration file"))
        return self._path


def _read(path: Path, directory: str) -> ConfigurationText:
    text = read_present_configuration(path)
    in_use = is_configuration_in_use(text, directory)
    return ConfigurationText(text=text, version=version_of(text), path=str(path), in_use=in_use)


def _add_station(text: str, command: AdoptStation, actor: Actor, utc: float) -> str:
    """Return the configuration with an adopted station. Raises SetupError."""
    document = SetupDocument(text)
    station = NewStation(
        id=command.station,
        circuit=command.circuit,
        phases=command.phases,
        max_a=command.max_a,
        owner=command.owner,
        label=command.label,
        steuve=command.steuve,
    )
    add_station(document, station, head=f"adopted {_moment(utc)} by {actor.name}")
    return document.text


def _moment(utc: float) -> str:
    return datetime.fromtimestamp(utc, UTC).isoformat(timespec="seconds")
