"""Time service: asks the time daemon of the machine at intervals and keeps the state of the clock.

chronyd is asked by its command socket, or by the process of `chrony_state` where only that may ask; then
systemd-timesyncd by `timedatectl`; where neither answers, the flag of
the kernel is all that is known. Nothing is set. chronyd verifies the certificates of NTS servers, but does
not report which it was shown: they are read in a TLS handshake of our own (RFC 8915, 4).
"""

from __future__ import annotations

import hashlib
import logging
import os
import ssl
import subprocess
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import trio

from controller.config.schema import TimeConfig
from controller.services.machine.chrony_state import CHRONY_SOCKET, REPORT_FILE, ask_chrony, read_report
from controller.services.machine.clock_state import is_synchronised
from controller.timekeeping import TimekeepingError
from controller.timekeeping.clock_status import (
    ClockEvent,
    ClockEventKind,
    ClockMonitor,
    ClockReading,
    ClockRequirements,
    ClockState,
    ClockStatus,
)
from controller.timekeeping.timesyncd import UNSYNCHRONISED_LEAP, read_timesyncd
from controller.transport.tls import make_client_context
from controller.web.status_model import ClockReport
from drivers.coded_text import parts_of, text_of

CHECK_S = 60.0
CERTIFICATE_CHECK_S = 3600.0
REPLY_S = 2.0
"""Time that timedatectl and a TLS handshake may take."""
NTS_PORT = 4460

log = logging.getLogger("controller.time")


def make_time_service(config: TimeConfig, record: Callable[[ClockEvent], None]) -> TimeService:
    """Make the time service of a configuration; `record` takes each event for the evidence."""
    requirements = ClockRequirements(
        legal_authority=config.legal_authority,
        servers_agree=config.servers_agree,
        max_error_s=config.max_error_s,
        max_check_age_s=config.max_check_age_s,
    )
    return TimeService(
        ClockMonitor(requirements),
        on_event=partial(_on_event, record, needs_legal_time=config.legal_authority is not None),
        is_kernel_synchronised=is_synchronised,
        chrony_socket=Path(config.chrony_socket),
        nts_servers=[_host_and_port(server) for server in config.nts_servers],
    )


def _host_and_port(server: str) -> tuple[str, int]:
    host, _, port = server.partition(":")
    return host, int(port) if port.isdecimal() else NTS_PORT


def _on_event(record: Callable[[ClockEvent], None], event: ClockEvent, *, needs_legal_time: bool) -> None:
    """Log an event, and record it. A person has to look at it where legal time is configured."""
    is_good = event.kind is ClockEventKind.QUORUM_REGAINED or event.text == ClockState.LEGAL
    level = logging.WARNING if needs_legal_time and not is_good else logging.INFO
    if event.kind is ClockEventKind.STATE:
        log.log(level, "clock %s", event.text)
    else:
        log.log(level, "clock changed kind=%s what=%s", event.kind, event.text)
    record(event)


