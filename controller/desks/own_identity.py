"""The controller's own link to a backend: there it is a station of its own, and takes the site's limit.

OCPP 2.x Part 4, 6.2 (a local controller may have an identity of its own); 1.6 edition 2, 3.13.4 (a limit
for the group may be sent to it). The conversation is `relay.identity`; here are its socket and its file.
"""

from __future__ import annotations

import logging
import uuid
from typing import Protocol

import trio

from controller.config import Config
from controller.desks.gatekeeper import Gatekeeper
from controller.desks.limits import utc
from controller.desks.own_guard import OwnGuard
from controller.groups import leaves
from controller.links.alarm import Alarm
from controller.links.channel import Channel
from controller.links.dial import LinkRefused
from controller.links.engine import Full, LinkLost
from controller.links.handshake import Admitted
from controller.links.uplinks import Uplinks
from controller.ocpp.profile_messages import as_held
from controller.relay.events import BackendLost, BackendUp, FromBackend, Kept, Note, Tick, ToBackend
from controller.relay.group_profiles import GroupProfiles
from controller.relay.identity import Asked, IdentityEvent, Limited, OwnIdentity, Reached, Replied, Say
from controller.store.profiles import KeptProfile, ProfileStore

log = logging.getLogger("controller.identity")


class Hearer(Protocol):
    """Whoever hears what comes over the link."""

    def limited(self, limited: Limited) -> None:
        """The backend limits the site to this from now on."""

    def reached(self, there: bool) -> None:
        """The backend is there from now on, or is not."""

    def asked(self, payload: bytes) -> bytes:
        """The answer to a DataTransfer, a JSON object."""


class OwnLink:
    """Keeps the link while it runs, and says what it is given."""

    def __init__(
        self,
        config: Config,
        firmware: str,
        uplinks: Uplinks,
        store: ProfileStore,
        hearer: Hearer,
        keeper: Gatekeeper | None = None,
    ) -> None:
        self._id = config.site.id
        self._version = config.site.protocol
        self._uplinks = uplinks
        self._store = store
        self._hearer = hearer
        root = next(circuit for circuit in config.circuit if circuit.parent is None)
        profiles = GroupProfiles(self._version, config.site.voltage, min(root.limits_a))
        profiles.recall(
            as_held(self._version, saved.evse, saved.profile)
            for saved in store.load()
            if (saved.station, saved.version) == (self._id, self._version)
        )
        self._identity = OwnIdentity(self._version, firmware, profiles, lambda: str(uuid.uuid4()))
        self._alarm = Alarm(lambda: self._identity.deadline)
        self._guard: OwnGuard | None = None
        if keeper is not None:
            self._guard = OwnGuard(keeper, self._version, self._id, uplinks.backend, self._put, utc)
        self._link: Channel | None = None
        self._scope = trio.CancelScope()

    def say(self, action: str, payload: bytes) -> None:
        """Tell the backend this, now or once it is there."""
        self._feed(Say(action, payload))

    async def run(self) -> None:
        """Hold the link, and the limit with or without it, until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._keep_time)
            self._feed(Tick())  # what was kept before a restart holds from the start
            while True:
                self._scope = trio.CancelScope()
                with self._scope:
                    await self._serve()
                if self._scope.cancelled_caught:
                    self._lost("it does not read")
                await self._uplinks.ready(self._id)

    async def _serve(self) -> None:
        """One link, from its beginning to its end."""
        try:
            async with self._uplinks.open(Admitted(self._id, self._version), owner=True) as (link, _):
                self._link = link
                self._feed(BackendUp())
                while True:
                    message = await link.receive()
                    if isinstance(message, str):
                        self._hear(message)
        except* (LinkLost, LinkRefused) as lost:
            self._lost("; ".join(sorted({str(each) for each in leaves(lost)})))

    def _lost(self, reasons: str) -> None:
        self._link = None
        log.warning("the site's own link to its backend: %s", reasons)
        self._feed(BackendLost(reasons))

    def _hear(self, text: str) -> None:
        passed = text if self._guard is None else self._guard.heard(text, trio.current_time())
        if passed is not None:
            self._feed(FromBackend(passed))

    async def _keep_time(self) -> None:
        while True:
            await self._alarm.ring()
            self._feed(Tick())

    def _feed(self, event: IdentityEvent) -> None:
        now = trio.current_time()
        for action in self._identity.handle(event, now, utc(now)):
            match action:
                case ToBackend(text=text) if self._guard is not None:
                    self._guard.say(text, now)
                case ToBackend(text=text):
                    self._put(text)
                case Kept(profiles=profiles):
                    kept = [
                        KeptProfile(self._id, self._version, each.profile.evse, each.sent)
                        for each in profiles
                    ]
                    self._store.save(self._id, kept)
                case Limited():
                    log.info("the backend %s", _in_words(action))
                    self._hearer.limited(action)
                case Reached(there=there):
                    self._hearer.reached(there)
                case Asked(id=id, payload=payload):
                    self._feed(Replied(id, self._hearer.asked(payload)))
                case Note(level=level, text=text):
                    log.log(level, "%s", text)
        self._alarm.stir()

    def _put(self, text: str) -> None:
        """A backend that does not read holds up no limit of the site."""
        if self._link is None:
            return
        try:
            self._link.put(text)
        except Full:
            self._scope.cancel()
        except LinkLost:
            return  # its reader hears of it as well


def _in_words(limited: Limited) -> str:
    told = [
        f"{who} {amps:g} A"
        for who, amps in (("to", limited.limit_a), ("for somebody outside to", limited.outside_a))
        if amps is not None
    ]
    return f"limits the site {' and '.join(told)}" if told else "no longer limits the site"
