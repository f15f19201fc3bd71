"""What happens to a node of the overlay network, and what it wants done."""

from __future__ import annotations

from enum import Enum

import msgspec

from controller.ocpp.frames import Version
from controller.overlay.overlay_frames import Hops, Message, RoutedFrame
from controller.overlay.overlay_wire import NetworkingMode
from controller.overlay.pending_requests import ForwardedRequest
from controller.signing.replay_cache import ReplayRecord
from controller.signing.signature_format import Direction

HERE = ""
"""Instead of a link: the node itself, whose own messages come and go as plain frames."""


class LinkSide(Enum):
    """Where the other end of a link is, as seen from here."""

    UP = "towards the backends"
    DOWN = "towards the stations"


class LinkState(msgspec.Struct, frozen=True, kw_only=True):
    """A link that stands. `peer`: the id that its other end has proven, or that of the backend dialled.

    `priority` and `weight` as a hop has them. `serves`: the one node that a plain link to a backend is for.
    `only`: what comes over it goes on over this link alone, and back; such a link is a leg, and what passes
    it is looked at by the relay that holds it. `version`: what is spoken over it.
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
        """Whether it takes SEND."""
        return self.version is Version.V21

    @property
    def is_leg(self) -> bool:
        """Whether it is a part of another link."""
        return self.only is not None

    @property
    def direction(self) -> Direction:
        """Of what goes out over it."""
        return Direction.UP if self.side is LinkSide.UP else Direction.DOWN


class LinkUp(msgspec.Struct, frozen=True):
    """A link stands. One of the same name that stood is gone."""

    way: LinkState


class LinkDown(msgspec.Struct, frozen=True):
    """A link is gone."""

    link: str


class FrameReceived(msgspec.Struct, frozen=True):
    """A message came over a link."""

    link: str
    message: Message


class OwnRequest(msgspec.Struct, frozen=True):
    """A plain frame of our own: a CALL or SEND with its destination, or the answer to what was delivered."""

    message: Message
    destination: Hops = ()


class OverlayTick(msgspec.Struct, frozen=True):
    """Time has passed: `Node.wake_at` is reached."""


class SendFrame(msgspec.Struct, frozen=True):
    """Send this. If that fails before any of it is out, say so with `SendFailed`: another way may be there.

    `frame`, `came` and `tried` are for the node itself.
    """

    link: str
    message: Message
    frame: RoutedFrame
    came: str
    tried: frozenset[str] = frozenset()


class SendFailed(msgspec.Struct, frozen=True):
    """Nothing of it has gone out."""

    sending: SendFrame


class PersistOverlay(msgspec.Struct, frozen=True):
    """Replay records to be stored; `OverlayPersisted` reports that they are durable.

    `frame`, `came` and, of an answer, `asked` are for the node itself.
    """

    records: tuple[ReplayRecord, ...]
    frame: RoutedFrame
    came: str
    asked: ForwardedRequest | None = None


class OverlayPersisted(msgspec.Struct, frozen=True):
    """The records are on disk: the message goes on. Where they are not, and cannot be, it is refused."""

    save: PersistOverlay
    done: bool = True


class DeliverFrame(msgspec.Struct, frozen=True):
    """A frame for us, in its plain form, and the path that it came; a CALL in it wants an answer (`Own`)."""

    message: Message
    path: Hops


class RequestUnreachable(msgspec.Struct, frozen=True):
    """Who holds this leg is not heard at the other end, though the link that carries it stands: end it."""

    leg: str
    reason: str


class OverlayLogEntry(msgspec.Struct, frozen=True):
    """For the log. It never quotes a payload."""

    level: int
    text: str


Event = LinkUp | LinkDown | FrameReceived | OwnRequest | SendFailed | OverlayPersisted | OverlayTick
Action = SendFrame | PersistOverlay | DeliverFrame | RequestUnreachable | OverlayLogEntry
