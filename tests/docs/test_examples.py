"""The example sites: each is valid, carries its day without an overload, and starts."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from pathlib import Path

import pytest

from controller.cli.main import main
from controller.config.loader import read_config
from controller.dimming.dimming_builder import make_dimming_settings
from tests.controller.cli.command_line import COMMAND
from tests.docs.example_sites import EXAMPLES, ROOT, install_example

GUIDE = (ROOT / "docs" / "first-hour.md").read_text()


def test_examples_are_four_and_in_guide() -> None:
    names = [example.stem for example in EXAMPLES]
    assert names == ["depot", "home", "office", "public"]
    for name in names:
        assert f"(../etc/examples/{name}.toml)" in GUIDE
        assert f"![{name}](images/{name}.svg)" in GUIDE
        assert (ROOT / "docs" / "images" / f"{name}.svg").read_text().startswith("<svg")


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.stem)
def test_examples_example_is_valid_and_carries_day(
    example: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = install_example(example, tmp_path)
    assert main(["check", "-c", str(path)]) == 0
    capsys.readouterr()
    plot = tmp_path / "day.svg"
    day = tmp_path / f"{example.stem}.day.csv"
    assert main(["simulate", "-c", str(path), "--day", str(day), "--plot", str(plot)]) == 0
    output = capsys.readouterr().out
    over_limit = re.findall(r"^\S+ +\d+ .* (\d+) s$", output, re.M)
    assert over_limit
    assert set(over_limit) == {"0"}, output
    shown = (ROOT / "docs" / "images" / f"{example.stem}.svg").read_text()
    assert labels_of(plot.read_text()) == labels_of(shown), "run make docs"


def labels_of(plot: str) -> list[str]:
    """Return the texts of a plot but its scales, which follow what the control hands out."""
    texts = re.findall(r"<text[^>]*>([^<]*)", plot)
    return [text for text in texts if not re.fullmatch(r"[\d.]+ (A|kW)", text)]


def test_examples_are_simulated_without_their_secrets(tmp_path: Path) -> None:
    [home] = [example for example in EXAMPLES if example.stem == "home"]
    day = tmp_path / "day.csv"
    day.write_text("time,car\n")
    done = subprocess.run(
        [COMMAND, "simulate", "-c", home, "--day", day], capture_output=True, text=True, check=False
    )
    assert "day.csv" in done.stderr  # the configuration was read; the day is the next thing to be wrong
    assert "home.toml" not in done.stderr


def test_home_contact_leaves_minimum_of_three_devices(tmp_path: Path) -> None:
    [home] = [example for example in EXAMPLES if example.stem == "home"]
    config, _ = read_config(install_example(home, tmp_path))
    assert config.dimming is not None
    settings = make_dimming_settings(config, config.dimming)
    assert len(settings.devices) == 3
    assert settings.minimum_w == pytest.approx(10_500)  # 4.2 kW + 2 * 0.75 * 4.2 kW


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.stem)
def test_example_starts_and_stops(example: Path, tmp_path: Path) -> None:
    path = install_example(example, tmp_path, on_loopback=True)
    (tmp_path / "ttyUSB0").touch()
    with subprocess.Popen([COMMAND, "run", "-c", path], stderr=subprocess.PIPE, text=True) as daemon:
        assert daemon.stderr is not None
        log = []
        for line in daemon.stderr:
            log.append(line)
            if " ready " in line:
                break
        os.kill(daemon.pid, signal.SIGTERM)
        rest = daemon.stderr.read()
        assert daemon.wait(30) == 0, "".join(log) + rest
    assert "Traceback" not in "".join(log) + rest
    assert " ready stations=" in log[-1], "".join(log)
