"""A circuit's limit of power, where the configuration is checked."""

from __future__ import annotations

from tests.controller.config.test_loader import GOOD, check_config


def test_fallbacks_above_power_limit_of_circuit_are_error() -> None:
    tight = GOOD.replace("limit_a = 100", "limit_a = 100\nlimit_w = 4000")
    config, mistakes, _ = check_config(tight, "tight.toml")
    assert config is None
    assert [mistake.key for mistake in mistakes] == ['circuit "grid" limit_w']
    assert "take 4140 W, its limit is 4000 W" in mistakes[0].what
    assert check_config(tight.replace("4000", "4140"), "wide.toml")[1] == []


def declared(base_load: str) -> str:
    return GOOD.replace("limit_a = 100", f"limit_a = 100\n{base_load}")


def test_power_floors_and_declared_load_of_building_must_fit_together() -> None:
    assert check_config(declared("base_load_a = 94"), "fits.toml")[1] == []
    config, mistakes, _ = check_config(declared("base_load_a = 95"), "full.toml")
    assert config is None
    assert [mistake.key for mistake in mistakes] == ['circuit "grid" limit_a']
    assert 'the stations below "grid" and the declared base load of 95 A take 101 A on L1' in mistakes[0].what


def test_power_declared_loads_add_up_towards_grid_in_power_too() -> None:
    row = '[[circuit]]\nid = "row"\nparent = "grid"\nlimit_a = 63\nbase_load_a = 20\n[[station]]'
    below = declared("base_load_a = 10\nlimit_w = 24839").replace("[[station]]", row, 1)
    _, mistakes, _ = check_config(below, "full.toml")
    assert [mistake.what for mistake in mistakes] == [
        'without the controller, the stations below "grid" and the declared base load of 30 A '
        "take 24840 W, its limit is 24839 W"
    ]
    assert check_config(below.replace("24839", "24840"), "fits.toml")[1] == []


METERED = """
[[meter]]
id = "m"
driver = "janitza-umg604"
transport = "tcp"
host = "10.0.0.20"
"""


def test_power_metered_connection_without_base_load_is_hint() -> None:
    _, mistakes, notes = check_config(declared('meter = "m"') + METERED, "silent.toml")
    assert mistakes == []
    assert [note.key for note in notes] == ['circuit "grid" base_load_a']
    for keys in ('meter = "m"\nbase_load_a = 0', 'meter = "m"\nbase_load_a = 30'):
        assert check_config(declared(keys) + METERED, "told.toml")[2] == []
