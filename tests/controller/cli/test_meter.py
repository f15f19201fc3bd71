"""`local-controller meter`: models, buses and values, as a person calls it."""

from __future__ import annotations

import csv
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest
import trio

from controller.cli.main import main
from drivers.meter_model import list_models, load_model, set_user_models
from drivers.simulated import SimulatedMeter, serve_tcp
from tests.controller.cli.command_line import CONFIG, write_config
from tests.drivers.test_decoding import VALUES

MODEL = """
vendor = "Own"
model = "Meter"
phases = 3
transports = ["tcp"]
current_sign = "signed"
sources = { sheet = "data sheet" }
register = [
    { quantity = "current_l1", function = 3, address = 0, type = "int16", sources = ["sheet"] },
    { quantity = "current_l2", function = 3, address = 1, type = "int16", sources = ["sheet"] },
    { quantity = "current_l3", function = 3, address = 2, type = "int16", sources = ["sheet"] },
]
"""


class Done(NamedTuple):
    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[..., Done]]:
    """Run a command in this process: its status and what it printed."""

    def run(*arguments: str | Path) -> Done:
        status = main([str(argument) for argument in arguments])
        return Done(status, *capsys.readouterr())

    yield run
    set_user_models({})


Command = Callable[..., Done]


@contextmanager
def served_meter(driver: str = "eastron-sdm630-v2") -> Iterator[int]:
    """Serve a simulated meter in a thread; yield its port."""
    ports: list[int] = []
    ready = threading.Event()
    stop: list[trio.CancelScope] = []
    token: list[trio.lowlevel.TrioToken] = []

    async def serve() -> None:
        meter = SimulatedMeter(load_model(driver))
        meter.set_values(VALUES)
        async with trio.open_nursery() as nursery:
            ports.append(await nursery.start(serve_tcp, meter))
            stop.append(nursery.cancel_scope)
            token.append(trio.lowlevel.current_trio_token())
            ready.set()

    thread = threading.Thread(target=trio.run, args=(serve,))
    thread.start()
    ready.wait(10)
    try:
        yield ports[0]
    finally:
        token[0].run_sync_soon(stop[0].cancel)
        thread.join(10)


def test_meter_list_shows_every_model(command: Command) -> None:
    printed = command("meter", "list").stdout
    assert all(name in printed for name in list_models())
    assert "Janitza" in printed


def test_meter_show_names_registers_sources_and_notes(command: Command) -> None:
    printed = command("meter", "show", "eastron-sdm630-v2").stdout
    for text in ("current_l1", "volkszaehler/mbmd", "Often wired", "9600 8N1", "2 ranges of registers"):
        assert text in printed
    unknown = command("meter", "show", "eastron-sdm639")
    assert unknown.returncode == 1
    assert "did you mean" in unknown.stderr


def test_meter_check_names_errors_with_their_lines(command: Command, tmp_path: Path) -> None:
    file = tmp_path / "own.toml"
    file.write_text(MODEL)
    good = command("meter", "check", file)
    assert (good.returncode, "no mistakes" in good.stdout) == (0, True)
    file.write_text(MODEL.replace('"current_l2", function = 3', '"curent_l2", function = 3'))
    wrong = command("meter", "check", file)
    assert wrong.returncode == 1
    assert f"{file}:10: " in wrong.stderr
    assert 'did you mean "current_l2"?' in wrong.stderr
    assert command("meter", "check", tmp_path / "nothing.toml").returncode == 2


def test_meter_list_includes_models_beside_configuration(command: Command, tmp_path: Path) -> None:
    (tmp_path / "meters").mkdir()
    (tmp_path / "meters" / "own-meter.toml").write_text(MODEL)
    config = tmp_path / "controller.toml"
    assert "own-meter" in command("meter", "list", "-c", config).stdout


def test_meter_read_once_shows_all_values(command: Command) -> None:
    with served_meter() as port:
        done = command(
            "meter",
            "read",
            "--once",
            "--driver",
            "eastron-sdm630-v2",
            "--host",
            "127.0.0.1",
            "--port",
            str(port),
        )
    assert done.returncode == 0, done.stderr
    for text in ("good", "229.10", "20.20", "13960.00", "123000.00", "49.90"):
        assert text in done.stdout


def test_meter_read_of_closed_port_states_why(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("controller.cli.meter.READ_WAIT_S", 2.0)
    meter = ("--driver", "eastron-sdm630-v2", "--host", "127.0.0.1", "--port", "1")
    assert main(["meter", "read", "--once", *meter]) == 1
    assert "nothing listens there" in capsys.readouterr().out


def test_meter_watch_records_file(command: Command, tmp_path: Path) -> None:
    file = tmp_path / "values.csv"
    with served_meter() as port:
        where = ("--driver", "eastron-sdm630-v2", "--host", "127.0.0.1", "--port", str(port))
        done = command("meter", "watch", "--csv", file, "--duration", "2", "--interval", "0.2", *where)
    assert done.returncode == 0, done.stderr
    rows = list(csv.DictReader(file.open()))
    assert len(rows) >= 5
    assert rows[0]["quality"] == "good"
    assert float(rows[0]["current_l2_a"]) == pytest.approx(20.2)


def test_meter_identify_names_model(command: Command) -> None:
    with served_meter("siemens-pac2200") as port:
        done = command("meter", "identify", "--host", "127.0.0.1", "--port", str(port), "--units", "1")
    assert done.returncode == 0, done.stderr
    assert "siemens-pac2200" in done.stdout
    assert "voltages 229.1, 230.2, 231.3 V" in done.stdout


def test_meter_read_without_meter_states_what_to_give(command: Command) -> None:
    done = command("meter", "read")
    assert done.returncode == 1
    assert "--driver" in done.stderr


def test_meter_read_of_station_meter_refers_to_status(command: Command, tmp_path: Path) -> None:
    config = tmp_path / "controller.toml"
    config.write_text(
        f"""
        [site]
        id = "depot"
        [store]
        directory = "{tmp_path}"
        [[backend]]
        id = "cpo"
        url = "wss://cpo.example/{{station}}"
        [[circuit]]
        id = "grid"
        limit_a = 63
        meter = "cars"
        [[station]]
        id = "CS01"
        circuit = "grid"
        owner = "cpo"
        [[meter]]
        id = "cars"
        driver = "virtual"
        transport = "virtual"
        stations = ["CS01"]
        stale_after_s = 60
        """
    )
    done = command("meter", "read", "-c", config, "--once", "cars")
    assert done.returncode == 1
    assert (
        "cars is made of what stations report to the controller; see `local-controller status`" in done.stderr
    )


def test_meter_read_without_options_reads_meters_of_usual_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    meter = '[[meter]]\nid = "grid"\ndriver = "janitza-umg604"\ntransport = "tcp"\nhost = "192.0.2.20"\n'
    config = write_config(tmp_path, CONFIG.replace("limit_a = 63", 'limit_a = 63\nmeter = "grid"') + meter)
    monkeypatch.setattr("controller.cli.meter.USUAL_CONFIG", config)
    assert main(["meter", "read", "--once", "other"]) == 1
    assert f"{config}: no meter other; its meters: grid" in capsys.readouterr().err
