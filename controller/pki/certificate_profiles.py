"""Profiles of certificates: for each purpose its usages, its longest validity, and what it may name."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

import msgspec
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

DAY_S = 86_400.0


class Purpose(StrEnum):
    """Purpose of a certificate, as the command line and the ledger write it."""

    STATION = "station"
    CONTROLLER = "controller"
    CLIENT = "client"
    MODBUS_CLIENT = "modbus-client"
    METER = "meter"
    STAFF = "staff"
    SIGNING = "signing"


class CertificateProfile(msgspec.Struct, frozen=True, kw_only=True):
    """Rules for the certificates of one purpose.

    `extended_key_usage`: OIDs, all written and the only ones that may be requested. `max_days` bounds the
    validity. `named_hosts`: the certificate carries the DNS names and addresses of a server.
    `agreement`: the key may encipher keys (RSA key exchange of TLS 1.2).
    """

    purpose: Purpose
    extended_key_usage: tuple[str, ...]
    max_days: float
    named_hosts: bool = False
    agreement: bool = True


_CLIENT = (ExtendedKeyUsageOID.CLIENT_AUTH.dotted_string,)
_SERVER = (ExtendedKeyUsageOID.SERVER_AUTH.dotted_string,)

PROFILES: Mapping[Purpose, CertificateProfile] = {
    profile.purpose: profile
    for profile in (
        CertificateProfile(purpose=Purpose.STATION, extended_key_usage=_CLIENT, max_days=30),
        CertificateProfile(
            purpose=Purpose.CONTROLLER, extended_key_usage=_SERVER, max_days=90, named_hosts=True
        ),
        CertificateProfile(purpose=Purpose.CLIENT, extended_key_usage=_CLIENT, max_days=30),
        CertificateProfile(purpose=Purpose.MODBUS_CLIENT, extended_key_usage=_CLIENT, max_days=365),
        CertificateProfile(purpose=Purpose.METER, extended_key_usage=_SERVER, max_days=365, named_hosts=True),
        CertificateProfile(purpose=Purpose.STAFF, extended_key_usage=_CLIENT, max_days=7),
        CertificateProfile(purpose=Purpose.SIGNING, extended_key_usage=(), max_days=365, agreement=False),
    )
}


def key_usage(profile: CertificateProfile, *, is_rsa: bool) -> x509.KeyUsage:
    """Build the key usage of a certificate (RFC 5280, 4.2.1.3)."""
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=profile.purpose is Purpose.SIGNING,
        key_encipherment=profile.agreement and is_rsa,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )
