"""One backend, reached over one uplink or several: who needs a link gets it over the best that answers.

Which that is, `failover` knows; here it is asked, its dials and probes are made, and its news are told.
"""

from __future__ import annotations

import logging
import random
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import NamedTuple, Protocol

import msgspec
import trio

from controller.backends.failover import EndpointSelector
from controller.model.exception_groups import leaves
from controller.stations.admission import Admission
from controller.transport.channel import Channel
from controller.transport.deadline_timer import DeadlineTimer
from controller.transport.dial import DialError
from controller.transport.websocket_connection import ConnectionLostError

log = logging.getLogger("controller.transport")

TOO_MANY = 429
SERVER_ERRORS = 500
"""HTTP statuses (RFC 6585, 4; RFC 9110, 15.6): these and those above speak of the backend, others of us."""


class EndpointReached(NamedTuple):
    """An open link, and the id of the uplink that it goes over."""

    link: Channel
    uplink: str


class EndpointState(Protocol):
    """One uplink: see `uplink.Uplink`."""

    def open(self, admitted: Admission) -> AbstractAsyncContextManager[Channel]:
        """A link for a station. Raises LinkRefused, alone or in a group."""

    async def probe(self) -> None:
        """See whether it answers. Raises LinkRefused."""


class BackendPool:
    """All ways to one backend, `ways` by id with their priorities; the lowest is dialled first."""

    def __init__(
        self, backend: str, ways: Mapping[str, tuple[int, EndpointState]], chance: random.Random | None = None
    ) -> None:
        self.backend = backend
        self._ways = {name: way for name, (_, way) in ways.items()}
        priorities = [(name, priority) for name, (priority, _) in ways.items()]
        self._failover = EndpointSelector(priorities, chance or random.Random())
        self._alarm = DeadlineTimer(self._failover.probe_at)
        self.links = dict.fromkeys(self._ways, 0)
        """Open links, by uplink."""

    # -- links --------------------------------------------------------------------------------------

    @asynccontextmanager
    async def open(self, admitted: Admission, *, owner: bool) -> AsyncIterator[EndpointReached]:
        """A link for a station, open inside the block; what the station showed us goes to its owner alone.

        Tries all uplinks that may be tried now, and waits only for a try of others that is under way.
        Raises LinkRefused, alone or in a group, where none gives a link; its `retry_after_s` says when to
        ask again, as does `ready`. A LinkLost that leaves the block is held against the uplink, if the
        link's end is not of our own making.
        """
        shown = admitted if owner else msgspec.structs.replace(admitted, authorization=None)
        async with AsyncExitStack() as stack:
            reached = await self._reach(shown, stack)
            since = trio.current_time()
            self.links[reached.uplink] += 1
            try:
                yield reached
            except* ConnectionLostError as lost:
                ends = [each for each in leaves(lost) if isinstance(each, ConnectionLostError)]
                if not any(each.ours for each in ends):
                    clean = all(each.clean for each in ends)
                    now = trio.current_time()
                    self._failover.lost(admitted.station, reached.uplink, now - since, now, clean=clean)
                    self._alarm.stir()
                raise
            finally:
                self.links[reached.uplink] -= 1

    def unanswered(self, station: str, uplink: str) -> None:
        """What a station's link is asked has no answer, though it stands: the next link goes elsewhere."""
        self._failover.unanswered(station, uplink, trio.current_time())
        self._alarm.stir()

    async def ready(self, station: str) -> None:
        """Wait until it is worth while that this station asks for a link."""
        while self._failover.next(station, trio.current_time()) is None:
            await self._news(self._failover.ready_at(station))

    async def outdone(self, station: str, uplink: str) -> None:
        """Wait until a better uplink is there for a link of this station: move it when it is idle."""
        while (at := self._failover.outdone_at(station, uplink)) > trio.current_time():
            await self._news(at)

    async def run(self) -> None:
        """Look after uplinks that are down while another is up, until cancelled."""
        while True:
            await self._alarm.ring()
            async with trio.open_nursery() as nursery:
                for uplink in self._failover.to_probe(trio.current_time()):
                    nursery.start_soon(self._probe, uplink)

    # -- dials --------------------------------------------------------------------------------------

    async def _reach(self, admitted: Admission, stack: AsyncExitStack) -> EndpointReached:
        station = admitted.station
        refusals: dict[str, str] = {}
        while True:
            now = trio.current_time()
            uplink = self._failover.next(station, now, refusals)
            if uplink is not None:
                outcome = await self._dial(uplink, admitted, stack)
                if not isinstance(outcome, str):
                    return EndpointReached(outcome, uplink)
                refusals[uplink] = outcome
            elif self._failover.is_trying(station, now, refusals):
                await self._alarm.stirred()
            else:
                why = "; ".join(refusals.values()) or "it did not answer a moment ago"
                raise DialError(why, retry_after_s=max(0.0, self._failover.ready_at(station) - now))

    async def _dial(self, uplink: str, admitted: Admission, stack: AsyncExitStack) -> Channel | str:
        """The link, or why there is none."""
        began = trio.current_time()
        refusals: list[DialError] = []
        was_up = self._failover.is_up(uplink)
        self._failover.dialling(uplink)
        try:
            link = await stack.enter_async_context(self._ways[uplink].open(admitted))
            if self._failover.answered(admitted.station, uplink, trio.current_time()):
                log.info("backend %s is back", self._named(uplink))
            return link
        except* DialError as refused:
            refusals += [each for each in leaves(refused) if isinstance(each, DialError)]
        finally:
            self._failover.abandoned(uplink)  # where it was cut short
            for each in refusals:
                self._refused(uplink, admitted.station, began, each)
            # A storm of dials that all succeed is no news: each would wake all links that there are.
            if not (was_up and self._failover.is_up(uplink)):
                self._alarm.stir()
        return "; ".join(sorted({str(each) for each in refusals}))

    def _refused(self, uplink: str, station: str, began: float, refused: DialError) -> None:
        now, status = trio.current_time(), refused.status
        if status is not None and status < SERVER_ERRORS and status != TOO_MANY:
            if self._failover.denied(station, uplink, now):
                log.error("backend %s does not want station %s: %s", self._named(uplink), station, refused)
        elif self._failover.failed(uplink, began, now, refused.retry_after_s):
            log.warning("backend %s cannot be reached: %s", self._named(uplink), refused)

    # -- probes -------------------------------------------------------------------------------------

    async def _probe(self, uplink: str) -> None:
        began = trio.current_time()
        try:
            await self._ways[uplink].probe()
        except DialError:
            self._failover.failed(uplink, began, trio.current_time())
        else:
            if self._failover.probe_answered(uplink, trio.current_time()):
                log.info("backend %s is back", self._named(uplink))
        self._alarm.stir()

    async def _news(self, deadline: float) -> None:
        """Wait until something has happened to an uplink, or until the deadline."""
        with trio.move_on_at(deadline):
            await self._alarm.stirred()

    def _named(self, uplink: str) -> str:
        return self.backend if len(self._ways) == 1 else f"{self.backend} (uplink {uplink})"
