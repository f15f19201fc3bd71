from __future__ import annotations

import msgspec
from msgspec.structs import replace

from controller.publishing.mqtt_topics import MqttMessage, TopicMemory, level, make_event, make_state_messages
from drivers.reading import Quality
from tests.controller.web.examples import EVIL, STATUS


def payloads() -> dict[str, bytes]:
    return {message.topic: message.payload for message in make_state_messages("r", STATUS, 230.0)}


def test_measured_circuit_has_power_currents_and_quality() -> None:
    found = payloads()
    assert found["r/circuits/grid/power_w"] == b"64285"
    assert found["r/circuits/grid/current_l2_a"] == b"118.0"
    assert found["r/circuits/grid/meter_quality"] == b"good"
    assert found["r/circuits/grid/limit_a"] == b"100"


def test_meter_has_its_energies_and_voltages_while_its_readings_are_good() -> None:
    place = f"r/meters/{level(EVIL)}"
    stale = {topic: payload for topic, payload in payloads().items() if topic.startswith(f"{place}/")}
    assert stale == {f"{place}/quality": b"stale"}
    good = replace(STATUS, meters=(replace(STATUS.meters[0], id="grid", quality=Quality.GOOD),))
    found = {
        message.topic.removeprefix("r/meters/grid/"): message.payload
        for message in make_state_messages("r", good, 230.0)
        if message.topic.startswith("r/meters/")
    }
    assert found == {
        "quality": b"good",
        "power_w": b"230",
        "energy_import_wh": b"1000",
        "current_l1_a": b"1.0",
        "voltage_l1_v": b"230.0",
    }


def test_evse_has_state_offer_and_reason() -> None:
    found = payloads()
    assert found["r/stations/CS01/1/state"] == b"charging"
    assert found["r/stations/CS01/1/offered_a"] == b"16.0"
    assert found["r/stations/CS01/1/power_w"] == b"7130"
    assert found["r/stations/CS02/connected"] == b"false"


def test_dimming_and_alarms_are_published() -> None:
    found = payloads()
    assert found["r/dimming/active"] == b"true"
    assert found["r/dimming/limit_w"] == b"7560"
    alarm = msgspec.json.decode(found["r/alarms/station-away/CS02"])
    assert alarm["remedy"] == "check its supply"


def test_mqtt_topics_any_id_is_one_level_of_topic() -> None:
    for name in (EVIL, "a/b", "a+b", "#", "ä"):
        assert not set(level(name)) & set("/+#\n")
    assert level("a/b") != level("a_b")


def test_all_state_is_retained_and_events_are_not() -> None:
    assert all(message.retain for message in make_state_messages("r", STATUS, 230.0))
    event = make_event("r", STATUS.alarms[0], has_ended=True)
    assert (event.topic, event.retain, event.qos) == ("r/event", False, 1)
    assert msgspec.json.decode(event.payload)["event"] == "alarm ended"


def test_memory_returns_changes_and_empties_topics_that_are_gone() -> None:
    memory = TopicMemory()
    first = [MqttMessage("a", b"1"), MqttMessage("b", b"2")]
    assert memory.changed(iter(first)) == first
    assert memory.changed(iter(first)) == []
    assert memory.changed(iter(first), whole=True) == first
    assert memory.changed(iter([MqttMessage("a", b"3")])) == [MqttMessage("a", b"3"), MqttMessage("b", b"")]
    assert memory.has("a")
    assert not memory.has("b")


def test_mqtt_topics_ended_alarm_leaves_empty_topic() -> None:
    memory = TopicMemory()
    memory.changed(make_state_messages("r", STATUS, 230.0))
    gone = memory.changed(make_state_messages("r", replace(STATUS, alarms=()), 230.0))
    assert gone == [MqttMessage("r/alarms/station-away/CS02", b"")]
