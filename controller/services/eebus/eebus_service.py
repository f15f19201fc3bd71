"""EEBUS node at work: connections, discovery, trust and time around the sans-IO node of `drivers.eebus`."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from math import inf

import msgspec
import trio
from msgspec.structs import replace

from controller.config.schema import Config, EebusConfig
from controller.services.eebus.eebus_connections import EebusConnections, EebusListenError, back_off_s
from controller.services.eebus.eebus_discovery import EebusDiscovery
from controller.services.eebus.eebus_identity import EebusIdentity, grid_meter, make_node
from controller.services.eebus.eebus_limits import EebusLimits
from controller.services.eebus.eebus_partners import EebusPartners, read_ski
from controller.services.eebus.eebus_status import EebusStatus, make_status
from controller.services.machine.control_socket import Command, ControlError
from controller.transport.deadline_timer import DeadlineTimer
from drivers.coded_text import coded, decimal
from drivers.eebus.eebus_node import (
    CloseConnection,
    GuardHeartbeat,
    LimitRequested,
    MessageRefused,
    NodeEffect,
    PartnerReady,
    SendMessage,
    ShipIdLearned,
    TrustRequested,
)
from drivers.eebus.ship import Role
from drivers.reading import MeterState, Quality

log = logging.getLogger("controller.eebus")

LONGEST_REGISTRATION_S = 3600.0
LONGEST_REASON = 200
LISTEN_RETRY_S = 30.0
FAILED_STEP_S = 1.0
LOG_EVERY_S = 5.0
"""Least time between two logged messages that were refused; all are counted."""


class EebusService:
    """The node of one site. `utc_of` turns monotonic s into POSIX s; once it runs, `port` is bound."""

    def __init__(
        self,
        config: Config,
        eebus: EebusConfig,
        identity: EebusIdentity,
        partners: EebusPartners,
        limits: EebusLimits,
        version: str,
        utc_of: Callable[[float], float],
    ) -> None:
        self.port = 0
        self._eebus = eebus
        self._announcement = identity.announcement
        self._partners = partners
        self._limits = limits
        self._utc_of = utc_of
        self._meter = grid_meter(config)
        now = trio.current_time()
        self._node = make_node(
            config,
            eebus,
            self._announcement,
            limits.views,
            partners.trusted,
            version,
            now,
            utc_of(now),
        )
        self._views = limits.views
        self._connections = EebusConnections(identity.key, identity.certificate, self)
        self._discovery = EebusDiscovery(
            self._announcement, eebus.host, lambda: self.port, self._wake_dialing
        )
        self._timer = DeadlineTimer(self._deadline)
        self._dial_timer = DeadlineTimer(self._next_dial)
        self._dials: dict[str, _Dial] = {}
        self._turn = trio.StrictFIFOLock()
        """Held while a message is processed: the node answers one write before it takes the next."""
        self._make_answer: Callable[[], list[NodeEffect]] | None = None
        """Makes the answer to the write in the message that is processed."""
        self._listened = trio.Event()
        self._register_until = -inf
        self._messages_refused = 0
        self._logged_at = -inf

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run until cancelled; started once partners can connect, or the port could not be opened."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._keep_time)
            nursery.start_soon(self._keep_dialing, nursery)
            nursery.start_soon(self._keep_listening)
            await self._listened.wait()
            if self._eebus.discovery:
                nursery.start_soon(self._discovery.run)
            task_status.started()

    async def _keep_listening(self) -> None:
        """Listen; a port that cannot be opened is tried again, and the site runs on."""
        while True:
            try:
                await self._connections.listen(self._eebus.host, self._eebus.port, self._on_bound)
            except EebusListenError as error:
                log.error("%s", error)
            self._listened.set()
            await trio.sleep(LISTEN_RETRY_S)

    def _on_bound(self, port: int) -> None:
        self.port = port
        log.info("EEBUS node ready port=%d ski=%s", port, self._announcement.ski)
        self._discovery.announce(self._announcement)
        self._listened.set()

    # -- connections: see ConnectionHandler -----------------------------------------------------------

    def on_open(self, name: str, role: Role, ski: str) -> None:
        """Process a WebSocket that was opened."""
        self._do(self._node.open(name, role, ski, trio.current_time()))

    async def on_message(self, name: str, message: bytes) -> None:
        """Process a binary message; a write in it is answered once it is stored."""
        async with self._turn:
            now = trio.current_time()
            self._pass_time(now)
            self._do(self._node.receive(name, message, now, self._utc_of(now)))
            if self._make_answer is None:
                return
            make_answer, self._make_answer = self._make_answer, None
            await self._limits.wait_stored()
            self._do(make_answer())

    def on_lost(self, name: str) -> None:
        """Process the end of a connection."""
        self._node.lost(name)
        self._wake_dialing()

    # -- the site -------------------------------------------------------------------------------------

    def on_metered(self, state: MeterState) -> None:
        """Process a reading of a meter, or that it cannot be read."""
        if state.meter == self._meter:
            reading = state.reading if state.quality is Quality.GOOD else None
            now = trio.current_time()
            self._do(self._node.update_reading(reading, now, self._utc_of(now)))

    def status(self) -> EebusStatus:
        """Return the status now."""
        now = trio.current_time()
        return make_status(
            self._announcement,
            self._limits.views,
            self._partners.trusted,
            self._node.partners,
            now,
            register_s=self._register_until - now,
            totals={
                "accepted_total": self._limits.accepted,
                "refused_total": self._limits.refused,
                "messages_refused_total": self._messages_refused,
                "connections_total": self._connections.opened,
            },
        )

    @property
    def commands(self) -> dict[str, Command]:
        """Commands of the control socket."""
        return {
            "eebus.status": lambda _: msgspec.to_builtins(self.status()),
            "eebus.pair": self._on_pair,
            "eebus.unpair": self._on_unpair,
            "eebus.register": self._on_register,
            "eebus.suspend": self._on_suspend,
            "eebus.resume": lambda _: self._set_obstacle(""),
        }

    def _on_pair(self, request: Mapping[str, object]) -> object:
        ski = read_ski(request)
        self._accept(ski)
        return {"ski": ski}

    def _on_unpair(self, request: Mapping[str, object]) -> object:
        ski = read_ski(request)
        configured = self._partners.remove(ski)
        self._dials.pop(ski, None)
        self._do(self._node.revoke(ski, trio.current_time()))
        return {"ski": ski, "configured": configured}

    def _on_register(self, request: Mapping[str, object]) -> object:
        seconds = request.get("seconds")
        if not isinstance(seconds, int | float) or not 0 <= seconds <= LONGEST_REGISTRATION_S:
            raise ControlError(
                coded(
                    "seconds: a number from 0 to {most}",
                    most=decimal(LONGEST_REGISTRATION_S),
                )
            )
        self._register_until = trio.current_time() + seconds
        self._announce_register()
        return {"seconds": seconds}

    def _on_suspend(self, request: Mapping[str, object]) -> object:
        reason = str(request.get("reason", ""))[:LONGEST_REASON].strip()
        if not reason:
            raise ControlError(coded("reason: why active limits cannot be obeyed"))
        return self._set_obstacle(reason)

    def _set_obstacle(self, obstacle: str) -> object:
        self._limits.set_obstacle(obstacle)
        self._do([])
        return {"obstacle": obstacle}

    def _accept(self, ski: str) -> None:
        self._partners.accept(ski)
        self._do(self._node.trust(ski, trio.current_time()))
        self._wake_dialing()

    # -- effects --------------------------------------------------------------------------------------

    def _do(self, effects: list[NodeEffect]) -> None:
        for effect in effects:
            match effect:
                case SendMessage(connection=name, message=message):
                    self._connections.send(name, message)
                case CloseConnection(connection=name, code=code, reason=reason):
                    self._connections.close(name, code, reason)
                case TrustRequested(ski=ski):
                    self._on_trust_requested(ski)
                case ShipIdLearned(ski=ski, ship_id=ship_id):
                    self._partners.learn_ship_id(ski, ship_id)
                case PartnerReady(ski=ski):
                    log.info("EEBUS partner connected ski=%s", ski)
                    self._dials.pop(ski, None)
                case GuardHeartbeat():
                    self._limits.on_heartbeat()
                case LimitRequested():
                    self._on_limit(effect)
                case MessageRefused(connection=name, reason=reason):
                    self._on_refused(name, reason)
        self._update_views()
        self._timer.update()

    def _on_limit(self, request: LimitRequested) -> None:
        answered = self._limits.decide(request, self._node.ski_of(request.session))
        direction = request.direction
        # A change of the other direction is left to `_update_views`, which notifies the node of it.
        self._views = {**self._views, direction: self._limits.views[direction]}
        self._make_answer = lambda: self._node.answer_request(answered, self._views[direction])

    def _update_views(self) -> None:
        """Notify the node of states that have changed by themselves."""
        views = self._limits.views
        changed = [direction for direction, view in views.items() if view != self._views[direction]]
        self._views = views
        for direction in changed:
            self._do(self._node.update_view(direction, views[direction]))

    def _on_trust_requested(self, ski: str) -> None:
        if trio.current_time() < self._register_until:
            try:
                self._accept(ski)
            except ControlError as error:
                log.error("EEBUS partner not accepted ski=%s reason=%s", ski, error)
            self._register_until = -inf
            self._announce_register()
            return
        log.warning(
            "EEBUS partner waits to be accepted ski=%s; if it is the control box of your grid operator: "
            "local-controller eebus pair %s",
            ski,
            ski,
        )

    def _on_refused(self, name: str, reason: str) -> None:
        self._messages_refused += 1
        now = trio.current_time()
        if now >= self._logged_at + LOG_EVERY_S:
            self._logged_at = now
            log.warning(
                "EEBUS message refused connection=%s ski=%s total=%d reason=%s",
                name,
                self._node.ski_of(name),
                self._messages_refused,
                reason[:LONGEST_REASON],
            )

    # -- time -----------------------------------------------------------------------------------------

    def _deadline(self) -> float:
        if self._limits.views != self._views:
            # The timer of dimming is due at the same moment. When it is first, the deadline of the machine is
            # already the next one, and the node has yet to be notified of the change.
            return -inf
        times = [self._node.deadline]
        if (due := self._limits.deadline) is not None:
            times.append(due)
        if self._announced_register:
            times.append(self._register_until)
        return min(times)

    def _pass_time(self, now: float) -> None:
        """Let limits end that are over: what a write leaves out is taken from the state at `now`."""
        if (due := self._limits.deadline) is not None and due <= now:
            self._limits.on_tick()
        self._update_views()

    async def _keep_time(self) -> None:
        while True:
            await self._timer.wait_due()
            now = trio.current_time()
            try:
                self._limits.on_tick()
                self._do(self._node.tick(now, self._utc_of(now)))
            except Exception:  # a fault that a partner has caused does not end the site
                log.exception("EEBUS step failed")
                await trio.sleep(FAILED_STEP_S)
            if self._announced_register and now >= self._register_until:
                self._announce_register()

    @property
    def _announced_register(self) -> bool:
        return self._announcement.register

    def _announce_register(self) -> None:
        register = trio.current_time() < self._register_until
        if register != self._announcement.register:
            self._announcement = replace(self._announcement, register=register)
            self._discovery.announce(self._announcement)
        log.info("EEBUS registration %s", "open" if register else "closed")
        self._timer.update()

    # -- dialing --------------------------------------------------------------------------------------

    def _wake_dialing(self) -> None:
        self._dial_timer.update()

    def _next_dial(self) -> float | None:
        """Time of the next attempt to dial a partner that can be reached and is not connected."""
        now = trio.current_time()
        times = [
            dial.due
            for ski in self._partners.trusted
            if not (dial := self._dials.setdefault(ski, _Dial(due=now + back_off_s(0)))).active
            and not self._node.is_connected(ski)
            and self._partners.target(ski, self._discovery.found) is not None
        ]
        return min(times, default=None)

    async def _keep_dialing(self, nursery: trio.Nursery) -> None:
        while True:
            await self._dial_timer.wait_due()
            now = trio.current_time()
            for ski, dial in self._dials.items():
                if dial.due <= now and not dial.active and not self._node.is_connected(ski):
                    dial.active = True
                    nursery.start_soon(self._dial, ski, dial)

    async def _dial(self, ski: str, dial: _Dial) -> None:
        target = self._partners.target(ski, self._discovery.found)
        if target is not None and ski in self._partners.trusted:
            reason = await self._connections.dial(ski, target)
            if reason:
                level = logging.WARNING if dial.attempt == 0 else logging.DEBUG
                log.log(level, "EEBUS partner not reached ski=%s host=%s reason=%s", ski, target.host, reason)
        dial.attempt += 1
        dial.due = trio.current_time() + back_off_s(dial.attempt)
        dial.active = False
        self._wake_dialing()


class _Dial(msgspec.Struct):
    """Attempts to dial a partner: when the next is due, and whether one is running."""

    due: float
    attempt: int = 0
    active: bool = False
