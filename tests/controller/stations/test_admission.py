"""The upgrade request's rules, row by row (OCPP-J Part 4, 3.1 to 3.3)."""

import base64

import msgspec
import pytest

from controller.chargers.quirks import NO_QUIRK, Quirk, all_quirks, find_quirk
from controller.config.password_files import hash_password
from controller.ocpp.frames import Version
from controller.overlay.overlay_wire import NetworkingMode
from controller.stations.admission import (
    Admission,
    AdmissionRules,
    Decision,
    HandshakeQuirks,
    NoCommonProtocol,
    PasswordUnverified,
    Rejection,
    decide_admission,
    handshake_quirks,
)
from controller.transport.http_upgrade import basic_authorization

PASSWORD = b"correct horse"
DOOR = AdmissionRules(
    path="/ocpp",
    passwords={
        "CS01": None,
        "CS 02/ä#": None,
        "CS03": PASSWORD,
        "CS04": hash_password(PASSWORD, b"salt", log_n=4),
    },
    protocols=(Version.V21, Version.V201, Version.V16),
)


def verdict(
    target: str, offered: tuple[str, ...] = ("ocpp2.0.1",), authorization: bytes | None = None
) -> Decision:
    headers = [] if authorization is None else [(b"authorization", authorization)]
    answer = decide_admission(DOOR, target, headers, offered)
    return (
        answer.decide(is_verified=answer.verify_password())
        if isinstance(answer, PasswordUnverified)
        else answer
    )


@pytest.mark.parametrize(
    ("target", "status"),
    [
        ("/ocpp/CS99", 404),
        ("/ocpp/", 404),
        ("/ocpp", 404),
        ("/", 404),
        ("/other/CS01", 404),
        ("/ocpp/CS01/more", 404),
        ("/ocpp/more/CS01", 404),
        ("ocpp/CS01", 404),
        ("/ocpp/ocpp/CS01", 404),
        ("/ocpp/%ff", 404),
        ("/ocppCS01", 404),
    ],
)
def test_admission_unknown_station_is_refused_before_the_upgrade(target: str, status: int) -> None:
    answer = verdict(target)
    assert isinstance(answer, Rejection)
    assert answer.status == status


@pytest.mark.parametrize(
    ("target", "station"),
    [
        ("/ocpp/CS01", "CS01"),
        ("/ocpp/CS01?x=1", "CS01"),
        ("/ocpp/%43S01", "CS01"),
        ("/ocpp/CS%2002%2F%C3%A4%23", "CS 02/ä#"),
        ("/ocpp/CS 02%2fä#", "CS 02/ä#"),  # nothing encoded that had to be
        ("/ocpp/CS 02%2f\udcc3\udca4#", "CS 02/ä#"),  # ... as a parser of ASCII hands it on
        ("/ocpp/CS+02%2F%E4%23", "CS 02/ä#"),  # a blank as in a form, and Latin-1
        ("/ocpp/CS%252002%252F%25C3%25A4%2523", "CS 02/ä#"),  # encoded twice
        ("/ocpp/CS01/", "CS01"),
        ("/ocpp//CS01", "CS01"),
        ("//ocpp/CS01", "CS01"),
        ("/ocpp/CS01/CS01", "CS01"),  # its URL was configured with the id, and it adds its own
    ],
)
def test_admission_id_is_last_segment_percent_decoded(target: str, station: str) -> None:
    answer = verdict(target)
    assert isinstance(answer, Admission)
    assert answer.station == station


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [
        (("ocpp1.6",), Version.V16),
        (("ocpp2.0.1", "ocpp1.6"), Version.V201),
        (("ocpp1.6", "ocpp2.1"), Version.V16),
        (("", "ocpp2.0.1"), Version.V201),  # KEBA x-series 1.9.0 sends ",ocpp2.0.1"
        (("soap", "", "ocpp2.1", ""), Version.V21),
        (("ocpp1.5", "ocpp1.6"), Version.V16),
        (("OCPP1.6",), Version.V16),
        (("ocpp1.6j", "ocpp2.0.1"), Version.V16),
    ],
)
def test_admission_first_supported_version_of_station_is_chosen(
    offered: tuple[str, ...], chosen: Version
) -> None:
    answer = verdict("/ocpp/CS01", offered)
    assert isinstance(answer, Admission)
    assert answer.version is chosen
    assert answer.subprotocol in offered  # as it wrote it: a client takes no other name back


@pytest.mark.parametrize("offered", [(), ("",), ("soap",), ("ocpp2.0",)])
def test_admission_without_common_version_selects_no_subprotocol(offered: tuple[str, ...]) -> None:
    assert isinstance(verdict("/ocpp/CS01", offered), NoCommonProtocol)


