"""Overlay service: the controller as a node of the overlay network, with its links and its clock.

    child controller --OverlayDownlink--> node --virtual channel--> session of the child's own identity
    session of a station --virtual channel (OverlayEndpoint)--> node --OverlayUplink--> backend

A virtual channel is a link in standard mode inside this process, so that a station's relay is the same with
and without an overlay. One uplink carries the messages of all stations.
"""

from __future__ import annotations

import random
from collections.abc import Mapping

import trio

from controller.backends.pool import BackendPool
from controller.config import Config
from controller.overlay.node import Node
from controller.services.overlay_downlink import OverlayDownlink, ServeSession
from controller.services.overlay_endpoint import OverlayEndpoint
from controller.services.overlay_links import OverlayLinks, SaveRecords
from controller.services.overlay_settings import first_endpoints, node_settings
from controller.services.overlay_uplink import OverlayUplink
from controller.signing.policy_enforcer import PolicyEnforcer
from controller.stations.admission import Admission
from controller.transport.channel import Channel
from controller.web.status_model import NeighbourStatus, OverlayStatus


class OverlayService:
    """Runs the controller's node with all its links. `uplinks` are those to backends in overlay mode.

    `save` makes the replay records of signed messages durable; it raises StoreError.
    """

    def __init__(
        self,
        config: Config,
        uplinks: Mapping[str, BackendPool],
        enforcer: PolicyEnforcer | None,
        save: SaveRecords,
    ) -> None:
        self._own = config.site.id
        self._listen = config.listen
        self._endpoints = first_endpoints(config)
        self._node = Node(node_settings(config, enforcer))
        self._links = OverlayLinks(self._node, save)
        self._pools = uplinks
        self._uplinks = [
            OverlayUplink(
                self._links,
                pool,
                self._endpoints[backend],
                self._own,
                config.site.protocol,
                config.listen.ping_s,
            )
            for backend, pool in uplinks.items()
        ]

    def make_pool(self, backend: str) -> BackendPool:
        """Return the pool through which stations reach a backend in overlay mode."""
        endpoint = OverlayEndpoint(self._links, backend, self._endpoints[backend], self._own)
        return BackendPool(backend, {backend: (0, endpoint)}, random.Random())

    def status(self) -> OverlayStatus:
        """Return the state of the overlay network for people and monitoring."""
        neighbours = self._node.neighbors(trio.current_time())
        return OverlayStatus(
            neighbours=tuple(
                NeighbourStatus(link=link, reached=reached) for link, reached in neighbours.items()
            ),
            dropped_total=dict(self._node.counts),
        )

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keep the links to backends open and the node's timers running, until cancelled."""
        async with trio.open_nursery() as nursery:
            task_status.started()
            for pool in self._pools.values():
                await nursery.start(pool.run)
            for uplink in self._uplinks:
                nursery.start_soon(uplink.run)
            await self._links.run()

    async def serve(self, admission: Admission, channel: Channel, serve_session: ServeSession) -> None:
        """Serve a station in overlay mode until its link or its session ends; see OverlayDownlink."""
        rate, ping_s = self._listen.messages_per_second, self._listen.ping_s
        await OverlayDownlink(self._links, admission, channel, rate, ping_s).serve(serve_session)
