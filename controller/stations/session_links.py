"""Links of one session to the station's owner and to its observers."""

from __future__ import annotations

from collections.abc import Sequence

import trio

from controller.backends.backend_link import BackendLink, LinkMaker, LinkUser, StationLink
from controller.backends.pool import BackendPool
from controller.stations.admission import Admission
from controller.transport.deadline_timer import DeadlineTimer


class SessionLinks:
    """Links of an admitted station; `owner` and `owner_link`: name of its owner and the link to it.

    Without an owner, only what waits for the observers is delivered.
    """

    __slots__ = ("_links", "_makers", "admitted", "owner", "owner_link")

    def __init__(
        self,
        admitted: Admission,
        owner: BackendPool | LinkMaker | None,
        observers: Sequence[BackendPool] = (),
    ) -> None:
        self.admitted = admitted
        self.owner = "" if owner is None else owner.backend
        self.owner_link: StationLink | None = None
        self._makers = (owner, observers)
        self._links: dict[str, StationLink] = {}

    def start(self, nursery: trio.Nursery, user: LinkUser, timer: DeadlineTimer) -> None:
        """Make the links for a session and run them in `nursery`."""
        owner, observers = self._makers
        self._makers = (None, ())
        if isinstance(owner, BackendPool):
            self.owner_link = self._make_link(owner, user, timer, is_owner=True)
        elif owner is not None:
            self.owner_link = owner.make_link(user)
        if self.owner_link is not None:
            self._links[self.owner] = self.owner_link
        for pool in observers:
            self._links[pool.backend] = self._make_link(pool, user, timer, is_owner=False)
        for link in self._links.values():
            nursery.start_soon(link.run)

    def _make_link(
        self, pool: BackendPool, user: LinkUser, timer: DeadlineTimer, *, is_owner: bool
    ) -> BackendLink:
        adopted = self.admitted.owner_link if is_owner else None
        return BackendLink(
            pool, self.admitted.link_request(), user, timer, is_owner=is_owner, adopted=adopted
        )

    def find(self, backend: str) -> StationLink:
        """Return the link to a backend."""
        return self._links[backend]

    def keep_alive(self, silence_s: float) -> None:
        """Send pings, or end the connections after `silence_s` without data."""
        for link in self._links.values():
            link.keep_alive(silence_s)

    def start_closing(self, nursery: trio.Nursery, reason: str) -> None:
        """Send what is queued and close the links, in tasks of `nursery`."""
        for link in self._links.values():
            nursery.start_soon(link.close, reason)
