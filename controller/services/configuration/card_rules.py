"""Cards that are over: of the configuration, and of its card file."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime

from controller.config.card_files import CardFileError, load_cards
from controller.config.clock_rules import find_time_zone
from controller.config.schema import CardConfig, Config
from controller.tomlcheck.diagnostics import Problem
from drivers.coded_text import coded


def find_ended_cards(config: Config) -> Iterator[Problem]:
    """Find cards whose last day is past at the site; none where its time zone is an error already."""
    zone = find_time_zone(config.site.timezone)
    if zone is None:
        return
    today = datetime.now(UTC).astimezone(zone).date()
    for index, card in enumerate(config.card):
        if _has_ended(card, today):
            yield Problem(
                ("card", index, "valid_until"),
                coded("is past: the card may not charge any more"),
                coded("write a later day, or remove the card"),
            )
    try:
        of_file = load_cards(config)[len(config.card) :]
    except CardFileError:
        return  # an error of the check already
    ended = sum(_has_ended(card, today) for card in of_file)
    if ended:
        yield Problem(
            ("local_csms", "cards_file"),
            coded("cards whose valid_until is past: {count}", count=ended),
            coded("write later days, or remove them: they may not charge any more"),
        )


def _has_ended(card: CardConfig, today: date) -> bool:
    return card.valid_until is not None and card.valid_until < today
