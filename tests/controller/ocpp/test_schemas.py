"""The schema check itself: it must be able to refuse."""

from __future__ import annotations

import jsonschema
import pytest

from controller.ocpp.frames import Version
from tests.controller.ocpp.schemas import check, request


@pytest.mark.parametrize("version", list(Version))
def test_schemas_check_of_invalid_payload_fails(version: Version) -> None:
    with pytest.raises(jsonschema.ValidationError):
        check(version, request(version, "SetChargingProfile"), b'{"connectorId":1}')


def test_schemas_check_sees_second_decimal() -> None:
    limit = b"""{"connectorId":0,"csChargingProfiles":{"chargingProfileId":1,"stackLevel":0,
        "chargingProfilePurpose":"ChargePointMaxProfile","chargingProfileKind":"Absolute","chargingSchedule":
        {"chargingRateUnit":"A","chargingSchedulePeriod":[{"startPeriod":0,"limit":6.%s}]}}}"""
    check(Version.V16, "SetChargingProfile", limit % b"1")
    with pytest.raises(jsonschema.ValidationError, match="multiple of"):
        check(Version.V16, "SetChargingProfile", limit % b"15")
