"""Many stations that connect again whenever their link ends, and a CSMS for them."""

from __future__ import annotations

import json
import random
import ssl
from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial

import trio
from trio_websocket import (
    ConnectionClosed,
    HandshakeError,
    WebSocketConnection,
    WebSocketRequest,
    open_websocket_url,
    serve_websocket,
)

AGAIN_S = (0.05, 0.3)
"""Range of the random wait before a station connects again."""

BOOT = '[2,"1","BootNotification",{"chargePointVendor":"V","chargePointModel":"M"}]'


class StationStorm:
    """Stations that connect, boot, and hold their links; `url` has {station} in it."""

    def __init__(
        self,
        url: str,
        headers: Mapping[str, list[tuple[bytes, bytes]]],
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """`headers`: those of each station's upgrade request."""
        self.refused: Counter[str] = Counter()
        self._url = url
        self._headers = headers
        self._tls = tls
        self._served: set[str] = set()
        self._changed = trio.Event()
        self._random = random.Random(1)

    async def run(self) -> None:
        """Keep all stations connected until cancelled."""
        async with trio.open_nursery() as nursery:
            for station in self._headers:
                nursery.start_soon(self._station, station)

    async def wait_served(self, enough: Callable[[int], bool]) -> None:
        """Wait until enough stations are served."""
        while not enough(len(self._served)):
            await self._changed.wait()

    async def wait_all_served(self) -> None:
        """Wait until the boot of each station is accepted."""
        await self.wait_served(lambda served: served == len(self._headers))

    async def wait_none_served(self) -> None:
        """Wait until each station has lost its link."""
        await self.wait_served(lambda served: served == 0)

    async def _station(self, name: str) -> None:
        url = self._url.replace("{station}", name)
        while True:
            try:
                async with open_websocket_url(
                    url,
                    self._tls,
                    subprotocols=["ocpp1.6"],
                    extra_headers=self._headers[name],
                    connect_timeout=60,
                    disconnect_timeout=1,
                ) as socket:
                    await self._hold_link(name, socket)
            except* (OSError, HandshakeError, ConnectionClosed, trio.BrokenResourceError) as gone:
                self.refused[type(_first(gone)).__name__] += 1
            self._is_served(name, False)
            await trio.sleep(self._random.uniform(*AGAIN_S))

    async def _hold_link(self, name: str, socket: WebSocketConnection) -> None:
        await socket.send_message(BOOT)
        while True:
            frame = json.loads(await socket.get_message())
            if frame[0] == 2:
                await socket.send_message(f'[3,"{frame[1]}",{{"status":"Accepted"}}]')
            elif frame[:2] == [3, "1"]:
                self._is_served(name, True)

    def _is_served(self, name: str, served: bool) -> None:
        (self._served.add if served else self._served.discard)(name)
        self._changed.set()
        self._changed = trio.Event()


class StormCsms:
    """Accepts every boot, and records the times of links and boots (s, trio's clock)."""

    def __init__(self) -> None:
        self.port = 0
        self.links: list[float] = []
        self.boots: list[float] = []

    async def run(self, *, task_status: trio.TaskStatus[None]) -> None:
        """Serve until cancelled; started once it listens."""
        async with trio.open_nursery() as nursery:
            server = await nursery.start(partial(serve_websocket, self._serve, "127.0.0.1", 0, None))
            self.port = server.port
            task_status.started()

    async def _serve(self, request: WebSocketRequest) -> None:
        socket = await request.accept(subprotocol=request.proposed_subprotocols[0])
        self.links.append(trio.current_time())
        try:
            while True:
                frame = json.loads(await socket.get_message())
                if frame[0] == 2:
                    self.boots.append(trio.current_time())
                    await socket.send_message(
                        f'[3,"{frame[1]}",{{"status":"Accepted","currentTime":"2026-01-01T00:00:00Z","interval":300}}]'
                    )
        except ConnectionClosed:
            pass


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def find_peak_rate(moments: list[float]) -> int:
    """Return the largest number of these times within one second."""
    return max(
        (sum(start <= moment < start + 1 for moment in moments) for start in moments),
        default=0,
    )
