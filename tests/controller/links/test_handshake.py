"""The upgrade request's rules, row by row (OCPP-J Part 4, 3.1 to 3.3)."""

import base64

import pytest

from controller.links.handshake import Admitted, Door, NoCommonProtocol, Refused, Verdict, basic, judge
from controller.ocpp.frames import Version

PASSWORD = b"correct horse"
DOOR = Door(
    path="/ocpp",
    passwords={"CS01": None, "CS 02/ä#": None, "CS03": PASSWORD},
    protocols=(Version.V21, Version.V201, Version.V16),
)


def verdict(
    target: str, offered: tuple[str, ...] = ("ocpp2.0.1",), authorization: bytes | None = None
) -> Verdict:
    headers = [] if authorization is None else [(b"authorization", authorization)]
    return judge(DOOR, target, headers, offered)


@pytest.mark.parametrize(
    ("target", "status"),
    [
        ("/ocpp/CS99", 404),
        ("/ocpp/", 404),
        ("/ocpp", 404),
        ("/", 404),
        ("/other/CS01", 404),
        ("/ocpp/CS01/more", 404),
        ("/ocpp/%ff", 404),
        ("/ocppCS01", 404),
    ],
)
def test_what_is_unknown_is_refused_before_the_upgrade(target: str, status: int) -> None:
    answer = verdict(target)
    assert isinstance(answer, Refused)
    assert answer.status == status


@pytest.mark.parametrize(
    ("target", "station"),
    [
        ("/ocpp/CS01", "CS01"),
        ("/ocpp/CS01?x=1", "CS01"),
        ("/ocpp/%43S01", "CS01"),
        ("/ocpp/CS%2002%2F%C3%A4%23", "CS 02/ä#"),
    ],
)
def test_the_id_is_the_last_segment_percent_decoded(target: str, station: str) -> None:
    answer = verdict(target)
    assert isinstance(answer, Admitted)
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
    ],
)
def test_the_station_s_first_choice_that_we_speak_is_taken(offered: tuple[str, ...], chosen: Version) -> None:
    answer = verdict("/ocpp/CS01", offered)
    assert isinstance(answer, Admitted)
    assert answer.version is chosen


@pytest.mark.parametrize("offered", [(), ("",), ("soap",), ("ocpp2.0",)])
def test_without_a_common_protocol_the_handshake_ends_without_one(offered: tuple[str, ...]) -> None:
    assert isinstance(verdict("/ocpp/CS01", offered), NoCommonProtocol)


def test_ocpp15_is_refused_with_the_mend() -> None:
    answer = verdict("/ocpp/CS01", ("ocpp1.5",))
    assert isinstance(answer, Refused)
    assert answer.status == 400
    assert "ocpp1.5" in answer.reason
    assert "ocpp1.6" in answer.reason


@pytest.mark.parametrize(
    "authorization",
    [
        None,
        b"",
        b"Basic",
        b"Basic !!!",
        b"Bearer abc",
        basic("CS03", b"wrong"),
        basic("CS01", PASSWORD),
        basic("CS03", PASSWORD + b"x"),
        b"Basic " + base64.b64encode(b"CS03"),
    ],
)
def test_a_wrong_password_is_refused(authorization: bytes | None) -> None:
    answer = verdict("/ocpp/CS03", authorization=authorization)
    assert isinstance(answer, Refused)
    assert answer.status == 401
    assert PASSWORD.decode() not in answer.reason


def test_the_right_password_opens_and_goes_no_further() -> None:
    answer = verdict("/ocpp/CS03", authorization=basic("CS03", PASSWORD))
    assert isinstance(answer, Admitted)
    assert answer.authorization is None


def test_a_password_that_we_do_not_check_is_carried_to_the_owner_and_not_shown() -> None:
    header = basic("CS01", b"for the backend")
    answer = verdict("/ocpp/CS01", authorization=header)
    assert isinstance(answer, Admitted)
    assert answer.authorization == header
    assert header.decode() not in repr(answer)
    assert PASSWORD.decode() not in repr(DOOR)