def test_admission_ocpp15_is_refused_with_remedy() -> None:
    answer = verdict("/ocpp/CS01", ("ocpp1.5",))
    assert isinstance(answer, Rejection)
    assert answer.status == 400
    assert "ocpp1.5" in answer.reason
    assert "ocpp1.6" in answer.reason


@pytest.mark.parametrize("station", ["CS03", "CS04"])
@pytest.mark.parametrize(
    "authorization",
    [
        None,
        b"",
        b"Basic",
        b"Basic !!!",
        b"Bearer abc",
        basic_authorization("{}", b"wrong"),
        basic_authorization("CS01", PASSWORD),
        basic_authorization("{}", PASSWORD + b"x"),
        basic_authorization("{}", b""),
        b"Basic " + base64.b64encode(b"{}"),
    ],
)
def test_admission_wrong_password_is_refused(authorization: bytes | None, station: str) -> None:
    if authorization is not None:
        authorization = as_sent_by(station, authorization)
    answer = verdict(f"/ocpp/{station}", authorization=authorization)
    assert isinstance(answer, Rejection)
    assert answer.status == 401
    assert PASSWORD.decode() not in answer.reason


def as_sent_by(station: str, authorization: bytes) -> bytes:
    """The header with the station's own name where "{}" stands in it."""
    scheme, _, token = authorization.partition(b" ")
    if not token or token == b"!!!" or scheme != b"Basic":
        return authorization
    return b"Basic " + base64.b64encode(base64.b64decode(token).replace(b"{}", station.encode()))


@pytest.mark.parametrize("station", ["CS03", "CS04"])
def test_admission_right_password_is_accepted_and_not_forwarded(station: str) -> None:
    answer = verdict(f"/ocpp/{station}", authorization=basic_authorization(station, PASSWORD))
    assert isinstance(answer, Admission)
    assert answer.authorization is None


def test_admission_without_password_costs_no_hash() -> None:
    assert isinstance(decide_admission(DOOR, "/ocpp/CS04", [], ["ocpp1.6"]), Rejection)


def test_admission_unproven_station_gets_no_further_details() -> None:
    unproven = decide_admission(
        DOOR, "/ocpp/CS04", [(b"Authorization", basic_authorization("CS04", b"guess"))], ["ocpp1.5"]
    )
    assert isinstance(unproven, PasswordUnverified)
    assert basic_authorization("CS04", b"guess").decode() not in repr(unproven)
    refused = unproven.decide(is_verified=False)
    assert isinstance(refused, Rejection)
    assert refused.status == 401


def test_unchecked_password_is_forwarded_to_owner_only() -> None:
    header = basic_authorization("CS01", b"for the backend")
    answer = verdict("/ocpp/CS01", authorization=header)
    assert isinstance(answer, Admission)
    assert answer.authorization == header
    assert header.decode() not in repr(answer)
    assert PASSWORD.decode() not in repr(DOOR)


# -- quirks: known before a station's first message ----------------------------------------


def with_habits(known: HandshakeQuirks, *offered: str) -> Decision | PasswordUnverified:
    door = AdmissionRules("/ocpp", {"CS01": None}, tuple(Version), lambda _: known)
    return decide_admission(door, "/ocpp/CS01", [], offered)


PINNED, LIKELY = HandshakeQuirks(protocol=Version.V16), HandshakeQuirks(likely=Version.V16)


@pytest.mark.parametrize(
    ("known", "offered", "chosen"),
    [
        (PINNED, (), (Version.V16, None)),
        (PINNED, ("",), (Version.V16, None)),
        (PINNED, ("ocpp2.0.1", "ocpp1.6"), (Version.V16, "ocpp1.6")),
        (PINNED, ("ocpp2.0.1",), None),
        (LIKELY, (), (Version.V16, None)),
        (LIKELY, ("ocpp2.0.1", "ocpp1.6"), (Version.V16, "ocpp1.6")),
        (LIKELY, ("ocpp2.0.1",), (Version.V201, "ocpp2.0.1")),  # better in that than not at all
        (HandshakeQuirks(protocol=Version.V201, likely=Version.V16), (), (Version.V201, None)),
    ],
)
def test_admission_version_known_beforehand(
    known: HandshakeQuirks, offered: tuple[str, ...], chosen: tuple[Version, str | None] | None
) -> None:
    answer = with_habits(known, *offered)
    if chosen is None:
        assert isinstance(answer, NoCommonProtocol)
    else:
        assert isinstance(answer, Admission)
        assert (answer.version, answer.subprotocol) == chosen


PLAIN, OVERLAY = HandshakeQuirks(mode=NetworkingMode.STANDARD), HandshakeQuirks(mode=NetworkingMode.OVERLAY)


