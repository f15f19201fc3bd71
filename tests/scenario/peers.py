"""The peers of a controller in a scenario: stations with their cars, CSMSs, meters, the grid operator.

Their verbs are the same over every driver. What a peer receives is queued until a verb takes it; the
controller's own CALLs to a station (limits, capability questions) are answered at once, and the limits kept.
"""

from __future__ import annotations

import itertools
import json
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple, Protocol

from controller.ocpp.frames import Call, Version, parse
from controller.ocpp.payloads import is_accepted
from tests.controller.dimming.commands import signed_command
from tests.controller.signing.authors import Author
from tests.scenario.frames import expect_call, expect_error, expect_result

Payload = dict[str, Any]

CSMS_ID = "csms-"
"""Prefix of the ids of CALLs of a CSMS: a station answers those without it at once."""
UNLIMITED_A = 999.0


class Line(Protocol):
    """One end of a link to the controller."""

    def send_text(self, text: str) -> None:
        """Send a text."""

    def close(self) -> None:
        """End the link."""


class Clock(Protocol):
    """Time of a scenario: virtual, or the real one."""

    def utc(self) -> datetime:
        """Return the time of day."""

    async def wait_until(self, is_reached: Callable[[], bool], expected: str) -> None:
        """Let time pass until the condition holds. Raises AssertionError with `expected` after a while."""


class Peer:
    """A peer at one end of a link. `name`: of the station at the other end or at this one."""

    def __init__(self, name: str, clock: Clock, id_prefix: str) -> None:
        self.name = name
        self.clock = clock
        self.line: Line | None = None
        self._received: deque[str] = deque()
        self._ids = (f"{id_prefix}{number}" for number in itertools.count(1))

    @property
    def is_connected(self) -> bool:
        """True while its link is open."""
        return self.line is not None

    def on_text(self, text: str) -> None:
        """Take a text of the controller: called by the driver."""
        self._received.append(text)

    def on_closed(self) -> None:
        """Take note that the controller has ended the link: called by the driver."""
        self.line = None

    async def send(self, text: str) -> None:
        """Send a text."""
        assert self.line is not None, f"{self.name} is not connected"
        self.line.send_text(text)

    async def send_call(self, action: str, payload: Payload) -> str:
        """Send a CALL and return its id."""
        message_id = next(self._ids)
        await self.send(json.dumps([2, message_id, action, payload]))
        return message_id

    async def send_result(self, call: Call, payload: Payload) -> None:
        """Answer a CALL."""
        await self.send(json.dumps([3, call.id, payload]))

    async def receive_text(self) -> str:
        """Wait for the next text and return it."""
        await self.clock.wait_until(lambda: bool(self._received), f"a text for {self.name}")
        return self._received.popleft()

    async def receive(self, text: str) -> None:
        """Expect this text next, byte for byte."""
        received = await self.receive_text()
        assert received == text

    async def receive_call(self, action: str, payload: Payload | None = None) -> Call:
        """Expect a CALL next, with this payload if one is given."""
        return expect_call(await self.receive_text(), action, payload)

    async def answer_call(self, action: str, result: Payload, payload: Payload | None = None) -> Call:
        """Expect a CALL next and answer it."""
        call = await self.receive_call(action, payload)
        await self.send_result(call, result)
        return call

    async def receive_result(self, message_id: str) -> Payload:
        """Expect the CALLRESULT of a CALL next and return its payload."""
        return expect_result(await self.receive_text(), message_id)

    async def receive_error(self, message_id: str, code: str, words: str = "") -> None:
        """Expect a CALLERROR next."""
        expect_error(await self.receive_text(), message_id, code, words)

    async def request(self, action: str, payload: Payload) -> Payload:
        """Send a CALL and return the payload of its CALLRESULT."""
        return await self.receive_result(await self.send_call(action, payload))

    async def wait_closed(self) -> None:
        """Wait until the controller has ended the link."""
        await self.clock.wait_until(lambda: not self.is_connected, f"{self.name}: the end of its link")

    async def disconnect(self) -> None:
        """End the link."""
        assert self.line is not None
        self.line.close()
        self.line = None

    def expect_nothing(self) -> None:
        """Expect that nothing waits to be received."""
        assert list(self._received) == []


class AcceptedLimit(NamedTuple):
    """A limit that a station has accepted (A per phase); `until`: its end, None for a fallback."""

    limit_a: float
    until: datetime | None


