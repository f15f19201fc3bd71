"""A simulated charging station over a real WebSocket, for OCPP 1.6, 2.0.1 and 2.1.

It boots once, reports its EVSEs, lets cars charge as its profiles allow, reports meter values, queues
transaction messages while its link is down, and answers commands.
"""

from __future__ import annotations

import random
import time
import uuid
from collections.abc import Callable
from urllib.parse import quote

import trio
from trio_websocket import ConnectionClosed, HandshakeError, open_websocket_url

from controller.demo.car_stay import receive_cars
from controller.demo.command_responder import CommandResponder
from controller.demo.demo_frames import SEND, Payload, PeerFrame
from controller.demo.installed_profiles import InstalledProfiles
from controller.demo.message_ledger import End, MessageLedger
from controller.demo.peer_connection import NoAnswerError, PeerConnection, closed_on_loss
from controller.demo.site_physics import VOLTAGE_V, SimulatedSite
from controller.demo.station_outbox import Outgoing, StationOutbox
from controller.demo.station_plan import StationPlan
from controller.demo.station_reports import StationReporter

RETRY_S = (1.0, 10.0)
"""Shortest and longest delay of a reconnect; it doubles in between."""

BOOT_RETRY_S = 5.0
HEARTBEAT_S = 15.0
STREAM_S = 12.0


class SimulatedStation:
    """Simulated station, connected to the physics by its EVSEs and to the controller by a WebSocket.

    `utc` is the true clock (POSIX s).
    """

    def __init__(
        self,
        plan: StationPlan,
        site: SimulatedSite,
        ledger: MessageLedger,
        seed: int,
        utc: Callable[[], float] = time.time,
    ) -> None:
        self.plan = plan
        self.outbox = StationOutbox()
        self._site, self._ledger = site, ledger
        self._evses = {evse.key[1]: site.evses[evse.key] for evse in plan.evses}
        self._reporter = StationReporter(plan, self.outbox, utc)
        self._responder = CommandResponder(InstalledProfiles(VOLTAGE_V))
        self._seed = f"{seed}/{plan.id}"
        self._dice = random.Random(self._seed)
        self.booted = False
        """A backend has accepted the station."""

    def apply_limits(self) -> None:
        """Set the EVSEs' limits of this moment from the profiles."""
        for number, evse in self._evses.items():
            evse.limit_a = self._responder.limit_a(number, self._reporter.utc())

    async def run(self, url: str) -> None:
        """Run until cancelled; `url` is the controller's, without the station's id."""
        async with trio.open_nursery() as nursery:
            for number, evse in self._evses.items():
                nursery.start_soon(
                    receive_cars,
                    f"{self._seed}/{number}",
                    evse,
                    self._reporter,
                    self._responder,
                    self.plan.meter_s,
                )
            nursery.start_soon(self._keep_connected, f"{url}/{quote(self.plan.id, safe='')}")

    async def _keep_connected(self, url: str) -> None:
        wait_s = RETRY_S[0]
        while True:
            try:
                async with open_websocket_url(url, subprotocols=[self.plan.version]) as socket:
                    wait_s = RETRY_S[0]
                    plan = self.plan
                    connection = PeerConnection(
                        End.STATION, plan.id, socket, self._ledger, plan.style, plan.counts
                    )
                    await self._serve_connection(connection)
            except (HandshakeError, ConnectionClosed, OSError, trio.BrokenResourceError):
                wait_s = min(2 * wait_s, RETRY_S[1])
            await self._wait_while_away()
            await trio.sleep(wait_s * self._dice.uniform(0.5, 1.0))

    async def _serve_connection(self, connection: PeerConnection) -> None:
        """Run all tasks of a link; returns when it is lost."""
        try:
            async with closed_on_loss(connection, self._ledger) as nursery:
                nursery.start_soon(connection.listen, self._answer)
                nursery.start_soon(self._send_messages, connection)
                nursery.start_soon(self._send_heartbeats)
                nursery.start_soon(self._disconnect_as_planned, nursery.cancel_scope)
                if self.plan.version == "ocpp2.1":
                    nursery.start_soon(self._send_stream, connection)
        finally:
            self.outbox.link_lost()

    async def _disconnect_as_planned(self, scope: trio.CancelScope) -> None:
        """Close the link at the planned time."""
        if self.plan.away is not None and self._site.now < self.plan.away[0]:
            await trio.sleep(self.plan.away[0] - self._site.now)
            scope.cancel()

    async def _wait_while_away(self) -> None:
        """Wait until the planned absence is over."""
        if self.plan.away is not None:
            begins, lasts = self.plan.away
            if begins <= self._site.now < begins + lasts:
                await trio.sleep(begins + lasts - self._site.now)

    async def _send_messages(self, connection: PeerConnection) -> None:
        """Boot if needed, report the EVSEs' states, then send what is queued."""
        while not self.booted:
            result = await connection.ask(*self._reporter.dialect.boot(self.plan.identity))
            self.booted = result is not None and result["status"] == "Accepted"
            if not self.booted:
                await trio.sleep(BOOT_RETRY_S)
        self.outbox.online = True
        for evse, state in list(self._reporter.states.items()):
            await connection.ask(*self._reporter.dialect.status(evse, state, self._reporter.when()))
        while True:
            await self._deliver(connection, await self.outbox.first())

    async def _deliver(self, connection: PeerConnection, outgoing: Outgoing) -> None:
        """Send the first queued message, again with its old id if ids are unique across links."""
        if not outgoing.message_id or self.plan.counts:
            outgoing.message_id = connection.new_id()
        try:
            result = await connection.ask(*outgoing.message, outgoing.message_id)
        except NoAnswerError:
            if outgoing.kept:
                raise  # the message is sent again on a new link
            result = None
        self.outbox.settle(outgoing, result)

    async def _answer(self, frame: PeerFrame) -> Payload | None:
        answer = self._responder.answer(frame.action, frame.payload, self._reporter.utc())
        if answer is None:
            return None
        self.apply_limits()
        if answer.triggered == "Heartbeat":
            self._reporter.heartbeat()
        elif answer.triggered == "StatusNotification":
            for evse, state in list(self._reporter.states.items()):
                self._reporter.state(evse, state)
        return answer.payload

    async def _send_heartbeats(self) -> None:
        while True:
            await trio.sleep(HEARTBEAT_S * self._dice.uniform(0.8, 1.2))
            self._reporter.heartbeat()

    async def _send_stream(self, connection: PeerConnection) -> None:
        """Send values without an answer as SEND frames (OCPP 2.1 Part 4, section 4.2.5)."""
        while not self.outbox.closed:
            await trio.sleep(STREAM_S * self._dice.uniform(0.8, 1.2))
            payload = {
                "id": 1,
                "pending": 0,
                "basetime": self._reporter.when(),
                "data": [{"t": 0, "v": f"{VOLTAGE_V + self._dice.uniform(-2, 2):.1f}"}],
            }
            await connection.send(
                connection.style.write(SEND, str(uuid.uuid4()), "NotifyPeriodicEventStream", payload)
            )
