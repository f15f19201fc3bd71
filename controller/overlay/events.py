"""Events that a node of the overlay network handles, and the actions that it returns."""

from __future__ import annotations

from enum import Enum

import msgspec

from controller.model.effects import LogEntry
from controller.model.journal import Persist
from controller.ocpp.frames import Version
from controller.overlay.overlay_frames import Hops, Message, RoutedFrame
from controller.overlay.overlay_wire import NetworkingMode
from controller.overlay.pending_requests import ForwardedRequest
from controller.signing.signature_format import Direction

LOCAL = ""
"""Name of the link to the node itself, whose own messages are plain frames."""


class LinkSide(Enum):
    """Side of the other end of a link."""

    UP = "towards the backends"
    DOWN = "towards the stations"


class LinkState(msgspec.Struct, frozen=True, kw_only=True):
    """An open link. `peer`: id that its other end has proven, or that of the backend that was dialed.

    `priority` and `weight` are those of a route. `serves`: the one node that a plain link to a backend is
    for. `only`: messages of this link go on over that link alone, and back; such a link is a virtual
    channel, and its messages are checked by the relay at its end. `version`: OCPP version of the link.
    """

    link: str
    peer: str
    mode: NetworkingMode
    side: LinkSide
    priority: int = 0
    weight: int = 1
    serves: str | None = None
    only: str | None = None
    version: Version = Version.V21

    @property
    def sends(self) -> bool:
        """True if the link takes SEND."""
        return self.version is Version.V21

    @property
    def is_channel(self) -> bool:
        """True for a virtual channel, a part of another link."""
        return self.only is not None

    @property
    def direction(self) -> Direction:
        """Direction of what is sent over the link."""
        return Direction.UP if self.side is LinkSide.UP else Direction.DOWN


class LinkUp(msgspec.Struct, frozen=True):
    """A link was opened. One of the same name that was open is closed."""

    state: LinkState


class LinkDown(msgspec.Struct, frozen=True):
    """A link was closed."""

    link: str


class FrameReceived(msgspec.Struct, frozen=True):
    """A message was received over a link."""

    link: str
    message: Message


class OwnRequest(msgspec.Struct, frozen=True):
    """A plain frame of our own: a CALL or SEND with its destination, or the answer to a delivered CALL."""

    message: Message
    destination: Hops = ()


class OverlayTick(msgspec.Struct, frozen=True):
    """Time has passed: `Node.wake_at` was reached."""


class SendFrame(msgspec.Struct, frozen=True):
    """Send a message. If it could not be sent, report `SendFailed`: another link is tried.

    `frame`, `origin` and `tried` are for the node itself.
    """

    link: str
    message: Message
    frame: RoutedFrame
    origin: str
    tried: frozenset[str] = frozenset()


class SendFailed(msgspec.Struct, frozen=True):
    """Nothing of a message was sent."""

    sending: SendFrame


class FrameHeld(msgspec.Struct, frozen=True):
    """A message that is forwarded once the records of the `Persist` before it are durable: `FrameReleased`.

    `frame`, `origin` and, of an answer, `pending` are for the node itself.
    """

    frame: RoutedFrame
    origin: str
    pending: ForwardedRequest | None = None


class FrameReleased(msgspec.Struct, frozen=True):
    """The records are durable, and the message is forwarded; if not `done`, it is rejected."""

    held: FrameHeld
    done: bool = True


class DeliverFrame(msgspec.Struct, frozen=True):
    """Deliver a plain frame to the node itself, with its path; a CALL needs an answer (`OwnRequest`)."""

    message: Message
    path: Hops


class RequestUnreachable(msgspec.Struct, frozen=True):
    """End a virtual channel: its other end is not reachable, though the link that carries it is open."""

    channel: str
    reason: str


Event = LinkUp | LinkDown | FrameReceived | OwnRequest | SendFailed | FrameReleased | OverlayTick
Action = SendFrame | Persist | FrameHeld | DeliverFrame | RequestUnreachable | LogEntry
