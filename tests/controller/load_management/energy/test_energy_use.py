"""Energy of sessions and groups: quotas of a day, who is behind, who gives its place."""

from __future__ import annotations

import pytest

from controller.load_management.energy.energy_records import EnergyCounted, QuotaStored, SessionEnergyStored
from controller.load_management.energy.energy_settings import GroupSettings
from controller.load_management.energy.energy_use import STORED_WH, EnergyUse
from controller.load_management.events import EvseUse
from controller.model.observations import EvseRef
from tests.controller.load_management.energy.evse_uses import make_use

A, B, C = (EvseRef(name, 1) for name in "ABC")
DAY = "2026-11-27"


def use(drawn_w: float, *, has_demand: bool = True, priority: int = 0) -> EvseUse:
    return make_use(has_demand=has_demand, is_served=drawn_w > 0, drawn_w=drawn_w, priority=priority)


def bakery(records: list[EnergyCounted] | None = None) -> EnergyUse:
    records = [] if records is None else records
    return EnergyUse([GroupSettings(id="bakery", evses=frozenset({A, B}), quota_wh=20_000.0)], records)


def restore_all(energy: EnergyUse, records: list[EnergyCounted]) -> None:
    for record in records:
        assert isinstance(record, QuotaStored | SessionEnergyStored)
        energy.restore(record)


def counted(
    energy: EnergyUse, uses: dict[EvseRef, EvseUse], seconds: int, begin: float = 0.0, day: str = DAY
) -> None:
    for second in range(0, seconds + 1, 5):
        energy.count(uses, day, begin + second)


def test_energy_use_quota_ends_for_all_evses_of_group() -> None:
    energy = bakery()
    counted(energy, {A: use(10_000.0), B: use(8_000.0)}, 3600)
    assert energy.used_wh("bakery", DAY) == pytest.approx(18_000.0)
    assert energy.exhausted(DAY) == {}
    counted(energy, {A: use(10_000.0), B: use(8_000.0)}, 600, begin=3600.0)
    assert set(energy.exhausted(DAY)) == {A, B}
    assert energy.exhausted(DAY)[A].name == "bakery"


def test_energy_use_quota_begins_anew_with_day() -> None:
    energy = bakery()
    counted(energy, {A: use(22_000.0)}, 3600)
    assert energy.exhausted(DAY)
    assert energy.exhausted("2026-11-28") == {}
    counted(energy, {A: use(1_000.0)}, 3600, begin=3600.0, day="2026-11-28")
    assert energy.used_wh("bakery", "2026-11-28") == pytest.approx(1000.0)


def test_quota_record_follows_use_within_part_of_it() -> None:
    records: list[EnergyCounted] = []
    counted(bakery(records), {A: use(22_000.0)}, 3600)
    assert len(records) <= 110
    stored = records[-1]
    assert isinstance(stored, QuotaStored)
    after = bakery()
    after.restore(stored)
    assert after.used_wh("bakery", DAY) == pytest.approx(22_000.0, abs=201.0)
    after.restore(QuotaStored("gone", DAY, 1.0))


def test_energy_use_stopped_clock_counts_at_most_minute() -> None:
    energy = bakery()
    energy.count({A: use(6_000.0)}, DAY, 0.0)
    energy.count({A: use(6_000.0)}, DAY, 7200.0)
    assert energy.used_wh("bakery", DAY) == pytest.approx(100.0)


def test_energy_use_behind_begins_band_below_mean_and_ends_at_it() -> None:
    energy = EnergyUse([], [])
    counted(energy, {A: use(11_000.0), B: use(11_000.0), C: use(0.0)}, 540)
    assert energy.behind({A: use(0), B: use(0), C: use(0)}) == {C}
    counted(energy, {C: use(11_000.0)}, 530, begin=540.0)
    assert energy.behind({A: use(0), B: use(0), C: use(0)}) == {C}
    counted(energy, {C: use(11_000.0)}, 60, begin=1070.0)
    assert energy.behind({A: use(0), B: use(0), C: use(0)}) == set()


def test_energy_use_behind_compares_waiting_cars_of_priority() -> None:
    energy = EnergyUse([], [])
    counted(energy, {A: use(22_000.0), B: use(0.0)}, 3600)
    assert energy.behind({A: use(0), B: use(0, priority=1)}) == set()
    assert energy.behind({A: use(0, has_demand=False), B: use(0)}) == set()
    assert energy.behind({A: use(0), B: use(0)}) == {B}


def test_session_energy_begins_at_zero() -> None:
    energy = EnergyUse([], [])
    counted(energy, {A: use(22_500.0)}, 3600)
    assert energy.turn_energies([A, B]) == {A: 22_000.0, B: 0.0}
    energy.on_transaction(A, True)
    assert energy.session_wh(A) == 0.0


def test_session_energy_with_fairness_outlives_restart() -> None:
    records: list[EnergyCounted] = []
    before = EnergyUse([], records, stores_sessions=True)
    counted(before, {A: use(11_000.0), B: use(400.0)}, 3600)
    records_after: list[EnergyCounted] = []
    after = EnergyUse([], records_after, stores_sessions=True)
    restore_all(after, records)
    after.on_transaction(A, True)
    assert after.session_wh(A) == pytest.approx(before.session_wh(A), abs=STORED_WH)
    assert after.session_wh(B) == 0.0
    after.on_transaction(A, True)
    assert after.session_wh(A) == 0.0
    assert records_after == [SessionEnergyStored("A", 1, 0.0)]


def test_session_energy_of_session_that_ended_is_not_restored() -> None:
    records: list[EnergyCounted] = []
    before = EnergyUse([], records, stores_sessions=True)
    counted(before, {A: use(11_000.0)}, 3600)
    before.on_transaction(A, False)
    after = EnergyUse([], [], stores_sessions=True)
    restore_all(after, records)
    after.on_transaction(A, True)
    assert after.session_wh(A) == 0.0


def test_session_energy_without_fairness_is_not_stored() -> None:
    records: list[EnergyCounted] = []
    counted(EnergyUse([], records), {A: use(11_000.0)}, 3600)
    assert records == []


def test_energy_use_other_quota_keeps_energy_of_day() -> None:
    energy = bakery()
    counted(energy, {A: use(15_000.0)}, 3600)
    assert energy.exhausted(DAY) == {}
    lower = GroupSettings(id="bakery", evses=frozenset({A, C}), quota_wh=14_000.0)
    energy.replace_groups([lower], stores_sessions=False)
    assert set(energy.exhausted(DAY)) == {A, C}
