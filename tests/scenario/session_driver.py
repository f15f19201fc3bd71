"""Session driver: the sessions and services of the controller over memory streams, in virtual time.

    Station --VirtualChannel--> StationService, its sessions and relays --VirtualChannel--> Csms

Listener, dials, meter polls and threads are replaced; everything between them is the controller's own.
Needs a trio clock that jumps when all tasks wait (`trio.testing.MockClock`).
"""

from __future__ import annotations

import math
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta, tzinfo
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

from controller.backends.pool import BackendPool, EndpointAnswer, LinkRequest
from controller.config import Config
from controller.services import app
from controller.services.backends.connection_settings import EndpointFactory, Endpoints
from controller.stations.admission import Admission, Rejection
from controller.stations.listener import StationHost
from controller.transport.channel import VirtualChannel
from controller.transport.dial import DialError
from controller.transport.transport_errors import ConnectionLostError
from drivers.meter_service import MeterFleet
from drivers.reading import MeterState, Quality, Reading
from tests.scenario.peers import Csms, Peer, Station
from tests.scenario.scenario_site import METER, ScenarioSite, SiteSpec, build_config

PATIENCE_S = 600.0
"""Virtual time that a verb waits."""
CHECK_S = 0.2
"""Interval in which a condition is checked without a text: limits also end by themselves."""
METER_INTERVAL_S = 0.5
START = datetime(2026, 11, 30, tzinfo=UTC)
"""Time of day when the virtual clock stands at 0."""


class _VirtualWall(datetime):
    """The wall clock of the controller: it moves with the virtual clock."""

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> Any:
        return START + timedelta(seconds=trio.current_time())


class SessionClock:
    """Virtual time of trio; a condition is checked whenever a peer has received something, and at times."""

    def __init__(self) -> None:
        self._changed = trio.Event()

    def utc(self) -> datetime:
        """Return the virtual time of day."""
        return START + timedelta(seconds=trio.current_time())

    def note_change(self) -> None:
        """Check the conditions of all verbs that wait."""
        self._changed.set()
        self._changed = trio.Event()

    async def wait_until(self, is_reached: Callable[[], bool], expected: str) -> None:
        """Wait until the condition holds. Raises AssertionError after PATIENCE_S."""
        with trio.move_on_after(PATIENCE_S):
            while not is_reached():
                with trio.move_on_after(CHECK_S):
                    await self._changed.wait()
            return
        raise AssertionError(f"did not come in {PATIENCE_S:g} s: {expected}")


class _MemoryLine:
    """A peer's end of a memory stream; `channel` is the controller's."""

    def __init__(self, peer: Callable[[], Peer], clock: SessionClock) -> None:
        self.channel = VirtualChannel(self._on_sent)
        self.channel.on_ended = self._on_ended
        self._peer = peer
        self._clock = clock
        self._queued, self._queue = trio.open_memory_channel[str | None](math.inf)

    def _on_sent(self, message: str | bytes) -> None:
        assert isinstance(message, str)
        if self._peer().line is self:
            self._peer().on_text(message)
            self._clock.note_change()

    def _on_ended(self) -> None:
        self._queued.close()
        if self._peer().line is self:
            self._peer().on_closed()
            self._clock.note_change()

    def send_text(self, text: str) -> None:
        """Queue a text."""
        self._queued.send_nowait(text)

    def close(self) -> None:
        """End the stream once all texts are delivered."""
        self._queued.send_nowait(None)

    async def run(self) -> None:
        """Deliver the texts of the peer in a task of its own: a stream does not call back."""
        async for text in self._queue:
            if text is None:
                self.channel.end("the peer is gone")
                return
            try:
                self.channel.deliver(text)
            except ConnectionLostError:
                return


class _MemoryEndpoint:
    """The URL of a CSMS; see `DialableEndpoint`."""

    def __init__(self, csms: Csms, clock: SessionClock, nursery: trio.Nursery) -> None:
        self._csms = csms
        self._clock = clock
        self._nursery = nursery

    async def open(self, request: LinkRequest, nursery: trio.Nursery) -> EndpointAnswer:
        """Open a link of a station, unless the CSMS is away."""
        await self.probe()
        station = request.station
        line = _MemoryLine(lambda: self._csms.links[station], self._clock)
        self._csms.accept(station, line)
        self._nursery.start_soon(line.run)
        self._clock.note_change()
        return EndpointAnswer(line.channel, request.versions[0])

    async def probe(self) -> None:
        """Raise DialError while the CSMS is away."""
        await trio.lowlevel.checkpoint()
        if self._csms.is_away:
            raise DialError("connection refused")


