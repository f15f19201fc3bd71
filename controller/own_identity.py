"""The controller's own link to a backend: there it is a station of its own, and takes the site's limit.

OCPP 2.x Part 4, 6.2 (a local controller may have an identity of its own); 1.6 edition 2, 3.13.4 (a limit
for the group may be sent to it). The conversation is `relay.identity`; here are its socket and its file.
"""

from __future__ import annotations

import logging
import random
import uuid
from collections.abc import Callable
from datetime import UTC, datetime

import trio

from controller.config import Config
from controller.groups import leaves
from controller.links.alarm import Alarm
from controller.links.dial import LinkRefused
from controller.links.engine import Link, LinkLost
from controller.links.handshake import Admitted
from controller.links.outgoing import Full, Outgoing
from controller.links.uplinks import Uplinks
from controller.links.way import GOING_AWAY
from controller.ocpp.profile_messages import as_held
from controller.relay.events import BackendLost, BackendUp, FromBackend, Kept, Note, Tick, ToBackend
from controller.relay.group_profiles import GroupProfiles
from controller.relay.identity import IdentityEvent, Limited, OwnIdentity
from controller.store.profiles import KeptProfile, ProfileStore

log = logging.getLogger("controller.identity")

FIRST_WAIT_S = 1.0
LONGEST_WAIT_S = 60.0
"""Between two tries to reach the backend: doubled each time, and spread by half."""


class OwnLink:
    """Keeps the link while it runs. `limit` is called with the site's limit (A per phase) on each change."""

    def __init__(
        self,
        config: Config,
        firmware: str,
        uplinks: Uplinks,
        store: ProfileStore,
        limit: Callable[[float | None], None],
    ) -> None:
        self._id = config.site.id
        self._version = config.site.protocol
        self._uplinks = uplinks
        self._store = store
        self._limit = limit
        root = next(circuit for circuit in config.circuit if circuit.parent is None)
        profiles = GroupProfiles(self._version, config.site.voltage, min(root.limits_a))
        profiles.recall(
            as_held(self._version, saved.evse, saved.profile)
            for saved in store.load()
            if (saved.station, saved.version) == (self._id, self._version)
        )
        self._identity = OwnIdentity(self._version, firmware, profiles, lambda: str(uuid.uuid4()))
        self._alarm = Alarm(lambda: self._identity.deadline)
        self._outgoing: Outgoing | None = None

    async def run(self) -> None:
        """Hold the link, and the limit with or without it, until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._keep_time)
            self._feed(Tick())  # what was kept before a restart holds from the start
            wait_s = FIRST_WAIT_S
            while True:
                if await self._serve():
                    wait_s = FIRST_WAIT_S
                await trio.sleep(wait_s * random.uniform(0.5, 1.5))
                wait_s = min(2 * wait_s, LONGEST_WAIT_S)

    async def _serve(self) -> bool:
        """One link, from its beginning to its end; whether there was one."""
        reached = False
        try:
            async with (
                self._uplinks.open(Admitted(self._id, self._version), owner=True) as (link, _),
                trio.open_nursery() as nursery,
            ):
                reached, self._outgoing = True, Outgoing()
                nursery.start_soon(self._write, link, self._outgoing)
                self._feed(BackendUp())
                while True:
                    message = await link.receive()
                    if isinstance(message, str):
                        self._feed(FromBackend(message))
        except* (LinkLost, LinkRefused) as lost:
            reasons = "; ".join(sorted({str(each) for each in leaves(lost)}))
            log.warning("the site's own link to its backend: %s", reasons)
            self._outgoing = None
            self._feed(BackendLost(reasons))
        return reached

    async def _keep_time(self) -> None:
        while True:
            await self._alarm.ring()
            self._feed(Tick())

    def _feed(self, event: IdentityEvent) -> None:
        utc = datetime.now(UTC).timestamp()
        for action in self._identity.handle(event, trio.current_time(), utc):
            match action:
                case ToBackend(text=text):
                    self._put(text)
                case Kept(profiles=profiles):
                    kept = [
                        KeptProfile(self._id, self._version, each.profile.evse, each.sent)
                        for each in profiles
                    ]
                    self._store.save(self._id, kept)
                case Limited(limit_a=limit_a):
                    told = (
                        "no longer limits the site"
                        if limit_a is None
                        else f"limits the site to {limit_a:g} A"
                    )
                    log.info("the backend %s", told)
                    self._limit(limit_a)
                case Note(level=level, text=text):
                    log.log(level, "%s", text)
        self._alarm.stir()

    def _put(self, text: str) -> None:
        if self._outgoing is None:
            return
        try:
            self._outgoing.put(text)
        except Full as full:
            log.warning("the site's backend does not read: %s; the link is made anew", full)
            self._outgoing.close()
            self._outgoing = None

    async def _write(self, link: Link, outgoing: Outgoing) -> None:
        """Send what waits; a backend that does not read holds up no limit of the site."""
        async for text in outgoing:
            await link.send(text)
        await link.close(GOING_AWAY, "it does not read")
