"""Rules of a site without backend: the cards, and the stations whose CSMS the controller is."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from controller.config.card_files import CardFileError, load_cards
from controller.config.schema import CardConfig, Config, StationConfig
from controller.ocpp.id_tokens import LONGEST_ID_TAG
from controller.tomlcheck.diagnostics import Problem, name_letters, unknown_name
from controller.tomlcheck.positions import DataPath
from drivers.coded_text import coded

UID_TYPES = frozenset({"ISO14443", "ISO15693"})
"""Types of idTokens that are the serial number of a chip."""


def check_cards(config: Config) -> Iterator[Problem]:
    """Find cards that are listed twice, and priority classes that do not exist."""
    classes = [each.id for each in config.priority_class]
    tokens: set[str] = set()
    labels: set[str] = set()
    for index, card in enumerate(config.card):
        if card.token.lower() in tokens:
            yield Problem(
                ("card", index, "token"), coded("is listed twice"), coded("remove one of the two cards")
            )
        if card.label and card.label.lower() in labels:
            yield Problem(
                ("card", index, "label"),
                coded('"{name}" is listed twice', name=card.label),
                coded("give each card its own label"),
            )
        if card.priority_class and card.priority_class not in classes:
            path = ("card", index, "priority_class")
            yield unknown_name(path, card.priority_class, classes, "priority_class")
        tokens.add(card.token.lower())
        labels.add(card.label.lower())


def check_card_file(config: Config) -> Iterator[Problem]:
    """Find errors in the card file."""
    place = ("local_csms", "cards_file")
    classes = [each.id for each in config.priority_class]
    try:
        of_file = load_cards(config)[len(config.card) :]
    except CardFileError as error:
        if config.local_csms.cards_file is not None:
            yield Problem(place, error.what, error.remedy)
        return
    tokens = {card.token.lower() for card in of_file}
    for index, card in enumerate(config.card):
        if card.token.lower() in tokens:
            yield Problem(
                ("card", index, "token"),
                coded("is in cards_file, too"),
                coded("remove one of the two cards"),
            )
    for name in sorted({each.priority_class for each in of_file} - {"", *classes}):
        yield unknown_name(place, name, classes, "priority_class")


def find_unlisted_cards(config: Config, cards: Sequence[CardConfig]) -> Iterator[Problem]:
    """Find departures for cards that are not listed; no card is in the text."""
    for index, departure in enumerate(config.departure):
        for number, name in enumerate(departure.cards):
            if not is_listed(config, cards, name):
                yield Problem(
                    ("departure", index, "cards", number),
                    coded("is neither the label nor the token of a [[card]]"),
                    coded("compare it with label and token there; case counts in labels"),
                )


def is_listed(config: Config, cards: Sequence[CardConfig], name: str) -> bool:
    """Return True for the label or token of a card; also for a chip's number that a backend may know."""
    if _UID.fullmatch(name) and any(station.owner is not None for station in config.station):
        return True
    return any(name == card.label or name.lower() == card.token.lower() for card in cards)


_UID = re.compile(r"[0-9a-f]{8,20}", re.IGNORECASE)
"""Serial number of a card's chip."""


def find_local_csms_hints(config: Config) -> Iterator[Problem]:
    """Find what prevents charging, or allows it without a card, at stations without owner."""
    local = [(index, each) for index, each in enumerate(config.station) if each.owner is None]
    csms = config.local_csms
    if local and csms.authorization == "cards" and not config.card and csms.cards_file is None:
        yield Problem(
            ("station", local[0][0], "owner"),
            coded("is missing, and no card is listed: no driver can charge"),
            coded('add a [[card]], or [local_csms] authorization = "free"'),
        )
    for index, station in local:
        yield from _find_station_hints(config, index, station)
    for index, card in enumerate(config.card):
        if card.label.strip().lower() == card.token.strip().lower():
            yield Problem(
                ("card", index, "label"),
                coded("is the token itself: it would be shown wherever the label is"),
                coded("write a name for the card, or remove label"),
            )
        if card.type in UID_TYPES and (odd := [each for each in card.token if each in ":- "]):
            yield Problem(
                ("card", index, "token"),
                coded("contains {odd}", odd=name_letters(odd)),
                coded("compare it with what the station reports: most write the card's number without"),
            )
        elif card.type in UID_TYPES and card.token.lower().startswith("0x"):
            yield Problem(
                ("card", index, "token"),
                coded("begins with 0x, which no station reports"),
                coded("write the digits alone, as the station reports them"),
            )
        if len(card.token) > LONGEST_ID_TAG and any(each.protocol != "ocpp2.0.1" for _, each in local):
            yield Problem(
                ("card", index, "token"),
                coded(
                    "has {token} characters: OCPP 1.6 has {longest_token_16}",
                    token=len(card.token),
                    longest_token_16=LONGEST_ID_TAG,
                ),
                coded("a station with OCPP 1.6 cannot accept it"),
            )


def _find_station_hints(config: Config, index: int, station: StationConfig) -> Iterator[Problem]:
    owner: DataPath = ("station", index, "owner")
    if config.backend:
        yield Problem(
            owner,
            coded("is missing: the controller is its CSMS"),
            coded('if a backend is, add owner = "{name}"', name=config.backend[0].name),
        )
    if station.when_backend_away != "strict":
        yield Problem(
            ("station", index, "when_backend_away"),
            coded("has no effect: the station has no owner"),
            coded("remove it, or add owner"),
            depends_on=owner,
        )
    if station.password_file is None and config.listen.client_ca is None:
        yield Problem(
            ("station", index, "password_file"),
            coded("is missing: anybody in the network can connect in its place"),
            coded("add password_file"),
            depends_on=owner,
        )
