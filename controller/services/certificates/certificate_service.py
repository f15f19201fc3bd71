"""Check of station certificates against the site CA's ledger, and when certificates and keys end.

The ledger is read anew when its file changes, so that a revocation on the command line holds at the next
handshake and ends open connections within seconds. If it cannot be read any more, the last one read stays
in force.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from cryptography import x509

from controller.config import BackendConfig, Config
from controller.model.expiry import DAY_S, FIRST_WARNING_S, Expiry, ExpiryLevel, warn_before
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
from controller.services import ServiceError
from controller.signing import SigningError
from controller.signing.policy_file import read_policy
from controller.signing.signing_keys import read_key_files
from controller.tomlcheck.diagnostics import FileUnreadableError
from controller.tomlcheck.positions import DataPath

log = logging.getLogger("controller.pki")

HINT_DAYS = 365
"""Days before an end at which `check` names it."""


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
            self._stamp = self._folder.ledger_stamp()
            self._ledger = self._folder.ledger()
            self._issuers = self._folder.issuer_names()
        except PkiError as error:
            raise ServiceError(f"[pki] folder: {error}") from error
        self._evses = evses
        self._connection_points = connection_points
        self._peers: dict[bytes, PeerCertificate] = {}
        self._lock = threading.Lock()
        """Clients with a thread of their own, as that of MQTT, check certificates in it."""

    def set_evses(self, evses: Mapping[str, tuple[str, ...]]) -> None:
        """Accept certificates of these stations and their EVSEs from now on."""
        self._evses = evses

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
        stamp = self._folder.ledger_stamp()
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


def make_server_check(config: Config) -> Callable[[bytes], str | None] | None:
    """Return the check of servers that the controller connects to, None without [pki]. Raises ServiceError.

    It is that of `CertificateService.find_server_objection`; it may be called in any thread.
    """
    if config.pki is None:
        return None
    return CertificateService(Path(config.pki.folder), {}).find_server_objection


def find_expiries(config: Config) -> list[Expiry]:
    """Return the ends of all certificates and keys that a configuration names, the first end first.

    Files that cannot be read are left out: other checks name them.
    """
    return [end for _, end in find_located_expiries(config)]


def find_located_expiries(config: Config) -> list[tuple[DataPath, Expiry]]:
    """Return the same ends, each with the key of the configuration that names its file."""
    return sorted(_ends(config), key=lambda located: located[1].not_after)


def due_expiries(ends: Iterable[Expiry], utc: float) -> list[Expiry]:
    """Return the ends that are to be warned of at `utc`."""
    return [end for end in ends if end.level(utc) is not ExpiryLevel.NONE]


def year_hints(ends: Iterable[Expiry], utc: float) -> list[Expiry]:
    """Return the ends within a year that are not to be warned of yet."""
    return [
        end for end in ends if end.level(utc) is ExpiryLevel.NONE and end.not_after - utc <= HINT_DAYS * DAY_S
    ]


def _ends(config: Config) -> Iterator[tuple[DataPath, Expiry]]:
    files: list[tuple[DataPath, str, str | None]] = [
        (("listen", "certificate"), "listen.certificate", config.listen.certificate),
        (("listen", "client_ca"), "listen.client_ca", config.listen.client_ca),
    ]
    if config.web is not None:
        files.append((("web", "certificate"), "web.certificate", config.web.certificate))
    if config.mqtt is not None:
        files.append((("mqtt", "certificate"), "mqtt.certificate", config.mqtt.certificate))
    for index, backend in enumerate(config.backend):
        files.append((("backend", index, "ca"), f"backend {backend.id} ca", backend.ca))
    for index, meter in enumerate(config.meter):
        files.append((("meter", index, "certificate"), f"meter {meter.id} certificate", meter.certificate))
    for place, name, file in files:
        if file is not None:
            yield from ((place, end) for end in _file_ends(name, Path(file)))
    for index, backend in enumerate(config.backend):
        if backend.certificate is not None:
            name, place = f"backend {backend.id} certificate", ("backend", index, "certificate")
            ends = _file_ends(name, Path(backend.certificate), renews_itself=_renews_itself(backend))
            yield from ((place, end) for end in ends)
    if config.signing is not None:
        yield from ((("signing",), end) for end in _signing_ends(config.signing.key, config.signing.policy))
    if config.pki is not None:
        yield from ((("pki", "folder"), end) for end in _ca_ends(Path(config.pki.folder)))


def _renews_itself(backend: BackendConfig) -> bool:
    return backend.est_url is not None or backend.renew_by_ocpp


def _file_ends(name: str, file: Path, *, renews_itself: bool = False) -> Iterator[Expiry]:
    try:
        certificates = x509.load_pem_x509_certificates(file.read_bytes())
    except (OSError, ValueError):
        return
    first = min(certificates, key=lambda each: each.not_valid_after_utc)
    begin, end = first.not_valid_before_utc.timestamp(), first.not_valid_after_utc.timestamp()
    warn_before_s = warn_before(end - begin) if renews_itself else FIRST_WARNING_S
    yield Expiry(
        name=name,
        not_after=end,
        not_before=certificates[0].not_valid_before_utc.timestamp(),
        warn_before_s=warn_before_s,
    )


def _signing_ends(key: str | None, policy: str | None) -> Iterator[Expiry]:
    try:
        own = () if key is None else tuple(read_key_files(Path(key)).values())
        # Of several own keys the last one counts: the older ones are meant to end.
        if own:
            yield from _key_ends("signing.key", max(each.known.not_after for each in own))
        known = () if policy is None else read_policy(Path(policy)).keys
    except (SigningError, FileUnreadableError):
        return
    latest: dict[str, float] = {}
    for each in known:
        latest[each.holder] = max(each.not_after, latest.get(each.holder, each.not_after))
    for holder, end in latest.items():
        yield from _key_ends(f"key of {holder}", end)


def _key_ends(name: str, end: float) -> Iterator[Expiry]:
    """Yield the end of a key, if it has one: a key of the policy may be valid for ever."""
    if math.isfinite(end):
        yield Expiry(name=name, not_after=end)


def _ca_ends(folder: Path) -> Iterator[Expiry]:
    try:
        ca = CaFolder(folder)
        ledger, now = ca.ledger(), time.time()
        certificates = x509.load_pem_x509_certificates(ca.trust(now))
    except (PkiError, ValueError):
        return
    end = max(each.not_valid_after_utc.timestamp() for each in certificates[1:])
    yield Expiry(name="site CA", not_after=end)
    for group in {record.key_group for record in ledger}:
        current = ledger.current(group, now)
        if current is not None:
            yield Expiry(
                name=f"certificate {group}",
                not_after=current.not_after,
                warn_before_s=warn_before(current.not_after - current.not_before),
            )
