"""Reload of the configuration while the controller runs.

The file is checked first. What can change without dropping a link is applied (`config.live_keys`), the rest
is named; a file with errors changes nothing.
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
from controller.services.configuration import ActiveConfiguration, check_reload, keep_copy
from controller.services.service_error import ServiceError
from controller.stations.removed_stations import RemovedStations

log = logging.getLogger("controller")


class ReloadRejectedError(ServiceError):
    """The file has errors, or cannot be read; its text has them all."""


CHECK_S = 5.0
"""Interval in which removed stations are checked."""


class ReloadTarget(Protocol):
    """Services that use a configuration: see `App`."""

    def apply_configuration(self, config: Config, removed: Collection[str] = ()) -> None:
        """Use another configuration. Raises ServiceError, and then no station was added."""

    def count_tries(self, station: str) -> int:
        """Return how often a station has tried to connect that is not admitted."""

    def has_waiting_messages(self, station: str) -> bool:
        """Return True while messages of a station wait for its backends."""


class ReloadService:
    """Reloads the file of the configuration in use, and drops removed stations once they are gone."""

    def __init__(self, active: ActiveConfiguration, target: ReloadTarget) -> None:
        self._active = active
        self._target = target
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
        """Drop removed stations once nothing of them can draw or waits; until cancelled."""
        while True:
            await trio.sleep(CHECK_S)
            if self._removed.stations:
                async with self._turn:
                    self._check_removed()

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
            plan = plan_reload(self._active.config, checked.config, self._removed.stations)
            try:
                self._target.apply_configuration(plan.config, plan.removed)
            except ServiceError as error:
                log.error("reload failed file=%s reason=%s: reload again once it is corrected", path, error)
                raise ReloadRejectedError(str(error)) from error
            self._active = msgspec.structs.replace(self._active, config=plan.config, problem="")
            self._removed.set_stations(plan.removed, trio.current_time())
            self._report(plan)
            await trio.to_thread.run_sync(self._keep_copy)
            return plan

    def _report(self, plan: ReloadPlan) -> None:
        if plan.removed:
            log.warning(
                "stations removed stations=%s remedy=disconnect them from their circuits: their EVSEs stay "
                "booked until they have not tried to connect for %g min",
                ",".join(plan.removed),
                find_booked_s(plan.config) / 60,
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
