"""DER structures that `cryptography` cannot read or write, on asn1crypto.

`cryptography` rejects attributes with several values and cannot write them. asn1crypto keeps the bytes of
what it has parsed and parses lazily: a request with one odd member stays readable, and nesting in a member
that is not used costs no stack. This is the only module that imports it (it has no types).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
from asn1crypto import core, x509

from controller.pki import PkiError

MAX_VALUES = 64
MAX_TEXT = 255
"""Characters of one value."""

_TEXTS = (core.UTF8String, core.PrintableString, core.IA5String)
_TIMES = (core.UTCTime, core.GeneralizedTime)


class Asn1Error(PkiError):
    """Bytes are not the DER structure that they should be."""


class Attribute(msgspec.Struct, frozen=True):
    """An attribute of a request: its OID, and each of its values in DER."""

    oid: str
    values: tuple[bytes, ...]


class RequestedExtension(msgspec.Struct, frozen=True):
    """A member of an extension request. `value` is the content of its OCTET STRING."""

    oid: str
    critical: bool
    value: bytes


class _AnyValues(core.SetOf):  # type: ignore[misc]
    _child_spec = core.Any


class _Attribute(core.Sequence):  # type: ignore[misc]
    _fields = [("type", core.ObjectIdentifier), ("values", _AnyValues)]  # noqa: RUF012


class _Attributes(core.SetOf):  # type: ignore[misc]
    _child_spec = _Attribute


class _RequestInfo(core.Sequence):  # type: ignore[misc]
    """CertificationRequestInfo (RFC 2986, 4.1)."""

    _fields = [  # noqa: RUF012
        ("version", core.Integer),
        ("subject", core.Any),
        ("key", core.Any),
        ("attributes", _Attributes, {"implicit": 0, "optional": True}),
    ]


class _Algorithm(core.Sequence):  # type: ignore[misc]
    _fields = [  # noqa: RUF012
        ("algorithm", core.ObjectIdentifier),
        ("parameters", core.Any, {"optional": True}),
    ]


class _Request(core.Sequence):  # type: ignore[misc]
    """CertificationRequest (RFC 2986, 4.2)."""

    _fields = [  # noqa: RUF012
        ("info", core.Any),
        ("algorithm", _Algorithm),
        ("signature", core.OctetBitString),
    ]


class _Extension(core.Sequence):  # type: ignore[misc]
    _fields = [  # noqa: RUF012
        ("id", core.ObjectIdentifier),
        ("critical", core.Boolean, {"default": False}),
        ("value", core.OctetString),
    ]


class _Extensions(core.SequenceOf):  # type: ignore[misc]
    _child_spec = _Extension


class _Texts(core.SequenceOf):  # type: ignore[misc]
    _child_spec = core.UTF8String


class _Anything(core.SequenceOf):  # type: ignore[misc]
    _child_spec = core.Any


class _ObjectIds(core.SequenceOf):  # type: ignore[misc]
    _child_spec = core.ObjectIdentifier


class _BasicConstraints(core.Sequence):  # type: ignore[misc]
    _fields = [  # noqa: RUF012
        ("ca", core.Boolean, {"default": False}),
        ("path_length", core.Integer, {"optional": True}),
    ]


_UNREADABLE = (ValueError, TypeError, KeyError, OverflowError, IndexError, AttributeError)
"""All that asn1crypto raises on malformed input."""


def request_attributes(request_info: bytes) -> list[Attribute]:
    """Read the attributes of a CertificationRequestInfo in DER. Raises Asn1Error."""
    try:
        info = _RequestInfo.load(request_info, strict=True)
        attributes = info["attributes"]
        if isinstance(attributes, core.Void):
            return []
        return [
            Attribute(each["type"].dotted, tuple(value.dump() for value in each["values"]))
            for each in attributes
        ]
    except _UNREADABLE as error:
        raise Asn1Error(f"the attributes of the request are not DER: {error}") from None


def requested_extensions(value: bytes) -> list[RequestedExtension]:
    """Read the value of an extension request (RFC 2985, 5.4.2). Raises Asn1Error."""
    try:
        return [
            RequestedExtension(each["id"].dotted, bool(each["critical"].native), each["value"].native)
            for each in _Extensions.load(value, strict=True)
        ]
    except _UNREADABLE as error:
        raise Asn1Error(f"the extension request is not DER: {error}") from None


def texts(values: Iterable[bytes]) -> tuple[str, ...]:
    """Read strings, each a value by itself or several in a SEQUENCE. Raises Asn1Error."""
    found: list[str] = []
    for value in values:
        read = _load(value)
        members = _members(value) if isinstance(read, core.Sequence) else [read]
        found += [_text(member) for member in members]
    if len(found) > MAX_VALUES:
        raise Asn1Error(f"more than {MAX_VALUES} values")
    return tuple(found)


def time(value: bytes) -> float:
    """Read a UTCTime or GeneralizedTime as POSIX s. Raises Asn1Error."""
    read = _load(value)
    if not isinstance(read, _TIMES):
        raise Asn1Error("neither UTCTime nor GeneralizedTime")
    try:
        native = read.native
    except _UNREADABLE as error:
        raise Asn1Error(f"no valid time: {error}") from None
    if native.tzinfo is None:
        raise Asn1Error("a time without zone")
    stamp: float = native.timestamp()
    return stamp


def object_ids(value: bytes) -> tuple[str, ...]:
    """Read a SEQUENCE OF OBJECT IDENTIFIER. Raises Asn1Error."""
    try:
        return tuple(each.dotted for each in _ObjectIds.load(value, strict=True))
    except _UNREADABLE as error:
        raise Asn1Error(f"no list of object identifiers: {error}") from None


def public_key_bits(key_info: bytes) -> bytes:
    """Return the content of the BIT STRING of a SubjectPublicKeyInfo in DER."""
    key: bytes = x509.PublicKeyInfo.load(key_info)["public_key"].contents[1:]
    return key


def is_ca(value: bytes) -> bool:
    """Read the flag `cA` of BasicConstraints. Raises Asn1Error."""
    try:
        return bool(_BasicConstraints.load(value, strict=True)["ca"].native)
    except _UNREADABLE as error:
        raise Asn1Error(f"no basic constraints: {error}") from None


def general_names(value: bytes) -> list[tuple[str, str]]:
    """Read GeneralNames (RFC 5280, 4.2.1.6): the kind and, for DNS names, the name. Raises Asn1Error."""
    try:
        names = x509.GeneralNames.load(value, strict=True)
        return [(each.name, each.chosen.native if each.name == "dns_name" else "") for each in names]
    except _UNREADABLE as error:
        raise Asn1Error(f"no general names: {error}") from None


def is_octet_string(value: bytes) -> bool:
    """Return True if `value` is one OCTET STRING in DER."""
    try:
        return isinstance(_load(value), core.OctetString)
    except Asn1Error:
        return False


def text_list(values: Sequence[str]) -> bytes:
    """Encode strings as SEQUENCE OF UTF8String, the form of a certificate's extension."""
    encoded: bytes = _Texts([core.UTF8String(value) for value in values]).dump()
    return encoded


