"""Durable records of users, bearer tokens and the audit of changes."""

from __future__ import annotations

from typing import Any

import msgspec

from controller.model.journal import Record
from controller.model.statements import Statement, StatementCode
from drivers.coded_text import TextParts

DONE = "done"
"""Outcome of a command that was executed."""


class UserStored(Record, frozen=True):
    """A user: role, argon2id hash of the password. An empty hash: the user was removed."""

    name: str
    role: str
    hash: str
    language: str = ""

    @property
    def is_active(self) -> bool:
        """Return True if the user may log in."""
        return bool(self.hash)


class TokenStored(Record, frozen=True):
    """A bearer token: the hash of its secret, its permissions (scopes) and its end (POSIX s; None: none).

    An empty hash: the token was revoked.
    """

    name: str
    hash: str
    scopes: tuple[str, ...]
    created: float
    expires: float | None = None


class AuditStored(Record, frozen=True):
    """One change or attempted change: actor, interface, command and result.

    `at`: POSIX s. `subject` has no secret and no driver's identity. `outcome_parts`: template and values of a
    reason in `outcome`. `what`: members of the statement about the command; None from a version without it.
    """

    number: int
    at: float
    actor: str
    origin: str
    command: str
    subject: str
    outcome: str
    outcome_parts: TextParts | None = None
    what: dict[str, Any] | None = None

    @property
    def statement(self) -> Statement | None:
        """Return what was done, with the reason where it was not; None where this version cannot say it."""
        try:
            what = msgspec.convert(self.what, Statement)
        except msgspec.ValidationError:
            return None
        if self.outcome == DONE:
            return what
        return Statement(
            code=StatementCode.NOT_DONE, cause=what, detail=self.outcome, detail_parts=self.outcome_parts
        )

    def __str__(self) -> str:
        """Return the line of the audit in English."""
        if self.statement is not None:
            return str(self.statement)
        return " ".join(filter(None, (self.command, self.subject)))


class AuditTrimmed(Record, frozen=True):
    """Audit entries with numbers below `number` are removed: the list is bounded."""

    number: int


class ConfigurationStored(Record, frozen=True):
    """A version of the configuration file: the SHA-256 of its text, who wrote it, and the text itself."""

    version: str
    at: float
    actor: str
    text: str


class ConfigurationForgotten(Record, frozen=True):
    """A version of the configuration file is no longer kept."""

    version: str
