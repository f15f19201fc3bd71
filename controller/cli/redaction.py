"""Redaction of what leaves the site: secrets, driver identities and addresses are replaced.

Structured data passes by an allow list: numbers, truth values, and the texts of keys that are known to hold
neither a secret nor a person's data. Addresses become pseudonyms by a key of the bundle, so that equal ones
stay equal in it and cannot be compared with another bundle.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import re
import secrets

import msgspec

SAFE_KEYS = frozenset(
    {
        "authorise_when_away", "backend", "cause", "check", "circuit", "clock", "client", "count", "driver",
        "evse", "fuse", "id", "interface", "kind", "language", "level", "measures", "member", "meter",
        "meter_cause", "meter_quality", "mode", "model", "module", "name", "ocpp", "on_when", "outcome",
        "owner", "parent", "parity", "pattern", "phase", "phases", "protocol", "quality", "quirk", "role",
        "rule", "site", "source", "sources", "state", "station", "station_state", "time", "timezone",
        "transport", "unit", "until", "since", "vendor", "version", "when_backend_away", "firmware",
        "manufacturer", "protocols", "phase_order", "observers", "group",
    }
)  # fmt: skip
"""Keys whose texts are kept: names that an installer has given, and words of fixed lists."""

DROPPED_TABLES = frozenset({"card", "cards", "departure", "user", "token", "tokens"})
"""Tables with data of drivers and users: only the number of their entries is kept."""

PROSE_KEYS = frozenset({"reason", "problem", "meter_problem", "error", "text", "remedy", "why", "limitation"})
"""Keys with sentences of the controller: kept, scrubbed like a log line."""

LOCAL_HOSTS = frozenset({"127.0.0.1", "::1", "localhost", "0.0.0.0", "::"})
SYSTEM_FOLDERS = ("/dev/", "/etc/", "/run/", "/usr/", "/var/lib/")
"""Directories whose paths name files of the system or the product, not a person."""

_URL = re.compile(r"\b([a-z][a-z0-9+.-]*://)([^\s/\"'?#]+)([^\s\"',;]*)")
_ADDRESS = re.compile(r"(?<![\w.:])(?:\d{1,3}(?:\.\d{1,3}){3}|[0-9A-Fa-f]*:(?:[0-9A-Fa-f]*:)+[0-9A-Fa-f.]*)")
_LONG = re.compile(r"[A-Za-z0-9+/=_-]{32,}")
_NAMED = re.compile(r"([A-Za-z_]{2,24}=)([^=].*)")
"""Name and value of a pair; a padded text in Base64 has its signs of equality at its end."""
_PEM = re.compile(r"-----BEGIN [^-]*-----.*?(?:-----END [^-]*-----|\Z)", re.S)
_IDENTITY = re.compile(
    r"(?i)\b((?:id_?tag|id_?token|parent_?id_?tag|card|token|actor|user(?:name)?|driver|label|vin|emaid|evcc_?id"
    r"|password|passphrase|secret|authorization)[\"']?\s*[=:]\s*)"
    r"((?:Basic|Bearer|Digest)\s+\S+|\{[^}]*\}|\"[^\"]*\"|'[^']*'|[^\s,;}]+)"
)
_NUMBERS = re.compile(
    r"\b(?:(?:[0-9A-Fa-f]{2}[:-]){5}[0-9A-Fa-f]{2}"  # MAC address, which identifies a car by Autocharge
    r"|[A-Z]{2}-?[A-Z0-9]{3}-?C[A-Z0-9]{8}(?:-?[A-Z0-9])?"  # eMAID (ISO 15118)
    r"|[0-9A-Fa-f]{20}|[0-9A-Fa-f]{14}|(?=[0-9]*[A-F])(?=[A-F]*[0-9])[0-9A-F]{8}"  # chip (ISO 14443)
    r"|(?=[A-Z]*[0-9])[A-HJ-NPR-Z0-9]{17})\b"  # VIN (ISO 3779)
)
"""Numbers of cards, contracts and cars, wherever they stand."""


def host_of(url: str) -> str:
    """Return the host of a URL or of HOST:PORT, also of an invalid one."""
    authority = (url.partition("://")[2] or url).partition("/")[0].rpartition("@")[2]
    if authority.startswith("[") and "]" in authority:
        return authority[1:].partition("]")[0]
    if authority.count(":") > 1:  # an IPv6 address without brackets
        return authority
    return authority.partition(":")[0].strip("[]")


def _any_of(texts: frozenset[str]) -> re.Pattern[str] | None:
    """Return a pattern of texts, the longest first, short ones as whole words; None for none.

    Case does not count.
    """
    longest_first = sorted((each for each in texts if len(each) > 2), key=len, reverse=True)
    if not longest_first:
        return None
    words = [
        re.escape(each) if len(each) > 5 else rf"(?<!\w){re.escape(each)}(?!\w)" for each in longest_first
    ]
    return re.compile("|".join(words), re.IGNORECASE)


def _redact_long(found: re.Match[str]) -> str:
    """Return a long word as its length, for it may be a key or a token; a path of the system as it is.

    Of a pair like `AssertPathExists=/etc/...` this holds for the value.
    """
    pair = _NAMED.match(found[0])
    name, value = ("", found[0]) if pair is None else pair.groups()
    is_path = value.startswith(SYSTEM_FOLDERS) and all(len(part) < 64 for part in value.split("/"))
    return name + (value if is_path else f"<{len(value)} characters>")


class Redactor:
    """Redacts data and text.

    `known`: texts that must not appear, e.g. ids of cards. `hosts`: names of machines, also outside of URLs.
    """

    def __init__(
        self,
        known: frozenset[str] = frozenset(),
        key: bytes | None = None,
        *,
        hosts: frozenset[str] = frozenset(),
    ) -> None:
        self._key = secrets.token_bytes(32) if key is None else key
        self._known = _any_of(known)
        self._hosts = _any_of(hosts - LOCAL_HOSTS)

    def redact_data(self, value: object, key: str = "") -> object:
        """Return builtin data (dict, list, text, number) without what the allow list does not name."""
        if isinstance(value, dict):
            return {name: self._redact_member(str(name), member) for name, member in value.items()}
        if isinstance(value, list | tuple):
            return [self.redact_data(member, key) for member in value]
        if isinstance(value, str):
            return self._redact_text_of(key, value)
        return value if isinstance(value, bool | int | float) or value is None else type(value).__name__

    def redact_struct(self, value: msgspec.Struct) -> object:
        """Return a Struct as redacted builtin data."""
        return self.redact_data(msgspec.to_builtins(value))

    def redact_text(self, text: str) -> str:
        """Return prose or log lines without addresses, secrets, and identities."""
        text = _PEM.sub("<PEM>", text)
        if self._known is not None:
            text = self._known.sub("<identity>", text)
        text = _IDENTITY.sub(r"\1<redacted>", text)
        text = _NUMBERS.sub("<identity>", text)
        text = _URL.sub(lambda found: found[1] + self._pseudonym("host", found[2].rpartition("@")[2]), text)
        return _LONG.sub(_redact_long, self._redact_hosts(text))

    def _redact_hosts(self, text: str) -> str:
        if self._hosts is not None:
            text = self._hosts.sub(lambda found: self._pseudonym("host", found[0]), text)
        return _ADDRESS.sub(lambda found: self._redact_address(found[0]), text)

    def _redact_member(self, name: str, member: object) -> object:
        if name in DROPPED_TABLES and isinstance(member, list | tuple | dict):
            return f"<{len(member)} entries>"
        return self.redact_data(member, name)

    def _redact_text_of(self, key: str, value: str) -> str:
        if key in SAFE_KEYS:
            value = self._known.sub("<identity>", value) if self._known is not None else value
            is_bus = key == "name"  # the name of a Modbus bus is the address of its meters
            return self._redact_hosts(value) if is_bus else value
        if key in PROSE_KEYS:
            return self.redact_text(value)
        if key == "url":
            scheme, _, rest = value.partition("://")
            return f"{scheme if rest else ''}://{self._pseudonym('host', host_of(value))}/..."
        if key in ("host", "address", "peer"):
            return self._pseudonym("host", value)
        return f"<text of {len(value)} characters>" if value else ""

    def _redact_address(self, text: str) -> str:
        try:
            address = ipaddress.ip_address(text)
        except ValueError:
            return text
        return text if address.is_loopback or address.is_unspecified else self._pseudonym("address", text)

    def _pseudonym(self, kind: str, text: str) -> str:
        text = text.lower()
        return f"{kind}-{hmac.new(self._key, text.encode(), hashlib.sha256).hexdigest()[:8]}"
