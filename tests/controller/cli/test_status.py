"""`status`: against the real server, and against all that is not one."""

from __future__ import annotations

import io
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
import trio
from cryptography import x509
from msgspec.structs import replace
from rich.console import Console

from controller.cli import main, status
from controller.cli.status import MOST_ALARMS, NoStatusError, PageAddress, address, fetch, render
from controller.config.schema import WebConfig
from controller.services.configuration.configuration import LAST_VALID, keep_copy, open_configuration
from controller.services.machine.control_socket import serve_commands
from controller.web import terminal
from controller.web.alarm_model import AlarmBook, find_conditions
from controller.web.status_model import (
    AlarmStatus,
    ControllerStatus,
    EnergyStatus,
    GroupStatus,
    PeakStatus,
    SigningWaitStatus,
    WaitStatus,
)
from controller.web.web_routes import WebRoutes
from controller.web.web_server import WebSettings, serve_web
from drivers.reading import Quality
from tests.controller.services.machine.test_control_socket import NoCommands
from tests.controller.transport.certificates import Authority
from tests.controller.web.examples import STATUS
from tests.controller.web.fake_site import FakeAccess, FakeSite


@asynccontextmanager
async def serving(
    status: ControllerStatus = STATUS, tls: Callable[[float], ssl.SSLContext] | None = None
) -> AsyncIterator[str]:
    routes = WebRoutes(FakeSite(lambda: status), FakeAccess(), open_status=True)
    async with trio.open_nursery() as nursery:
        port = await nursery.start(serve_web, WebSettings("127.0.0.1", 0, tls), routes)
        yield f"{'https' if tls else 'http'}://127.0.0.1:{port}"
        nursery.cancel_scope.cancel()


def seen(status: ControllerStatus) -> list[str]:
    console = Console(width=terminal.WIDTH, record=True, file=io.StringIO())
    console.print(render(status))
    return console.export_text().splitlines()


@pytest.fixture
def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


async def test_status_is_fetched_unchanged() -> None:
    async with serving() as url:
        assert await trio.to_thread.run_sync(fetch, PageAddress(f"{url}/")) == STATUS


def test_status_without_backends_has_no_table_of_them() -> None:
    assert any(line.startswith("backend ") for line in seen(STATUS))
    assert not any("backend" in line for line in seen(replace(STATUS, backends=())))


def test_tables_have_each_circuit_and_evse_in_100_columns() -> None:
    lines = seen(STATUS)
    assert max(map(len, lines)) <= terminal.WIDTH
    text = "\n".join(lines)
    for word in ("120/120/100", "101.0", "CS01/1", "grid L2 full", "away", "<script>", "none", "good"):
        assert word in text
    assert "last control step" not in text


def test_status_shows_ids_whole() -> None:
    usual, other = STATUS.evses
    long_id = "DE*ABC*E" + "0123456789" * 4
    lines = seen(
        replace(STATUS, evses=(replace(usual, station="DE*ABC*E000101"), replace(other, station=long_id)))
    )
    assert max(map(len, lines)) <= terminal.WIDTH
    text = "\n".join(lines)
    assert "DE*ABC*E000101/1" in text
    assert f"{long_id}/{other.evse}" in "".join(line.split(" ")[0] for line in lines)


def test_status_reports_pending_registration_from_absence() -> None:
    usual, _ = STATUS.evses
    pending = replace(usual, connected=False, reason="connected, registration pending: 32 A kept free for it")
    text = "\n".join(seen(replace(STATUS, evses=(pending,))))
    assert "pending" in text
    assert "away" not in text


def test_status_hung_control_loop_is_in_title() -> None:
    assert "last control step 60 s ago" in seen(replace(STATUS, healthy=False, tick_age_s=60.0))[0]


@pytest.mark.parametrize(
    ("timezone", "shown"),
    [("Europe/Berlin", "2026-11-21T13:00:00+01:00"), ("Mars/Olympus", STATUS.time), ("../etc", STATUS.time)],
)
def test_status_time_is_of_the_site(timezone: str, shown: str) -> None:
    assert seen(replace(STATUS, timezone=timezone))[0].endswith(shown)


