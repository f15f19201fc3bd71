"""Energy plan at work: files that change, classes of cards, commands, and a restart."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import cast

import pytest
import trio
from msgspec.structs import replace

from controller.access.permissions import LOCAL_ACTOR
from controller.commands.site_command import convert_command
from controller.config import Config
from controller.config.loader import check_config
from controller.load_management.energy.energy_planner import EnergyPlanner
from controller.load_management.energy.energy_records import DeparturesStored, PricesStored
from controller.load_management.events import SiteEvent, StationObserved
from controller.load_management.site_builder import build_site, site_settings
from controller.model.observations import EvseRef, NeedsSeen, Observation
from controller.services.access.audit_log import AuditLog
from controller.services.access.command_service import CommandContentError, CommandService, SiteCommandError
from controller.services.load_management.energy_service import EnergyService
from controller.services.load_management.load_management_service import LoadManagementService
from controller.services.session_ledger.session_ledger_service import SessionLedger
from controller.session_ledger.charging_session import CardReference, ChargingSession
from controller.store.state_store import StateStore
from tests.controller.load_management.energy.evse_uses import make_use
from tests.controller.load_management.steps import finish_steps
from tests.controller.store.synchronous_store import SynchronousStore

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


class PlanningControl:
    """Stands for the load management: an energy plan, and the observations that come."""

    def __init__(self, config: Config) -> None:
        self.energy = EnergyPlanner(build_site(config), site_settings(config).energy, 230.0)
        self.energy.set_clock(1_795_000_000.0, trio.current_time())
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

    def find_card_name(self, name: str) -> str:
        return name if name == "Anna" else f"hash of {name}"


def load(site: str, folder: Path) -> Config:
    config, errors, _ = check_config(site, "site.toml", folder)
    assert config is not None, errors
    return config


class WiredEnergyService:
    """One service with its neighbors."""

    def __init__(self, folder: Path, site: str = SITE) -> None:
        (folder / "prices.csv").write_text(PRICES)
        (folder / "departures.csv").write_text(DEPARTURES)
        config = load(site, folder)
        self.control, self.sessions = PlanningControl(config), RunningSessions()
        self.store = SynchronousStore(folder)
        self.commands = CommandService(AuditLog(self.store))
        self.service = EnergyService(
            config,
            cast(LoadManagementService, self.control),
            cast(SessionLedger, self.sessions),
            self.store,
            self.commands,
        )

    def reload(self, site: str, folder: Path) -> None:
        """Apply another configuration, as the daemon does."""
        config = load(site, folder)
        settings = site_settings(config).energy
        self.control.energy.replace_site(build_site(config), settings, 230.0, 0.0)
        self.service.set_config(config)

    def begin_session(self, card: CardReference, energy_wh: float = 0.0) -> None:
        """Begin a session at the only EVSE, of which the card is known at once."""
        if (needs := self.control.energy.on_transaction(REF, True, trio.current_time())) is not None:
            self.control.seen.append(("CS01", needs))
        self.sessions.sessions = [
            ChargingSession(
                station="CS01",
                evse=1,
                transaction="7",
                started_at=1.0,
                updated_at=1.0,
                meter_start_wh=100.0,
                meter_wh=100.0 + energy_wh,
                card=card,
            )
        ]

    @property
    def energies_wh(self) -> list[float | None]:
        """Return the energies of the goals that the car was given."""
        return [seen.energy_wh for _, seen in self.control.seen if isinstance(seen, NeedsSeen)]

    @property
    def series(self) -> tuple[float, ...]:
        return self.control.energy.evses.prices.series.prices

    async def execute(self, members: Mapping[str, object]) -> object:
        return await self.commands.execute(convert_command(dict(members)), LOCAL_ACTOR)


async def test_energy_files_are_read_at_start(tmp_path: Path) -> None:
    scene = WiredEnergyService(tmp_path)
    await scene.service.read_files()
    assert scene.series == (0.25,)
    needs = scene.control.energy.on_transaction(REF, True, trio.current_time())
    assert needs is not None
    assert needs.energy_wh == 20_000.0


async def test_energy_file_with_error_keeps_previous_values(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    scene = WiredEnergyService(tmp_path)
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
    scene = WiredEnergyService(tmp_path)
    (tmp_path / "prices.csv").unlink()
    with caplog.at_level(logging.WARNING):
        await scene.service.read_files()
        await scene.service.read_files()
    assert caplog.text.count("energy file not read") == 1
    (tmp_path / "prices.csv").write_text(PRICES)
    await scene.service.read_files()
    assert scene.series == (0.25,)


async def test_energy_service_priority_class_of_running_card_reaches_plan(tmp_path: Path) -> None:
    scene = WiredEnergyService(tmp_path)
    scene.begin_session(CardReference(label="Anna", priority_class="vip"))
    scene.service.departures.update_cards()
    assert finish_steps(scene.control.energy.update({}, {REF: make_use()}, 0.0))[REF].priority == 9
    scene.sessions.sessions = []
    scene.service.departures.update_cards()
    assert REF not in finish_steps(scene.control.energy.update({}, {REF: make_use()}, 0.0))


async def test_energy_service_departure_command_sets_goal_of_car(tmp_path: Path) -> None:
    scene = WiredEnergyService(tmp_path)
    members = {"command": "energy.departure", "station": "CS01", "energy_kwh": 12.5, "leaves_in_s": 7200}
    await scene.execute(members)
    assert scene.control.seen == [("CS01", NeedsSeen(1, 12_500.0, 7200.0))]
    with pytest.raises(SiteCommandError, match="CS01/2 is not configured"):
        await scene.execute(members | {"evse": 2})


async def test_energy_service_price_command_survives_restart(tmp_path: Path) -> None:
    scene = WiredEnergyService(tmp_path)
    prices = [
        {"begin": "2026-11-18T13:00:00+01:00", "price": 0.3},
        {"begin": "2026-11-18T13:00:00Z", "price": 0.1},
    ]
    await scene.execute({"command": "energy.prices", "prices": prices})
    assert scene.series == (0.3, 0.1)
    with pytest.raises(SiteCommandError, match="begin at the same time"):
        await scene.execute({"command": "energy.prices", "prices": [prices[0], prices[0]]})
    scene.store.close()
    after = WiredEnergyService(tmp_path)
    after.control.energy.restore(
        each for kind in EnergyPlanner.record_types for each in after.store.load(kind)
    )
    assert after.series == (0.3, 0.1)


BY_CARD = """
[[departure]]
cards = ["Anna", "04AB"]
ready_by = "07:00"
energy_kwh = 40
[[departure]]
priority_classes = ["vip"]
ready_by = "08:00"
energy_kwh = 50
[[departure]]
stations = ["CS01"]
ready_by = "09:00"
energy_kwh = 10
"""


@pytest.mark.parametrize(
    ("card", "energy_wh"),
    [
        (CardReference(label="Anna", token_hash="1", priority_class="vip"), 40_000.0),
        (CardReference(token_hash="hash of 04AB"), 40_000.0),
        (CardReference(label="Ben", token_hash="2", priority_class="vip"), 50_000.0),
        (CardReference(token_hash="3"), 10_000.0),
    ],
)
async def test_energy_service_departure_follows_card_once_known(
    tmp_path: Path, card: CardReference, energy_wh: float
) -> None:
    scene = WiredEnergyService(tmp_path, SITE + BY_CARD)
    scene.begin_session(card)
    assert scene.energies_wh == [10_000.0]
    scene.service.departures.update_cards()
    scene.service.departures.update_cards()
    assert scene.energies_wh == ([10_000.0] if energy_wh == 10_000.0 else [10_000.0, energy_wh])


async def test_energy_service_own_goal_of_car_outlasts_card_rules(tmp_path: Path) -> None:
    scene = WiredEnergyService(tmp_path, SITE + BY_CARD)
    scene.begin_session(CardReference(label="Anna"))
    scene.control.energy.evses.departures.on_goal_set(REF)
    scene.service.departures.update_cards()
    scene.reload(SITE, tmp_path)
    scene.service.departures.update_cards()
    assert scene.energies_wh == [10_000.0]


async def test_energy_service_csv_departures_may_name_cards(tmp_path: Path) -> None:
    scene = WiredEnergyService(tmp_path)
    text = "station,day,ready_by,energy_kwh,card,priority_class\n,,06:30,33,04AB,\nCS01,,06:30,20,,vip\n"
    (tmp_path / "departures.csv").write_text(text)
    await scene.service.read_files()
    scene.begin_session(CardReference(token_hash="hash of 04AB"))
    scene.service.departures.update_cards()
    assert scene.energies_wh == [33_000.0]
    scene.begin_session(CardReference(token_hash="4", priority_class="vip"))
    scene.service.departures.update_cards()
    assert scene.energies_wh == [33_000.0, 20_000.0]


async def test_energy_service_departures_command_survives_restart(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    scene = WiredEnergyService(tmp_path)
    rows = [
        {"card": "04AB", "ready_by": "06:30", "energy_kwh": 12.5},
        {"station": "CS01/1", "day": "sat", "ready_by": "10:00", "energy_kwh": 7},
    ]
    assert await scene.execute({"command": "energy.departures", "departures": rows}) == {"departures": 2}
    scene.begin_session(CardReference(token_hash="hash of 04AB"))
    scene.service.departures.update_cards()
    assert scene.energies_wh == [7_000.0, 12_500.0]
    scene.store.close()
    assert "04AB" not in caplog.text
    after = WiredEnergyService(tmp_path)
    after.begin_session(CardReference(token_hash="hash of 04AB"))
    after.service.departures.update_cards()
    assert after.energies_wh == [7_000.0, 12_500.0]
    await after.execute({"command": "energy.departures", "departures": []})
    assert after.energies_wh[-1] is None


async def test_energy_service_departures_command_names_each_mistake(tmp_path: Path) -> None:
    scene = WiredEnergyService(tmp_path)
    rows = [
        {"ready_by": "06:30", "energy_kwh": 12.5},
        {"station": "CS09", "ready_by": "06:30", "energy_kwh": 12.5},
        {"card": "04AB", "day": "Sonntag", "ready_by": "06:30", "energy_kwh": 12.5},
    ]
    with pytest.raises(CommandContentError) as caught:
        await scene.execute({"command": "energy.departures", "departures": rows})
    assert "departure 1: station: is empty" in str(caught.value)
    assert 'departure 2: station: "CS09" is not configured' in str(caught.value)
    assert 'departure 3: day: "Sonntag" is not a day' in str(caught.value)


async def test_energy_service_departures_command_names_those_without_effect(tmp_path: Path) -> None:
    scene = WiredEnergyService(tmp_path)  # at 2026-11-18 12:06 in Berlin
    rows = [
        {"station": "CS01", "day": "2026-11-17", "ready_by": "06:30", "energy_kwh": 12.5},
        {"station": "CS01", "day": "2026-11-18", "ready_by": "12:06", "energy_kwh": 12.5},
        {"station": "CS01", "day": "2027-11-20", "ready_by": "06:30", "energy_kwh": 12.5},
        {"station": "CS01", "day": "9999-12-31", "ready_by": "24:00", "energy_kwh": 12.5},
        {"priority_class": "wip", "ready_by": "06:30", "energy_kwh": 12.5},
    ]
    with pytest.raises(CommandContentError) as caught:
        await scene.execute({"command": "energy.departures", "departures": rows})
    past = "past by its ready_by; leave it out, or write a date to come or a day of the week"
    assert str(caught.value).split("; departure") == [
        f"departure 1: day: 2026-11-17 is {past}",
        f" 2: day: 2026-11-18 is {past}",
        " 3: day: 2027-11-20 is more than a year ahead; write the date with its right year, or a day of "
        "the week",
        ' 4: day: "9999-12-31" is not a day; write one of mon ... sun or a date like 2026-11-27, a line for '
        "each day; empty for all",
        ' 5: priority_class: "wip" is not configured; known are vip',
    ]
    assert scene.store.load(DeparturesStored) == []
    rows = [
        rows[1] | {"ready_by": "12:07"},
        rows[2] | {"day": "2027-11-18"},
        rows[4] | {"priority_class": "vip"},
    ]
    assert await scene.execute({"command": "energy.departures", "departures": rows}) == {"departures": 3}


@pytest.mark.parametrize(
    ("begin", "mistake"),
    [
        ("2026-11-18T10:06:00Z", "has no price from now on: cars charge as without prices"),
        (
            "2026-11-26T12:00:00Z",
            "has no price before 2026-11-26T12:00Z: until then cars charge as without prices",
        ),
    ],
)
async def test_energy_service_prices_of_another_time_are_an_error(
    tmp_path: Path, begin: str, mistake: str
) -> None:
    scene = WiredEnergyService(tmp_path)
    with pytest.raises(CommandContentError) as caught:
        await scene.execute({"command": "energy.prices", "prices": [{"begin": begin, "price": 0.3}]})
    assert str(caught.value) == f"prices: {mistake}; write the prices of today and tomorrow"
    assert scene.store.load(PricesStored) == []


async def test_energy_service_prices_without_their_table_are_an_error(tmp_path: Path) -> None:
    scene = WiredEnergyService(tmp_path, SITE.replace('[prices]\nfile = "prices.csv"', ""))
    with pytest.raises(
        SiteCommandError, match=r"prices: has no effect: .* no \[prices\]; add the table"
    ) as e:
        await scene.execute(
            {"command": "energy.prices", "prices": [{"begin": "2026-11-18T12:00:00Z", "price": 0.3}]}
        )
    assert not isinstance(e.value, CommandContentError)


async def test_energy_service_prices_begin_as_in_csv_files(tmp_path: Path) -> None:
    scene = WiredEnergyService(tmp_path)
    begins = ("2026-11-18T13:00+01:00", "2026-11-18T13:00Z", "2026-11-18 14:00:00+00:00")
    prices = [{"begin": begin, "price": 0.1 * number} for number, begin in enumerate(begins)]
    assert await scene.execute({"command": "energy.prices", "prices": prices}) == {"prices": 3}
    wrong = [{"begin": begin, "price": 0.1} for begin in (begins[0], "2026-11-18T13:00", "18.11.2026 13:00")]
    with pytest.raises(CommandContentError) as caught:
        await scene.execute({"command": "energy.prices", "prices": wrong})
    assert str(caught.value) == (
        "price 2: begin: 2026-11-18T13:00 has no time zone; add it, like +01:00 or Z; price 3: begin: "
        '"18.11.2026 13:00" is not a time; write it with its zone, like 2026-11-18T13:00+01:00'
    )


async def test_energy_service_reload_changes_goal_of_running_session(tmp_path: Path) -> None:
    scene = WiredEnergyService(tmp_path, SITE + BY_CARD)
    scene.begin_session(CardReference(label="Anna"), energy_wh=15_000.0)
    scene.service.departures.update_cards()
    assert scene.energies_wh == [10_000.0, 25_000.0]
    scene.reload(SITE + BY_CARD.replace("energy_kwh = 40", "energy_kwh = 60"), tmp_path)
    scene.service.departures.update_cards()
    assert scene.energies_wh == [10_000.0, 25_000.0, 45_000.0]


async def test_energy_service_reload_without_files_forgets_them(tmp_path: Path) -> None:
    scene = WiredEnergyService(tmp_path)
    await scene.service.read_files()
    prices = [{"begin": "2026-11-18T12:00:00Z", "price": 0.75}]
    await scene.execute({"command": "energy.prices", "prices": prices})
    (tmp_path / "prices.csv").write_text(PRICES.replace("0.25", "0.5"))
    os.utime(tmp_path / "prices.csv", (1, 1))
    await scene.service.read_files()
    assert scene.series == (0.5,)
    scene.reload(
        SITE.replace('file = "prices.csv"', "").replace('departures = "departures.csv"', ""), tmp_path
    )
    await scene.service.read_files()
    assert scene.series == (0.75,)
    assert scene.control.energy.on_transaction(REF, True, trio.current_time()) is None
    scene.reload(SITE, tmp_path)
    await scene.service.read_files()
    assert scene.series == (0.5,)
    assert scene.control.energy.on_transaction(REF, True, trio.current_time()) is not None


async def test_energy_service_session_energy_and_quota_survive_restart(tmp_path: Path) -> None:
    group = '[[group]]\nid = "shop"\nstations = ["CS01"]\nquota_kwh = 50\n'
    site = SITE.replace("[load_management]", '[load_management]\nfairness = "energy"') + group
    scene = WiredEnergyService(tmp_path, site)
    energy = scene.control.energy
    begin = trio.current_time()  # noon in Berlin: the quota of a day does not begin anew within the hour
    energy.on_transaction(REF, True, begin)
    drawing = replace(make_use(), drawn_w=22_000.0)
    for now in range(0, 3600, 30):
        finish_steps(energy.update({}, {REF: drawing}, begin + now))
    await scene.store.persist(energy.take_records())
    scene.store.close()
    after = WiredEnergyService(tmp_path, site).control.energy
    with closing(StateStore(tmp_path)) as store:
        after.restore(each for kind in EnergyPlanner.record_types for each in store.load(kind))
    after.on_transaction(REF, True, begin)
    finish_steps(after.update({}, {REF: make_use()}, begin + 3600.0))
    assert after.evses.turn_energies([REF]) == energy.evses.turn_energies([REF]) == {REF: 20_000.0}
    assert after.view(begin + 3600.0).groups[0].used_wh == pytest.approx(21_800.0, abs=500.0)
