from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from controller.history.history_records import BLOCK_S, HistoryMinutes, HistoryQuarter, HistoryTrimmed
from controller.history.recorder import HistoryRecorder
from controller.services.publishing.history_service import FINE_S, HistoryService
from controller.store.sqlite_journal import FILE
from controller.store.state_store import StateStore
from drivers.reading import Quality
from tests.controller.web.examples import STATUS

START = 1_795_262_400


def service(store: StateStore, now: float = START + 1800) -> HistoryService:
    return HistoryService(store, 230.0, lambda: now)


async def test_history_service_minutes_are_read_for_day_and_quarters_for_week(tmp_path: Path) -> None:
    store = StateStore(tmp_path)
    store.persist_now([HistoryMinutes(START, {"power/grid": [(1.0, 2.0, 3.0), None] + [None] * 13})])
    store.persist_now([HistoryQuarter(START, {"power/grid": (1.0, 2.0, 9.0)})])
    [fine] = await service(store).read([], START - 3600, START + 3600)
    assert (fine.channel, fine.unit, fine.interval_s) == ("power/grid", "W", 60)
    assert (fine.times, fine.high) == ([START], [3.0])
    [coarse] = await service(store).read(["power/grid"], START, START + FINE_S + 1)
    assert (coarse.interval_s, coarse.high) == (BLOCK_S, [9.0])
    assert await service(store).read(["moon"], START, START + 3600) == []


async def test_history_service_block_over_border_of_key_prefix_is_found(tmp_path: Path) -> None:
    store = StateStore(tmp_path)
    border = 1_795_300_000 // BLOCK_S * BLOCK_S
    store.persist_now([HistoryMinutes(border, {"a": [(float(n), float(n), float(n)) for n in range(15)]})])
    [series] = await service(store).read([], border + 600, border + 900)
    assert series.mean == [10.0, 11.0, 12.0, 13.0, 14.0]


def test_sample_has_power_of_each_circuit(tmp_path: Path) -> None:
    sample = service(StateStore(tmp_path))._sample(STATUS)
    assert sample["power/grid"] == pytest.approx((60.5 + 118.0 + 101.0) * 230)
    unmeasured = STATUS.circuits[1].id
    assert sample[f"power/{unmeasured}"] == pytest.approx(31.0 * 230), "what its EVSEs draw"
    assert (sample["charging"], sample["dimmed"]) == (1.0, 1.0)


@pytest.mark.parametrize("quality", ["stale", "dead", "implausible"])
def test_sample_has_no_power_while_meter_is_not_good(tmp_path: Path, quality: Quality) -> None:
    grid = msgspec.structs.replace(STATUS.circuits[0], meter_quality=quality)
    status = msgspec.structs.replace(STATUS, circuits=(grid, *STATUS.circuits[1:]))
    assert "power/grid" not in service(StateStore(tmp_path))._sample(status)


def test_history_trimmed_removes_oldest_beyond_number(tmp_path: Path) -> None:
    store = StateStore(tmp_path)
    for start in (START, START + BLOCK_S):
        store.persist_now([HistoryMinutes(start, {}), HistoryQuarter(start, {})])
    store.persist_now([HistoryTrimmed(1, 2)])
    assert [each.start for each in store.load(HistoryMinutes)] == [START + BLOCK_S]
    assert [each.start for each in store.load(HistoryQuarter)] == [START, START + BLOCK_S]


def test_history_clock_years_ahead_for_an_hour_removes_nothing(tmp_path: Path) -> None:
    store, recorder = StateStore(tmp_path), HistoryRecorder()
    ahead = START + 20_000 * BLOCK_S
    for start in (START, ahead, ahead + BLOCK_S, START + BLOCK_S, START + 2 * BLOCK_S):
        store.persist_now(recorder.add({"a": 1.0}, start))
    kept = [each.start for each in store.load(HistoryQuarter)]
    assert kept == [START, ahead, START + BLOCK_S]


def test_quarter_hour_of_forty_channels_stays_within_budget(tmp_path: Path) -> None:
    values = [(12345.6, 23456.7, 34567.8)] * 15
    block = HistoryMinutes(START, {f"power/circuit-{n}": values for n in range(40)})
    store = StateStore(tmp_path)
    store.persist_now([block])
    assert (tmp_path / FILE).exists()
    assert len(json.dumps(block.channels)) < 25_000
