"""A backend's profiles that are kept here, and what they make of our limits."""

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
from controller.profiles.absorbed_profiles import MOST_ABSORBED
from controller.profiles.limit_profiles import LimitKind, LimitTerms, set_limit
from controller.profiles.profile_messages import BackendProfile, ProfilesAbsorbed, read_stored_profile
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
from tests.controller.relay.backend_profiles import (
    ACCEPTED,
    ENDED,
    LEASE_S,
    STARTED,
    WINDOW_S,
    begun,
    clearing,
    floor,
    lease,
    sets,
    setting,
    starts,
    whole,
)
from tests.controller.relay.playbook import UTC_0, Playbook, a_station, call, result


@pytest.fixture(params=list(Version))
def version(request: pytest.FixtureRequest) -> Version:
    return Version(request.param)


@pytest.fixture
def talk(version: Version) -> Playbook:
    """A station with one EVSE, which may be commanded."""
    return begun(version)


# -- what it makes of our limits ------------------------------------------------------------------------


def test_absorbed_profiles_lowest_limit_applies_until_it_is_cleared(version: Version, talk: Playbook) -> None:
    sets(talk, setting(version, (0, 10)), 10.0)
    talk.done()
    assert (lease(talk, 16), lease(talk, 8), floor(talk)) == (10, 8, 6)
    talk.backend(clearing(version, id=7))
    talk.backend_hears(ACCEPTED)
    talk.site_learns(BackendLimit(1, None))
    talk.done()
    assert lease(talk, 16) == 16


def test_absorbed_profiles_lower_fallback_is_set_and_ends_with_profile(
    version: Version, talk: Playbook
) -> None:
    sets(talk, setting(version, (0, 16), (7200, 4.5)), 16.0)
    talk.site_learns(ProfilesTouched("a backend's profile"))
    assert (lease(talk, 20), floor(talk)) == (16, 4.5)
    talk.backend(clearing(version, purpose=whole(version)))
    talk.backend_hears(ACCEPTED)
    talk.site_learns(BackendLimit(1, None))
    talk.site_learns(ProfilesTouched("a backend's profile"))
    assert floor(talk) == 6


def test_absorbed_profiles_lease_is_not_above_any_limit_of_length(version: Version, talk: Playbook) -> None:
    sets(talk, setting(version, (0, 16), (3600, 8), (7200, 12)), 16.0)
    talk.wait(3600 - WINDOW_S - 1)
    talk.done()
    talk.wait(2)
    talk.site_learns(BackendLimit(1, 8.0))
    assert lease(talk, 32) == 8
    talk.wait(3600 + WINDOW_S - 2)
    talk.done()
    talk.wait(2)
    talk.site_learns(BackendLimit(1, 12.0))
    talk.done()


def test_watts_are_divided_by_phases_and_rounded_down(version: Version, talk: Playbook) -> None:
    sets(talk, setting(version, (0, 11_000), unit="W"), 15.9)


def test_profile_replaces_same_id_and_same_place(version: Version, talk: Playbook) -> None:
    sets(talk, setting(version, (0, 10)), 10.0)
    sets(talk, setting(version, (0, 12), level=3), 12.0)
    sets(talk, setting(version, (0, 14), level=3, number=8), 14.0)
    talk.backend(clearing(version, id=7))
    talk.station_hears(clearing(version, id=7))


def test_profiles_above_most_are_rejected(version: Version, talk: Playbook) -> None:
    for number in range(MOST_ABSORBED):
        talk.kept.observations(talk.now)
        talk.backend(setting(version, (0, 10), number=number, level=number))
        talk.backend_hears(ACCEPTED)
        if number == 0:
            talk.site_learns(BackendLimit(1, 10.0))
    talk.backend(setting(version, (0, 10), number=99, level=99))
    talk.backend_hears_rejected("b")
    talk.noted("are set already")
    talk.backend(setting(version, (0, 10), number=1, level=1))
    talk.backend_hears(ACCEPTED)


