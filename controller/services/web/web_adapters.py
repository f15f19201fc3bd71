"""The site and its users as the page and the REST API use them: adapters around the services."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Protocol

import msgspec
import trio

from controller.access.access_records import DONE
from controller.access.permissions import Actor
from controller.commands.site_command import SiteCommand
from controller.services.access.access_service import AccessService
from controller.services.publishing.alarm_service import AlarmService
from controller.services.publishing.history_service import HistoryService
from controller.services.web.configuration_editor import ConfigurationEditor
from controller.services.web.site_operations import SiteOperations
from controller.services.web.web_problems import await_or_problem
from controller.web.setup_interface import SetupInterface
from controller.web.site_interface import (
    CheckFinding,
    ConfigurationText,
    ConfigurationVersion,
    EventEntry,
    EvidenceInterface,
    HistorySeries,
    MessageEntry,
    RoleEntry,
    SessionEntry,
    SetAsideMessage,
    TokenEntry,
    UserEntry,
)
from controller.web.status_model import ControllerStatus

ReadSessions = Callable[[str, str], Sequence[SessionEntry]]


class ReadMessages(Protocol):
    """Reader of the latest messages of a station."""

    def __call__(self, station: str, *, show_identities: bool) -> Sequence[MessageEntry]:
        """Return them, the newest first. Raises ProblemError."""


ReadSetAside = Callable[[], Sequence[SetAsideMessage]]


class SiteReaders(msgspec.Struct, frozen=True, kw_only=True):
    """Readers of stored and recent data.

    `sessions` reads those of two months and between; `evidence` is None without dimming.
    """

    sessions: ReadSessions
    set_aside: ReadSetAside
    messages: ReadMessages
    evidence: EvidenceInterface | None


class SiteParts(msgspec.Struct, frozen=True, kw_only=True):
    """Services that the page and the API show."""

    operations: SiteOperations
    alarms: AlarmService
    history: HistoryService
    editor: ConfigurationEditor
    setup: SetupInterface
    read_status: Callable[[], ControllerStatus]
    readers: SiteReaders


class SiteData:
    """The site for the page and the API: a SiteInterface around the services."""

    def __init__(self, parts: SiteParts) -> None:
        self._parts = parts

    @property
    def setup(self) -> SetupInterface:
        """Return the setup of the site."""
        return self._parts.setup

    @property
    def evidence(self) -> EvidenceInterface | None:
        """Return the evidence of dimming; None without dimming."""
        return self._parts.readers.evidence

    def status(self) -> ControllerStatus:
        """Return the status now."""
        return self._parts.read_status()

    def commands(self) -> Sequence[str]:
        """Return the names of the commands that this site has."""
        return self._parts.operations.commands.available

    async def execute(self, command: SiteCommand, actor: Actor) -> Mapping[str, Any]:
        """Execute a command and return its result. Raises ProblemError."""
        result = await await_or_problem(self._parts.operations.commands.execute(command, actor))
        return result if isinstance(result, dict) else {}

    def set_aside(self) -> Sequence[SetAsideMessage]:
        """Return the messages that backends reject."""
        return self._parts.readers.set_aside()

    def station_messages(self, station: str, *, show_identities: bool) -> Sequence[MessageEntry]:
        """Return the latest messages of a station, the newest first. Raises ProblemError."""
        return self._parts.readers.messages(station, show_identities=show_identities)

    def events(self, most: int) -> Sequence[EventEntry]:
        """Return the latest events, the newest first."""
        changes = [
            EventEntry(
                time=datetime.fromtimestamp(each.at, UTC).isoformat(timespec="seconds"),
                severity="info" if each.outcome == DONE else "warning",
                text=str(each),
                actor=f"{each.actor} ({each.origin})",
                statement=each.statement,
            )
            for each in self._parts.operations.audit.latest(most)
        ]
        return sorted([*changes, *self._parts.alarms.events], key=lambda each: each.time, reverse=True)[:most]

    async def sessions(self, first: str, last: str) -> Sequence[SessionEntry]:
        """Return the sessions of the months from `first` to `last`, and those that run."""
        return await trio.to_thread.run_sync(self._parts.readers.sessions, first, last)

    async def history(self, channels: Sequence[str], start: int, end: int) -> Sequence[HistorySeries]:
        """Return stored values."""
        return await await_or_problem(self._parts.history.read(channels, start, end))

    async def configuration(self) -> ConfigurationText:
        """Return the configuration file."""
        return await await_or_problem(self._parts.editor.read())

    async def configuration_versions(self) -> Sequence[ConfigurationVersion]:
        """Return the stored versions of the file."""
        return await await_or_problem(self._parts.editor.versions())

    async def configuration_version(self, version: str) -> ConfigurationText:
        """Return one stored version."""
        return await await_or_problem(self._parts.editor.version(version))

    async def check_configuration(self, text: str) -> Sequence[CheckFinding]:
        """Return what the check finds in a text."""
        return await await_or_problem(self._parts.editor.check(text))


class WebUsers:
    """Users, logins and tokens for the page and the API: an AccessInterface around the AccessService."""

    def __init__(self, access: AccessService) -> None:
        self._access = access

    @property
    def has_users(self) -> bool:
        """Return True if anybody can log in."""
        return self._access.has_users

    def find_login(self, secret: str, *, touch: bool = True) -> Actor | None:
        """Return the actor of a login session."""
        return self._access.find_login(secret, touch=touch)

    def find_token(self, secret: str) -> Actor | None:
        """Return the actor of a bearer token."""
        return self._access.find_token(secret)

    async def login(self, name: str, password: str, peer: str) -> str:
        """Open a session. Raises ProblemError."""
        return await await_or_problem(self._access.login(name, password, peer))

    def logout(self, secret: str) -> None:
        """End a session."""
        self._access.logout(secret)

    async def change_password(self, actor: Actor, old: str, new: str, peer: str) -> None:
        """Set a user's own password. Raises ProblemError."""
        await await_or_problem(self._access.change_password(actor, old, new, peer))

    def users(self) -> Sequence[UserEntry]:
        """Return the users."""
        return [UserEntry(name=each.name, role=each.role) for each in self._access.list_users()]

    def roles(self) -> Sequence[RoleEntry]:
        """Return the roles."""
        return [
            RoleEntry(name=each.name, permissions=sorted(map(str, each.permissions)))
            for each in self._access.roles.values()
        ]

    def tokens(self) -> Sequence[TokenEntry]:
        """Return the bearer tokens."""
        return [
            TokenEntry(name=each.name, scopes=list(each.scopes), created=each.created, expires=each.expires)
            for each in self._access.list_tokens()
        ]