def text_value(value: str) -> bytes:
    """Encode one UTF8String."""
    encoded: bytes = core.UTF8String(value).dump()
    return encoded


def time_value(utc: float) -> bytes:
    """Encode a time: UTCTime to 2049, GeneralizedTime after it (RFC 5280, 4.1.2.5)."""
    moment = datetime.fromtimestamp(int(utc), UTC)
    kind = core.UTCTime if moment.year < 2050 else core.GeneralizedTime
    encoded: bytes = kind(moment).dump()
    return encoded


def request_info(subject: bytes, public_key: bytes, attributes: Iterable[Attribute]) -> bytes:
    """Encode a CertificationRequestInfo. `subject` and `decode_point` are DER, attributes are sorted."""
    members = _Attributes(
        [
            _Attribute(
                {"type": each.oid, "values": _AnyValues([core.Any.load(value) for value in each.values])}
            )
            for each in attributes
        ]
    )
    info = _RequestInfo(
        {
            "version": 0,
            "subject": core.Any.load(subject),
            "key": core.Any.load(public_key),
            "attributes": members,
        }
    )
    encoded: bytes = info.dump()
    return encoded


def signed_request(info: bytes, algorithm: str, signature: bytes, *, null: bool) -> bytes:
    """Encode a CertificationRequest. `null`: the algorithm has the parameter NULL (RSA)."""
    identifier = {"algorithm": algorithm} | ({"parameters": core.Any(core.Null())} if null else {})
    request = _Request({"info": core.Any.load(info), "algorithm": identifier, "signature": signature})
    encoded: bytes = request.dump()
    return encoded


def _load(value: bytes) -> Any:
    try:
        return core.load(value, strict=True)
    except _UNREADABLE as error:
        raise Asn1Error(f"no DER: {error}") from None


def _members(value: bytes) -> list[Any]:
    try:
        return [each.parse() for each in _Anything.load(value, strict=True)]
    except _UNREADABLE as error:
        raise Asn1Error(f"no DER: {error}") from None


def _text(read: Any) -> str:
    if not isinstance(read, _TEXTS):
        raise Asn1Error("no UTF8String, PrintableString or IA5String")
    try:
        text: str = read.native
    except _UNREADABLE as error:
        raise Asn1Error(f"a string that cannot be read: {error}") from None
    if not 0 < len(text) <= MAX_TEXT or not text.isprintable():
        raise Asn1Error(f"a string that is empty, longer than {MAX_TEXT} characters or not printable")
    return text
