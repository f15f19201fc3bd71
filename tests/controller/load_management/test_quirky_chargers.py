"""Each quirk against a charger that has it: limits are accepted and kept, the fallback is safe.

The chargers here refuse what the real ones refuse, independent of our table, and evaluate what they have
installed by a station's rules. At every second of the conversation they may take no more than is booked.
"""

from __future__ import annotations

import itertools
import json
import math
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from controller.chargers.capability_discovery import Capabilities, narrow_quirk
from controller.chargers.quirks import DAY_S, NO_QUIRK, LeaseForm, Quirk, find_quirk, limit_scope
from controller.demo.installed_profiles import Charging, InstalledProfiles, ProfileRefusedError, parse_profile
from controller.load_management.evse.learned_values import REACTION_S
from controller.load_management.evse.limit_delivery import LimitDelivery
from controller.load_management.site_tree import EvseNode
from controller.model.observations import EvseRef
from controller.ocpp.frames import Version
from controller.profiles.limit_profiles import LimitTerms, set_limit

START = datetime(2026, 3, 29, 0, 30, tzinfo=UTC)
LEASE_S = 120.0
EVSE = EvseNode(ref=EvseRef("A", 1), circuit="grid", phases=(0, 1, 2), min_a=6, max_a=32, fallback_a=6)
BOTH = frozenset({"Absolute", "Relative"})


@dataclass
class Charger:
    """One that refuses all but these, and has a car on three phases since the beginning."""

    boot: tuple[str, str, str]
    purposes: frozenset[str] = frozenset({"ChargePointMaxProfile", "TxDefaultProfile", "TxProfile"})
    levels: int = 8
    kinds: frozenset[str] = BOTH
    units: str = "AW"
    periods: int = 24
    profiles: int = 10
    steps_a: tuple[float, ...] = ()
    effective_units: str = "AW"
    reports: Capabilities = field(default_factory=Capabilities)
    refused: list[str] = field(default_factory=list)
    writes: list[float] = field(default_factory=list)
    limits_sent: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._installed = InstalledProfiles(230.0)

    def set(self, message: dict[str, Any], now: float) -> bool:
        """A SetChargingProfile; whether it is accepted."""
        profile = message["csChargingProfiles"]
        schedule = profile["chargingSchedule"]
        self.writes.append(now)
        self.limits_sent.append(schedule["chargingSchedulePeriod"][0]["limit"])
        wrong = [
            profile["chargingProfilePurpose"] not in self.purposes and "purpose",
            profile["stackLevel"] > self.levels and "stack level",
            profile["chargingProfileKind"] not in self.kinds and "kind",
            schedule["chargingRateUnit"] not in self.units and "unit",
            len(schedule["chargingSchedulePeriod"]) > self.periods and "periods",
        ]
        self.refused += [word for word in wrong if word]
        if any(wrong):
            return False
        if schedule["chargingRateUnit"] in self.effective_units:
            try:
                utc = (START + timedelta(seconds=now)).timestamp()
                self._installed.install(parse_profile(message, utc), "7")
            except ProfileRefusedError as refusal:
                self.refused.append(str(refusal))
                return False
            assert len(self._installed) <= self.profiles
        return True

    def limit_a(self, now: float) -> float:
        """What its car may take."""
        utc = (START + timedelta(seconds=now)).timestamp()
        limit_a = self._installed.limit_a(1, utc, Charging("7", START.timestamp(), 3))
        if self.steps_a and limit_a < math.inf:
            return max((step for step in self.steps_a if step <= limit_a), default=0.0)
        return limit_a


class DeliveryHarness:
    """The limit delivery of one EVSE, whose limits go to the charger."""

    def __init__(self, charger: Charger, phases: int = 3) -> None:
        self.charger = charger
        self.quirk = narrow_quirk(find_quirk(*charger.boot), charger.reports)
        self.delivery = LimitDelivery(EVSE, LEASE_S, itertools.count())
        self.delivery.apply_quirk(self.quirk, 0)
        self.delivery.on_connected(0)
        self.delivery.set_phases(phases)

    def run_pass(self, target_a: float, now: float, *, idle: bool = False) -> None:
        """Run one pass of the site control, answered at once."""
        for command in self.delivery.commands(target_a, EVSE.max_a, now, idle=idle):
            payload = set_limit(
                Version.V16,
                limit_scope(self.quirk, 1),
                1,
                command.kind,
                command.limit_w if self.quirk.in_watts else command.limit_a,
                START + timedelta(seconds=now),
                command.duration_s,
                LimitTerms(
                    quirk=self.quirk,
                    fallback=command.fallback_w if self.quirk.in_watts else command.fallback_a,
                ),
            )
            accepted = self.charger.set(json.loads(payload), now)
            self.delivery.on_answer(command.token, accepted, "Rejected", now)

    def expect_within(self, booked_a: float, now: float) -> None:
        assert self.charger.limit_a(now) <= booked_a + 1e-6
        assert self.charger.limit_a(now) <= self.delivery.standing(now).held_a + 1e-6


