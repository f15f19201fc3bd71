"""The site CA on disk, in one folder.

    ca.json               its name, OID arc and limits
    root.pem              root certificate; root.key.pem may be kept elsewhere
    issuing-N.pem, .key.pem   issuing CAs; the highest N signs
    trust.pem             root and issuing CAs, what listeners trust
    ledger.jsonl          all records, a line each; the truth about what is denied
    certificates/ID.pem   issued certificates by serial number
    crl-N.pem             revocation list of each issuing CA

A record is on disk before a certificate is handed out: a certificate that is not in the ledger is denied.
Keys are encrypted if a passphrase is given.
"""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from controller.pki import PkiError, authority
from controller.pki.authority import Issuer
from controller.pki.certificate_ledger import (
    DEFAULT_GRACE_S,
    CertificateLedger,
    CertificateState,
    InstalledCertificate,
    IssuedCertificate,
    LedgerRecord,
    RevocationReason,
    RevokedCertificate,
)
from controller.pki.certificate_profiles import Purpose
from controller.pki.certificate_requests import CertificateRequest, read_request
from controller.pki.certificate_status import CertificateHash, sign_status
from controller.pki.issuance import Applicant, IssuancePolicy, grant_request
from controller.pki.object_ids import OWN_ARC, ObjectIds
from controller.pki.protected_files import (
    CERTIFICATE_MODE,
    KEY_MODE,
    append_line,
    make_folder,
    read_file,
    replace_file,
)
from drivers.file_stamp import FileStamp, file_stamp

MAX_LEDGER_BYTES = 64 * 1024 * 1024
_ISSUING = re.compile(r"issuing-([1-9]\d{0,5})\.pem")
_record = msgspec.json.Decoder(LedgerRecord)


CREDENTIAL = "pki-passphrase"
"""Name of the systemd credential with the passphrase of the CA's keys."""


class CaFolderError(PkiError):
    """The folder of the site CA cannot be used."""


class CaSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Content of ca.json. `party_ids`: those that certificates may name; None allows all."""

    name: str
    arc: str = OWN_ARC
    max_days: float | None = None
    grace_s: float = DEFAULT_GRACE_S
    party_ids: frozenset[str] | None = None


class CaFolder:
    """The site CA in `path`. Its methods read the files anew: several processes may use it."""

    def __init__(self, path: Path) -> None:
        """Open an existing CA. Raises PkiError."""
        self.path = path
        if not (path / "ca.json").exists():
            raise CaFolderError(f"{path} has no site CA; make one with `pki init`, or name its folder")
        try:
            self.settings = msgspec.json.decode(read_file(path / "ca.json"), type=CaSettings)
        except msgspec.DecodeError as error:
            raise CaFolderError(f"{path / 'ca.json'} is invalid: {error}") from None
        self.ids = ObjectIds(self.settings.arc)

    @classmethod
    def create(cls, path: Path, settings: CaSettings, passphrase: bytes | None, utc: float) -> CaFolder:
        """Make a root and a first issuing CA in an empty folder. Raises PkiError."""
        ObjectIds(settings.arc)
        if (path / "ca.json").exists():
            raise CaFolderError(f"{path} has a site CA already; name another folder")
        make_folder(path)
        make_folder(path / "certificates")
        root = authority.self_sign_root(f"{settings.name} root", authority.new_ca_key(), utc)
        replace_file(path / "root.key.pem", _key_pem(root.key, passphrase), KEY_MODE)
        replace_file(path / "root.pem", _pem(root.certificate), CERTIFICATE_MODE)
        replace_file(path / "ca.json", msgspec.json.encode(settings), CERTIFICATE_MODE)
        folder = cls(path)
        folder.rotate_issuing_ca(passphrase, utc)
        return folder

    def rotate_issuing_ca(self, passphrase: bytes | None, utc: float, root_key: Path | None = None) -> str:
        """Make the next issuing CA, which signs from now on; returns its name. Raises PkiError.

        The older ones stay trusted as long as they are valid. `root_key`: its file if it is kept elsewhere.
        """
        with self._locked():
            root = Issuer(
                _certificate(self.path / "root.pem"),
                _key(root_key or self.path / "root.key.pem", passphrase),
            )
            number = max(self._issuing_numbers(), default=0) + 1
            name = f"{self.settings.name} issuing {number}"
            issuing = authority.sign_issuing_ca(root, name, authority.new_ca_key(), utc)
            replace_file(self.path / f"issuing-{number}.key.pem", _key_pem(issuing.key, passphrase), KEY_MODE)
            replace_file(self.path / f"issuing-{number}.pem", _pem(issuing.certificate), CERTIFICATE_MODE)
            replace_file(self.path / "trust.pem", self.trust(utc), CERTIFICATE_MODE)
            self._write_revocation_lists(self.ledger(), passphrase, utc)
        return name

    @property
    def _ledger_file(self) -> Path:
        return self.path / "ledger.jsonl"

    def ledger_stamp(self) -> FileStamp:
        """Return the stamp of the ledger's file: another one shows that it has changed."""
        return file_stamp(self._ledger_file)

    def ledger(self) -> CertificateLedger:
        """Read the ledger. Raises PkiError."""
        return CertificateLedger(self.records(), self.settings.grace_s)

    def records(self) -> list[LedgerRecord]:
        """Return the records of the ledger in the order in which they were added. Raises PkiError."""
        file = self._ledger_file
        if not file.exists():
            return []
        data = read_file(file, MAX_LEDGER_BYTES)
        lines = data[: data.rfind(b"\n") + 1].splitlines()
        try:
            return list(map(_record.decode, lines))
        except msgspec.DecodeError as error:
            raise CaFolderError(f"{file} is invalid: {error}; restore it from a backup") from None

    def issuer_names(self) -> frozenset[str]:
        """Return the names of all issuing CAs, expired ones among them."""
        return frozenset(f"{self.settings.name} issuing {number}" for number in self._issuing_numbers())

    def trust(self, utc: float) -> bytes:
        """Return root and issuing CAs that have not expired, in PEM."""
        files = [
            self.path / "root.pem",
            *(self.path / f"issuing-{number}.pem" for number in self._issuing_numbers()),
        ]
        certificates = [_certificate(file) for file in files]
        return b"".join(_pem(each) for each in certificates if each.not_valid_after_utc.timestamp() > utc)

    def read_request(self, data: bytes) -> CertificateRequest:
        """Read a certificate request with the OIDs of this CA. Raises RequestError."""
        return read_request(data, self.ids)

    def sign(
        self,
        request: CertificateRequest,
        applicant: Applicant,
        passphrase: bytes | None,
        utc: float,
        *,
        must_be_installed: bool = False,
        is_clock_trusted: bool = True,
    ) -> tuple[bytes, IssuedCertificate]:
        """Issue a certificate; returns it with its issuing CA in PEM, and its record. Raises PkiError.

        `must_be_installed`: it replaces its predecessor only after `note_installed`. While the clock is not
        trusted it begins with its issuing CA.
        """
        if applicant.party_ids is None and self.settings.party_ids is not None:
            applicant = msgspec.structs.replace(applicant, party_ids=self.settings.party_ids)
        with self._locked():
            number = max(self._issuing_numbers())
            issuer = Issuer(
                _certificate(self.path / f"issuing-{number}.pem"),
                _key(self.path / f"issuing-{number}.key.pem", passphrase),
            )
            ledger = self.ledger()
            begin = None if is_clock_trusted else issuer.not_before
            policy = IssuancePolicy(max_days=self.settings.max_days, issuer_begin=begin)
            grant = grant_request(request, applicant, ledger, policy, utc, issuer.not_after)
            certificate, record = authority.issue_certificate(
                issuer, grant, self.ids, utc, must_be_installed=must_be_installed
            )
            chain = _pem(certificate) + _pem(issuer.certificate)
            replace_file(self.path / "certificates" / f"{record.serial}.pem", chain, CERTIFICATE_MODE)
            ledger.add(record)
            append_line(self._ledger_file, msgspec.json.encode(record))
        return chain, record

    def note_installed(self, serial: str, utc: float) -> None:
        """Record that a certificate is in use; it replaces its predecessors from now on. Raises PkiError."""
        with self._locked():
            ledger = self.ledger()
            record = InstalledCertificate(serial=ledger.find(serial).serial, at=utc)
            append_line(self._ledger_file, msgspec.json.encode(record))

    def sign_for_station(
        self,
        csr: str,
        station: str,
        evses: tuple[str, ...],
        passphrase: bytes | None,
        utc: float,
        *,
        is_clock_trusted: bool = True,
    ) -> tuple[bytes, IssuedCertificate]:
        """Issue a certificate that its station has to install, see `sign`. Raises PkiError."""
        applicant = Applicant(id=station, purpose=Purpose.STATION, evses=evses)
        request = self.read_request(csr.encode("utf-8", "surrogatepass"))
        return self.sign(
            request,
            applicant,
            passphrase,
            utc,
            must_be_installed=True,
            is_clock_trusted=is_clock_trusted,
        )

    def sign_status(self, subject: CertificateHash, passphrase: bytes | None, utc: float) -> bytes:
        """Sign an OCSP response in DER about a certificate of an issuing CA. Raises PkiError."""
        for number in self._issuing_numbers():
            issuer = _certificate(self.path / f"issuing-{number}.pem")
            if subject.is_issued_by(issuer):
                ledger = self.ledger()
                key = _key(self.path / f"issuing-{number}.key.pem", passphrase)
                revocation = ledger.find_revocation(subject.serial, utc)
                is_known = ledger.state(subject.serial, utc) is not CertificateState.UNKNOWN
                return sign_status(issuer, key, subject, revocation, utc, is_known=is_known)
        raise CaFolderError("the certificate was not issued by an issuing CA of this folder")

    def check_key(self, passphrase: bytes | None) -> None:
        """Raise PkiError if the key of the newest issuing CA cannot be used."""
        _key(self.path / f"issuing-{max(self._issuing_numbers())}.key.pem", passphrase)

    def authorities(self) -> tuple[x509.Certificate, ...]:
        """Return the certificates of all issuing CAs, then that of the root. Raises PkiError."""
        files = [self.path / f"issuing-{number}.pem" for number in self._issuing_numbers()]
        return tuple(_certificate(file) for file in (*files, self.path / "root.pem"))

    def has_signed(self, certificate: x509.Certificate) -> bool:
        """Return True if an issuing CA of this folder has signed a certificate. Raises PkiError."""
        return any(authority.is_signed_by(certificate, each) for each in self.authorities())

    def root_pem(self) -> bytes:
        """Return the root in PEM. Raises PkiError."""
        return read_file(self.path / "root.pem")

    def revoke(
        self, serial: str, reason: RevocationReason, passphrase: bytes | None, utc: float
    ) -> IssuedCertificate:
        """Deny a certificate from now on and write the revocation lists. Raises PkiError.

        The denial is in the ledger before the lists are signed: it holds without the key of the CA.
        """
        with self._locked():
            ledger = self.ledger()
            found = ledger.find(serial)
            record = RevokedCertificate(serial=found.serial, at=utc, reason=reason)
            ledger.add(record)
            append_line(self._ledger_file, msgspec.json.encode(record))
            self._write_revocation_lists(ledger, passphrase, utc)
        return found

    def write_revocation_lists(self, passphrase: bytes | None, utc: float) -> list[Path]:
        """Sign the revocation lists of all issuing CAs that are valid; returns their files."""
        with self._locked():
            return self._write_revocation_lists(self.ledger(), passphrase, utc)

    def chain(self, serial: str) -> bytes:
        """Return an issued certificate with its issuing CA, in PEM. Raises PkiError."""
        record = self.ledger().find(serial)
        return read_file(self.path / "certificates" / f"{record.serial}.pem")

    def _write_revocation_lists(
        self, ledger: CertificateLedger, passphrase: bytes | None, utc: float
    ) -> list[Path]:
        files = []
        for number in self._issuing_numbers():
            certificate = _certificate(self.path / f"issuing-{number}.pem")
            if certificate.not_valid_after_utc.timestamp() <= utc:
                continue
            issuer = Issuer(certificate, _key(self.path / f"issuing-{number}.key.pem", passphrase))
            # Seconds rise with each list, also after the folder was restored from a backup.
            crl = authority.sign_revocation_list(issuer, ledger.revocations(issuer.name, utc), int(utc), utc)
            file = self.path / f"crl-{number}.pem"
            replace_file(file, crl.public_bytes(serialization.Encoding.PEM), CERTIFICATE_MODE)
            files.append(file)
        return files

    def _issuing_numbers(self) -> list[int]:
        names = (_ISSUING.fullmatch(name) for name in os.listdir(self.path))
        return sorted(int(match.group(1)) for match in names if match)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold the lock of the folder: one process writes at a time."""
        try:
            descriptor = os.open(self.path / ".lock", os.O_WRONLY | os.O_CREAT, KEY_MODE)
        except OSError as error:
            raise CaFolderError(f"{self.path} cannot be locked: {error.strerror}") from None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def read_passphrase(file: Path | None, credentials: str | None) -> bytes | None:
    """Read the passphrase of a CA's keys from `file`, else from the systemd credential, if there is one.

    `credentials`: folder of systemd's credentials. None: the keys are not encrypted. Raises PkiError.
    """
    if file is None and credentials is not None and (Path(credentials) / CREDENTIAL).exists():
        file = Path(credentials) / CREDENTIAL
    if file is None:
        return None
    passphrase = read_file(file).rstrip(b"\r\n")
    if not passphrase:
        raise CaFolderError(f"{file} has no passphrase")
    return passphrase


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _key_pem(key: ec.EllipticCurvePrivateKey, passphrase: bytes | None) -> bytes:
    encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if passphrase is not None:
        encryption = serialization.BestAvailableEncryption(passphrase)
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)


def _certificate(file: Path) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(read_file(file))
    except ValueError:
        raise CaFolderError(f"{file} is no certificate in PEM; restore it from a backup") from None


def _key(file: Path, passphrase: bytes | None) -> ec.EllipticCurvePrivateKey:
    data = read_file(file)
    if b"ENCRYPTED" not in data:
        passphrase = None
    elif passphrase is None:
        raise CaFolderError(f"{file} is encrypted: pass --passphrase-file or a systemd credential")
    try:
        key = serialization.load_pem_private_key(data, passphrase)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise CaFolderError(f"{file} cannot be decrypted or is no key in PEM") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise CaFolderError(f"{file} is no ECC key")
    return key
