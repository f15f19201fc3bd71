"""Which names a client certificate is for, as `ssl` gives it."""

import pytest

from controller.ocpp.frames import Version
from controller.stations.admission import (
    Admission,
    AdmissionRules,
    Rejection,
    certificate_names,
    decide_admission,
)

SUBJECT = ((("organizationName", "ACME"),), (("commonName", "CS01"),))


@pytest.mark.parametrize(
    ("certificate", "names"),
    [
        ({"subject": SUBJECT}, ("CS01",)),
        ({"subject": SUBJECT, "subjectAltName": (("DNS", "CS01"), ("DNS", "cs.eu"))}, ("CS01", "cs.eu")),
        ({"subjectAltName": (("URI", "wss://lc.example/ocpp/CS%2002"),)}, ("CS 02",)),
        ({"subjectAltName": (("URI", "wss://lc.example/ocpp/"), ("IP Address", "192.0.2.1"))}, ()),
        ({"subjectAltName": (("URI", "wss://[broken/CS01"),)}, ("CS01",)),
        ({}, ()),
    ],
)
def test_certificate_identity_names_are_read(certificate: dict[str, object], names: tuple[str, ...]) -> None:
    assert certificate_names(certificate) == names


DOOR = AdmissionRules("/ocpp", {"CS 01": None, "CS02": b"secret"}, tuple(Version))


def test_certificate_opens_for_own_id_alone_percent_decoded() -> None:
    assert isinstance(decide_admission(DOOR, "/ocpp/CS%2001", [], ["ocpp1.6"], ("x", "CS 01")), Admission)
    refused = decide_admission(DOOR, "/ocpp/CS02", [], ["ocpp1.6"], ("CS 01", "cs1.example"))
    assert refused == Rejection(
        403, "its certificate is for 'CS 01' or 'cs1.example', not for station 'CS02'", "CS02"
    )


def test_certificate_without_name_matches_no_station() -> None:
    refused = decide_admission(DOOR, "/ocpp/CS02", [], ["ocpp1.6"], ())
    assert isinstance(refused, Rejection)
    assert "is for nobody, not for station 'CS02'" in refused.reason


def test_certificate_does_not_replace_password() -> None:
    refused = decide_admission(DOOR, "/ocpp/CS02", [], ["ocpp1.6"], ("CS02",))
    assert isinstance(refused, Rejection)
    assert refused.status == 401
