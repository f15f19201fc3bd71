"""Who may connect as which station, and in which OCPP version: the upgrade request's rules, pure.

Source: OCPP-J 1.6 section 3; OCPP 2.0.1 and 2.1 Part 4 sections 3.1 to 3.3; RFC 6455 section 4.2.2.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from urllib.parse import unquote_to_bytes

import msgspec

from controller.chargers.quirks import Quirk
from controller.config.password_files import HashedPassword, StationSecret
from controller.ocpp.frames import Version
from controller.overlay.overlay_wire import MODE_HEADER, NetworkingMode, mode_of


class HandshakeQuirks(msgspec.Struct, frozen=True):
    """What is known beforehand of how one station connects.

    `protocol`: it speaks this version and no other, also where it does not say so. `likely`: its kind
    speaks this one best. `ping_s`: how often it is asked for a sign of life, 0 for never. `mode`: how frames
    are written on its link where it does not say, and the most that it may say.
    """

    protocol: Version | None = None
    likely: Version | None = None
    ping_s: float = 0.0
    mode: NetworkingMode = NetworkingMode.STANDARD


def handshake_quirks(
    protocol: Version | None, ping_s: float | None, usual_ping_s: float, quirk: Quirk
) -> HandshakeQuirks:
    """From what is configured for a station, else from what its kind needs, else as usual (`ping_s` in s)."""
    if ping_s is None:
        ping_s = _ping_s(usual_ping_s, quirk.ping_s)
    return HandshakeQuirks(protocol, quirk.protocol, ping_s)


def _ping_s(usual_s: float, longest_s: float | None) -> float:
    if longest_s is None:
        return usual_s
    return min(usual_s, longest_s) if usual_s else longest_s


class Admission(msgspec.Struct, frozen=True):
    """The station may come in.

    `subprotocol`: the one of its own names that it is answered with; None where it has sent none.
    `authorization` is the header that it sent, for its owner's link where we do not check it
    ourselves: it is a secret, and stands in no log. `mode`: how frames are written on the link.
    """

    station: str
    version: Version
    authorization: bytes | None = None
    subprotocol: str | None = None
    mode: NetworkingMode = NetworkingMode.STANDARD

    def __repr__(self) -> str:
        return f"Admitted({self.station!r}, {self.version.value})"


class Rejection(msgspec.Struct, frozen=True):
    """The upgrade is refused with this HTTP status; `reason` goes to the station and the log."""

    status: int
    reason: str
    station: str | None = None


class NoCommonProtocol(msgspec.Struct, frozen=True):
    """Finish the handshake without a subprotocol, then close (Part 4, 3.3)."""

    station: str
    offered: tuple[str, ...]

    @property
    def reason(self) -> str:
        """In a person's words, with the mend where there is one."""
        if self.offered:
            return f"offers {', '.join(self.offered)}"
        return "names no OCPP version; if it speaks one all the same, set `protocol` in its [[station]]"


Verdict = Admission | Rejection | NoCommonProtocol


class PasswordUnverified(msgspec.Struct, frozen=True):
    """The verdict hangs on a password that has yet to be checked, which takes long: `is_right` does it."""

    station: str
    authorization: bytes
    hashed: HashedPassword
    verdict: Verdict

    def __repr__(self) -> str:
        return f"Unproven({self.station!r})"

    def is_right(self) -> bool:
        """Compute whether the header is good; it costs the same where the user is wrong, or the password."""
        user, password = _credentials(self.authorization) or (b"", b"")
        right_password = self.hashed.matches(password)
        return hmac.compare_digest(user, self.station.encode()) and right_password

    def settled(self, *, right: bool) -> Verdict:
        """The verdict, once it is known."""
        return self.verdict if right else _unauthorized(self.station, self.authorization)


class AdmissionRules(msgspec.Struct, frozen=True):
    """What a station meets.

    `path` is the part of the URL before the station's id; `passwords` has every station that may
    connect, with its password or None where no password is asked for; `protocols` are ours;
    `habits` are asked for anew at each request: a station that has told who it is may have others.
    """

    path: str
    passwords: Mapping[str, StationSecret | None]
    protocols: Sequence[Version]
    habits: Callable[[str], HandshakeQuirks] = lambda _: HandshakeQuirks()

    def __repr__(self) -> str:
        return f"Door({self.path!r}, {len(self.passwords)} stations)"


def judge(
    door: AdmissionRules,
    target: str,
    headers: Sequence[tuple[bytes, bytes]],
    offered: Sequence[str],
    certified: Sequence[str] | None = None,
) -> Verdict | PasswordUnverified:
    """The verdict on one upgrade request: its target, its headers and its subprotocols as offered.

    `certified`: for which names the station has shown a certificate; None where none is asked for.
    """
    asked = ids_in(door.path, target)
    if not asked:
        return Rejection(404, f"stations connect at {door.path.rstrip('/')}/<station id>")
    station = next((each for each in asked if each in door.passwords), None)
    if station is None:
        return Rejection(
            404, f"station {asked[0]!r} is not known here; add it to the configuration", asked[0]
        )
    if certified is not None and station not in certified:
        theirs = " or ".join(repr(name) for name in certified) or "nobody"
        return Rejection(403, f"its certificate is for {theirs}, not for station {station!r}", station)
    authorization = _header(headers, "Authorization")
    secret = door.passwords[station]
    verdict = _in_mode(_welcome(door, station, offered), door.habits(station).mode, headers)
    if secret is None:
        return _with(verdict, authorization)
    if isinstance(secret, HashedPassword) and authorization:
        return PasswordUnverified(station, authorization, secret, verdict)
    if isinstance(secret, HashedPassword) or not _is_right(authorization, station, secret):
        return _unauthorized(station, authorization)
    return verdict


