"""From the configuration to the site."""

from __future__ import annotations

from zoneinfo import ZoneInfo

import msgspec
import pytest

from controller.config import Config
from controller.load_management.energy.energy_settings import EnergySettings, PeakSettings
from controller.load_management.sharing_settings import SiteSettings
from controller.load_management.site_builder import build_site, site_settings
from controller.load_management.site_tree import CircuitNode, EvseNode, Fuse
from controller.model.observations import EvseRef


def config(**tables: object) -> Config:
    whole = {
        "site": {"id": "lc", "voltage": 240},
        "backend": [{"id": "cpo", "url": "ws://csms.example"}],
        "circuit": [
            {"id": "row", "parent": "grid", "limit_a": 63},
            {"id": "grid", "limit_a": [250, 240, 230], "meter": "g", "fuse": "gG", "margin_a": 9},
        ],
        "station": [
            {
                "id": "CS01",
                "circuit": "row",
                "owner": "cpo",
                "evse": [
                    {"id": 1, "phases": ["L2", "L3", "L1"], "priority": 1},
                    {"id": 2, "circuit": "grid", "phases": ["L3"], "max_a": 16, "fallback_a": 8},
                ],
            }
        ],
        "load_management": {"tick_s": 2, "margin_a": 3, "fallback_a": 7, "rotation_s": 600, "lease_s": 60},
    }
    return msgspec.convert(whole | tables, Config)


def test_site_builder_orders_circuits_parents_first() -> None:
    assert build_site(config()).circuits == (
        CircuitNode(id="grid", parent=None, limit_a=(250, 240, 230), meter="g", margin_a=9, fuse=Fuse.GG),
        CircuitNode(id="row", parent="grid", limit_a=(63, 63, 63)),
    )


def test_site_builder_evses_have_phases_circuit_and_fallback() -> None:
    first, second = build_site(config()).evses
    assert first == EvseNode(
        ref=EvseRef("CS01", 1),
        circuit="row",
        phases=(1, 2, 0),
        min_a=6,
        max_a=32,
        fallback_a=7,
        priority=1,
        watts_per_a=240,
    )
    assert (second.circuit, second.phases, second.max_a, second.fallback_a) == ("grid", (2,), 16, 8)


@pytest.mark.parametrize(("mode", "is_site"), [("standard", False), ("overlay", True)])
def test_site_builder_station_in_overlay_mode_is_site(mode: str, *, is_site: bool) -> None:
    station = {"id": "LC02", "circuit": "grid", "owner": "cpo", "mode": mode, "evse": [{"id": 1}]}
    [evse] = build_site(config(station=[station])).evses
    assert evse.is_site is is_site


def test_site_builder_settings_follow_configuration() -> None:
    assert site_settings(config()) == SiteSettings(
        tick_s=2,
        margin_a=3,
        rotation_s=600,
        lease_s=60,
        voltage_v=240,
        energy=EnergySettings(zone=ZoneInfo("UTC")),
    )


@pytest.mark.parametrize(
    ("site_margin", "own_margin", "learns", "margin_a"),
    [
        (3.0, None, False, None),
        (3.0, "auto", True, None),
        ("auto", None, True, None),
        ("auto", 9.0, False, 9.0),
    ],
)
def test_site_builder_margin_is_learned_where_it_is_auto(
    site_margin: float | str, own_margin: float | str | None, learns: bool, margin_a: float | None
) -> None:
    made = config(
        circuit=[{"id": "grid", "limit_a": 250, "meter": "g", "margin_a": own_margin}],
        station=[],
        load_management={"margin_a": site_margin},
    )
    (grid,) = build_site(made).circuits
    assert (grid.learns_margin, grid.margin_a) == (learns, margin_a)
    assert site_settings(made).margin_a == (1.0 if site_margin == "auto" else site_margin)


def test_site_builder_slow_meter_may_be_silent_for_longer() -> None:
    meter = {
        "id": "g",
        "driver": "eastron-sdm630-v2",
        "transport": "tcp",
        "host": "h",
        "interval_s": 60,
        "stale_after_s": 150,
    }
    assert site_settings(config(meter=[meter])).silence_s == 420


@pytest.mark.parametrize("parent", ["b", "nowhere"])
def test_site_builder_circuits_without_grid_connection_are_named(parent: str) -> None:
    circuits = [{"id": "a", "parent": parent, "limit_a": 1}, {"id": "b", "parent": "a", "limit_a": 1}]
    with pytest.raises(ValueError, match="circuits that the grid connection does not feed: a, b"):
        build_site(config(circuit=circuits))


def test_site_builder_evse_without_circuit_is_named() -> None:
    with pytest.raises(ValueError, match="station CS01, EVSE 1: no circuit"):
        build_site(config(station=[{"id": "CS01", "owner": "cpo"}]))


def test_site_builder_keeps_free_peak_where_calendar_alone_sets_one() -> None:
    circuit = {"id": "grid", "limit_a": 250, "meter": "g", "base_load_a": 9, "peak_reached_is_free": True}
    entry = {"name": "x", "circuit": "grid", "peak_kw": 20}
    found = site_settings(config(circuit=[circuit], calendar=[entry], station=[])).energy
    assert found.peaks == {"grid": PeakSettings(target_w=None, reached_is_free=True)}