def test_status_shows_alarms_with_remedy_but_no_information() -> None:
    alarm = AlarmStatus(
        kind="clock-differs",
        subject="station CS01",
        severity="warning",
        text="the clock of station CS01 differs by -639 s",
        remedy="set the station's clock",
        since="2026-11-21T12:00:00Z",
    )
    noted = replace(alarm, severity="info", text="it is noted")
    lines = seen(replace(STATUS, alarms=(alarm, noted)))
    assert "the clock of station CS01 differs by -639 s; set the station's clock" in lines
    assert "it is noted" not in "\n".join(lines)
    many = seen(replace(STATUS, alarms=(alarm,) * (MOST_ALARMS + 2)))
    assert "and 2 more alarms: see the page" in many


def test_status_wait_for_signed_messages_is_in_title_with_remedy() -> None:
    waiting = replace(STATUS, signing_wait=SigningWaitStatus(until="2027-03-01T00:00:00Z", can_shorten=True))
    book = AlarmBook()
    book.update(find_conditions(waiting, 0.0), 0.0, 0.0)
    lines = " ".join(" ".join(seen(replace(waiting, alarms=book.present))).split())
    assert "signed messages made until 2027-03-01T00:00:00Z are rejected" in lines
    assert "local-controller policy resume" in lines


def test_status_dimming_is_in_title() -> None:
    assert "dimmed by dso to 7.6 kW until 14:45" in "\n".join(seen(STATUS))
    assert "dimmed" not in "\n".join(seen(replace(STATUS, dimming=None)))


def test_status_unusual_charger_response_has_line() -> None:
    usual, disobedient = STATUS.evses
    slow = replace(usual, reaction_s=31.0, obeys=True, single_phase=True)
    text = "\n".join(seen(replace(STATUS, evses=(slow, disobedient))))
    assert "CS01/1 takes 31 s to follow" in text
    assert "1x16.0 A" in text
    assert "CS02/2 did not follow its last lower limit; rounds limits down, by 2 A at most" in text
    assert "CS01/1 takes" not in "\n".join(seen(replace(STATUS, evses=(usual,))))


def test_status_shows_offer_of_station_that_accepts_watts_in_kw() -> None:
    in_watts = replace(STATUS.evses[0], offered_w=11_000.0)
    assert "11.00 kW" in "\n".join(seen(replace(STATUS, evses=(in_watts,))))


def test_status_shows_problem_of_meter() -> None:
    grid = replace(
        STATUS.circuits[0], meter_quality=Quality.STALE, meter_problem="unit 1 does not answer; check it"
    )
    text = "\n".join(seen(replace(STATUS, circuits=(grid,))))
    assert "meter of grid stale: unit 1 does not answer; check it" in text
    assert "meter of grid" not in "\n".join(seen(STATUS))


def test_status_shows_jumps_beyond_margin() -> None:
    grid = replace(STATUS.circuits[0], margin_a=1.0, jump_a=12.3, jumps_beyond=4, proposed_margin_a=9.5)
    text = "\n".join(seen(replace(STATUS, circuits=(grid,))))
    assert "margin of grid 1 A: the base load jumped beyond it 4 times, by up to 12.3 A; 9.5 A absorb" in text
    assert "margin of" not in "\n".join(seen(STATUS))


def test_status_shows_limit_in_force_where_it_is_lowered() -> None:
    grid = replace(STATUS.circuits[0], limit_a=(72.46, 72.46, 72.46), limit_now_a=(60.0, 60.0, 60.0))
    text = "\n".join(seen(replace(STATUS, circuits=(grid,))))
    assert "72.5 A" in text
    assert "limit of grid now 60 A: lowered by the calendar or the backend" in text
    as_rated = replace(grid, limit_now_a=grid.limit_a)
    assert "limit of" not in "\n".join(seen(replace(STATUS, circuits=(as_rated,))))


def test_status_shows_whole_reason() -> None:
    reason = (
        'calendar "evening peak" limits grid to 60 A: no room for its minimum of 6 A, grid L3 full: waiting'
    )
    lines = seen(replace(STATUS, evses=(replace(STATUS.evses[0], reason=reason),)))
    assert max(map(len, lines)) <= terminal.WIDTH
    begin = next(index for index, line in enumerate(lines) if "calendar" in line)
    why = lines[begin].index("calendar")
    assert " ".join(line[why:].strip() for line in lines[begin : begin + 3]) == reason


