"""The time service with real chronyds on loopback: two NTS servers with certificates of the site CA."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import trio

from controller.pki.ca_folder import CaFolder, CaSettings
from controller.pki.certificate_profiles import Purpose
from controller.pki.certificate_requests import RequestContent
from controller.pki.identity_files import IdentityFolder
from controller.pki.issuance import Applicant
from controller.services.time_service import TimeService
from controller.timekeeping.clock_status import ClockEvent, ClockMonitor, ClockRequirements, ClockState

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
