from __future__ import annotations

from typing import Any

import msgspec
from msgspec.structs import replace

from controller.publishing.home_assistant import make_discovery
from controller.publishing.mqtt_topics import make_state_messages
from drivers.reading import Quality
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
                assert entity["unit_of_measurement"] in ("W", "A", "V", "Wh")
                is_energy = entity["device_class"] == "energy"
                assert entity["state_class"] == ("total_increasing" if is_energy else "measurement")


def test_every_state_topic_is_published() -> None:
    good = replace(STATUS, meters=(replace(STATUS.meters[0], quality=Quality.GOOD),))
    published = {message.topic for message in make_state_messages("r", good, 230.0)}
    for message in devices().values():
        topics = {entity["state_topic"] for entity in message["components"].values()}
        assert topics <= published


def test_home_assistant_offers_what_each_meter_has() -> None:
    meter = replace(STATUS.meters[0], id="grid", energy_export_wh=12.0, voltage_v=(230.0, 231.0, 229.5))
    found = make_discovery("homeassistant", "r", replace(STATUS, meters=(meter,)), commands=False)
    gateway: dict[str, Any] = msgspec.json.decode(next(found).payload)
    offered = {
        entity["state_topic"]: (entity["device_class"], entity["state_class"], entity["unit_of_measurement"])
        for key, entity in gateway["components"].items()
        if key.startswith("meter_")
    }
    assert offered == {
        "r/meters/grid/power_w": ("power", "measurement", "W"),
        "r/meters/grid/energy_import_wh": ("energy", "total_increasing", "Wh"),
        "r/meters/grid/energy_export_wh": ("energy", "total_increasing", "Wh"),
        "r/meters/grid/current_l1_a": ("current", "measurement", "A"),
        "r/meters/grid/voltage_l1_v": ("voltage", "measurement", "V"),
        "r/meters/grid/voltage_l2_v": ("voltage", "measurement", "V"),
        "r/meters/grid/voltage_l3_v": ("voltage", "measurement", "V"),
    }


def test_buttons_are_there_only_where_commands_are_allowed() -> None:
    topic = "homeassistant/device/lc_lc-depot_CS01/config"
    assert not [e for e in devices()[topic]["components"].values() if e["p"] == "button"]
    buttons = [e for e in devices(commands=True)[topic]["components"].values() if e["p"] == "button"]
    assert len(buttons) == 3
    press = msgspec.json.decode(buttons[0]["payload_press"])
    assert press == {"command": "station.pause", "station": "CS01", "evse": 1}
