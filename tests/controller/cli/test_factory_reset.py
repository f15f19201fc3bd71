"""`factory-reset`: all data of a site is removed after its id was typed; the evidence stays."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
import trio

from controller.cli.main import main
from controller.model.journal import BootStored
from controller.services import app
from controller.services.configuration.configuration import keep_copy, open_configuration
from controller.store.state_store import StateStore
from controller.store.store_lock import hold_store
from tests.scenario.daemon_peers import BOOT, START, connect_station, stop_transaction

CONFIG = """
[site]
id = "lc-depot"
[store]
directory = "state"
[[backend]]
id = "cpo"
url = "ws://127.0.0.1:1/{station}"
password_file = "keys/cpo"
"""


@pytest.fixture
def site(tmp_path: Path) -> Path:
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "cpo").write_text("secret")
    (tmp_path / "notes.txt").write_text("of somebody else")
    config = tmp_path / "controller.toml"
    config.write_text(CONFIG)
    store = StateStore(tmp_path / "state")
    store.persist_now([BootStored("CS01", "ACME", "One", "1")])
    store.close()
    (tmp_path / "state" / "evidence").mkdir()
    (tmp_path / "state" / "evidence" / "evidence-000000000-2026-11.jsonl").touch()
    return config


def left(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_factory_reset_removes_all_but_evidence(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["factory-reset", "-c", str(site), "--confirm", "lc-depot"]) == 0
    assert left(site.parent) == {"notes.txt", "state/evidence/evidence-000000000-2026-11.jsonl"}
    output = capsys.readouterr().out
    assert "the evidence of dimming; see --with-evidence" in output
    assert "not removed: the log in systemd's journal" in output


def test_factory_reset_keeps_evidence_that_restore_moved_aside(
    site: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = site.parent / "state"
    (state / "evidence").rename(state / "evidence.before-20261201T120000Z")
    assert main(["factory-reset", "-c", str(site), "--confirm", "lc-depot"]) == 0
    aside = "state/evidence.before-20261201T120000Z"
    assert left(site.parent) == {"notes.txt", f"{aside}/evidence-000000000-2026-11.jsonl"}
    assert f"{aside}, the evidence of dimming; see --with-evidence" in capsys.readouterr().out


def test_with_evidence_removes_it_too(site: Path) -> None:
    (site.parent / "state" / "evidence.before-20261201T120000Z").mkdir()
    assert main(["factory-reset", "-c", str(site), "--confirm", "lc-depot", "--with-evidence"]) == 0
    assert left(site.parent) == {"notes.txt"}


@pytest.mark.parametrize("typed", ["", "y\n", "other\n"])
def test_factory_reset_without_id_removes_nothing(
    site: Path, monkeypatch: pytest.MonkeyPatch, typed: str
) -> None:
    before = left(site.parent)
    monkeypatch.setattr("sys.stdin", io.StringIO(typed))
    assert main(["factory-reset", "-c", str(site)]) == 1
    assert left(site.parent) == before
    monkeypatch.setattr("sys.stdin", io.StringIO("lc-depot\n"))
    assert main(["factory-reset", "-c", str(site)]) == 0


def test_factory_reset_while_controller_runs_is_rejected(
    site: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = left(site.parent)
    with hold_store(site.parent / "state"):
        assert main(["factory-reset", "-c", str(site)]) == 1
    assert left(site.parent) == before
    captured = capsys.readouterr()
    assert "systemctl stop" in captured.err
    assert captured.out == ""  # no question whose answer has no effect


CHARGED = """
[site]
id = "lc-depot"
[store]
directory = "state"
[listen]
host = "127.0.0.1"
port = 0
[[card]]
token = "DRIVER-4711"
label = "Jane Roe"
[[circuit]]
id = "house"
limit_a = 40
[[station]]
id = "CS01"
circuit = "house"
"""


async def charge(config: Path) -> None:
    """Run the controller for one charging session of the driver."""
    active = open_configuration(config)
    keep_copy(active)
    async with trio.open_nursery() as nursery:
        controller = await nursery.start(app.run, active.config)
        async with connect_station(controller) as station:
            await station.request("BootNotification", BOOT)
            start = {**START, "idTag": "DRIVER-4711"}
            number = (await station.request("StartTransaction", start))["transactionId"]
            await station.request("StopTransaction", {**stop_transaction(number), "idTag": "DRIVER-4711"})
        nursery.cancel_scope.cancel()


def files_with(folder: Path, *texts: bytes) -> set[str]:
    return {name for name in left(folder) if any(text in (folder / name).read_bytes() for text in texts)}


def test_factory_reset_leaves_no_driver_or_station_in_any_file(tmp_path: Path) -> None:
    config = tmp_path / "controller.toml"
    config.write_text(CHARGED)
    trio.run(charge, config)
    of_driver = (b"DRIVER-4711", b"Jane Roe", b"CS01")
    assert any(name.startswith("state/") for name in files_with(tmp_path, *of_driver))
    assert main(["factory-reset", "-c", str(config), "--confirm", "lc-depot"]) == 0
    assert files_with(tmp_path, *of_driver) == set()
