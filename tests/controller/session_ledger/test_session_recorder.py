"""Sessions of one station, read from its messages, over repeats, restarts and lost ends."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from controller.model.journal import Record
from controller.ocpp.frames import Version
from controller.ocpp.id_tokens import IdToken
from controller.session_ledger.charging_session import (
    CardReference,
    ChargingSession,
    EndedSessionStored,
    RunningSessionStored,
    months_before,
    reference_card,
)
from controller.session_ledger.session_recorder import (
    METER_INTERVAL_S,
    MOST_BEGUN_A_DAY,
    NOT_REPORTED,
    STORE_INTERVAL_S,
    ClockChange,
    SessionRecorder,
)

UTC = 1_795_000_000.0  # 2026-11-18T11:06:40Z
KEY = b"k" * 32
MONTH = 30 * 86_400.0
START = {"connectorId": 1, "idTag": "04A1B2C3", "meterStart": 1000, "timestamp": "2026-11-18T11:06:00Z"}


def name_card(token: IdToken) -> CardReference:
    return reference_card(KEY, token, "Anna" if token.value == "04A1B2C3" else "")


def recorder_of(version: Version = Version.V16, only_evse: int | None = 1) -> SessionRecorder:
    return SessionRecorder("CS01", version, name_card, only_evse)


def start(recorder: SessionRecorder, number: int = 7, utc: float = UTC, **changed: object) -> list[Record]:
    result = json.dumps({"transactionId": number, "idTagInfo": {"status": "Accepted"}}).encode()
    return recorder.on_call_result("StartTransaction", json.dumps(START | changed).encode(), result, utc)


def record(recorder: SessionRecorder, action: str, payload: dict[str, Any], utc: float = UTC) -> list[Record]:
    return recorder.on_message(action, json.dumps(payload).encode(), utc)


def stop(number: int = 7, **changed: object) -> dict[str, Any]:
    payload = {"transactionId": number, "meterStop": 6000, "timestamp": "2026-11-18T12:06:00Z"}
    return payload | {"reason": "EVDisconnected"} | changed


def values(wh: float, number: int = 7) -> dict[str, Any]:
    sampled = [{"value": str(wh)}, {"value": "9", "measurand": "Current.Import"}]
    return {
        "connectorId": 1,
        "transactionId": number,
        "meterValue": [{"timestamp": "2026-11-18T11:10:00Z", "sampledValue": sampled}],
    }


def event(kind: str, transaction: str = "T1", wh: float | None = None, **more: object) -> dict[str, Any]:
    payload: dict[str, Any] = {
        "eventType": kind,
        "timestamp": "2026-11-18T11:06:00Z",
        "transactionInfo": {"transactionId": transaction},
    }
    if wh is not None:
        unit = {"unit": "kWh"}
        sampled = [{"value": wh / 1000, "measurand": "Energy.Active.Import.Register", "unitOfMeasure": unit}]
        payload["meterValue"] = [{"timestamp": "2026-11-18T11:06:00Z", "sampledValue": sampled}]
    return payload | more


def ended(records: list[Record]) -> ChargingSession:
    [session] = [each.session for each in records if isinstance(each, EndedSessionStored)]
    return session


def test_session_of_16_has_card_times_energy_and_reason() -> None:
    recorder = recorder_of()
    [stored] = start(recorder)
    assert isinstance(stored, RunningSessionStored)
    session = ended(record(recorder, "StopTransaction", stop(), UTC + 3600))
    assert (session.evse, session.card.label, session.energy_wh) == (1, "Anna", 5000)
    assert (session.duration_s, session.end_reason) == (3600, "EVDisconnected")
    assert recorder.running == ()


def test_session_recorder_stop_without_reason_was_local() -> None:
    recorder = recorder_of()
    start(recorder)
    assert ended(record(recorder, "StopTransaction", stop(reason=None))).end_reason == "Local"


def test_repeated_start_and_stop_make_one_session() -> None:
    recorder = recorder_of()
    start(recorder)
    assert start(recorder, utc=UTC + 5) == []
    assert len(record(recorder, "StopTransaction", stop())) == 1
    assert record(recorder, "StopTransaction", stop()) == []


def test_repeated_start_of_station_with_wrong_clock_is_one_session() -> None:
    recorder = recorder_of()
    start(recorder, timestamp="1970-01-01T00:00:00Z")
    assert start(recorder, utc=UTC + 30, timestamp="1970-01-01T00:00:00Z") == []


def test_session_recorder_id_used_again_by_backend_is_another_session() -> None:
    recorder = recorder_of(only_evse=None)
    start(recorder)
    assert ended(start(recorder, connectorId=2, utc=UTC + 9)).end_reason == NOT_REPORTED
    assert [each.evse for each in recorder.running] == [2]
    record(recorder, "StopTransaction", stop())
    start(recorder, connectorId=2, meterStart=6000, utc=UTC + 99)
    assert len(recorder.running) == 1


def test_running_session_survives_restart() -> None:
    before = recorder_of()
    records = start(before)
    after = recorder_of()
    after.restore(records)
    assert after.running == before.running
    assert start(after) == []
    assert ended(record(after, "StopTransaction", stop())).energy_wh == 5000


def test_stop_repeated_after_restart_is_not_another_session() -> None:
    before = recorder_of()
    records = start(before) + record(before, "StopTransaction", stop())
    after = recorder_of()
    after.restore(each for each in records if isinstance(each, EndedSessionStored))
    assert record(after, "StopTransaction", stop()) == []


def test_stop_of_unknown_transaction_is_session_without_start() -> None:
    session = ended(record(recorder_of(), "StopTransaction", stop()))
    assert (session.energy_wh, session.meter_wh, session.card.name) == (None, 6000, "")


def test_next_start_at_evse_ends_session_whose_stop_is_missing() -> None:
    recorder = recorder_of()
    start(recorder)
    session = ended(start(recorder, number=8, utc=UTC + 60, timestamp="2026-11-18T12:00:00Z"))
    assert (session.transaction, session.end_reason) == ("7", NOT_REPORTED)
    assert [each.transaction for each in recorder.running] == ["8"]


def test_start_at_another_evse_ends_nothing() -> None:
    recorder = recorder_of(only_evse=None)
    start(recorder)
    start(recorder, number=8, connectorId=2)
    assert [each.transaction for each in recorder.running] == ["7", "8"]


def test_meter_values_are_read_once_interval_and_stored_rarely() -> None:
    recorder = recorder_of()
    start(recorder)
    assert record(recorder, "MeterValues", values(2000), UTC + 1) == []
    assert recorder.running[0].meter_wh is None
    assert record(recorder, "MeterValues", values(2500), UTC + METER_INTERVAL_S) == []
    assert recorder.running[0].energy_wh == 1500
    [stored] = record(recorder, "MeterValues", values(4000), UTC + STORE_INTERVAL_S)
    assert isinstance(stored, RunningSessionStored)
    assert stored.session.energy_wh == 3000


def test_implausible_timestamp_is_replaced_by_time_of_arrival() -> None:
    recorder = recorder_of()
    start(recorder, timestamp="1970-01-01T00:00:00Z")
    assert recorder.running[0].started_at == UTC


def test_session_start_has_station_time_if_own_clock_is_of_1970() -> None:
    recorder = recorder_of()
    start(recorder, utc=600.0)
    assert recorder.running[0].started_at == UTC - 40


def test_session_recorder_marks_session_of_unsynchronised_clock() -> None:
    clock = {"synchronised": False}
    recorder = SessionRecorder("CS01", Version.V16, name_card, 1, lambda: clock["synchronised"])
    start(recorder)
    assert not recorder.running[0].clock_synchronised
    clock["synchronised"] = True
    (begun_so,) = record(recorder, "StopTransaction", stop())
    assert isinstance(begun_so, EndedSessionStored)
    assert not begun_so.session.clock_synchronised
    start(recorder, 8)
    assert recorder.running[0].clock_synchronised
    clock["synchronised"] = False
    (ended_so,) = record(recorder, "StopTransaction", stop(8))
    assert isinstance(ended_so, EndedSessionStored)
    assert not ended_so.session.clock_synchronised


@pytest.mark.parametrize("version", [Version.V16, Version.V201])
@pytest.mark.parametrize(
    ("ahead_s", "stamp_s", "begin_s"),
    [
        (-4 * MONTH, -4 * MONTH - 40, -40),  # the station has the gateway's time
        (-4 * MONTH, -10, 0),  # the right time, which the gateway could not believe
        (MONTH, MONTH - 40, -40),
        (MONTH, -10, -10),  # the right time
        (4 * MONTH, 3 * MONTH, 0),  # a third one
    ],
)
def test_session_recorder_corrects_begin_once_clock_is_synchronised(
    version: Version, ahead_s: float, stamp_s: float, begin_s: float
) -> None:
    recorder = SessionRecorder("CS01", version, name_card, 1, lambda: False)
    stamp = datetime.fromtimestamp(UTC + stamp_s, ZoneInfo("UTC")).isoformat()
    if version is Version.V16:
        start(recorder, utc=UTC + ahead_s, timestamp=stamp)
    else:
        event = {"eventType": "Started", "transactionInfo": {"transactionId": "7"}, "timestamp": stamp}
        record(recorder, "TransactionEvent", event, UTC + ahead_s)
    change = ClockChange(step_s=-ahead_s, checked_s=5.0, synchronised=True)
    (stored,) = recorder.on_clock_change(change, UTC + 600)
    assert isinstance(stored, RunningSessionStored)
    assert stored.session.clock_synchronised
    assert stored.session.started_at == UTC + begin_s
    assert recorder.on_clock_change(change, UTC + 600) == []


def test_session_recorder_shifts_no_session_that_began_after_step() -> None:
    recorder = SessionRecorder("CS01", Version.V16, name_card, 1, lambda: False)
    start(recorder)
    recorder.on_clock_change(ClockChange(step_s=MONTH, checked_s=5.0, synchronised=True), UTC + 2)
    assert recorder.running[0].started_at == UTC - 40


def test_session_recorder_reads_register_after_clock_was_set_back() -> None:
    recorder = recorder_of()
    start(recorder, utc=UTC + MONTH)
    record(recorder, "MeterValues", values(3000), UTC)
    assert recorder.running[0].meter_wh == 3000
    assert len(record(recorder, "MeterValues", values(4000), UTC + STORE_INTERVAL_S)) == 1


def test_start_replayed_from_stations_own_queue_keeps_time() -> None:
    recorder = recorder_of()
    start(recorder, utc=UTC + 7200)
    assert recorder.running[0].started_at == UTC - 40


@pytest.mark.parametrize("meter", [1e300, "NaN", None, "x"])
def test_implausible_register_is_not_taken(meter: object) -> None:
    recorder = recorder_of()
    start(recorder, meterStart=meter)
    assert all(each.meter_start_wh is None for each in recorder.running)


def test_session_of_2x_takes_card_and_registers_from_events() -> None:
    recorder = recorder_of(Version.V201, None)
    record(recorder, "TransactionEvent", event("Started", wh=1000, evse={"id": 2}))
    token = {"idToken": "04A1B2C3", "type": "ISO14443"}
    [stored] = record(recorder, "TransactionEvent", event("Updated", idToken=token), UTC + 2)
    assert isinstance(stored, RunningSessionStored)
    assert stored.session.card.label == "Anna"
    info = {"transactionId": "T1", "stoppedReason": "Remote"}
    session = ended(
        record(recorder, "TransactionEvent", event("Ended", wh=3500, transactionInfo=info), UTC + 60)
    )
    assert (session.evse, session.energy_wh, session.end_reason) == (2, 2500, "Remote")
    assert record(recorder, "TransactionEvent", event("Ended", wh=3500)) == []


@pytest.mark.parametrize("version", [Version.V16, Version.V201])
def test_running_session_lasts_until_its_last_values_and_keeps_them(version: Version) -> None:
    recorder = recorder_of(version)
    if version is Version.V16:
        start(recorder, meterStart=1000)
        record(recorder, "MeterValues", values(2500), UTC + 300)
    else:
        record(recorder, "TransactionEvent", event("Started", wh=1000))
        record(recorder, "TransactionEvent", event("Updated", wh=2500), UTC + 300)
    [running] = recorder.running
    assert (running.duration_s, running.energy_wh) == (340.0, 1500)
    [stored] = recorder.flush(UTC + 310)  # at the end of the controller
    assert isinstance(stored, RunningSessionStored)
    assert stored.session.energy_wh == 1500


def test_session_of_2x_without_register_at_start_uses_next() -> None:
    recorder = recorder_of(Version.V21)
    record(recorder, "TransactionEvent", event("Started"))
    record(recorder, "TransactionEvent", event("Updated", wh=1000), UTC + METER_INTERVAL_S)
    assert ended(record(recorder, "TransactionEvent", event("Ended", wh=1800), UTC + 90)).energy_wh == 800


def test_session_recorder_energy_of_phases_is_summed_and_outlet_preferred() -> None:
    recorder = recorder_of()
    start(recorder)
    payload = values(0)
    payload["meterValue"][0]["sampledValue"] = [
        *({"value": "1000", "phase": phase} for phase in ("L1", "L2", "L3")),
        {"value": "9999999", "location": "Inlet"},
        {"value": "8", "unit": "kvarh"},
    ]
    record(recorder, "MeterValues", payload, UTC + METER_INTERVAL_S)
    assert recorder.running[0].meter_wh == 3000


def test_unlisted_card_is_shown_by_last_characters_and_hash() -> None:
    card = reference_card(KEY, IdToken("99887766554433"))
    assert card.name.startswith("…4433 (")
    assert "9988" not in repr(card)
    assert reference_card(KEY, IdToken("99887766554433")) == card
    assert reference_card(b"other", IdToken("99887766554433")).token_hash != card.token_hash
    assert reference_card(KEY, IdToken("")).name == ""


def test_session_recorder_short_token_shows_half_of_characters_at_most() -> None:
    assert reference_card(KEY, IdToken("1234")).token_ending == "34"
    assert reference_card(KEY, IdToken("1")).token_ending == ""


@pytest.mark.parametrize(
    ("month", "count", "expected"),
    [
        ("2026-11", 1, "2026-10"),
        ("2026-01", 1, "2025-12"),
        ("2026-11", 24, "2024-11"),
        ("0001-02", 9, "0001-01"),
    ],
)
def test_months_before_counts_over_years(month: str, count: int, expected: str) -> None:
    assert months_before(month, count) == expected


@pytest.mark.parametrize("version", [Version.V16, Version.V201])
def test_session_recorder_bounds_sessions_of_a_day(version: Version) -> None:
    recorder = recorder_of(version)

    def charge(number: int, utc: float) -> list[Record]:
        if version is Version.V16:
            return [*start(recorder, number, utc), *record(recorder, "StopTransaction", stop(number), utc)]
        info = {"transactionId": str(number)}
        started = {"eventType": "Started", "transactionInfo": info, "evse": {"id": 1}}
        records = record(recorder, "TransactionEvent", started, utc)
        return [*records, *record(recorder, "TransactionEvent", started | {"eventType": "Ended"}, utc)]

    ended = 0
    for number in range(MOST_BEGUN_A_DAY + 100):
        ended += sum(isinstance(each, EndedSessionStored) for each in charge(number, UTC))
    assert MOST_BEGUN_A_DAY - 1 <= ended <= MOST_BEGUN_A_DAY  # rounding of the times
    assert recorder.pop_unrecorded() >= 100
    assert recorder.running == ()
    later = UTC + 86_400 / MOST_BEGUN_A_DAY
    assert any(isinstance(each, EndedSessionStored) for each in charge(9_999_999, later))
