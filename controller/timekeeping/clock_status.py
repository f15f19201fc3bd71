"""State of the site's clock: readings of the time daemon in, one state and events out.

    legal         enough authenticated servers of the named authority agree, the error is within its bound and
                  the last check is recent (Germany: EinhZeitG, PTB)
    synchronised  a daemon disciplines the clock within its bound, but not all of the above holds
    unverified    nothing is known of the clock, or it is off by more than its bound

Each state but `legal` has a reason. Steps of the wall clock are seen against the monotonic clock.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

import msgspec

from drivers.coded_text import coded, decimal

STEP_S = 0.5
"""Change of wall clock against monotonic clock between two checks that counts as a step."""


class ClockState(StrEnum):
    """State of the clock."""

    LEGAL = "legal"
    SYNCHRONISED = "synchronised"
    UNVERIFIED = "unverified"


class ClockRequirements(msgspec.Struct, frozen=True, kw_only=True):
    """Conditions of an installation. Times in s.

    `legal_authority`: name of the authority behind the servers; None: the clock is never legal time.
    `servers_agree`: authenticated servers that must agree. `max_error_s`: how far the clock may be off.
    `max_check_age_s`: how old the last check may be.
    """

    legal_authority: str | None = None
    servers_agree: int = 2
    max_error_s: float = 1.0
    max_check_age_s: float = 1024.0


class ServerReading(msgspec.Struct, frozen=True, kw_only=True):
    """One time server as the daemon sees it. `agrees`: it is in the majority that the daemon follows."""

    name: str
    agrees: bool
    authenticated: bool
    sample_age_s: float


class ClockReading(msgspec.Struct, frozen=True, kw_only=True):
    """Report of the time daemon `source`. `error_bound_s` is None if unknown."""

    source: str
    synchronised: bool
    error_bound_s: float | None = None
    servers: tuple[ServerReading, ...] = ()


class ClockStatus(msgspec.Struct, frozen=True, kw_only=True):
    """State of the clock with its reason; `reason` is empty for `legal`. `utc`: time of the last check."""

    state: ClockState
    reason: str
    source: str | None = None
    authority: str | None = None
    error_bound_s: float | None = None
    servers_agree: int = 0
    utc: float | None = None


class ClockEventKind(StrEnum):
    """Kind of an event for the evidence."""

    STATE = "clock-state"
    STEP = "clock-step"
    QUORUM_LOST = "clock-quorum-lost"
    QUORUM_REGAINED = "clock-quorum-regained"
    SERVER_CERTIFICATE = "clock-server-certificate"


class ClockEvent(msgspec.Struct, frozen=True):
    """Change that is worth a record; `text` states what changed, of `STATE` the new state and its reason."""

    kind: ClockEventKind
    text: str


UNKNOWN_CLOCK = ClockStatus(state=ClockState.UNVERIFIED, reason=coded("the clock was not checked yet"))


class ClockMonitor:
    """State machine of the clock. `now` is monotonic s, `utc` POSIX s."""

    def __init__(self, requirements: ClockRequirements) -> None:
        self._requirements = requirements
        self._status = UNKNOWN_CLOCK
        self._checked_at: float | None = None
        self._offset: float | None = None
        self._had_quorum = False
        self._certificates: dict[str, str] = {}

    def status(self, now: float) -> ClockStatus:
        """Return the state at `now`: a check that is too old proves nothing any more."""
        limit = self._requirements.max_check_age_s
        if self._checked_at is not None and now - self._checked_at > limit:
            return msgspec.structs.replace(
                self._status,
                state=ClockState.UNVERIFIED,
                reason=coded("the last check is more than {limit} s old", limit=decimal(limit)),
            )
        return self._status

    def on_reading(self, reading: ClockReading, now: float, utc: float) -> list[ClockEvent]:
        """Take a report of the time daemon."""
        before = self.status(now)
        events = self.on_time(now, utc)
        agreeing = [each for each in reading.servers if self._counts(each)]
        self._status = self._assess(reading, len(agreeing), utc)
        self._checked_at = now
        has_quorum = len(agreeing) >= self._requirements.servers_agree
        if has_quorum != self._had_quorum:
            kind = ClockEventKind.QUORUM_REGAINED if has_quorum else ClockEventKind.QUORUM_LOST
            count = f"{len(agreeing)} of {self._requirements.servers_agree} required servers agree"
            events.append(ClockEvent(kind, count))
            self._had_quorum = has_quorum
        return events + self._change(before)

    def on_failure(self, reason: str, now: float) -> list[ClockEvent]:
        """Take the failure of a check: no time daemon answers."""
        before = self.status(now)
        self._status = ClockStatus(state=ClockState.UNVERIFIED, reason=reason)
        self._checked_at = None
        return self._change(before)

    def on_time(self, now: float, utc: float) -> list[ClockEvent]:
        """Compare wall and monotonic clock."""
        offset, before = utc - now, self._offset
        self._offset = offset
        if before is None or abs(offset - before) < STEP_S:
            return []
        return [ClockEvent(ClockEventKind.STEP, f"the clock was stepped by {offset - before:+.3f} s")]

    def on_server_certificate(self, server: str, fingerprint: str) -> list[ClockEvent]:
        """Take the SHA-256 fingerprint of the certificate that an NTS server shows."""
        before = self._certificates.get(server)
        self._certificates[server] = fingerprint
        if before in (None, fingerprint):
            return []
        text = f"server {server} shows certificate {fingerprint}, before it was {before}"
        return [ClockEvent(ClockEventKind.SERVER_CERTIFICATE, text)]

    @property
    def certificates(self) -> Mapping[str, str]:
        """Fingerprints by server."""
        return self._certificates

    def _counts(self, server: ServerReading) -> bool:
        recent = server.sample_age_s <= self._requirements.max_check_age_s
        return server.agrees and server.authenticated and recent

    def _assess(self, reading: ClockReading, agreeing: int, utc: float) -> ClockStatus:
        state, reason = self._state(reading, agreeing)
        return ClockStatus(
            state=state,
            reason=reason,
            source=reading.source,
            authority=self._requirements.legal_authority,
            error_bound_s=reading.error_bound_s,
            servers_agree=agreeing,
            utc=utc,
        )

    def _state(self, reading: ClockReading, agreeing: int) -> tuple[ClockState, str]:
        limits = self._requirements
        if not reading.synchronised:
            return ClockState.UNVERIFIED, coded(
                "{source} does not discipline the clock", source=reading.source
            )
        bound = reading.error_bound_s
        if bound is None:
            return ClockState.SYNCHRONISED, coded(
                "{source} does not report how far the clock may be off", source=reading.source
            )
        if bound > limits.max_error_s:
            return (
                ClockState.UNVERIFIED,
                coded(
                    "the clock may be off by {bound} s, {most} are allowed",
                    bound=decimal(bound, ".3f"),
                    most=decimal(limits.max_error_s),
                ),
            )
        if limits.legal_authority is None:
            return ClockState.SYNCHRONISED, coded("no legal_authority is configured")
        if agreeing < limits.servers_agree:
            return (
                ClockState.SYNCHRONISED,
                coded(
                    "{count} authenticated servers agree, {needed} are required",
                    count=agreeing,
                    needed=limits.servers_agree,
                ),
            )
        return ClockState.LEGAL, ""

    def _change(self, before: ClockStatus) -> list[ClockEvent]:
        after = self._status
        if before is not UNKNOWN_CLOCK and before.state is after.state:
            return []
        because = f" reason={after.reason}" if after.reason else ""
        return [ClockEvent(ClockEventKind.STATE, f"{after.state}{because}")]
