"""Which session serves which station: one at a time, and the newcomer wins.

A station whose old socket is half open comes back before we notice: the newcomer, which has shown
the same credentials, replaces it (OCPP-J leaves this open; refusing it would lock the station out).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import msgspec
import trio

from controller.links.session import StationSession
from controller.links.uplinks import Uplinks
from controller.ocpp.frames import Version

log = logging.getLogger("controller.links")


class _Served(msgspec.Struct):
    session: StationSession
    scope: trio.CancelScope
    ended: trio.Event


class Switchboard:
    """The sessions of all stations."""

    def __init__(self) -> None:
        self._served: dict[str, _Served] = {}

    def session(self, station: str) -> StationSession | None:
        """The session that serves a station now, where the station is there."""
        served = self._served.get(station)
        return served.session if served and served.session.is_present else None

    def is_served(self, station: str) -> bool:
        """Whether a session is there for a station, be it connected or only spoken for."""
        return station in self._served

    def versions(self) -> dict[str, Version]:
        """The OCPP version of each station that is connected now."""
        served = self._served.items()
        return {station: each.session.version for station, each in served if each.session.is_present}

    async def run(
        self, station: str, session: StationSession, owner: Uplinks | None, observers: Sequence[Uplinks] = ()
    ) -> None:
        """Serve a station until its session ends or a newer one replaces it."""
        while (old := self._served.get(station)) is not None:
            if old.session.is_present:
                log.info("station %s has connected again: its older link is closed", station)
            old.scope.cancel()
            await old.ended.wait()
        served = _Served(session, trio.CancelScope(), trio.Event())
        self._served[station] = served
        try:
            with served.scope:
                await session.run(owner, observers)
        finally:
            del self._served[station]
            served.ended.set()