def test_status_shows_departure_goals() -> None:
    leaves = replace(STATUS.evses[0], goal_kwh=12.3, leaves_in_s=5400.0)
    text = "\n".join(seen(replace(STATUS, evses=(leaves, *STATUS.evses[1:]))))
    assert text.count("kWh more") == 1
    assert "CS01/1 needs 12.3 kWh more, leaves in 1.5 h" in text


def test_status_shows_energy_plan() -> None:
    energy = EnergyStatus(
        peaks=(
            PeakStatus(
                circuit="grid", target_kw=60.0, used_kwh=9.5, budget_kwh=15.0, ends_in_s=120.0, month_kw=58.2
            ),
        ),
        calendar=("evening",),
        groups=(GroupStatus(id="bakery", guaranteed_a=16.0, used_kwh=12.0, quota_kwh=80.0),),
        waiting=(WaitStatus(station="CS01", evse=1, begins="2026-11-27T01:15:00+00:00"),),
        price=0.31,
    )
    [peak] = energy.peaks
    after_start = replace(energy, peaks=(replace(peak, assumed=True),))
    text = " ".join(seen(replace(STATUS, energy=after_start)))
    used = "15.0 kWh used (not measured all the time: what is unknown counts at its worst), ends in"
    assert used in " ".join(text.split())
    text = "\n".join(seen(replace(STATUS, energy=energy, timezone="Europe/Berlin")))
    for words in (
        "quarter hour of grid: 9.5 of 15.0 kWh used, ends in 2 min; target 60 kW",
        "calendar in force: evening",
        "group bakery: 12.0 of 80 kWh today, guaranteed 16 A",
        "price now: 0.31",
        "CS01/1 waits for a lower price until 2026-11-27T02:15:00+01:00",
    ):
        assert words in text


def test_status_markup_in_name_is_plain_text() -> None:
    named = replace(STATUS.evses[0], station="[red]X", reason="[bold]full[/]")
    assert "[bold]full[/]" in "\n".join(seen(replace(STATUS, evses=(named,))))


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:8080"),
        ("0.0.0.0", "http://127.0.0.1:8080"),
        ("::", "http://[::1]:8080"),
        ("gateway", "http://gateway:8080"),
    ],
)
def test_status_address_of_configured_page(host: str, url: str) -> None:
    assert address(WebConfig(host=host)) == PageAddress(url)


async def test_status_of_page_with_own_certificate_is_fetched(tmp_path: Path) -> None:
    pair = Authority(tmp_path).issue("page", "gateway.example", x509.DNSName("gateway.example"))
    other = Authority(tmp_path, "other").server()
    async with serving(tls=lambda now: pair.server()) as url:
        assert await trio.to_thread.run_sync(fetch, PageAddress(url, pair.certificate)) == STATUS
        for certificate in (other.certificate, None):
            with pytest.raises(
                NoStatusError, match=r"its certificate is not trusted: .*; on the gateway: sudo"
            ):
                await trio.to_thread.run_sync(fetch, PageAddress(url, certificate))
    web = WebConfig(certificate=pair.certificate, key=pair.key)
    assert address(web) == PageAddress("https://127.0.0.1:8080", pair.certificate)


async def test_status_without_options_asks_page_of_usual_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "controller.toml"
    monkeypatch.setattr(status, "USUAL_CONFIG", path)
    async with serving() as url:
        port = url.rpartition(":")[2]
        path.write_text(f"[site]\nid = 'lc'\n[web]\nport = {port}\n[[circuit]]\nid = 'grid'\nlimit_a = 63\n")
        assert await trio.to_thread.run_sync(main.main, ["status", "--json"]) == 0
    assert f'"site": "{STATUS.site}"' in capsys.readouterr().out


