"""Overlay service: the controller as a node of the overlay network, with its links and its clock.

    child controller --OverlayDownlink--> node --virtual channel--> session of the child's own identity
    session of a station --virtual channel (OverlayEndpoint)--> node --OverlayUplink--> backend

A virtual channel is a link in standard mode inside this process, so that a station's relay is the same with
and without an overlay. One uplink carries the messages of all stations.
"""

from __future__ import annotations

import random

import msgspec
import trio

from controller.backends.pool import BackendPool, Endpoints
from controller.config import BackendConfig, Config
from controller.overlay.node import Node
from controller.services.overlay.overlay_downlink import OverlayDownlink, ServeSession
from controller.services.overlay.overlay_endpoint import OverlayEndpoint
from controller.services.overlay.overlay_links import OverlayLinks, SaveRecords
from controller.services.overlay.overlay_settings import first_endpoints, node_settings
from controller.services.overlay.overlay_uplink import OverlayUplink
from controller.signing.policy_enforcer import PolicyEnforcer
from controller.stations.admission import Admission
from controller.transport.channel import Channel
from controller.web.status_model import NeighborStatus, OverlayStatus

RETIRE_S = 10.0
"""Longest time that the link to a backend is kept for what still moves from it to other links (s)."""


class _OverlayBackend(msgspec.Struct, frozen=True):
    """One backend in overlay mode: the pool of its URLs, the link over it, and what stations dial."""

    pool: BackendPool
    uplink: OverlayUplink
    endpoint: OverlayEndpoint


class OverlayService:
    """Runs the controller's node with all its links.

    `save` makes the replay records of signed messages durable; it raises StoreError.
    """

    def __init__(self, config: Config, enforcer: PolicyEnforcer | None, save: SaveRecords) -> None:
        self._site = config.site
        self._listen = config.listen
        self._enforcer = enforcer
        self._node = Node(node_settings(config, enforcer))
        self._links = OverlayLinks(self._node, save)
        self._backends: dict[str, _OverlayBackend] = {}
        self._nursery: trio.Nursery | None = None

    def replace_backends(self, config: Config, endpoints: Endpoints) -> Endpoints:
        """Use the backends, stations and routes of a configuration.

        Returns the endpoints that stations dial: for backends in overlay mode, channels over their one link.
        """
        self._node.set_routes(node_settings(config, self._enforcer))
        tables = {name: each for name, each in first_endpoints(config).items() if each.mode == "overlay"}
        for name in self._backends.keys() - tables.keys():
            retired = self._backends.pop(name)
            if self._nursery is not None:
                self._nursery.start_soon(self._retire, retired)
        for name, table in tables.items():
            if name in self._backends:
                self._backends[name].pool.replace_endpoints(endpoints[name])
                self._backends[name].uplink.settings = self._backends[name].endpoint.settings = table
                self._links.set_peer(name, table.node)
                continue
            self._backends[name] = made = self._make_backend(name, table, endpoints)
            if self._nursery is not None:
                self._start(made, self._nursery)
        return {
            name: {name: (0, self._backends[name].endpoint)} if name in self._backends else each
            for name, each in endpoints.items()
        }

    def _make_backend(self, name: str, table: BackendConfig, endpoints: Endpoints) -> _OverlayBackend:
        pool = BackendPool(name, endpoints[name], random.Random())
        site = self._site
        uplink = OverlayUplink(self._links, pool, table, site.id, site.protocol, self._listen.ping_s)
        return _OverlayBackend(pool, uplink, OverlayEndpoint(self._links, name, table, site.id))

    def _start(self, backend: _OverlayBackend, nursery: trio.Nursery) -> None:
        nursery.start_soon(backend.pool.run)
        nursery.start_soon(backend.uplink.run)

    async def _retire(self, backend: _OverlayBackend) -> None:
        """Close the link to a backend that is not in overlay mode any more, once no channel is on it."""
        backend.uplink.is_retired = True
        with trio.move_on_after(RETIRE_S):
            await self._links.wait_unused(backend.pool.backend)
        backend.uplink.end()
        await backend.pool.retire(RETIRE_S)

    def status(self) -> OverlayStatus:
        """Return the state of the overlay network for people and monitoring."""
        neighbours = self._node.neighbors(trio.current_time())
        return OverlayStatus(
            neighbours=tuple(
                NeighborStatus(link=link, reached=reached) for link, reached in neighbours.items()
            ),
            dropped_total=dict(self._node.counts),
        )

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keep the links to backends open and the node's timers running, until cancelled."""
        async with trio.open_nursery() as self._nursery:
            for backend in self._backends.values():
                self._start(backend, self._nursery)
            task_status.started()
            await self._links.run()

    async def serve(self, admission: Admission, channel: Channel, serve_session: ServeSession) -> None:
        """Serve a station in overlay mode until its link or its session ends; see OverlayDownlink."""
        rate, ping_s = self._listen.messages_per_second, self._listen.ping_s
        await OverlayDownlink(self._links, admission, channel, rate, ping_s).serve(serve_session)
