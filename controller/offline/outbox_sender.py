"""What one backend still has to hear of one station, in order: first its story, then what has waited.

The story (its boot, then the state of each connector) is told anew on every link: a backend that has not
heard a boot takes nothing else (OCPP 1.6 edition 2, 4.2; 2.x Part 2, B02). Then come the outbox's entries
in the station's own bytes, with the times that are in them. Each goes again under its one id where its answer
was never seen, and where it was an error: for then it may have been heard once before, and another id would
make two of it. Errors are waited for, and in the end the entry is given up: a backend's trouble with one
message does not keep all others from it. Who holds the link sends one at a time, and tells what came of it.
"""

from __future__ import annotations

import uuid
from collections import deque
from collections.abc import Callable

import msgspec

from controller.model.journal import Record
from controller.ocpp.frames import Version
from controller.ocpp.payloads import read_payload
from controller.offline.journal_records import OutboxEntry, RecordKind, SnapshotDelivered
from controller.offline.offline_messages import BootAnswer, ended_transaction
from controller.offline.outbox import Outbox
from controller.offline.station_snapshot import StationSnapshot
from controller.offline.transaction_id_map import IdRewriteError, TransactionIdMap

BOOT_WAIT_S = 60.0
"""When a backend is asked again that does not accept a boot, and names no interval."""

MOST_BOOT_WAIT_S = 86_400
"""It is asked again after so long, whatever interval it names."""

WAITS_S = (5.0, 30.0, 120.0)
"""Between the tries of an entry that the backend answers with an error; then it is given up."""

_NEVER = {
    "FormationViolation",
    "FormatViolation",
    "PropertyConstraintViolation",
    "OccurenceConstraintViolation",
    "OccurrenceConstraintViolation",
    "TypeConstraintViolation",
    "NotImplemented",
    "NotSupported",
    "MessageTypeNotSupported",
}
"""Error codes (OCPP-J 1.6, 4.2.3; 2.x Part 4, 4.3) after which the same message fails again."""


class OutboundCall(msgspec.Struct, frozen=True, kw_only=True):
    """A CALL for the backend; `number`: of the outbox, else it is of the story.

    `records` are to be saved before it goes.
    """

    id: str
    action: str
    payload: bytes
    number: int | None = None
    records: tuple[Record, ...] = ()
    notes: tuple[str, ...] = ()


class OutboxSender:
    """Tells one backend. `version` is that of its link: what came in another waits for a link of that one."""

    def __init__(
        self,
        outbox: Outbox,
        story: StationSnapshot,
        ids: TransactionIdMap,
        version: Version,
        new_id: Callable[[], str] = lambda: str(uuid.uuid4()),
    ) -> None:
        self._version = version
        self._outbox = outbox
        self._story = story
        self._ids = ids
        self._new_id = new_id
        self._left: deque[SnapshotDelivered] = deque()
        self._wait_until: float | None = None
        self._tried: tuple[int, int] = (0, 0)
        """The number of the entry that was answered with an error last, and how often it was."""

    @property
    def deadline(self) -> float | None:
        """When there is more to tell, if not now (s, monotonic)."""
        return self._wait_until

    @property
    def is_done(self) -> bool:
        """Whether the backend has heard everything that can be told over this link."""
        return not self._left and self._head is None

    def on_attached(self) -> None:
        """A link stands, or the station has started anew: the story begins."""
        boot = self._story.boot
        told = [] if boot is None else [boot, *self._story.statuses]
        self._left = deque(each for each in told if each.version is self._version)
        self._wait_until = None

    def next_call(self, now: float) -> OutboundCall | None:
        """The next CALL; None: nothing is left, or it is not time yet."""
        if self._wait_until is not None and now < self._wait_until:
            return None
        self._wait_until = None
        if self._left:
            told = self._left[0]
            return OutboundCall(id=self._new_id(), action=told.action, payload=told.payload or b"{}")
        head = self._head
        return None if head is None else self._entry(head)

    @property
    def _head(self) -> OutboxEntry | None:
        head = self._outbox.head
        return head if head is not None and head.version is self._version else None

    def _entry(self, entry: OutboxEntry) -> OutboundCall:
        notes = []
        if entry.sent and self._tried[0] != entry.number:
            notes.append(f"{entry.action} {entry.id} goes again: its answer was never seen")
        payload = self._ids.translate_for_backend(entry.action, entry.payload)
        if isinstance(payload, IdRewriteError):
            notes.append(f"{entry.action} {entry.id} goes with our transaction id: {payload.reason}")
            payload = entry.payload
        return OutboundCall(
            id=entry.id,
            action=entry.action,
            payload=payload,
            number=entry.number,
            records=tuple(self._outbox.mark_sent(entry.number)),
            notes=tuple(notes),
        )

    # -- what came of it ------------------------------------------------------------------------------

    def on_answer(
        self, outbound: OutboundCall, result: bytes | None, code: str | None, now: float
    ) -> tuple[list[Record], list[str]]:
        """The backend's answer: its payload, or the code of an error. Words to be saved, and notes."""
        if outbound.number is not None:
            return self._answered_entry(outbound, result, code, now)
        if outbound.action == "BootNotification":
            return self._booted(result, code, now)
        self._told(outbound.action)
        return [], []

    def _told(self, action: str) -> None:
        if self._left and self._left[0].action == action:
            self._left.popleft()

    def _booted(self, result: bytes | None, code: str | None, now: float) -> tuple[list[Record], list[str]]:
        answer = None if result is None else read_payload(BootAnswer, result)
        if answer is not None and answer.status == "Accepted":
            self._told("BootNotification")
            return [], []
        if code in _NEVER:
            self._told("BootNotification")
            return [], [f"its BootNotification is answered with {code}: it is told the rest all the same"]
        named = 0 if answer is None else answer.interval
        wait_s = float(min(named, MOST_BOOT_WAIT_S)) if named > 0 else BOOT_WAIT_S
        self._wait_until = now + wait_s
        status = "an error" if answer is None else answer.status
        return [], [f"its BootNotification is answered with {status}: it is told again in {wait_s:g} s"]

    def _answered_entry(
        self, outbound: OutboundCall, result: bytes | None, code: str | None, now: float
    ) -> tuple[list[Record], list[str]]:
        entry = None if outbound.number is None else self._outbox.get_entry(outbound.number)
        if entry is None:
            return [], []
        if result is None:
            return self._failed(entry, code or "no answer", now)
        records = self._outbox.remove_entry(entry.number)
        if entry.transaction is not None:
            records += self._ids.on_start_result(entry.transaction, result)
        ended = ended_transaction(entry.version, entry.action, entry.payload)
        if isinstance(ended, int):
            records += self._ids.end_transaction(ended)
        return records, []

    def _failed(self, entry: OutboxEntry, code: str, now: float) -> tuple[list[Record], list[str]]:
        what = f"{entry.action} {entry.id} is answered with {code}"
        number, tries = self._tried
        tries = tries if number == entry.number else 0
        if code not in _NEVER and tries < len(WAITS_S):
            wait_s = WAITS_S[tries]
            self._tried = (entry.number, tries + 1)
            self._wait_until = now + wait_s
            return [], [f"{what}: it goes again in {wait_s:g} s"]
        if entry.kind is not RecordKind.TRANSACTION:
            return self._outbox.remove_entry(entry.number), [f"{what}: it is dropped"]
        records = self._outbox.set_entry_aside(entry.number, code)
        if entry.transaction is not None:
            records += self._ids.end_transaction(entry.transaction)
        return records, [f"{what}: it is set aside, so that what follows can go"]