def terra() -> Charger:
    # It names a maximum of 3 and refuses all but 0.
    boot = ("ABB", "CDT_TACW22::NET_WIFI", "TAC3Z9119006710273::V1.8.21")
    return Charger(boot, levels=0, reports=Capabilities(max_stack_level=3))


def wallbox() -> Charger:
    return Charger(("Wall Box Chargers", "PLP1-0-2-4", "6.7.38"), kinds=frozenset({"Relative"}))


def wallbox_5() -> Charger:
    return Charger(("Wall Box Chargers", "PLP1-0-2-4", "5.17.87"), kinds=frozenset({"Relative"}), levels=0)


def easee() -> Charger:
    purposes = frozenset({"ChargePointMaxProfile", "TxDefaultProfile"})
    boot = ("Easee ASA", "Easee One", "343")
    return Charger(boot, purposes, kinds=frozenset({"Absolute"}), periods=16)


def go_e() -> Charger:
    return Charger(
        ("go-e", "Gemini", "056.8"), effective_units="A", reports=Capabilities(units=frozenset({"W"}))
    )


def wattpilot() -> Charger:
    return Charger(("Fronius", "Wattpilot", "40.7"), effective_units="A")


def huawei() -> Charger:
    return Charger(("Huawei", "SCharger-22KT-S0", ""), units="W")


def huawei_without_vendor() -> Charger:
    return Charger(("", "ACChargePoint", ""), units="W")


def elvi() -> Charger:
    return Charger(("EV-BOX", "Elvi", ""), frozenset({"TxDefaultProfile", "TxProfile"}))


def necharge() -> Charger:
    return Charger(("NEcharge", "", ""), steps_a=(6, 8, 10, 13, 16))


def plain() -> Charger:
    return Charger(("Somebody", "Something", "1"))


def reports_one_profile() -> Charger:
    return Charger(("Somebody", "", ""), profiles=1, reports=Capabilities(max_profiles=1))


def reports_one_profile_of_one_period() -> Charger:
    capabilities = Capabilities(max_profiles=1, max_periods=1)
    return Charger(("Somebody", "", ""), profiles=1, periods=1, reports=capabilities)


def reports_watts() -> Charger:
    return Charger(("Somebody", "", ""), units="W", reports=Capabilities(units=frozenset({"W"})))


CHARGERS = [
    plain,
    terra,
    wallbox,
    wallbox_5,
    easee,
    go_e,
    wattpilot,
    huawei,
    huawei_without_vendor,
    elvi,
    necharge,
    reports_one_profile,
    reports_one_profile_of_one_period,
    reports_watts,
]
ENDLESS = [wallbox_5, reports_one_profile_of_one_period]


@pytest.mark.parametrize("make", CHARGERS)
def test_quirky_charger_accepts_and_keeps_every_limit(make: Any) -> None:
    scenario = DeliveryHarness(make())
    for now, target_a in enumerate([12.0, 12.0, 9.5, 6.0]):
        scenario.run_pass(target_a, now)
        scenario.expect_within(target_a, now + 0.5)
    scenario.run_pass(16.0, 2000)
    scenario.expect_within(16.0, 2000.5)
    assert scenario.charger.refused == []
    assert scenario.delivery.standing(2001).problem is None
    assert scenario.charger.limit_a(2000.5) >= 6


@pytest.mark.parametrize("make", [make for make in CHARGERS if make not in ENDLESS])
def test_quirky_chargers_without_controller_end_at_fallback(make: Any) -> None:
    scenario = DeliveryHarness(make())
    scenario.run_pass(16.0, 0)
    lease_s = scenario.quirk.lease_s(LEASE_S)
    assert scenario.charger.limit_a(lease_s - 1) > 12
    fallback_a = 2 if scenario.quirk.in_watts else 6  # in W it is for a car on one phase, and this has three
    assert scenario.charger.limit_a(lease_s + 1) == pytest.approx(fallback_a, abs=0.01)
    assert scenario.charger.limit_a(lease_s + 40 * DAY_S) == pytest.approx(fallback_a, abs=0.01)


@pytest.mark.parametrize("make", ENDLESS)
def test_quirky_chargers_station_without_leases_counts_with_last_limit(make: Any) -> None:
    scenario = DeliveryHarness(make())
    scenario.run_pass(16.0, 0)
    scenario.delivery.on_disconnected(10)
    for now in (11, 1000, 40 * DAY_S):
        assert scenario.charger.limit_a(now) == 16
        assert scenario.delivery.standing(now).held_a == 16


