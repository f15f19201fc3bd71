"""The configuration file changed from the page: checked, versioned, adopted into, rolled back."""

from __future__ import annotations

import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from controller.access.permissions import LOCAL_ACTOR
from controller.commands.site_command import AdoptStation, RollBackConfiguration, WriteConfiguration
from controller.config.live_keys import ReloadPlan
from controller.services.access.audit_log import AuditLog
from controller.services.access.command_service import CommandService, SiteCommandError, TargetUnknownError
from controller.services.configuration.configuration import LAST_VALID, load_configuration
from controller.services.configuration.first_configuration import version_of
from controller.services.web import configuration_editor
from controller.services.web.configuration_editor import ConfigurationEditor
from controller.store.state_store import StateStore
from tests.scenario.configuration import read_valid_config

TEXT = """# kept as it was written
[site]
id = "lc"
[store]
directory = "store"
[[circuit]]
id = "grid"
limit_a = 40
[[station]]
id = "CS01"
circuit = "grid"
"""


class Editing:
    """An editor with its commands, around one file."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "controller.toml"
        self.path.write_text(TEXT)
        self.path.chmod(0o640)
        self.reloads = 0
        self.store = StateStore(folder / "store")
        self.editor = ConfigurationEditor(self.path, self.store, str(folder / "store"), self._reload)
        self.commands = CommandService(AuditLog(self.store))
        self.editor.register_handlers(self.commands)

    async def _reload(self) -> ReloadPlan:
        self.reloads += 1
        config = read_valid_config(self.path.read_text(), folder=self.path.parent)
        return ReloadPlan(config=config, applied=("circuit grid limit_a",), needs_restart=("web",))


@asynccontextmanager
async def editing(folder: Path) -> AsyncIterator[Editing]:
    made = Editing(folder)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(made.store.run)
        yield made
        nursery.cancel_scope.cancel()


async def test_configuration_editor_valid_text_is_written_with_rights_of_before(tmp_path: Path) -> None:
    async with editing(tmp_path) as made:
        base = (await made.editor.read()).version
        changed = TEXT.replace("limit_a = 40", "limit_a = 63")
        result = await made.commands.execute(WriteConfiguration(text=changed, base=base), LOCAL_ACTOR)
        assert result == {
            "version": version_of(changed),
            "applied": ("circuit grid limit_a",),
            "needs_restart": ("web",),
            "waiting": (),
            "assumed": (),
        }
        assert made.path.read_text() == changed
        assert stat.S_IMODE(made.path.stat().st_mode) == 0o640
        assert made.reloads == 1
        actors = [each.actor for each in await made.editor.versions()]
        assert actors == ["local", "file"]


async def test_text_with_errors_changes_nothing(tmp_path: Path) -> None:
    async with editing(tmp_path) as made:
        base = (await made.editor.read()).version
        broken = TEXT.replace('circuit = "grid"', 'circuit = "gird"')
        with pytest.raises(SiteCommandError, match=r'line 11: .*did you mean "grid"'):
            await made.commands.execute(WriteConfiguration(text=broken, base=base), LOCAL_ACTOR)
        assert made.path.read_text() == TEXT
        assert made.reloads == 0
        assert await made.editor.versions() == []


async def test_file_that_was_changed_meanwhile_is_not_overwritten(tmp_path: Path) -> None:
    async with editing(tmp_path) as made:
        base = (await made.editor.read()).version
        made.path.write_text(TEXT + "# by hand\n")
        with pytest.raises(SiteCommandError, match="changed meanwhile"):
            await made.commands.execute(WriteConfiguration(text=TEXT, base=base), LOCAL_ACTOR)
        assert made.path.read_text().endswith("# by hand\n")


async def test_configuration_editor_roll_back_writes_earlier_version_again(tmp_path: Path) -> None:
    async with editing(tmp_path) as made:
        base = version_of(TEXT)
        changed = TEXT.replace("40", "63")
        await made.commands.execute(WriteConfiguration(text=changed, base=base), LOCAL_ACTOR)
        await made.commands.execute(RollBackConfiguration(version=base), LOCAL_ACTOR)
        assert made.path.read_text() == TEXT
        with pytest.raises(TargetUnknownError):
            await made.commands.execute(RollBackConfiguration(version="0" * 64), LOCAL_ACTOR)


async def test_adopted_station_is_appended_and_rest_unchanged(tmp_path: Path) -> None:
    async with editing(tmp_path) as made:
        command = AdoptStation(station='CS"02', circuit="grid", phases=("L2", "L3", "L1"), max_a=16)
        await made.commands.execute(command, LOCAL_ACTOR)
        text = made.path.read_text()
        assert text.startswith(TEXT)
        assert "by local" in text
        config, _ = load_configuration(made.path)
        adopted = config.station[1]
        assert (adopted.id, adopted.circuit) == ('CS"02', "grid")
        assert (adopted.evse[0].phases, adopted.evse[0].max_a) == (("L2", "L3", "L1"), 16.0)


@pytest.mark.parametrize(
    "command",
    [AdoptStation(station="CS01", circuit="grid"), AdoptStation(station="CS02", circuit="moon")],
)
async def test_adoption_that_is_not_valid_changes_nothing(tmp_path: Path, command: AdoptStation) -> None:
    async with editing(tmp_path) as made:
        with pytest.raises(SiteCommandError, match="nothing is changed"):
            await made.commands.execute(command, LOCAL_ACTOR)
        assert made.path.read_text() == TEXT


async def test_configuration_editor_versions_are_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(configuration_editor, "MOST_VERSIONS", 3)
    async with editing(tmp_path) as made:
        for number in range(6):
            base = (await made.editor.read()).version
            text = f"{TEXT}# {number}\n"
            await made.commands.execute(WriteConfiguration(text=text, base=base), LOCAL_ACTOR)
        assert len(await made.editor.versions()) == 3


async def test_file_that_cannot_be_written_states_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path, text: str) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(configuration_editor, "write_configuration_file", refuse)
    async with editing(tmp_path) as made:
        base = (await made.editor.read()).version
        with pytest.raises(SiteCommandError, match="Read-only file system; let the controller"):
            await made.commands.execute(WriteConfiguration(text=TEXT + "#\n", base=base), LOCAL_ACTOR)


async def test_configuration_editor_daemon_without_file_has_nothing_to_edit(tmp_path: Path) -> None:
    editor = ConfigurationEditor(None, StateStore(tmp_path), str(tmp_path), None)
    with pytest.raises(SiteCommandError, match="without a configuration file"):
        await editor.read()


async def test_configuration_editor_file_changed_on_gateway_is_not_in_use(tmp_path: Path) -> None:
    async with editing(tmp_path) as made:
        copy = tmp_path / "store" / LAST_VALID
        assert (await made.editor.read()).in_use is None
        copy.write_text(TEXT)
        assert (await made.editor.read()).in_use is True
        before = made.editor.file_revision
        assert made.editor.file_revision == before
        changed = TEXT.replace("limit_a = 40", "limit_a = 63")
        made.path.write_text(changed)
        assert made.editor.file_revision == before + 1
        assert (await made.editor.read()).in_use is False
        copy.write_text(changed)  # as a reload does
        assert made.editor.file_revision == before + 2
        assert (await made.editor.read()).in_use is True
        made.path.unlink()
        assert made.editor.file_revision == before + 3
