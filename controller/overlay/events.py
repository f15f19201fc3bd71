"""What happens to a node of the overlay network, and what it wants done."""

from __future__ import annotations

from enum import Enum

import msgspec

from controller.ocpp.frames import Version
from controller.overlay.frames import Hops, Message, Routed
from controller.overlay.pending import Asked
from controller.overlay.wire import Mode
from controller.signing.replay import Remember
from controller.signing.wire import Direction

HERE = ""
"""Instead of a link: the node itself, whose own messages come and go as plain frames."""


class Side(Enum):
    """Where the other end of a link is, as seen from here."""

    UP = "towards the backends"
    DOWN = "towards the stations"


class Way(msgspec.Struct, frozen=True, kw_only=True):
    """A link that stands. `peer`: the id that its other end has proven, or that of the backend dialled.

    `priority` and `weight` as a hop has them. `serves`: the one node that a plain link to a backend is for.
    `only`: what comes over it goes on over this link alone, and back; such a link is a leg, and what passes
    it is looked at by the relay that holds it. `version`: what is spoken over it.
    """

    link: str
    peer: str
    mode: Mode
    side: Side
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
        return Direction.UP if self.side is Side.UP else Direction.DOWN


class LinkUp(msgspec.Struct, frozen=True):
    """A link stands. One of the same name that stood is gone."""

    way: Way


class LinkDown(msgspec.Struct, frozen=True):
    """A link is gone."""

    link: str


class Came(msgspec.Struct, frozen=True):
    """A message came over a link."""

    link: str
    message: Message


class Own(msgspec.Struct, frozen=True):
    """A plain frame of our own: a CALL or SEND with its destination, or the answer to what was delivered."""

    message: Message
    destination: Hops = ()


class Tick(msgspec.Struct, frozen=True):
    """Time has passed: `Node.wake_at` is reached."""


class Sending(msgspec.Struct, frozen=True):
    """Send this. If that fails before any of it is out, say so with `NotSent`: another way may be there.

    `frame`, `came` and `tried` are for the node itself.
    """

    link: str
    message: Message
    frame: Routed
    came: str
    tried: frozenset[str] = frozenset()


class NotSent(msgspec.Struct, frozen=True):
    """Nothing of it has gone out."""

    sending: Sending


class Save(msgspec.Struct, frozen=True):
    """A signed message must not be new again after a crash: say `Saved` once these words are on disk.

    `frame`, `came` and, of an answer, `asked` are for the node itself.
    """

    words: tuple[Remember, ...]
    frame: Routed
    came: str
    asked: Asked | None = None


class Saved(msgspec.Struct, frozen=True):
    """The words are on disk: the message goes on. Where they are not, and cannot be, it is refused."""

    save: Save
    done: bool = True


class Deliver(msgspec.Struct, frozen=True):
    """A frame for us, in its plain form, and the path that it came; a CALL in it wants an answer (`Own`)."""

    message: Message
    path: Hops


class Unreached(msgspec.Struct, frozen=True):
    """Who holds this leg is not heard at the other end, though the link that carries it stands: end it."""

    leg: str
    reason: str


class Note(msgspec.Struct, frozen=True):
    """For the log. It never quotes a payload."""

    level: int
    text: str


Event = LinkUp | LinkDown | Came | Own | NotSent | Saved | Tick
Action = Sending | Save | Deliver | Unreached | Note
