"""Absorbed profiles of a backend, and their effect on the limits."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.chargers.quirks import LimitScope, Quirk
from controller.model.observations import BackendLimit, EvseState, ProfilesTouched, StateSeen, TransactionSeen
from controller.ocpp.frames import Version
from controller.profiles.absorbed_profiles import (
    CLOCK_CHECK_S,
    MOST_ABSORBED,
    AbsorbedProfiles,
    EvseWiring,
)
from controller.profiles.limit_profiles import LimitKind, LimitTerms, set_limit
from controller.profiles.profile_messages import BackendProfile, read_stored_profile
from controller.profiles.schedule import (
    DAY_S,
    MOST_STEPS,
    LimitPeriod,
    LimitProfile,
    LimitSchedule,
    ProfilePurpose,
    ScheduleContext,
    _Sweep,
    composite,
    limit_at,
)
from tests.controller.profiles.test_schedule import MONDAY, any_profiles
from tests.examples import examples
from tests.scenario.backend_profiles import (
    ACCEPTED,
    ENDED,
    LEASE_S,
    STARTED,
    WINDOW_S,
    clear_call,
    make_commandable_relay,
    profile_call,
    set_fallback,
    set_lease,
    set_profile,
    start_transaction,
    station_purpose,
)
from tests.scenario.frames import call, result
from tests.scenario.relay_harness import UTC_0, RelayHarness, make_absorbed_profiles


@pytest.fixture(params=list(Version))
def version(request: pytest.FixtureRequest) -> Version:
    return Version(request.param)


@pytest.fixture
def scenario(version: Version) -> RelayHarness:
    """A station with one EVSE, which may be commanded."""
    return make_commandable_relay(version)


# -- what it makes of our limits ------------------------------------------------------------------------


def test_absorbed_profiles_lowest_limit_applies_until_it_is_cleared(
    version: Version, scenario: RelayHarness
) -> None:
    set_profile(scenario, profile_call(version, (0, 10)), 10.0)
    scenario.expect_nothing()
    assert (set_lease(scenario, 16), set_lease(scenario, 8), set_fallback(scenario)) == (10, 8, 6)
    scenario.csms.send(clear_call(version, id=7))
    scenario.csms.receive(ACCEPTED)
    scenario.expect_observation(BackendLimit(1, None))
    scenario.expect_nothing()
    assert set_lease(scenario, 16) == 16


def test_absorbed_profiles_lower_fallback_is_set_and_ends_with_profile(
    version: Version, scenario: RelayHarness
) -> None:
    set_profile(scenario, profile_call(version, (0, 16), (7200, 4.5)), 16.0)
    scenario.expect_observation(ProfilesTouched("a backend's profile"))
    assert (set_lease(scenario, 20), set_fallback(scenario)) == (16, 4.5)
    scenario.csms.send(clear_call(version, purpose=station_purpose(version)))
    scenario.csms.receive(ACCEPTED)
    scenario.expect_observation(BackendLimit(1, None))
    scenario.expect_observation(ProfilesTouched("a backend's profile"))
    assert set_fallback(scenario) == 6


def test_absorbed_profiles_lease_is_not_above_any_limit_of_length(
    version: Version, scenario: RelayHarness
) -> None:
    set_profile(scenario, profile_call(version, (0, 16), (3600, 8), (7200, 12)), 16.0)
    scenario.wait(3600 - WINDOW_S - 1)
    scenario.expect_nothing()
    scenario.wait(2)
    scenario.expect_observation(BackendLimit(1, 8.0))
    assert set_lease(scenario, 32) == 8
    scenario.wait(3600 + WINDOW_S - 2)
    scenario.expect_nothing()
    scenario.wait(2)
    scenario.expect_observation(BackendLimit(1, 12.0))
    scenario.expect_nothing()


def test_watts_are_divided_by_phases_and_rounded_down(version: Version, scenario: RelayHarness) -> None:
    set_profile(scenario, profile_call(version, (0, 11_000), unit="W"), 15.9)


def test_profile_replaces_same_id_and_same_place(version: Version, scenario: RelayHarness) -> None:
    set_profile(scenario, profile_call(version, (0, 10)), 10.0)
    set_profile(scenario, profile_call(version, (0, 12), level=3), 12.0)
    set_profile(scenario, profile_call(version, (0, 14), level=3, number=8), 14.0)
    scenario.csms.send(clear_call(version, id=7))
    scenario.station.receive(clear_call(version, id=7))


def test_profiles_above_most_are_rejected(version: Version, scenario: RelayHarness) -> None:
    for number in range(MOST_ABSORBED):
        scenario.profiles.observations(scenario.now)
        scenario.csms.send(profile_call(version, (0, 10), number=number, level=number))
        scenario.csms.receive(ACCEPTED)
        if number == 0:
            scenario.expect_observation(BackendLimit(1, 10.0))
    scenario.csms.send(profile_call(version, (0, 10), number=99, level=99))
    scenario.csms.receive_rejection("b")
    scenario.expect_log("are set already")
    scenario.csms.send(profile_call(version, (0, 10), number=1, level=1))
    scenario.csms.receive(ACCEPTED)


def test_absorbed_profiles_are_persisted_and_restored(version: Version, scenario: RelayHarness) -> None:
    assert scenario.stored_profiles is None
    set_profile(scenario, profile_call(version, (0, 10)), 10.0)
    assert scenario.stored_profiles is not None
    saved = scenario.stored_profiles.profiles
    again = make_absorbed_profiles(LimitScope.STATION)
    stored = [read_stored_profile(version, each.evse, each.profile) for each in saved]
    again.restore(version, [station_purpose(version)], stored)
    next_link = RelayHarness(version, profiles=again, up=False)
    next_link.make_commandable()
    next_link.expect_observation(BackendLimit(1, 10.0))
    assert (set_lease(next_link, 16), next_link.stored_profiles) == (10, None)
    scenario.csms.send(clear_call(version, id=7))
    assert scenario.stored_profiles.profiles == ()


def test_profiles_outlive_link_but_not_version(version: Version, scenario: RelayHarness) -> None:
    set_profile(scenario, profile_call(version, (0, 10)), 10.0)
    again = RelayHarness(version, profiles=scenario.profiles)
    again.make_commandable()
    assert set_lease(again, 16) == 10
    other = next(each for each in Version if each is not version)
    RelayHarness(other, profiles=scenario.profiles).expect_observation(BackendLimit(1, None))


@settings(max_examples=examples(100), deadline=None)
@given(any_profiles(), st.integers(0, 200))
def test_absorbed_profiles_limits_are_not_above_backends_while_they_apply(
    profiles: list[LimitProfile], after: int
) -> None:
    kept = make_absorbed_profiles(LimitScope.STATION, lease_s=10.0)
    kept.restore(Version.V16, [""], [BackendProfile(profile=each, purpose="", raw=b"") for each in profiles])
    now = MONDAY - UTC_0 + after
    context = ScheduleContext(evse=1, phases=3, voltage=230.0)
    given_a = kept.cap_limit(1, LimitKind.LEASE, 32.0, 10.0, now)
    left_a = kept.cap_limit(1, LimitKind.FALLBACK, 32.0, None, now)
    for later in range(10 + 2 * 60):
        allowed = limit_at(profiles, MONDAY + after + later, context)
        assert allowed is None or max(given_a, left_a) <= allowed


# -- several EVSEs: defaults and transactions -----------------------------------------------------------


def test_absorbed_profiles_transaction_profile_ends_with_transaction(version: Version) -> None:
    scenario = make_commandable_relay(version, LimitScope.EVSE)
    set_profile(scenario, profile_call(version, (0, 8), named="TxDefaultProfile"), 8.0, 8.0)
    start_transaction(scenario, version)
    scenario.csms.receive(STARTED[version])
    scenario.csms.send(result("s", '{"transactionId":5}'))
    scenario.station.receive(result("s", '{"transactionId":5}'))
    transaction: Any = 5 if version is Version.V16 else "T1"
    own = profile_call(version, (0, 20), named="TxProfile", evse=1, number=9, transactionId=transaction)
    set_profile(scenario, own, 20.0)
    scenario.station.send(ENDED[version])
    scenario.expect_observation(TransactionSeen(1, False))
    if version is not Version.V16:
        scenario.expect_observation(StateSeen(1, EvseState.FINISHING))
    scenario.expect_observation(BackendLimit(1, 8.0))
    scenario.csms.receive(ENDED[version])
    scenario.expect_nothing()
    assert set_lease(scenario, 32) == 8
    scenario.csms.send(own)
    scenario.csms.receive_rejection("b")
    scenario.expect_log("no transaction runs at EVSE 1")


def test_absorbed_profiles_relative_default_starts_with_transaction(version: Version) -> None:
    scenario = make_commandable_relay(version, LimitScope.EVSE)
    set_profile(
        scenario, profile_call(version, (0, 8), (600, 20), named="TxDefaultProfile", start=None), 8.0, 8.0
    )
    start_transaction(scenario, version)
    scenario.csms.receive(STARTED[version])
    scenario.csms.send(result("s", '{"transactionId":5}'))
    scenario.station.receive(result("s", '{"transactionId":5}'))
    scenario.wait(599)
    scenario.wait(2)
    scenario.expect_observation(BackendLimit(1, 20.0))
    scenario.expect_nothing()


def test_absorbed_profiles_profile_for_unknown_evse_is_rejected(version: Version) -> None:
    scenario = make_commandable_relay(version, LimitScope.EVSE)
    scenario.csms.send(profile_call(version, (0, 8), named="TxDefaultProfile", evse=3))
    scenario.csms.receive_rejection("b")
    scenario.expect_log("EVSE 3 does not exist")


def test_profile_of_another_transaction_is_rejected(version: Version) -> None:
    old, new = (4, 5) if version is Version.V16 else ("T0", "T1")
    scenario = make_commandable_relay(version, LimitScope.EVSE)
    start_transaction(scenario, version)
    scenario.csms.receive(STARTED[version])
    scenario.csms.send(result("s", '{"transactionId":5}'))
    scenario.station.receive(result("s", '{"transactionId":5}'))
    scenario.csms.send(profile_call(version, (0, 20), named="TxProfile", evse=1, number=9, transactionId=old))
    scenario.csms.receive_rejection("b")
    scenario.expect_log(f"transaction {old} does not run at EVSE 1")
    set_profile(
        scenario, profile_call(version, (0, 20), named="TxProfile", evse=1, number=9, transactionId=new), 20.0
    )


def test_absorbed_profiles_profile_fits_1_6_transaction_without_number() -> None:
    version = Version.V16
    scenario = make_commandable_relay(version, LimitScope.EVSE)
    start_transaction(scenario, version)
    scenario.csms.receive(STARTED[version])
    set_profile(
        scenario, profile_call(version, (0, 20), named="TxProfile", evse=1, number=9, transactionId=4), 20.0
    )


UNITS: dict[str, dict[str, str]] = {
    "": {},
    "A": {"chargingRateUnit": "A"},
    "W": {"chargingRateUnit": "W"},
}


# -- stations that accept W only ------------------------------------------------------------------------


def answered_composite(scenario: RelayHarness, version: Version, unit: str) -> float:
    """Return the one limit of the composite schedule that the backend is answered with."""
    target = "connectorId" if version is Version.V16 else "evseId"
    scenario.csms.send(
        call("b", "GetCompositeSchedule", json.dumps({target: 1, "duration": 60} | UNITS[unit]))
    )
    answer = json.loads(scenario.csms.receive_text())[2]
    schedule = answer["chargingSchedule" if version is Version.V16 else "schedule"]
    assert schedule["chargingRateUnit"] == ("A" if unit == "A" else "W")
    [period] = schedule["chargingSchedulePeriod"]
    return float(period["limit"])


@pytest.mark.parametrize("watts", [11_000, 4_000, 1_380])
def test_absorbed_profile_in_watts_stays_exact_to_station_and_back(
    version: Version, scenario: RelayHarness, watts: int
) -> None:
    scenario.profiles.set_in_watts(True)
    scenario.csms.send(profile_call(version, (0, watts), unit="W"))
    scenario.csms.receive(ACCEPTED)
    scenario.expect_observation(BackendLimit(1, None, watts))
    if watts < 3 * 6 * 230:
        scenario.expect_observation(ProfilesTouched("a backend's profile"))  # the fallback is above it
    limit_w = scenario.profiles.cap_limit(1, LimitKind.LEASE, 11_040.0, LEASE_S, scenario.now, token=1)
    scenario.profiles.on_limit_result(1, accepted=True)
    now, terms = datetime.fromtimestamp(UTC_0, UTC), LimitTerms(quirk=Quirk(name="watts", unit="W"))
    sent = json.loads(
        set_limit(Version.V16, LimitScope.STATION, 1, LimitKind.LEASE, limit_w, now, LEASE_S, terms)
    )
    schedule = sent["csChargingProfiles"]["chargingSchedule"]
    assert schedule["chargingSchedulePeriod"] == [{"startPeriod": 0, "limit": watts}]
    assert answered_composite(scenario, version, "") == watts
    assert answered_composite(scenario, version, "W") == watts
    assert answered_composite(scenario, version, "A") == round(watts / 690, 1)


def test_absorbed_profile_in_amperes_allows_watts_of_its_phases(
    version: Version, scenario: RelayHarness
) -> None:
    scenario.profiles.set_in_watts(True)
    scenario.csms.send(profile_call(version, (0, 10)))
    scenario.csms.receive(ACCEPTED)
    scenario.expect_observation(BackendLimit(1, None, 6_900))
    assert scenario.profiles.cap_limit(1, LimitKind.LEASE, 11_040.0, LEASE_S, scenario.now) == 6_900


def test_absorbed_profiles_unit_change_reports_limit_in_new_unit(
    version: Version, scenario: RelayHarness
) -> None:
    set_profile(scenario, profile_call(version, (0, 10)), 10.0)
    scenario.profiles.set_in_watts(True)
    scenario.wait(0)
    scenario.expect_observation(BackendLimit(1, None, 6_900))
    scenario.profiles.set_in_watts(False)
    scenario.wait(0)
    scenario.expect_observation(BackendLimit(1, 10.0))


# -- bounds ---------------------------------------------------------------------------------------------


def long_profile(version: Version, number: int, periods: int) -> str:
    limits = [(second, 10 + second % 7) for second in range(periods)]
    return profile_call(version, *limits, number=number, level=number)


def test_profiles_with_too_many_periods_in_all_are_rejected(version: Version, scenario: RelayHarness) -> None:
    scenario.csms.send(long_profile(version, 1, 1024))
    scenario.csms.receive(ACCEPTED)
    scenario.expect_observation(BackendLimit(1, 10.0))
    scenario.csms.send(long_profile(version, 2, 1024))
    scenario.csms.receive(ACCEPTED)
    scenario.csms.send(long_profile(version, 3, 2))
    scenario.csms.receive_rejection("b")
    scenario.expect_log("periods")


def test_evaluation_of_longest_profiles_is_bounded(version: Version) -> None:
    profiles = [
        LimitProfile(
            id=number,
            evse=0,
            purpose=ProfilePurpose.STATION,
            stack_level=number,
            every_s=DAY_S,
            schedules=(LimitSchedule(start=MONDAY, periods=periods, watts=True),) * 3,
        )
        for number, periods in enumerate([tuple(LimitPeriod(s, s % 32) for s in range(341))] * 2)
    ]
    context = ScheduleContext(evse=1, phases=3, voltage=230.0)
    found = composite(profiles, MONDAY, 2_147_483_647, context)
    assert len(found.spans) <= MOST_STEPS + 1
    assert MONDAY < found.end < MONDAY + 2 * DAY_S
    visits = _Sweep(profiles, context)
    assert sum(1 for _ in visits.run(MONDAY, MONDAY + 1e9, MOST_STEPS)) <= MOST_STEPS + 1


def test_more_than_three_schedules_are_rejected() -> None:
    version = Version.V201
    scenario = make_commandable_relay(version)
    frame = json.loads(profile_call(version, (0, 10)))
    frame[3]["chargingProfile"]["chargingSchedule"] *= 4
    scenario.csms.send(json.dumps(frame))
    scenario.csms.receive_rejection("b")
    scenario.expect_log("it has 4 schedules")


def test_absorbed_profiles_limit_of_whole_station_caps_each_of_evses(version: Version) -> None:
    scenario = make_commandable_relay(version, LimitScope.EVSE)
    text = profile_call(version, (0, 12), named=station_purpose(version))
    scenario.forward_down(text)
    scenario.station.send(ACCEPTED)
    scenario.csms.receive(ACCEPTED)
    scenario.expect_observation(BackendLimit(1, 12.0))
    scenario.expect_observation(BackendLimit(2, 12.0))
    assert set_lease(scenario, 16, 2) == 12
    scenario.forward_down(clear_call(version, id=7))
    scenario.station.send(ACCEPTED)
    scenario.csms.receive(ACCEPTED)
    scenario.expect_observation(BackendLimit(1, None))
    scenario.expect_observation(BackendLimit(2, None))


def test_begin_of_known_transaction_touches_no_profile() -> None:
    """A station repeats it, or its car is authorized once the transaction runs: its TxProfile stays."""
    profiles = make_absorbed_profiles(LimitScope.STATION)
    profiles.on_observation(TransactionSeen(1, True, "T", waits=True), 10.0)
    revision = profiles.revision
    profiles.on_observation(TransactionSeen(1, True, "T"), 20.0)
    assert profiles.revision == revision
    profiles.on_observation(TransactionSeen(1, True, "U"), 30.0)
    assert profiles.revision > revision


# -- the gateway's clock is set -------------------------------------------------------------------------


class SetClock:
    """The gateway's clock, which is wrong by `wrong_s`."""

    def __init__(self, wrong_s: float) -> None:
        self.wrong_s = wrong_s

    def utc_of(self, now: float) -> float:
        return UTC_0 + self.wrong_s + now


