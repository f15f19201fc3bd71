"""Queue of limits between load management and the stations: each is durable before it is sent."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import trio

from controller.load_management.events import LimitAnswered, SetLimit
from controller.load_management.evse.limit_delivery import DeliveryMemory
from controller.model.journal import Record
from controller.model.observations import EvseRef
from controller.services.machine.wall_clock import uptime, utc_now
from controller.store.limit_records import LimitStored, covered_limit, delivery_memory, limit_record
from controller.store.state_journal import StoreError
from controller.store.state_store import StateStore

SENT_AT_ONCE = 50
"""Limits that are sent before messages pass again: 2 ms."""


class LimitQueue:
    """Limits of each event with the records that must be durable first, and those stored before."""

    def __init__(self, store: StateStore) -> None:
        self._store = store
        self._stored = {EvseRef(each.station, each.evse): each for each in store.load(LimitStored)}
        self._waiting: deque[tuple[list[LimitStored], Sequence[SetLimit]]] = deque()
        self._other_records: list[Record] = []
        self._added = trio.Event()

    @property
    def stored_evses(self) -> Iterable[EvseRef]:
        """EVSEs with a stored limit."""
        return self._stored.keys()

    def load_memories(self) -> dict[EvseRef, DeliveryMemory]:
        """Return what was stored of each EVSE before a restart, in times of now."""
        wall, now, since_boot = utc_now(), trio.current_time(), uptime()
        return {ref: delivery_memory(each, wall, now, since_boot) for ref, each in self._stored.items()}

    def add(self, limits: Sequence[SetLimit], memories: Mapping[EvseRef, DeliveryMemory]) -> None:
        """Add limits, with what has to be stored of the EVSEs concerned."""
        wall, now, since_boot = utc_now(), trio.current_time(), uptime()
        records = [limit_record(ref, memory, wall, now, since_boot) for ref, memory in memories.items()]
        self._waiting.append((records, limits))
        self._added.set()

    def add_records(self, records: Sequence[Record]) -> None:
        """Add records that no limit waits for; they share the next transaction."""
        self._other_records += records
        self._added.set()

    async def run(
        self, send: Callable[[SetLimit], None], on_answered: Callable[[LimitAnswered], None]
    ) -> None:
        """Send each limit once its records are durable, until cancelled.

        If they cannot be, what is stored already covers a lower or shorter limit, which is sent; where it
        does not, the limit has failed.
        """
        while True:
            await self._added.wait()
            self._added = trio.Event()
            batch = [self._waiting.popleft() for _ in range(len(self._waiting))]
            records = {(each.station, each.evse): each for stored, _ in batch for each in stored}
            limits = [limit for _, waiting in batch for limit in waiting]
            others, self._other_records = self._other_records, []
            try:
                await self._store.persist([*records.values(), *others])
            except StoreError:
                for limit, covered in self._cover(limits):
                    if covered is not None:
                        send(covered)
                    else:
                        on_answered(LimitAnswered(limit.token, False, "the store cannot be written"))
                continue
            self._stored |= {EvseRef(*ref): record for ref, record in records.items()}
            for place, limit in enumerate(limits):
                if place and place % SENT_AT_ONCE == 0:
                    await trio.lowlevel.checkpoint()
                send(limit)

    def _cover(self, limits: Sequence[SetLimit]) -> Iterator[tuple[SetLimit, SetLimit | None]]:
        """Yield each limit with the one in its place that needs no new record; None: there is none."""
        for limit in limits:
            yield limit, covered_limit(limit, self._stored.get(limit.ref), uptime())
