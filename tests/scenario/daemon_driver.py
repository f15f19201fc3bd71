"""Daemon driver: the whole controller in process, with its peers over loopback sockets and real time."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import trio
from trio_websocket import (
    ConnectionClosed,
    WebSocketConnection,
    WebSocketRequest,
    connect_websocket_url,
    serve_websocket,
)

from controller.config import Config
from controller.services import app
from controller.services.app import App
from drivers.meter_model import load_model
from drivers.simulated import Fault, SimulatedMeter, serve_tcp
from tests.scenario.peers import Csms, Peer, Station
from tests.scenario.scenario_site import ScenarioSite, SiteSpec, build_config

PATIENCE_S = 20.0
"""Real time that a verb waits."""
METER_MODEL = "janitza-umg604"
MEASURE_S = 0.2
"""Interval in which the currents of the cars are measured."""


class RealClock:
    """The real time; a condition is checked whenever a peer has received something, and at times."""

    def __init__(self) -> None:
        self._changed = trio.Event()

    def utc(self) -> datetime:
        """Return the time of day."""
        return datetime.now(UTC)

    def note_change(self) -> None:
        """Check the conditions of all verbs that wait."""
        self._changed.set()
        self._changed = trio.Event()

    async def wait_until(self, is_reached: Callable[[], bool], expected: str) -> None:
        """Wait until the condition holds. Raises AssertionError after PATIENCE_S."""
        with trio.move_on_after(PATIENCE_S):
            while not is_reached():
                with trio.move_on_after(MEASURE_S):  # limits also end by themselves
                    await self._changed.wait()
            return
        raise AssertionError(f"did not come in {PATIENCE_S:g} s: {expected}")


class _SocketLine:
    """An end of a WebSocket: texts are sent in order by `run`."""

    def __init__(self, socket: WebSocketConnection, clock: RealClock) -> None:
        self._socket = socket
        self._clock = clock
        self._queued, self._queue = trio.open_memory_channel[str | None](math.inf)

    def send_text(self, text: str) -> None:
        """Queue a text."""
        self._queued.send_nowait(text)

    def close(self) -> None:
        """Close the socket once all texts are sent."""
        self._queued.send_nowait(None)

    async def run(self, peer: Peer) -> None:
        """Pass texts to the peer and send its own until the link ends."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._send_texts, nursery.cancel_scope)
            with suppress(ConnectionClosed):
                while True:
                    message = await self._socket.get_message()
                    assert isinstance(message, str)
                    peer.on_text(message)
                    self._clock.note_change()
            nursery.cancel_scope.cancel()
        if peer.line is self:
            peer.on_closed()
            self._clock.note_change()

    async def _send_texts(self, link: trio.CancelScope) -> None:
        with suppress(ConnectionClosed):
            async for text in self._queue:
                if text is None:
                    await self._socket.aclose()
                    break
                await self._socket.send_message(text)
        link.cancel()


class DaemonSite(ScenarioSite):
    """A running App with its peers; `app` is the one that runs now."""

    def __init__(self, spec: SiteSpec, folder: Path, nursery: trio.Nursery) -> None:
        self._clock = RealClock()
        super().__init__(spec, self._clock)
        self._folder = folder
        self._nursery = nursery
        self._ports: dict[str, int] = {}
        self._meter_port = 1
        self._registers = SimulatedMeter(load_model(METER_MODEL), 1)
        self._running: trio.CancelScope | None = None
        self._ended = trio.Event()
        self.app: App | None = None

    async def start(self) -> None:
        """Start the CSMSs, the meter and the controller."""
        for csms in self.backends:
            server = await self._nursery.start(
                partial(serve_websocket, partial(self._serve_csms, csms), "127.0.0.1", 0, None)
            )
            self._ports[csms.name] = server.port
        if self.spec.has_grid_operator:
            self.csms.answer_automatically()
        if self.spec.has_meter:
            self._meter_port = await self._nursery.start(serve_tcp, self._registers)
            self._nursery.start_soon(self._measure)
        self.app = await self._nursery.start(self._run_app)

    async def _run_app(self, *, task_status: trio.TaskStatus[App]) -> None:
        self._ended = trio.Event()
        with trio.CancelScope() as self._running:
            await app.run(self._build_config(), task_status=task_status)
        self._ended.set()

    def _build_config(self) -> Config:
        author = self.grid_operator.author
        return build_config(self.spec, self._folder, author, self._ports, self._meter_port)

    def apply_spec(self) -> None:
        """Apply the configuration; see ScenarioSite."""
        assert self.app is not None
        self.app.apply_configuration(self._build_config())

    async def restart(self) -> None:
        """Start the controller again; see ScenarioSite."""
        assert self._running is not None
        self._running.cancel()
        await self._ended.wait()
        self.app = await self._nursery.start(self._run_app)

    async def connect_station(self, name: str = "CS01") -> Station:
        """Connect a station; see ScenarioSite."""
        assert self.app is not None
        station = self._stations[name]
        socket = await connect_websocket_url(
            self._nursery,
            f"ws://127.0.0.1:{self.app.port}/ocpp/{name}",
            subprotocols=[self.spec.version],
        )
        line = _SocketLine(socket, self._clock)
        station.line = line
        self._nursery.start_soon(line.run, station)
        return station

    async def _serve_csms(self, csms: Csms, request: WebSocketRequest) -> None:
        if csms.is_away:
            await request.reject(503)
            return
        socket = await request.accept(subprotocol=request.proposed_subprotocols[0])
        line = _SocketLine(socket, self._clock)
        link = csms.accept(request.path.rsplit("/", 1)[-1], line)
        self._clock.note_change()
        await line.run(link)

    async def _measure(self) -> None:
        while True:
            amps = self.meter.total_a(self.stations)
            self._registers.fault = Fault.SILENT if self.meter.has_failed else None
            self._registers.set_values(
                {f"current_l{phase}": value for phase, value in enumerate(amps, start=1)}
                | {f"power_l{phase}": 230.0 * value for phase, value in enumerate(amps, start=1)}
                | {f"voltage_l{phase}": 230.0 for phase in (1, 2, 3)}
                | {"power_total": 230.0 * sum(amps)}
            )
            await trio.sleep(MEASURE_S)


@asynccontextmanager
async def run_daemon_site(spec: SiteSpec, folder: Path) -> AsyncIterator[DaemonSite]:
    """Run a site inside the block."""
    async with trio.open_nursery() as nursery:
        site = DaemonSite(spec, folder, nursery)
        await site.start()
        yield site
        nursery.cancel_scope.cancel()