def _header(headers: Sequence[tuple[bytes, bytes]], wanted: str) -> bytes | None:
    return next((value for name, value in headers if name.lower() == wanted.lower().encode()), None)


def _in_mode(verdict: Verdict, most: NetworkingMode, headers: Sequence[tuple[bytes, bytes]]) -> Verdict:
    """The verdict with the mode that the station says, else the one that it is known for."""
    if not isinstance(verdict, Admission):
        return verdict
    said = _header(headers, MODE_HEADER)
    mode = most if said is None else mode_of(said.decode("latin-1"))
    if mode is None:
        known = " or ".join(each.value for each in NetworkingMode)
        return Rejection(400, f"{MODE_HEADER} is not {known}", verdict.station)
    if mode is NetworkingMode.OVERLAY and most is NetworkingMode.STANDARD:
        return Rejection(
            403, 'it asks for overlay mode; set mode = "overlay" in its [[station]]', verdict.station
        )
    return msgspec.structs.replace(verdict, mode=mode)


def _with(verdict: Verdict, authorization: bytes | None) -> Verdict:
    if not isinstance(verdict, Admission):
        return verdict
    return msgspec.structs.replace(verdict, authorization=authorization)


def _welcome(door: AdmissionRules, station: str, offered: Sequence[str]) -> Verdict:
    """The verdict for a station that is who it says: which version it is served in."""
    habits = door.habits(station)
    ours = door.protocols if habits.protocol is None else (habits.protocol,)
    # Leading and doubled commas leave empty names behind: the field has stations that send them.
    names = tuple(name for name in offered if name)
    named = _versions(names)
    common = [version for version in named if version in ours]
    if common:
        version = next((each for each in common if each is habits.likely), common[0])
        return Admission(station, version, subprotocol=named[version])
    unsaid = habits.protocol or habits.likely
    if not names and unsaid is not None:
        return Admission(station, unsaid)
    if "ocpp1.5" in names:
        said = ", ".join(ours)
        return Rejection(400, f"ocpp1.5 is not supported; set the station to one of {said}", station)
    return NoCommonProtocol(station, names)


def _versions(names: Iterable[str]) -> dict[Version, str]:
    """The versions that a station means, its favourite first, and its own name for each.

    Letters may be capitals, and "j" at the end says that it speaks JSON, as all here do.
    """
    known = {version.value: version for version in Version}
    found: dict[Version, str] = {}
    for name in names:
        version = known.get(name.strip().lower().removesuffix("j"))
        if version is not None:
            found.setdefault(version, name)
    return found


def ids_in(path: str, target: str) -> tuple[str, ...]:
    """The ids that the target of a request may mean, the likeliest first; none where it is not ours.

    The id is the last segment, percent-decoded (Part 4, 3.1.1). Stations in the field double the slash
    or end with one, write their id twice where it stood in the configured URL already, do not encode
    what they should, encode it twice, in another character set, or a blank as in a form.
    """
    prefix, raw_path = path.strip("/"), target.split("?", 1)[0]
    segments = [segment for segment in raw_path.split("/") if segment]
    before = [segment for segment in prefix.split("/") if segment]
    rest = segments[len(before) :]
    if segments[: len(before)] != before or len(set(rest)) != 1 or not raw_path.startswith("/"):
        return ()
    return tuple(dict.fromkeys(_readings(rest[0])))


def _readings(segment: str) -> Iterator[str]:
    """What one segment of a path may mean."""
    # What was not ASCII came through the parser as it could; here are its bytes again.
    raw = segment.encode("utf-8", "surrogateescape")
    decoded = unquote_to_bytes(raw)
    for data in (decoded, raw, unquote_to_bytes(decoded), unquote_to_bytes(raw.replace(b"+", b" "))):
        try:
            yield data.decode("utf-8")
        except UnicodeDecodeError:
            yield data.decode("latin-1")


def _unauthorized(station: str, authorization: bytes | None) -> Rejection:
    problem = "wrong user or password" if authorization else "no password was sent"
    return Rejection(401, f"Basic authentication failed: {problem}", station)


def _is_right(authorization: bytes | None, station: str, password: bytes) -> bool:
    """Whether the header is Basic authentication of this station; the comparison takes constant time."""
    user, sent = _credentials(authorization) or (b"", b"")
    right_user = hmac.compare_digest(user, station.encode())
    right_password = hmac.compare_digest(sent, password)
    return right_user and right_password


def _credentials(authorization: bytes | None) -> tuple[bytes, bytes] | None:
    """User and password of a header of Basic authentication (RFC 7617); None for any other."""
    scheme, _, token = (authorization or b"").partition(b" ")
    if scheme.lower() != b"basic":
        return None
    try:
        user, _, password = base64.b64decode(token.strip(), validate=True).partition(b":")
    except binascii.Error:
        return None
    return user, password


def basic(user: str, password: bytes) -> bytes:
    """The value of an Authorization header (RFC 7617)."""
    return b"Basic " + base64.b64encode(user.encode() + b":" + password)
