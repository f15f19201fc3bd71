"""Text form of our own messages in which WWCP nodes verify a signature.

A WWCP node parses a payload, writes it anew and hashes what it has written. So a signed payload must be
exactly what it would write: members in its order, decimals with a fraction, durations and times in its
form, its escapes. `members.json` has for each class its members in order, each with its type:

    text, boolean, integer   as JSON has them
    decimal                  shortest text of a double with a fraction, no exponent
    seconds                  duration as a decimal
    time                     UTC with three decimals
    free                     JSON of an author's own, in its own order
    NAME, [NAME              an object of a class, or a list of them
    ?                        WWCP cannot write or read it unchanged
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from importlib import resources
from typing import Any

import msgspec

from controller.ocpp.frames import Version
from controller.signing import SigningError, signature_format
from controller.signing.signature_format import MessageKind

_CLASSES: Mapping[str, Mapping[str, Mapping[str, str]]] = msgspec.json.decode(
    resources.files("controller.signing").joinpath("members.json").read_bytes()
)
_SUFFIXES = {MessageKind.REQUEST: "Request", MessageKind.RESPONSE: "Response", MessageKind.SEND: "Message"}
_LEAST, _MOST = 1e-4, 1e15
"""Range of decimals that a double writes without an exponent."""
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d)?")
_DOTNET_DATE = re.compile(r"/Date\(-?\d+(?:[+-]\d{4})?\)/")
_ESCAPED = re.compile('["\\\\\x00-\x1f\x85\u2028\u2029]')
_SHORT = {'"': '\\"', "\\": "\\\\", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t"}
_FULL_SAMPLE = ("value", "context", "format", "measurand", "phase", "location", "unit")


class WwcpFormError(SigningError):
    """A payload cannot be written so that a WWCP node verifies its signature. The text states why."""


def write_payload(version: Version, kind: MessageKind, action: str, payload: bytes) -> bytes:
    """Write a payload in the form in which WWCP nodes verify it. Raises WwcpFormError.

    Payloads of actions that WWCP does not have, and of policies and roles, which it does not write back as
    it has read them, stay as they are: only nodes of this project verify them.
    """
    if action in signature_format.POLICY_ACTIONS or not signature_format.is_known_to_wwcp(
        version, kind, action
    ):
        return payload
    classes = _CLASSES[signature_format.VERSIONS[version]]
    name = f"{action}{_SUFFIXES[kind]}"
    if name not in classes:
        raise WwcpFormError(f"the form of {name} is unknown")
    message = msgspec.json.decode(payload)
    if not isinstance(message, dict):
        raise WwcpFormError("the payload is not an object")
    if name == "SignCertificateRequest":
        _check_sign_certificate(message)
    return _Writer(classes).write_object(name, message, name).encode("utf-8", "surrogatepass")


def _check_sign_certificate(message: Mapping[str, Any]) -> None:
    if "certificateType" not in message or message.get("requestId", 1) != 1:
        raise WwcpFormError("SignCertificate needs a certificateType, and requestId 1 if there is one")


class _Writer:
    """Writer for the classes of one version."""

    def __init__(self, classes: Mapping[str, Mapping[str, str]]) -> None:
        self._classes = classes

    def write_object(self, name: str, value: Any, path: str) -> str:
        if not isinstance(value, dict):
            raise WwcpFormError(f"{path} is not an object")
        members = self._classes[name]
        unknown = value.keys() - members.keys() - {signature_format.SIGNATURES}
        if unknown:
            raise WwcpFormError(f"{path} has members that WWCP does not have: {', '.join(sorted(unknown))}")
        if name == "NetworkRoutingInformation" and not {"uplink", "downlink"} <= value.keys():
            raise WwcpFormError(f"{path} needs uplink and downlink")
        if name == "SampledValue" and "format" in members and value.keys() != set(_FULL_SAMPLE):
            raise WwcpFormError(f"{path} needs all members of a sampled value of OCPP 1.6")
        return _joined(
            "{}",
            (
                f'"{member}":{self._value(kind, value[member], f"{path}.{member}")}'
                for member, kind in members.items()
                if member in value
            ),
        )

    def _value(self, kind: str, value: Any, path: str) -> str:
        if kind.startswith("["):
            if not isinstance(value, list):
                raise WwcpFormError(f"{path} is not a list")
            return _joined("[]", (self._value(kind[1:], each, path) for each in value))
        match kind:
            case "text":
                return _text(value, path)
            case "time":
                return f'"{_time(value, path)}"'
            case "integer":
                return _integer(value, path)
            case "decimal" | "seconds":
                return _decimal(value, path)
            case "boolean" if isinstance(value, bool):
                return "true" if value else "false"
            case "free":
                return _free(value, path)
            case "?" | "boolean":
                raise WwcpFormError(f"{path} cannot be written as WWCP reads it")
        return self.write_object(kind, value, path)


def _joined(brackets: str, parts: Iterable[str]) -> str:
    return f"{brackets[0]}{','.join(parts)}{brackets[1]}"


def _text(value: object, path: str) -> str:
    if not isinstance(value, str):
        raise WwcpFormError(f"{path} is not text")
    if value != value.strip():
        raise WwcpFormError(f"{path} begins or ends with white space, which WWCP removes")
    if _TIME.fullmatch(value) or _DOTNET_DATE.fullmatch(value):
        raise WwcpFormError(f"{path} is text that WWCP reads as a time")
    return _quoted(value)


def _quoted(value: str) -> str:
    if any("\ud800" <= letter <= "\udfff" for letter in value):
        raise WwcpFormError("half a surrogate pair cannot be written")
    return f'"{_ESCAPED.sub(_escape, value)}"'


def _escape(match: re.Match[str]) -> str:
    return _SHORT.get(match[0]) or f"\\u{ord(match[0]):04x}"


def _time(value: object, path: str) -> str:
    if not isinstance(value, str) or not _TIME.fullmatch(value):
        raise WwcpFormError(f"{path} is not a time")
    try:
        moment = datetime.fromisoformat(value)
        if moment.tzinfo is None:
            raise WwcpFormError(f"{path} is a time without zone")
        moment = moment.astimezone(UTC)
    except (ValueError, OverflowError):  # in UTC it may be before year 1 or after year 9999
        raise WwcpFormError(f"{path} is not a time") from None
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _integer(value: object, path: str) -> str:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise WwcpFormError(f"{path} is not an integer")
    return str(value)


def _decimal(value: object, path: str) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise WwcpFormError(f"{path} is not a number")
    number = float(value)
    if number == 0:
        return "0.0"
    if not _LEAST <= abs(number) <= _MOST:
        raise WwcpFormError(f"{path} is outside of {_LEAST:g} to {_MOST:g}")
    return repr(number)


def _free(value: object, path: str) -> str:
    match value:
        case dict():
            return _joined("{}", (f"{_quoted(name)}:{_free(each, path)}" for name, each in value.items()))
        case list():
            return _joined("[]", (_free(each, path) for each in value))
        case str():
            return f'"{_time(value, path)}"' if _TIME.fullmatch(value) else _text(value, path)
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case float():
            return _decimal(value, path)
    return "null"
