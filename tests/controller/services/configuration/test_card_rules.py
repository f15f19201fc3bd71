"""Cards whose last day is past."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from controller.config.schema import CardConfig, CircuitConfig, Config, LocalCsmsConfig, SiteConfig
from controller.services.configuration.card_rules import find_ended_cards

TODAY = datetime.now(UTC).date()


def test_card_rules_find_cards_that_are_over() -> None:
    days = (None, TODAY + timedelta(days=1), TODAY - timedelta(days=1))
    cards = [CardConfig(token=f"A{index}", valid_until=day) for index, day in enumerate(days)]
    circuit = CircuitConfig(id="grid", limit_a=63.0)
    config = Config(site=SiteConfig(id="lc"), circuit=(circuit,), card=tuple(cards))
    [found] = find_ended_cards(config)
    assert found.path == ("card", 2, "valid_until")
    assert found.remedy == "write a later day, or remove the card"


def test_card_rules_count_cards_of_file_that_are_over(tmp_path: Path) -> None:
    file = tmp_path / "cards.csv"
    file.write_text("token,valid_until\nA1,2020-12-31\nA2,2999-12-31\nA3,2021-01-01\nA4,\n")
    circuit = CircuitConfig(id="grid", limit_a=63.0)
    local = LocalCsmsConfig(cards_file=str(file))
    [found] = find_ended_cards(Config(site=SiteConfig(id="lc"), circuit=(circuit,), local_csms=local))
    assert found.path == ("local_csms", "cards_file")
    assert found.what == "cards whose valid_until is past: 2"


def test_card_rules_invalid_time_zone_leaves_days_unchecked() -> None:
    circuit = CircuitConfig(id="grid", limit_a=63.0)
    for zone in ("UTC+1", "europe/berlin", "", "/etc/localtime", "a" * 300):
        site, card = SiteConfig(id="lc", timezone=zone), CardConfig(token="A1", valid_until=TODAY)
        assert list(find_ended_cards(Config(site=site, circuit=(circuit,), card=(card,)))) == []
