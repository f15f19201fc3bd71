"""`local-controller eebus` with a controller that runs, and without one."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio

from controller.cli.eebus import status_lines
from controller.cli.main import main
from tests.controller.services.test_app import running
from tests.controller.web.examples import STATUS
from tests.scenario.eebus_guard import configure, run_command

SKI = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
async def folder(tmp_path: Path) -> AsyncIterator[Path]:
    """The directory of a controller that runs."""
    config = configure(tmp_path)
    async with running(config):
        await run_command(config, "eebus.status")
        yield tmp_path


async def run(folder: Path, *words: str) -> int:
    """The exit status of `local-controller eebus ...`."""
    arguments = ["eebus", *words, "-c", str(folder / "site.toml")]
    return await trio.to_thread.run_sync(main, arguments)


async def test_status_names_state_and_identity(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert await run(folder, "status") == 0
    printed = capsys.readouterr().out
    assert "consumption  init: 4200 W for " in printed
    assert "heartbeat    none since the start" in printed
    assert "partner      none: accept the control box with `eebus pair SKI`" in printed


async def test_eebus_status_json_is_status(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert await run(folder, "status", "--json") == 0
    assert json.loads(capsys.readouterr().out)["consumption"]["state"] == "init"


async def test_eebus_pair_and_unpair_change_partners(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await run(folder, "pair", SKI.upper()) == 0
    assert await run(folder, "status") == 0
    assert f"partner      {SKI} away, trusted" in capsys.readouterr().out
    assert await run(folder, "unpair", SKI) == 0
    assert await run(folder, "unpair", SKI) == 1
    assert f"{SKI} is not a partner" in capsys.readouterr().err


async def test_eebus_pair_register_opens_for_time(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert await run(folder, "pair", "--register", "60") == 0
    assert await run(folder, "status") == 0
    assert "registration open for " in capsys.readouterr().out
    assert await run(folder, "pair", "--register", "9999") == 1


async def test_qr_is_printed_and_written_as_image(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert await run(folder, "qr") == 0
    assert capsys.readouterr().out.startswith("SHIP;SKI:")
    for suffix, head in ((".png", b"\x89PNG"), (".svg", b"<?xml")):
        assert await run(folder, "qr", "--out", str(folder / f"code{suffix}")) == 0
        assert (folder / f"code{suffix}").read_bytes().startswith(head)
    with pytest.raises(SystemExit):
        await run(folder, "qr", "--out", str(folder / "code.gif"))


async def test_suspend_and_resume_are_done(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert await run(folder, "suspend", "emergency supply") == 0
    assert await run(folder, "suspend", " ") == 1
    assert await run(folder, "resume") == 0
    assert "limits are obeyed" in capsys.readouterr().out


def test_eebus_without_controller_error_states_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    configure(tmp_path)
    assert main(["eebus", "status", "-c", str(tmp_path / "site.toml")]) == 1
    assert "no controller answers at" in capsys.readouterr().err


def test_without_eebus_error_states_what_to_add(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    configure(tmp_path)
    text = (tmp_path / "site.toml").read_text()
    start, end = text.index("[[dimming.source]]"), text.index("[[backend]]")
    (tmp_path / "site.toml").write_text(
        text[:start] + '[[dimming.source]]\nid = "dso"\nkind = "signed"\nrole = "dso"\n' + text[end:]
    )
    assert main(["eebus", "status", "-c", str(tmp_path / "site.toml")]) == 1
    assert "has no [eebus]" in capsys.readouterr().err


def test_status_lines_show_everything_there_is() -> None:
    assert STATUS.eebus is not None
    lines = status_lines(STATUS.eebus)
    assert "consumption  limited: 8000 W for 90 s (failsafe 4200 W, 2 h)" in lines
    assert any(line.startswith(f"partner      {'cd' * 20} data, energy guard, trusted") for line in lines)
    assert f"partner      {'ef' * 20} hello, waits: eebus pair {'ef' * 20}" in lines
