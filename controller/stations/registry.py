"""The live session of each station: one at a time, and a newer connection replaces an older one.

A station whose old socket is half open reconnects before that is noticed. The newer connection, which has
been admitted, replaces the older one: to reject it would lock the station out (OCPP-J leaves this open).
Two peers with one id replace each other again and again: that is slowed down, and a person is warned.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import msgspec
import trio

from controller.model.rate_limits import TokenBucket
from controller.ocpp.frames import Version
from controller.stations.session import StationSession

log = logging.getLogger("controller.transport")

TAKEOVERS_AT_ONCE = 3
TAKEOVERS_PER_S = 0.5
"""Rate at which connections of one station may replace each other."""

LONGEST_TAKEOVER_WAIT_S = 10.0
"""Wait above which a connection that would replace another one is rejected."""

WARNING_INTERVAL_S = 600.0
"""Time between two warnings about one station."""


DELIVERY_WAIT_S = 5.0
"""Time that a station that connects waits for the answers to what is being delivered for it: what has none is
sent to its backend again."""

MOST_NAMED = 10
"""Stations that one log line names."""


class _Entry(msgspec.Struct):
    """A session; None while the one before it ends. `is_replaced`: a newer connection has come."""

    session: StationSession | None
    peer: str
    is_replaced: bool = False
    is_ended: bool = False
    ended: trio.Event | None = None
    """Event to be set at the end; None while no task waits for it."""

    def replace(self) -> None:
        """End the session at once, or let it not begin."""
        self.is_replaced = True
        if self.session is not None:
            self.session.cancel()

    def end(self) -> None:
        """Resume the tasks that wait for the end."""
        self.is_ended = True
        if self.ended is not None:
            self.ended.set()

    async def wait_ended(self) -> None:
        """Wait until the session has ended."""
        if self.is_ended:
            await trio.lowlevel.checkpoint()
            return
        if self.ended is None:
            self.ended = trio.Event()
        await self.ended.wait()


class _Takeovers(msgspec.Struct):
    """Replaced connections of one station."""

    bucket: TokenBucket
    warned_at: float = float("-inf")


class SessionRegistry:
    """The live sessions of all stations."""

    def __init__(self) -> None:
        self._entries: dict[str, _Entry] = {}
        self._takeovers: dict[str, _Takeovers] = {}
        self._is_stopping = False

    def find_session(self, station: str) -> StationSession | None:
        """Return the session of a connected station."""
        entry = self._entries.get(station)
        session = None if entry is None else entry.session
        return session if session is not None and session.is_present else None

    def find_peer(self, station: str) -> str:
        """Return the address of a connected station; empty while it is away."""
        entry = self._entries.get(station)
        return "" if entry is None or self.find_session(station) is None else entry.peer

    def has_session(self, station: str) -> bool:
        """Return True if a session exists, also one for deliveries of an absent station."""
        return station in self._entries

    def connected_versions(self) -> dict[str, Version]:
        """Return the OCPP version of each connected station."""
        sessions = {station: self.find_session(station) for station in self._entries}
        return {station: each.version for station, each in sessions.items() if each is not None}

    async def wait_takeover(self, station: str, peer: str) -> float:
        """Wait until a connection may try to replace the station's present one, and return 0.

        Returns the s after which to try again if that takes longer than LONGEST_TAKEOVER_WAIT_S. Only
        `count_takeover` uses up the rate: a peer without proof cannot delay the station.
        """
        entry = self._entries.get(station)
        if entry is None or self.find_session(station) is None:
            return 0.0
        made = _Takeovers(TokenBucket(TAKEOVERS_PER_S, burst=TAKEOVERS_AT_ONCE))
        takeovers = self._takeovers.setdefault(station, made)
        now = trio.current_time()
        wait_s = takeovers.bucket.wait_s(now)
        if wait_s > 0 and now >= takeovers.warned_at + WARNING_INTERVAL_S:
            takeovers.warned_at = now
            log.warning(
                "two connections replace each other station=%s peers=%s,%s; "
                "give each station an id of its own, or check why it reconnects",
                station,
                entry.peer,
                peer,
            )
        if wait_s > LONGEST_TAKEOVER_WAIT_S:
            return wait_s
        await trio.sleep(wait_s)
        return 0.0

    def count_takeover(self, station: str) -> None:
        """Count a confirmed connection that replaces the station's present one."""
        takeovers = self._takeovers.get(station)
        if takeovers is not None and self.find_session(station) is not None:
            takeovers.bucket.take(trio.current_time())

    async def stop_sessions(self, wait_s: float) -> None:
        """End all sessions once the answers that are out have arrived, after `wait_s` at most."""
        self._is_stopping = True
        entries = dict(self._entries)
        for entry in entries.values():
            if entry.session is not None:
                entry.session.stop()
        with trio.move_on_after(wait_s) as waited:
            for entry in entries.values():
                await entry.wait_ended()
        if waited.cancelled_caught:
            late = [station for station, entry in entries.items() if not entry.is_ended]
            log.warning(
                "stopped without answers stations=%s after=%gs: what was sent is sent again after the start",
                ",".join(late[:MOST_NAMED]),
                wait_s,
            )

    async def remove_session(self, station: str, wait_s: float) -> None:
        """End the session of a removed station once its answers have arrived, after `wait_s` at most."""
        entry = self._entries.get(station)
        session = self.find_session(station)
        if entry is not None and session is not None:
            session.remove()
            await _wait_ended(entry, session, wait_s)

    async def renew_session(self, station: str, wait_s: float) -> None:
        """End the session of a station that is to have another one, as `remove_session` does.

        Also one for deliveries of an absent station.
        """
        entry = self._entries.get(station)
        session = None if entry is None else entry.session
        if entry is not None and session is not None:
            session.renew()
            await _wait_ended(entry, session, wait_s)

    async def run_session(
        self,
        station: str,
        make: Callable[[], StationSession],
        peer: str = "",
    ) -> None:
        """Serve a station until its session ends or a newer one replaces it.

        The session is made after the one before has ended: what that one has stored is then known.
        """
        old, entry = self._entries.get(station), _Entry(None, peer)
        self._entries[station] = entry  # at once, so that nothing comes in between while the old one ends
        try:
            if old is not None:
                if old.session is not None and old.session.is_present:
                    log.info("station reconnected station=%s replaced=%s peer=%s", station, old.peer, peer)
                    old.session.mark_replaced()
                elif old.session is not None:
                    old.session.stop()
                    with trio.move_on_after(DELIVERY_WAIT_S):
                        await old.wait_ended()
                old.replace()
                await old.wait_ended()
            if not entry.is_replaced:  # a newer one may have come meanwhile
                entry.session = make()
                del make  # it would be kept as long as the session runs, once a station
                if self._is_stopping:
                    entry.session.stop()
                await entry.session.run()
        finally:
            if self._entries[station] is entry:
                del self._entries[station]
            entry.end()


async def _wait_ended(entry: _Entry, session: StationSession, wait_s: float) -> None:
    """Wait until a session that takes nothing new has ended; end it after `wait_s`."""
    with trio.move_on_after(wait_s) as waited:
        await entry.wait_ended()
    if waited.cancelled_caught:
        session.end_now()
        await entry.wait_ended()
