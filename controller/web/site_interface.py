"""Interfaces through which the page and the REST API reach the site, and the data that they return.

The services implement both: here is no socket and no store. Errors are ProblemErrors.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from controller.access.permissions import Actor
from controller.commands.site_command import SiteCommand
from controller.model.statements import Statement
from controller.web.status_model import ControllerStatus
from drivers.coded_text import TextParts

if TYPE_CHECKING:
    from controller.web.setup_interface import SetupInterface


class EventEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One event for people: an alarm that began or ended, or a change that a person made.

    `time`: RFC 3339, UTC. `severity`: info, warning or critical. `statement`: the text as code and
    values.
    """

    time: str
    severity: str
    text: str
    actor: str = ""
    statement: Statement | None = None


class SessionEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One charging session. `ended`, `energy_wh`, `reason`: null while it runs; `evse`, too, if unknown.

    `card`: label or last characters of the card. Times are RFC 3339, UTC. `clock_synchronised`: false if the
    gateway's clock was not synchronised at the begin or the end, so that they may be wrong.
    """

    station: str
    evse: int | None
    transaction: str
    started: str
    ended: str | None = None
    energy_wh: float | None = None
    card: str = ""
    reason: str | None = None
    clock_synchronised: bool = True


class SetAsideMessage(msgspec.Struct, frozen=True, kw_only=True):
    """Message of a station that its backend rejects; it is kept until a person decides.

    `number` names it in the commands outbox.retry and outbox.drop. `received`: RFC 3339, UTC.
    """

    station: str
    backend: str
    number: int
    action: str
    received: str
    reason: str


class MessageEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One OCPP message of a station. `time`: RFC 3339, UTC, when it was received or sent.

    `direction`: from-station or to-station. `kind`: call, result, error, result-error, send or unreadable.
    `action`: of the request, empty if unknown. `payload`: decoded and redacted; null where it cannot be
    shown, and where `cut` is true: of a long message only the beginning is kept. `length`: characters.
    """

    time: str
    direction: str
    kind: str
    id: str
    action: str
    payload: Any
    length: int
    cut: bool


class HistorySeries(msgspec.Struct, frozen=True, kw_only=True):
    """Values of one channel: for each time (POSIX s, start of the interval) lowest, mean and highest."""

    channel: str
    unit: str
    interval_s: int
    times: list[int]
    low: list[float]
    mean: list[float]
    high: list[float]


class EvidenceVerification(msgspec.Struct, frozen=True, kw_only=True):
    """Result of the verification of the evidence of dimming.

    `good`: every record is as it was written and none is missing. `first`, `last`: numbers of the records,
    null without any. `head`: hash of the last one. `findings`: the first of `finding_count`, with places.
    `finds_cut_end`: false where nothing shows how far the log went, so that a cut end cannot be found.
    """

    good: bool
    records: int
    first: int | None
    last: int | None
    head: str
    findings: list[str]
    finding_count: int
    finds_cut_end: bool


class ConfigurationText(msgspec.Struct, frozen=True, kw_only=True):
    """Text of the configuration file, and its version: the SHA-256 of the text.

    `in_use` is false while the file has been changed since the start or the last reload; null: unknown.
    """

    text: str
    version: str
    path: str
    in_use: bool | None = None


class ConfigurationVersion(msgspec.Struct, frozen=True, kw_only=True):
    """One version of the configuration file that was in use or written before."""

    version: str
    time: str
    actor: str


class CheckFinding(msgspec.Struct, frozen=True, kw_only=True):
    """One finding of the check. `severity`: error or hint; `line` is null where it has no place.

    `text`: all of it in English. `key`: its place. `what`, `remedy`: the problem and the way out; plain
    texts are messages of other programs. `was_there`: the present file has it, too.
    """

    severity: str
    line: int | None
    text: str
    key: str = ""
    what: TextParts | str = ""
    remedy: TextParts | str = ""
    was_there: bool = False


class UserEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One user of the page."""

    name: str
    role: str


class RoleEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One role that a user may have, and its permissions."""

    name: str
    permissions: list[str]


class TokenEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One bearer token. `created`, `expires`: POSIX s; `expires` null: it has no end."""

    name: str
    scopes: list[str]
    created: float
    expires: float | None


class EvidenceInterface(Protocol):
    """The evidence of dimming as the page and the API use it. Methods raise ProblemError."""

    async def export(self, since: float, until: float) -> bytes:
        """Return the records from `since` until before `until` (POSIX s), a line each."""

    async def verify(self) -> EvidenceVerification:
        """Verify all records."""


class SiteInterface(Protocol):
    """The site as the page and the API use it. Methods raise ProblemError."""

    @property
    def setup(self) -> SetupInterface:
        """Return the setup of the site."""

    @property
    def evidence(self) -> EvidenceInterface | None:
        """Return the evidence of dimming; None without dimming."""

    def status(self) -> ControllerStatus:
        """Return the status now."""

    def commands(self) -> Sequence[str]:
        """Return the names of the commands that this site has."""

    async def execute(self, command: SiteCommand, actor: Actor) -> Mapping[str, Any]:
        """Execute a command and return its result."""

    def set_aside(self) -> Sequence[SetAsideMessage]:
        """Return the messages that backends reject, by station and backend, the oldest first."""

    def station_messages(self, station: str, *, show_identities: bool) -> Sequence[MessageEntry]:
        """Return the latest messages of a station, the newest first."""

    def events(self, most: int) -> Sequence[EventEntry]:
        """Return the latest events, the newest first."""

    async def sessions(self, first: str, last: str) -> Sequence[SessionEntry]:
        """Return the sessions of the months from `first` to `last` (YYYY-MM), and those that run."""

    async def history(self, channels: Sequence[str], start: int, end: int) -> Sequence[HistorySeries]:
        """Return stored values of channels, none: all; from `start` to `end` (POSIX s)."""

    async def configuration(self) -> ConfigurationText:
        """Return the configuration file."""

    async def configuration_versions(self) -> Sequence[ConfigurationVersion]:
        """Return the stored versions of the file, the newest first."""

    async def configuration_version(self, version: str) -> ConfigurationText:
        """Return one stored version."""

    async def check_configuration(self, text: str) -> Sequence[CheckFinding]:
        """Return what the check finds in a text."""


class AccessInterface(Protocol):
    """Users, logins and tokens as the page and the API use them. Methods raise ProblemError."""

    @property
    def has_users(self) -> bool:
        """Return True if anybody can log in."""

    def find_login(self, secret: str, *, touch: bool = True) -> Actor | None:
        """Return the actor of a login session; None if it has ended."""

    def find_token(self, secret: str) -> Actor | None:
        """Return the actor of a bearer token; None if it is not valid."""

    async def login(self, name: str, password: str, peer: str) -> str:
        """Check name and password; return the secret of a new session."""

    def logout(self, secret: str) -> None:
        """End a login session."""

    async def change_password(self, actor: Actor, old: str, new: str, peer: str) -> None:
        """Set a user's own password; all its sessions end."""

    def users(self) -> Sequence[UserEntry]:
        """Return the users."""

    def roles(self) -> Sequence[RoleEntry]:
        """Return the roles: those that are built in, then those of the configuration."""

    def tokens(self) -> Sequence[TokenEntry]:
        """Return the bearer tokens."""
