"""The cards of the site: whose idToken is accepted by the local CSMS.

Tokens are compared without regard to case (1.6 CiString20Type, 2.x IdTokenType). None of what is in here
may be logged: a token identifies a driver.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import msgspec

from controller.model.plausible_time import has_ended
from controller.ocpp.frames import Version
from controller.ocpp.id_tokens import IdToken

_WITHOUT_AUTHORIZATION = "NoAuthorization"
"""2.x: type of the token of a station that is set to charge without any card (C02)."""


class Card(msgspec.Struct, frozen=True, kw_only=True):
    """A card. `type`: of its idToken in OCPP 2.x; `valid_until` in POSIX s, None without an end.

    `priority_class`: class of the load management; empty for none.
    """

    token: str
    label: str = ""
    type: str = "ISO14443"
    priority_class: str = ""
    valid_until: float | None = None
    is_blocked: bool = False

    def __repr__(self) -> str:
        return f"Card({self.label!r})"


class CardList:
    """The cards, and whether charging is free: `free` accepts every token."""

    def __init__(self, cards: Iterable[Card] = (), authorization: Literal["cards", "free"] = "cards") -> None:
        self.cards = tuple(cards)
        self.is_free = authorization == "free"
        self._by_token = {card.token.lower(): card for card in self.cards}
        self._by_label = {card.label.lower(): card for card in self.cards if card.label}

    def find_card(self, token: str) -> Card | None:
        """Return the card with this token, or None."""
        return self._by_token.get(token.lower())

    def find_by_name(self, name: str) -> Card | None:
        """Return the card with this label, else with this token; None if there is none."""
        return self._by_label.get(name.lower()) or self.find_card(name)

    def authorize(self, version: Version, token: IdToken | None, utc: float) -> str:
        """Return the authorization status of a token; `token` None: the message names none."""
        unknown = "Invalid" if version is Version.V16 else "Unknown"
        card = None if token is None else self.find_card(token.value)
        if card is not None and card.is_blocked:
            return "Blocked"  # also where charging is free: a person has decided so
        if self.is_free:
            return "Accepted"
        if card is None or token is None or token.type == _WITHOUT_AUTHORIZATION:
            return unknown
        if has_ended(card.valid_until, utc):
            return "Expired"
        return "Accepted"
