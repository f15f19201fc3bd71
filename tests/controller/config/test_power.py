"""A circuit's limit of power, where the configuration is checked."""

from __future__ import annotations

from tests.controller.config.test_reading import GOOD, check_config


def test_floors_that_take_more_power_than_a_circuit_may_carry_are_a_mistake() -> None:
    tight = GOOD.replace("limit_a = 100", "limit_a = 100\nlimit_w = 4000")
    config, mistakes, _ = check_config(tight, "tight.toml")
    assert config is None
    assert [mistake.key for mistake in mistakes] == ['circuit "grid" limit_w']
    assert "take 4140 W, its limit is 4000 W" in mistakes[0].what
    assert check_config(tight.replace("4000", "4140"), "wide.toml")[1] == []
