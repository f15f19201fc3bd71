"""Ledger of the certificates of a site: issued, replaced, revoked, and what is denied now.

Records are only added. A certificate is
  - denied if it was revoked, from that moment on,
  - denied if a newer certificate of its key group is valid and the grace for the change is over,
  - else accepted within its own validity.
A certificate that is sent to a station over OCPP replaces its predecessor only once the station has installed
it: a station that never got it is not locked out. A key group belongs to the subject that used it first: no
other subject can replace its certificates.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import StrEnum

import msgspec

from controller.pki import PkiError
from controller.pki.certificate_profiles import Purpose

DEFAULT_GRACE_S = 3600.0
"""Time that a replaced certificate is accepted after its successor became valid."""


class LedgerError(PkiError):
    """A record does not fit the ledger, or a certificate is not in it."""


class RevocationReason(StrEnum):
    """Reason of a revocation (RFC 5280, 5.3.1)."""

    UNSPECIFIED = "unspecified"
    KEY_COMPROMISE = "keyCompromise"
    AFFILIATION_CHANGED = "affiliationChanged"
    SUPERSEDED = "superseded"
    CESSATION = "cessationOfOperation"


class IssuedCertificate(msgspec.Struct, frozen=True, kw_only=True, tag="issued", omit_defaults=True):
    """Record of a certificate. `serial` and `key` (SHA-256 of the public key) are hexadecimal.

    `must_be_installed`: it replaces nothing before an `InstalledCertificate` of it.
    """

    serial: str
    subject: str
    purpose: Purpose
    key_group: str
    key: str
    issuer: str
    issued_at: float
    not_before: float
    not_after: float
    must_be_installed: bool = False

    @property
    def is_for_station(self) -> bool:
        """Return True for the certificate of a charging station."""
        return self.purpose is Purpose.STATION


class InstalledCertificate(msgspec.Struct, frozen=True, kw_only=True, tag="installed"):
    """Record that a station has installed a certificate, or has shown it."""

    serial: str
    at: float


class RevokedCertificate(msgspec.Struct, frozen=True, kw_only=True, tag="revoked"):
    """Record of a revocation."""

    serial: str
    at: float
    reason: RevocationReason = RevocationReason.UNSPECIFIED


LedgerRecord = IssuedCertificate | InstalledCertificate | RevokedCertificate


class CertificateState(StrEnum):
    """State of a certificate at a moment."""

    VALID = "valid"
    NOT_YET_VALID = "not yet valid"
    EXPIRED = "expired"
    REPLACED = "replaced"
    REVOKED = "revoked"
    UNKNOWN = "unknown"


class CertificateLedger:
    """All records, in the order in which they were added. `grace_s`: see `DEFAULT_GRACE_S`."""

    def __init__(self, records: Iterable[LedgerRecord] = (), grace_s: float = DEFAULT_GRACE_S) -> None:
        """Build a ledger from its records. Raises LedgerError."""
        self.grace_s = grace_s
        self._issued: dict[str, IssuedCertificate] = {}
        self._revoked: dict[str, RevokedCertificate] = {}
        self._installed: dict[str, InstalledCertificate] = {}
        self._groups: dict[str, list[IssuedCertificate]] = {}
        for record in records:
            self.add(record)

    def add(self, record: LedgerRecord) -> None:
        """Add a record. Raises LedgerError if it contradicts an earlier one."""
        if not isinstance(record, IssuedCertificate):
            if record.serial not in self._issued:
                raise LedgerError(f"certificate {record.serial} was not issued here")
            if isinstance(record, RevokedCertificate):
                self._revoked.setdefault(record.serial, record)
            else:
                self._installed.setdefault(record.serial, record)
            return
        if record.serial in self._issued:
            raise LedgerError(f"certificate {record.serial} is in the ledger already")
        owner = self.group_owner(record.key_group)
        if owner not in (None, record.subject):
            raise LedgerError(f'key group "{record.key_group}" belongs to {owner}')
        self._issued[record.serial] = record
        self._groups.setdefault(record.key_group, []).append(record)

    def __iter__(self) -> Iterator[IssuedCertificate]:
        return iter(self._issued.values())

    def group_owner(self, key_group: str) -> str | None:
        """Return the subject of a key group; None if the group is not used."""
        records = self._groups.get(key_group)
        return records[0].subject if records else None

    def key_owner(self, key: str) -> str | None:
        """Return the subject whose certificate has this key; None if no certificate has it."""
        return next((each.subject for each in self._issued.values() if each.key == key), None)

    def is_key_revoked(self, key: str) -> bool:
        """Return True if a certificate with this key was revoked."""
        return any(self._issued[serial].key == key for serial in self._revoked)

    def find(self, serial: str) -> IssuedCertificate:
        """Return the record of a serial number. Raises LedgerError."""
        try:
            return self._issued[serial.lower().lstrip("0")]
        except KeyError:
            raise LedgerError(
                f"certificate {serial} is unknown; `local-controller pki list` shows all"
            ) from None

    def state(self, serial: str, utc: float) -> CertificateState:
        """Return the state of a certificate at `utc`."""
        record = self._issued.get(serial)
        if record is None:
            return CertificateState.UNKNOWN
        if serial in self._revoked:  # also where its time lies ahead: the clock was set back since
            return CertificateState.REVOKED
        if utc >= record.not_after:
            return CertificateState.EXPIRED
        if self.denied_from(record) <= utc:
            return CertificateState.REPLACED
        return CertificateState.VALID if utc >= record.not_before else CertificateState.NOT_YET_VALID

    def denied_from(self, record: IssuedCertificate) -> float:
        """Return when a newer certificate of the same key group ends this one; infinity if none does."""
        group = self._groups[record.key_group]
        later = group[group.index(record) + 1 :]
        starts = [self._start(each) for each in later if self._did_replace(each)]
        return min(starts, default=float("inf")) + self.grace_s

    def _did_replace(self, successor: IssuedCertificate) -> bool:
        """Return False if the successor was revoked before the grace of its predecessor was over."""
        revoked = self._revoked.get(successor.serial)
        return revoked is None or revoked.at > self._start(successor) + self.grace_s

    def _start(self, successor: IssuedCertificate) -> float:
        """Return when a certificate began to replace its predecessors; infinity if it has not yet."""
        start = max(successor.not_before, successor.issued_at)
        if not successor.must_be_installed:
            return start
        installed = self._installed.get(successor.serial)
        return float("inf") if installed is None else max(start, installed.at)

    def uninstalled(self, utc: float) -> list[IssuedCertificate]:
        """Return the valid certificates that their stations have not installed yet."""
        return [
            record
            for record in self._issued.values()
            if record.must_be_installed
            and record.serial not in self._installed
            and self.state(record.serial, utc) is CertificateState.VALID
        ]

    def revocations(self, issuer: str, utc: float) -> list[RevokedCertificate]:
        """Return what a revocation list of `issuer` names at `utc`, replaced certificates among them.

        Certificates that have expired are left out.
        """
        found = []
        for record in self._issued.values():
            if record.issuer == issuer and record.not_after > utc:
                revocation = self.find_revocation(record.serial, utc)
                found += [] if revocation is None else [revocation]
        return found

    def find_revocation(self, serial: str, utc: float) -> RevokedCertificate | None:
        """Return since when and why a certificate is denied at `utc`; None if it is not."""
        record = self._issued.get(serial)
        if record is None:
            return None
        revoked = self._revoked.get(serial)
        if revoked is not None:
            return msgspec.structs.replace(revoked, at=min(revoked.at, utc))
        since = self.denied_from(record)
        if since > utc:
            return None
        return RevokedCertificate(serial=serial, at=since, reason=RevocationReason.SUPERSEDED)

    def current(self, key_group: str, utc: float) -> IssuedCertificate | None:
        """Return the certificate of a group to be presented at `utc`: valid, with the newest begin."""
        valid = [
            each
            for each in self._groups.get(key_group, ())
            if self.state(each.serial, utc) == CertificateState.VALID and self._start(each) <= utc
        ]
        return max(valid, key=lambda each: each.not_before, default=None)

    def due(self, utc: float) -> list[IssuedCertificate]:
        """Return the certificates to be renewed at `utc`: two thirds of their validity are over."""
        found = []
        for group in self._groups:
            record = self.current(group, utc)
            if record is not None and utc >= record.not_after - (record.not_after - record.not_before) / 3:
                found.append(record)
        return found
