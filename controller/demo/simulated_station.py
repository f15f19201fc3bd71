"""A simulated charging station over a real WebSocket, for OCPP 1.6, 2.0.1 and 2.1.

It boots once, reports its outlets, lets cars charge as its profiles allow, tells what their meters show,
keeps the messages of transactions while its link is away, and answers commands.
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
from controller.demo.peer_connection import NoAnswerError, PeerConnection, until_lost
from controller.demo.site_physics import VOLTAGE_V, SimulatedSite
from controller.demo.station_outbox import Outgoing, StationOutbox
from controller.demo.station_plan import StationPlan
from controller.demo.station_reports import StationReporter

RETRY_S = (1.0, 10.0)
"""The shortest and the longest wait before the next try to connect; it doubles in between."""

BOOT_RETRY_S = 5.0
HEARTBEAT_S = 15.0
STREAM_S = 12.0


class SimulatedStation:
    """One station, plugged into the physics by its outlets and into the world by its WebSocket.

    `utc` is the world's clock (POSIX s).
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
        self._outlets = {outlet.key[1]: site.outlets[outlet.key] for outlet in plan.outlets}
        self._voice = StationReporter(plan, self.outbox, utc)
        self._desk = CommandResponder(InstalledProfiles(VOLTAGE_V))
        self._seed = f"{seed}/{plan.id}"
        self._dice = random.Random(self._seed)
        self.booted = False
        """Whether a backend has accepted it."""

    def apply_limits(self) -> None:
        """Set what the outlets may take at this moment, from the profiles."""
        for evse, outlet in self._outlets.items():
            outlet.limit_a = self._desk.limit_a(evse, self._voice.utc())

    async def run(self, url: str) -> None:
        """Live until cancelled; `url` is the controller's, without the station's id."""
        async with trio.open_nursery() as nursery:
            for evse, outlet in self._outlets.items():
                nursery.start_soon(
                    receive_cars, f"{self._seed}/{evse}", outlet, self._voice, self._desk, self.plan.meter_s
                )
            nursery.start_soon(self._keep_connected, f"{url}/{quote(self.plan.id, safe='')}")

    async def _keep_connected(self, url: str) -> None:
        wait_s = RETRY_S[0]
        while True:
            try:
                async with open_websocket_url(url, subprotocols=[self.plan.version]) as socket:
                    wait_s = RETRY_S[0]
                    plan = self.plan
                    line = PeerConnection(End.STATION, plan.id, socket, self._ledger, plan.hand, plan.counts)
                    await self._converse(line)
            except (HandshakeError, ConnectionClosed, OSError, trio.BrokenResourceError):
                wait_s = min(2 * wait_s, RETRY_S[1])
            await self._stay_away()
            await trio.sleep(wait_s * self._dice.uniform(0.5, 1.0))

    async def _converse(self, line: PeerConnection) -> None:
        """Everything that goes on while there is a link; returns when it is lost."""
        try:
            async with until_lost(line, self._ledger) as nursery:
                nursery.start_soon(line.listen, self._answer)
                nursery.start_soon(self._talk, line)
                nursery.start_soon(self._beat)
                nursery.start_soon(self._vanish, nursery.cancel_scope)
                if self.plan.version == "ocpp2.1":
                    nursery.start_soon(self._stream, line)
        finally:
            self.outbox.link_lost()

    async def _vanish(self, scope: trio.CancelScope) -> None:
        """End the link when the plan says so."""
        if self.plan.away is not None and self._site.now < self.plan.away[0]:
            await trio.sleep(self.plan.away[0] - self._site.now)
            scope.cancel()

    async def _stay_away(self) -> None:
        """Stay away as long as the plan says."""
        if self.plan.away is not None:
            begins, lasts = self.plan.away
            if begins <= self._site.now < begins + lasts:
                await trio.sleep(begins + lasts - self._site.now)

    async def _talk(self, line: PeerConnection) -> None:
        """Boot if it must, tell the outlets' states, then whatever is in line."""
        while not self.booted:
            result = await line.ask(*self._voice.talk.boot(self.plan.make))
            self.booted = result is not None and result["status"] == "Accepted"
            if not self.booted:
                await trio.sleep(BOOT_RETRY_S)
        self.outbox.online = True
        for evse, state in list(self._voice.states.items()):
            await line.ask(*self._voice.talk.status(evse, state, self._voice.when()))
        while True:
            await self._deliver(line, await self.outbox.first())

    async def _deliver(self, line: PeerConnection, outgoing: Outgoing) -> None:
        """Send the first message in line, again with its old id where its ids are unique beyond the link."""
        if not outgoing.message_id or self.plan.counts:
            outgoing.message_id = line.new_id()
        try:
            result = await line.ask(*outgoing.said, outgoing.message_id)
        except NoAnswerError:
            if outgoing.kept:
                raise  # this link is of no use: the message goes again on a new one
            result = None
        self.outbox.settle(outgoing, result)

    async def _answer(self, frame: PeerFrame) -> Payload | None:
        answer = self._desk.answer(frame.action, frame.payload, self._voice.utc())
        if answer is None:
            return None
        self.apply_limits()
        if answer.triggered == "Heartbeat":
            self._voice.heartbeat()
        elif answer.triggered == "StatusNotification":
            for evse, state in list(self._voice.states.items()):
                self._voice.state(evse, state)
        return answer.payload

    async def _beat(self) -> None:
        while True:
            await trio.sleep(HEARTBEAT_S * self._dice.uniform(0.8, 1.2))
            self._voice.heartbeat()

    async def _stream(self, line: PeerConnection) -> None:
        """2.1: values that want no answer, as SEND frames (OCPP 2.1 Part 4, section 4.2.5)."""
        while not self.outbox.closed:
            await trio.sleep(STREAM_S * self._dice.uniform(0.8, 1.2))
            payload = {
                "id": 1,
                "pending": 0,
                "basetime": self._voice.when(),
                "data": [{"t": 0, "v": f"{VOLTAGE_V + self._dice.uniform(-2, 2):.1f}"}],
            }
            await line.send(line.hand.write(SEND, str(uuid.uuid4()), "NotifyPeriodicEventStream", payload))