class SessionSite(ScenarioSite):
    """A running App between memory streams."""

    def __init__(self, spec: SiteSpec, folder: Path, nursery: trio.Nursery) -> None:
        self._clock = SessionClock()
        self._endpoints: Endpoints = {}
        super().__init__(spec, self._clock)
        self._nursery = nursery
        self._folder = folder
        self._app: app.App | None = None
        self._host: StationHost | None = None
        self._running: trio.CancelScope | None = None
        self._ended = trio.Event()

    async def start(self) -> None:
        """Start the controller."""
        if self.spec.has_grid_operator:
            self.csms.answer_automatically()
        self._app = await self._nursery.start(self._run_app)

    async def _run_app(self, *, task_status: trio.TaskStatus[app.App]) -> None:
        self._ended = trio.Event()
        with trio.CancelScope() as self._running:
            await app.run(self._build_config(), task_status=task_status)
        self._ended.set()

    def _build_config(self) -> Config:
        ports = {csms.name: 1 for csms in self.backends}
        return build_config(self.spec, self._folder, self.grid_operator.author, ports, 1)

    def apply_spec(self) -> None:
        """Apply the configuration; see ScenarioSite."""
        assert self._app is not None
        self._app.apply_configuration(self._build_config())

    async def restart(self) -> None:
        """Start the controller again; see ScenarioSite."""
        assert self._running is not None
        self._running.cancel()
        await self._ended.wait()
        self._app = await self._nursery.start(self._run_app)

    async def connect_station(self, name: str = "CS01") -> Station:
        """Connect a station; see ScenarioSite."""
        assert self._host is not None
        station, version = self._stations[name], self.spec.version
        line = _MemoryLine(lambda: station, self._clock)
        station.line = line
        admission = Admission(
            name, version, subprotocols={version: version.value}, versions=(version,), peer="memory"
        )
        confirmed = await self._host.confirm_admission(admission)
        assert not isinstance(confirmed, Rejection)
        self._nursery.start_soon(line.run)
        self._serving.start_soon(self._host.serve_station, confirmed, line.channel)
        return station

    # -- what is replaced in the controller -------------------------------------------------------------

    async def serve_stations(
        self,
        _settings: object,
        _rules: object,
        host: StationHost,
        _stats: object,
        *,
        task_status: trio.TaskStatus[int],
        **_options: object,
    ) -> None:
        """Take the host of the stations: in place of the listener."""
        self._host = host
        async with trio.open_nursery() as self._serving:
            task_status.started(0)
            await trio.sleep_forever()

    def make_endpoints(self, _config: Config) -> Endpoints:
        """Return the endpoints of the CSMSs, whose links are memory streams."""
        if not self._endpoints:
            self._endpoints = {
                csms.name: {csms.name: (0, _MemoryEndpoint(csms, self._clock, self._nursery))}
                for csms in self.backends
            }
        return self._endpoints

    def make_pools(self, endpoints: Endpoints) -> dict[str, BackendPool]:
        """Return pools that spread their waits alike in each run."""
        return {name: BackendPool(name, each, random.Random(1)) for name, each in endpoints.items()}

    async def read_meter(self, fleet: MeterFleet) -> None:
        """Publish the readings of the meter: in place of the polls over Modbus."""
        while self.spec.has_meter:
            now = trio.current_time()
            if self.meter.has_failed:
                state = MeterState(meter=METER, quality=Quality.STALE, problem="no answer")
            else:
                reading = Reading(time=now, current_a=self.meter.total_a(self.stations))
                state = MeterState(meter=METER, quality=Quality.GOOD, reading=reading)
            fleet.on_meter_state(state)
            await trio.sleep(METER_INTERVAL_S)


async def _run_inline(function: Callable[..., Any], *arguments: Any, **_options: Any) -> Any:
    """Call what would run in a thread: virtual time does not pass meanwhile."""
    await trio.lowlevel.checkpoint()
    return function(*arguments)


@asynccontextmanager
async def run_session_site(spec: SiteSpec, folder: Path) -> AsyncIterator[SessionSite]:
    """Run a site inside the block."""
    with pytest.MonkeyPatch.context() as patch:
        async with trio.open_nursery() as nursery:
            site = SessionSite(spec, folder, nursery)
            read_meter: Callable[[MeterFleet], Awaitable[None]] = lambda fleet: site.read_meter(fleet)  # noqa: E731
            patch.setattr(
                "controller.services.stations.station_connections.serve_stations", site.serve_stations
            )
            patch.setattr("controller.services.backends.backend_pools.make_pools", site.make_pools)
            patch.setattr(EndpointFactory, "make_endpoints", lambda _, config: site.make_endpoints(config))
            patch.setattr("controller.services.machine.wall_clock.datetime", _VirtualWall)
            patch.setattr("drivers.meter_service.MeterFleet.run", read_meter)
            patch.setattr(trio.to_thread, "run_sync", partial(_run_inline))
            await site.start()
            yield site
            nursery.cancel_scope.cancel()
