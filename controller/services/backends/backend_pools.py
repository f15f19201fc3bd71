"""Pools of all backends of a configuration, which may change while they run."""

from __future__ import annotations

import logging

import trio

from controller.backends.backend_link import LinkMaker
from controller.backends.pool import BackendPool, Endpoints
from controller.config import Config, StationConfig
from controller.config.backend_rules import backend_names
from controller.ocpp.frames import Version
from controller.services.backends.connection_settings import EndpointFactory, make_pools
from controller.services.backends.local_csms_service import LocalCsmsService
from controller.services.machine.wall_clock import utc

log = logging.getLogger("controller")


class BackendPools:
    """Pools of the backends, by name. Raises TlsError, ServiceError for the site CA, and OSError.

    `local_csms`: the owner of stations without backend. `retire_s`: time within which the links to a removed
    backend are closed (s).
    """

    def __init__(self, config: Config, local_csms: LocalCsmsService, retire_s: float) -> None:
        self._local_csms = local_csms
        self._retire_s = retire_s
        self._names = backend_names(config)
        self._factory = EndpointFactory(config)
        self.endpoints = self._factory.make_endpoints(config)
        """Endpoints of the configuration at the start."""
        self.by_name = make_pools(self.endpoints)
        self._nursery: trio.Nursery | None = None

    def find(self, backend: str) -> BackendPool:
        """Return the pool of the backend that the configuration names so."""
        return self.by_name[self._names[backend]]

    def find_owner(self, station: StationConfig, version: Version) -> BackendPool | LinkMaker:
        """Return what makes the link of a connected station to its owner."""
        if station.owner is None:
            return self._local_csms.make_owner(station.id, version, utc)
        return self.find(station.owner)

    def make_endpoints(self, config: Config) -> Endpoints:
        """Return the endpoints of another configuration. Raises TlsError, and OSError for a password file."""
        return self._factory.make_endpoints(config)

    def replace_endpoints(self, config: Config, endpoints: Endpoints) -> None:
        """Use the backends of another configuration; links to those that stay as they are go on."""
        self._names = backend_names(config)
        added = {name: tables for name, tables in endpoints.items() if name not in self.by_name}
        for name, pool in list(self.by_name.items()):
            if name in endpoints:
                pool.replace_endpoints(endpoints[name])
                continue
            del self.by_name[name]
            log.info("backend removed backend=%s", name)
            if self._nursery is not None:
                self._nursery.start_soon(pool.retire, self._retire_s)
        for name, pool in make_pools(added).items():
            self.by_name[name] = pool
            log.info("backend added backend=%s", name)
            if self._nursery is not None:
                self._nursery.start_soon(pool.run)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run the pools until cancelled; starts once all run."""
        async with trio.open_nursery() as self._nursery:
            for pool in self.by_name.values():
                await self._nursery.start(pool.run)
            task_status.started()
            await trio.sleep_forever()  # backends may be added