def test_absorbed_profiles_are_persisted_and_restored(version: Version, talk: Playbook) -> None:
    assert talk.saved is None
    sets(talk, setting(version, (0, 10)), 10.0)
    assert talk.saved is not None
    saved = talk.saved.profiles
    again = a_station(LimitScope.STATION)
    stored = [read_stored_profile(version, each.profile.evse, each.raw) for each in saved]
    again.restore(version, [whole(version)], stored)
    next_talk = Playbook(version, kept=again, up=False)
    next_talk.commandable()
    next_talk.site_learns(BackendLimit(1, 10.0))
    assert (lease(next_talk, 16), next_talk.saved) == (10, None)
    talk.backend(clearing(version, id=7))
    assert talk.saved == ProfilesAbsorbed(())


def test_profiles_outlive_link_but_not_version(version: Version, talk: Playbook) -> None:
    sets(talk, setting(version, (0, 10)), 10.0)
    again = Playbook(version, kept=talk.kept)
    again.commandable()
    assert lease(again, 16) == 10
    other = next(each for each in Version if each is not version)
    Playbook(other, kept=talk.kept).site_learns(BackendLimit(1, None))


@settings(max_examples=100, deadline=None)
@given(any_profiles(), st.integers(0, 200))
def test_absorbed_profiles_limits_are_not_above_backends_while_they_apply(
    profiles: list[LimitProfile], after: int
) -> None:
    kept = a_station(LimitScope.STATION, lease_s=10.0)
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
    talk = begun(version, LimitScope.EVSE)
    sets(talk, setting(version, (0, 8), named="TxDefaultProfile"), 8.0, 8.0)
    starts(talk, version)
    talk.backend_hears(STARTED[version])
    talk.backend(result("s", '{"transactionId":5}'))
    talk.station_hears(result("s", '{"transactionId":5}'))
    transaction: Any = 5 if version is Version.V16 else "T1"
    own = setting(version, (0, 20), named="TxProfile", evse=1, number=9, transactionId=transaction)
    sets(talk, own, 20.0)
    talk.station(ENDED[version])
    talk.site_learns(TransactionSeen(1, False))
    if version is not Version.V16:
        talk.site_learns(StateSeen(1, EvseState.FINISHING))
    talk.site_learns(BackendLimit(1, 8.0))
    talk.backend_hears(ENDED[version])
    talk.done()
    assert lease(talk, 32) == 8
    talk.backend(own)
    talk.backend_hears_rejected("b")
    talk.noted("no transaction runs at EVSE 1")


def test_absorbed_profiles_relative_default_starts_with_transaction(version: Version) -> None:
    talk = begun(version, LimitScope.EVSE)
    sets(talk, setting(version, (0, 8), (600, 20), named="TxDefaultProfile", start=None), 8.0, 8.0)
    starts(talk, version)
    talk.backend_hears(STARTED[version])
    talk.backend(result("s", '{"transactionId":5}'))
    talk.station_hears(result("s", '{"transactionId":5}'))
    talk.wait(599)
    talk.wait(2)
    talk.site_learns(BackendLimit(1, 20.0))
    talk.done()


def test_absorbed_profiles_profile_for_unknown_evse_is_rejected(version: Version) -> None:
    talk = begun(version, LimitScope.EVSE)
    talk.backend(setting(version, (0, 8), named="TxDefaultProfile", evse=3))
    talk.backend_hears_rejected("b")
    talk.noted("EVSE 3 does not exist")


def test_profile_of_another_transaction_is_rejected(version: Version) -> None:
    old, new = (4, 5) if version is Version.V16 else ("T0", "T1")
    talk = begun(version, LimitScope.EVSE)
    starts(talk, version)
    talk.backend_hears(STARTED[version])
    talk.backend(result("s", '{"transactionId":5}'))
    talk.station_hears(result("s", '{"transactionId":5}'))
    talk.backend(setting(version, (0, 20), named="TxProfile", evse=1, number=9, transactionId=old))
    talk.backend_hears_rejected("b")
    talk.noted(f"transaction {old} does not run at EVSE 1")
    sets(talk, setting(version, (0, 20), named="TxProfile", evse=1, number=9, transactionId=new), 20.0)


