"""The time service with real chronyds on loopback: two NTS servers with certificates of the site CA."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import msgspec
import pytest
import trio

from controller.pki.ca_folder import CaFolder, CaSettings
from controller.pki.certificate_profiles import Purpose
from controller.pki.certificate_requests import RequestContent
from controller.pki.identity_files import IdentityFolder
from controller.pki.issuance import Applicant
from controller.services.machine.chrony_state import (
    ASK_S,
    CHRONY_SOCKET,
    REPORT_FILE,
    ChronyReport,
    keep_report,
    read_report,
    write_report,
)
from controller.services.machine.time_service import TimeService
from controller.timekeeping import TimekeepingError
from controller.timekeeping.clock_status import (
    ClockEvent,
    ClockMonitor,
    ClockReading,
    ClockRequirements,
    ClockState,
)

NTP_PORT, NTS_PORT = 21123, 21460
SERVERS = ("127.0.0.1", "127.0.0.2")
READY_S = 20.0


class Chronyds:
    """Two NTS servers and a client on loopback; nothing sets the machine's clock (-x)."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.folder = folder
        self._stack = stack
        self.ca = CaFolder.create(folder / "ca", CaSettings(name="site"), None, time.time())
        for host in SERVERS:
            self.certify(host)

    def certify(self, host: str) -> None:
        identities = IdentityFolder(self.folder / "identities")
        request = identities.new_request(f"nts-{host[-1]}", host, RequestContent(), self.ca.ids)
        applicant = Applicant(id=host, purpose=Purpose.CONTROLLER, hosts=(host,))
        chain, _ = self.ca.sign(self.ca.read_request(request), applicant, None, time.time())
        identities.import_certificates(chain, time.time())

    def start_server(self, host: str) -> subprocess.Popen[bytes]:
        pair = self.folder / "identities" / f"nts-{host[-1]}.pem"
        return self._start(
            f"server-{host}",
            f"port {NTP_PORT}\nbindaddress {host}\nallow 127.0.0.0/8\nlocal stratum 1\n"
            f"ntsserverkey {pair}\nntsservercert {pair}\nntsport {NTS_PORT}\nntsprocesses 0\n",
        )

    def start_client(self) -> Path:
        sources = "".join(
            f"server {host} port {NTP_PORT} nts ntsport {NTS_PORT} iburst minpoll -1 maxpoll -1\n"
            for host in SERVERS
        )
        trust = self.ca.path / "trust.pem"
        self._start("client", f"{sources}port 0\nnosystemcert\nntstrustedcerts {trust}\n")
        return self.folder / "client.sock"

    def _start(self, name: str, configuration: str) -> subprocess.Popen[bytes]:
        file = self.folder / f"{name}.conf"
        file.write_text(
            f"{configuration}cmdport 0\nbindcmdaddress {self.folder}/{name}.sock\n"
            f"pidfile {self.folder}/{name}.pid\n"
        )
        with (self.folder / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(
                ["/usr/sbin/chronyd", "-d", "-x", "-u", "root", "-f", str(file)], stderr=log, stdout=log
            )
        self._stack.callback(_stop, process)
        return process


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    process.wait(10)


@pytest.fixture
def chronyds(tmp_path: Path) -> Iterator[Chronyds]:
    assert shutil.which("chronyd", path="/usr/sbin:/usr/bin"), "chronyd is missing: apt install chrony"
    assert os.geteuid() == 0, "chronyd starts as root only"
    tmp_path.chmod(0o750)  # chronyd wants its socket's folder closed to others
    with ExitStack() as stack:
        yield Chronyds(tmp_path, stack)


def _service(socket: Path, events: list[ClockEvent], chronyds: Chronyds) -> TimeService:
    requirements = ClockRequirements(legal_authority="PTB", servers_agree=2, max_error_s=0.5)
    return TimeService(
        ClockMonitor(requirements),
        on_event=events.append,
        is_kernel_synchronised=lambda: False,
        chrony_socket=socket,
        nts_servers=[(host, NTS_PORT) for host in SERVERS],
        trust=str(chronyds.ca.path / "trust.pem"),
    )


async def _until(service: TimeService, state: ClockState) -> None:
    with trio.move_on_after(READY_S):
        while service.status().state is not state:
            await service.check()
            await trio.sleep(0.1)
    assert service.status().state is state, service.status()


async def test_chrony_with_two_nts_servers_is_legal_until_one_is_lost(chronyds: Chronyds) -> None:
    servers = {host: chronyds.start_server(host) for host in SERVERS}
    events: list[ClockEvent] = []
    service = _service(chronyds.start_client(), events, chronyds)
    await _until(service, ClockState.LEGAL)
    status = service.status()
    assert (status.source, status.authority, status.servers_agree) == ("chrony", "PTB", 2)
    assert status.error_bound_s is not None
    assert 0 < status.error_bound_s < 0.5

    await service.check_certificates()
    _stop(servers["127.0.0.2"])
    await _until(service, ClockState.SYNCHRONISED)
    assert "1 authenticated servers agree, 2 are required" in service.status().reason
    assert "clock-quorum-lost" in [event.kind for event in events]

    events.clear()
    chronyds.certify("127.0.0.2")
    chronyds.start_server("127.0.0.2")
    with trio.move_on_after(READY_S):
        while not events:
            await service.check_certificates()
            await trio.sleep(0.1)
    assert events[0].text.startswith("server 127.0.0.2:21460 shows certificate ")


async def test_time_service_chrony_that_does_not_answer_leaves_clock_unverified(tmp_path: Path) -> None:
    (tmp_path / "chronyd.sock").touch()
    events: list[ClockEvent] = []
    service = TimeService(
        ClockMonitor(ClockRequirements(legal_authority="PTB")),
        on_event=events.append,
        is_kernel_synchronised=lambda: True,
        chrony_socket=tmp_path / "chronyd.sock",
    )
    await service.check()
    assert service.status().state is ClockState.UNVERIFIED
    assert "cannot be asked" in service.status().reason


async def test_time_service_kernel_flag_alone_makes_clock_synchronised(tmp_path: Path) -> None:
    service = TimeService(
        ClockMonitor(ClockRequirements()),
        on_event=lambda event: None,
        is_kernel_synchronised=lambda: True,
        chrony_socket=tmp_path / "absent.sock",
    )
    await service.check()
    assert service.status().state is ClockState.SYNCHRONISED
    assert service.status().reason == "kernel does not report how far the clock may be off"


async def test_chrony_report_of_second_process_is_used(chronyds: Chronyds, tmp_path: Path) -> None:
    for host in SERVERS:
        chronyds.start_server(host)
    chrony, path = chronyds.start_client(), tmp_path / "report.json"
    service = TimeService(
        ClockMonitor(ClockRequirements(legal_authority="PTB", servers_agree=2, max_error_s=0.5)),
        on_event=lambda event: None,
        is_kernel_synchronised=lambda: False,
        chrony_socket=tmp_path / "closed",
        chrony_report=path,
    )
    with trio.move_on_after(READY_S):
        while service.status().state is not ClockState.LEGAL:
            write_report(path, time.monotonic(), chrony)
            await service.check()
            await trio.sleep(0.1)
    assert service.status().state is ClockState.LEGAL, service.status()
    assert path.stat().st_mode & 0o777 == 0o644
    assert not list(chrony.parent.glob("local-controller.*")), "its own socket is removed"


def test_chrony_report_without_chronyd_has_reason(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    assert read_report(path, 1000.0) is None
    assert write_report(path, 1000.0, tmp_path / "chronyd.sock").problem
    with pytest.raises(TimekeepingError, match="chronyd cannot be asked: No such file"):
        read_report(path, 1001.0)


def test_chrony_report_is_kept_until_chronyd_has_another_socket(tmp_path: Path) -> None:
    path, chrony = tmp_path / "report.json", tmp_path / "chronyd.sock"
    waits: list[float] = []

    def wait(duration_s: float) -> None:
        waits.append(duration_s)
        with pytest.raises(TimekeepingError, match="chronyd cannot be asked"):
            read_report(path, time.monotonic())
        if len(waits) == 3:
            chrony.touch()  # nobody answers: the sandbox of another process may reach it

    keep_report(path, wait, chrony)
    assert waits == [ASK_S] * 3


@pytest.mark.parametrize(("age_s", "is_used"), [(-1.0, False), (0.0, True), (95.0, True), (96.0, False)])
def test_chrony_report_is_used_within_its_age(tmp_path: Path, age_s: float, is_used: bool) -> None:
    path = tmp_path / "report.json"
    reading = ClockReading(source="chrony", synchronised=True)
    path.write_bytes(msgspec.json.encode(ChronyReport(monotonic=1000.0, reading=reading)))
    if is_used:
        assert read_report(path, 1000.0 + age_s) == reading
    else:
        with pytest.raises(TimekeepingError, match="is too old"):
            read_report(path, 1000.0 + age_s)


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff", b'{"monotonic":"x"}'])
def test_chrony_report_that_is_invalid_is_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "report.json").write_bytes(content)
    with pytest.raises(TimekeepingError, match="cannot be read"):
        read_report(tmp_path / "report.json", 1000.0)


async def test_chrony_folder_that_is_closed_names_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = TimeService(
        ClockMonitor(ClockRequirements()),
        on_event=lambda event: None,
        is_kernel_synchronised=lambda: True,
        chrony_socket=tmp_path / "chronyd.sock",
        chrony_report=tmp_path / "report.json",
    )

    def refuse(*_: object, **__: object) -> bool:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "exists", refuse)
    monkeypatch.setattr("controller.services.machine.time_service.ask_chrony", refuse)
    await service.check()
    assert service.status().state is ClockState.UNVERIFIED
    assert "Permission denied" in service.status().reason
    assert "start the unit local-controller-chrony" in service.status().reason


def test_chrony_unit_runs_as_user_of_chronyd_and_writes_where_it_is_read() -> None:
    unit = (Path(__file__).parents[4] / "systemd" / "local-controller-chrony.service").read_text()
    lines = unit.splitlines()
    assert {"User=_chrony", f"RuntimeDirectory={REPORT_FILE.parent.name}"} <= set(lines)
    assert f"ReadWritePaths=-{CHRONY_SOCKET.parent}" in lines
    assert "-m controller.services.machine.chrony_state" in unit
