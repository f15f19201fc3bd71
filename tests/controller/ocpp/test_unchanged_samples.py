"""Samples that are as before are not read again: the observations are those of reading them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.model.observations import EvseRating
from controller.ocpp import station_state
from controller.ocpp.frames import Version
from controller.ocpp.payloads import format_time
from controller.ocpp.station_state import StationStateTracker

NOW = 1_796_000_000.0
RATINGS = {1: EvseRating(3, 32.0), 2: EvseRating(1, 16.0)}

SAMPLES = st.fixed_dictionaries(
    {"value": st.sampled_from(["0", "7.5", "16.0", "3600", "x"])},
    optional={
        "measurand": st.sampled_from(["Current.Import", "Power.Active.Import", "Voltage"]),
        "phase": st.sampled_from(["L1", "L2", "L3"]),
        "context": st.sampled_from(["Sample.Periodic", "Transaction.End"]),
        "location": st.sampled_from(["Outlet", "Inlet"]),
    },
)
ELEMENTS = st.fixed_dictionaries(
    {"sampledValue": st.lists(SAMPLES, max_size=4)},
    optional={"timestamp": st.sampled_from([NOW - 4000, NOW, NOW + 1]).map(format_time)},
)
MESSAGES = st.fixed_dictionaries(
    {"connectorId": st.sampled_from([0, 1, 2]), "meterValue": st.lists(ELEMENTS, max_size=2)}
)


def read_all(messages: list[dict[str, Any]], pauses: list[float]) -> list[Any]:
    """Return what a tracker reports of each message, and the timestamp that it read."""
    tracker, utc, read = StationStateTracker(Version.V16, 230.0, RATINGS), NOW, []
    for message, pause_s in zip(messages, pauses, strict=True):
        utc += pause_s
        seen = tracker.on_message("MeterValues", json.dumps(message).encode(), utc)
        read.append((seen, tracker.sampled_at))
    return read


@given(st.data())
def test_unchanged_samples_are_observed_as_if_they_were_read(data: st.DataObject) -> None:
    pool = data.draw(st.lists(MESSAGES, min_size=1, max_size=3))
    messages = data.draw(st.lists(st.sampled_from(pool), max_size=8))
    pauses = [data.draw(st.sampled_from([0.0, 1.0, 6.0])) for _ in messages]
    cached = read_all(messages, pauses)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(station_state, "MOST_CACHED_BYTES", 0)
        assert read_all(messages, pauses) == cached


def test_unchanged_samples_are_not_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    tracker = StationStateTracker(Version.V16, 230.0, RATINGS)
    reads = []

    def add_samples(_samples: object, amps: dict[int, float], _watts: object, _volts: object) -> None:
        reads.append(None)
        amps[0] = 7.5

    monkeypatch.setattr(tracker, "_add_samples", add_samples)
    values = {"sampledValue": [{"value": "7.5", "measurand": "Current.Import"}]}
    for second in range(3):
        stamped = values | {"timestamp": format_time(NOW + second)}
        payload = json.dumps({"connectorId": 1, "meterValue": [stamped]}).encode()
        tracker.on_message("MeterValues", payload, NOW + second)
        assert tracker.sampled_at == NOW + second
    assert len(reads) == 1


def test_samples_of_a_long_message_are_not_cached() -> None:
    tracker = StationStateTracker(Version.V16, 230.0, RATINGS)
    sample = {"value": "7.5", "measurand": "x" * station_state.MOST_CACHED_BYTES}
    payload = json.dumps({"connectorId": 1, "meterValue": [{"sampledValue": [sample]}]}).encode()
    tracker.on_message("MeterValues", payload, NOW)
    assert not tracker._samples
