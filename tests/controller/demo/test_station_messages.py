"""Messages of the simulated peers fit the official JSON schemas."""

from __future__ import annotations

import random

import msgspec
import pytest
from ocpp.messages import MessageType, get_validator

from controller.demo.command_responder import CommandResponder
from controller.demo.installed_profiles import InstalledProfiles
from controller.demo.simulated_csms import random_command
from controller.demo.station_messages import (
    MessageStyle,
    MeteredSession,
    Sample,
    StationDialect,
    StationDialect2,
    StationDialect16,
    StationIdentity,
    StationMessage,
)

VERSIONS = ("1.6", "2.0.1", "2.1")
WHEN = "2026-03-01T12:00:00.000+00:00"


def check(version: str, message: StationMessage, kind: int = MessageType.Call) -> None:
    # The validator of `ocpp` reads numbers as JSON has them: through text once.
    payload = msgspec.json.decode(msgspec.json.encode(message.payload))
    get_validator(kind, message.action, version).validate(payload)


@pytest.mark.parametrize("style", MessageStyle)
@pytest.mark.parametrize("version", VERSIONS)
def test_station_messages_whole_session_fits_schemas(version: str, style: MessageStyle) -> None:
    dialect: StationDialect = StationDialect16() if version == "1.6" else StationDialect2()
    identity = StationIdentity("CS1", "Demo & Söhne", "Säule", style)
    session = MeteredSession(evse=1, transaction="4f6c", tag="DE-ABC", since=0.0, phases=3, number=7)
    sample = Sample((6.0, 10.55, 16.0), 1234.5, 3)
    for message in (
        dialect.boot(identity),
        dialect.status(1, "Preparing", WHEN),
        dialect.authorize("DE-ABC"),
        dialect.started(session, sample, WHEN),
        dialect.charging_state(session, "SuspendedEVSE", WHEN),
        dialect.metered(identity, session, sample, WHEN),
        dialect.stopped(session, sample, WHEN),
    ):
        check(version, message)


def test_transaction_events_count_up() -> None:
    dialect = StationDialect2()
    session = MeteredSession(evse=1, transaction="4f6c", tag="DE-ABC", since=0.0, phases=3)
    sample = Sample((0.0, 0.0, 0.0), 0.0, 3)
    events = [
        dialect.started(session, sample, WHEN),
        dialect.charging_state(session, "Charging", WHEN),
        dialect.stopped(session, sample, WHEN),
    ]
    assert [event.payload["seqNo"] for event in events] == [0, 1, 2]


@pytest.mark.parametrize("version", VERSIONS)
def test_stations_answers_fit_schemas_and_unknown_actions_have_none(version: str) -> None:
    responder = CommandResponder(InstalledProfiles(230.0))
    dice = random.Random(1)
    unknown = set()
    for _ in range(60):
        action, payload = random_command(f"ocpp{version}", dice)
        answer = responder.answer(action, payload, 0.0)
        if answer is None:
            unknown.add(action)
        else:
            check(version, StationMessage(action, answer.payload), MessageType.CallResult)
    assert unknown == {"FrobnicateSocket"}


def test_one_value_style_names_no_phase_and_kilowatts_are_powers() -> None:
    sample = Sample((16.0, 0.0, 0.0), 0.0, 1)
    session = MeteredSession(evse=1, transaction="4f6c", tag="DE-ABC", since=0.0, phases=1, number=7)
    one = StationDialect16().metered(
        StationIdentity("B1", "", "", MessageStyle.ONE_AMP), session, sample, WHEN
    )
    assert one.payload["meterValue"][0]["sampledValue"][1] == {
        "value": "16.00",
        "context": "Sample.Periodic",
        "measurand": "Current.Import",
        "unit": "A",
    }
    power = StationDialect2().metered(
        StationIdentity("B2", "", "", MessageStyle.KILOWATTS), session, sample, WHEN
    )
    value = power.payload["meterValue"][0]["sampledValue"][1]
    assert (value["value"], value["unitOfMeasure"]) == (3.68, {"unit": "W", "multiplier": 3})
