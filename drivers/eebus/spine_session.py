"""Datagrams of one partner, from the end of the SHIP handshake to the end of the connection, sans-IO.

The session answers reads and calls from the data of our device, keeps the partner's subscriptions and
bindings, and discovers the partner: its entities, its use cases, and the heartbeat of the client that has
bound to our limits. Writes that pass these checks are returned as `WriteReceived` and answered later.

A request is answered once: a read by its reply, a write and a call by a result if it asks for one or if it
fails, a notification by a result if it asks for one. Replies and results are never answered. The partner's
counters may jump and fall (it may have restarted): they are no filter against replayed datagrams, which TLS
does not pass.

Times are s on the caller's monotonic clock.
"""

from __future__ import annotations

import msgspec

from drivers.eebus import spine_features as features
from drivers.eebus.array_json import EebusError
from drivers.eebus.spine_data import HeartbeatData, parse_end
from drivers.eebus.spine_datagrams import (
    Command,
    ErrorNumber,
    SpineError,
    decode_command,
    decode_datagram,
    encode_datagram,
    is_compatible,
    make_header,
    make_result,
)
from drivers.eebus.spine_features import FEATURES, NODE_MANAGEMENT, Key, LocalDevice
from drivers.eebus.spine_types import (
    DetailedDiscovery,
    Element,
    Empty,
    FeatureAddress,
    Header,
    Link,
    ResultData,
    SubscriptionRequestCall,
    UseCaseData,
)
from drivers.eebus.subscriptions import Bindings, Subscriptions

REQUEST_TIMEOUT_S = 30.0
"""Time after which a request of ours is sent again."""
MOST_ATTEMPTS = 5
HEARTBEAT_MISSING_S = 90.0
"""Time without a heartbeat of the bound client after which its subscription is renewed."""

FRESH_HEARTBEAT_S = 60.0
"""Greatest age of a heartbeat that was read and not notified."""
HEARTBEAT_SUBSCRIPTION = "subscription of the heartbeat"

KNOWN_FUNCTIONS = frozenset(name for feature in FEATURES.values() for name in feature.functions) | {
    features.RESULT
}


class SendPayload(msgspec.Struct, frozen=True):
    """Send a payload to a partner, named by the key of its session."""

    session: str
    payload: bytes


class WriteReceived(msgspec.Struct, frozen=True):
    """Write to one of our features from a partner that is bound to it; `received`: the whole message."""

    key: Key
    command: Command
    header: Header
    received: bytes


class HeartbeatReceived(msgspec.Struct, frozen=True):
    """Heartbeat of the client that is bound to our limits."""


class DatagramRefused(msgspec.Struct, frozen=True):
    """Datagram that was refused or ignored, for the log."""

    session: str
    reason: str


SessionEffect = SendPayload | WriteReceived | HeartbeatReceived | DatagramRefused


class _Request(msgspec.Struct):
    """Request of ours that is not answered yet."""

    function: str
    attempt: int
    due: float


