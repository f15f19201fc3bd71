"""Modbus/TCP Security: TLS contexts, the role in our certificate, and what TLS errors mean.

The client's role is an X.509 extension of its certificate, one UTF8String (Modbus/TCP Security protocol
specification V3.6, section 8). A server without a rule for the role answers exception 1.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from drivers.coded_text import coded, text_of
from drivers.errors import BusError, Cause, DriverError
from drivers.file_stamp import FileStamp, file_stamp
from drivers.tls_profile import apply_tls_profile

ROLE_OID = x509.ObjectIdentifier("1.3.6.1.4.1.50316.802.1")
READING_ROLES = (
    "ReadOnlySunSpec", "GridServiceSunSpec", "NetworkAdministratorSunSpec", "SuperAdministratorSunSpec",
)  # fmt: skip
"""Roles of SunSpec that may read."""
_UTF8_STRING = 0x0C
_STRING_TYPES = {
    0x04: "an octet string", 0x0C: "a UTF8String", 0x13: "a PrintableString", 0x16: "an IA5String",
    0x30: "a sequence",
}  # fmt: skip
EXPIRES_SOON_DAYS = 30
FindObjection = Callable[[bytes], str | None]
"""Reason why a server's certificate (DER) with a verified chain is not accepted now; None: it is."""


class ModbusTlsError(BusError):
    """The TLS session of a meter cannot be made."""

    cause = Cause.TLS


class RoleError(DriverError):
    """The role extension of a certificate is not one UTF8String: the certificate is to be issued anew."""

    cause = Cause.ROLE

    def __init__(self, what: str) -> None:
        super().__init__(coded("{what}; issue it anew", what=what))
        self.what = what


class TlsFiles(msgspec.Struct, frozen=True):
    """Files of one meter: authorities that its certificate is checked with, our certificate and key."""

    ca: str | None = None
    certificate: str | None = None
    key: str | None = None

    def stamps(self) -> tuple[FileStamp, ...]:
        """Identify the present versions of the files."""
        return tuple(file_stamp(path) for path in (self.ca, self.certificate, self.key) if path is not None)


def build_context(files: TlsFiles) -> ssl.SSLContext:
    """Build the client's context from the present files. Raises ModbusTlsError that names the file."""
    path = files.ca
    try:
        context = ssl.create_default_context(cafile=files.ca)
        apply_tls_profile(context)
        if files.certificate is not None:
            path = (
                files.certificate
                if files.key is None
                else coded("{certificate} with {key}", certificate=files.certificate, key=files.key)
            )
            context.load_cert_chain(files.certificate, files.key)
    except ssl.SSLError as error:
        reason = (
            coded("certificate and key do not belong together") if "MISMATCH" in str(error) else str(error)
        )
        raise ModbusTlsError(
            coded("{file} cannot be used ({reason}); replace it", file=path, reason=reason)
        ) from error
    except OSError as error:
        raise ModbusTlsError(
            coded("{file} cannot be read ({reason})", file=path, reason=error.strerror)
        ) from error
    return context


def read_role(certificate: x509.Certificate) -> str | None:
    """Read the role of a certificate; None if it has none. Raises RoleError for a malformed extension."""
    try:
        extension = certificate.extensions.get_extension_for_oid(ROLE_OID)
    except x509.ExtensionNotFound:
        return None
    except ValueError as error:
        raise RoleError(coded("its extensions are malformed ({reason})", reason=error)) from error
    if extension.critical:
        raise RoleError(coded("its role extension is marked critical, which servers refuse in the handshake"))
    assert isinstance(extension.value, x509.UnrecognizedExtension)
    return _parse_role(extension.value.value)


def read_role_of(path: str) -> str:
    """Describe the role of a certificate file for a message, e.g. `role "ReadOnlySunSpec"`."""
    try:
        role = read_role(_load(Path(path).read_bytes())[0])
    except RoleError as error:
        return coded("a role that servers cannot read: {reason}", reason=text_of(error))
    except (OSError, ValueError, IndexError):
        return coded("a role that cannot be read")
    return coded("no role") if role is None else coded('role "{role}"', role=role)