@pytest.mark.parametrize("make", CHARGERS)
def test_quirky_charger_limit_never_exceeds_its_booking(make: Any) -> None:
    scenario = DeliveryHarness(make())
    scenario.run_pass(8.0, 0)
    for second in range(1, 900):
        target_a = 8.0 + 4 * (second // 60 % 3)
        if second < 500:  # then we are gone
            scenario.run_pass(target_a, second)
        if second > REACTION_S:
            scenario.expect_within(32.0, second)
    assert scenario.charger.refused == []


@pytest.mark.parametrize("make", [huawei, huawei_without_vendor])
def test_quirky_chargers_station_that_must_not_pause_counts_with_minimum(make: Any) -> None:
    scenario = DeliveryHarness(make())
    scenario.run_pass(16.0, 0)
    scenario.run_pass(0.0, 20)
    assert 0 not in scenario.charger.limits_sent
    assert scenario.charger.limit_a(21) == pytest.approx(6, abs=0.01)
    assert scenario.delivery.standing(21 + REACTION_S).held_a == 6


def test_quirky_chargers_others_are_reported_to_pause() -> None:
    scenario = DeliveryHarness(plain())
    scenario.run_pass(16.0, 0)
    scenario.run_pass(0.0, 20)
    assert scenario.charger.limit_a(21) == 0


def test_watts_are_whole_and_of_all_phases_that_share_them() -> None:
    scenario = DeliveryHarness(huawei())
    scenario.run_pass(10.1, 0)
    assert scenario.charger.limits_sent[-1] == 6969
    one_phase = DeliveryHarness(huawei(), phases=1)
    one_phase.run_pass(10.1, 0)
    assert one_phase.charger.limits_sent[-1] == 2323


def test_quirky_chargers_unused_part_of_step_is_free_for_others() -> None:
    scenario = DeliveryHarness(necharge())
    scenario.run_pass(12.9, 0)
    assert scenario.charger.limits_sent[-1] == 10
    assert isinstance(scenario.charger.limits_sent[-1], int)
    assert scenario.delivery.standing(REACTION_S).held_a == 10


def test_quirky_chargers_limit_below_minimum_is_pause() -> None:
    quirk = Quirk(name="coarse", steps_a=(5, 10))
    delivery = LimitDelivery(EVSE, LEASE_S, itertools.count())
    delivery.apply_quirk(quirk, 0)
    assert delivery.possible_a(9) == 0
    assert delivery.possible_a(10) == 10


def test_write_budget_reduces_writes_but_delays_no_cut() -> None:
    scenario = DeliveryHarness(easee())
    for minute in range(24 * 60):  # a restless day: the share goes up and down
        scenario.run_pass(10.0 + minute % 2 * 4, 60.0 * minute)
    writes = len(scenario.charger.writes)
    assert writes <= 25 + 2
    scenario.run_pass(7.0, DAY_S)
    assert scenario.charger.limit_a(DAY_S + 1) == 7


def test_station_without_write_budget_is_written_at_any_rate() -> None:
    scenario = DeliveryHarness(plain())
    for minute in range(60):
        scenario.run_pass(10.0 + minute % 2 * 4, 60.0 * minute)
    assert len(scenario.charger.writes) > 50


def test_quirky_chargers_slow_station_is_booked_until_it_has_followed() -> None:
    delivery = LimitDelivery(EVSE, LEASE_S, itertools.count())
    delivery.apply_quirk(Quirk(name="slow", reaction_s=30), 0)
    delivery.on_connected(0)
    for target_a, now in ((16.0, 0.0), (8.0, 50.0)):
        for command in delivery.commands(target_a, 32, now):
            delivery.on_answer(command.token, True, "", now)
    assert delivery.standing(79).held_a == 16
    assert delivery.standing(81).held_a == 8


def test_quirky_chargers_quirk_applied_again_changes_nothing() -> None:
    scenario = DeliveryHarness(plain())
    scenario.run_pass(16.0, 0)
    scenario.delivery.apply_quirk(NO_QUIRK, 1)
    assert scenario.delivery.standing(20).problem is None


def test_another_quirk_means_all_limits_anew() -> None:
    scenario = DeliveryHarness(plain())
    scenario.run_pass(16.0, 0)
    scenario.delivery.apply_quirk(find_quirk(*terra().boot), 1)
    assert scenario.delivery.standing(20).held_a == EVSE.max_a
    (command,) = scenario.delivery.commands(16, 32, 2)
    assert scenario.delivery.on_answer(command.token, True, "", 2)
    assert find_quirk(*terra().boot).form is LeaseForm.STEPPED
    assert scenario.delivery.standing(20).held_a == 16