class Station(Peer):
    """A station with one EVSE; `limits`: those that it has accepted, in order."""

    def __init__(self, name: str, version: Version, clock: Clock) -> None:
        super().__init__(name, clock, f"{name}-")
        self.version = version
        self.limits: list[AcceptedLimit] = []
        self.car: Car | None = None
        self._limits_expected = 0

    def on_text(self, text: str) -> None:
        """Answer a CALL of the controller at once; queue everything else."""
        frame = parse(text)
        if isinstance(frame, Call) and not frame.id.startswith(CSMS_ID):
            self._answer_controller(frame)
        else:
            super().on_text(text)

    def _answer_controller(self, call: Call) -> None:
        assert self.line is not None
        payload = json.loads(call.payload)
        if call.action == "SetChargingProfile":
            self.limits.append(self._read_limit(payload))
            self.line.send_text(json.dumps([3, call.id, {"status": "Accepted"}]))
        else:
            self.line.send_text(json.dumps([4, call.id, "NotSupported", "", {}]))

    def _read_limit(self, payload: Payload) -> AcceptedLimit:
        if self.version is Version.V16:
            schedule = payload["csChargingProfiles"]["chargingSchedule"]
        else:
            [schedule] = payload["chargingProfile"]["chargingSchedule"]
        assert schedule["chargingRateUnit"] == "A"
        limit_a, duration_s = schedule["chargingSchedulePeriod"][0]["limit"], schedule.get("duration")
        until = None if duration_s is None else self.clock.utc() + timedelta(seconds=duration_s)
        return AcceptedLimit(limit_a, until)

    @property
    def limit_a(self) -> float:
        """Return the limit in force: the last lease that has not ended, or else the last fallback."""
        now = self.clock.utc()
        leases = [each.limit_a for each in self.limits if each.until is not None and now < each.until]
        if leases:
            return leases[-1]
        return next((each.limit_a for each in reversed(self.limits) if each.until is None), UNLIMITED_A)

    async def wait_limit(self, is_reached: Callable[[float], bool]) -> float:
        """Wait until it has a limit, and the one in force fulfils a condition; return it (A)."""
        await self.clock.wait_until(
            lambda: bool(self.limits) and is_reached(self.limit_a),
            f"{self.name}: another limit than {self.limit_a} A",
        )
        return self.limit_a

    async def boot(self) -> Payload:
        """Send a BootNotification; return its result."""
        return await self.request("BootNotification", self.boot_payload)

    @property
    def boot_payload(self) -> Payload:
        """The payload of its BootNotification."""
        if self.version is Version.V16:
            return {"chargePointVendor": "ACME", "chargePointModel": "One"}
        return {"reason": "PowerUp", "chargingStation": {"vendorName": "ACME", "model": "One"}}

    def status_payload(self, status: str) -> Payload:
        """Return the payload of a StatusNotification of its connector."""
        if self.version is Version.V16:
            return {"connectorId": 1, "errorCode": "NoError", "status": status}
        stamp = self.clock.utc().isoformat()
        return {"evseId": 1, "connectorId": 1, "connectorStatus": status, "timestamp": stamp}

    def meter_payload(self, amps: tuple[float, float, float], transaction: int | None = None) -> Payload:
        """Return the payload of its MeterValues with the current of each phase (A)."""
        sampled: list[Payload] = [
            {"measurand": "Current.Import", "phase": f"L{phase}", "value": value}
            for phase, value in enumerate(amps, start=1)
        ]
        if self.version is Version.V16:
            sampled = [each | {"unit": "A", "value": f"{each['value']:.1f}"} for each in sampled]
        value = [{"timestamp": self.clock.utc().isoformat(), "sampledValue": sampled}]
        if self.version is not Version.V16:
            return {"evseId": 1, "meterValue": value}
        running = {} if transaction is None else {"transactionId": transaction}
        return {"connectorId": 1, **running, "meterValue": value}


