"""Service of the site's own identity: its link to a backend, and the storage of its profiles.

OCPP 2.x Part 4, 6.2 (a local controller may have an identity of its own); 1.6 edition 2, 3.13.4 (a limit
for the group may be sent to it). The protocol is `site_identity.identity`.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable

import trio

from controller.backends.pool import BackendPool, LinkRequest
from controller.config import Config
from controller.model.effects import BackendLost, BackendUp, FromBackend, LogEntry, TimePassed, ToBackend
from controller.model.exception_groups import leaves
from controller.model.journal import ProfilesStored, StoredProfile
from controller.profiles.profile_messages import (
    BackendProfile,
    ProfileError,
    ProfilesAbsorbed,
    read_stored_profile,
)
from controller.services.dimming_service import DimmingService
from controller.services.load_management_service import LoadManagementService
from controller.services.policy_service import PolicyService
from controller.services.site_link_policy import SiteLinkPolicy
from controller.services.site_mailbox import SiteMailbox
from controller.services.wall_clock import utc
from controller.site_identity.group_profiles import GroupProfiles
from controller.site_identity.identity import (
    IdentityEvent,
    SiteBackendReached,
    SiteIdentity,
    SiteLimited,
    SiteReply,
    SiteRequest,
)
from controller.store.state_store import StateStore
from controller.transport.channel import Channel
from controller.transport.deadline_timer import DeadlineTimer
from controller.transport.dial import DialError
from controller.transport.transport_errors import ConnectionLostError, SendQueueFullError

UNKNOWN_VENDOR = b'{"status":"UnknownVendorId"}'
REJECTED = b'{"status":"Rejected"}'

log = logging.getLogger("controller.identity")


class SiteIdentityService:
    """The site's link to its backend: limits and commands go to load management and dimming.

    `mailbox` has the messages of other services for the backend. `answer_certificates` answers its commands
    about certificates of the controller, by action and payload.
    """

    def __init__(
        self,
        config: Config,
        firmware: str,
        pool: BackendPool,
        store: StateStore,
        mailbox: SiteMailbox,
        load_management: LoadManagementService,
        dimming: DimmingService | None = None,
        policy: PolicyService | None = None,
        answer_certificates: Callable[[str, bytes], bytes] = lambda action, payload: REJECTED,
    ) -> None:
        self._id = config.site.id
        self._version = config.site.protocol
        self._pool = pool
        self._request = LinkRequest(self._id, (self._version.value,))
        self._store = store
        self._mailbox = mailbox
        self._load_management = load_management
        self._dimming = dimming
        self._answer_certificates = answer_certificates
        root = next(circuit for circuit in config.circuit if circuit.parent is None)
        profiles = GroupProfiles(self._version, config.site.voltage, min(root.limits_a))
        profiles.restore(self._load_profiles())
        self._identity = SiteIdentity(self._version, firmware, profiles, lambda: str(uuid.uuid4()))
        self._timer = DeadlineTimer(lambda: self._identity.deadline)
        self._policy: SiteLinkPolicy | None = None
        if policy is not None:
            self._policy = SiteLinkPolicy(policy, self._version, self._id, pool.backend, self._put, utc)
        self._link: Channel | None = None
        self._scope = trio.CancelScope()

    def _load_profiles(self) -> list[BackendProfile]:
        found: list[BackendProfile] = []
        for stored in self._store.load(ProfilesStored):
            if (stored.station, stored.version) != (self._id, self._version):
                continue
            for each in stored.profiles:
                try:
                    found.append(read_stored_profile(self._version, each.evse, each.profile))
                except ProfileError as error:
                    log.warning("stored profile of the site dropped reason=%s", error)
        return found

    async def run(self) -> None:
        """Keep the link open, and the limit with or without it, until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._keep_time)
            nursery.start_soon(self._send_mail)
            self._feed(TimePassed())  # limits that were stored before a restart hold from the start
            while True:
                self._scope = trio.CancelScope()
                with self._scope:
                    await self._serve()
                if self._scope.cancelled_caught:
                    self._on_lost("it does not read")
                await self._pool.wait_ready(self._request)

    async def _serve(self) -> None:
        """Serve one link until it ends."""
        try:
            async with self._pool.hold_link(self._request, is_owner=True) as opened:
                self._link = link = opened.channel
                self._feed(BackendUp())
                while True:
                    message = await link.receive()
                    if isinstance(message, str):
                        self._on_message(message)
        except* (ConnectionLostError, DialError) as lost:
            self._on_lost("; ".join(sorted({str(each) for each in leaves(lost)})))

    def _on_lost(self, reasons: str) -> None:
        self._link = None
        log.warning("link of the site to its backend lost reason=%s", reasons)
        self._feed(BackendLost(reasons))

    def _on_message(self, text: str) -> None:
        passed = text if self._policy is None else self._policy.on_text(text, trio.current_time())
        if passed is not None:
            self._feed(FromBackend(passed))

    async def _keep_time(self) -> None:
        while True:
            await self._timer.wait_due()
            self._feed(TimePassed())

    async def _send_mail(self) -> None:
        while True:
            for message in await self._mailbox.take():
                self._feed(message)

    def _feed(self, event: IdentityEvent) -> None:
        now = trio.current_time()
        for action in self._identity.handle(event, now, utc(now)):
            match action:
                case ToBackend(text=text) if self._policy is not None:
                    self._policy.send_text(text, now)
                case ToBackend(text=text):
                    self._put(text)
                case ProfilesAbsorbed(profiles=profiles):
                    stored = tuple(StoredProfile(each.profile.evse, each.raw) for each in profiles)
                    self._store.persist_now([ProfilesStored(self._id, self._version, stored)])
                case SiteLimited():
                    log.info("limit of the site changed %s", _describe(action))
                    self._on_limit(action)
                case SiteBackendReached(there=there):
                    if self._dimming is not None:
                        self._dimming.on_backend_reached(there)
                case SiteRequest(id=id, payload=payload, action="DataTransfer"):
                    self._feed(SiteReply(id, self._answer_data_transfer(payload)))
                case SiteRequest(id=id, payload=payload, action=name):
                    self._feed(SiteReply(id, self._answer_certificates(name, payload)))
                case LogEntry(level=level, text=text):
                    log.log(level, "%s", text)
        self._timer.update()

    def _on_limit(self, limited: SiteLimited) -> None:
        """Limit the grid connection, and the controllable EVSEs where the backend may dim them."""
        whole_a = limited.lowest_a
        if self._dimming is not None:
            whole_a = self._dimming.on_site_limited(limited)
        self._load_management.set_site_limit(whole_a)

    def _answer_data_transfer(self, payload: bytes) -> bytes:
        if self._dimming is None:
            return UNKNOWN_VENDOR
        return self._dimming.answer_data_transfer(payload)

    def _put(self, text: str) -> None:
        """Send a text; a backend that does not read is disconnected."""
        if self._link is None:
            return
        try:
            self._link.send_nowait(text)
        except SendQueueFullError:
            self._scope.cancel()
        except ConnectionLostError:
            return  # its reader gets the same error


def _describe(limited: SiteLimited) -> str:
    limits = (("limit", limited.limit_a), ("outside_limit", limited.outside_a))
    return " ".join(f"{name}={'none' if amps is None else f'{amps:g}A'}" for name, amps in limits)
