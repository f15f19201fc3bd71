from __future__ import annotations

from controller.history.history_records import BLOCK_S, HistoryMinutes, HistoryQuarter, HistoryTrimmed
from controller.history.recorder import KEPT_IN_MINUTES, KEPT_QUARTERS, MOST_CHANNELS, HistoryRecorder

START = 1_795_262_400


def test_quarter_hour_has_minutes_and_their_lowest_mean_and_highest() -> None:
    recorder = HistoryRecorder()
    for second in range(0, BLOCK_S, 5):
        assert recorder.add({"power/grid": 1000.0 + second}, START + second) == []
    minutes, quarter, trimmed = recorder.add({"power/grid": 0.0}, START + BLOCK_S)
    assert isinstance(minutes, HistoryMinutes)
    assert minutes.start == START
    assert minutes.channels["power/grid"][0] == (1000.0, 1027.5, 1055.0)
    assert minutes.channels["power/grid"][14] == (1840.0, 1867.5, 1895.0)
    assert quarter == HistoryQuarter(START, {"power/grid": (1000.0, 1447.5, 1895.0)})
    assert trimmed == HistoryTrimmed(KEPT_IN_MINUTES, KEPT_QUARTERS)


def test_recorder_minutes_without_sample_are_none() -> None:
    recorder = HistoryRecorder()
    recorder.add({"a": 1.0}, START)
    recorder.add({"a": 3.0}, START + 180)
    [minutes] = recorder.flush()
    assert isinstance(minutes, HistoryMinutes)
    assert minutes.channels["a"][:5] == [(1.0, 1.0, 1.0), None, None, (3.0, 3.0, 3.0), None]


def test_quarter_hours_are_aligned_to_utc() -> None:
    recorder = HistoryRecorder()
    recorder.add({"a": 1.0}, START + 899)
    minutes = recorder.add({"a": 2.0}, START + 901)[0]
    assert isinstance(minutes, HistoryMinutes)
    assert minutes.start == START
    assert minutes.channels["a"][14] == (1.0, 1.0, 1.0)


def test_recorder_clock_set_back_by_minutes_drops_samples() -> None:
    recorder = HistoryRecorder()
    recorder.add({"a": 1.0}, START + BLOCK_S + 5)
    assert recorder.add({"a": 2.0}, START + BLOCK_S - 5) == []
    [minutes] = recorder.flush()
    assert isinstance(minutes, HistoryMinutes)
    assert minutes.start == START + BLOCK_S


def test_recorder_clock_set_back_by_years_goes_on_at_once() -> None:
    recorder = HistoryRecorder()
    recorder.add({"a": 1.0}, START + 20_000 * BLOCK_S)
    [ahead] = recorder.add({"a": 2.0}, START)
    assert isinstance(ahead, HistoryMinutes)
    assert ahead.start == START + 20_000 * BLOCK_S
    minutes = recorder.add({"a": 2.0}, START + BLOCK_S)[0]
    assert isinstance(minutes, HistoryMinutes)
    assert (minutes.start, minutes.channels["a"][0]) == (START, (2.0, 2.0, 2.0))


def test_recorder_restart_continues_quarter_hour() -> None:
    before = HistoryRecorder()
    before.add({"a": 1.0}, START)
    [stored] = before.flush()
    assert isinstance(stored, HistoryMinutes)
    after = HistoryRecorder()
    after.restore(stored)
    after.add({"a": 5.0}, START + 300)
    _, quarter, _ = after.add({"a": 0.0}, START + BLOCK_S)
    assert quarter == HistoryQuarter(START, {"a": (1.0, 3.0, 5.0)})


def test_recorder_channels_are_bounded() -> None:
    recorder = HistoryRecorder()
    for _ in range(2):
        recorder.add({f"c{number}": 1.0 for number in range(MOST_CHANNELS + 50)}, START)
    [minutes] = recorder.flush()
    assert isinstance(minutes, HistoryMinutes)
    assert len(minutes.channels) == MOST_CHANNELS


def test_nothing_recorded_makes_no_record() -> None:
    assert HistoryRecorder().flush() == []
