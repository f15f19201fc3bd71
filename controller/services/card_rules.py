"""Cards of a configuration that are over."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from controller.config.schema import Config
from controller.tomlcheck.diagnostics import Problem
from drivers.coded_text import coded


def find_ended_cards(config: Config) -> Iterator[Problem]:
    """Find cards whose last day is past."""
    today = datetime.now(UTC).date()
    for index, card in enumerate(config.card):
        if card.valid_until is not None and card.valid_until < today:
            yield Problem(
                ("card", index, "valid_until"),
                coded("is past: the card may not charge any more"),
                coded("write a later day, or remove the card"),
            )
