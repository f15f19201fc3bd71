"""Check of station certificates against the site CA's ledger, and when certificates and keys end.

The ledger is read anew when its file changes, so that a revocation on the command line holds at the next
handshake and ends open connections within seconds. If it cannot be read any more, the last one read stays
in force.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

import msgspec
from cryptography import x509

from controller.config import Config
from controller.pki import PkiError
from controller.pki.ca_folder import CaFolder
from controller.pki.certificate_ledger import CertificateLedger
from controller.pki.peer_certificates import (
    PeerCertificate,
    PeerCertificateError,
    PeerCertificateUnreadableError,
    check_issuance,
    check_names,
    read_peer_certificate,
)
from controller.services.service_error import ServiceError
from controller.signing import SigningError
from controller.signing.policy_file import read_policy
from controller.signing.signing_keys import read_key_files
from controller.tomlcheck.diagnostics import FileUnreadableError

log = logging.getLogger("controller.pki")

DAY_S = 86_400.0
HINT_DAYS = 365
"""Days before an end at which `check` names it."""
WARNING_DAYS = (30, 14, 7)
"""Days before an end at which `check` and the log warn."""

_Stamp = tuple[int, int, int] | None


class CertificateService:
    """Checks the certificates of stations. Raises ServiceError if the site CA cannot be used."""

    def __init__(
        self,
        folder: Path,
        evses: Mapping[str, tuple[str, ...]],
        connection_points: frozenset[str] = frozenset(),
    ) -> None:
        try:
            self._folder = CaFolder(folder)
            self._stamp = self._read_stamp()
            self._ledger = self._folder.ledger()
            self._issuers = self._folder.issuer_names()
        except PkiError as error:
            raise ServiceError(f"[pki] folder: {error}") from error
        self._evses = evses
        self._connection_points = connection_points
        self._peers: dict[bytes, PeerCertificate] = {}
        self._lock = threading.Lock()
        """Clients with a thread of their own, as that of MQTT, check certificates in it."""

    @property
    def folder(self) -> CaFolder:
        """The folder of the site CA."""
        return self._folder

    def find_objection(self, station: str, certificate: bytes) -> str | None:
        """Return why a station's certificate (DER) is not accepted now; None if it is."""
        try:
            peer = self._read_peer(certificate)
            check_issuance(peer, self._current_ledger(), self._issuers, time.time())
            check_names(peer, station, self._evses.get(station, ()), self._connection_points)
            self._note_shown(peer)
        except PeerCertificateError as error:
            return str(error)
        return None

    def find_server_objection(self, certificate: bytes) -> str | None:
        """Return why the certificate of a server (DER) is not accepted now; None if it is.

        TLS has compared its names; those of other CAs are not in the ledger.
        """
        try:
            with self._lock:
                peer, ledger = self._read_peer(certificate), self._current_ledger()
            check_issuance(peer, ledger, self._issuers, time.time())
        except PeerCertificateUnreadableError:
            return None  # not one of the site CA, which has exactly one common name
        except PeerCertificateError as error:
            return str(error)
        return None

    def _read_peer(self, certificate: bytes) -> PeerCertificate:
        peer = self._peers.get(certificate)
        if peer is None:
            peer = self._peers[certificate] = read_peer_certificate(certificate, self._folder.ids)
            if len(self._peers) > 2 * len(self._evses) + 16:
                del self._peers[next(iter(self._peers))]
        return peer

    def _note_shown(self, peer: PeerCertificate) -> None:
        """Record that a station uses a certificate whose installation it has not confirmed."""
        uninstalled = (each.serial for each in self._ledger.uninstalled(time.time()))
        if peer.issuer not in self._issuers or peer.serial not in uninstalled:
            return
        try:
            self._folder.note_installed(peer.serial, time.time())
        except PkiError as error:
            log.error("certificate ledger not written serial=%s reason=%s", peer.serial, error)

    def _current_ledger(self) -> CertificateLedger:
        stamp = self._read_stamp()
        if stamp != self._stamp:
            self._stamp = stamp
            try:
                self._ledger = self._folder.ledger()
                self._issuers = self._folder.issuer_names()
            except PkiError as error:
                log.error("certificate ledger cannot be read, the last one stays in force reason=%s", error)
            else:
                log.info("certificate ledger read certificates=%d", sum(1 for _ in self._ledger))
        return self._ledger

    def _read_stamp(self) -> _Stamp:
        try:
            found = os.stat(self._folder.path / "ledger.jsonl")
        except OSError:
            return None
        return found.st_ino, found.st_size, found.st_mtime_ns


