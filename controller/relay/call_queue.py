"""One direction of a link: CALLs stand in line, and one at a time is outstanding.

OCPP-J 2.x Part 4, 4.1.1 (1.6-J: 4.1.1, SHOULD): no CALL before the last one was answered or has
timed out. On the way to a station the controller's own CALLs and the backend's share one line, and
the controller's go first, urgent ones before the rest. Every CALL that enters leaves exactly once:
answered, expired or drained.
"""

from __future__ import annotations

import enum

import msgspec

from controller.chargers.capability_discovery import ANSWER_WAIT_S
from controller.profiles.arbiter import ProfileDecision

LINE_DEPTH = 32
"""CALLs of one peer that may wait: OCPP allows one, stations have been seen with two."""

NOBODY = "\0"
"""The origin of a CALL whose author's link is gone: no backend has this id."""


class Rank(enum.IntEnum):
    """Who goes first."""

    URGENT = 0
    OWN = 1
    PEER = 2


class PendingCall(msgspec.Struct, frozen=True):
    """A CALL in line. `text` is the frame as it will be sent.

    `origin`: the backend that it came from, on the way to a station. `token` names one of our own, below
    0 a question whose answer our limits wait for. `ruling` is what was decided on a backend's to the
    station. `number`: its place in the owner's outbox, where it is kept there.
    """

    id: str
    action: str
    text: str
    payload: bytes
    rank: Rank = Rank.PEER
    origin: str = ""
    token: int | None = None
    ruling: ProfileDecision | None = None
    number: int | None = None


class CallQueue:
    """The line. `depth` bounds the CALLs that wait; `timeout_s` the time that an answer may take."""

    def __init__(self, depth: int, timeout_s: float) -> None:
        self._depth = depth
        self._timeout_s = timeout_s
        # Lists, for they are short: an empty deque takes 600 bytes, and a station has sixteen of these.
        self._queues: dict[Rank, list[PendingCall]] = {rank: [] for rank in Rank}
        self._outstanding: PendingCall | None = None
        self._deadline: float | None = None

    @property
    def deadline(self) -> float | None:
        """When the outstanding CALL expires."""
        return self._deadline

    @property
    def full(self) -> bool:
        """Whether no further CALL of the peer has room."""
        return len(self._queues[Rank.PEER]) >= self._depth

    @property
    def has_any(self) -> bool:
        """Whether any CALL waits or is outstanding."""
        return self._outstanding is not None or any(self._queues.values())

    @property
    def has_own(self) -> bool:
        """Whether a CALL of our own waits or is outstanding."""
        sent = self._outstanding
        own = sent is not None and sent.rank is not Rank.PEER
        return own or bool(self._queues[Rank.URGENT] or self._queues[Rank.OWN])

    @property
    def concerns_limits(self) -> bool:
        """Whether a CALL of our own waits or is outstanding."""
        return self.has_own

    def has(self, action: str) -> bool:
        """Whether a CALL of the peer with this action waits or is outstanding."""
        if self._outstanding is not None and self._outstanding.action == action:
            return True
        return any(waiting.action == action for waiting in self._queues[Rank.PEER])

    def holds(self, text: str, origin: str = "") -> bool:
        """Whether the very same frame stands in line already: its sender has lost patience and repeats it."""
        sent = self._outstanding
        everyone = self._queues[Rank.PEER] if sent is None else (sent, *self._queues[Rank.PEER])
        return any(waiting.text == text and waiting.origin == origin for waiting in everyone)

    def awaits(self, message_id: str, origin: str = "") -> bool:
        """Whether a CALL of this peer with this id has no answer yet."""
        sent = self._outstanding
        everyone = self._queues[Rank.PEER] if sent is None else (sent, *self._queues[Rank.PEER])
        return any(waiting.id == message_id and waiting.origin == origin for waiting in everyone)

    def asked(self, message_id: str) -> str | None:
        """The action of the CALL that an answer with this id would be for."""
        sent = self._outstanding
        return sent.action if sent is not None and sent.id == message_id else None

    def put(self, call: PendingCall) -> None:
        """Let a CALL stand in line. Look at `full` before, for a peer's."""
        self._queues[call.rank].append(call)

    def next(self, now: float, *, own: bool = True, peer: bool = True) -> PendingCall | None:
        """The CALL to send now, if one may be sent; it is outstanding from here on.

        `own` and `peer` say whose may go now.
        """
        if self._outstanding is not None:
            return None
        for rank, queue in self._queues.items():
            if queue and (peer if rank is Rank.PEER else own):
                self._outstanding = queue.pop(0)
                asks = (self._outstanding.token or 0) < 0
                self._deadline = now + (min(ANSWER_WAIT_S, self._timeout_s) if asks else self._timeout_s)
                return self._outstanding
        return None

    def answered(self, message_id: str) -> PendingCall | None:
        """The outstanding CALL if this answers it; it has left the line."""
        if self._outstanding is None or self._outstanding.id != message_id:
            return None
        return self._leave()

    def expired(self, now: float) -> PendingCall | None:
        """The outstanding CALL if its time is over; it has left the line."""
        if self._deadline is None or now < self._deadline:
            return None
        return self._leave()

    def put_first(self, call: PendingCall) -> None:
        """Let a CALL stand at the head of its rank: it has been there before."""
        self._queues[call.rank].insert(0, call)

    def rewind(self) -> None:
        """The outstanding CALL is the next again: the link that it went over is gone."""
        if (left := self._leave()) is not None:
            self.put_first(left)

    def forget(self, origin: str) -> list[PendingCall]:
        """The link of this peer is gone: its CALLs leave the line, and an answer to one is nobody's."""
        queue = self._queues[Rank.PEER]
        left = [waiting for waiting in queue if waiting.origin == origin]
        self._queues[Rank.PEER] = [waiting for waiting in queue if waiting.origin != origin]
        sent = self._outstanding
        if sent is not None and sent.rank is Rank.PEER and sent.origin == origin:
            self._outstanding = msgspec.structs.replace(sent, origin=NOBODY)
            left.append(sent)
        return left

    def drain(self) -> list[PendingCall]:
        """Everything that has no answer, oldest first; the line is empty afterwards."""
        left = [] if self._outstanding is None else [self._outstanding]
        self._outstanding = self._deadline = None
        for queue in self._queues.values():
            left.extend(queue)
            queue.clear()
        return left

    def _leave(self) -> PendingCall | None:
        left, self._outstanding, self._deadline = self._outstanding, None, None
        return left
