"""Certificates of a site and of foreign authorities, made for a test."""

from __future__ import annotations

import ipaddress
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.tls_clients import make_test_client

DAY = timedelta(days=1)
LOOPBACK = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))


class Pair:
    """A certificate and its key, in two files."""

    def __init__(self, certificate: Path, key: Path) -> None:
        self.certificate = str(certificate)
        self.key = str(key)

    def server(self, *, client_ca: str | None = None) -> ssl.SSLContext:
        """Return the context of a server with this certificate, and the clients that it accepts."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, self.key)
        if client_ca is not None:
            context.load_verify_locations(client_ca)
            context.verify_mode = ssl.CERT_REQUIRED
        return context


class Authority:
    """A certificate authority, with its own certificate in the file `ca`.

    Its certificates name no key identifiers, as with many own authorities of sites and backends.
    """

    def __init__(self, folder: Path, name: str = "ca") -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self._serial = 0
        self.ca = str(folder / f"{name}.pem")
        own = self._signed(self._name, self._key.public_key(), 30 * DAY, None, is_ca=True)
        Path(self.ca).write_bytes(own.public_bytes(serialization.Encoding.PEM))

    def issue(
        self,
        file: str,
        common_name: str,
        *alternatives: x509.GeneralName,
        good_for: timedelta = DAY,
        begins_in: timedelta = -10 * DAY,
    ) -> Pair:
        """A certificate and its key, in the files FILE.pem and FILE.key; an older pair there is replaced."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
        names = x509.SubjectAlternativeName(alternatives) if alternatives else None
        certificate = self._signed(subject, key.public_key(), good_for, names, begins_in=begins_in)
        pair = Pair(self._folder / f"{file}.pem", self._folder / f"{file}.key")
        Path(pair.certificate).write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        Path(pair.key).write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        return pair

    def server(self, file: str = "server", **other: timedelta) -> Pair:
        """A pair for a server on this machine."""
        return self.issue(file, "localhost", x509.DNSName("localhost"), LOOPBACK, **other)

    def client(self, pair: Pair | None = None) -> ssl.SSLContext:
        """Return the context of a client that trusts this authority."""
        context = make_test_client(self.ca)
        if pair is not None:
            context.load_cert_chain(pair.certificate, pair.key)
        return context

    def _signed(
        self,
        subject: x509.Name,
        key: ec.EllipticCurvePublicKey,
        good_for: timedelta,
        names: x509.SubjectAlternativeName | None,
        *,
        begins_in: timedelta = -10 * DAY,
        is_ca: bool = False,
    ) -> x509.Certificate:
        self._serial += 1
        now = datetime.now(UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(self._serial)
            .not_valid_before(now + begins_in)
            .not_valid_after(now + good_for)
            .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
        )
        if names is not None:
            builder = builder.add_extension(names, critical=False)
        return builder.sign(self._key, hashes.SHA256())
