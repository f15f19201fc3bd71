"""Service of the site's own identity: executes the effects of its protocol and of its signature policy.

OCPP 2.x Part 4, 6.2 (a local controller may have an identity of its own); 1.6 edition 2, 3.13.4 (a limit
for the group may be sent to it). The protocol is `site_identity.identity`, the policy on its link
`site_identity.site_link_policy`; both are sans-IO.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Awaitable, Callable, Sequence

import msgspec
import trio

from controller.model.effects import FromBackend, LogEntry, TimePassed, ToBackend
from controller.model.journal import Persist, ProfilesStored
from controller.ocpp.frames import Call, CallResult, parse, result_frame
from controller.services.machine.wall_clock import utc
from controller.services.signing.policy_service import PolicyService
from controller.services.site_identity.site_link import LinkEvent, SiteLink
from controller.services.site_identity.site_mailbox import SiteMailbox
from controller.site_identity.identity import (
    IdentityAction,
    IdentityEvent,
    OwnFrame,
    SiteBackendReached,
    SiteFrame,
    SiteIdentity,
    SiteIdentitySettings,
    SiteLimited,
    SiteReply,
    SiteRequest,
)
from controller.site_identity.site_link_policy import LinkAction, PolicyRequest, SiteLinkPolicy
from controller.store.state_journal import StoreError
from controller.store.state_store import StateStore
from controller.transport.deadline_timer import DeadlineTimer

log = logging.getLogger("controller.identity")

CLOCK_CHECK_S = 10.0
"""Interval (s) of checks of the clock: one that was set changes which limit of the backend holds."""


class SiteReceivers(msgspec.Struct, frozen=True, kw_only=True):
    """Receivers of what the backend sends to the site.

    `answer_request` returns the response payload to a CALL, by action and payload.
    """

    on_limit: Callable[[SiteLimited], None]
    on_reached: Callable[[bool], None]
    answer_request: Callable[[str, bytes], Awaitable[bytes]]


class SiteIdentityService:
    """The site as a station of its backend. `mailbox` has the messages of other services for it.

    `read_clock_state`: returns True while the gateway's clock is synchronised. `last_write`: time of the last
    write before the restart (POSIX s); None: there was none.
    """

    def __init__(
        self,
        settings: SiteIdentitySettings,
        link: SiteLink,
        store: StateStore,
        mailbox: SiteMailbox,
        receivers: SiteReceivers,
        policy_service: PolicyService | None,
        read_clock_state: Callable[[], bool],
        last_write: float | None,
    ) -> None:
        self._link = link
        self._store = store
        self._mailbox = mailbox
        self._receivers = receivers
        self._policy_service = policy_service
        self._read_clock_state = read_clock_state
        self._policy: SiteLinkPolicy | None = None
        if policy_service is not None:
            self._policy = SiteLinkPolicy(
                policy_service.enforcer, settings.version, settings.id, link.backend
            )
        self._identity = SiteIdentity(settings, lambda: str(uuid.uuid4()))
        last_clock = None if last_write is None else last_write - trio.current_time()
        for entry in self._identity.restore(store.load(ProfilesStored), last_clock):
            log.log(entry.level, "%s", entry.text)
        self._timer = DeadlineTimer(lambda: self._identity.deadline)
        self._turn = trio.StrictFIFOLock()
        """Held while the effects of one event are executed: they may wait for the store."""

    async def run(self) -> None:
        """Keep the link open, and the limit with or without it, until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._keep_time)
            nursery.start_soon(self._send_mail)
            # Limits that were stored before a restart hold from the start.
            await self._handle(TimePassed())
            nursery.start_soon(self._link.run, self._on_link_event)

    async def _keep_time(self) -> None:
        while True:
            with trio.move_on_after(CLOCK_CHECK_S):
                await self._timer.wait_due()
            await self._handle(TimePassed())

    async def _send_mail(self) -> None:
        while True:
            for message in await self._mailbox.take_messages():
                await self._handle(message)

    async def _on_link_event(self, event: LinkEvent) -> None:
        if not isinstance(event, FromBackend):
            await self._handle(event)
            return
        received, policy = SiteFrame(parse(event.text)), self._policy
        if policy is None:
            await self._handle(received)
            return
        async with self._turn:
            try:  # what passes goes to the identity
                await self._execute(policy.check_frame(received, utc(trio.current_time())))
            except StoreError as error:
                log.error("message to the site rejected, it cannot be stored reason=%s", error)
                await self._execute(policy.reject_unstored(received))

    async def _handle(self, event: IdentityEvent) -> None:
        async with self._turn:
            await self._pass_event(event)

    async def _pass_event(self, event: IdentityEvent) -> None:
        """Pass an event to the identity and execute what follows; the messages are signed by policy."""
        now = trio.current_time()
        is_synchronised = self._read_clock_state()
        actions = self._identity.handle(event, now, utc(now), is_synchronised=is_synchronised)
        self._timer.update()
        await self._execute(actions)

    async def _execute(self, actions: Sequence[IdentityAction | LinkAction]) -> None:
        """Execute effects in their order. Raises StoreError where one cannot be durable."""
        for action in actions:
            match action:
                case Persist(records=records):
                    await self._store.persist(records)
                case OwnFrame(frame=frame):
                    self._send_signed(frame)
                case ToBackend(text=text):
                    self._link.send(text)
                case SiteFrame():
                    await self._pass_event(action)
                case PolicyRequest():
                    await self._change_policy(action)
                case SiteLimited():
                    log.info("limit of the site changed %s", _describe(action))
                    self._receivers.on_limit(action)
                case SiteBackendReached(there=there):
                    self._receivers.on_reached(there)
                case SiteRequest(id=id, payload=payload, action=name):
                    await self._pass_event(SiteReply(id, await self._receivers.answer_request(name, payload)))
                case LogEntry(level=level, text=text):
                    log.log(level, "%s", text)

    async def _change_policy(self, request: PolicyRequest) -> None:
        assert self._policy_service is not None  # without a policy nothing is taken for a request
        answer = await self._policy_service.answer_policy_message(
            request.action, request.payload, request.decision
        )
        self._send_signed(result_frame(request.id, answer))

    def _send_signed(self, frame: Call | CallResult) -> None:
        """Send a message of ours, signed where the policy requires it."""
        if self._policy is None:
            self._link.send(frame.text)
            return
        signed = self._policy.sign_frame(frame, utc(trio.current_time()))
        for entry in signed.effects:
            log.log(entry.level, "%s", entry.text)
        self._link.send(signed.text)


def _describe(limited: SiteLimited) -> str:
    limits = (("limit", limited.limit_a), ("outside_limit", limited.outside_a))
    return " ".join(f"{name}={'none' if amps is None else f'{amps:.1f}A'}" for name, amps in limits)
