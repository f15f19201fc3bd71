"""Messages of a simulated station in OCPP 1.6, 2.0.1 and 2.1: action and payload. Sans-IO.

Sources: OCPP 1.6 edition 2, sections 4 and 6; OCPP 2.0.1 and 2.1 Part 2, chapters B to J.
"""

from __future__ import annotations

import enum
from typing import NamedTuple, Protocol

import msgspec

from controller.demo.demo_frames import Payload
from controller.demo.site_physics import VOLTAGE_V, PhaseAmps


class MessageStyle(enum.Enum):
    """Form in which a station reports its current; all of these are in the field."""

    AMPS = "A per phase"
    ONE_AMP = "one value in A, no phase"
    KILOWATTS = "kW per phase"


class StationMessage(NamedTuple):
    """A message: its action and payload."""

    action: str
    payload: Payload


class StationIdentity(NamedTuple):
    """Identity of a station, and the form of its reports."""

    station: str
    vendor: str
    model: str
    style: MessageStyle


class MeteredSession(msgspec.Struct, kw_only=True):
    """A charging session at an EVSE; `number` is the transaction id of a 1.6 backend.

    `since` in s (UTC) on the station's clock; `phases` is how many of them the car uses.
    """

    evse: int
    transaction: str
    tag: str
    since: float
    phases: int
    number: int | None = None
    sequence: int = -1
    """The sequence number of the latest TransactionEvent."""

    def next_number(self) -> int:
        """Return the sequence number of a new TransactionEvent (E01)."""
        self.sequence += 1
        return self.sequence


class Sample(NamedTuple):
    """Reading of an EVSE's meter: A on the station's phases, its register in Wh, number of wired phases."""

    current_a: PhaseAmps
    energy_wh: float
    phases: int


class StationDialect(Protocol):
    """Messages in one OCPP version. `when` is a timestamp on the station's clock.

    `state` is one of OCPP 1.6's connector states.
    """

    def boot(self, identity: StationIdentity) -> StationMessage:
        """Return the BootNotification."""

    def status(self, evse: int, state: str, when: str) -> StationMessage:
        """Return the state of an EVSE."""

    def authorize(self, tag: str) -> StationMessage:
        """Return the Authorize of a driver."""

    def started(self, session: MeteredSession, sample: Sample, when: str) -> StationMessage:
        """Return the message of a transaction's start."""

    def charging_state(self, session: MeteredSession, state: str, when: str) -> StationMessage:
        """Return the message of a changed state of a transaction."""

    def metered(
        self, identity: StationIdentity, session: MeteredSession, sample: Sample, when: str
    ) -> StationMessage:
        """Return the meter values of a running transaction."""

    def stopped(self, session: MeteredSession, sample: Sample, when: str) -> StationMessage:
        """Return the message of a transaction's end."""


class StationDialect16:
    """OCPP 1.6."""

    def boot(self, identity: StationIdentity) -> StationMessage:
        """See `StationDialect`."""
        return StationMessage(
            "BootNotification",
            {
                "chargePointVendor": identity.vendor,
                "chargePointModel": identity.model,
                "chargePointSerialNumber": identity.station,
                "firmwareVersion": "1.6.3-demo",
            },
        )

    def status(self, evse: int, state: str, when: str) -> StationMessage:
        """See `StationDialect`."""
        return StationMessage(
            "StatusNotification",
            {"connectorId": evse, "errorCode": "NoError", "status": state, "timestamp": when},
        )

    def authorize(self, tag: str) -> StationMessage:
        """See `StationDialect`."""
        return StationMessage("Authorize", {"idTag": tag})

    def started(self, session: MeteredSession, sample: Sample, when: str) -> StationMessage:
        """See `StationDialect`."""
        return StationMessage(
            "StartTransaction",
            {
                "connectorId": session.evse,
                "idTag": session.tag,
                "meterStart": int(sample.energy_wh),
                "timestamp": when,
            },
        )

    def charging_state(self, session: MeteredSession, state: str, when: str) -> StationMessage:
        """See `StationDialect`; 1.6 reports the state of the connector."""
        return self.status(session.evse, state, when)

    def metered(
        self, identity: StationIdentity, session: MeteredSession, sample: Sample, when: str
    ) -> StationMessage:
        """See `StationDialect`."""
        values = [
            {"value": f"{value:.2f}", "context": "Sample.Periodic", "measurand": measurand, "unit": unit}
            | ({"phase": phase} if phase else {})
            for measurand, phase, value, unit in _values(identity.style, sample)
        ]
        return StationMessage(
            "MeterValues",
            {
                "connectorId": session.evse,
                "transactionId": session.number,
                "meterValue": [{"timestamp": when, "sampledValue": values}],
            },
        )

    def stopped(self, session: MeteredSession, sample: Sample, when: str) -> StationMessage:
        """See `StationDialect`."""
        return StationMessage(
            "StopTransaction",
            {
                "transactionId": session.number,
                "idTag": session.tag,
                "meterStop": int(sample.energy_wh),
                "timestamp": when,
                "reason": "EVDisconnected",
            },
        )


