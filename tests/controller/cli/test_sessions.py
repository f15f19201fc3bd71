"""`local-controller sessions`: months of the site's time zone, forms, sums per card."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import trio

from controller.cli.main import main
from controller.session_ledger import session_recorder
from controller.session_ledger.charging_session import (
    CardReference,
    ChargingSession,
    EndedSessionStored,
    RunningSessionStored,
)
from controller.store.state_store import StateStore
from tests.controller.cli.command_line import CONFIG, write_config
from tests.controller.services.test_station_adoption import running
from tests.scenario.daemon_peers import BOOT, START, connect_station

NEW_YEAR = 1_798_759_800.0  # 2026-12-31T23:30Z, January in Berlin
ANNA = CardReference(label="Anna", token_hash="aa", token_ending="B2")


@pytest.fixture
def config(tmp_path: Path) -> Path:
    store = StateStore(tmp_path)
    for number, (start, station) in enumerate(
        [(NEW_YEAR, "CS01"), (NEW_YEAR - 86_400, "CS01"), (NEW_YEAR + 9000, "CS02")]
    ):
        session = ChargingSession(
            station=station,
            evse=1,
            transaction=str(number),
            started_at=start,
            updated_at=start + 600,
            ended_at=start + 600,
            meter_start_wh=0,
            meter_wh=1500,
            card=ANNA,
        )
        store.persist_now([EndedSessionStored(session.month, station, number, session)])
    running = ChargingSession(
        station="CS03", evse=None, transaction="9", started_at=NEW_YEAR + 99, updated_at=NEW_YEAR + 99
    )
    store.persist_now([RunningSessionStored("CS03", 9, running)])
    store.close()
    path = write_config(tmp_path)
    path.write_text(path.read_text().replace('id = "lc"', 'id = "lc"\ntimezone = "Europe/Berlin"', 1))
    return path


def test_sessions_are_those_of_local_month(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sessions", "-c", str(config), "--month", "2027-01", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [(row["station"], row["start"], row["energy_kwh"]) for row in rows] == [
        ("CS01", "2027-01-01T00:30:00+01:00", 1.5),
        ("CS03", "2027-01-01T00:31:39+01:00", None),
        ("CS02", "2027-01-01T03:00:00+01:00", 1.5),
    ]


def test_sessions_by_card_over_two_months(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--month", "2026-12", "--to", "2027-01", "--by", "card", "--csv", "--station", "CS01"]
    assert main(["sessions", "-c", str(config), *arguments]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1:] == ["2026-12,Anna,1,1.5,600,0,0", "2027-01,Anna,1,1.5,600,0,0"]


def test_sessions_are_printed_as_table(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sessions", "-c", str(config), "--month", "2027-01"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == [
        "station",
        "evse",
        "start",
        "end",
        "duration_s",
        "energy_kwh",
        "card",
        "end_reason",
        "clock_synchronised",
    ]
    assert lines[2].split() == ["CS03", "-", "2027-01-01T00:31:39+01:00", "-", "0", "-", "-", "-", "yes"]
    assert "may be wrong" not in lines[-1]


def test_sessions_of_unsynchronised_clock_are_marked(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = StateStore(config.parent)
    store.persist_now(
        [
            RunningSessionStored(
                "CS03",
                9,
                ChargingSession(
                    station="CS03",
                    evse=1,
                    transaction="9",
                    started_at=NEW_YEAR,
                    updated_at=NEW_YEAR,
                    clock_synchronised=False,
                ),
            )
        ]
    )
    store.close()
    line = ["sessions", "-c", str(config), "--month", "2027-01", "--station", "CS03"]
    assert main(line) == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown[1].split()[-1] == "no"
    assert "date and times may be wrong" in shown[-1]
    assert main([*line, "--csv"]) == 0
    assert capsys.readouterr().out.splitlines()[1].endswith(",false")
    assert main([*line, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["clock_synchronised"] is False
    assert main([*line, "--by", "card", "--csv"]) == 0
    assert capsys.readouterr().out.splitlines()[1].endswith(",1")


def test_month_without_sessions_states_it(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sessions", "-c", str(config), "--month", "2020-01"]) == 0
    assert capsys.readouterr().out == "no sessions\n"


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["--month", "2026-13"], "write it like 2026-11"),
        (["--month", "2026-11", "--to", "2026-10"], "exchange"),
    ],
)
def test_wrong_months_are_explained(
    config: Path, arguments: list[str], error: str, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        status = main(["sessions", "-c", str(config), *arguments])
    except SystemExit as left:
        status = int(str(left.code))
    assert status != 0
    assert error in capsys.readouterr().err


def test_sessions_without_store_is_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_config(tmp_path, CONFIG.replace("{folder}", "{folder}/none"))
    assert main(["sessions", "-c", str(path)]) == 1
    assert "there is no" in capsys.readouterr().err


async def test_sessions_show_last_register_of_running_controller(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_recorder, "METER_INTERVAL_S", 0.0)
    path = tmp_path / "controller.toml"
    path.write_text(
        f'[site]\nid = "lc"\n[store]\ndirectory = "{tmp_path}"\n[listen]\nhost = "127.0.0.1"\nport = 0\n'
        '[[circuit]]\nid = "grid"\nlimit_a = 63\n[[card]]\ntoken = "A"\n'
        '[[station]]\nid = "CS01"\ncircuit = "grid"\n'
    )
    arguments = ["sessions", "-c", str(path), "--month", "2020-01", "--to", "2099-12", "--json"]
    async with running(path) as controller, connect_station(controller) as station:
        await station.request("BootNotification", BOOT)
        transaction = (await station.request("StartTransaction", START))["transactionId"]
        value = {"value": str(START["meterStart"] + 2500), "measurand": "Energy.Active.Import.Register"}
        sampled = {"timestamp": START["timestamp"], "sampledValue": [value]}
        values = {"connectorId": 1, "transactionId": transaction, "meterValue": [sampled]}
        assert await station.request("MeterValues", values) == {}
        assert await trio.to_thread.run_sync(main, arguments) == 0
        [row] = json.loads(capsys.readouterr().out)
        assert (row["station"], row["energy_kwh"]) == ("CS01", 2.5)
