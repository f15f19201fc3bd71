from __future__ import annotations

from typing import Any

import msgspec

from controller.publishing.home_assistant import make_discovery
from controller.publishing.mqtt_topics import make_state_messages
from tests.controller.web.examples import STATUS


def devices(*, commands: bool = False) -> dict[str, dict[str, Any]]:
    found = make_discovery("homeassistant", "r", STATUS, commands=commands)
    return {message.topic: msgspec.json.decode(message.payload) for message in found}


def test_home_assistant_gateway_and_each_station_are_device() -> None:
    found = devices()
    assert list(found) == [
        "homeassistant/device/lc_lc-depot/config",
        "homeassistant/device/lc_lc-depot_CS01/config",
        "homeassistant/device/lc_lc-depot_CS02/config",
    ]
    station = found["homeassistant/device/lc_lc-depot_CS01/config"]
    assert station["device"]["via_device"] == "lc_lc-depot"
    assert station["device"]["manufacturer"] == "Vendor"
    assert station["availability_mode"] == "all"
    assert [each["topic"] for each in station["availability"]] == ["r/status", "r/stations/CS01/connected"]


def test_entities_have_what_home_assistant_requires() -> None:
    for message in devices(commands=True).values():
        assert message["origin"]["name"] == "local-controller"
        ids = [entity["unique_id"] for entity in message["components"].values()]
        assert len(set(ids)) == len(ids)
        for entity in message["components"].values():
            assert {"p", "name", "unique_id"} <= entity.keys()
            if entity.get("state_class"):
                assert entity["unit_of_measurement"] in ("W", "A")


def test_every_state_topic_is_published() -> None:
    published = {message.topic for message in make_state_messages("r", STATUS, 230.0)}
    for message in devices().values():
        topics = {entity["state_topic"] for entity in message["components"].values()}
        assert topics <= published


def test_buttons_are_there_only_where_commands_are_allowed() -> None:
    topic = "homeassistant/device/lc_lc-depot_CS01/config"
    assert not [e for e in devices()[topic]["components"].values() if e["p"] == "button"]
    buttons = [e for e in devices(commands=True)[topic]["components"].values() if e["p"] == "button"]
    assert len(buttons) == 3
    press = msgspec.json.decode(buttons[0]["payload_press"])
    assert press == {"command": "station.pause", "station": "CS01", "evse": 1}