def make_server_check(config: Config) -> Callable[[bytes], str | None] | None:
    """Return the check of servers that the controller connects to, None without [pki]. Raises ServiceError.

    It is that of `CertificateService.find_server_objection`; it may be called in any thread.
    """
    if config.pki is None:
        return None
    return CertificateService(Path(config.pki.folder), {}).find_server_objection


class CertificateEnd(msgspec.Struct, frozen=True):
    """End of a certificate or key (POSIX s). `name`: place in the configuration, or its holder."""

    name: str
    not_after: float

    def describe(self, utc: float) -> str:
        """Describe the end as seen at `utc`."""
        days = (self.not_after - utc) / DAY_S
        return f"{self.name} has expired" if days <= 0 else f"{self.name} ends in {days:.0f} days"


def find_certificate_ends(config: Config) -> list[CertificateEnd]:
    """Return the ends of all certificates and keys that a configuration names, the first end first.

    Files that cannot be read are left out: other checks name them.
    """
    return sorted(_ends(config), key=lambda end: end.not_after)


def due_warnings(ends: Iterable[CertificateEnd], utc: float) -> list[str]:
    """Return a line for each end that is at most 30 days ahead."""
    return [end.describe(utc) for end in ends if end.not_after - utc <= WARNING_DAYS[0] * DAY_S]


def year_hints(ends: Iterable[CertificateEnd], utc: float) -> list[str]:
    """Return a line for each end within a year that is not due yet."""
    return [
        end.describe(utc)
        for end in ends
        if WARNING_DAYS[0] * DAY_S < end.not_after - utc <= HINT_DAYS * DAY_S
    ]


def _ends(config: Config) -> Iterator[CertificateEnd]:
    files = [("listen.certificate", config.listen.certificate), ("listen.client_ca", config.listen.client_ca)]
    for backend in config.backend:
        files += [
            (f"backend {backend.id} certificate", backend.certificate),
            (f"backend {backend.id} ca", backend.ca),
        ]
    files += [(f"meter {meter.id} certificate", meter.certificate) for meter in config.meter]
    for name, file in files:
        if file is not None:
            yield from _file_ends(name, Path(file))
    if config.signing is not None:
        yield from _signing_ends(config.signing.key, config.signing.policy)
    if config.pki is not None:
        yield from _ca_ends(Path(config.pki.folder))


def _file_ends(name: str, file: Path) -> Iterator[CertificateEnd]:
    try:
        certificates = x509.load_pem_x509_certificates(file.read_bytes())
    except (OSError, ValueError):
        return
    yield CertificateEnd(name, min(each.not_valid_after_utc.timestamp() for each in certificates))


def _signing_ends(key: str | None, policy: str | None) -> Iterator[CertificateEnd]:
    try:
        own = () if key is None else tuple(read_key_files(Path(key)).values())
        # Of several own keys the last one counts: the older ones are meant to end.
        if own:
            yield CertificateEnd("signing.key", max(each.known.not_after for each in own))
        known = () if policy is None else read_policy(Path(policy)).keys
    except (SigningError, FileUnreadableError):
        return
    latest: dict[str, float] = {}
    for each in known:
        latest[each.holder] = max(each.not_after, latest.get(each.holder, each.not_after))
    for holder, end in latest.items():
        yield CertificateEnd(f"key of {holder}", end)


def _ca_ends(folder: Path) -> Iterator[CertificateEnd]:
    try:
        ca = CaFolder(folder)
        ledger, now = ca.ledger(), time.time()
        certificates = x509.load_pem_x509_certificates(ca.trust(now))
    except (PkiError, ValueError):
        return
    yield CertificateEnd("site CA", max(each.not_valid_after_utc.timestamp() for each in certificates[1:]))
    for group in {record.key_group for record in ledger}:
        current = ledger.current(group, now)
        if current is not None:
            yield CertificateEnd(f"certificate {group}", current.not_after)
