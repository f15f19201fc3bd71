"""A charging session and its durable records.

An idToken is personal data: a session holds the card's label if the configuration lists the card, a keyed
hash by which sessions of one card can be found, and the last characters of the token.
"""

from __future__ import annotations

import hashlib
import hmac
from datetime import UTC, datetime

import msgspec

from controller.model.journal import Record
from controller.ocpp.id_tokens import IdToken

_ENDING = 4
"""Characters of a token that are stored in the clear; half of a shorter token at most."""
_HASH_BYTES = 8


class CardReference(msgspec.Struct, frozen=True, kw_only=True):
    """A card in a session: `label` of the configuration, keyed hash and last characters of its token.

    `priority_class`: class of the load management. All are empty for a session without a card.
    """

    label: str = ""
    priority_class: str = ""
    token_hash: str = ""
    token_ending: str = ""

    @property
    def name(self) -> str:
        """Return the text by which people and exports identify the card."""
        if self.label or not self.token_hash:
            return self.label
        return f"…{self.token_ending} ({self.token_hash[:6]})"


NO_CARD = CardReference()


class ChargingSession(msgspec.Struct, frozen=True, kw_only=True):
    """One transaction at an EVSE, as far as its messages have been received.

    Times are POSIX s by the station's clock where that is plausible, else by the controller's. Registers are
    in Wh; None: not reported. `ended_at` None: it runs. `end_reason`: as reported by the station
    (OCPP: Reason, ReasonEnumType), "NotReported" if another session began at the EVSE meanwhile.
    `updated_at`: time of the last message (POSIX s, the controller's clock). `clock_synchronised`: False if
    the controller's clock was not synchronised when the session began or ended: its times may be wrong.
    """

    station: str
    evse: int | None
    transaction: str
    started_at: float
    updated_at: float
    ended_at: float | None = None
    meter_start_wh: float | None = None
    meter_wh: float | None = None
    end_reason: str = ""
    card: CardReference = NO_CARD
    clock_synchronised: bool = True

    @property
    def energy_wh(self) -> float | None:
        """Return the energy taken so far (Wh); None where the station has not reported both registers."""
        if self.meter_start_wh is None or self.meter_wh is None:
            return None
        return max(0.0, self.meter_wh - self.meter_start_wh)

    @property
    def duration_s(self) -> float:
        """Return the time from the start to the end, or to the last message (s)."""
        end = self.updated_at if self.ended_at is None else self.ended_at
        return max(0.0, end - self.started_at)

    @property
    def month(self) -> str:
        """Return the month (UTC) in which the session began, like "2026-11"."""
        return month_of(self.started_at)


class RunningSessionStored(Record, frozen=True):
    """A session that runs; `number` identifies it among those of its station."""

    station: str
    number: int
    session: ChargingSession


class EndedSessionStored(Record, frozen=True):
    """A session that has ended; it replaces its RunningSessionStored."""

    month: str
    station: str
    number: int
    session: ChargingSession


class SessionsExpired(Record, frozen=True):
    """The sessions that began before this month ("2026-11") are deleted."""

    before_month: str


def month_of(utc: float) -> str:
    """Return the month of a time (UTC), like "2026-11"."""
    return datetime.fromtimestamp(utc, UTC).strftime("%Y-%m")


def months_before(month: str, count: int) -> str:
    """Return the month `count` months earlier; the first month of year 1 at the earliest."""
    year, number = (int(part) for part in month.split("-"))
    index = max(12, year * 12 + number - 1 - count)
    return f"{index // 12:04d}-{index % 12 + 1:02d}"


def reference_card(key: bytes, token: IdToken, label: str = "", priority_class: str = "") -> CardReference:
    """Return the reference of a card to be stored; `key` belongs to the installation."""
    value = token.value
    if not value:
        return NO_CARD
    digest = hmac.new(key, b"session " + value.lower().encode(), hashlib.sha256).digest()[:_HASH_BYTES]
    ending = value[-min(_ENDING, len(value) // 2) :] if len(value) > 1 else ""
    return CardReference(
        label=label, priority_class=priority_class, token_hash=digest.hex(), token_ending=ending
    )
