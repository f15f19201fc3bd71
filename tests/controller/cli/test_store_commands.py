"""`store export | import` and `outbox list | retry | drop`, as a person types them."""

from __future__ import annotations

from pathlib import Path

import pytest

from controller.cli.main import main
from controller.model.journal import BootStored
from controller.offline.journal_records import EntrySetAside, OutboxRequest
from controller.store.state_store import StateStore
from tests.controller.services.stations.test_relay_memory import queued

CONFIG = """
[site]
id = "lc"
[store]
directory = "{folder}"
[[backend]]
id = "cpo"
url = "ws://127.0.0.1:1/{{station}}"
[[circuit]]
id = "grid"
limit_a = 40
[[station]]
id = "CS01"
circuit = "grid"
owner = "cpo"
"""


@pytest.fixture
def config(tmp_path: Path) -> str:
    file = tmp_path / "controller.toml"
    file.write_text(CONFIG.format(folder=tmp_path / "store"))
    return str(file)


def test_store_export_and_import_print_counts_and_digest(
    tmp_path: Path, config: str, capsys: pytest.CaptureFixture[str]
) -> None:
    StateStore(tmp_path / "store").persist_now([BootStored("CS01", "ACME", "One", "1")])
    out = tmp_path / "backup.jsonl"
    assert main(["store", "export", "-c", config, "--out", str(out)]) == 0
    assert out.stat().st_mode & 0o077 == 0
    assert '"counts":{"boot":1}' in capsys.readouterr().out
    assert main(["store", "import", "-c", config, str(out)]) == 1
    assert "--replace removes them" in capsys.readouterr().err
    assert main(["store", "import", "-c", config, "--replace", str(out)]) == 0
    assert "imported 1 entries" in capsys.readouterr().out
    assert StateStore(tmp_path / "store").load(BootStored) == [BootStored("CS01", "ACME", "One", "1")]


def test_store_export_to_existing_file_is_error(tmp_path: Path, config: str) -> None:
    StateStore(tmp_path / "store")
    (tmp_path / "there").touch()
    assert main(["store", "export", "-c", config, "--out", str(tmp_path / "there")]) == 2


def test_outbox_list_shows_what_waits_and_what_was_set_aside(
    tmp_path: Path, config: str, capsys: pytest.CaptureFixture[str]
) -> None:
    StateStore(tmp_path / "store").persist_now(
        [queued(1), queued(2), EntrySetAside("CS01", "cpo", 1, "FormationViolation")]
    )
    assert main(["outbox", "list", "-c", config]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "CS01  cpo: 1 waiting",
        "CS01  cpo  1  StopTransaction  received 1970-01-01T00:00:01+00:00  set aside: FormationViolation",
    ]


@pytest.mark.parametrize(("command", "drop"), [("retry", False), ("drop", True)])
def test_store_commands_outbox_retry_and_drop_leave_request_for_controller(
    tmp_path: Path, config: str, command: str, *, drop: bool
) -> None:
    running = StateStore(tmp_path / "store")
    running.persist_now([queued(1), EntrySetAside("CS01", "cpo", 1, "FormationViolation")])
    assert main(["outbox", command, "-c", config, "CS01", "cpo", "1"]) == 0
    assert running.follow(OutboxRequest, 0)[1] == [OutboxRequest("CS01", "cpo", 1, drop)]
    running.persist_now([queued(2)])  # the controller still writes


def test_outbox_retry_of_message_that_is_not_set_aside_is_error(
    tmp_path: Path, config: str, capsys: pytest.CaptureFixture[str]
) -> None:
    StateStore(tmp_path / "store").persist_now([queued(1)])
    assert main(["outbox", "retry", "-c", config, "CS01", "cpo", "1"]) == 1
    assert "`outbox list` shows those that are" in capsys.readouterr().err