def restored_profile(schedule: LimitSchedule, purpose: ProfilePurpose) -> BackendProfile:
    profile = LimitProfile(id=1, evse=1, purpose=purpose, stack_level=0, schedules=(schedule,))
    return BackendProfile(profile=profile, purpose="TxDefaultProfile", raw=b"{}")


@pytest.mark.parametrize("wrong_s", [-200 * DAY_S, 200 * DAY_S, -3600.0])
def test_limit_of_backend_follows_clock_that_is_set(wrong_s: float) -> None:
    clock = SetClock(wrong_s)
    wired = EvseWiring(phases=3, max_a=32.0, fallback_a=6.0)
    profiles = AbsorbedProfiles({1: wired}, 230.0, 120.0, clock.utc_of)
    schedule = LimitSchedule(start=UTC_0, periods=(LimitPeriod(0, 10.0),), duration_s=3000.0)
    restored = restored_profile(schedule, ProfilePurpose.DEFAULT)
    profiles.restore(Version.V16, ["TxDefaultProfile"], [restored])
    assert profiles.observations(0.0) == []
    clock.wrong_s = 0.0
    assert profiles.deadline is not None
    assert profiles.deadline <= CLOCK_CHECK_S
    assert profiles.observations(profiles.deadline) == [BackendLimit(1, 10.0)]


def test_relative_limit_begins_with_transaction_though_clock_is_set() -> None:
    clock = SetClock(-200 * DAY_S)
    wired = EvseWiring(phases=3, max_a=32.0, fallback_a=6.0)
    profiles = AbsorbedProfiles({1: wired}, 230.0, 120.0, clock.utc_of)
    schedule = LimitSchedule(start=None, periods=(LimitPeriod(0, 10.0), LimitPeriod(600, 20.0)))
    restored = restored_profile(schedule, ProfilePurpose.DEFAULT)
    profiles.restore(Version.V16, ["TxDefaultProfile"], [restored])
    profiles.on_observation(TransactionSeen(1, True), 0.0)
    assert profiles.observations(1.0) == [BackendLimit(1, 10.0)]
    clock.wrong_s = 0.0
    assert profiles.observations(100.0) == []
    assert profiles.observations(600.1) == [BackendLimit(1, 20.0)]
