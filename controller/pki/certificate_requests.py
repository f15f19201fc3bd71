"""Certificate requests (PKCS#10, RFC 2986) with the attributes of OCPI v3.0.

Read: the attributes below our own arc and below the placeholders of OCPI, several values in the SET or in a
SEQUENCE inside it. Written: the SET form, below the configured arc. A request is rejected if its meaning is
in doubt (two values for one meaning, no valid proof of possession); what is only not used is left out and
named in `ignored`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeVar

import msgspec
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.x509.oid import NameOID

from controller.pki import PkiError, asn1
from controller.pki.asn1 import Asn1Error, Attribute
from controller.pki.object_ids import (
    BASIC_CONSTRAINTS,
    EXTENDED_KEY_USAGE,
    EXTENSION_REQUEST,
    KEY_SERIAL,
    KEY_USAGE,
    PLACEHOLDERS,
    SUBJECT_ALTERNATIVE_NAME,
    ObjectIds,
)

MAX_REQUEST_BYTES = 32_768
MIN_RSA_BITS, MAX_RSA_BITS = 2048, 8192
_CURVES = (ec.SECP256R1, ec.SECP384R1, ec.SECP521R1)

_T = TypeVar("_T")

PublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey
PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey

_SIGNATURE_OIDS = {"ec": "1.2.840.10045.4.3.2", "rsa": "1.2.840.113549.1.1.11"}
"""ecdsa-with-SHA256 (RFC 5758) and sha256WithRSAEncryption (RFC 4055)."""


class RequestError(PkiError):
    """A certificate request cannot be used."""


class RequestContent(msgspec.Struct, frozen=True, kw_only=True):
    """The meaning of a request's attributes. Times are POSIX s; None: not requested."""

    key_group: str | None = None
    not_before: float | None = None
    not_after: float | None = None
    party_ids: tuple[str, ...] = ()
    sub_cpo_ids: tuple[str, ...] = ()
    sub_emsp_ids: tuple[str, ...] = ()
    key_serial: str | None = None


class CertificateRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A request whose proof of possession is valid.

    `dns_names` are the readable names of its subject alternative name; they are requested, not proven.
    `extended_key_usage` are OIDs. `ignored` names what was left out, one phrase each.
    """

    der: bytes
    common_name: str
    public_key: PublicKey
    content: RequestContent
    dns_names: tuple[str, ...] = ()
    extended_key_usage: tuple[str, ...] = ()
    requests_ca: bool = False
    ignored: tuple[str, ...] = ()

    @property
    def subject(self) -> x509.Name:
        """Subject as the request has it."""
        return x509.load_der_x509_csr(self.der).subject

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the public key (SubjectPublicKeyInfo) in hexadecimal."""
        return key_fingerprint(self.public_key)


def key_fingerprint(key: PublicKey) -> str:
    """Compute SHA-256 of a public key (SubjectPublicKeyInfo) in hexadecimal."""
    digest = hashes.Hash(hashes.SHA256())
    digest.update(
        key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    return digest.finalize().hex()


def read_request(data: bytes, ids: ObjectIds) -> CertificateRequest:
    """Read a request in PEM or DER and verify its proof of possession. Raises RequestError."""
    if len(data) > MAX_REQUEST_BYTES:
        raise RequestError(f"the request has {len(data)} bytes, at most {MAX_REQUEST_BYTES} are read")
    request = _load(data)
    key = _checked_key(request)
    try:
        attributes = asn1.request_attributes(request.tbs_certrequest_bytes)
        content, ignored = _content(attributes, ids)
        requested = _Requested()
        for attribute in attributes:
            if attribute.oid == EXTENSION_REQUEST:
                for value in attribute.values:
                    requested.read(value)
    except Asn1Error as error:
        raise RequestError(f"the request cannot be read: {error}") from None
    return CertificateRequest(
        der=request.public_bytes(serialization.Encoding.DER),
        common_name=_common_name(request.subject),
        public_key=key,
        content=content,
        dns_names=tuple(requested.dns_names),
        extended_key_usage=tuple(requested.extended_key_usage),
        requests_ca=requested.ca,
        ignored=(*ignored, *requested.ignored),
    )


def build_request(key: PrivateKey, subject: x509.Name, content: RequestContent, ids: ObjectIds) -> bytes:
    """Write a request in PEM with attributes below `ids`, signed with `key` (SHA-256)."""
    public = key.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    info = asn1.request_info(subject.public_bytes(), public, _attributes(content, ids))
    if isinstance(key, rsa.RSAPrivateKey):
        signature, algorithm = key.sign(info, padding.PKCS1v15(), hashes.SHA256()), _SIGNATURE_OIDS["rsa"]
    else:
        signature, algorithm = key.sign(info, ec.ECDSA(hashes.SHA256())), _SIGNATURE_OIDS["ec"]
    der = asn1.signed_request(info, algorithm, signature, null=isinstance(key, rsa.RSAPrivateKey))
    return x509.load_der_x509_csr(der).public_bytes(serialization.Encoding.PEM)


def _attributes(content: RequestContent, ids: ObjectIds) -> list[Attribute]:
    texts: Mapping[str, tuple[str, ...]] = {
        KEY_SERIAL: _present(content.key_serial),
        ids.key_group: _present(content.key_group),
        ids.party_ids: content.party_ids,
        ids.sub_cpo_ids: content.sub_cpo_ids,
        ids.sub_emsp_ids: content.sub_emsp_ids,
    }
    times = {ids.not_before: content.not_before, ids.not_after: content.not_after}
    return [
        *(Attribute(oid, tuple(map(asn1.text_value, values))) for oid, values in texts.items() if values),
        *(Attribute(oid, (asn1.time_value(utc),)) for oid, utc in times.items() if utc is not None),
    ]


def _present(value: str | None) -> tuple[str, ...]:
    return () if value is None else (value,)


def _load(data: bytes) -> x509.CertificateSigningRequest:
    is_pem = data.lstrip().startswith(b"-----BEGIN")
    try:
        return x509.load_pem_x509_csr(data) if is_pem else x509.load_der_x509_csr(data)
    except (ValueError, UnsupportedAlgorithm):
        raise RequestError(
            "the file is no certificate request in PEM or DER; one is made with `openssl req -new`"
        ) from None


def _checked_key(request: x509.CertificateSigningRequest) -> PublicKey:
    """Return the request's key after its signature was verified with it."""
    try:
        key = request.public_key()
    except (ValueError, UnsupportedAlgorithm) as error:
        raise RequestError(f"the public key cannot be used: {error}") from None
    if isinstance(key, rsa.RSAPublicKey):
        if not MIN_RSA_BITS <= key.key_size <= MAX_RSA_BITS:
            raise RequestError(
                f"an RSA key of {key.key_size} bits is not accepted, {MIN_RSA_BITS} to {MAX_RSA_BITS} are"
            )
    elif not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, _CURVES):
        raise RequestError("the key is not accepted: use ECC P-256, P-384, P-521 or RSA")
    try:
        hash_algorithm = request.signature_hash_algorithm
    except (ValueError, UnsupportedAlgorithm) as error:
        raise RequestError(f"the signature algorithm cannot be used: {error}") from None
    if isinstance(hash_algorithm, hashes.SHA1 | hashes.MD5):
        raise RequestError("the request is signed with SHA-1 or MD5: use SHA-256")
    try:
        is_valid = request.is_signature_valid
    except (ValueError, UnsupportedAlgorithm, InvalidSignature):
        is_valid = False
    if not is_valid:
        raise RequestError("the proof of possession is invalid: the request is not signed with its own key")
    return key


