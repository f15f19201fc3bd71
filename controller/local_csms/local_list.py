"""The local authorization list of a station: versions, and the CALLs that bring it up to date.

The version is a hash of the list's content, so that the station itself shows whether it has this list
(GetLocalListVersion), also after a restart of either. A list that does not fit into one message is sent as
one full update and differential ones with rising versions; the last has the version of the list.
Source: OCPP 1.6 ed. 2, sections 5.7 and 5.15; OCPP 2.0.1 Part 2, use cases D01 and D02.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import msgspec

from controller.local_csms.cards import Card
from controller.ocpp.frames import Version
from controller.ocpp.id_tokens import LONGEST_ID_TAG
from controller.ocpp.payloads import format_time

MOST_PER_MESSAGE = 100
"""Cards in one SendLocalList, also where the station takes more."""
_LOWEST_VERSION = 10_000
"""Room for the versions of the parts below that of the list."""
_HIGHEST_VERSION = 2**31 - 1


def list_version(version: Version, cards: Sequence[Card]) -> int:
    """Return the version of a list with these cards."""
    content = msgspec.json.encode([_entry(version, card) for card in cards])
    digest = int.from_bytes(hashlib.sha256(content).digest()[:8], "big")
    return _LOWEST_VERSION + digest % (_HIGHEST_VERSION - _LOWEST_VERSION + 1)


def fitting_cards(version: Version, cards: Sequence[Card], most: int | None) -> list[Card]:
    """Return the cards that a station can store: `most` of them, and with tokens that are not too long."""
    usable = [card for card in cards if version is not Version.V16 or len(card.token) <= LONGEST_ID_TAG]
    return usable if most is None else usable[:most]


def list_updates(version: Version, cards: Sequence[Card], per_message: int | None) -> list[bytes]:
    """Return the payloads of SendLocalList for a list, in their order."""
    size = max(1, min(MOST_PER_MESSAGE, per_message or MOST_PER_MESSAGE))
    parts = [cards[start : start + size] for start in range(0, len(cards), size)] or [[]]
    last = list_version(version, cards)
    return [
        _update(version, part, last - (len(parts) - 1 - index), "Differential" if index else "Full")
        for index, part in enumerate(parts)
    ]


def _update(version: Version, cards: Sequence[Card], number: int, kind: str) -> bytes:
    name = "listVersion" if version is Version.V16 else "versionNumber"
    payload: dict[str, object] = {name: number, "updateType": kind}
    if cards:  # 2.x allows no empty list; without one a full update clears the station's
        payload["localAuthorizationList"] = [_entry(version, card) for card in cards]
    return msgspec.json.encode(payload)


def _entry(version: Version, card: Card) -> dict[str, object]:
    info: dict[str, object] = {"status": "Blocked" if card.is_blocked else "Accepted"}
    if version is Version.V16:
        if card.valid_until is not None:
            info["expiryDate"] = format_time(card.valid_until)
        return {"idTag": card.token, "idTagInfo": info}
    if card.valid_until is not None:
        info["cacheExpiryDateTime"] = format_time(card.valid_until)
    return {"idToken": {"idToken": card.token, "type": card.type}, "idTokenInfo": info}
