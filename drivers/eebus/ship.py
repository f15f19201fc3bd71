"""One SHIP connection from the opened WebSocket to its end (SHIP 1.0.1, 13.4), sans-IO.

The phases follow each other:

    CMI       the client sends 00 00, the server answers it
    HELLO     both send `connectionHello`: ready if the partner is trusted, else pending
    PROTOCOL  the client announces version and formats, the server selects, the client confirms
    PIN       both send `connectionPinState` none
    DATA      SPINE datagrams; both ask for the other's SHIP id (access methods)
    CLOSING   the end was announced, its confirmation is awaited
    CLOSED

Each phase but DATA ends by its deadline. A partner that is not trusted yet stays in HELLO while its user and
ours decide: who is pending asks the other side, which waits, to prolong its waiting time.

    connection = ShipConnection(Role.SERVER, "OurId", trusted=True, now=0.0)
    connection.start(0.0)                        -> []
    connection.receive(bytes([0, 0]), 0.1)       -> [SendShipMessage(00 00), SendShipMessage(hello ready)]

Times are s on the caller's monotonic clock.
"""

from __future__ import annotations

import enum
from typing import Literal

import msgspec

from drivers.eebus import ship_messages as messages
from drivers.eebus.array_json import EebusError
from drivers.eebus.ship_messages import (
    AccessMethods,
    AccessMethodsRequest,
    ConnectionClose,
    ConnectionHello,
    ConnectionPinState,
    ControlMessage,
    Formats,
    HandshakeFault,
    MessageProtocolHandshake,
    MessageProtocolHandshakeError,
    MessageType,
    ProtocolVersion,
)

CMI_S = 20.0
"""CmiTimeout, 10 to 30 s."""
HELLO_ANNOUNCED_MS = 60_000
HELLO_S = 61.0
"""Our waiting time in the hello phase, longer than announced: a partner that uses it up is in time."""
PROLONG_BEFORE_S = 30.0
"""Time before the end of the partner's waiting time at which a prolongation is requested."""
LEAST_WAITING_S = 1.0
"""A waiting time below this is over."""
MOST_PROLONGATIONS = 60
"""Prolongations of one hello phase; then it is aborted, and the partner may connect again."""
STEP_S = 10.0
"""Waiting time of the protocol handshake and of the PIN state."""
CLOSE_ANNOUNCED_MS = 4000

VERSION = ProtocolVersion(1, 0)
FORMAT = "JSON-UTF8"

CODE_NORMAL = 1000


class Role(enum.Enum):
    """Role in the connection: the server was dialed."""

    CLIENT = "client"
    SERVER = "server"


class Phase(enum.Enum):
    """Phase of a connection."""

    CMI = "cmi"
    HELLO = "hello"
    PROTOCOL = "protocol"
    PIN = "pin"
    DATA = "data"
    CLOSING = "closing"
    CLOSED = "closed"


class SendShipMessage(msgspec.Struct, frozen=True):
    """Send a binary WebSocket message."""

    message: bytes


class CloseShip(msgspec.Struct, frozen=True):
    """Close the WebSocket. `reason` is for the log."""

    reason: str
    code: int = CODE_NORMAL


class DataPhaseReached(msgspec.Struct, frozen=True):
    """Handshake complete: SPINE datagrams may be sent."""


class ShipIdReceived(msgspec.Struct, frozen=True):
    """SHIP id of the partner, from its access methods."""

    ship_id: str


class PayloadReceived(msgspec.Struct, frozen=True):
    """Payload of a data message, parsed and in array form, with the message as it was received."""

    payload: object
    received: bytes


class MessageIgnored(msgspec.Struct, frozen=True):
    """Message that was not understood and is without consequence."""

    reason: str


ShipEffect = (
    SendShipMessage | CloseShip | DataPhaseReached | ShipIdReceived | PayloadReceived | MessageIgnored
)