class StationDialect2:
    """OCPP 2.0.1 and 2.1."""

    def boot(self, identity: StationIdentity) -> StationMessage:
        """See `StationDialect`."""
        return StationMessage(
            "BootNotification",
            {
                "reason": "PowerUp",
                "chargingStation": {
                    "vendorName": identity.vendor,
                    "model": identity.model,
                    "serialNumber": identity.station,
                    "firmwareVersion": "2.1.0-demo",
                },
            },
        )

    def status(self, evse: int, state: str, when: str) -> StationMessage:
        """See `StationDialect`."""
        connector = state if state in ("Available", "Unavailable", "Faulted") else "Occupied"
        return StationMessage(
            "StatusNotification",
            {"timestamp": when, "connectorStatus": connector, "evseId": evse, "connectorId": 1},
        )

    def authorize(self, tag: str) -> StationMessage:
        """See `StationDialect`."""
        return StationMessage("Authorize", {"idToken": {"idToken": tag, "type": "ISO14443"}})

    def started(self, session: MeteredSession, sample: Sample, when: str) -> StationMessage:
        """See `StationDialect`."""
        message = self._event(session, "Started", "Authorized", "EVConnected", when)
        message.payload["idToken"] = {"idToken": session.tag, "type": "ISO14443"}
        message.payload["meterValue"] = [_meter_value_2(MessageStyle.AMPS, sample, "Transaction.Begin", when)]
        return message

    def charging_state(self, session: MeteredSession, state: str, when: str) -> StationMessage:
        """See `StationDialect`."""
        return self._event(session, "Updated", "ChargingStateChanged", state, when)

    def metered(
        self, identity: StationIdentity, session: MeteredSession, sample: Sample, when: str
    ) -> StationMessage:
        """See `StationDialect`."""
        state = "Charging" if max(sample.current_a) > 0 else "SuspendedEVSE"
        message = self._event(session, "Updated", "MeterValuePeriodic", state, when)
        message.payload["meterValue"] = [_meter_value_2(identity.style, sample, "Sample.Periodic", when)]
        return message

    def stopped(self, session: MeteredSession, sample: Sample, when: str) -> StationMessage:
        """See `StationDialect`."""
        message = self._event(session, "Ended", "EVCommunicationLost", "Idle", when)
        message.payload["transactionInfo"]["stoppedReason"] = "EVDisconnected"
        message.payload["meterValue"] = [_meter_value_2(MessageStyle.AMPS, sample, "Transaction.End", when)]
        return message

    def _event(
        self, session: MeteredSession, kind: str, trigger: str, state: str, when: str
    ) -> StationMessage:
        return StationMessage(
            "TransactionEvent",
            {
                "eventType": kind,
                "timestamp": when,
                "triggerReason": trigger,
                "seqNo": session.next_number(),
                "transactionInfo": {"transactionId": session.transaction, "chargingState": state},
                "evse": {"id": session.evse, "connectorId": 1},
            },
        )


def _meter_value_2(style: MessageStyle, sample: Sample, context: str, when: str) -> Payload:
    values = [
        {
            "value": round(value, 2),
            "context": context,
            "measurand": measurand,
            "unitOfMeasure": {"unit": unit.removeprefix("k"), "multiplier": 3 if unit == "kW" else 0},
        }
        | ({"phase": phase} if phase else {})
        for measurand, phase, value, unit in _values(style, sample)
    ]
    return {"timestamp": when, "sampledValue": values}


def _values(style: MessageStyle, sample: Sample) -> list[tuple[str, str, float, str]]:
    """Measurand, phase, value and unit of each sampled value."""
    energy = ("Energy.Active.Import.Register", "", sample.energy_wh, "Wh")
    per_phase = [(f"L{phase + 1}", sample.current_a[phase]) for phase in range(sample.phases)]
    match style:
        case MessageStyle.AMPS:
            return [energy, *(("Current.Import", phase, amps, "A") for phase, amps in per_phase)]
        case MessageStyle.ONE_AMP:
            return [energy, ("Current.Import", "", max(sample.current_a), "A")]
        case MessageStyle.KILOWATTS:
            return [
                energy,
                *(("Power.Active.Import", phase, amps * VOLTAGE_V / 1000, "kW") for phase, amps in per_phase),
            ]
