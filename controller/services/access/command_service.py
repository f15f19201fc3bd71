"""Dispatcher of the typed commands: permission, handler, audit. One for socket, REST, MQTT and page.

service.add_handler(ResetStation, stations.reset)
result = await service.execute(ResetStation(station="CS01"), actor)
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import trio

from controller.access.access_records import DONE
from controller.access.permissions import Actor
from controller.commands.command_statements import describe_command
from controller.commands.site_command import COMMANDS, SiteCommand
from controller.services import ServiceError
from controller.services.access.audit_log import AuditLog
from drivers.coded_text import coded, decimal, text_of

log = logging.getLogger("controller")

COMMAND_TIMEOUT_S = 40.0
"""Longest time of one command: a station that does not answer a CALL ends it."""
MOST_AT_ONCE = 16

CommandT = TypeVar("CommandT", bound=SiteCommand)
Handler = Callable[[CommandT, Actor], Awaitable[object]]
"""Returns the result, in built-in types. Raises ServiceError."""


class SiteCommandError(ServiceError):
    """A command that was not done. Its text states why, and what to do."""


class CommandForbiddenError(SiteCommandError):
    """The actor has no permission for the command."""


class CommandContentError(SiteCommandError):
    """A member of a command has a value that can never be used: the command has to be changed."""


class TargetUnknownError(SiteCommandError):
    """The station, EVSE, message or version that a command names does not exist."""


class CommandService:
    """Executes commands. Handlers are added by the services that own what a command changes."""

    def __init__(self, audit: AuditLog) -> None:
        self._audit = audit
        self._handlers: dict[type[SiteCommand], Handler[Any]] = {}
        self._running = trio.CapacityLimiter(MOST_AT_ONCE)

    def add_handler(self, kind: type[CommandT], handler: Handler[CommandT]) -> None:
        """Set the handler of a type of command."""
        self._handlers[kind] = handler

    @property
    def available(self) -> list[str]:
        """Return the names of the commands that this site has."""
        return [name for name, kind in COMMANDS.items() if kind in self._handlers]

    async def _record(self, actor: Actor, command: SiteCommand, outcome: str = DONE) -> None:
        await self._audit.record(actor, command.name, command.subject, describe_command(command), outcome)

    async def execute(self, command: SiteCommand, actor: Actor) -> object:
        """Execute a command for an actor, and record it in the audit; return its result.

        Raises SiteCommandError, and other ServiceErrors of the handler.
        """
        if not actor.allows(command.permission):
            lacking = coded("lacks {permission}", permission=command.permission)
            await self._record(actor, command, lacking)
            raise CommandForbiddenError(
                coded(
                    "{name} needs the permission {permission}",
                    name=command.name,
                    permission=command.permission,
                )
            )
        handler = self._handlers.get(type(command))
        if handler is None:
            raise SiteCommandError(
                coded("{name} is not available: this site has no such part", name=command.name)
            )
        try:
            async with self._running:
                with trio.fail_after(COMMAND_TIMEOUT_S):
                    result = await handler(command, actor)
        except ServiceError as error:
            await self._record(actor, command, text_of(error))
            raise
        except trio.TooSlowError as error:
            await self._record(actor, command, coded("no answer in time"))
            raise SiteCommandError(
                coded(
                    "{name}: no answer within {timeout_s} s",
                    name=command.name,
                    timeout_s=decimal(COMMAND_TIMEOUT_S),
                )
            ) from error
        except Exception as error:
            log.exception("command failed command=%s", command.name)
            await self._record(actor, command, coded("failed"))
            raise SiteCommandError(
                coded("{name} failed: the controller's log has the reason", name=command.name)
            ) from error
        await self._record(actor, command)
        return result
