"""The controller as a station of its own, in conversation with the backend of the site."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from functools import partial
from typing import Any

import msgspec
import pytest

from controller.model.effects import BackendLost, BackendUp, TimePassed, ToBackend
from controller.model.journal import Persist, ProfilesStored
from controller.ocpp.frames import Version, parse
from controller.ocpp.payloads import format_time
from controller.site_identity.group_profiles import MOST_GROUP_PROFILES
from controller.site_identity.identity import (
    RETRY_S,
    IdentityEvent,
    OwnFrame,
    SiteBackendReached,
    SiteFrame,
    SiteIdentity,
    SiteIdentitySettings,
    SiteLimited,
)
from tests.controller.ocpp.schemas import check, request
from tests.controller.site_identity.test_group_profiles import NOON, setting

VERSIONS = pytest.mark.parametrize("version", list(Version))


def received(text: str) -> SiteFrame:
    """A text of the backend, as the identity gets it."""
    return SiteFrame(parse(text))


class IdentityHarness:
    """A `SiteIdentity` from second 0 on; each CALL that it sends is checked by its schema."""

    def __init__(self, version: Version) -> None:
        self.version = version
        ids = map(str, itertools.count(1))
        settings = SiteIdentitySettings(
            id="lc", version=version, firmware="1.0", voltage=230.0, connection_a=250.0
        )
        self.identity = SiteIdentity(settings, lambda: next(ids))
        self.others: list[object] = []

    def handle(self, event: IdentityEvent, now: float = 0.0) -> list[list[Any]]:
        """Pass an event; return the frames that are sent, the other effects go to `others`."""
        actions = self.identity.handle(event, now, NOON + now)
        sent = []
        for action in actions:
            match action:
                case OwnFrame(frame=own):
                    sent.append(msgspec.json.decode(own.text))
                case ToBackend(text=text):
                    sent.append(msgspec.json.decode(text))
                case _:
                    self.others.append(action)
        for frame in sent:
            if frame[0] == 2:
                check(self.version, request(self.version, frame[2]), msgspec.json.encode(frame[3]))
        return sent

    def request(self, action: str, payload: bytes, now: float = 0.0) -> list[Any]:
        """Send a CALL of the backend and return its one answer."""
        sent = self.handle(received(f'[2,"b","{action}",{payload.decode()}]'), now)
        assert len(sent) == 1
        assert sent[0][1] == "b"
        return sent[0]

    def boot(self, status: str, interval: int) -> list[list[Any]]:
        """Connect, answer the boot, and return the frames that follow."""
        [boot] = self.handle(BackendUp())
        assert boot[2] == "BootNotification"
        answer = {"status": status, "interval": interval, "currentTime": "2026-01-01T00:00:00Z"}
        return self.handle(received(msgspec.json.encode([3, boot[1], answer]).decode()))


@VERSIONS
def test_identity_boots_and_sends_heartbeats(version: Version) -> None:
    scenario = IdentityHarness(version)
    sent_actions = [frame[2] for frame in scenario.boot("Accepted", 300)]
    assert sent_actions == (["StatusNotification"] if version is Version.V16 else [])
    assert scenario.identity.deadline == 300
    assert scenario.handle(TimePassed(), 299) == []
    assert [frame[2] for frame in scenario.handle(TimePassed(), 300)] == ["Heartbeat"]
    assert scenario.identity.deadline == 600


@VERSIONS
@pytest.mark.parametrize(("status", "interval", "wait"), [("Pending", 20, 20), ("Rejected", 0, RETRY_S)])
def test_identity_boots_again_after_interval(
    version: Version, status: str, interval: int, wait: float
) -> None:
    scenario = IdentityHarness(version)
    assert scenario.boot(status, interval) == []
    assert scenario.identity.deadline == wait
    assert [frame[2] for frame in scenario.handle(TimePassed(), wait)] == ["BootNotification"]


@VERSIONS
def test_identity_limit_is_stored_before_accepted_and_outlives_link(version: Version) -> None:
    scenario = IdentityHarness(version)
    scenario.boot("Accepted", 300)
    scenario.others.clear()
    assert scenario.request("SetChargingProfile", setting(version, start=NOON, duration=600))[2] == {
        "status": "Accepted"
    }
    kept, limited = scenario.others
    assert isinstance(kept, Persist)
    [record] = kept.records
    assert isinstance(record, ProfilesStored)
    assert (record.station, record.version, len(record.profiles)) == ("lc", version, 1)
    assert limited == SiteLimited(40.0)
    scenario.handle(BackendLost("gone"), 10)
    assert scenario.identity.deadline == 600
    scenario.handle(TimePassed(), 600)
    assert scenario.others[2:] == [SiteBackendReached(False), SiteLimited(None)]


@VERSIONS
def test_identity_limit_follows_clock_that_was_set(version: Version) -> None:
    scenario = IdentityHarness(version)
    scenario.boot("Accepted", 300)
    scenario.request("SetChargingProfile", setting(version, start=NOON, duration=600))
    scenario.others.clear()
    scenario.identity.handle(TimePassed(), 1.0, NOON + 1.0)
    assert scenario.identity.handle(TimePassed(), 2.0, NOON + 700.0)[-1:] == [SiteLimited(None)]


DAY_S = 86_400.0


def restarted(version: Version, profile: bytes) -> SiteIdentity:
    """Return the identity after a restart 10 min after a profile was set: 0 s monotonic is then."""
    before = IdentityHarness(version)
    before.request("SetChargingProfile", profile)
    [kept] = [each for each in before.others if isinstance(each, Persist)]
    identity = IdentityHarness(version).identity
    identity.restore((each for each in kept.records if isinstance(each, ProfilesStored)), NOON + 600.0)
    return identity


def limits_in(actions: Sequence[object]) -> list[SiteLimited]:
    return [each for each in actions if isinstance(each, SiteLimited)]


@VERSIONS
@pytest.mark.parametrize("wrong_by_s", [-400 * DAY_S, -20_000 * DAY_S, 2 * DAY_S])
def test_identity_limit_holds_while_clock_may_be_wrong(version: Version, wrong_by_s: float) -> None:
    identity = restarted(version, setting(version, start=NOON, duration=7200))

    def limits_at(now: float) -> list[SiteLimited]:
        clock = NOON + 600.0 + wrong_by_s + now
        return limits_in(identity.handle(TimePassed(), now, clock, is_synchronised=False))

    assert limits_at(0.0) == [SiteLimited(40.0)]
    assert limits_at(6599.0) == []
    assert identity.deadline == 6600.0
    assert limits_at(6600.0) == [SiteLimited(None)]


@VERSIONS
def test_identity_limit_follows_synchronised_clock_alone(version: Version) -> None:
    identity = restarted(version, setting(version, start=NOON, duration=7200))
    limited = identity.handle(TimePassed(), 0.0, 100.0, is_synchronised=False)
    assert limits_in(limited) == [SiteLimited(40.0)]
    assert limits_in(identity.handle(TimePassed(), 10.0, NOON + 7199.0)) == []
    assert limits_in(identity.handle(TimePassed(), 11.0, NOON + 7200.0)) == [SiteLimited(None)]


@VERSIONS
def test_identity_limit_follows_backend_clock_until_synchronised(version: Version) -> None:
    scenario = IdentityHarness(version)
    handle = partial(scenario.identity.handle, is_synchronised=False)
    [boot] = handle(BackendUp(), 0.0, 100.0)
    assert isinstance(boot, OwnFrame)
    answer = {"status": "Accepted", "interval": 300, "currentTime": format_time(NOON)}
    accepted = msgspec.json.encode([3, boot.frame.id, answer]).decode()
    handle(received(accepted), 0.0, 100.0)
    profile = setting(version, start=NOON, duration=600).decode()
    actions = handle(received(f'[2,"b","SetChargingProfile",{profile}]'), 1.0, 101.0)
    assert limits_in(actions) == [SiteLimited(40.0)]


@VERSIONS
@pytest.mark.parametrize(("action", "status"), [("Reset", "Rejected"), ("TriggerMessage", "NotImplemented")])
def test_identity_site_rejects_what_it_does_not_support(version: Version, action: str, status: str) -> None:
    answer = IdentityHarness(version).request(action, b"{}")
    check(version, f"{action}Response", msgspec.json.encode(answer[2]))
    assert answer[2]["status"] == status


@VERSIONS
def test_other_calls_are_not_implemented(version: Version) -> None:
    answer = IdentityHarness(version).request("UnlockConnector", b"{}")
    assert (answer[0], answer[2]) == (4, "NotImplemented")


@VERSIONS
def test_malformed_frame_is_answered_without_effect(version: Version) -> None:
    scenario = IdentityHarness(version)
    assert scenario.handle(received('[3,"nobody asked",{}]')) == []
    assert [frame[0] for frame in scenario.handle(received('[2,"b"]'))] == [4]


NEW = pytest.mark.parametrize("version", [Version.V201, Version.V21])


@NEW
def test_reports_follow_their_answer_in_turn(version: Version) -> None:
    scenario = IdentityHarness(version)
    scenario.boot("Accepted", 60)
    scenario.request("SetChargingProfile", setting(version))
    [heartbeat] = scenario.handle(TimePassed(), 60)
    answer = scenario.request(
        "GetChargingProfiles", b'{"requestId":7,"chargingProfile":{"stackLevel":0}}', 61
    )
    assert answer[2] == {"status": "Accepted"}
    [report] = scenario.handle(received(f'[3,"{heartbeat[1]}",{{"currentTime":"2026-01-01T00:00:00Z"}}]'), 62)
    assert report[2] == "ReportChargingProfiles"
    assert (report[3]["requestId"], report[3]["chargingLimitSource"], report[3]["evseId"]) == (7, "CSO", 0)
    assert [profile["id"] for profile in report[3]["chargingProfile"]] == [1]


@NEW
@pytest.mark.parametrize(
    "criteria", ['{"stackLevel":1}', '{"chargingProfileId":[2]}', '{"chargingLimitSource":["EMS"]}']
)
def test_missing_profiles_are_not_reported(version: Version, criteria: str) -> None:
    scenario = IdentityHarness(version)
    scenario.request("SetChargingProfile", setting(version))
    asked = f'{{"requestId":7,"chargingProfile":{criteria}}}'.encode()
    assert scenario.request("GetChargingProfiles", asked)[2] == {"status": "NoProfiles"}


@NEW
def test_reports_end_with_their_link(version: Version) -> None:
    scenario = IdentityHarness(version)
    scenario.request("SetChargingProfile", setting(version))
    scenario.handle(BackendUp())
    scenario.request("GetChargingProfiles", b'{"requestId":7,"chargingProfile":{"stackLevel":0}}')
    assert scenario.handle(BackendLost("gone")) == []
    assert [frame[2] for frame in scenario.handle(BackendUp())] == ["BootNotification"]


def test_bounds_are_answered_in_1_6() -> None:
    asked = b'{"key":["MaxChargingProfilesInstalled","Nonsense"]}'
    answer = IdentityHarness(Version.V16).request("GetConfiguration", asked)[2]
    check(Version.V16, "GetConfigurationResponse", msgspec.json.encode(answer))
    bound = {"key": "MaxChargingProfilesInstalled", "readonly": True, "value": str(MOST_GROUP_PROFILES)}
    assert answer == {"configurationKey": [bound], "unknownKey": ["Nonsense"]}
    everything = IdentityHarness(Version.V16).request("GetConfiguration", b"{}")[2]
    assert bound in everything["configurationKey"]
    assert everything["unknownKey"] == []


@NEW
@pytest.mark.parametrize(
    ("component", "variable", "more", "status", "value"),
    [
        ("SmartChargingCtrlr", '{"name":"RateUnit"}', "", "Accepted", "A,W"),
        ("SmartChargingCtrlr", '{"name":"Entries","instance":"ChargingProfiles"}', "", "Accepted", "20"),
        ("SmartChargingCtrlr", '{"name":"Entries"}', "", "UnknownVariable", None),
        ("EVSE", '{"name":"RateUnit"}', "", "UnknownComponent", None),
        (
            "SmartChargingCtrlr",
            '{"name":"RateUnit"}',
            ',"attributeType":"Target"',
            "NotSupportedAttributeType",
            None,
        ),
    ],
)
def test_bounds_are_answered_in_2x(
    version: Version, component: str, variable: str, more: str, status: str, value: str | None
) -> None:
    asked = f'{{"getVariableData":[{{"component":{{"name":"{component}"}},"variable":{variable}{more}}}]}}'
    answer = IdentityHarness(version).request("GetVariables", asked.encode())[2]
    check(version, "GetVariablesResponse", msgspec.json.encode(answer))
    [result] = answer["getVariableResult"]
    assert (result["attributeStatus"], result.get("attributeValue")) == (status, value)