def test_absorbed_profiles_profile_fits_1_6_transaction_without_number() -> None:
    version = Version.V16
    talk = begun(version, LimitScope.EVSE)
    starts(talk, version)
    talk.backend_hears(STARTED[version])
    sets(talk, setting(version, (0, 20), named="TxProfile", evse=1, number=9, transactionId=4), 20.0)


# -- stations that accept W only ------------------------------------------------------------------------


@pytest.mark.parametrize(("watts", "phases"), [(11_000, 3), (11_000, 1), (4_000, 1)])
def test_absorbed_profiles_limit_in_watts_stays_exact_to_station_and_back(watts: int, phases: int) -> None:
    version = Version.V16
    talk = begun(version)
    talk.kept.set_watt_phases(1, phases)
    talk.backend(setting(version, (0, watts), unit="W"))
    talk.backend_hears(ACCEPTED)
    allowed_a = watts / (230.0 * phases)
    talk.site_learns(BackendLimit(1, allowed_a))
    limit_a = talk.kept.cap_limit(1, LimitKind.LEASE, allowed_a, LEASE_S, talk.now, token=1)
    talk.kept.on_limit_result(1, accepted=True)
    quirk = Quirk(name="watts", unit="W")
    terms = LimitTerms(quirk=quirk, watts_per_ampere=230.0 * phases)
    now = datetime.fromtimestamp(UTC_0, UTC)
    kind, scope = LimitKind.LEASE, LimitScope.STATION
    sent = set_limit(version, scope, 1, kind, quirk.rounded_a(limit_a), now, LEASE_S, terms)
    schedule = json.loads(sent)["csChargingProfiles"]["chargingSchedule"]
    assert schedule["chargingSchedulePeriod"] == [{"startPeriod": 0, "limit": watts}]
    talk.backend(call("b", "GetCompositeSchedule", '{"connectorId":1,"duration":60}'))
    told = json.loads(talk.backend_hears_text())[2]["chargingSchedule"]
    most = min(watts, 32 * 230 * phases)
    assert told["chargingRateUnit"] == "W"
    assert told["chargingSchedulePeriod"] == [{"startPeriod": 0, "limit": most}]


# -- bounds ---------------------------------------------------------------------------------------------


def long_profile(version: Version, number: int, periods: int) -> str:
    limits = [(second, 10 + second % 7) for second in range(periods)]
    return setting(version, *limits, number=number, level=number)


def test_profiles_with_too_many_periods_in_all_are_rejected(version: Version, talk: Playbook) -> None:
    talk.backend(long_profile(version, 1, 1024))
    talk.backend_hears(ACCEPTED)
    talk.site_learns(BackendLimit(1, 10.0))
    talk.backend(long_profile(version, 2, 1024))
    talk.backend_hears(ACCEPTED)
    talk.backend(long_profile(version, 3, 2))
    talk.backend_hears_rejected("b")
    talk.noted("periods")


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
    talk = begun(version)
    frame = json.loads(setting(version, (0, 10)))
    frame[3]["chargingProfile"]["chargingSchedule"] *= 4
    talk.backend(json.dumps(frame))
    talk.backend_hears_rejected("b")
    talk.noted("it has 4 schedules")


def test_absorbed_profiles_limit_of_whole_station_caps_each_of_evses(version: Version) -> None:
    talk = begun(version, LimitScope.EVSE)
    text = setting(version, (0, 12), named=whole(version))
    talk.passes_down(text)
    talk.station(ACCEPTED)
    talk.backend_hears(ACCEPTED)
    talk.site_learns(BackendLimit(1, 12.0))
    talk.site_learns(BackendLimit(2, 12.0))
    assert lease(talk, 16, 2) == 12
    talk.passes_down(clearing(version, id=7))
    talk.station(ACCEPTED)
    talk.backend_hears(ACCEPTED)
    talk.site_learns(BackendLimit(1, None))
    talk.site_learns(BackendLimit(2, None))
