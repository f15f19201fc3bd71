"""The setup at work: search at a real Modbus server, review with the check's findings, and writing."""

from __future__ import annotations

import tomllib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from controller.access.permissions import LOCAL_ACTOR, Actor
from controller.config.schema import ListenConfig
from controller.services import ServiceError
from controller.services.setup import meter_search
from controller.services.setup.machine_report import find_serial_ports, find_timezone
from controller.services.setup.setup_service import SetupRejectedError, SetupService
from controller.site_setup.configuration_fields import FieldChange
from controller.site_setup.setup_document import SitePlaces, find_stations_url
from controller.site_setup.setup_questions import MeterScan, UnknownStation
from controller.web.setup_interface import FieldRequest, SearchRequest, SetupProgress, SetupRequest
from drivers.meter_model import load_model
from drivers.simulated import SimulatedBus, SimulatedMeter
from tests.controller.site_setup.test_setup_questions import HOME

NETWORK = {"meter.connection": "network", "meter.host": "127.0.0.1"}
UNKNOWN = UnknownStation(id="CS01", address="192.0.2.7", first_seen="2026-11-27T10:04:00Z", vendor="ACME")


def find_files(folder: Path) -> list[Path]:
    return list(folder.rglob("*"))


class SetupSite:
    """A setup of a file in a directory, and what it has stored."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "controller.toml"
        self.stored: list[tuple[str, str, str]] = []
        self.setup = SetupService(self.path, self._read_unknown_stations, lambda: False, self._store_text)

    async def _read_unknown_stations(self) -> Sequence[UnknownStation]:
        return [UNKNOWN]

    async def _store_text(self, text: str, base: str, user: str, _: Actor) -> str:
        self.stored.append((text, base, user))
        return "generated"

    async def advance(self, answers: dict[str, str]) -> SetupProgress:
        return await self.setup.advance_setup(SetupRequest(answers=answers))


@asynccontextmanager
async def setting_up(folder: Path) -> AsyncIterator[SetupSite]:
    site = SetupSite(folder)
    async with trio.open_nursery() as nursery:
        await nursery.start(site.setup.run)
        yield site
        nursery.cancel_scope.cancel()


async def serve_meter(*, task_status: trio.TaskStatus[int]) -> None:
    """A meter behind Modbus TCP, unit 1."""

    async def serve(stream: trio.SocketStream) -> None:
        bus = SimulatedBus(SimulatedMeter(load_model("janitza-umg604")), rtu=False)
        async for data in stream:
            await stream.send_all(bus.feed(bytes(data)))

    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    task_status.started(listeners[0].socket.getsockname()[1])
    await trio.serve_listeners(serve, listeners)


async def test_setup_service_finds_meter_and_offers_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(meter_search, "TCP_UNITS", (1,))
    async with setting_up(tmp_path) as site, trio.open_nursery() as nursery:
        port = await nursery.start(serve_meter)
        answers = {**HOME, **NETWORK, "meter.host": f"127.0.0.1:{port}"}
        progress = await site.advance(answers)
        assert progress.section is not None
        target = progress.section.questions[-1].target
        assert (await site.setup.search_meter(SearchRequest(target=target))).running
        with trio.fail_after(30):
            while site.setup.search_state().running:
                await trio.lowlevel.checkpoint()
        progress = await site.advance(answers)
        assert progress.section is not None
        values = [each.value for each in progress.section.questions[-1].choices]
        assert "janitza-umg604/1" in values
        progress = await site.advance({**answers, "meter.model": "janitza-umg604/1"})
        assert progress.review is not None
        assert 'driver = "janitza-umg604"' in progress.review.text
        nursery.cancel_scope.cancel()


async def test_setup_service_again_searches_once_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    searched: list[str] = []

    async def search(target: str, report: object) -> MeterScan:
        searched.append(target)
        return MeterScan(problem="connection refused")

    monkeypatch.setattr(meter_search, "search_meters", search)
    async with setting_up(tmp_path) as site:
        answers = {**HOME, **NETWORK}
        for again in ({}, {"meter.model": "again"}):
            await site.advance({**answers, **again})
            await site.setup.search_meter(SearchRequest(target="127.0.0.1:502"))
            await trio.testing.wait_all_tasks_blocked()
            progress = await site.advance(answers)
            assert progress.section is not None
            assert "connection refused" in progress.section.questions[-1].text
        assert searched == ["127.0.0.1:502"] * len(searched)
        assert len(searched) >= 2


@pytest.mark.parametrize("target", ["/etc/passwd", "/dev/../etc/passwd", "meter.lan", "meter.lan:0", "x:y"])
async def test_setup_service_searches_ports_and_hosts_alone(tmp_path: Path, target: str) -> None:
    async with setting_up(tmp_path) as site:
        with pytest.raises(ServiceError, match="neither a serial port nor"):
            await site.setup.search_meter(SearchRequest(target=target))


async def test_setup_service_review_has_findings_and_write_stores(tmp_path: Path) -> None:
    async with setting_up(tmp_path) as site:
        progress = await site.advance(HOME)
        assert progress.review is not None
        assert [each.severity for each in progress.review.findings] == ["hint"]  # no password of the station
        assert progress.review.user == "anna"
        result = await site.setup.write_setup(SetupRequest(answers=HOME), LOCAL_ACTOR)
        assert (result.user, result.password) == ("anna", "generated")
        [(text, _, user)] = site.stored
        assert (text, user) == (progress.review.text, "anna")


@pytest.mark.parametrize("has_directory", [False, True])
async def test_setup_service_writes_key_that_the_file_names(tmp_path: Path, *, has_directory: bool) -> None:
    answers = {**HOME, "dimming.kind": "eebus"}
    if has_directory:  # as the package makes it
        (tmp_path / "keys").mkdir()
    async with setting_up(tmp_path) as site:
        progress = await site.advance(answers)
        assert progress.review is not None
        assert "error" not in [each.severity for each in progress.review.findings]
        assert not any(file.suffix == ".pem" for file in find_files(tmp_path))
        await site.setup.write_setup(SetupRequest(answers=answers), LOCAL_ACTOR)
        [key] = (tmp_path / "keys").iterdir()
        assert key.stat().st_mode & 0o077 == 0
        progress = await site.advance(answers)
        assert progress.review is not None
        assert "error" not in [each.severity for each in progress.review.findings]


async def test_setup_service_incomplete_or_invalid_is_not_written(tmp_path: Path) -> None:
    async with setting_up(tmp_path) as site:
        with pytest.raises(SetupRejectedError, match="not complete"):
            await site.setup.write_setup(SetupRequest(answers={}), LOCAL_ACTOR)
        site.path.write_text('[site]\nid = "lc"\n[listen]\nport = 70000\n')
        answers = {**HOME, "backend.authorization": "free"}
        with pytest.raises(SetupRejectedError, match=r"listen\.port"):
            await site.setup.write_setup(SetupRequest(answers=answers), LOCAL_ACTOR)
        site.path.write_text("[site\n")
        with pytest.raises(SetupRejectedError, match="not valid TOML"):
            await site.advance({})
        assert site.stored == []


async def test_setup_service_forms_show_and_change_the_file(tmp_path: Path) -> None:
    async with setting_up(tmp_path) as site:
        site.path.write_text('[site]\nid = "lc"\n[[circuit]]\nid = "grid"\nlimit_a = 63 # main fuse\n')
        forms = await site.setup.read_fields()
        change = FieldChange(path=("circuit", 0, "limit_a"), value="50")
        review = await site.setup.review_fields(FieldRequest(base=forms.version, changes=[change]))
        assert "limit_a = 50 # main fuse" in review.text
        assert review.before == site.path.read_text()
        with pytest.raises(SetupRejectedError, match="changed meanwhile"):
            await site.setup.review_fields(FieldRequest(base="0" * 64, changes=[change]))
        odd = FieldChange(path=("circuit", 0, "limit_a"), value="much")
        with pytest.raises(SetupRejectedError, match=r"circuit\.0\.limit_a"):
            await site.setup.review_fields(FieldRequest(base=forms.version, changes=[odd]))


@pytest.mark.parametrize(
    ("text", "places", "url"),
    [
        ("", SitePlaces(), f"ws://GATEWAY:{ListenConfig().port}{ListenConfig().path}"),
        ("", SitePlaces(port=9000), "ws://GATEWAY:9000/ocpp"),
        ("", SitePlaces(host="192.0.2.1"), "ws://192.0.2.1:8887/ocpp"),
        ("[listen]\nport = 9443\n", SitePlaces(port=9000), "ws://GATEWAY:9443/ocpp"),
        ('[listen]\nhost = "::"\n', SitePlaces(host="192.0.2.1"), "ws://GATEWAY:8887/ocpp"),
        ('[listen]\nhost = "2001:db8::1"\n', SitePlaces(), "ws://[2001:db8::1]:8887/ocpp"),
        ('[listen]\ncertificate = "server.crt"\npath = "/"\n', SitePlaces(), "wss://GATEWAY:8887"),
    ],
)
def test_stations_url_is_that_of_the_file(text: str, places: SitePlaces, url: str) -> None:
    assert find_stations_url(tomllib.loads(text), places) == url


async def test_setup_service_without_a_file_states_it() -> None:
    async def nothing(*_: object) -> str:
        return ""

    async def no_unknown_stations() -> Sequence[UnknownStation]:
        return ()

    setup = SetupService(None, no_unknown_stations, lambda: True, nothing)
    with pytest.raises(SetupRejectedError, match="without a configuration file"):
        await setup.read_fields()


def test_find_serial_ports_prefers_stable_names(tmp_path: Path) -> None:
    by_id = tmp_path / "dev/serial/by-id"
    by_id.mkdir(parents=True)
    for name in ("ttyUSB0", "ttyUSB1", "ttyS0"):
        (tmp_path / "dev" / name).touch()
    (by_id / "usb-FTDI-port0").symlink_to("../../ttyUSB0")
    assert find_serial_ports(str(tmp_path)) == (
        str(by_id / "usb-FTDI-port0"),
        str(tmp_path / "dev/ttyUSB1"),
    )


def test_timezone_is_read_from_name_or_link(tmp_path: Path) -> None:
    (tmp_path / "localtime").symlink_to("/usr/share/zoneinfo/Europe/Vienna")
    assert find_timezone(tmp_path) == "Europe/Vienna"
    (tmp_path / "timezone").write_text("Europe/Berlin\n")
    assert find_timezone(tmp_path) == "Europe/Berlin"