def test_status_of_gateway_without_configuration_names_setup(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "controller.toml"
    monkeypatch.setattr(status, "USUAL_CONFIG", path)
    assert main.main(["status"]) == 2
    assert f"{path}: does not exist; make it with `local-controller setup`" in capsys.readouterr().err


def test_status_without_readable_configuration_names_sudo(
    tmp_path: Path, free_port: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "local-controller"
    path = folder / "controller.toml"
    monkeypatch.setattr(status, "USUAL_CONFIG", path)
    monkeypatch.setattr(status, "WebConfig", lambda: WebConfig(port=free_port))
    assert main.main(["status"]) == 1
    answer = f"no controller answers at http://127.0.0.1:{free_port}/api/status: Connection refused; {path} "
    assert capsys.readouterr().err == (
        f"{answer}does not exist; name a configuration with -c, or the page with --url\n"
    )
    folder.mkdir()
    monkeypatch.setattr("os.access", lambda *_: False)
    assert main.main(["status"]) == 1
    assert capsys.readouterr().err == (
        f"{answer}with its address is not readable; run `sudo local-controller status`\n"
    )


def test_status_of_invalid_file_uses_last_valid_copy(
    tmp_path: Path, free_port: int, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "controller.toml"
    text = f"""
[site]
id = "lc-test"
[store]
directory = "state"
[web]
port = {free_port}
[[circuit]]
id = "grid"
limit_a = 63
[[station]]
id = "CS01"
circuit = "grid"
"""
    file.write_text(text)
    keep_copy(open_configuration(file))
    file.write_text(text.replace("limit_a", "limit"))
    assert main.main(["status", "-c", str(file)]) == 1
    assert f"no controller answers at http://127.0.0.1:{free_port}" in capsys.readouterr().err
    (tmp_path / "state" / LAST_VALID).unlink()
    assert main.main(["status", "-c", str(file)]) == 1
    assert "limit" in capsys.readouterr().err


def test_no_controller_is_one_error_line(free_port: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["status", "--url", f"http://127.0.0.1:{free_port}"]) == 1
    stderr = capsys.readouterr().err
    assert (
        f"no controller answers at http://127.0.0.1:{free_port}/api/status: Connection refused; is it"
        in stderr
    )
    assert "[web]" in stderr
    assert main.main(["status", "--url", "http://gateway.invalid"]) == 1
    assert "Errno" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", "HTTP status 404"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", "not the status of a local-controller"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n{", "no controller answers"),
        (b"SSH-2.0-OpenSSH\r\n", "no controller answers"),
    ],
)
async def test_status_another_server_is_error(answer: bytes, words: str) -> None:
    async def serve(stream: trio.SocketStream) -> None:
        async with stream:
            await stream.receive_some()
            await stream.send_all(answer)

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, serve, 0, host="127.0.0.1"))
        port = listeners[0].socket.getsockname()[1]
        with pytest.raises(NoStatusError, match=words):
            await trio.to_thread.run_sync(fetch, PageAddress(f"http://127.0.0.1:{port}"))
        nursery.cancel_scope.cancel()


def test_url_of_another_scheme_is_rejected() -> None:
    with pytest.raises(SystemExit) as ended:
        main.main(["status", "--url", "file:///etc/passwd"])
    assert ended.value.code == 2


def test_status_watch_continues_after_failed_request(monkeypatch: pytest.MonkeyPatch) -> None:
    answers: list[ControllerStatus | Exception] = [STATUS, NoStatusError("gone for a moment"), STATUS]

    def next_answer(_: str) -> ControllerStatus:
        if not answers:
            raise KeyboardInterrupt
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(status, "fetch", next_answer)
    monkeypatch.setattr(status, "WATCH_S", 0.0)
    assert main.main(["status", "--watch"]) == 0
    assert answers == []


async def test_status_behind_login_is_read_at_control_socket(tmp_path: Path) -> None:
    routes = WebRoutes(FakeSite(lambda: STATUS), FakeAccess(), open_status=False)
    async with trio.open_nursery() as nursery:
        port = await nursery.start(serve_web, WebSettings("127.0.0.1", 0), routes)
        url = f"http://127.0.0.1:{port}"
        with pytest.raises(NoStatusError, match="; on the gateway: sudo local-controller status"):
            await trio.to_thread.run_sync(fetch, PageAddress(url))
        page = PageAddress(url, store=tmp_path)
        with pytest.raises(NoStatusError, match="asks for a login, and no controller answers at"):
            await trio.to_thread.run_sync(fetch, page)
        await nursery.start(serve_commands, tmp_path, {"status": lambda _: STATUS}, NoCommands())
        assert await trio.to_thread.run_sync(fetch, page) == STATUS
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("quality", "shown"), [(Quality.GOOD, 60.5), (Quality.DEAD, 60.0), (Quality.STALE, 60.0)]
)
def test_status_bar_shows_what_may_flow_without_good_readings(quality: Quality, shown: float) -> None:
    circuit = replace(
        STATUS.circuits[0], meter_quality=quality, base_a=(22.0, 26.0, 19.0), booked_a=(38.0, 90.0, 80.0)
    )
    assert terminal.carried_current(circuit)[0] == shown