@pytest.mark.parametrize(
    ("known", "mode_header", "becomes"),
    [
        (PLAIN, None, NetworkingMode.STANDARD),
        (PLAIN, b"Standard", NetworkingMode.STANDARD),
        (PLAIN, b"OverlayNetwork", 403),
        (PLAIN, b"mesh", 400),
        (PLAIN, b"\xff", 400),
        (OVERLAY, None, NetworkingMode.OVERLAY),
        (OVERLAY, b"standard", NetworkingMode.STANDARD),
        (OVERLAY, b"overlaynetwork", NetworkingMode.OVERLAY),
        (OVERLAY, b"", 400),
    ],
)
def test_admission_networking_mode_is_bounded_by_configuration(
    known: HandshakeQuirks, mode_header: bytes | None, becomes: NetworkingMode | int
) -> None:
    door = AdmissionRules("/ocpp", {"CS01": None, "CS03": PASSWORD}, tuple(Version), lambda _: known)
    headers = [] if mode_header is None else [(b"x-ocpp-networkingmode", mode_header)]
    answer = decide_admission(door, "/ocpp/CS01", headers, ["ocpp2.1"])
    assert (answer.mode if isinstance(answer, Admission) else answer.status) == becomes  # type: ignore[union-attr]
    unproven = decide_admission(door, "/ocpp/CS03", headers, ["ocpp2.1"])
    assert isinstance(unproven, Rejection)
    assert unproven.status == 401, "who has no password is told no more"


@pytest.mark.parametrize(
    ("own_s", "usual_s", "row_s", "ping_s"),
    [
        (None, 30, None, 30),
        (None, 30, 0, 0),
        (None, 30, 50, 30),
        (None, 300, 50, 50),
        (None, 0, 50, 50),
        (None, 0, None, 0),
        (200, 30, 50, 200),
        (0, 30, 50, 0),
    ],
)
def test_admission_ping_interval_of_a_station(
    own_s: float | None, usual_s: float, row_s: float | None, ping_s: float
) -> None:
    quirk = NO_QUIRK if row_s is None else Quirk(name="one", ping_s=row_s)
    assert handshake_quirks(None, own_s, usual_s, quirk).ping_s == ping_s


@pytest.mark.parametrize(
    ("boot", "expected"),
    [
        (("EN+", "37", "1.1.805"), HandshakeQuirks(ping_s=0)),
        (("FoxESS", "A022KP1", "1.10"), HandshakeQuirks(likely=Version.V16, ping_s=90)),
        (("any", "BS-EV22", ""), HandshakeQuirks(ping_s=50)),
        (("United Chargers", "GRS-*", "05.43"), HandshakeQuirks(likely=Version.V16, ping_s=90)),
        (("Mennekes", "4You", ""), HandshakeQuirks(ping_s=90)),
    ],
)
def test_admission_each_row_of_table_is_decided(
    boot: tuple[str, str, str], expected: HandshakeQuirks
) -> None:
    assert handshake_quirks(None, None, 90, find_quirk(*boot)) == expected


def test_every_row_about_links_is_tried_here() -> None:
    rows = {row.name for row in all_quirks() if row.protocol is not None or row.ping_s is not None}
    assert rows == {"EN+", "FoxESS", "Ocular LTE Plus", "Grizzl-E"}


LISTING = msgspec.structs.replace(DOOR, lists_unknown=lambda: True)


def test_unknown_station_is_let_in_where_unknown_ones_are_listed() -> None:
    decision = decide_admission(LISTING, "/ocpp/CS77", [], ["ocpp1.6"])
    assert isinstance(decision, Admission)
    assert (decision.station, decision.is_unknown, decision.is_proven) == ("CS77", True, False)
    assert decision.authorization is None


@pytest.mark.parametrize("name", ["x" * 49, "CS%1b[31m", "CS%0a1"])
def test_unknown_station_with_id_of_no_station_is_rejected(name: str) -> None:
    decision = decide_admission(LISTING, f"/ocpp/{name}", [], ["ocpp1.6"])
    assert isinstance(decision, Rejection)
    assert decision.status == 404


def test_unknown_station_with_certificate_of_another_is_rejected() -> None:
    decision = decide_admission(LISTING, "/ocpp/CS77", [], ["ocpp1.6"], certified=["CS78"])
    assert isinstance(decision, Rejection)
    assert decision.status == 403


def test_unknown_station_without_common_version_is_rejected_and_listed() -> None:
    decision = decide_admission(LISTING, "/ocpp/CS77", [], [])
    assert isinstance(decision, Rejection)
    assert decision.status == 404
