"""Service that issues and renews the certificates of stations over OCPP, from the site CA.

    station   --SignCertificate-->      the CA signs (in a thread)
              <--Accepted--
              <--CertificateSigned--    the new chain, over the same connection
              --Accepted-->             from now on the new one replaces the old one

A certificate whose installation is not confirmed is sent again, also after a restart; until then the old one
stays valid. A certificate that is due is requested with a trigger. At its first connection a station is asked
whether it has the site's root, and gets it if it has not. Earlier roots of the site are then deleted in it,
once the stations' port presents a certificate of the present one.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping
from pathlib import Path

import trio
from cryptography import x509

from controller.config import Config
from controller.model.rate_limits import TokenBucket
from controller.ocpp.payloads import is_accepted
from controller.pki import PkiError, certificate_messages
from controller.pki.ca_folder import CaFolder, read_passphrase
from controller.pki.certificate_ledger import IssuedCertificate, RevocationReason
from controller.pki.certificate_messages import SignCertificateCall, StationCertificateScope
from controller.relay.events import LocalCall
from controller.services import ServiceError
from controller.services.machine.clock_state import is_synchronised
from controller.stations.registry import SessionRegistry
from controller.stations.session import StationSession

log = logging.getLogger("controller.pki")

CHECK_S = 60.0
"""Interval of the search for certificates that are due or not installed."""
TRIGGER_S = 3600.0
"""Least time between two triggers of one station, and between two sendings of one certificate."""
REQUESTS_PER_S = 1 / 600
REQUESTS_AT_ONCE = 3
"""Rate of the certificate requests of one station: each costs a signature and a line of the ledger."""


def open_station_certificates(
    config: Config, evses: Mapping[str, tuple[str, ...]], registry: SessionRegistry
) -> StationCertificateService | None:
    """Return the issuer of station certificates; None where their owners issue them. Raises ServiceError."""
    if config.pki is None or config.pki.station_certificates == "owner":
        return None
    file = None if config.pki.passphrase_file is None else Path(config.pki.passphrase_file)
    try:
        passphrase = read_passphrase(file, os.environ.get("CREDENTIALS_DIRECTORY"))
        chain = _read_chain(config.listen.certificate)
        folder = CaFolder(Path(config.pki.folder))
        return StationCertificateService(folder, passphrase, evses, registry, chain)
    except PkiError as error:
        raise ServiceError(f"[pki] station_certificates: {error}") from error


class StationCertificateService:
    """Issuer of the certificates of connected stations. `evses`: by station, for their certificates.

    `listener_chain`: certificates that the stations' port presents, the leaf first.

    Raises PkiError if the CA or its key cannot be used.
    """

    def __init__(
        self,
        folder: CaFolder,
        passphrase: bytes | None,
        evses: Mapping[str, tuple[str, ...]],
        registry: SessionRegistry,
        listener_chain: tuple[x509.Certificate, ...],
    ) -> None:
        self._folder = folder
        self._passphrase = passphrase
        self._evses = evses
        self._registry = registry
        self._rates: dict[str, TokenBucket] = {}
        self._tried_at: dict[str, float] = {}
        """By station or serial number, the last trigger or sending (s, monotonic)."""
        self._roots_checked: set[str] = set()
        folder.check_key(passphrase)
        self._authorities = folder.authorities()
        self.scope = StationCertificateScope(self._authorities, listener_chain)
        self._presents_site_ca = any(map(folder.has_signed, listener_chain[:1]))
        self._calls, self._received = trio.open_memory_channel[tuple[StationSession, LocalCall]](64)

    def set_evses(self, evses: Mapping[str, tuple[str, ...]]) -> None:
        """Issue certificates for these stations and their EVSEs from now on."""
        self._evses = evses

    def on_local_call(self, session: StationSession, call: LocalCall) -> None:
        """Queue a CALL of a station; it is answered with an error if too many wait."""
        try:
            self._calls.send_nowait((session, call))
        except trio.WouldBlock:
            log.warning(
                "certificate request rejected station=%s reason=too many requests wait", session.station
            )
            session.answer_local_call(call.id, None)

    async def run(self) -> None:
        """Answer calls and renew certificates until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._run_checks, nursery)
            async for session, call in self._received:
                if call.action == "GetCertificateStatus":
                    nursery.start_soon(self._answer_status, session, call)
                else:
                    nursery.start_soon(self._answer_request, session, call)

    # -- requests of stations -------------------------------------------------------------------------

    async def _answer_request(self, session: StationSession, call: LocalCall) -> None:
        """Sign a station's certificate request, answer it, and send the certificate."""
        station = session.station
        request = certificate_messages.read_sign_certificate(call.payload)
        reason = "it is invalid" if request is None else self._refuse(station)
        issued: tuple[bytes, IssuedCertificate] | None = None
        if request is not None and not reason:
            try:
                issued = await trio.to_thread.run_sync(self._sign, station, request.csr)
            except PkiError as error:
                reason = str(error)
        if issued is None:
            log.warning(
                "certificate request rejected station=%s reason=%s remedy=correct the request of the station",
                station,
                reason,
            )
            session.answer_local_call(call.id, certificate_messages.REJECTED)
            return
        chain, record = issued
        log.info("certificate issued station=%s serial=%s", station, record.serial)
        session.answer_local_call(call.id, certificate_messages.ACCEPTED)
        await self._install(session, record, chain, request)

    def _refuse(self, station: str) -> str:
        """Return why no request of a station is signed now; empty if one is."""
        rate = self._rates.setdefault(station, TokenBucket(REQUESTS_PER_S, burst=REQUESTS_AT_ONCE))
        now = trio.current_time()
        if rate.wait_s(now) > 0:
            return f"more than {REQUESTS_AT_ONCE} requests in a short time"
        rate.take(now)
        return ""

    def _sign(self, station: str, csr: str) -> tuple[bytes, IssuedCertificate]:
        evses = self._evses.get(station, ())
        return self._folder.sign_for_station(
            csr, station, evses, self._passphrase, time.time(), is_clock_trusted=is_synchronised()
        )

    async def _answer_status(self, session: StationSession, call: LocalCall) -> None:
        subject = certificate_messages.read_status_call(call.payload)
        answer = certificate_messages.FAILED
        if subject is not None:
            try:
                response = await trio.to_thread.run_sync(
                    self._folder.sign_status, subject, self._passphrase, time.time()
                )
                answer = certificate_messages.write_status_answer(response)
            except PkiError as error:
                log.info("certificate status unknown station=%s reason=%s", session.station, error)
        session.answer_local_call(call.id, answer)

    async def _install(
        self,
        session: StationSession,
        record: IssuedCertificate,
        chain: bytes,
        request: SignCertificateCall | None = None,
    ) -> None:
        """Send a certificate to its station and record the result."""
        self._tried_at[record.serial] = trio.current_time()
        payload = certificate_messages.write_certificate_signed(session.version, chain, request)
        answer = await session.request("CertificateSigned", payload)
        if answer.result is None:
            log.warning(
                "certificate not installed station=%s serial=%s reason=%s; it is sent again",
                session.station,
                record.serial,
                answer.detail,
            )
            return
        try:
            if is_accepted(answer.result):
                await trio.to_thread.run_sync(self._folder.note_installed, record.serial, time.time())
                log.info("certificate installed station=%s serial=%s", session.station, record.serial)
            else:
                log.warning(
                    "certificate rejected by its station station=%s serial=%s remedy=check the clock and "
                    "the roots of the station",
                    session.station,
                    record.serial,
                )
                await trio.to_thread.run_sync(
                    self._folder.revoke,
                    record.serial,
                    RevocationReason.CESSATION,
                    self._passphrase,
                    time.time(),
                )
        except PkiError as error:
            log.error("certificate ledger not written serial=%s reason=%s", record.serial, error)

    # -- renewal --------------------------------------------------------------------------------------

    async def _run_checks(self, nursery: trio.Nursery) -> None:
        while True:
            await trio.sleep(CHECK_S)
            await self.check(nursery)

    async def check(self, nursery: trio.Nursery) -> None:
        """Start what connected stations need now: roots, certificates to install, triggers to renew."""
        try:
            ledger = await trio.to_thread.run_sync(self._folder.ledger)
        except PkiError as error:
            log.error("certificate ledger cannot be read reason=%s", error)
            return
        utc = time.time()
        uninstalled = [each for each in ledger.uninstalled(utc) if each.is_for_station]
        for station in self._evses:
            session = self._registry.find_session(station)
            if session is not None and session.is_commandable and station not in self._roots_checked:
                self._roots_checked.add(station)
                nursery.start_soon(self._check_root, session)
        for record in uninstalled:
            session = self._registry.find_session(record.subject)
            if session is not None and session.is_commandable and self._is_turn(record.serial):
                nursery.start_soon(self._send_again, session, record)
        waiting = {record.subject for record in uninstalled}
        for record in ledger.due(utc):
            session = self._registry.find_session(record.subject)
            if not record.is_for_station or session is None or record.subject in waiting:
                continue
            if session.is_commandable and self._is_turn(record.subject):
                nursery.start_soon(self._trigger, session)

    def _is_turn(self, name: str) -> bool:
        now = trio.current_time()
        if now < self._tried_at.get(name, -TRIGGER_S) + TRIGGER_S:
            return False
        self._tried_at[name] = now
        return True

    async def _send_again(self, session: StationSession, record: IssuedCertificate) -> None:
        try:
            chain = await trio.to_thread.run_sync(self._folder.chain, record.serial)
        except PkiError as error:
            log.error("certificate cannot be read serial=%s reason=%s", record.serial, error)
            return
        await self._install(session, record, chain)

    async def _trigger(self, session: StationSession) -> None:
        action, payload = certificate_messages.write_renewal_trigger(session.version)
        answer = await session.request(action, payload)
        if answer.result is None or not is_accepted(answer.result):
            log.warning(
                "station does not renew its certificate station=%s reason=%s remedy=issue one by hand: "
                "`local-controller pki sign`",
                session.station,
                answer.detail or "it rejected the trigger",
            )

    async def _check_root(self, session: StationSession) -> None:
        """Install the site's root in a station that has other roots, but not this one."""
        answer = await session.request(
            "GetInstalledCertificateIds", certificate_messages.write_root_query(session.version)
        )
        installed = None if answer.result is None else certificate_messages.read_installed(answer.result)
        root = self._authorities[-1]
        if installed is None:
            return
        if not certificate_messages.has_root(installed, root):
            payload = certificate_messages.write_install_root(session.version, self._folder.root_pem())
            if not await self._change_root(session, "InstallCertificate", payload):
                return
        if self._presents_site_ca:
            for earlier in certificate_messages.find_earlier_roots(installed, root):
                payload = certificate_messages.write_delete(earlier)
                await self._change_root(session, "DeleteCertificate", payload)

    async def _change_root(self, session: StationSession, action: str, payload: bytes) -> bool:
        """Install or delete a root in a station; return True if the station has accepted it."""
        answer = await session.request(action, payload)
        is_done = answer.result is not None and is_accepted(answer.result)
        if is_done:
            log.info("root changed in station station=%s action=%s", session.station, action)
        else:
            log.warning(
                "root not changed in station station=%s action=%s reason=%s remedy=change it by hand, or "
                "update the firmware",
                session.station,
                action,
                answer.detail or "it rejected the command",
            )
        return is_done


def _read_chain(file: str | None) -> tuple[x509.Certificate, ...]:
    """Read the certificates in a file; none if it cannot be read, which the listener reports."""
    try:
        return () if file is None else tuple(x509.load_pem_x509_certificates(Path(file).read_bytes()))
    except (OSError, ValueError):
        return ()
