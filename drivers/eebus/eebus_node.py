"""All SHIP connections of our device, and the partners behind them, sans-IO.

A partner is identified by its SKI alone, which TLS has proved. It may be trusted, or wait until a user
accepts it. One partner has one connection: of two, one is closed by the rule of `DoubleConnection`.

    node.open("c1", Role.SERVER, ski, now)       the WebSocket was opened
    node.receive("c1", message, now, utc)        a binary message came
    node.tick(now, utc)                          at the latest at `node.deadline`
    node.lost("c1")                              the WebSocket is gone

Every method returns what is to be done, in order. Times are s on the caller's monotonic clock.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping

import msgspec

from drivers.eebus.limitation import PowerDirection
from drivers.eebus.lpc import Answered, LpcView
from drivers.eebus.ship import (
    CloseShip,
    DataPhaseReached,
    MessageIgnored,
    PayloadReceived,
    Phase,
    Role,
    SendShipMessage,
    ShipConnection,
    ShipEffect,
    ShipIdReceived,
)
from drivers.eebus.spine_device import GuardHeartbeat as GuardHeartbeat
from drivers.eebus.spine_device import LimitRequested as LimitRequested
from drivers.eebus.spine_device import SpineDevice, SpineEffect
from drivers.eebus.spine_session import DatagramRefused, SendPayload
from drivers.reading import Reading

CODE_ID_MISMATCH = 4450
MOST_UNTRUSTED = 8
"""Connections of partners that are not trusted; a further one is closed."""


class DoubleConnection(enum.Enum):
    """Rule for two connections with one partner.

    INITIATOR keeps the one that the larger SKI opened, as most devices in the field do. NEWEST is the text
    of SHIP 1.0.1, 12.2.2: the larger SKI keeps the newest.
    """

    INITIATOR = "initiator"
    NEWEST = "newest"


class SendMessage(msgspec.Struct, frozen=True):
    """Send a binary message on a connection."""

    connection: str
    message: bytes


class CloseConnection(msgspec.Struct, frozen=True):
    """Close the WebSocket of a connection."""

    connection: str
    code: int
    reason: str


class TrustRequested(msgspec.Struct, frozen=True):
    """Partner that waits to be accepted by a user."""

    ski: str


class ShipIdLearned(msgspec.Struct, frozen=True):
    """SHIP id of a trusted partner that is to be stored."""

    ski: str
    ship_id: str


class PartnerReady(msgspec.Struct, frozen=True):
    """Partner whose handshake is complete."""

    ski: str


class MessageRefused(msgspec.Struct, frozen=True):
    """Message or datagram that was refused or ignored, for the log."""

    connection: str
    reason: str


NodeEffect = (
    SendMessage
    | CloseConnection
    | TrustRequested
    | ShipIdLearned
    | PartnerReady
    | LimitRequested
    | GuardHeartbeat
    | MessageRefused
)


class PartnerStatus(msgspec.Struct, frozen=True, kw_only=True):
    """Connection of a partner, to be reported. `heartbeat_at`: s, monotonic."""

    ski: str
    role: Role
    phase: Phase
    trusted: bool
    device: str | None = None
    is_guard: bool = False
    heartbeat_at: float | None = None


class _Connection(msgspec.Struct):
    name: str
    ski: str
    ship: ShipConnection


class EebusNode:
    """Our device on the network. `trusted`: SHIP id of each trusted SKI; empty: not known yet."""

    def __init__(
        self,
        ski: str,
        ship_id: str,
        device: SpineDevice,
        trusted: Mapping[str, str],
        rule: DoubleConnection = DoubleConnection.INITIATOR,
    ) -> None:
        self._ski = ski
        self._ship_id = ship_id
        self._device = device
        self._trusted = dict(trusted)
        self._rule = rule
        self._connections: dict[str, _Connection] = {}

    @property
    def deadline(self) -> float:
        """Time of the next `tick`."""
        times = [each.ship.deadline for each in self._connections.values()]
        return min([self._device.deadline, *(each for each in times if each is not None)])

    @property
    def partners(self) -> list[PartnerStatus]:
        """Partners that are connected."""
        return [self._status(each) for each in self._connections.values()]

    def is_connected(self, ski: str) -> bool:
        """Return True if there is a connection with a partner."""
        return any(each.ski == ski for each in self._connections.values())

    def ski_of(self, connection: str) -> str:
        """Return the SKI of the partner of a connection; empty: there is no such connection."""
        found = self._connections.get(connection)
        return "" if found is None else found.ski

    def is_trusted(self, ski: str) -> bool:
        """Return True for a partner that was accepted."""
        return ski in self._trusted

    # -- connections ----------------------------------------------------------------------------------

    def open(self, name: str, role: Role, ski: str, now: float) -> list[NodeEffect]:
        """Begin the handshake on a WebSocket that was opened."""
        effects: list[NodeEffect] = []
        for other in [each for each in self._connections.values() if each.ski == ski]:
            if self._rule is DoubleConnection.NEWEST and self._ski < ski:
                continue  # the partner decides
            if not self._replaces(role, other.ship.role, ski):
                return [*effects, CloseConnection(name, 1000, "double connection: the other one is kept")]
            effects += self._drop(other, 1000, "double connection: another one is kept")
        trusted = ski in self._trusted
        if (
            not trusted
            and sum(not each.ship.trusted for each in self._connections.values()) >= MOST_UNTRUSTED
        ):
            return [*effects, CloseConnection(name, 1000, "too many partners wait to be accepted")]
        ship = ShipConnection(role, self._ship_id, trusted=trusted, now=now)
        self._connections[name] = opened = _Connection(name, ski, ship)
        return effects + self._do(opened, ship.start(now), now, 0.0)

    def receive(self, name: str, message: bytes, now: float, utc: float) -> list[NodeEffect]:
        """Process a binary message."""
        found = self._connections.get(name)
        if found is None:
            return []
        waited = found.ship.awaits_trust
        effects = self._do(found, found.ship.receive(message, now), now, utc)
        if found.ship.awaits_trust and not waited:
            effects.append(TrustRequested(found.ski))
        return effects

    def lost(self, name: str) -> None:
        """Remove a connection whose WebSocket is gone."""
        self._device.disconnect(name)
        self._connections.pop(name, None)

    def trust(self, ski: str, now: float) -> list[NodeEffect]:
        """Trust a partner from now on."""
        self._trusted.setdefault(ski, "")
        return [
            effect
            for each in list(self._connections.values())
            if each.ski == ski
            for effect in self._do(each, each.ship.accept(now), now, 0.0)
        ]

    def revoke(self, ski: str, now: float) -> list[NodeEffect]:
        """Trust a partner no longer, and end its connection."""
        self._trusted.pop(ski, None)
        effects: list[NodeEffect] = []
        for each in [each for each in self._connections.values() if each.ski == ski]:
            self._device.disconnect(each.name)  # nothing that it writes counts from now on
            effects += self._do(each, each.ship.close("removedConnection", now), now, 0.0)
        return effects

    def close_all(self, now: float) -> list[NodeEffect]:
        """End all connections in an orderly way."""
        return [
            effect
            for each in list(self._connections.values())
            for effect in self._do(each, each.ship.close("unspecific", now), now, 0.0)
        ]

    def tick(self, now: float, utc: float) -> list[NodeEffect]:
        """Process what is due."""
        effects: list[NodeEffect] = []
        for each in list(self._connections.values()):
            effects += self._do(each, each.ship.tick(now), now, utc)
        return effects + self._pass_on(self._device.tick(now, utc))

    # -- state of our side ----------------------------------------------------------------------------

    def answer_request(self, answered: Answered, view: LpcView) -> list[NodeEffect]:
        """Answer the write that was requested last."""
        return self._pass_on(self._device.answer_request(answered, view))

    def update_view(self, direction: PowerDirection, view: LpcView) -> list[NodeEffect]:
        """Copy the state of a machine after a change of its own."""
        return self._pass_on(self._device.update_view(direction, view))

    def update_reading(self, reading: Reading | None, now: float, utc: float) -> list[NodeEffect]:
        """Take over a reading of the grid connection's meter."""
        return self._pass_on(self._device.update_reading(reading, now, utc))

    # -- effects --------------------------------------------------------------------------------------

    def _do(
        self, connection: _Connection, effects: list[ShipEffect], now: float, utc: float
    ) -> list[NodeEffect]:
        done: list[NodeEffect] = []
        for effect in effects:
            match effect:
                case SendShipMessage(message=message):
                    done.append(SendMessage(connection.name, message))
                case CloseShip(reason=reason, code=code):
                    done += self._drop(connection, code, reason)
                case DataPhaseReached():
                    done.append(PartnerReady(connection.ski))
                    done += self._pass_on(self._device.connect(connection.name, now))
                case ShipIdReceived(ship_id=ship_id):
                    done += self._on_ship_id(connection, ship_id)
                case PayloadReceived(payload=payload, received=received):
                    done += self._pass_on(self._device.receive(connection.name, payload, received, now, utc))
                case MessageIgnored(reason=reason):
                    done.append(MessageRefused(connection.name, reason))
        return done

    def _on_ship_id(self, connection: _Connection, ship_id: str) -> list[NodeEffect]:
        known = self._trusted.get(connection.ski)
        if known == "":
            self._trusted[connection.ski] = ship_id
            return [ShipIdLearned(connection.ski, ship_id)]
        if known is None or known == ship_id:
            return []
        reason = f"SHIP id {ship_id!r:.80} instead of {known!r:.80}: pair the partner again"
        return self._drop(connection, CODE_ID_MISMATCH, reason)

    def _drop(self, connection: _Connection, code: int, reason: str) -> list[NodeEffect]:
        self.lost(connection.name)
        return [CloseConnection(connection.name, code, reason)]

    def _pass_on(self, effects: list[SpineEffect]) -> list[NodeEffect]:
        passed: list[NodeEffect] = []
        for effect in effects:
            match effect:
                case SendPayload(session=session, payload=payload):
                    connection = self._connections.get(session)
                    if connection is not None:
                        passed += [
                            SendMessage(session, each.message)
                            for each in connection.ship.send_payload(payload)
                            if isinstance(each, SendShipMessage)
                        ]
                case DatagramRefused(session=session, reason=reason):
                    passed.append(MessageRefused(session, reason))
                case _:
                    passed.append(effect)
        return passed

    def _replaces(self, role: Role, other: Role, ski: str) -> bool:
        """Return True if a new connection is kept, and the other one closed."""
        if role is other or self._rule is DoubleConnection.NEWEST:
            return True
        kept = Role.CLIENT if self._ski > ski else Role.SERVER
        return role is kept

    def _status(self, connection: _Connection) -> PartnerStatus:
        session = self._device.sessions.get(connection.name)
        return PartnerStatus(
            ski=connection.ski,
            role=connection.ship.role,
            phase=connection.ship.phase,
            trusted=connection.ship.trusted,
            device=None if session is None else session.partner_device,
            is_guard=session is not None and session.guard_entity is not None,
            heartbeat_at=None if session is None else session.heartbeat_at,
        )