class Car:
    """A car that draws up to `max_a` on three phases at a station, as its limit allows."""

    def __init__(self, max_a: float = 32.0) -> None:
        self.max_a = max_a
        self._station: Station | None = None
        self._transaction: int | None = None
        self._events = itertools.count()

    @property
    def draw_a(self) -> float:
        """Return its draw on each phase (A); below 6 A it does not charge (IEC 61851-1)."""
        limit_a = 0.0 if self._station is None else min(self._station.limit_a, self.max_a)
        return limit_a if limit_a >= 6.0 else 0.0

    async def plug_in(self, station: Station) -> None:
        """Begin a transaction at the station."""
        self._station, station.car = station, self
        if station.version is Version.V16:
            await station.request("StatusNotification", station.status_payload("Charging"))
            started = await station.request("StartTransaction", self._start_payload())
            self._transaction = started["transactionId"]
            return
        await station.request("StatusNotification", station.status_payload("Occupied"))
        where = {"evse": {"id": 1, "connectorId": 1}}
        await self._send_event("Started", "Authorized", "EVConnected", **where)
        await self._send_event("Updated", "ChargingStateChanged", "Charging")

    async def report_draw(self) -> None:
        """Let the station send the draw as meter values."""
        assert self._station is not None
        payload = self._station.meter_payload((self.draw_a,) * 3, self._transaction)
        if self._station.version is not Version.V16:
            values = {"meterValue": payload["meterValue"]}
            await self._send_event("Updated", "MeterValuePeriodic", "Charging", **values)
            return
        assert await self._station.request("MeterValues", payload) == {}

    async def unplug(self) -> None:
        """End the transaction."""
        assert self._station is not None
        station = self._station
        if station.version is Version.V16:
            stamp = station.clock.utc().isoformat()
            stopped = {"transactionId": self._transaction, "meterStop": 9, "timestamp": stamp}
            await station.request("StopTransaction", stopped)
        else:
            await self._send_event("Ended", "EVCommunicationLost", "Idle")
        await station.request("StatusNotification", station.status_payload("Available"))
        self._station = station.car = None

    async def request_energy(self, energy_wh: float, leaves_in: timedelta) -> None:
        """Let the station report the car's needs (OCPP 2.x)."""
        assert self._station is not None
        departs_at = (self._station.clock.utc() + leaves_in).isoformat()
        wanted = {"energyAmount": energy_wh, "evMinCurrent": 6, "evMaxCurrent": 32, "evMaxVoltage": 230}
        needs = {
            "requestedEnergyTransfer": "AC_three_phase",
            "departureTime": departs_at,
            "acChargingParameters": wanted,
        }
        await self._station.request("NotifyEVChargingNeeds", {"evseId": 1, "chargingNeeds": needs})

    def _start_payload(self) -> Payload:
        assert self._station is not None
        stamp = self._station.clock.utc().isoformat()
        return {"connectorId": 1, "idTag": "04A1B2C3", "meterStart": 0, "timestamp": stamp}

    async def _send_event(self, kind: str, trigger: str, state: str, **more: Any) -> None:
        """Send a TransactionEvent; only the first names the EVSE, as OCPP 2.0.1 has it (E01.FR.16)."""
        assert self._station is not None
        event = {
            "eventType": kind,
            "triggerReason": trigger,
            "seqNo": next(self._events),
            "timestamp": self._station.clock.utc().isoformat(),
            "transactionInfo": {"transactionId": f"{self._station.name}-{id(self)}", "chargingState": state},
        }
        await self._station.request("TransactionEvent", event | more)


class CsmsLink(Peer):
    """A CSMS's end of the link of a station, or of the site; with `is_automatic` it answers CALLs."""

    def __init__(self, name: str, clock: Clock) -> None:
        super().__init__(name, clock, CSMS_ID)
        self.is_automatic = False
        self.calls: list[Call] = []
        self._answers: dict[str, str] = {}
        self._transactions = itertools.count(70)

    def on_connected(self, line: Line) -> None:
        """Take a new connection: what was received over the last one can no longer be answered."""
        self.line = line
        self._received.clear()

    def on_text(self, text: str) -> None:
        """Answer a CALL at once if it is automatic, or repeated with a known id (OCPP-J); queue the rest."""
        frame = parse(text)
        assert self.line is not None
        if isinstance(frame, Call) and frame.id in self._answers:
            self.line.send_text(self._answers[frame.id])
        elif self.is_automatic and isinstance(frame, Call):
            self.calls.append(frame)
            self.line.send_text(self._make_answer(frame, self._make_result(frame.action)))
        else:
            super().on_text(text)

    def _make_answer(self, call: Call, result: Payload) -> str:
        self._answers[call.id] = json.dumps([3, call.id, result])
        return self._answers[call.id]

    async def send_result(self, call: Call, payload: Payload) -> None:
        """Answer a CALL, and the same again if the station repeats it."""
        await self.send(self._make_answer(call, payload))

    def _make_result(self, action: str) -> Payload:
        match action:
            case "BootNotification":
                stamp = self.clock.utc().isoformat()
                return {"status": "Accepted", "currentTime": stamp, "interval": 300}
            case "StartTransaction":
                return {"transactionId": next(self._transactions), "idTagInfo": {"status": "Accepted"}}
            case "Heartbeat":
                return {"currentTime": self.clock.utc().isoformat()}
            case "DataTransfer" | "NotifyEVChargingNeeds":
                return {"status": "Accepted"}
        return {}

    async def wait_call(self, action: str) -> Call:
        """Wait until an automatic link has answered a CALL with this action; return the first."""
        await self.clock.wait_until(
            lambda: any(each.action == action for each in self.calls), f"a CALL {action} of {self.name}"
        )
        return next(each for each in self.calls if each.action == action)


