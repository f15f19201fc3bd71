"""Which session serves which station: one at a time, and the newcomer wins.

A station whose old socket is half open comes back before we notice: the newcomer, which has shown
the same credentials, replaces it (OCPP-J leaves this open; refusing it would lock the station out).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import msgspec
import trio

from controller.backends.pool import BackendPool
from controller.ocpp.frames import Version
from controller.stations.session import StationSession

log = logging.getLogger("controller.transport")


class _Served(msgspec.Struct):
    session: StationSession | None
    """None while the one before it ends."""
    scope: trio.CancelScope
    ended: trio.Event


class SessionRegistry:
    """The sessions of all stations."""

    def __init__(self) -> None:
        self._served: dict[str, _Served] = {}

    def session(self, station: str) -> StationSession | None:
        """The session that serves a station now, where the station is there."""
        served = self._served.get(station)
        session = None if served is None else served.session
        return session if session is not None and session.is_present else None

    def is_served(self, station: str) -> bool:
        """Whether a session is there for a station, be it connected or only spoken for."""
        return station in self._served

    def versions(self) -> dict[str, Version]:
        """The OCPP version of each station that is connected now."""
        sessions = {station: self.session(station) for station in self._served}
        return {station: each.version for station, each in sessions.items() if each is not None}

    async def run(
        self,
        station: str,
        make: Callable[[], StationSession],
        owner: BackendPool | None,
        observers: Sequence[BackendPool] = (),
    ) -> None:
        """Serve a station until its session ends or a newer one replaces it.

        The session is made when the one before has ended: then what that has kept is known.
        """
        old, served = self._served.get(station), _Served(None, trio.CancelScope(), trio.Event())
        self._served[station] = served  # at once: who looks while the old one ends must not come in between
        try:
            if old is not None:
                if old.session is not None and old.session.is_present:
                    log.info("station %s has connected again: its older link is closed", station)
                old.scope.cancel()
                await old.ended.wait()
            with served.scope:
                await trio.lowlevel.checkpoint_if_cancelled()  # a newer one has come meanwhile
                served.session = make()
                await served.session.run(owner, observers)
        finally:
            if self._served[station] is served:
                del self._served[station]
            served.ended.set()
