"""Reload of the configuration while the controller runs.

The file is checked first. What can change without dropping a link is applied (`config.live_keys`), the rest
is named; a file with errors changes nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import msgspec
import trio

from controller.access.permissions import Actor
from controller.commands.site_command import ReloadConfiguration
from controller.config.live_keys import ReloadPlan, plan_reload
from controller.config.schema import Config
from controller.services.configuration import ActiveConfiguration, check_reload, keep_copy
from controller.services.service_error import ServiceError

log = logging.getLogger("controller")


class ReloadRejectedError(ServiceError):
    """The file has errors, or cannot be read; its text has them all."""


class ReloadService:
    """Reloads the file of the configuration in use.

    `apply` makes the services use another one; where it raises ServiceError, no station was added.
    """

    def __init__(self, active: ActiveConfiguration, apply: Callable[[Config], None]) -> None:
        self._active = active
        self._apply = apply
        self._turn = trio.Lock()

    async def on_command(self, _: ReloadConfiguration, __: Actor) -> object:
        """Reload for a person; return what was applied, and what needs a restart."""
        plan = await self.reload()
        return {"applied": plan.applied, "needs_restart": plan.needs_restart}

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
            plan = plan_reload(self._active.config, checked.config)
            try:
                self._apply(plan.config)
            except ServiceError as error:
                log.error("reload failed file=%s reason=%s: reload again once it is corrected", path, error)
                raise ReloadRejectedError(str(error)) from error
            self._active = msgspec.structs.replace(self._active, config=plan.config, problem="")
            self._report(plan)
            await trio.to_thread.run_sync(self._keep_copy)
            return plan

    def _report(self, plan: ReloadPlan) -> None:
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