class TimeService:
    """Clock of the site. `on_event` gets what belongs into the evidence; it must not block.

    `nts_servers`: host and port of the servers whose certificates are looked at. `trust`: file with the
    CA of these servers; None: the CAs of the system.
    """

    def __init__(
        self,
        monitor: ClockMonitor,
        *,
        on_event: Callable[[ClockEvent], None],
        is_kernel_synchronised: Callable[[], bool],
        chrony_socket: Path = CHRONY_SOCKET,
        chrony_report: Path = REPORT_FILE,
        nts_servers: Sequence[tuple[str, int]] = (),
        trust: str | None = None,
    ) -> None:
        self._monitor = monitor
        self._on_event = on_event
        self._is_kernel_synchronised = is_kernel_synchronised
        self._chrony_socket = chrony_socket
        self._chrony_report = chrony_report
        self._nts_servers = tuple(nts_servers)
        self._trust = trust

    def status(self) -> ClockStatus:
        """Return the state of the clock now."""
        return self._monitor.status(time.monotonic())

    def report(self) -> ClockReport:
        """Return the state of the clock as people and monitoring see it."""
        status = self.status()
        return ClockReport(
            state=status.state,
            reason=str(status.reason),
            reason_parts=parts_of(status.reason),
            source=status.source,
            authority=status.authority,
            error_bound_s=status.error_bound_s,
            servers_agree=status.servers_agree,
        )

    async def run(self) -> None:
        """Check the clock until cancelled."""
        async with trio.open_nursery() as nursery:
            if self._nts_servers:
                nursery.start_soon(self._run_certificate_checks)
            while True:
                await self.check()
                await trio.sleep(CHECK_S)

    async def check(self) -> None:
        """Ask the time daemon once."""
        try:
            reading = await self._read()
        except TimekeepingError as error:
            events = self._monitor.on_failure(text_of(error), time.monotonic())
        else:
            events = self._monitor.on_reading(reading, time.monotonic(), time.time())
        self._report(events)

    async def check_certificates(self) -> None:
        """Look at the certificate of each NTS server once."""
        for host, port in self._nts_servers:
            try:
                fingerprint = await _nts_fingerprint(host, port, self._trust)
            except (OSError, trio.TooSlowError, ssl.SSLError, trio.BrokenResourceError) as error:
                log.warning(
                    "NTS server failed the key exchange server=%s:%d reason=%s "
                    "remedy=check its certificate and the network", host, port, error,
                )  # fmt: skip
            else:
                self._report(self._monitor.on_server_certificate(f"{host}:{port}", fingerprint))

    async def _run_certificate_checks(self) -> None:
        while True:
            await self.check_certificates()
            await trio.sleep(CERTIFICATE_CHECK_S)

    def _report(self, events: Sequence[ClockEvent]) -> None:
        for event in events:
            self._on_event(event)

    async def _read(self) -> ClockReading:
        """Ask the time daemon that there is. Raises TimekeepingError."""
        reading = read_report(self._chrony_report, time.monotonic())
        if reading is not None:
            return reading
        if self._has_chrony():
            return await self._read_chrony()
        reading = await _read_timesyncd()
        if reading is not None:
            return reading
        return ClockReading(source="kernel", synchronised=self._is_kernel_synchronised())

    def _has_chrony(self) -> bool:
        """Return True if chronyd seems to run, also where its folder is closed to us."""
        try:
            return self._chrony_socket.exists()
        except OSError:
            return True

    async def _read_chrony(self) -> ClockReading:
        """Ask chronyd in a thread. Raises TimekeepingError."""
        try:
            return await trio.to_thread.run_sync(ask_chrony, self._chrony_socket, abandon_on_cancel=True)
        except TimeoutError:
            raise TimekeepingError(f"chronyd did not answer within {REPLY_S:g} s") from None
        except OSError as error:
            raise TimekeepingError(
                f"chronyd cannot be asked by {self._chrony_socket}: {error.strerror}; it answers to root and "
                "its own user: start the unit local-controller-chrony"
            ) from None


async def _read_timesyncd() -> ClockReading | None:
    """Ask timedatectl; None if there is none or timesyncd does not run."""
    try:
        with trio.fail_after(REPLY_S):
            done = await trio.run_process(
                ["timedatectl", "show-timesync", "--all"],
                capture_stdout=True,
                stderr=subprocess.DEVNULL,
                check=False,
                env={name: value for name, value in os.environ.items() if name != "NOTIFY_SOCKET"},
            )
        report = read_timesyncd(done.stdout.decode("utf-8", "replace"))
    except (OSError, trio.TooSlowError, TimekeepingError):
        return None
    synchronised = report.stratum is not None and report.leap_status != UNSYNCHRONISED_LEAP
    return ClockReading(source="timesyncd", synchronised=synchronised, error_bound_s=report.error_bound_s)


async def _nts_fingerprint(host: str, port: int, trust: str | None) -> str:
    """Return the SHA-256 of the certificate that an NTS server shows, after TLS has verified it."""
    context = make_client_context(trust, None, None)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.set_alpn_protocols(["ntske/1"])
    with trio.fail_after(REPLY_S):
        stream = await trio.open_ssl_over_tcp_stream(host, port, ssl_context=context)
        try:
            await stream.do_handshake()
            certificate = stream.getpeercert(binary_form=True)
        finally:
            await trio.aclose_forcefully(stream)
    return hashlib.sha256(certificate).hexdigest()
