"""Call queue: the CALLs of one direction of a link, with one outstanding.

OCPP-J 2.x Part 4, 4.1.1 (1.6-J: 4.1.1, SHOULD): no CALL before the last one was answered or has timed
out. On the way to a station the controller's own CALLs and those of all backends share one queue: urgent
limits first, then our other CALLs, then the backends' commands. Each CALL leaves the queue exactly once:
answered, expired, or drained.

Two exceptions keep a station that does not answer from blocking what matters. An urgent limit waits
`URGENT_WAIT_S` at most, and a command waits `COMMAND_WAIT_S` at most for the answer to a CALL of ours: then
the outstanding CALL is *overtaken*. The next one is sent, and the answer to the overtaken one still counts.
Once that next one has ended, the overtaken one is outstanding as before: nothing else is sent until it ends
or is overtaken again. After a limit has expired, commands go first and our other CALLs pause for `PAUSE_S`.

A text of a station that is not a valid frame is relayed all the same, but blocks nothing: its receiver may be
unable to read it, and is not bound to answer it. Its answer counts if one comes.
"""

from __future__ import annotations

import enum
import math

import msgspec

from controller.chargers.capability_discovery import ANSWER_WAIT_S
from controller.profiles.arbiter import ProfileDecision

QUEUE_DEPTH = 32
"""CALLs of the peer that may wait: OCPP allows one, stations have been seen with two."""

URGENT_WAIT_S = 2.0
COMMAND_WAIT_S = 5.0
PAUSE_S = 10.0
MOST_OVERTAKEN = 4
"""CALLs that may be overtaken at once; a further one is waited for."""

MOST_INVALID = 8
"""Texts that are not valid frames and wait for an answer at once; a further one blocks like a CALL."""

NO_ORIGIN = "\0"
"""The origin of a CALL whose backend's link is gone: no backend has this id."""


class Rank(enum.IntEnum):
    """Priority in the queue, the highest first."""

    URGENT = 0
    OWN = 1
    PEER = 2


class PendingCall(msgspec.Struct, frozen=True, gc=False):
    """A CALL in the queue. `text` is the frame as it is sent, unless it is signed on leaving.

    `origin`: the backend that sent it, on the way to a station. `token` names one of our own, a negative
    one a query whose answer our limits depend on. `decision` is the profile arbiter's on a backend's
    command. `number`: its place in the owner's outbox, where it has one. `is_valid` is False for a text
    that is relayed though it is not a valid frame, `is_ruled` where no rule of the policy is for it.
    """

    id: str
    action: str
    text: str
    payload: bytes
    rank: Rank = Rank.PEER
    origin: str = ""
    token: int | None = None
    decision: ProfileDecision | None = None
    number: int | None = None
    is_valid: bool = True
    is_ruled: bool = True
    queued_at: float = -math.inf


class _SentCall(msgspec.Struct, frozen=True):
    """A CALL without an answer yet, with the times of its sending and of its timeout (s, monotonic)."""

    call: PendingCall
    sent_at: float
    answer_by: float


