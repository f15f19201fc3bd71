"""Admission rules: who may connect as which station, and in which OCPP version; sans-IO.

Sources: OCPP-J 1.6, section 3; OCPP 2.0.1 and 2.1 Part 4, sections 3.1 to 3.3; OCPP 2.x Part 2, block A and
OCPP 1.6 security whitepaper, certificate profile 3 (the common name identifies the station); RFC 6455,
section 4.2.2; RFC 5280, 4.2.1.6 (alternative names); RFC 7617 (Basic authentication).
"""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import unquote, unquote_to_bytes

import msgspec

from controller.backends.pool import LinkRequest, OpenedLink
from controller.chargers.quirks import Quirk
from controller.config.password_files import HashedPassword, StationSecret
from controller.model.peer_text import bounded_text
from controller.ocpp.frames import Version
from controller.overlay.overlay_wire import MODE_HEADER, NetworkingMode, mode_of

LONGEST_ID = 48
"""Characters of a station's id (OCPP 2.x Part 2, identifierString[48])."""


class HandshakeQuirks(msgspec.Struct, frozen=True):
    """Known properties of how one station connects.

    `protocol`: the only version that it supports, also if it offers none. `likely`: the version that
    its model supports best. `ping_s`: interval of pings to it, 0 for never. `mode`: its networking mode
    if it names none, and the most that it may name.
    """

    protocol: Version | None = None
    likely: Version | None = None
    ping_s: float = 0.0
    mode: NetworkingMode = NetworkingMode.STANDARD


def handshake_quirks(
    protocol: Version | None, ping_s: float | None, usual_ping_s: float, quirk: Quirk
) -> HandshakeQuirks:
    """Combine a station's configuration, its model's quirks and the usual ping interval (s)."""
    if ping_s is None:
        ping_s = _shorter_interval(usual_ping_s, quirk.ping_s)
    return HandshakeQuirks(protocol, quirk.protocol, ping_s)


def _shorter_interval(usual_s: float, longest_s: float | None) -> float:
    if longest_s is None:
        return usual_s
    return min(usual_s, longest_s) if usual_s else longest_s


class Admission(msgspec.Struct, frozen=True):
    """An accepted upgrade request.

    `versions`: all that station and controller have in common, `version` first; a backend may choose another
    of them, unless the first is what the station's model supports best (`is_best_version`). `subprotocols`:
    the station's own name of each; empty where it has offered none. `authorization`: the header that it
    sent, for its owner's link where the controller has no password of it; it is a secret and stands in no
    log. `is_proven`: the controller has verified its password or its certificate. `segment`: the last
    segment of its URL as sent. `peer`: its address. `owner_link`: the link over which its owner has accepted
    it. `is_unknown`: the station is not in the configuration; it is listed, and not served.
    """

    station: str
    version: Version
    authorization: bytes | None = None
    subprotocols: Mapping[Version, str] = msgspec.field(default_factory=dict)
    mode: NetworkingMode = NetworkingMode.STANDARD
    versions: tuple[Version, ...] = ()
    is_best_version: bool = False
    is_proven: bool = False
    segment: str | None = None
    peer: str = ""
    owner_link: OpenedLink | None = None
    is_unknown: bool = False

    def __repr__(self) -> str:
        return f"Admission({self.station!r}, {self.version.value})"

    @property
    def subprotocol(self) -> str | None:
        """The station's own name of the version; None where it has offered none."""
        return self.subprotocols.get(self.version)

    def link_request(self, versions: Iterable[Version] | None = None) -> LinkRequest:
        """Return the request for a backend link, in this version or in one of several."""
        offered = (self.version,) if versions is None else versions
        return LinkRequest(
            self.station, tuple(each.value for each in offered), self.authorization, self.segment
        )


class Rejection(msgspec.Struct, frozen=True):
    """A rejected upgrade request: HTTP status and the reason for station and log.

    `retry_after_s`: when the station may try again. `is_expected`: it needs no person's attention.
    """

    status: int
    reason: str
    station: str | None = None
    retry_after_s: float | None = None
    is_expected: bool = False


class NoCommonProtocol(msgspec.Struct, frozen=True):
    """A handshake that is finished without a subprotocol, then closed (Part 4, 3.3)."""

    station: str
    offered: tuple[str, ...]

    @property
    def reason(self) -> str:
        """The reason for a person, with the remedy where there is one."""
        if self.offered:
            return f"it offers {bounded_text(', '.join(self.offered))}"
        return "it offers no OCPP version; if it supports one, set `protocol` in its [[station]]"


Decision = Admission | Rejection | NoCommonProtocol