def find_file_problems(files: TlsFiles, now: datetime) -> Iterator[tuple[str, str, str]]:
    """Check the files of a meter: yield the key of the configuration, the problem and the remedy."""
    if files.ca is not None:
        yield from _authority_problems(files.ca, now)
    if files.certificate is None:
        return
    try:
        data = Path(files.certificate).read_bytes()
        chain = _load(data)
    except OSError as error:
        yield "certificate", *_unreadable(files.certificate, error)
        return
    except ValueError as error:
        yield "certificate", *_no_certificate(files.certificate, error)
        return
    leaf = chain[0]
    yield from (("certificate", problem, remedy) for problem, remedy in _date_problems(leaf, now))
    try:
        role = read_role(leaf)
    except RoleError as error:
        yield "certificate", error.what, coded("issue it anew")
    else:
        if role is None:
            yield (
                "certificate",
                coded(
                    "has no role (extension {oid}): most servers then refuse to read",
                    oid=ROLE_OID.dotted_string,
                ),
                coded("issue it anew with a role such as {role}", role="ReadOnlySunSpec"),
            )
        elif role not in READING_ROLES:
            yield (
                "certificate",
                coded('has the role "{role}", which is none of SunSpec that may read', role=role),
                coded(
                    "issue it anew with one of {roles}, unless the meter has its own roles",
                    roles=", ".join(READING_ROLES),
                ),
            )
    yield from _key_problems(files, data, leaf)


def _key_problems(files: TlsFiles, data: bytes, leaf: x509.Certificate) -> Iterator[tuple[str, str, str]]:
    path = files.key or files.certificate or ""
    try:
        key = serialization.load_pem_private_key(data if files.key is None else Path(path).read_bytes(), None)
    except OSError as error:
        yield "key", *_unreadable(path, error)
    except (ValueError, TypeError) as error:
        where = "key" if files.key else "certificate"
        yield (
            where,
            coded("{path} holds no usable private key ({reason})", path=path, reason=error),
            coded("set key to an unencrypted PEM key"),
        )
    else:
        if _public_bytes(key.public_key()) != _public_bytes(leaf.public_key()):
            yield (
                "key",
                coded("{path} does not belong to {certificate}", path=path, certificate=files.certificate),
                coded("set the key of this certificate"),
            )


def _authority_problems(path: str, now: datetime) -> Iterator[tuple[str, str, str]]:
    try:
        chain = _load(Path(path).read_bytes())
    except OSError as error:
        yield "ca", *_unreadable(path, error)
        return
    except ValueError as error:
        yield "ca", *_no_certificate(path, error)
        return
    for certificate in chain:
        yield from (("ca", problem, remedy) for problem, remedy in _date_problems(certificate, now))


def _date_problems(certificate: x509.Certificate, now: datetime) -> Iterator[tuple[str, str]]:
    name = certificate.subject.rfc4514_string() or coded("the certificate")
    begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if now > end:
        yield coded("{name} expired on {day}", name=name, day=f"{end:%Y-%m-%d}"), coded("renew it")
    elif now < begin:
        what = coded("{name} is not valid before {day}", name=name, day=f"{begin:%Y-%m-%d}")
        yield what, coded("check the clock, or wait")
    elif (end - now).days < EXPIRES_SOON_DAYS:
        yield coded("{name} expires on {day}", name=name, day=f"{end:%Y-%m-%d}"), coded("renew it")


def _unreadable(path: str, error: OSError) -> tuple[str, str]:
    what = coded("{file} cannot be read: {reason}", file=path, reason=error.strerror or "")
    return what, coded("set the right path")


def _no_certificate(path: str, error: ValueError) -> tuple[str, str]:
    what = coded("{path} is no PEM certificate ({reason})", path=path, reason=error)
    return what, coded("convert it to PEM")


def explain_handshake(name: str, error: BaseException) -> str:
    """Explain a failed handshake with `name` in a sentence with the remedy."""
    cause = error.__cause__ if isinstance(error.__cause__, Exception) else error
    text = str(cause)
    if isinstance(cause, ssl.SSLCertVerificationError):
        return coded(
            "the certificate of {name} is rejected ({reason})", name=name, reason=_verification(cause)
        )
    if "WRONG_VERSION_NUMBER" in text or "HTTP_REQUEST" in text or "RECORD_LAYER" in text:
        return coded(
            '{name} does not use TLS; set transport = "tcp", or the port of its TLS, usually 802', name=name
        )
    if "NO_SHARED_CIPHER" in text or "ALERT_HANDSHAKE_FAILURE" in text or "NO_CIPHERS" in text:
        return coded(
            "{name} and this controller share no cipher, or it demands a client certificate ({reason}); "
            "update its firmware, or set certificate and key",
            name=name,
            reason=_alert(text) or text,
        )
    if "PROTOCOL_VERSION" in text or "UNSUPPORTED_PROTOCOL" in text:
        return coded("{name} offers TLS 1.1 or older only; update its firmware", name=name)
    if alert := _alert(text):
        return coded("{name} rejected the handshake: {reason}", name=name, reason=_explain_alert(alert))
    if isinstance(cause, ssl.SSLError) and "EOF" not in text:
        return coded("the TLS handshake with {name} failed ({reason})", name=name, reason=text)
    return coded(
        "{name} closed the connection in the TLS handshake; check that its port uses TLS, and that it "
        "accepts our certificate",
        name=name,
    )