class CallQueue:
    """One direction's queue. `depth` bounds the peer's waiting CALLs, `timeout_s` the wait for an answer.

    `overtakes`: the direction is that to a station, where a CALL may overtake an outstanding one.
    Times are s, monotonic. `deadline` (inf: none) is when `expire` or `next_call` has to be called again.
    """

    def __init__(self, depth: int, timeout_s: float, *, overtakes: bool = False) -> None:
        self.outstanding: PendingCall | None = None
        self.waiting = 0
        """CALLs that wait to be sent."""
        self.is_full = False
        """True if there is no room for a further CALL of the peer."""
        self.deadline = math.inf
        self._depth = depth
        self._timeout_s = timeout_s
        self._overtakes = overtakes
        # Lists, because they are short: an empty deque takes 600 bytes, and a station has sixteen of these.
        self._urgent: list[PendingCall] = []
        self._own: list[PendingCall] = []
        self._peer: list[PendingCall] = []
        self._sent_at = -math.inf
        self._answer_by = math.inf
        # Sent beside the outstanding one, the oldest first: CALLs that were overtaken, and texts that are not
        # valid frames. No overtaken one is left here while `outstanding` is None: it takes that place.
        self._beside: list[_SentCall] = []
        self._peer_is_first = False
        self._own_not_before = -math.inf

    # -- what is in it --------------------------------------------------------------------------------

    @property
    def is_empty(self) -> bool:
        """True if no CALL waits or is outstanding."""
        return self.outstanding is None and not (self.waiting or self._beside)

    @property
    def has_sent(self) -> bool:
        """True if a CALL was sent and has no answer yet."""
        return self.outstanding is not None or bool(self._beside)

    @property
    def has_sent_beside(self) -> bool:
        """True if a CALL beside the outstanding one was sent and has no answer yet."""
        return bool(self._beside)

    @property
    def has_sent_command(self) -> bool:
        """True if a CALL of the peer was sent and has no answer yet."""
        return any(call.rank is Rank.PEER for call in self._sent())

    @property
    def has_own(self) -> bool:
        """True if a CALL of our own waits or is outstanding."""
        if self._urgent or self._own:
            return True
        sent = self.outstanding
        if not self._beside:
            return sent is not None and sent.rank is not Rank.PEER
        return any(call.rank is not Rank.PEER for call in self._sent())

    def has_action(self, action: str) -> bool:
        """Return True if a CALL of the peer with this action waits or is outstanding."""
        sent = self.outstanding
        if sent is not None and sent.action == action:
            return True
        return any(call.action == action for call in self._peer)

    def has_text(self, text: str, origin: str = "") -> bool:
        """Return True if the very same frame is in the queue: its sender repeats it before the answer."""
        if self.outstanding is None and not (self._peer or self._beside):
            return False
        peers = (call for call in (*self._sent(), *self._peer) if call.rank is Rank.PEER)
        return any(call.text == text and call.origin == origin for call in peers)

    def has_id(self, message_id: str, origin: str = "") -> bool:
        """Return True if a CALL of this peer with this id has no answer yet."""
        return any(call.id == message_id and call.origin == origin for call in (*self._sent(), *self._peer))

    def find_action(self, message_id: str) -> str | None:
        """Return the action of the CALL that an answer with this id would end."""
        sent = self.outstanding
        if sent is not None and sent.id == message_id:
            return sent.action
        return next((sent.call.action for sent in self._beside if sent.call.id == message_id), None)

    def _sent(self) -> list[PendingCall]:
        sent = [each.call for each in self._beside]
        return sent if self.outstanding is None else [*sent, self.outstanding]

    # -- in -------------------------------------------------------------------------------------------

    def push(self, call: PendingCall) -> None:
        """Append a CALL to its rank. Check `is_full` before, for a peer's."""
        self.waiting += 1
        if call.rank is Rank.PEER:
            self._peer.append(call)
            self.is_full = len(self._peer) >= self._depth
        else:
            self._queue_of(call.rank).append(call)

    def push_first(self, call: PendingCall) -> None:
        """Put a CALL first in its rank: it was there before."""
        self._queue_of(call.rank).insert(0, call)
        self._count()

    def _count(self) -> None:
        self.waiting = len(self._urgent) + len(self._own) + len(self._peer)
        self.is_full = len(self._peer) >= self._depth

    def _queue_of(self, rank: Rank) -> list[PendingCall]:
        if rank is Rank.PEER:
            return self._peer
        return self._own if rank is Rank.OWN else self._urgent

    # -- out ------------------------------------------------------------------------------------------

    def next_call(self, now: float, *, own: bool = True, peer: bool = True) -> PendingCall | None:
        """Return the CALL to send now; it is outstanding from here on.

        `own` and `peer`: whether CALLs of that rank may be sent now.
        """
        if not self.waiting:
            return None  # the deadline was set when the outstanding CALL was sent, or the last one ended
        if self.outstanding is None and peer and not (self._urgent or self._own):
            # A message that passes: nothing of ours waits, and nothing is out.
            self._peer_is_first = self.is_full = False
            self.waiting -= 1
            call = self._peer.pop(0)
            if not call.is_valid or self._beside:
                return self._send_beside(call, now)
            self.outstanding = call
            self._sent_at = now
            self._answer_by = self.deadline = now + self._timeout_s
            return call
        if self.outstanding is not None and not self._may_overtake(now, own=own, peer=peer):
            self._set_deadline(own=own, peer=peer)
            return None
        queue = self._first_queue(now, own=own, peer=peer)
        if queue is None:
            self._set_deadline(own=own, peer=peer)
            return None
        if self.outstanding is not None:
            self._beside.append(_SentCall(self.outstanding, self._sent_at, self._answer_by))
        call = queue.pop(0)
        self._count()
        if not call.is_valid:
            return self._send_beside(call, now)
        self.outstanding = call
        self._sent_at = now
        is_query = call.token is not None and call.token < 0
        self._answer_by = now + (min(ANSWER_WAIT_S, self._timeout_s) if is_query else self._timeout_s)
        self._set_deadline(own=own, peer=peer)
        return call

    def send_at_once(self, call: PendingCall, now: float) -> None:
        """Take a peer's valid CALL as sent; as `push` and `next_call` together do in an empty queue."""
        self._peer_is_first = False
        self.outstanding, self._sent_at = call, now
        self._answer_by = self.deadline = now + self._timeout_s

    def _send_beside(self, call: PendingCall, now: float) -> PendingCall:
        """Take note of a sent CALL where texts that are not valid frames have no answer yet, or it is one."""
        invalid = sum(not sent.call.is_valid for sent in self._beside)
        if call.is_valid or invalid >= MOST_INVALID:
            self.outstanding, self._sent_at, self._answer_by = call, now, now + self._timeout_s
        else:
            self._beside.append(_SentCall(call, now, now + self._timeout_s))
        self.deadline = self._first_answer_by()
        return call

    def _first_queue(self, now: float, *, own: bool, peer: bool) -> list[PendingCall] | None:
        if own and self._urgent and self.outstanding is not None:
            return self._urgent
        if peer and self._peer and self._peer_is_first:
            self._peer_is_first = False
            return self._peer
        if own and self._urgent:
            return self._urgent
        if own and self._own and self.outstanding is None and now >= self._own_not_before:
            return self._own
        return self._peer if peer and self._peer else None

    def _may_overtake(self, now: float, *, own: bool, peer: bool) -> bool:
        return now >= self._overtake_at(own=own, peer=peer)

    def _overtake_at(self, *, own: bool, peer: bool) -> float:
        """Return when a waiting CALL may be sent although another is outstanding (inf: not at all)."""
        if not self._overtakes or self.outstanding is None or len(self._beside) >= MOST_OVERTAKEN:
            return math.inf
        if own and self._urgent:
            return max(self._sent_at, self._urgent[0].queued_at) + URGENT_WAIT_S
        if peer and self._peer and self.outstanding.rank is not Rank.PEER:
            return self._sent_at + COMMAND_WAIT_S
        return math.inf

    def _set_deadline(self, *, own: bool, peer: bool) -> None:
        deadline = self._first_answer_by()
        if self.waiting:
            deadline = min(deadline, self._overtake_at(own=own, peer=peer))
            if own and self._own and self.outstanding is None:
                deadline = min(deadline, self._own_not_before)
        self.deadline = deadline

    def _first_answer_by(self) -> float:
        first = self._answer_by
        for sent in self._beside:
            if sent.answer_by < first:
                first = sent.answer_by
        return first

    def _clear_deadline(self) -> None:
        """Find the deadline anew after a CALL left; while CALLs wait, `next_call` finds it."""
        if not self.waiting:
            self.deadline = self._first_answer_by()

    # -- ends -----------------------------------------------------------------------------------------

    def on_answer(self, message_id: str) -> PendingCall | None:
        """Remove and return the sent CALL that an answer with this id ends; None: there is none."""
        sent = self.outstanding
        if sent is not None and sent.id == message_id:
            if self._beside:
                return self._remove_outstanding()
            # A message that passes: nothing else is out.
            self.outstanding, self._answer_by, self.deadline = None, math.inf, math.inf
            return sent
        for place, beside in enumerate(self._beside):
            if beside.call.id == message_id:
                del self._beside[place]
                self._clear_deadline()
                return beside.call
        return None

    def expire(self, now: float) -> PendingCall | None:
        """Remove and return a sent CALL whose time is over; None: there is none."""
        for place, beside in enumerate(self._beside):
            if now >= beside.answer_by:
                del self._beside[place]
                self._clear_deadline()
                return beside.call
        if now < self._answer_by:
            return None
        late = self._remove_outstanding()
        if self._overtakes and late is not None and late.token is not None and late.token >= 0:
            self._peer_is_first, self._own_not_before = True, now + PAUSE_S
        return late

    def rewind(self) -> None:
        """Make what was sent the next again: the link that it was sent over is gone."""
        sent, self._beside = self._sent(), []
        self._remove_outstanding()
        for call in reversed(sent):
            self.push_first(call)

    def remove_origin(self, origin: str) -> list[PendingCall]:
        """Remove the CALLs of a backend whose link is gone; an answer to a sent one goes nowhere."""
        removed = [call for call in self._peer if call.origin == origin]
        self._peer = [call for call in self._peer if call.origin != origin]
        self._count()
        removed += [call for call in self._sent() if _is_from(call, origin)]
        self._beside = [
            msgspec.structs.replace(sent, call=_disown(sent.call, origin)) for sent in self._beside
        ]
        if self.outstanding is not None:
            self.outstanding = _disown(self.outstanding, origin)
        self._clear_deadline()
        return removed

    def drain(self) -> list[PendingCall]:
        """Remove and return every CALL without an answer, the oldest first."""
        left = [*self._sent(), *self._urgent, *self._own, *self._peer]
        self._urgent, self._own, self._peer, self._beside = [], [], [], []
        self._count()
        self._remove_outstanding()
        return left

    def _remove_outstanding(self) -> PendingCall | None:
        """End the outstanding CALL; the last one that was overtaken is outstanding from here on."""
        left = self.outstanding
        overtaken = next((sent for sent in reversed(self._beside) if sent.call.is_valid), None)
        if overtaken is None:
            self.outstanding, self._answer_by = None, math.inf
        else:
            self._beside.remove(overtaken)
            self.outstanding = overtaken.call
            self._sent_at, self._answer_by = overtaken.sent_at, overtaken.answer_by
        self.deadline = self._first_answer_by()
        return left


def _is_from(call: PendingCall, origin: str) -> bool:
    return call.rank is Rank.PEER and call.origin == origin


def _disown(call: PendingCall, origin: str) -> PendingCall:
    return msgspec.structs.replace(call, origin=NO_ORIGIN) if _is_from(call, origin) else call
