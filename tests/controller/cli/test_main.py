"""The command line as a whole: exit status and one-line errors."""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from controller.cli.main import SUBCOMMANDS, build_parser, main
from tests.controller.cli.command_line import (
    CONFIG,
    closed_folder,
    run_command,
    run_unprivileged,
    write_config,
)


def test_main_unknown_command_exits_2() -> None:
    assert run_command("dance").returncode == 2


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ("dance", "local-controller: COMMAND: invalid choice: 'dance'"),
        ("stats", "local-controller: COMMAND: invalid choice: 'stats' (did you mean status?); see"),
        (
            "station pauze",
            "local-controller station: ACTION: invalid choice: 'pauze' (did you mean pause?)",
        ),
        ("-x check", "local-controller: unrecognized arguments: -x; see `local-controller --help`"),
        (
            "check -x",
            "local-controller check: unrecognized arguments: -x; see `local-controller check --help`",
        ),
        (
            "check site.toml",
            "local-controller check: unrecognized arguments: site.toml (did you mean -c site.toml?); see",
        ),
        (
            "status --confg=site.toml",
            "local-controller status: unrecognized arguments: --confg=site.toml (did you mean --config?)",
        ),
        ("station list -x y", "local-controller station list: unrecognized arguments: -x y"),
        ("station", "local-controller station: the following arguments are required: ACTION"),
        ("status --url ftp://lc", "local-controller status: --url: begin it with"),
        ("meter read --unit x", "local-controller meter read: --unit: 'x' is not a whole number"),
        ("station limit CS01 --amps six", "local-controller station limit: --amps: 'six' is not a number"),
        ("outbox retry CS01 cpo 1.5", "local-controller outbox retry: NUMBER: '1.5' is not a whole number"),
    ],
)
def test_main_invalid_command_line_is_one_line(
    arguments: str, error: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(arguments.split())
    printed = capsys.readouterr().err
    assert printed.startswith(error)
    assert re.search(r"; see `local-controller[a-z ]* --help`\n$", printed)
    assert printed.count("\n") == 1


def test_main_values_are_parsed_with_texts_of_their_own() -> None:
    actions = (action for _, parser in find_actions(build_parser()) for action in parser._actions)
    assert [action.dest for action in actions if action.type in (int, float)] == []


def test_main_help_lists_every_subcommand() -> None:
    parser = build_parser()
    [commands] = [each for each in parser._actions if isinstance(each, argparse._SubParsersAction)]
    assert list(commands.choices) == list(SUBCOMMANDS)
    usage = parser.format_help()
    assert all(re.search(rf"^    {name}\b", usage, re.M) for name in commands.choices)


WITHOUT_JSON: dict[str, str] = {
    "": "run setup demo password dim backup restore support-bundle factory-reset",
    "station": "pause resume limit prioritize boost start stop reset adopt dismiss reconnect",
    "meter": "watch",
    "user": "add remove token revoke",
    "eebus": "pair unpair qr suspend resume",
    "evidence": "export",
    "keys": "new rotate approve export",
    "pki": "init sign issue revoke renew import export rotate",
    "outbox": "retry drop",
    "store": "export import",
    "policy": "resume",
}
"""Actions by command that do something and print one line, a file or a live display: they have no table."""


def find_actions(
    parser: argparse.ArgumentParser, *names: str
) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """Yield each command without further ones below it, with its parser."""
    found = [each for each in parser._actions if isinstance(each, argparse._SubParsersAction)]
    if not found:
        yield " ".join(names), parser
    for name, below in found[0].choices.items() if found else ():
        yield from find_actions(below, *names, name)


def test_main_every_command_with_table_has_json() -> None:
    found = find_actions(build_parser())
    without = {name for name, parser in found if "--json" not in parser._option_string_actions}
    named = ((command, actions.split()) for command, actions in WITHOUT_JSON.items())
    assert without == {f"{command} {action}".strip() for command, actions in named for action in actions}


def test_main_imports_only_module_of_subcommand() -> None:
    code = (
        "import sys; from controller.cli.main import build_parser; build_parser(['password']); "
        "print(*(name for name in sys.modules if name.startswith('controller.cli.')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) == {
        f"controller.cli.{name}" for name in ("main", "arguments", "password")
    }


@pytest.mark.parametrize("command", ["check", "run"])
def test_main_config_error_is_printed_with_line_and_exits_1(tmp_path: Path, command: str) -> None:
    path = write_config(tmp_path, CONFIG.replace("limit_a = 63", "limit = 63"))
    done = run_command(command, "-c", path)
    assert done.returncode == 1
    assert f"{path}:14: " in done.stderr
    assert "limit_a" in done.stderr


@pytest.mark.parametrize(
    ("command", "name"),
    [("check", ""), ("run", ""), ("status", ""), ("check", "nothing.toml"), ("status", "nothing.toml")],
)  # `run` without a configuration begins the setup mode
def test_main_unreadable_config_exits_2(tmp_path: Path, command: str, name: str) -> None:
    done = run_command(command, "-c", tmp_path / name)
    assert done.returncode == 2
    assert str(tmp_path / name) in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("command", ["doctor", "setup", "setup --page", "run", "meter read", "check"])
def test_main_closed_folder_exits_2_without_traceback(tmp_path: Path, command: str) -> None:
    with closed_folder(tmp_path / "closed") as folder:
        done = run_unprivileged(*command.split(), "-c", folder / "controller.toml")
    printed = " ".join((done.stdout + done.stderr).split())
    assert done.returncode == 2, printed
    assert "Permission denied" in printed
    assert "run the command with sudo" in printed
    assert "Traceback" not in printed
    assert "does not exist" not in printed
