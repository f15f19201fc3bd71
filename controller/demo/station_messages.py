"""What a simulated station says, in OCPP 1.6 and in 2.0.1 and 2.1: action and payload, pure.

Sources: OCPP 1.6 edition 2, sections 4 and 6; OCPP 2.0.1 and 2.1 Part 2, chapters B to J.
"""

from __future__ import annotations

import enum
from typing import NamedTuple, Protocol

import msgspec

from controller.demo.demo_frames import Payload
from controller.demo.site_physics import VOLTAGE_V, PhaseAmps


class MessageStyle(enum.Enum):
    """How a station's meter reports the current; the field has all of these."""

    AMPS = "A per phase"
    ONE_AMP = "one value in A, no phase"
    KILOWATTS = "kW per phase"


class StationMessage(NamedTuple):
    """A message: its action and payload."""

    action: str
    payload: Payload


class Make(NamedTuple):
    """Who a station says that it is, and how it reports."""

    station: str
    vendor: str
    model: str
    style: MessageStyle


class MeteredSession(msgspec.Struct, kw_only=True):
    """A charging session at an outlet; `number` is what a 1.6 backend calls the transaction.

    `since` in s (UTC) on the station's clock; `phases` is how many of them the car uses.
    """

    evse: int
    transaction: str
    tag: str
    since: float
    phases: int
    number: int | None = None
    told: int = -1
    """The sequence number of the latest TransactionEvent."""

    def next_number(self) -> int:
        """The sequence number of a new TransactionEvent (E01)."""
        self.told += 1
        return self.told


class Sample(NamedTuple):
    """What an outlet's meter shows: A on the station's phases, its register in Wh, and how many are wired."""

    current_a: PhaseAmps
    energy_wh: float
    phases: int


class StationDialect(Protocol):
    """One OCPP version's way to say it. `when` is a timestamp on the station's clock.

    `state` is one of OCPP 1.6's connector states.
    """

    def boot(self, make: Make) -> StationMessage:
        """It has started."""

    def status(self, evse: int, state: str, when: str) -> StationMessage:
        """An outlet's state."""

    def authorize(self, tag: str) -> StationMessage:
        """May this driver charge?"""

    def started(self, session: MeteredSession, sample: Sample, when: str) -> StationMessage:
        """A transaction begins."""

    def charging_state(self, session: MeteredSession, state: str, when: str) -> StationMessage:
        """A running transaction changes its state."""

    def metered(self, make: Make, session: MeteredSession, sample: Sample, when: str) -> StationMessage:
        """The meter's values in a running transaction."""

    def stopped(self, session: MeteredSession, sample: Sample, when: str) -> StationMessage:
        """A transaction is over."""


class StationDialect16:
    """OCPP 1.6."""

    def boot(self, make: Make) -> StationMessage:
        """See `Talk`."""
        return StationMessage(
            "BootNotification",
            {
                "chargePointVendor": make.vendor,
                "chargePointModel": make.model,
                "chargePointSerialNumber": make.station,
                "firmwareVersion": "1.6.3-demo",
            },
        )

    def status(self, evse: int, state: str, when: str) -> StationMessage:
        """See `Talk`."""
        return StationMessage(
            "StatusNotification",
            {"connectorId": evse, "errorCode": "NoError", "status": state, "timestamp": when},
        )

    def authorize(self, tag: str) -> StationMessage:
        """See `Talk`."""
        return StationMessage("Authorize", {"idTag": tag})

    def started(self, session: MeteredSession, sample: Sample, when: str) -> StationMessage:
        """See `Talk`."""
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
        """See `Talk`: 1.6 has the connector's state for it."""
        return self.status(session.evse, state, when)

    def metered(self, make: Make, session: MeteredSession, sample: Sample, when: str) -> StationMessage:
        """See `Talk`."""
        values = [
            {"value": f"{value:.2f}", "context": "Sample.Periodic", "measurand": measurand, "unit": unit}
            | ({"phase": phase} if phase else {})
            for measurand, phase, value, unit in _values(make.style, sample)
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
        """See `Talk`."""
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

    def boot(self, make: Make) -> StationMessage:
        """See `Talk`."""
        return StationMessage(
            "BootNotification",
            {
                "reason": "PowerUp",
                "chargingStation": {
                    "vendorName": make.vendor,
                    "model": make.model,
                    "serialNumber": make.station,
                    "firmwareVersion": "2.1.0-demo",
                },
            },
        )

    def status(self, evse: int, state: str, when: str) -> StationMessage:
        """See `Talk`."""
        connector = state if state in ("Available", "Unavailable", "Faulted") else "Occupied"
        return StationMessage(
            "StatusNotification",
            {"timestamp": when, "connectorStatus": connector, "evseId": evse, "connectorId": 1},
        )

    def authorize(self, tag: str) -> StationMessage:
        """See `Talk`."""
        return StationMessage("Authorize", {"idToken": {"idToken": tag, "type": "ISO14443"}})

    def started(self, session: MeteredSession, sample: Sample, when: str) -> StationMessage:
        """See `Talk`."""
        said = self._event(session, "Started", "Authorized", "EVConnected", when)
        said.payload["idToken"] = {"idToken": session.tag, "type": "ISO14443"}
        said.payload["meterValue"] = [_meter_value_2(MessageStyle.AMPS, sample, "Transaction.Begin", when)]
        return said

    def charging_state(self, session: MeteredSession, state: str, when: str) -> StationMessage:
        """See `Talk`."""
        return self._event(session, "Updated", "ChargingStateChanged", state, when)

    def metered(self, make: Make, session: MeteredSession, sample: Sample, when: str) -> StationMessage:
        """See `Talk`."""
        state = "Charging" if max(sample.current_a) > 0 else "SuspendedEVSE"
        said = self._event(session, "Updated", "MeterValuePeriodic", state, when)
        said.payload["meterValue"] = [_meter_value_2(make.style, sample, "Sample.Periodic", when)]
        return said

    def stopped(self, session: MeteredSession, sample: Sample, when: str) -> StationMessage:
        """See `Talk`."""
        said = self._event(session, "Ended", "EVCommunicationLost", "Idle", when)
        said.payload["transactionInfo"]["stoppedReason"] = "EVDisconnected"
        said.payload["meterValue"] = [_meter_value_2(MessageStyle.AMPS, sample, "Transaction.End", when)]
        return said

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