class SpineSession:
    """Session with one partner. `name` is its key, and the holder of its bindings."""

    def __init__(self, name: str, local: LocalDevice) -> None:
        self.name = name
        self.partner_device: str | None = None
        self.discovery: DetailedDiscovery | None = None
        self.use_cases: UseCaseData | None = None
        self.heartbeat_at: float | None = None
        self.subscriptions = Subscriptions(local)
        self.bindings = Bindings(local, name)
        self._local = local
        self._counter = 0
        self._requests: dict[int, _Request] = {}
        self._heartbeat_source: FeatureAddress | None = None
        """Server of the heartbeats that were subscribed to."""
        self._resubscribe_at: float | None = None

    @property
    def deadline(self) -> float | None:
        """Time of the next `tick`; None: nothing is due."""
        times = [request.due for request in self._requests.values()]
        times += [] if self._resubscribe_at is None else [self._resubscribe_at]
        return min(times, default=None)

    @property
    def guard_entity(self) -> tuple[int, ...] | None:
        """Entity of the client that is bound to our limits; None: there is none."""
        client = self.bindings.client_of(features.LOAD_CONTROL)
        return None if client is None else client.entity

    # -- events ---------------------------------------------------------------------------------------

    def start(self, now: float) -> list[SessionEffect]:
        """Begin: discover the partner."""
        return [self._read(features.DISCOVERY, now)]

    def end(self) -> None:
        """Release the bindings after the end of the connection."""
        self.bindings.release()

    def receive(self, payload: object, received: bytes, now: float, utc: float) -> list[SessionEffect]:
        """Process a datagram."""
        try:
            datagram = decode_datagram(payload)
        except EebusError as error:
            return [DatagramRefused(self.name, str(error))]
        header = datagram.header
        if self.partner_device is None:
            self.partner_device = header.address_source.device
        try:
            if not is_compatible(header.specification_version):
                raise SpineError(ErrorNumber.GENERAL, f"version {header.specification_version!r:.40}")
            command = decode_command(datagram.commands, KNOWN_FUNCTIONS)
            return self._on_command(header, command, received, now, utc)
        except SpineError as error:
            refused = DatagramRefused(self.name, f"{header.cmd_classifier:.20}: {error}")
            return [*self.answer_error(header, error), refused]

    def tick(self, now: float) -> list[SessionEffect]:
        """Repeat requests that were not answered, and the subscription of heartbeats that stopped."""
        effects: list[SessionEffect] = []
        for counter, request in list(self._requests.items()):
            if request.due > now:
                continue
            del self._requests[counter]
            if request.function == HEARTBEAT_SUBSCRIPTION:
                self._heartbeat_source = None
            elif request.attempt < MOST_ATTEMPTS:
                effects.append(self._read(request.function, now, request.attempt + 1))
        if self._resubscribe_at is not None and now >= self._resubscribe_at:
            self._heartbeat_source = None
            self._resubscribe_at = now + HEARTBEAT_MISSING_S
        return effects + self._follow_guard(now)

    def notify(self, key: Key, function: str) -> list[SessionEffect]:
        """Send the data of a function to the subscribers of its feature."""
        data = self._local.data(key, function)
        if data is None:
            return []
        return [
            self._send(
                make_header(self._local.address_of(key), client, self._next(), "notify"), function, data
            )
            for client in self.subscriptions.clients_of(key)
        ]

    def answer_result(
        self, header: Header, number: ErrorNumber, description: str = ""
    ) -> list[SessionEffect]:
        """Answer a write or call with a result; success only where it was asked for."""
        if number is ErrorNumber.NONE and not header.ack_request:
            return []
        return [self._answer(header, "result", features.RESULT, make_result(number, description))]

    def answer_error(self, header: Header, error: SpineError) -> list[SessionEffect]:
        """Answer a datagram with an error, unless it is an answer or a notification without request."""
        classifier = header.cmd_classifier
        if classifier in ("reply", "result") or (classifier == "notify" and not header.ack_request):
            return []
        return self.answer_result(header, error.number, str(error))

    # -- commands by classifier -----------------------------------------------------------------------

    def _on_command(
        self, header: Header, command: Command, received: bytes, now: float, utc: float
    ) -> list[SessionEffect]:
        classifier = header.cmd_classifier
        if classifier == "reply":
            return self._on_reply(header, command, now, utc)
        if classifier == "result":
            return self._on_result(header, command, now)
        key = self._local.feature(header.address_destination)
        if key is None:
            raise SpineError(ErrorNumber.DESTINATION_UNKNOWN, "no such feature")
        match classifier:
            case "read":
                return self._on_read(key, header, command)
            case "write":
                return self._on_write(key, header, command, received)
            case "call":
                return self._on_call(key, header, command, now)
            case "notify":
                effects = self._on_notify(header, command, now)
                return [*effects, *self.answer_result(header, ErrorNumber.NONE)]
            case _:
                raise SpineError(ErrorNumber.NOT_SUPPORTED, "unknown classifier")

    def _on_read(self, key: Key, header: Header, command: Command) -> list[SessionEffect]:
        function = command.function
        if function not in FEATURES[key].functions:
            raise SpineError(ErrorNumber.NOT_SUPPORTED, f"no function {function!r:.60} to be read here")
        data: Element | None
        if function == features.SUBSCRIPTIONS:
            data = self.subscriptions.table()
        elif function == features.BINDINGS:
            data = self.bindings.table()
        else:
            data = self._local.data(key, function)
        if data is None:
            raise SpineError(ErrorNumber.NOT_SUPPORTED, f"{function} cannot be read")
        return [self._answer(header, "reply", function, data)]

    def _on_write(self, key: Key, header: Header, command: Command, received: bytes) -> list[SessionEffect]:
        if command.function not in FEATURES[key].writable:
            raise SpineError(ErrorNumber.NOT_SUPPORTED, f"no function {command.function!r:.60} to be written")
        if not self.bindings.has(header.address_source, key):
            raise SpineError(ErrorNumber.BINDING_NEEDED, "no binding of this client to this feature")
        return [WriteReceived(key, command, header, received)]

    def _on_call(self, key: Key, header: Header, command: Command, now: float) -> list[SessionEffect]:
        if key != NODE_MANAGEMENT:
            raise SpineError(ErrorNumber.NOT_SUPPORTED, "calls are for node management")
        effects: list[SessionEffect] = []
        match command.function:
            case "nodeManagementSubscriptionRequestCall":
                key = self.subscriptions.add(command, self.partner_device)
                if key == features.DIAGNOSIS:
                    effects = self.notify(key, features.HEARTBEAT)
            case "nodeManagementSubscriptionDeleteCall":
                self.subscriptions.delete(command)
            case "nodeManagementBindingRequestCall":
                self.bindings.add(command, self.partner_device)
            case "nodeManagementBindingDeleteCall":
                self.bindings.delete(command)
            case _:
                raise SpineError(ErrorNumber.NOT_SUPPORTED, f"no call {command.function!r:.60}")
        return [*self.answer_result(header, ErrorNumber.NONE), *effects, *self._follow_guard(now)]

    def _on_notify(self, header: Header, command: Command, now: float) -> list[SessionEffect]:
        match command.function:
            case features.HEARTBEAT:
                return self._on_heartbeat(header, now)
            case features.DISCOVERY:
                return self._on_discovery_changed(command, now)
            case features.USE_CASES:
                return self._read_again(features.USE_CASES, now)
            case _:
                return []

    def _on_discovery_changed(self, command: Command, now: float) -> list[SessionEffect]:
        """Drop what belonged to removed entities, and read the discovery again."""
        for each in command.convert(DetailedDiscovery).entity_information:
            if each.description.last_state_change == "removed":
                entity = each.description.entity_address.entity
                self.subscriptions.remove_entity(entity)
                self.bindings.remove_entity(entity)
        return self._read_again(features.DISCOVERY, now)

    def _on_reply(self, header: Header, command: Command, now: float, utc: float) -> list[SessionEffect]:
        request = self._requests.get(header.msg_counter_reference or 0)
        if request is None or request.function != command.function:
            return []
        # A reply that cannot be decoded leaves the request open: it is sent again when it is due.
        match command.function:
            case features.DISCOVERY:
                self.discovery = command.convert(DetailedDiscovery)
                effects = self._on_discovered(now)
            case features.USE_CASES:
                self.use_cases = command.convert(UseCaseData)
                effects = []
            case _:
                effects = self._on_heartbeat_read(header, command.convert(HeartbeatData), now, utc)
        self._requests.pop(header.msg_counter_reference or 0, None)
        return effects

    def _on_discovered(self, now: float) -> list[SessionEffect]:
        first = self.use_cases is None and not self._is_requested(features.USE_CASES)
        asked = [
            self._subscribe(NODE_MANAGEMENT, _node_management(self.partner_device), "NodeManagement", now)
        ]
        return [*(asked if first else []), self._read(features.USE_CASES, now), *self._follow_guard(now)]

    def _on_result(self, header: Header, command: Command, now: float) -> list[SessionEffect]:
        request = self._requests.pop(header.msg_counter_reference or 0, None)
        result = command.convert(ResultData)
        if request is None or result.error_number == 0:
            return []
        if request.function == HEARTBEAT_SUBSCRIPTION:
            self._resubscribe_at = now + REQUEST_TIMEOUT_S
        reason = f"{request.function} was answered by error {result.error_number}: {result.description or ''}"
        return [DatagramRefused(self.name, reason)]

    # -- heartbeat of the guard -----------------------------------------------------------------------

    def _follow_guard(self, now: float) -> list[SessionEffect]:
        """Subscribe to the heartbeat of the client that is bound to our limits, once it is known."""
        entity = self.guard_entity
        if entity is None:
            self._heartbeat_source = self._resubscribe_at = None
            return []
        source = self._find_heartbeat(entity)
        if source is None or source == self._heartbeat_source:
            return []
        self._heartbeat_source = source
        self._resubscribe_at = now + HEARTBEAT_MISSING_S
        counter = self._next()
        self._requests[counter] = _Request(features.HEARTBEAT, MOST_ATTEMPTS, now + REQUEST_TIMEOUT_S)
        read = make_header(self._local.address_of(features.DIAGNOSIS_CLIENT), source, counter, "read")
        return [
            self._subscribe(features.DIAGNOSIS_CLIENT, source, "DeviceDiagnosis", now),
            self._send(read, features.HEARTBEAT, Empty()),
        ]

    def _on_heartbeat(self, header: Header, now: float) -> list[SessionEffect]:
        if header.address_source.entity != self.guard_entity:
            return [DatagramRefused(self.name, "heartbeat of a client that is not bound")]
        self.heartbeat_at = now
        self._resubscribe_at = now + HEARTBEAT_MISSING_S
        return [HeartbeatReceived()]

    def _on_heartbeat_read(
        self, header: Header, data: HeartbeatData, now: float, utc: float
    ) -> list[SessionEffect]:
        """Process the heartbeat that was read after its subscription.

        The next notification may be a minute away, and guards write their limit at once. What was read
        counts if it is a heartbeat of the last minute by its timestamp; otherwise the notification does.
        """
        if data.heartbeat_counter is None or data.timestamp is None:
            return []
        try:
            age_s = -parse_end(data.timestamp, utc)
        except EebusError:
            return []
        return self._on_heartbeat(header, now) if abs(age_s) <= FRESH_HEARTBEAT_S else []

    def _find_heartbeat(self, entity: tuple[int, ...]) -> FeatureAddress | None:
        if self.discovery is None:
            return None
        for each in self.discovery.feature_information:
            description = each.description
            if (
                description.feature_type == "DeviceDiagnosis"
                and description.role == "server"
                and description.feature_address.entity == entity
            ):
                return description.feature_address
        return None

    # -- sending --------------------------------------------------------------------------------------

    def _read(self, function: str, now: float, attempt: int = 1) -> SessionEffect:
        counter = self._next()
        self._requests[counter] = _Request(function, attempt, now + REQUEST_TIMEOUT_S)
        header = make_header(self._local.address_of(NODE_MANAGEMENT), _node_management(None), counter, "read")
        return self._send(header, function, Empty())

    def _read_again(self, function: str, now: float) -> list[SessionEffect]:
        """Read a function that has changed, unless it is being read: changes without end cost one request."""
        return [] if self._is_requested(function) else [self._read(function, now)]

    def _subscribe(self, client: Key, server: FeatureAddress, type_: str, now: float) -> SessionEffect:
        counter = self._next()
        is_heartbeat = client == features.DIAGNOSIS_CLIENT
        function = HEARTBEAT_SUBSCRIPTION if is_heartbeat else features.SUBSCRIPTIONS
        self._requests[counter] = _Request(function, MOST_ATTEMPTS, now + REQUEST_TIMEOUT_S)
        header = make_header(
            self._local.address_of(NODE_MANAGEMENT),
            _node_management(self.partner_device),
            counter,
            "call",
            ack_request=True,
        )
        link = Link(
            client_address=self._local.address_of(client), server_address=server, server_feature_type=type_
        )
        call = SubscriptionRequestCall(subscription_request=link)
        return self._send(header, "nodeManagementSubscriptionRequestCall", call)

    def _answer(self, header: Header, classifier: str, function: str, data: Element) -> SessionEffect:
        destination = header.address_destination
        source = FeatureAddress(
            device=destination.device or self._local.address,
            entity=destination.entity,
            feature=destination.feature,
        )
        counter = self._next()
        answer = make_header(source, header.address_source, counter, classifier, reference=header.msg_counter)
        return self._send(answer, function, data)

    def _send(self, header: Header, function: str, data: Element) -> SessionEffect:
        return SendPayload(self.name, encode_datagram(header, {function: data}))

    def _next(self) -> int:
        self._counter += 1
        return self._counter

    def _is_requested(self, function: str) -> bool:
        return any(request.function == function for request in self._requests.values())


def _node_management(device: str | None) -> FeatureAddress:
    return FeatureAddress(device=device, entity=(0,), feature=0)
