"""Cards whose last day is past."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from controller.config.schema import CardConfig, CircuitConfig, Config, SiteConfig
from controller.services.card_rules import find_ended_cards

TODAY = datetime.now(UTC).date()


def test_card_rules_find_cards_that_are_over() -> None:
    days = (None, TODAY + timedelta(days=1), TODAY - timedelta(days=1))
    cards = [CardConfig(token=f"A{index}", valid_until=day) for index, day in enumerate(days)]
    circuit = CircuitConfig(id="grid", limit_a=63.0)
    config = Config(site=SiteConfig(id="lc"), circuit=(circuit,), card=tuple(cards))
    [found] = find_ended_cards(config)
    assert found.path == ("card", 2, "valid_until")
    assert found.remedy == "write a later day, or remove the card"
