"""Service of the site's own identity: its link to a backend, and the storage of its profiles.

OCPP 2.x Part 4, 6.2 (a local controller may have an identity of its own); 1.6 edition 2, 3.13.4 (a limit
for the group may be sent to it). The protocol is `site_identity.identity`.
"""

from __future__ import annotations

import logging
import uuid
from typing import Protocol

import trio

from controller.backends.pool import BackendPool, LinkRequest
from controller.config import Config
from controller.model.effects import BackendLost, BackendUp, FromBackend, LogEntry, TimePassed, ToBackend
from controller.model.exception_groups import leaves
from controller.model.journal import ProfilesStored, StoredProfile
from controller.profiles.profile_messages import ProfilesAbsorbed, read_stored_profile
from controller.services.load_management_service import utc
from controller.services.policy_service import PolicyService
from controller.services.site_link_policy import SiteLinkPolicy
from controller.site_identity.group_profiles import GroupProfiles
from controller.site_identity.identity import (
    IdentityEvent,
    SiteBackendReached,
    SiteIdentity,
    SiteLimited,
    SiteMessage,
    SiteReply,
    SiteRequest,
)
from controller.store.state_store import StateStore
from controller.transport.channel import Channel
from controller.transport.deadline_timer import DeadlineTimer
from controller.transport.dial import DialError
from controller.transport.transport_errors import ConnectionLostError, SendQueueFullError

log = logging.getLogger("controller.identity")


class SiteIdentityOwner(Protocol):
    """Whoever hears what comes over the link."""

    def limited(self, limited: SiteLimited) -> None:
        """The backend limits the site to this from now on."""

    def reached(self, there: bool) -> None:
        """The backend is there from now on, or is not."""

    def asked(self, payload: bytes) -> bytes:
        """The answer to a DataTransfer, a JSON object."""


class SiteIdentityService:
    """Keeps the link while it runs, and says what it is given."""

    def __init__(
        self,
        config: Config,
        firmware: str,
        uplinks: BackendPool,
        store: StateStore,
        hearer: SiteIdentityOwner,
        keeper: PolicyService | None = None,
    ) -> None:
        self._id = config.site.id
        self._version = config.site.protocol
        self._uplinks = uplinks
        self._request = LinkRequest(self._id, (self._version.value,))
        self._store = store
        self._hearer = hearer
        root = next(circuit for circuit in config.circuit if circuit.parent is None)
        profiles = GroupProfiles(self._version, config.site.voltage, min(root.limits_a))
        profiles.restore(
            read_stored_profile(self._version, each.evse, each.profile)
            for stored in store.load(ProfilesStored)
            if (stored.station, stored.version) == (self._id, self._version)
            for each in stored.profiles
        )
        self._identity = SiteIdentity(self._version, firmware, profiles, lambda: str(uuid.uuid4()))
        self._alarm = DeadlineTimer(lambda: self._identity.deadline)
        self._guard: SiteLinkPolicy | None = None
        if keeper is not None:
            self._guard = SiteLinkPolicy(keeper, self._version, self._id, uplinks.backend, self._put, utc)
        self._link: Channel | None = None
        self._scope = trio.CancelScope()

    def say(self, action: str, payload: bytes) -> None:
        """Tell the backend this, now or once it is there."""
        self._feed(SiteMessage(action, payload))

    async def run(self) -> None:
        """Hold the link, and the limit with or without it, until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._keep_time)
            self._feed(TimePassed())  # what was kept before a restart holds from the start
            while True:
                self._scope = trio.CancelScope()
                with self._scope:
                    await self._serve()
                if self._scope.cancelled_caught:
                    self._lost("it does not read")
                await self._uplinks.wait_ready(self._request)

    async def _serve(self) -> None:
        """One link, from its beginning to its end."""
        try:
            async with self._uplinks.hold_link(self._request, is_owner=True) as opened:
                self._link = link = opened.channel
                self._feed(BackendUp())
                while True:
                    message = await link.receive()
                    if isinstance(message, str):
                        self._hear(message)
        except* (ConnectionLostError, DialError) as lost:
            self._lost("; ".join(sorted({str(each) for each in leaves(lost)})))

    def _lost(self, reasons: str) -> None:
        self._link = None
        log.warning("the site's own link to its backend: %s", reasons)
        self._feed(BackendLost(reasons))

    def _hear(self, text: str) -> None:
        passed = text if self._guard is None else self._guard.on_text(text, trio.current_time())
        if passed is not None:
            self._feed(FromBackend(passed))

    async def _keep_time(self) -> None:
        while True:
            await self._alarm.wait_due()
            self._feed(TimePassed())

    def _feed(self, event: IdentityEvent) -> None:
        now = trio.current_time()
        for action in self._identity.handle(event, now, utc(now)):
            match action:
                case ToBackend(text=text) if self._guard is not None:
                    self._guard.send_text(text, now)
                case ToBackend(text=text):
                    self._put(text)
                case ProfilesAbsorbed(profiles=profiles):
                    stored = tuple(StoredProfile(each.profile.evse, each.raw) for each in profiles)
                    self._store.persist_now([ProfilesStored(self._id, self._version, stored)])
                case SiteLimited():
                    log.info("the backend %s", _in_words(action))
                    self._hearer.limited(action)
                case SiteBackendReached(there=there):
                    self._hearer.reached(there)
                case SiteRequest(id=id, payload=payload):
                    self._feed(SiteReply(id, self._hearer.asked(payload)))
                case LogEntry(level=level, text=text):
                    log.log(level, "%s", text)
        self._alarm.update()

    def _put(self, text: str) -> None:
        """A backend that does not read holds up no limit of the site."""
        if self._link is None:
            return
        try:
            self._link.send_nowait(text)
        except SendQueueFullError:
            self._scope.cancel()
        except ConnectionLostError:
            return  # its reader hears of it as well


def _in_words(limited: SiteLimited) -> str:
    told = [
        f"{who} {amps:g} A"
        for who, amps in (("to", limited.limit_a), ("for somebody outside to", limited.outside_a))
        if amps is not None
    ]
    return f"limits the site {' and '.join(told)}" if told else "no longer limits the site"
