"""MQTT messages of a status: one topic a value, retained, so that a subscriber sees the state at once.

    <root>/status                                  online, offline (last will)
    <root>/circuits/<id>/power_w, current_l1_a ... limit_a, limit_now_a, meter_quality, over_limit
    <root>/meters/<id>/quality                     and of good readings, where the meter has them:
        power_w, current_l1_a, voltage_l1_v ... energy_import_wh, energy_export_wh
    <root>/stations/<id>/connected
    <root>/stations/<id>/<evse>/state, offered_a, power_w, current_l1_a ... reason
    <root>/dimming/active, limit_w, source_fault
    <root>/alarms/<kind>/<subject>                 JSON while it is present, else empty
    <root>/event                                   JSON of each alarm that begins or ends; QoS 1, not retained
    <root>/command, <root>/result                  commands in and their results, where they are allowed

Ids are percent-encoded in topics. Powers in W (positive = import), currents in A,
voltages in V, energies in Wh.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple
from urllib.parse import quote

import msgspec

from controller.load_management.site_tree import PhaseAmps
from controller.web.status_model import AlarmStatus, ControllerStatus, MeterStatus

ONLINE, OFFLINE = b"online", b"offline"


class MqttMessage(NamedTuple):
    """One message to publish."""

    topic: str
    payload: bytes
    qos: int = 0
    retain: bool = True


def level(name: str) -> str:
    """Return an id as one level of a topic."""
    return quote(name, safe="")


def make_state_messages(root: str, status: ControllerStatus, voltage: float) -> Iterator[MqttMessage]:
    """Yield the messages of a status, retained; `voltage` (V) turns currents into powers."""
    for circuit in status.circuits:
        place = f"{root}/circuits/{level(circuit.id)}"
        if circuit.measured_a is not None:
            yield from _currents(place, circuit.measured_a, voltage)
        yield _text(f"{place}/limit_a", f"{min(circuit.limit_a):g}")
        yield _text(f"{place}/limit_now_a", f"{min(circuit.limit_now_a or circuit.limit_a):g}")
        yield _text(f"{place}/meter_quality", circuit.meter_quality or "none")
        yield _text(f"{place}/over_limit", _flag(circuit.over_limit_s > 0))
    for meter in status.meters:
        place = meter_place(root, meter)
        yield _text(f"{place}/quality", meter.quality)
        if meter.quality == "good":
            for name, digits, value in measured_values(meter):
                yield _text(f"{place}/{name}", f"{value:.{digits}f}")
    for station in {evse.station: evse.connected for evse in status.evses}.items():
        yield _text(f"{root}/stations/{level(station[0])}/connected", _flag(station[1]))
    for evse in status.evses:
        place = f"{root}/stations/{level(evse.station)}/{evse.evse}"
        yield _text(f"{place}/state", evse.state.value)
        yield _text(f"{place}/offered_a", f"{evse.offered_a:.1f}")
        yield _text(f"{place}/reason", evse.reason)
        yield from _currents(place, evse.drawn_a, voltage)
    if status.dimming is not None:
        limit_w = status.dimming.limit_w
        yield _text(f"{root}/dimming/active", _flag(status.dimming.dimmed))
        yield _text(f"{root}/dimming/limit_w", "" if limit_w is None else f"{limit_w:.0f}")
        yield _text(f"{root}/dimming/source_fault", status.dimming.source_fault)
    for alarm in status.alarms:
        yield MqttMessage(alarm_topic(root, alarm), msgspec.json.encode(alarm))


def meter_place(root: str, meter: MeterStatus) -> str:
    """Return the topic above those of a meter."""
    return f"{root}/meters/{level(meter.id)}"


def measured_values(meter: MeterStatus) -> Iterator[tuple[str, int, float]]:
    """Yield what a meter has: name with its unit, digits after the point, value of the last good reading."""
    totals = (
        ("power_w", meter.power_total_w),
        ("energy_import_wh", meter.energy_import_wh),
        ("energy_export_wh", meter.energy_export_wh),
    )
    yield from ((name, 0, value) for name, value in totals if value is not None)
    for quantity, unit, values in (("current", "a", meter.current_a), ("voltage", "v", meter.voltage_v)):
        for phase, value in enumerate(values, start=1):
            if value is not None:
                yield f"{quantity}_l{phase}_{unit}", 1, value


def alarm_topic(root: str, alarm: AlarmStatus) -> str:
    """Return the topic of an alarm."""
    return f"{root}/alarms/{alarm.kind}/{level(alarm.subject)}"


def make_event(root: str, alarm: AlarmStatus, *, has_ended: bool) -> MqttMessage:
    """Return the message of an alarm that began or ended."""
    event = {"event": "alarm ended" if has_ended else "alarm began", "alarm": alarm}
    return MqttMessage(f"{root}/event", msgspec.json.encode(event), qos=1, retain=False)


class TopicMemory:
    """The retained messages that were published, so that only changes are sent again."""

    def __init__(self) -> None:
        self._payloads: dict[str, bytes] = {}

    def changed(self, messages: Iterator[MqttMessage], *, whole: bool = False) -> list[MqttMessage]:
        """Return the messages that differ from those of before, and an empty one for a topic that is gone.

        `whole`: also those that do not differ.
        """
        found: list[MqttMessage] = []
        present: dict[str, bytes] = {}
        for message in messages:
            present[message.topic] = message.payload
            if whole or self._payloads.get(message.topic) != message.payload:
                found.append(message)
        found += [MqttMessage(topic, b"") for topic in self._payloads.keys() - present.keys()]
        self._payloads = present
        return found

    def has(self, topic: str) -> bool:
        """Return True if a topic is one of those that were published."""
        return topic in self._payloads


def _currents(place: str, amps: PhaseAmps, voltage: float) -> Iterator[MqttMessage]:
    for phase, value in enumerate(amps, start=1):
        yield _text(f"{place}/current_l{phase}_a", f"{value:.1f}")
    yield _text(f"{place}/power_w", f"{sum(amps) * voltage:.0f}")


def _text(topic: str, text: str) -> MqttMessage:
    return MqttMessage(topic, text.encode())


def _flag(value: bool) -> str:
    return "true" if value else "false"
