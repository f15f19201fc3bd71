"""Who may connect as which station, and in which OCPP version: the upgrade request's rules, pure.

Source: OCPP-J 1.6 section 3; OCPP 2.0.1 and 2.1 Part 4 sections 3.1 to 3.3; RFC 6455 section 4.2.2.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Mapping, Sequence
from urllib.parse import unquote_to_bytes

import msgspec

from controller.ocpp.frames import Version


class Admitted(msgspec.Struct, frozen=True):
    """The station may come in.

    `authorization` is the header that it sent, for its owner's link where we do not check it
    ourselves: it is a secret, and stands in no log.
    """

    station: str
    version: Version
    authorization: bytes | None = None

    def __repr__(self) -> str:
        return f"Admitted({self.station!r}, {self.version.value})"


class Refused(msgspec.Struct, frozen=True):
    """The upgrade is refused with this HTTP status; `reason` goes to the station and the log."""

    status: int
    reason: str
    station: str | None = None


class NoCommonProtocol(msgspec.Struct, frozen=True):
    """Finish the handshake without a subprotocol, then close (Part 4, 3.3)."""

    station: str
    offered: tuple[str, ...]


Verdict = Admitted | Refused | NoCommonProtocol


class Door(msgspec.Struct, frozen=True):
    """What a station meets.

    `path` is the part of the URL before the station's id; `passwords` has every station that may
    connect, with its password or None where no password is asked for; `protocols` are ours.
    """

    path: str
    passwords: Mapping[str, bytes | None]
    protocols: Sequence[Version]

    def __repr__(self) -> str:
        return f"Door({self.path!r}, {len(self.passwords)} stations)"


def judge(
    door: Door,
    target: str,
    headers: Sequence[tuple[bytes, bytes]],
    offered: Sequence[str],
    certified: Sequence[str] | None = None,
) -> Verdict:
    """The verdict on one upgrade request: its target, its headers and its subprotocols as offered.

    `certified`: for which names the station has shown a certificate; None where none is asked for.
    """
    station = _station_id(door.path, target)
    if station is None:
        return Refused(404, f"stations connect at {door.path.rstrip('/')}/<station id>")
    if station not in door.passwords:
        return Refused(404, f"station {station!r} is not known here; add it to the configuration", station)
    if certified is not None and station not in certified:
        theirs = " or ".join(repr(name) for name in certified) or "nobody"
        return Refused(403, f"its certificate is for {theirs}, not for station {station!r}", station)
    authorization = next((value for name, value in headers if name.lower() == b"authorization"), None)
    password = door.passwords[station]
    if password is not None and not _knows(authorization, station, password):
        problem = "wrong user or password" if authorization else "no password was sent"
        return Refused(401, f"Basic authentication failed: {problem}", station)
    # Leading and doubled commas leave empty names behind: the field has stations that send them.
    names = tuple(name for name in offered if name)
    chosen = next((name for name in names if name in door.protocols), None)
    if chosen is not None:
        return Admitted(station, Version(chosen), authorization if password is None else None)
    if "ocpp1.5" in names:
        ours = ", ".join(door.protocols)
        return Refused(400, f"ocpp1.5 is not supported; set the station to one of {ours}", station)
    return NoCommonProtocol(station, names)


def _station_id(path: str, target: str) -> str | None:
    """The last segment of the target, percent-decoded; None where the target is not ours."""
    raw_path = target.split("?", 1)[0]
    prefix = path.rstrip("/") + "/"
    if not raw_path.startswith(prefix):
        return None
    segment = raw_path.removeprefix(prefix)
    if not segment or "/" in segment:
        return None
    try:
        return unquote_to_bytes(segment).decode("utf-8")
    except UnicodeDecodeError:
        return None


def _knows(authorization: bytes | None, station: str, password: bytes) -> bool:
    """Whether the header is Basic authentication of this station; the comparison takes constant time."""
    scheme, _, token = (authorization or b"").partition(b" ")
    try:
        user, _, sent = base64.b64decode(token.strip(), validate=True).partition(b":")
    except binascii.Error:
        user, sent = b"", b""
    right_user = hmac.compare_digest(user, station.encode())
    right_password = hmac.compare_digest(sent, password)
    return scheme.lower() == b"basic" and right_user and right_password


def basic(user: str, password: bytes) -> bytes:
    """The value of an Authorization header (RFC 7617)."""
    return b"Basic " + base64.b64encode(user.encode() + b":" + password)
