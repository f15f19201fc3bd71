"""A site with an EEBUS node, and an energy guard that is played step by step, on a simulated clock.

The guard has its own small reading and writing of EEBUS' JSON: what both sides had in common would hide
their mistakes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from drivers.eebus.eebus_node import (
    CloseConnection,
    DoubleConnection,
    EebusNode,
    MessageRefused,
    NodeEffect,
    SendMessage,
    ShipIdLearned,
    TrustRequested,
)
from drivers.eebus.limitation import PowerDirection
from drivers.eebus.lpc import (
    Answered,
    ControllableSystem,
    Event,
    Failsafe,
    Heartbeat,
    Moved,
    SaveFailsafe,
    State,
    Tick,
)
from drivers.eebus.ship import Role
from drivers.eebus.spine_device import DeviceSettings, GuardHeartbeat, LimitRequested, SpineDevice

OUR_SKI = "b" * 40
GUARD_SKI = "a" * 40
OUR_DEVICE = "d:_n:Site-1"
GUARD_DEVICE = "d:_n:Guard-1"
UTC = 1_795_000_000.0


def to_object(value: Any) -> Any:
    """Turn the array form into objects: a list of one-member objects with different names is one."""
    if isinstance(value, list):
        if value and all(isinstance(each, dict) and len(each) == 1 for each in value):
            names = [next(iter(each)) for each in value]
            if len(set(names)) == len(names):
                return {name: to_object(each[name]) for name, each in zip(names, value, strict=True)}
        return [to_object(each) for each in value]
    if isinstance(value, dict):
        return {name: to_object(each) for name, each in value.items()}
    return value


def to_array(value: Any) -> Any:
    """Turn objects into the array form."""
    if isinstance(value, dict):
        return [{name: to_array(each)} for name, each in value.items()]
    if isinstance(value, list):
        return [to_array(each) for each in value]
    return value


def control(kind: int = 1, **message: Any) -> bytes:
    """A control message, or with kind 3 one of the end."""
    return (
        bytes([kind])
        + json.dumps({name: to_array(each) for name, each in message.items()}, separators=(",", ":")).encode()
    )


class ControlledSite:
    """Node, device and state machines of a site, wired as the service wires them."""

    def __init__(
        self,
        *,
        trusted: Mapping[str, str] | None = None,
        production: bool = False,
        failsafes: Mapping[PowerDirection, Failsafe] | None = None,
        our_ski: str = OUR_SKI,
        rule: DoubleConnection = DoubleConnection.INITIATOR,
        ship_id: str = "Site-1",
        device: str = OUR_DEVICE,
        nominal_w: float = 100_000.0,
    ) -> None:
        self.now = 0.0
        self.clock_set_s = 0.0
        """By how much the wall clock was set since the start; the monotonic one runs on."""
        self.address = device
        nominal = {PowerDirection.CONSUME: nominal_w} | (
            {PowerDirection.PRODUCE: 30_000.0} if production else {}
        )
        self.machines = {
            each: ControllableSystem((failsafes or {}).get(each, Failsafe()), 0.0, 0.0) for each in nominal
        }
        self.saved: dict[PowerDirection, Failsafe] = {}
        self.moves: list[int] = []
        self.sent: list[tuple[float, str, bytes]] = []
        self.closed: dict[str, tuple[float, int, str]] = {}
        self.trust_requests: list[str] = []
        self.ship_ids: dict[str, str] = {}
        self.refused: list[str] = []
        self.requests: list[LimitRequested] = []
        settings = DeviceSettings(
            address=device,
            vendor="Vendor",
            model="Controller",
            serial="1",
            software="1.0",
            nominal_w=nominal,
        )
        views = {each: machine.view for each, machine in self.machines.items()}
        self.device = SpineDevice(settings, views, 0.0, UTC)
        known = {GUARD_SKI: ""} if trusted is None else trusted
        self.node = EebusNode(our_ski, ship_id, self.device, known, rule)

    @property
    def lpc(self) -> ControllableSystem:
        return self.machines[PowerDirection.CONSUME]

    @property
    def state(self) -> State:
        return self.lpc.state

    @property
    def utc(self) -> float:
        return UTC + self.now + self.clock_set_s

    def open(self, name: str = "c1", role: Role = Role.SERVER, ski: str = GUARD_SKI) -> None:
        self.do(self.node.open(name, role, ski, self.now))

    def receive(self, message: bytes, name: str = "c1") -> list[bytes]:
        """Feed a message; return what was sent on that connection because of it."""
        before = len(self.sent)
        self.do(self.node.receive(name, message, self.now, self.utc))
        return [each for _, connection, each in self.sent[before:] if connection == name]

    def advance(self, seconds: float, name: str = "c1") -> list[bytes]:
        """Let time pass, from deadline to deadline; return what was sent on a connection."""
        before, end = len(self.sent), self.now + seconds
        while (due := min(self._deadlines())) <= end:
            self.now = max(self.now, due)
            self._tick()
        self.now = end
        self._tick()
        return [each for _, connection, each in self.sent[before:] if connection == name]

    def pass_to_machine(self, direction: PowerDirection, event: Event) -> Answered | None:
        answer: Answered | None = None
        for action in self.machines[direction].handle(event, self.now):
            match action:
                case Answered():
                    answer = action
                case Moved(number=number):
                    self.moves += [number] if direction is PowerDirection.CONSUME else []
                case SaveFailsafe(failsafe=failsafe):
                    self.saved[direction] = failsafe
                    if direction is PowerDirection.CONSUME and PowerDirection.PRODUCE in self.machines:
                        self.machines[PowerDirection.PRODUCE].share_duration(failsafe.duration_s)
        return answer

    def do(self, effects: list[NodeEffect]) -> None:
        for effect in effects:
            match effect:
                case SendMessage(connection=name, message=message):
                    self.sent.append((self.now, name, message))
                case CloseConnection(connection=name, code=code, reason=reason):
                    self.closed[name] = (self.now, code, reason)
                case TrustRequested(ski=ski):
                    self.trust_requests.append(ski)
                case ShipIdLearned(ski=ski, ship_id=ship_id):
                    self.ship_ids[ski] = ship_id
                case MessageRefused(reason=reason):
                    self.refused.append(reason)
                case GuardHeartbeat():
                    for direction in self.machines:
                        self.pass_to_machine(direction, Heartbeat())
                case LimitRequested(direction=direction, event=event):
                    self.requests.append(effect)
                    answer = self.pass_to_machine(direction, event)
                    assert answer is not None
                    self.do(self.node.answer_request(answer, self.machines[direction].view))

    def _tick(self) -> None:
        for direction, machine in self.machines.items():
            self.pass_to_machine(direction, Tick())
            self.do(self.node.update_view(direction, machine.view))
        self.do(self.node.tick(self.now, self.utc))

    def _deadlines(self) -> list[float]:
        times = [machine.deadline for machine in self.machines.values()]
        return [self.node.deadline, *(each for each in times if each is not None)]


class Guard:
    """An energy guard on a connection that it has dialed to a site."""

    def __init__(
        self, site: ControlledSite, name: str = "c1", ski: str = GUARD_SKI, *, device: str = GUARD_DEVICE
    ) -> None:
        self.site = site
        self.name = name
        self.ski = ski
        self.device = device
        self.entity = [1]
        self.counter = 0
        self.version = "1.3.0"
        self.types = {
            1: "LoadControl",
            2: "DeviceConfiguration",
            3: "ElectricalConnection",
            4: "DeviceDiagnosis",
            6: "Measurement",
        }
        self.answers_calls = True
        self._taken = len(site.sent)
        self._answered = 0
        self.received: list[dict[str, Any]] = []
        """All datagrams of the site, as objects."""

    # -- SHIP -----------------------------------------------------------------------------------------

    def send(self, message: bytes) -> list[Any]:
        """Send a message; return the control messages that come back, datagrams are kept."""
        self.site.receive(message, self.name)
        return self.take()

    def wait(self, seconds: float) -> list[Any]:
        self.site.advance(seconds, self.name)
        return self.take()

    def take(self) -> list[Any]:
        """Take what the site has sent since; return the control messages, datagrams are kept."""
        messages = self.site.sent[self._taken :]
        self._taken += len(messages)
        controls: list[Any] = []
        for message in [each for _, name, each in messages if name == self.name]:
            if message[0] == 0:
                controls.append(message)
                continue
            parsed = to_object(json.loads(message[1:]))
            if message[0] == 2:
                self.received.append(parsed["data"]["payload"]["datagram"])
            else:
                controls.append(parsed)
        self._answer_calls()
        return controls

    def _answer_calls(self) -> None:
        """Accept the subscriptions of the site."""
        for each in self.received[self._answered :]:
            self._answered += 1
            header = each["header"]
            if header["cmdClassifier"] == "call" and self.answers_calls:
                self.datagram("result", {"resultData": {"errorNumber": 0}}, reference=header["msgCounter"])

    def handshake(self) -> None:
        self.site.open(self.name, ski=self.ski)
        self.send(b"\x00\x00")
        self.send(control(connectionHello={"phase": "ready", "waiting": 60000}))
        offer = {"version": {"major": 1, "minor": 0}, "formats": {"format": ["JSON-UTF8"]}}
        self.send(control(messageProtocolHandshake={"handshakeType": "announceMax", **offer}))
        self.send(control(messageProtocolHandshake={"handshakeType": "select", **offer}))
        self.send(control(connectionPinState={"pinState": "none"}))
        self.send(control(accessMethods={"id": f"Id-{self.device}"}))

    # -- SPINE ----------------------------------------------------------------------------------------

    def datagram(
        self,
        classifier: str,
        command: dict[str, Any] | list[Any],
        *,
        source: tuple[list[int], int] | None = None,
        destination: tuple[list[int], int] = ([0], 0),
        reference: int | None = None,
        ack: bool | None = None,
        version: str | None = None,
        counter: int | None = None,
        device: str | None = "",
    ) -> list[dict[str, Any]]:
        """Send a datagram; return the datagrams that come back."""
        self.counter = self.counter + 1 if counter is None else counter
        from_entity, from_feature = source or ([0], 0)
        header: dict[str, Any] = {
            "specificationVersion": version or self.version,
            "addressSource": {"device": self.device, "entity": from_entity, "feature": from_feature},
            "addressDestination": ({} if device is None else {"device": device or self.site.address})
            | {"entity": destination[0], "feature": destination[1]},
            "msgCounter": self.counter,
        }
        if reference is not None:
            header["msgCounterReference"] = reference
        header["cmdClassifier"] = classifier
        if ack is not None:
            header["ackRequest"] = ack
        commands = command if isinstance(command, list) else [command]
        body = {"datagram": {"header": header, "payload": {"cmd": commands}}}
        message = {"data": {"header": {"protocolId": "ee1.0"}, "payload": body}}
        self.take()  # what came without being asked for is no answer
        before = len(self.received)
        self.send(b"\x02" + json.dumps(to_array(message)[0]).encode())
        return self.received[before:]

    def discovery(self) -> dict[str, Any]:
        """The detailed discovery of the guard's device."""
        features = [
            {"featureAddress": self.address(number), "featureType": type_, "role": "client"}
            for number, type_ in self.types.items()
        ]
        features.append(
            {
                "featureAddress": self.address(5),
                "featureType": "DeviceDiagnosis",
                "role": "server",
                "supportedFunction": [
                    {"function": "deviceDiagnosisHeartbeatData", "possibleOperations": {"read": {}}}
                ],
            }
        )
        entity = {"device": self.device, "entity": self.entity}
        return {
            "specificationVersionList": {"specificationVersion": ["1.3.0"]},
            "deviceInformation": {"description": {"deviceAddress": {"device": self.device}}},
            "entityInformation": [
                {"description": {"entityAddress": entity, "entityType": "GridGuard"}},
            ],
            "featureInformation": [{"description": each} for each in features],
        }

    def address(self, feature: int, entity: list[int] | None = None) -> dict[str, Any]:
        return {"device": self.device, "entity": entity or self.entity, "feature": feature}

    def answer_discovery(self, discovery: dict[str, Any] | None = None) -> None:
        """Answer the newest discovery read of the site."""
        asked = [
            each["header"]["msgCounter"]
            for each in self.received
            if each["header"]["cmdClassifier"] == "read"
            and "nodeManagementDetailedDiscoveryData" in commands_of(each)
        ]
        data = {"nodeManagementDetailedDiscoveryData": discovery or self.discovery()}
        self.datagram("reply", data, reference=asked[-1])

    def link(
        self,
        kind: str,
        client: int,
        server: int,
        *,
        call: str = "Request",
        entity: list[int] | None = None,
    ) -> int:
        """Call for a subscription or binding, or for its end; return the result."""
        name = kind[0].lower() + kind[1:] + call
        own = ([1], server) if server else ([0], 0)
        addresses = {
            "clientAddress": self.address(client, entity),
            "serverAddress": {"device": self.site.address, "entity": own[0], "feature": own[1]},
        }
        answers = self.datagram("call", {f"nodeManagement{kind}{call}Call": {name: addresses}}, ack=True)
        return result_of(answers)

    def connect(self) -> Guard:
        """Handshake, discovery, subscriptions and bindings."""
        self.handshake()
        self.answer_discovery()
        for number in (1, 2, 3, 4, 6):
            assert self.link("Subscription", number, number) == 0
        for number in (1, 2):
            assert self.link("Binding", number, number) == 0
        return self

    def beat(self) -> None:
        """Send a heartbeat."""
        data = {
            "timestamp": "2026-11-26T23:22:17.7588293Z",
            "heartbeatCounter": self.counter,
            "heartbeatTimeout": "PT1M",
        }
        self.datagram(
            "notify",
            {"deviceDiagnosisHeartbeatData": data},
            source=(self.entity, 5),
            destination=([1], 5),
        )

    def beat_for(self, seconds: float, every: float = 20.0) -> None:
        """Let time pass with heartbeats."""
        end = self.site.now + seconds
        while self.site.now < end:
            self.wait(min(every, end - self.site.now))
            self.beat()

    def write_limit(
        self,
        watts: float | None = None,
        *,
        active: bool | None = None,
        duration: str | None = None,
        delete_duration: bool = False,
        limit_id: int | None = 1,
        scale: int | None = 0,
        more: dict[str, Any] | None = None,
        version: str | None = None,
    ) -> int:
        """Write what is given of a limit; return the result."""
        data: dict[str, Any] = {} if limit_id is None else {"limitId": limit_id}
        if active is not None:
            data["isLimitActive"] = active
        if duration is not None:
            data["timePeriod"] = {"endTime": duration}
        if watts is not None:
            data["value"] = {"number": int(watts)} | ({} if scale is None else {"scale": scale})
        filters: list[dict[str, Any]] = [{"cmdControl": {"partial": {}}}]
        if delete_duration:
            deletion = {
                "cmdControl": {"delete": {}},
                "loadControlLimitListDataSelectors": {"limitId": limit_id},
                "loadControlLimitDataElements": {"timePeriod": {}},
            }
            filters.insert(0, deletion)
        command = {
            "function": "loadControlLimitListData",
            "filter": filters,
            "loadControlLimitListData": {"loadControlLimitData": [data | (more or {})]},
        }
        return self.write(command, 1, version=version)

    def write_failsafe(
        self, watts: float | None = None, *, duration: str | None = None, watts_key: int = 1
    ) -> int:
        """Write failsafe value, duration, or both; return the result."""
        data: list[dict[str, Any]] = []
        if watts is not None:
            number = {"number": int(watts), "scale": 0}
            data.append({"keyId": watts_key, "value": {"scaledNumber": number}})
        if duration is not None:
            data.append({"keyId": 2, "value": {"duration": duration}})
        command = {
            "function": "deviceConfigurationKeyValueListData",
            "filter": [{"cmdControl": {"partial": {}}}],
            "deviceConfigurationKeyValueListData": {"deviceConfigurationKeyValueData": data},
        }
        return self.write(command, 2)

    def write(
        self, command: dict[str, Any], feature: int, *, ack: bool = True, version: str | None = None
    ) -> int:
        answers = self.datagram(
            "write",
            command,
            source=(self.entity, feature),
            destination=([1], feature),
            ack=ack,
            version=version,
        )
        return result_of(answers)

    def read(self, function: str, feature: int = 0) -> Any:
        """Read a function; return its data."""
        entity = [0] if feature == 0 else [1]
        [answer] = self.datagram("read", {function: []}, destination=(entity, feature))
        assert answer["header"]["cmdClassifier"] == "reply", answer
        return commands_of(answer)[function]

    def read_limit(self, limit_id: int = 1) -> dict[str, Any]:
        """The limit as the guard reads it."""
        limits = self.read("loadControlLimitListData", 1)["loadControlLimitData"]
        [limit] = [each for each in limits if each["limitId"] == limit_id]
        return dict(limit)

    def read_failsafe(self, key: int = 1) -> Any:
        """A configuration value as the guard reads it."""
        keys = self.read("deviceConfigurationKeyValueListData", 2)["deviceConfigurationKeyValueData"]
        [value] = [each["value"] for each in keys if each["keyId"] == key]
        return value.get("duration") or value["scaledNumber"]["number"] * 10 ** value["scaledNumber"]["scale"]


def commands_of(datagram: dict[str, Any]) -> dict[str, Any]:
    """The one command of a datagram."""
    [command] = datagram["payload"]["cmd"]
    return dict(command)


def result_of(answers: list[dict[str, Any]]) -> int:
    """The error number of the one result among answers."""
    [result] = [each for each in answers if each["header"]["cmdClassifier"] == "result"]
    return int(commands_of(result)["resultData"]["errorNumber"])


def notified(datagrams: list[dict[str, Any]], function: str) -> list[Any]:
    """The data of all notifications of a function."""
    return [
        commands_of(each)[function]
        for each in datagrams
        if each["header"]["cmdClassifier"] == "notify" and function in commands_of(each)
    ]