class ShipConnection:
    """State of one connection; every method returns what is to be done, in order."""

    def __init__(self, role: Role, ship_id: str, *, trusted: bool, now: float) -> None:
        self.role = role
        self.phase = Phase.CMI
        self.trusted = trusted
        self._ship_id = ship_id
        self._deadline: float | None = now + CMI_S
        self._prolong_at: float | None = None
        """In HELLO, while we are pending: when to request a prolongation."""
        self._prolongations = 0
        self._partner_is_ready = False
        self._announced = False
        """In PROTOCOL, as the server: the client's offer was answered."""

    @property
    def deadline(self) -> float | None:
        """Time of the next `tick`; None: nothing is due."""
        times = [each for each in (self._deadline, self._prolong_at) if each is not None]
        return min(times, default=None)

    @property
    def awaits_trust(self) -> bool:
        """True while our user has to accept the partner."""
        return self.phase is Phase.HELLO and not self.trusted

    # -- events ---------------------------------------------------------------------------------------

    def start(self, now: float) -> list[ShipEffect]:
        """Begin after the WebSocket was opened."""
        self._deadline = now + CMI_S
        return [SendShipMessage(messages.CMI)] if self.role is Role.CLIENT else []

    def receive(self, message: bytes, now: float) -> list[ShipEffect]:
        """Process a WebSocket message."""
        if self.phase is Phase.CLOSED:
            return []
        if self.phase is Phase.CMI:
            return self._on_cmi(message, now)
        if len(message) < 2:
            return [MessageIgnored("a message of less than two bytes")]
        kind = message[0]
        if kind == MessageType.DATA:
            return self._on_data(message)
        if kind not in (MessageType.CONTROL, MessageType.END):
            return [MessageIgnored(f"unknown message type {kind}")]
        try:
            control = messages.decode_control(message[1:])
        except EebusError as error:
            return self._on_invalid_control(error)
        return self._on_control(control, now)

    def tick(self, now: float) -> list[ShipEffect]:
        """Process what is due."""
        if self._prolong_at is not None and now >= self._prolong_at:
            return self._request_prolongation()
        if self._deadline is None or now < self._deadline:
            return []
        match self.phase:
            case Phase.CMI:
                return self._end("no connection mode initialization in time")
            case Phase.HELLO:
                return self._abort("no decision of the partner in time")
            case Phase.PROTOCOL:
                return self._fail_handshake(HandshakeFault.TIMEOUT, "no protocol handshake in time")
            case Phase.PIN:
                return self._end("no PIN state in time")
            case Phase.CLOSING:
                return self._end("closed without confirmation")
            case _:
                return []

    def accept(self, now: float) -> list[ShipEffect]:
        """Process the user's decision to trust the partner."""
        if self.trusted:
            return []
        self.trusted = True
        if self.phase is not Phase.HELLO:
            return []
        self._prolong_at = None
        self._deadline = now + HELLO_S
        return [self._send(self._hello()), *(self._enter_protocol(now) if self._partner_is_ready else [])]

    def close(self, reason: str, now: float) -> list[ShipEffect]:
        """End the connection in an orderly way, e.g. with the reason `removedConnection`."""
        if self.phase is Phase.DATA:
            self.phase = Phase.CLOSING
            self._deadline = now + CLOSE_ANNOUNCED_MS / 1000
            announce = ConnectionClose(phase="announce", max_time=CLOSE_ANNOUNCED_MS, reason=reason)
            return [self._send(announce)]
        if self.phase is Phase.HELLO:
            return self._abort(reason)
        return [] if self.phase in (Phase.CLOSING, Phase.CLOSED) else self._end(reason)

    def send_payload(self, payload: bytes) -> list[ShipEffect]:
        """Send a SPINE datagram; nothing is sent outside the data phase."""
        return [SendShipMessage(messages.encode_data(payload))] if self.phase is Phase.DATA else []

    # -- CMI and hello --------------------------------------------------------------------------------

    def _on_cmi(self, message: bytes, now: float) -> list[ShipEffect]:
        answer: list[ShipEffect] = [SendShipMessage(messages.CMI)] if self.role is Role.SERVER else []
        if message != messages.CMI:
            return answer + self._end("invalid connection mode initialization")
        self.phase = Phase.HELLO
        self._deadline = now + HELLO_S
        return [*answer, self._send(self._hello())]

    def _on_hello(self, hello: ConnectionHello, now: float) -> list[ShipEffect]:
        if hello.phase == "aborted":
            return self._end("the partner refused the connection")
        if hello.prolongation_request:
            return self._grant_prolongation(now)
        if hello.phase == "ready":
            self._partner_is_ready = True
            if self.trusted:
                return self._enter_protocol(now)
        if not self.trusted and hello.waiting is not None:
            return self._follow_waiting(hello.waiting / 1000, now)
        return []

    def _follow_waiting(self, waiting_s: float, now: float) -> list[ShipEffect]:
        """While we are pending, the partner's waiting time decides: it is prolonged before its end."""
        if waiting_s < LEAST_WAITING_S:
            return self._abort("the partner's waiting time is over")
        self._deadline = now + waiting_s
        self._prolong_at = now + max(waiting_s - PROLONG_BEFORE_S, waiting_s / 2)
        return []

    def _request_prolongation(self) -> list[ShipEffect]:
        self._prolong_at = None
        self._prolongations += 1
        if self._prolongations > MOST_PROLONGATIONS:
            return self._abort("the partner was not accepted in time")
        return [self._send(ConnectionHello(phase="pending", prolongation_request=True))]

    def _grant_prolongation(self, now: float) -> list[ShipEffect]:
        self._prolongations += 1
        if self._prolongations > MOST_PROLONGATIONS:
            return self._abort("the partner prolonged too often")
        if self.trusted or not self._partner_is_ready:
            self._deadline = now + HELLO_S
        return [self._send(self._hello())]

    def _hello(self) -> ConnectionHello:
        phase: Literal["ready", "pending"] = "ready" if self.trusted else "pending"
        return ConnectionHello(phase=phase, waiting=HELLO_ANNOUNCED_MS)

    # -- protocol handshake and PIN -------------------------------------------------------------------

    def _enter_protocol(self, now: float) -> list[ShipEffect]:
        self.phase = Phase.PROTOCOL
        self._prolong_at = None
        self._deadline = now + STEP_S
        return [self._send(_handshake("announceMax"))] if self.role is Role.CLIENT else []

    def _on_handshake(self, handshake: MessageProtocolHandshake, now: float) -> list[ShipEffect]:
        if FORMAT not in handshake.formats.format:
            return self._fail_handshake(HandshakeFault.SELECTION_MISMATCH, "no common format")
        if self.role is Role.SERVER and not self._announced:
            if handshake.handshake_type != "announceMax":
                return self._fail_handshake(HandshakeFault.UNEXPECTED_MESSAGE, "a selection before the offer")
            if handshake.version.major < VERSION.major:
                return self._fail_handshake(HandshakeFault.SELECTION_MISMATCH, "no common version")
            self._announced = True
            self._deadline = now + STEP_S
            return [self._send(_handshake("select"))]
        if handshake.handshake_type != "select":
            return self._fail_handshake(HandshakeFault.UNEXPECTED_MESSAGE, "an offer instead of a selection")
        if handshake.version != VERSION or handshake.formats.format != [FORMAT]:
            return self._fail_handshake(HandshakeFault.SELECTION_MISMATCH, "another selection than ours")
        confirmed = [] if self.role is Role.SERVER else [self._send(_handshake("select"))]
        self.phase = Phase.PIN
        self._deadline = now + STEP_S
        return [*confirmed, self._send(ConnectionPinState("none"))]

    def _fail_handshake(self, fault: HandshakeFault, reason: str) -> list[ShipEffect]:
        return [self._send(MessageProtocolHandshakeError(fault)), *self._end(reason)]

    def _on_pin(self, state: ConnectionPinState) -> list[ShipEffect]:
        if state.pin_state == "required":
            return self._end("the partner requires a PIN, which is not supported: disable it there")
        self.phase = Phase.DATA
        self._deadline = None
        return [self._send(AccessMethodsRequest()), DataPhaseReached()]

    # -- data and end ---------------------------------------------------------------------------------

    def _on_data(self, message: bytes) -> list[ShipEffect]:
        if self.phase is Phase.HELLO:
            return self._abort("a datagram before the end of the handshake")
        if self.phase is Phase.PROTOCOL:
            fault = HandshakeFault.UNEXPECTED_MESSAGE
            return self._fail_handshake(fault, "a datagram before the end of the handshake")
        if self.phase is Phase.PIN:
            return self._end("a datagram before the end of the handshake")
        if self.phase is Phase.CLOSING:
            return []
        try:
            return [PayloadReceived(messages.decode_data(message[1:]), message)]
        except EebusError as error:
            return [MessageIgnored(str(error))]

    def _on_control(self, control: ControlMessage, now: float) -> list[ShipEffect]:
        if isinstance(control, ConnectionClose):
            return self._on_close(control)
        match self.phase, control:
            case Phase.HELLO, ConnectionHello():
                return self._on_hello(control, now)
            case Phase.HELLO, _:
                return self._abort("another message than a hello")
            case Phase.PROTOCOL, MessageProtocolHandshake():
                return self._on_handshake(control, now)
            case Phase.PROTOCOL, MessageProtocolHandshakeError(error=error):
                return self._end(f"the partner ended the protocol handshake with error {error}")
            case Phase.PROTOCOL, _:
                fault = HandshakeFault.UNEXPECTED_MESSAGE
                return self._fail_handshake(fault, "another message than a protocol handshake")
            case Phase.PIN, ConnectionPinState():
                return self._on_pin(control)
            case ((Phase.PIN | Phase.DATA), AccessMethodsRequest()):
                return [self._send(AccessMethods(self._ship_id))]
            case Phase.PIN, _:
                return self._end("another message than a PIN state")
            case Phase.DATA, AccessMethods(id=ship_id):
                return [ShipIdReceived(ship_id)]
            case Phase.DATA, _:
                return [MessageIgnored(f"{type(control).__name__} in the data phase")]
        return []

    def _on_invalid_control(self, error: EebusError) -> list[ShipEffect]:
        """Process a control message that cannot be decoded: an unknown one in place of an expected one."""
        match self.phase:
            case Phase.HELLO:
                return self._abort(str(error))
            case Phase.PROTOCOL:
                return self._fail_handshake(HandshakeFault.UNEXPECTED_MESSAGE, str(error))
            case Phase.PIN:
                return self._end(str(error))
            case _:
                return [MessageIgnored(str(error))]

    def _on_close(self, close: ConnectionClose) -> list[ShipEffect]:
        if close.phase == "confirm":
            return self._end("closed") if self.phase is Phase.CLOSING else []
        confirm = self._send(ConnectionClose(phase="confirm"))
        return [confirm, *self._end(f"closed by the partner: {close.reason or 'no reason given'}")]

    def _abort(self, reason: str) -> list[ShipEffect]:
        return [self._send(ConnectionHello(phase="aborted")), *self._end(reason)]

    def _end(self, reason: str) -> list[ShipEffect]:
        self.phase = Phase.CLOSED
        self._deadline = self._prolong_at = None
        return [CloseShip(reason)]

    @staticmethod
    def _send(message: ControlMessage) -> SendShipMessage:
        return SendShipMessage(messages.encode_control(message))


def _handshake(kind: Literal["announceMax", "select"]) -> MessageProtocolHandshake:
    return MessageProtocolHandshake(handshake_type=kind, version=VERSION, formats=Formats([FORMAT]))
