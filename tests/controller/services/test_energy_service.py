"""Energy plan at work: files that change, classes of cards, commands, and a restart."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

import pytest

from controller.access.permissions import LOCAL_ACTOR
from controller.commands.site_command import convert_command
from controller.config import Config
from controller.config.loader import check_config
from controller.load_management.energy.energy_planner import EnergyPlanner
from controller.load_management.events import EvseUse, SiteEvent, StationObserved
from controller.load_management.site_builder import build_site, site_settings
from controller.model.journal import Record
from controller.model.observations import EvseRef, NeedsSeen, Observation
from controller.services.audit_log import AuditLog
from controller.services.command_service import CommandService, SiteCommandError
from controller.services.energy_service import EnergyService
from controller.services.load_management_service import LoadManagementService
from controller.services.session_ledger_service import SessionLedger
from controller.session_ledger.charging_session import CardReference, ChargingSession
from controller.store.state_store import StateStore

SITE = """
[site]
id = "lc"
timezone = "Europe/Berlin"
[store]
directory = "."
[load_management]
departures = "departures.csv"
[[backend]]
id = "cpo"
url = "ws://127.0.0.1/{station}"
[[circuit]]
id = "grid"
limit_a = 63
[[station]]
id = "CS01"
circuit = "grid"
owner = "cpo"
[prices]
file = "prices.csv"
[[priority_class]]
id = "vip"
priority = 9
"""
PRICES = "begin,price\n2026-11-27T06:00Z,0.25\n"
DEPARTURES = "station,day,ready_by,energy_kwh\nCS01,,06:30,20\n"
REF = EvseRef("CS01", 1)


class RecordingControl:
    """Stands for the load management: an energy plan, and the observations that come."""

    def __init__(self, config: Config) -> None:
        self.energy = EnergyPlanner(build_site(config), site_settings(config).energy, 230.0)
        self.energy.set_clock(1_795_000_000.0, 0.0)
        self.seen: list[tuple[str, Observation]] = []

    def handle_event(self, event: SiteEvent) -> None:
        assert isinstance(event, StationObserved)
        self.seen.append((event.station, event.observation))


class RunningSessions:
    """Stands for the session ledger."""

    def __init__(self) -> None:
        self.sessions: list[ChargingSession] = []

    def running(self) -> list[ChargingSession]:
        return self.sessions


class SynchronousStore(StateStore):
    """Store that writes at once: a thread would let the virtual clock jump."""

    async def persist(self, records: Sequence[Record]) -> None:
        self.persist_now(records)


class Scene:
    """One service with its neighbors."""

    def __init__(self, folder: Path) -> None:
        (folder / "prices.csv").write_text(PRICES)
        (folder / "departures.csv").write_text(DEPARTURES)
        config, errors, _ = check_config(SITE, "site.toml", folder)
        assert config is not None, errors
        self.control, self.sessions = RecordingControl(config), RunningSessions()
        self.store = SynchronousStore(folder)
        self.commands = CommandService(AuditLog(self.store))
        self.service = EnergyService(
            config,
            cast(LoadManagementService, self.control),
            cast(SessionLedger, self.sessions),
            self.store,
            self.commands,
        )

    @property
    def series(self) -> tuple[float, ...]:
        return self.control.energy.evses.prices.series.prices

    async def execute(self, members: Mapping[str, object]) -> object:
        return await self.commands.execute(convert_command(dict(members)), LOCAL_ACTOR)


async def test_energy_files_are_read_at_start(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    await scene.service.read_files()
    assert scene.series == (0.25,)
    needs = scene.control.energy.on_transaction(REF, True, 0.0)
    assert needs is not None
    assert needs.energy_wh == 20_000.0


async def test_energy_file_with_error_keeps_previous_values(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    scene = Scene(tmp_path)
    await scene.service.read_files()
    (tmp_path / "prices.csv").write_text("begin,price\nnow,1\n")
    os.utime(tmp_path / "prices.csv", (1, 1))
    with caplog.at_level(logging.WARNING):
        await scene.service.read_files()
        await scene.service.read_files()
    assert scene.series == (0.25,)
    assert caplog.text.count("energy file not used") == 1
    assert "line 2" in caplog.text
    (tmp_path / "prices.csv").write_text(PRICES.replace("0.25", "0.5"))
    await scene.service.read_files()
    assert scene.series == (0.5,)


async def test_missing_energy_file_is_reported_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    scene = Scene(tmp_path)
    (tmp_path / "prices.csv").unlink()
    with caplog.at_level(logging.WARNING):
        await scene.service.read_files()
        await scene.service.read_files()
    assert caplog.text.count("energy file not read") == 1
    (tmp_path / "prices.csv").write_text(PRICES)
    await scene.service.read_files()
    assert scene.series == (0.25,)


def test_energy_service_priority_class_of_running_card_reaches_plan(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    card = CardReference(label="Anna", priority_class="vip")
    scene.sessions.sessions = [
        ChargingSession(station="CS01", evse=1, transaction="7", started_at=1.0, updated_at=1.0, card=card)
    ]
    scene.service.update_classes()
    assert scene.control.energy.update({}, {REF: _use()}, 0.0)[REF].priority == 9
    scene.sessions.sessions = []
    scene.service.update_classes()
    assert REF not in scene.control.energy.update({}, {REF: _use()}, 0.0)


def _use() -> EvseUse:
    return EvseUse(has_demand=True, is_served=True, drawn_w=0.0, priority=0, max_a=32.0, most_w=22_000.0)


async def test_energy_service_departure_command_sets_goal_of_car(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    members = {"command": "energy.departure", "station": "CS01", "energy_kwh": 12.5, "leaves_in_s": 7200}
    await scene.execute(members)
    assert scene.control.seen == [("CS01", NeedsSeen(1, 12_500.0, 7200.0))]
    with pytest.raises(SiteCommandError, match="CS01/2 is not configured"):
        await scene.execute(members | {"evse": 2})


async def test_energy_service_price_command_survives_restart(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    prices = [
        {"begin": "2026-11-27T06:00:00+01:00", "price": 0.3},
        {"begin": "2026-11-27T06:00:00Z", "price": 0.1},
    ]
    await scene.execute({"command": "energy.prices", "prices": prices})
    assert scene.series == (0.3, 0.1)
    with pytest.raises(SiteCommandError, match="begin at the same time"):
        await scene.execute({"command": "energy.prices", "prices": [prices[0], prices[0]]})
    scene.store.close()
    after = Scene(tmp_path)
    after.control.energy.restore(
        each for kind in EnergyPlanner.record_types for each in after.store.load(kind)
    )
    assert after.series == (0.3, 0.1)