def explain_alert(error: BaseException) -> str:
    """Explain a TLS alert behind a failed read, as TLS 1.3 reports a refused certificate; empty if none."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, ssl.SSLError) and (alert := _alert(str(seen))):
            return _explain_alert(alert)
        seen = seen.__cause__
    return ""


def _explain_alert(alert: str) -> str:
    meaning = {
        "certificate required": coded("it demands a client certificate; set certificate and key"),
        "unknown ca": coded(
            "it does not trust the issuer of our certificate; use one that its owner has issued"
        ),
        "bad certificate": coded("it does not accept our certificate; issue it anew"),
        "unsupported certificate": coded("it does not accept the kind of our certificate; issue it anew"),
        "certificate unknown": coded("it does not accept our certificate; issue it anew"),
        "certificate expired": coded("our certificate has expired, or its clock is wrong"),
        "certificate revoked": coded("our certificate is revoked; issue it anew"),
        "access denied": coded("it denies access to our certificate"),
        "handshake failure": coded("no common parameters; check ciphers and certificates"),
    }.get(alert, coded("check the certificates of both sides"))
    return coded('alert "{alert}": {meaning}', alert=alert, meaning=meaning)


def _alert(text: str) -> str:
    """Extract the alert's name from OpenSSL's text, e.g. "[SSL: TLSV1_ALERT_UNKNOWN_CA] tlsv1 alert ..."."""
    code = text.partition("[SSL: ")[2].partition("]")[0]
    if "ALERT_" not in code:
        return ""
    return code.partition("ALERT_")[2].replace("_", " ").lower()


def _verification(error: ssl.SSLCertVerificationError) -> str:
    message = error.verify_message or str(error)
    remedies = {
        "unable to get local issuer certificate": coded("its issuer is not in ca; add the root to ca"),
        "unable to get issuer certificate": coded("its issuer is not in ca; add the root to ca"),
        "self-signed certificate": coded("it is self-signed; set ca to this certificate itself"),
        "self-signed certificate in certificate chain": coded("its root is not in ca; add the root to ca"),
        "certificate has expired": coded("it has expired; renew it, and check the clock"),
        "certificate is not yet valid": coded("it is not valid yet; check the clock"),
        "unsuitable certificate purpose": coded("it is not issued for a server; issue it anew"),
        "unsupported certificate purpose": coded("it is not issued for a server; issue it anew"),
    }
    if message in remedies:
        return remedies[message]
    if "doesn't match" in message or "mismatch" in message:
        return coded("{message}; set host to a name or address in the certificate", message=message)
    return message


def _parse_role(value: bytes) -> str:
    """Parse one DER UTF8String that fills the extension."""
    if not value or value[0] != _UTF8_STRING:
        kind = _STRING_TYPES.get(value[0], "something else") if value else "empty"
        raise RoleError(coded("its role extension is {kind} instead of a UTF8String", kind=kind))
    if len(value) < 2 or value[1] >= 0x80 or value[1] != len(value) - 2:
        raise RoleError(coded("its role extension holds more or less than one string"))
    try:
        role = value[2:].decode()
    except UnicodeDecodeError as error:
        raise RoleError(coded("its role is not UTF-8")) from error
    if not role or not role.isprintable() or "," in role or role != role.strip():
        raise RoleError(
            coded(
                "its role is {role}: one name without commas, blanks around it or control characters is "
                "needed",
                role=repr(role),
            )
        )
    return role


def _load(data: bytes) -> list[x509.Certificate]:
    return x509.load_pem_x509_certificates(data)


def _public_bytes(key: object) -> bytes:
    data: bytes = key.public_bytes(  # type: ignore[attr-defined]
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return data
