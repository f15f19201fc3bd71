"""`local-controller setup` on a terminal and with a file of answers, and the daemon's setup mode."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import tomllib
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import connect

from controller.access.access_records import UserStored
from controller.config.loader import check_config
from controller.store.record_rules import kind_of_type, read_entry
from controller.store.store_transfer import open_store_file
from tests.controller.cli.command_line import COMMAND, CONFIG, write_config
from tests.controller.cli.test_run import read_until
from tests.controller.site_setup.test_setup_questions import HOME

ANSWERS = """
[site]
id = "home"
timezone = "Europe/Berlin"
[connection]
limit = 35
base_load = 20
[meter]
connection = "none"
[backend]
kind = "none"
authorization = "free"
[stations]
more = ["CS01", "CS02"]
CS02.phases = "L2"
CS02.max_a = 16
[dimming]
kind = "none"
"""


def run_setup(folder: Path, *arguments: str | Path, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """Run the setup; stations connect at a free port during the questions."""
    stations = ("--stations", "127.0.0.1:0") if stdin else ()
    return subprocess.run(
        [COMMAND, "setup", "-c", folder / "controller.toml", *stations, *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "STATE_DIRECTORY": str(folder / "state"), "LANG": "C.UTF-8", "LC_ALL": ""},
    )


def users_of(folder: Path) -> list[str]:
    journal = open_store_file(folder / "state")
    try:
        records = [read_entry(each) for each in journal.load(kind_of_type(UserStored))]
    finally:
        journal.close()
    return [each.name for each in records if isinstance(each, UserStored) and each.is_active]


def test_setup_answers_file_makes_a_valid_site(tmp_path: Path) -> None:
    answers = tmp_path / "answers.toml"
    answers.write_text(ANSWERS)
    done = run_setup(tmp_path, "--answers", answers, "--yes", "--stations", "127.0.0.2:9001")
    assert done.returncode == 0, done.stderr
    path = tmp_path / "controller.toml"
    config, errors, _ = check_config(path.read_text(), str(path), tmp_path)
    assert config is not None, errors
    assert (config.listen.host, config.listen.port) == ("127.0.0.2", 9001)
    assert "at ws://127.0.0.2:9001/ocpp/ID" in path.read_text()
    assert [(each.id, each.evse[0].phases, each.evse[0].max_a) for each in config.station] == [
        ("CS01", ("L1", "L2", "L3"), 32.0),
        ("CS02", ("L2",), 16.0),
    ]
    assert path.stat().st_mode & 0o007 == 0
    assert re.search(r"password of admin, shown this once: \S{20,}", done.stdout)
    assert users_of(tmp_path) == ["admin"]


def test_setup_missing_answers_are_named_and_nothing_is_written(tmp_path: Path) -> None:
    answers = tmp_path / "answers.toml"
    answers.write_text('[site]\nid = "home"\n[connection]\nlimit = "much"\nbase_load = 20\n')
    done = run_setup(tmp_path, "--answers", answers, "--yes")
    assert done.returncode == 1
    assert "connection.limit: Write a number." in done.stderr
    assert not (tmp_path / "controller.toml").exists()
    answers.write_text("[site")
    assert run_setup(tmp_path, "--answers", answers).returncode == 1
    assert run_setup(tmp_path, "--answers", tmp_path / "none.toml").returncode == 2


def test_setup_on_present_site_changes_what_is_answered(tmp_path: Path) -> None:
    path = write_config(tmp_path, CONFIG.replace("limit_a = 63", "limit_a = 63 # main fuse"))
    before = path.read_text()
    answers = tmp_path / "answers.toml"
    answers.write_text(
        '[connection]\nlimit = 50\nbase_load = 10\n[stations]\nmore = "CS09"\nCS09.owner = "cpo"\n'
        '[dimming]\nkind = "none"\n[page]\nhost = "local"\nuser = "anna"\n'
    )
    done = run_setup(tmp_path, "--answers", answers, "--yes")
    assert done.returncode == 0, done.stderr
    data = tomllib.loads(path.read_text())
    assert data["circuit"][0]["limit_a"] == 50
    assert data["store"] == tomllib.loads(before)["store"]
    assert [each["id"] for each in data["station"]] == ["CS01", "CS09"]
    assert "limit_a = 50 # main fuse" in path.read_text()
    assert "+limit_a = 50 # main fuse" in done.stdout


def test_setup_dialog_asks_again_goes_back_and_writes(tmp_path: Path) -> None:
    lines = [
        "two words",  # rejected
        "home",
        "Europe/Berlin",
        "0",  # rejected
        "35",
        "<",  # the limit again
        "40",
        "20",
        "no such choice",
        "none",
        "1",  # no backend
        "free",
        "",  # no further station
        "",  # the page: as proposed
        "anna",
        "",  # no answer: asked again
        "perhaps",
        "yes",
    ]
    done = run_setup(tmp_path, stdin="\n".join(lines) + "\n")
    assert done.returncode == 0, done.stdout + done.stderr
    data = tomllib.loads((tmp_path / "controller.toml").read_text())
    assert (data["site"]["id"], data["circuit"][0]["limit_a"]) == ("home", 40)
    assert done.stdout.count("controller.toml? (yes/no)") == 3
    assert done.stdout.count("Write a number from 1 to ") == 1
    assert "password of anna" in done.stdout
    assert users_of(tmp_path) == ["anna"]


def test_setup_dialog_on_narrow_terminal_breaks_between_words(tmp_path: Path) -> None:
    controller_side, terminal = pty.openpty()
    with subprocess.Popen(
        [COMMAND, "setup", "-c", tmp_path / "controller.toml", "--language", "en"],
        stdin=subprocess.PIPE,
        stdout=terminal,
        env={**os.environ, "STATE_DIRECTORY": str(tmp_path / "state"), "COLUMNS": "60"},
    ) as process:
        os.close(terminal)
        process.communicate(b"", timeout=60)
    shown = os.read(controller_side, 65536).decode()
    os.close(controller_side)
    assert (
        "  Letters, digits and - _ . without blanks. Backends see it\r\n  as the controller's identity.\r\n"
    ) in shown


def test_setup_dialog_with_errors_asks_again_with_answers(tmp_path: Path) -> None:
    first = ["home", "Europe/Berlin", "35", "40", "none", "1", "free", "", "", "anna"]
    again = ["", "", "", "20", "", "", "", "", "", "", "yes"]
    done = run_setup(tmp_path, stdin="\n".join(first + again) + "\n")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "above the limit of 35 A" in done.stderr
    data = tomllib.loads((tmp_path / "controller.toml").read_text())
    assert data["circuit"] == [{"id": "grid", "limit_a": 35, "base_load_a": 20}]
    assert users_of(tmp_path) == ["anna"]


@pytest.mark.parametrize("stdin", ["", "home\nEurope/Berlin\n35\n20\nnone\n1\nfree\n\n\nanna\nno\n"])
def test_setup_without_confirmation_changes_nothing(tmp_path: Path, stdin: str) -> None:
    done = run_setup(tmp_path, "--language", "de", stdin=stdin)
    assert done.returncode == 1
    assert "nichts wurde geändert" in done.stdout
    assert not (tmp_path / "controller.toml").exists()
    assert not (tmp_path / "state").exists()


# -- the daemon without a configuration ----------------------------------------------------------------------


ANY_PORT = ("--setup-page", "127.0.0.1:0", "--setup-stations", "127.0.0.1:0")


class SetupPage:
    """The page of a daemon in setup mode, as a browser uses it."""

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")
        self._cookie = ""

    def post(self, path: str, body: Any) -> Any:
        request = urllib.request.Request(
            f"{self._url}/api/v1/setup/{path}",
            json.dumps(body).encode(),
            {
                "Content-Type": "application/json",
                "Sec-Fetch-Site": "same-origin",
                "Cookie": self._cookie,
            },
        )
        with urllib.request.urlopen(request, timeout=20) as response:
            if (cookie := response.headers.get("Set-Cookie")) is not None:
                self._cookie = cookie.partition(";")[0]
            return json.load(response)


def boot_station(port: int) -> dict[str, Any]:
    """Connect as CS01, and return the answer to its BootNotification."""
    with connect(f"ws://127.0.0.1:{port}/ocpp/CS01", subprotocols=["ocpp1.6"]) as link:  # type: ignore[list-item]
        boot = {"chargePointVendor": "ACME", "chargePointModel": "Wallbox"}
        link.send(json.dumps([2, "1", "BootNotification", boot]))
        while True:
            frame = json.loads(link.recv(timeout=20))
            if frame[0] == 3:
                answer: dict[str, Any] = frame[2]
                return answer


def test_run_without_configuration_sets_up_the_site_and_runs_it(tmp_path: Path) -> None:
    path = tmp_path / "etc" / "controller.toml"
    daemon = subprocess.Popen(
        [COMMAND, "run", "-c", path, *ANY_PORT],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "STATE_DIRECTORY": str(tmp_path / "state")},
    )
    with daemon:
        assert daemon.stdout is not None
        found = re.fullmatch(r"setup: open (http://\S+) and enter the code (\S+)\n", daemon.stdout.readline())
        assert found is not None
        port = int(re.search(r"port=(\d+)", read_until(daemon, "setup mode started"))[1])  # type: ignore[index]
        page = SetupPage(found[1])
        with pytest.raises(urllib.error.HTTPError, match="401"):
            page.post("next", {"answers": {}})
        page.post("login", {"code": found[2]})
        assert boot_station(port)["status"] == "Pending"
        answers = {**HOME, "page.user": "anna"}
        progress = page.post("next", {"answers": {**answers, "stations.CS01.adopt": ""}})
        [question, *_] = progress["section"]["questions"]
        assert question["text"].startswith("CS01: ACME Wallbox, 127.0.0.1")
        result = page.post("write", {"answers": answers})
        assert len(result["password"]) >= 20
        page.post("finish", {})
        read_until(daemon, "setup finished")
        read_until(daemon, "ready")
        assert boot_station(port)["status"] == "Accepted"
        daemon.send_signal(signal.SIGTERM)
        assert daemon.wait(20) == 0
    assert tomllib.loads(path.read_text())["station"][0]["id"] == "CS01"
    assert users_of(tmp_path) == ["anna"]


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 0), (signal.SIGINT, 1)])
def test_run_in_setup_mode_ends_on_signal(tmp_path: Path, number: signal.Signals, status: int) -> None:
    path = tmp_path / "controller.toml"
    command = [COMMAND, "run", "-c", path, *ANY_PORT]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as daemon:
        read_until(daemon, "setup mode started")
        daemon.send_signal(number)
        assert daemon.wait(20) == status
    assert not path.exists()