class PasswordUnverified(msgspec.Struct, frozen=True):
    """A decision that depends on a password which is slow to verify: `verify_password` does it."""

    station: str
    authorization: bytes
    hashes: tuple[HashedPassword, ...]
    decision: Decision

    def __repr__(self) -> str:
        return f"PasswordUnverified({self.station!r})"

    def verify_password(self) -> bool:
        """Verify the header; takes the same time for a wrong user and a wrong password."""
        user, password = parse_basic_authorization(self.authorization) or (b"", b"")
        is_right = sum(each.matches(password) for each in self.hashes) > 0  # all are computed, always
        return hmac.compare_digest(user, self.station.encode()) and is_right

    def decide(self, *, is_verified: bool) -> Decision:
        """Return the decision, given the result."""
        return self.decision if is_verified else _unauthorized(self.station, self.authorization)


class AdmissionRules(msgspec.Struct, frozen=True):
    """Rules for upgrade requests.

    `path`: part of the URL before the station's id. `passwords`: every station that may connect, with its
    password or None if the controller has none; stations that are added to it may connect from then on.
    `protocols`: the controller's versions. `quirks_of` is
    called for each request: a station that has booted may have other quirks. `rotated`: hashes of passwords
    that a backend has set through the controller; they are valid beside the configured one. `lists_unknown`
    returns True while stations that are not in `passwords` are let in to be listed, and rejected otherwise.
    """

    path: str
    passwords: Mapping[str, StationSecret | None]
    protocols: Sequence[Version]
    quirks_of: Callable[[str], HandshakeQuirks] = lambda _: HandshakeQuirks()
    rotated: Callable[[str], tuple[HashedPassword, ...]] = lambda _: ()
    lists_unknown: Callable[[], bool] = lambda: False

    def __repr__(self) -> str:
        return f"AdmissionRules({self.path!r}, {len(self.passwords)} stations)"


def decide_admission(
    rules: AdmissionRules,
    target: str,
    headers: Sequence[tuple[bytes, bytes]],
    offered: Sequence[str],
    certified: Sequence[str] | None = None,
) -> Decision | PasswordUnverified:
    """Decide on one upgrade request: its target, headers and offered subprotocols.

    `certified`: the names in the station's certificate; None where none is asked for.
    """
    candidates = parse_station_ids(rules.path, target)
    if not candidates:
        return Rejection(404, f"stations connect at {rules.path.rstrip('/')}/<station id>")
    station = next((each for each in candidates if each in rules.passwords), None)
    if station is None:
        return _decide_unknown(rules, candidates[0], offered, certified)
    if certified is not None and station not in certified:
        return _reject_certificate(certified, station)
    authorization = _header(headers, "Authorization")
    secret = rules.passwords[station]
    quirks = rules.quirks_of(station)
    decision = _check_mode(_choose_version(rules, station, quirks, offered), quirks.mode, headers)
    if isinstance(decision, Admission):
        decision = msgspec.structs.replace(
            decision,
            authorization=authorization if secret is None else None,
            is_proven=secret is not None or certified is not None,
            segment=target.split("?", 1)[0].rstrip("/").rpartition("/")[2],
        )
    if secret is None:
        return decision
    hashes = [each for each in (secret, *rules.rotated(station)) if isinstance(each, HashedPassword)]
    if isinstance(secret, bytes) and _is_right_password(authorization, station, secret):
        return decision
    if hashes and authorization:
        return PasswordUnverified(station, authorization, tuple(hashes), decision)
    return _unauthorized(station, authorization)


def is_station_id(text: str) -> bool:
    """Return True if a text may be the id of a station (OCPP 2.x Part 2, identifierString[48])."""
    return 0 < len(text) <= LONGEST_ID and text.isprintable()


def _decide_unknown(
    rules: AdmissionRules, station: str, offered: Sequence[str], certified: Sequence[str] | None
) -> Decision:
    """Decide on a station that is not in the configuration: it is let in to be listed, or rejected."""
    shown = bounded_text(station)
    if rules.lists_unknown() and is_station_id(station):
        if certified is not None and station not in certified:
            return _reject_certificate(certified, shown)
        decision = _choose_version(rules, station, HandshakeQuirks(), offered)
        if isinstance(decision, Admission):
            return msgspec.structs.replace(decision, is_unknown=True)
    return Rejection(404, f"station {shown!r} is unknown; add it to the configuration", shown)


def _reject_certificate(certified: Sequence[str], station: str) -> Rejection:
    names = bounded_text(" or ".join(repr(name) for name in certified) or "nobody")
    return Rejection(403, f"its certificate is for {names}, not for station {station!r}", station)


def _header(headers: Sequence[tuple[bytes, bytes]], header: str) -> bytes | None:
    return next((value for name, value in headers if name.lower() == header.lower().encode()), None)


def _check_mode(decision: Decision, most: NetworkingMode, headers: Sequence[tuple[bytes, bytes]]) -> Decision:
    """Add the networking mode that the station names, else the mode of its quirk."""
    if not isinstance(decision, Admission):
        return decision
    named = _header(headers, MODE_HEADER)
    mode = most if named is None else mode_of(named.decode("latin-1"))
    if mode is None:
        known = " or ".join(each.value for each in NetworkingMode)
        return Rejection(400, f"{MODE_HEADER} is not {known}", decision.station)
    if mode is NetworkingMode.OVERLAY and most is NetworkingMode.STANDARD:
        return Rejection(
            403, 'it asks for overlay mode; set mode = "overlay" in its [[station]]', decision.station
        )
    return msgspec.structs.replace(decision, mode=mode)


