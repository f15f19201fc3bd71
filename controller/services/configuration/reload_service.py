"""Reload of the configuration while the controller runs.

The file is checked first. What can change while the site runs is applied (`config.live_keys`), the rest is
named; a file with errors changes nothing. What waits for the end of a transaction, or until a removed station
is gone, is applied then.
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from typing import Protocol

import msgspec
import trio

from controller.access.permissions import Actor
from controller.commands.site_command import ReloadConfiguration
from controller.config.live_keys import ReloadPlan, find_booked_s, plan_reload, remove_stations
from controller.config.schema import Config
from controller.services import ServiceError
from controller.services.configuration.configuration import ActiveConfiguration, check_reload, keep_copy
from controller.stations.removed_stations import RemovedStations

log = logging.getLogger("controller")


class ReloadRejectedError(ServiceError):
    """The file has errors, or cannot be read; its text has them all."""


CHECK_S = 5.0
"""Interval in which removed stations, and changes that wait, are checked."""


class FileChanges(msgspec.Struct, frozen=True):
    """Changes by files that the configuration names: those that a reload applies, and those that wait."""

    applied: tuple[str, ...] = ()
    waiting: tuple[str, ...] = ()


class ReloadTarget(Protocol):
    """Services that use a configuration: see `App`."""

    def apply_configuration(self, config: Config, removed: Collection[str] = ()) -> None:
        """Use another configuration. Raises ServiceError, and then no station was added."""

    def count_tries(self, station: str) -> int:
        """Return how often a station has tried to connect that is not admitted."""

    def has_waiting_messages(self, station: str) -> bool:
        """Return True while messages of a station wait for its backends."""

    def find_busy_stations(self) -> Collection[str]:
        """Return the stations with a running transaction."""

    def find_queued_backends(self) -> Collection[str]:
        """Return the backends for which messages wait."""

    def find_changed_files(self, config: Config) -> FileChanges:
        """Return what changes by files that a configuration names, where it names the same as before."""


class ReloadService:
    """Reloads the file of the configuration in use, and does later what has to wait."""

    def __init__(self, active: ActiveConfiguration, target: ReloadTarget) -> None:
        self._active = active
        self._target = target
        self._loaded: Config | None = None
        """Configuration of the last reload, while changes of it wait."""
        self._removed = RemovedStations(find_booked_s(active.config))
        self._turn = trio.Lock()

    @property
    def removed(self) -> Collection[str]:
        """Return the ids of the removed stations that are not gone yet."""
        return self._removed.stations

    async def on_command(self, _: ReloadConfiguration, __: Actor) -> object:
        """Reload for a person; return what was applied, what needs a restart, and what is assumed."""
        return (await self.reload()).describe()

    async def run(self) -> None:
        """Drop removed stations that are gone, and apply what has waited, until cancelled."""
        while True:
            await trio.sleep(CHECK_S)
            if self._removed.stations or self._loaded is not None:
                async with self._turn:
                    self._check_removed()
                    self._check_waiting()

    def _check_waiting(self) -> None:
        """Apply changes of the last reload that had to wait, as far as that is over."""
        if self._loaded is None:
            return
        plan = self.plan(self._loaded)
        if not plan.applied:
            return
        try:
            self._use(plan, self._loaded)
        except ServiceError as error:
            log.error("changes that waited not applied reason=%s: reload again once it is corrected", error)
            self._loaded = None
        else:
            self._report(plan)

    def _check_removed(self) -> None:
        now = trio.current_time()
        for station in self._removed.note_tries(self._target.count_tries, now):
            log.warning(
                "removed station tries to connect station=%s remedy=disconnect it from its circuit or add it "
                "to the configuration again: its current stays booked",
                station,
            )
        gone = [
            station
            for station in self._removed.find_gone(now)
            if not self._target.has_waiting_messages(station)
        ]
        if not gone:
            return
        config = remove_stations(self._active.config, gone)
        removed = set(self._removed.stations) - set(gone)
        try:
            self._target.apply_configuration(config, removed)
        except ServiceError as error:
            log.error("removed stations still booked stations=%s reason=%s", ",".join(gone), error)
            return
        self._removed.set_stations(removed, now)
        self._active = msgspec.structs.replace(self._active, config=config)
        log.info("removed stations gone stations=%s: their current is not booked any more", ",".join(gone))

    async def reload(self) -> ReloadPlan:
        """Check the file, apply what can be applied, and log it. Raises ReloadRejectedError."""
        async with self._turn:
            path = self._active.path
            checked = await trio.to_thread.run_sync(check_reload, self._active)
            if checked.config is None:
                for line in checked.problem.splitlines():
                    log.error("configuration error reason=%s", line)
                log.error("reload rejected file=%s: nothing is changed, correct it and reload again", path)
                raise ReloadRejectedError(checked.problem)
            plan = self.plan(checked.config)
            try:
                self._use(plan, checked.config)
            except ServiceError as error:
                log.error("reload failed file=%s reason=%s: reload again once it is corrected", path, error)
                raise ReloadRejectedError(str(error)) from error
            self._report(plan)
            await trio.to_thread.run_sync(self._keep_copy)
            return plan

    def plan_from_thread(self, loaded: Config) -> ReloadPlan:
        """Return the plan of a reload to a worker thread."""
        return trio.from_thread.run_sync(self.plan, loaded)

    def plan(self, loaded: Config) -> ReloadPlan:
        """Return what a reload would do with a valid configuration; nothing is changed."""
        target = self._target
        plan = plan_reload(
            self._active.config,
            loaded,
            self._removed.stations,
            target.find_busy_stations(),
            target.find_queued_backends(),
        )
        files = target.find_changed_files(plan.config)
        return msgspec.structs.replace(
            plan, applied=(*plan.applied, *files.applied), waiting=(*plan.waiting, *files.waiting)
        )

    def _use(self, plan: ReloadPlan, loaded: Config) -> None:
        """Apply a plan. Raises ServiceError."""
        self._target.apply_configuration(plan.config, plan.removed)
        self._active = msgspec.structs.replace(self._active, config=plan.config, problem="")
        self._removed.set_stations(plan.removed, trio.current_time())
        self._loaded = loaded if plan.waiting else None

    def _report(self, plan: ReloadPlan) -> None:
        if plan.removed:
            log.warning(
                "stations removed stations=%s remedy=disconnect them from their circuits: their EVSEs stay "
                "booked until they have not tried to connect for %g min",
                ",".join(plan.removed),
                find_booked_s(plan.config) / 60,
            )
        if plan.removed_backends:
            log.warning(
                "backends removed backends=%s remedy=see 'local-controller outbox list': what waits for them "
                "stays stored",
                ",".join(plan.removed_backends),
            )
        if plan.waiting:
            log.info(
                "changes wait changed=%r: until transactions have ended, queues are delivered and removed "
                "stations are gone",
                ",".join(plan.waiting),
            )
        applied = ",".join(plan.applied) or "nothing"
        log.info("configuration reloaded file=%s applied=%r", self._active.path, applied)
        if plan.needs_restart:
            log.warning(
                "restart needed changed=%r remedy=restart the service, these changes wait for it",
                ",".join(plan.needs_restart),
            )

    def _keep_copy(self) -> None:
        try:
            keep_copy(self._active)
        except OSError as error:
            log.warning("configuration copy not written reason=%s", error)
