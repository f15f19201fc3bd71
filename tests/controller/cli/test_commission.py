"""`local-controller commission`: the walk through a simulated site, and its report."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from msgspec.structs import replace

from controller.cli.acceptance_report import (
    AcceptanceReport,
    InstalledDevice,
    has_passed,
    render_html,
    sign_report,
    write_report,
)
from controller.cli.commission import Walk
from controller.cli.commissioning_checks import CheckResult
from controller.cli.main import main
from controller.config import Config
from controller.config.loader import check_config
from controller.load_management.site_tree import PhaseAmps
from controller.signing.signing_keys import OwnKey, new_private_key, parse_private_key, public_pem
from controller.web.status_model import ControllerStatus, SourceFaultStatus
from tests.controller.web.examples import STATUS
from tests.scenario.configuration import read_valid_config

SITE = """
[site]
id = "depot"
[[backend]]
id = "cpo"
url = "wss://cpo.example/{station}"
[[circuit]]
id = "grid"
limit_a = 100
meter = "grid"
[[meter]]
id = "grid"
driver = "janitza-umg96"
transport = "tcp"
host = "192.0.2.1"
[[station]]
id = "CS01"
circuit = "grid"
owner = "cpo"
"""


class SimulatedSite:
    """A site whose loads, car and cables answer to what the installer is asked to do."""

    def __init__(self, *, wrong_sign: bool = False, obeys: bool = True) -> None:
        self.base = [20.0, 15.0, 10.0]
        self.car: PhaseAmps = (0.0, 0.0, 0.0)
        self.connected = True
        self.phase = 0
        self.asked: list[str] = []
        self._wrong_sign = wrong_sign
        self._obeys = obeys

    def fetch(self) -> ControllerStatus:
        first, second, third = (amps + car for amps, car in zip(self.base, self.car, strict=True))
        grid = replace(STATUS.circuits[0], measured_a=(first, second, third), limit_a=(100.0,) * 3)
        evse = replace(
            STATUS.evses[0], station="CS01", circuit="grid", connected=self.connected, drawn_a=self.car
        )
        return replace(STATUS, circuits=(grid,), evses=(evse,), dimming=None)

    def ask(self, text: str) -> str:
        self.asked.append(text)
        if "name a load" in text:
            self.phase = int(text[text.index("L") + 1]) - 1
            return "10"
        if "switch it on" in text:
            self.base[self.phase] += -10.0 if self._wrong_sign else 10.0
        elif "charge a car on one phase" in text:
            self.car = (16.0, 0.0, 0.0)
        elif "charge a car above" in text:
            self.car = (16.0, 16.0, 16.0)
        elif "unplug its network cable" in text:
            self.connected = False
            if self._obeys:
                self.car = (6.0, 6.0, 6.0)
        elif "in again" in text:
            self.connected = True
        return ""


def config() -> Config:
    found, errors, _ = check_config(SITE, "c.toml")
    assert found is not None, errors
    return found


def walk(site: SimulatedSite) -> list[CheckResult]:
    return list(Walk(config(), site.fetch, site.ask, lambda seconds: None).run())


def test_commission_walk_through_good_site_passes() -> None:
    results = walk(SimulatedSite())
    assert [(result.step, result.verdict) for result in results] == [
        ("meter", "passed"),
        *[("load", "passed")] * 3,
        ("station", "passed"),
        ("fuse margin", "passed"),
        ("fallback", "passed"),
    ]
    assert has_passed(results)


class DimmedSite(SimulatedSite):
    """A site whose contact dims when it is closed; `other`: a source that limits all the time."""

    def __init__(self, *, is_module_dead: bool = False, other: str = "") -> None:
        super().__init__()
        self._is_closed = False
        self._lost = (SourceFaultStatus(source="box", why="its contacts cannot be read"),) * is_module_dead
        self._other = other

    def ask(self, text: str) -> str:
        if "close the dimming contact" in text or "open the contact again" in text:
            self._is_closed = "close" in text
        return super().ask(text)

    def fetch(self) -> ControllerStatus:
        assert STATUS.dimming is not None
        sources = [self._other] * bool(self._other) + ["box"] * bool(self._is_closed or self._lost)
        dimming = replace(
            STATUS.dimming, dimmed=bool(sources), sources=tuple(sources), source_faults=self._lost
        )
        return replace(super().fetch(), dimming=dimming)


@pytest.mark.parametrize(
    ("site", "verdict"),
    [
        (DimmedSite(), "passed"),
        (DimmedSite(other="cpo"), "passed"),
        (DimmedSite(is_module_dead=True), "failed"),
    ],
    ids=["contact", "beside another limit", "dead module"],
)
def test_commission_dimming_is_that_of_contact(site: DimmedSite, verdict: str) -> None:
    dimmed = read_valid_config(
        SITE
        + """
        [[station.evse]]
        id = 1
        steuve = true
        [dimming]
        [[dimming.source]]
        id = "box"
        kind = "contact"
        module = "io"
        [[dimming.module]]
        id = "io"
        driver = "waveshare-rtu-io-8ch"
        transport = "tcp"
        host = "192.0.2.2"
        [[dimming.contact]]
        name = "W3"
        source = "box"
        input = 1
        limit_w = 4200
        [signing]
        key = "key.pem"
        """
    )
    *_, last = Walk(dimmed, site.fetch, site.ask, lambda seconds: None).run()
    assert (last.step, last.verdict) == ("dimming", verdict)


def test_commission_walk_finds_reversed_meter_and_station_without_fallback() -> None:
    results = walk(SimulatedSite(wrong_sign=True, obeys=False))
    failed = {result.subject: result.text for result in results if result.verdict == "failed"}
    assert "set invert = true" in failed["grid L1"]
    assert "does not obey its fallback" in failed["CS01/1"]
    assert not has_passed(results)


def test_report_holds_results_and_escapes_names(tmp_path: Path) -> None:
    report = AcceptanceReport(
        site="<b>depot</b>", installer="A. B.", began="t0", ended="t1", version="0.1.0", config="c.toml",
        config_sha256="00", passed=True, results=tuple(walk(SimulatedSite())),
    )  # fmt: skip
    as_json, as_html = write_report(report, tmp_path / "acceptance")
    assert json.loads(as_json.read_text())["results"][1]["subject"] == "grid L1"
    assert "&lt;b&gt;depot&lt;/b&gt;" in as_html.read_text()
    assert render_html(report).count("<tr") == 8 + 1 + 1 + 7


def test_skipped_steps_are_no_success() -> None:
    site = SimulatedSite()
    site.ask = lambda text: "s"  # type: ignore[method-assign]
    results = walk(site)
    assert {result.verdict for result in results} == {"passed", "skipped"}
    assert [result.step for result in results if result.verdict == "passed"] == ["meter", "fuse margin"]


def test_commission_command_without_running_controller_states_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "controller.toml"
    file.write_text(SITE + "[web]\nport = 1\n")
    assert main(["commission", "-c", str(file), "--report", str(tmp_path / "report")]) == 1
    assert "no controller answers at" in capsys.readouterr().err


def signed_report(folder: Path) -> tuple[Path, OwnKey]:
    """A report with two devices, signed, and the key."""
    key = parse_private_key(new_private_key("secp256r1", "lc", 0, 4e9))
    report = AcceptanceReport(
        site="depot", installer="A. B.", began="t0", ended="t1", version="0.1.0", config="c.toml",
        config_sha256="00", passed=True, results=tuple(walk(SimulatedSite())),
        devices=(
            InstalledDevice(kind="meter", id="grid", serial_number="1234567"),
            InstalledDevice(kind="station", id="CS01", vendor="ACME", firmware="1.2"),
        ),
    )  # fmt: skip
    as_json, as_html = write_report(sign_report(report, key), folder / "acceptance")
    assert "<td>1234567</td>" in as_html.read_text()
    return as_json, key


def test_commission_signed_report_is_verified_by_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, key = signed_report(tmp_path)
    public = tmp_path / "key.pub"
    public.write_text(public_pem(key))
    assert main(["commission", "--verify", str(file), "--trusted", str(public)]) == 0
    assert "as it was signed by key" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("found", "put"),
    [('"passed": true', '"passed": false'), ("1234567", "1234568"), ("A. B.", "A. C."), ('"t1"', '"t2"')],
)
def test_changed_report_is_not_verified(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], found: str, put: str
) -> None:
    file, _ = signed_report(tmp_path)
    text = file.read_text()
    assert found in text
    file.write_text(text.replace(found, put))
    assert main(["commission", "--verify", str(file)]) == 1
    assert "it was changed after it was signed" in capsys.readouterr().err


def test_report_of_another_key_is_not_verified(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, _ = signed_report(tmp_path)
    other = tmp_path / "other.pub"
    other.write_text(public_pem(parse_private_key(new_private_key("secp256r1", "other", 0, 4e9))))
    assert main(["commission", "--verify", str(file), "--trusted", str(other)]) == 1
    assert "it is signed by another key" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"site": 1}'])
def test_file_that_is_no_report_is_not_verified(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    file = tmp_path / "report.json"
    file.write_text(text)
    assert main(["commission", "--verify", str(file)]) == 1
    assert "it is no acceptance report" in capsys.readouterr().err


def test_commission_unsigned_report_shows_digest(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, _ = signed_report(tmp_path)
    report = json.loads(file.read_text()) | {"signature": None}
    file.write_text(json.dumps(report))
    assert main(["commission", "--verify", str(file)]) == 1
    assert "it is not signed; the SHA-256 of its content is" in capsys.readouterr().err