def _choose_version(
    rules: AdmissionRules, station: str, quirks: HandshakeQuirks, offered: Sequence[str]
) -> Decision:
    """Choose the versions in which a station may be served, the best first."""
    ours = rules.protocols if quirks.protocol is None else (quirks.protocol,)
    # Leading and doubled commas leave empty names: some stations send them.
    names = tuple(name for name in offered if name)
    named = _parse_versions(names)
    common = [version for version in named if version in ours]
    if common:
        common.sort(key=lambda version: version is not quirks.likely)  # stable: else the station's order
        return Admission(
            station,
            common[0],
            subprotocols=named,
            versions=tuple(common),
            is_best_version=common[0] is quirks.likely,
        )
    assumed = quirks.protocol or quirks.likely
    if not names and assumed is not None:
        return Admission(station, assumed, versions=(assumed,))
    if "ocpp1.5" in names:
        supported = ", ".join(ours)
        return Rejection(400, f"ocpp1.5 is not supported; set the station to one of {supported}", station)
    return NoCommonProtocol(station, names)


def _parse_versions(names: Iterable[str]) -> dict[Version, str]:
    """Map the versions that a station means to its own names of them, its preferred one first.

    Letters may be capitals, and "j" at the end stands for JSON, which all versions here are in.
    """
    known = {version.value: version for version in Version}
    found: dict[Version, str] = {}
    for name in names:
        version = known.get(name.strip().lower().removesuffix("j"))
        if version is not None:
            found.setdefault(version, name)
    return found


def parse_station_ids(path: str, target: str) -> tuple[str, ...]:
    """Return the ids that a request's target may mean, the likeliest first; empty if it is another path.

    The id is the last segment, percent-decoded (Part 4, 3.1.1). Stations in the field double the slash or
    end with one, append their id to a URL that contains it already, do not encode what they should, encode
    it twice, in another character set, or a blank as in a form.
    """
    prefix, raw_path = path.strip("/"), target.split("?", 1)[0]
    segments = [segment for segment in raw_path.split("/") if segment]
    before = [segment for segment in prefix.split("/") if segment]
    rest = segments[len(before) :]
    if segments[: len(before)] != before or len(set(rest)) != 1 or not raw_path.startswith("/"):
        return ()
    return tuple(dict.fromkeys(_decode_segment(rest[0])))


def _decode_segment(segment: str) -> Iterator[str]:
    """Decode one segment of a path in each way that stations may mean it."""
    # Bytes above ASCII came through the parser as surrogates; these are the bytes again.
    raw = segment.encode("utf-8", "surrogateescape")
    decoded = unquote_to_bytes(raw)
    for data in (decoded, raw, unquote_to_bytes(decoded), unquote_to_bytes(raw.replace(b"+", b" "))):
        try:
            yield data.decode("utf-8")
        except UnicodeDecodeError:
            yield data.decode("latin-1")


def certificate_names(certificate: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the names that a verified certificate, as `ssl` gives it, is for, each once.

    These are its common names, its alternative DNS names, and of alternative URIs the last segment,
    percent-decoded: a station may be named by the URL that it connects to.
    """
    subject: Sequence[Sequence[tuple[str, str]]] = certificate.get("subject", ())
    alternatives: Sequence[tuple[str, str]] = certificate.get("subjectAltName", ())
    names = [value for part in subject for kind, value in part if kind == "commonName"]
    names += [value for kind, value in alternatives if kind == "DNS"]
    names += [unquote(value.rpartition("/")[2]) for kind, value in alternatives if kind == "URI"]
    return tuple(dict.fromkeys(name for name in names if name))


def _unauthorized(station: str, authorization: bytes | None) -> Rejection:
    problem = "wrong user or password" if authorization else "no password was sent"
    return Rejection(401, f"Basic authentication failed: {problem}", station)


def _is_right_password(authorization: bytes | None, station: str, password: bytes) -> bool:
    """Compare a header of Basic authentication in constant time."""
    user, sent = parse_basic_authorization(authorization) or (b"", b"")
    is_right_user = hmac.compare_digest(user, station.encode())
    is_right_password = hmac.compare_digest(sent, password)
    return is_right_user and is_right_password


def parse_basic_authorization(authorization: bytes | None) -> tuple[bytes, bytes] | None:
    """Return user and password of Basic authentication (RFC 7617); None for any other header."""
    scheme, _, token = (authorization or b"").partition(b" ")
    if scheme.lower() != b"basic":
        return None
    try:
        user, _, password = base64.b64decode(token.strip(), validate=True).partition(b":")
    except binascii.Error:
        return None
    return user, password