def _common_name(subject: x509.Name) -> str:
    names = subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    if len(names) != 1:
        raise RequestError(f"the subject has {len(names)} common names, exactly one is needed")
    name = names[0].value
    if isinstance(name, bytes) or not name or len(name) > asn1.MAX_TEXT or not name.isprintable():
        raise RequestError("the common name is empty or not printable")
    return name


def _content(attributes: Iterable[Attribute], ids: ObjectIds) -> tuple[RequestContent, list[str]]:
    """Read the attributes of both arcs; the other ones are named in the second part of the result."""
    members: dict[str, str] = {KEY_SERIAL: "key_serial"}
    for arc in (PLACEHOLDERS, ids):
        members |= {
            arc.key_group: "key_group",
            arc.not_before: "not_before",
            arc.not_after: "not_after",
            arc.party_ids: "party_ids",
            arc.sub_cpo_ids: "sub_cpo_ids",
            arc.sub_emsp_ids: "sub_emsp_ids",
        }
    found: dict[str, str | float | tuple[str, ...]] = {}
    ignored: list[str] = []
    for attribute in attributes:
        name = members.get(attribute.oid)
        if name is None:
            if attribute.oid != EXTENSION_REQUEST:
                ignored.append(f"attribute {attribute.oid} is unknown")
            continue
        value = _value(name, attribute)
        if found.setdefault(name, value) != value:
            raise RequestError(f"the attribute {name} is there twice with different values")
    return msgspec.convert(found, RequestContent), ignored


def _value(name: str, attribute: Attribute) -> str | float | tuple[str, ...]:
    try:
        if name.startswith("not_"):
            return asn1.time(_single(attribute.values))
        texts = asn1.texts(attribute.values)
        return tuple(sorted(set(texts))) if name.endswith("_ids") else _single(texts)
    except Asn1Error as error:
        raise RequestError(f"the attribute {name} ({attribute.oid}) cannot be read: {error}") from None


def _single(values: tuple[_T, ...]) -> _T:
    if len(values) != 1:
        raise Asn1Error(f"{len(values)} values where one is expected")
    return values[0]


class _Requested:
    """Extensions that a request asks for."""

    def __init__(self) -> None:
        self.dns_names: list[str] = []
        self.extended_key_usage: list[str] = []
        self.ca = False
        self.ignored: list[str] = []

    def read(self, value: bytes) -> None:
        """Read one extension request. Raises Asn1Error."""
        for extension in asn1.requested_extensions(value):
            if extension.oid == BASIC_CONSTRAINTS:
                self.ca = self.ca or asn1.is_ca(extension.value)
            elif extension.oid == EXTENDED_KEY_USAGE:
                self.extended_key_usage += asn1.object_ids(extension.value)
            elif extension.oid == SUBJECT_ALTERNATIVE_NAME:
                self._read_names(extension.value)
            elif extension.oid == KEY_USAGE:
                self.ignored.append("key usage is set by the profile, not by the request")
            else:
                self.ignored.append(f"extension {extension.oid} is not copied")

    def _read_names(self, value: bytes) -> None:
        if asn1.is_octet_string(value):
            self.ignored.append("subject alternative name is wrapped twice, its names are not used")
            return
        try:
            names = asn1.general_names(value)
        except Asn1Error as error:
            self.ignored.append(f"subject alternative name cannot be read: {error}")
            return
        for kind, name in names:
            if kind == "dns_name" and name.isascii() and "?" not in name:
                self.dns_names.append(name)
            else:
                self.ignored.append(f"subject alternative name of kind {kind} is not used")
