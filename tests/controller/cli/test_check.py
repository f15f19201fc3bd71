"""`check` as a person types it."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from controller.cli.arguments import configuration_error
from controller.model.journal import BootStored
from controller.services.configuration.configuration import ActiveConfiguration, keep_copy, load_configuration
from controller.store.state_store import StateStore
from controller.tomlcheck.diagnostics import FileUnreadableError
from tests.controller.cli.command_line import NETWORK_CONFIG, run_command, write_config
from tests.controller.transport.certificates import DAY, Authority


def test_check_valid_file_prints_summary(tmp_path: Path) -> None:
    done = run_command("check", "-c", write_config(tmp_path))
    assert done.returncode == 0
    assert "1 station, 1 EVSE, 1 circuit, 0 meters, 1 backend" in done.stdout


def test_check_file_in_unreadable_directory_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "exists", refuse)
    path = tmp_path / "controller.toml"
    unreadable = FileUnreadableError(f"{path}: cannot be read: Permission denied; run it with sudo")
    assert str(configuration_error(path, unreadable)) == str(unreadable)


def test_check_example_for_installers_is_valid() -> None:
    example = Path(__file__).parents[3] / "etc" / "controller.toml"
    done = run_command("check", "-c", example)
    assert done.returncode == 0
    expected = ("has never connected", "is a placeholder of an example")
    assert all(any(text in line for text in expected) for line in done.stderr.splitlines()), done.stderr


def test_check_findings_of_certificates_have_the_line_of_their_key(tmp_path: Path) -> None:
    pair = Authority(tmp_path).server(good_for=-DAY)
    tls = f'[listen]\ncertificate = "{pair.certificate}"\nkey = "{pair.key}"'
    path = write_config(tmp_path, NETWORK_CONFIG.replace("[listen]", tls))
    Path(pair.key).chmod(0o600)
    line = path.read_text().splitlines().index(f'certificate = "{pair.certificate}"') + 1
    begin = f"{path}:{line}: critical: listen.certificate has expired"
    assert begin in run_command("check", "-c", path).stderr
    Authority(tmp_path).issue("server", "localhost", good_for=300 * DAY, begins_in=2 * DAY)
    path.write_text(
        path.read_text()
        .replace(pair.certificate, str(tmp_path / "server.pem"))
        .replace(pair.key, str(tmp_path / "server.key"))
    )
    (tmp_path / "server.key").chmod(0o600)
    begin = f"{path}:{line}: warning: listen.certificate is not valid before "
    assert begin in run_command("check", "-c", path).stderr
    other = Authority(tmp_path, "other").server("other")
    Path(other.key).chmod(0o600)
    path.write_text(path.read_text().replace(str(tmp_path / "server.key"), other.key))
    done = run_command("check", "-c", path)
    assert done.returncode == 1
    assert done.stderr.startswith(f"{path}:{line}: "), done.stderr


def test_check_names_stations_that_have_never_connected(tmp_path: Path) -> None:
    stations = "".join(f'[[station]]\nid = "CS0{each}"\ncircuit = "grid"\nowner = "cpo"\n' for each in (2, 3))
    path = write_config(tmp_path, NETWORK_CONFIG + stations)
    store = StateStore(tmp_path)
    store.persist_now([BootStored("CS02", "V", "M", "1")])
    store.close()
    lines = run_command("check", "-c", path).stderr.splitlines()
    named = [line.split("station ")[1] for line in lines]
    assert [name.split(" ")[0] for name in named] == ["CS01", "CS03"]
    assert (
        "has never connected: 32 A stay reserved for it until it has accepted its fallback once" in lines[0]
    )


def test_check_counts_stations_if_many_have_never_connected(tmp_path: Path) -> None:
    stations = "".join(
        f'[[station]]\nid = "N{each}"\ncircuit = "grid"\nowner = "cpo"\n[[station.evse]]\nfallback_a = 0\n'
        for each in range(9)
    )
    done = run_command("check", "-c", write_config(tmp_path, NETWORK_CONFIG + stations))
    [line] = done.stderr.splitlines()
    assert "10 stations have never connected: each reserves its rated current (320 A together)" in line


def test_check_names_card_whose_last_day_is_over_once(tmp_path: Path) -> None:
    path = write_config(
        tmp_path,
        NETWORK_CONFIG + '[[card]]\ntoken = "04AA"\nlabel = "Anna"\nvalid_until = 2020-12-31\n'
        '[[card]]\ntoken = "04BB"\nvalid_until = 2999-12-31\n',
    )
    error = run_command("check", "-c", path).stderr
    [line] = [line for line in error.splitlines() if "may not charge" in line]
    assert "card[0].valid_until: is past" in line
    assert "write a later day, or remove the card (hint)" in line


def test_check_names_changes_that_need_a_restart(tmp_path: Path) -> None:
    path = write_config(tmp_path, NETWORK_CONFIG)
    config, _ = load_configuration(path)
    keep_copy(ActiveConfiguration(path, config))
    assert "restart" not in run_command("check", "-c", path).stderr
    write_config(tmp_path, NETWORK_CONFIG + "[web]\nport = 8090\n")
    done = run_command("check", "-c", path)
    assert "the change of web takes effect after a restart only; run `sudo systemctl restart" in done.stderr
    assert done.returncode == 0