class Csms:
    """A CSMS with a link for each station. The driver connects the links, and ends them while it is away."""

    def __init__(self, name: str, clock: Clock) -> None:
        self.name = name
        self.is_away = False
        self.is_automatic = False
        self.links: dict[str, CsmsLink] = {}
        self._clock = clock

    def accept(self, station: str, line: Line) -> CsmsLink:
        """Take a new link of a station: called by the driver."""
        link = self.links.get(station)
        if link is None:
            link = self.links[station] = CsmsLink(station, self._clock)
        link.is_automatic = self.is_automatic
        link.on_connected(line)
        return link

    async def link(self, station: str = "CS01") -> CsmsLink:
        """Wait for the link of a station and return it."""
        await self._clock.wait_until(
            lambda: station in self.links and self.links[station].is_connected,
            f"{self.name}: the link of {station}",
        )
        return self.links[station]

    def answer_automatically(self) -> None:
        """Answer each CALL with a plausible result from now on."""
        self.is_automatic = True
        for link in self.links.values():
            link.is_automatic = True

    async def go_away(self) -> None:
        """End all links, and accept none."""
        self.is_away = True
        for link in self.links.values():
            if link.is_connected:
                await link.disconnect()

    async def come_back(self) -> None:
        """Accept links again."""
        self.is_away = False


class GridOperator:
    """The grid operator behind the site's own link to the CSMS; it signs commands with `author`."""

    def __init__(self, csms: Csms, clock: Clock) -> None:
        self.author = Author()
        self._csms = csms
        self._clock = clock
        self._last: Any = None
        self._sequence = itertools.count(1)

    async def send_limit(self, watts: float | None, *, author: Author | None = None) -> Payload:
        """Send a signed command, None: to end the limit; return its acknowledgement."""
        link = await self._csms.link("lc")
        await link.wait_call("BootNotification")
        command = signed_command(author or self.author, next(self._sequence), watts, self._clock.utc())
        self._last = json.loads(command)
        return await self.repeat_last()

    async def repeat_last(self) -> Payload:
        """Send the last command again, unchanged; return its acknowledgement."""
        link = await self._csms.link("lc")
        payload = {"vendorId": "org.local-controller", "messageId": "dim", "data": self._last}
        answer = await link.request("DataTransfer", payload)
        acknowledgement: Payload = answer["data"]
        assert is_accepted(json.dumps(answer).encode()) == (acknowledgement["status"] != "refused")
        return acknowledgement


class Meter:
    """The meter at the grid connection; it measures the cars and `building_a` beside them (A per phase)."""

    def __init__(self) -> None:
        self.building_a = (1.0, 1.0, 1.0)
        self.has_failed = False

    def measure_building(self, *amps: float) -> None:
        """Let the building draw so much on each phase from now on."""
        first, second, third = amps
        self.building_a = (first, second, third)

    def fail(self) -> None:
        """Answer nothing from now on."""
        self.has_failed = True

    def recover(self) -> None:
        """Answer again."""
        self.has_failed = False

    def total_a(self, stations: list[Station]) -> tuple[float, float, float]:
        """Return the current on each phase (A)."""
        cars_a = sum(each.car.draw_a for each in stations if each.car is not None)
        first, second, third = self.building_a
        return (first + cars_a, second + cars_a, third + cars_a)


def utc_text(utc: float) -> str:
    """Return a time as OCPP writes it."""
    return datetime.fromtimestamp(utc, UTC).isoformat()
