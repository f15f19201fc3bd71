"""Operation of the site by people and programs: commands, overrides, audit, and the control socket."""

from __future__ import annotations

from pathlib import Path

import msgspec
import trio

from controller.access.permissions import Actor
from controller.commands.site_command import (
    PairPartner,
    RegisterPartners,
    ResumeLimits,
    SiteCommand,
    SuspendLimits,
    UnpairPartner,
)
from controller.config.schema import Config
from controller.services.access.audit_log import AuditLog
from controller.services.access.command_service import CommandService
from controller.services.eebus.eebus_service import EebusService
from controller.services.load_management.load_management_service import LoadManagementService
from controller.services.load_management.override_service import OverrideService
from controller.services.machine.control_socket import Command, serve_commands
from controller.services.stations.station_commands import ChooseToken, FindTransaction, StationCommands
from controller.stations.registry import SessionRegistry
from controller.store.state_store import StateStore


class SiteOperations:
    """Commands of one site. Services with commands or queries of their own add them before `run`."""

    def __init__(
        self,
        config: Config,
        store: StateStore,
        registry: SessionRegistry,
        load_management: LoadManagementService,
        find_transaction: FindTransaction,
        choose_token: ChooseToken,
    ) -> None:
        self._directory = Path(config.store.directory)
        self.audit = AuditLog(store)
        self.commands = CommandService(self.audit)
        self.overrides = OverrideService(config, load_management, store)
        self.queries: dict[str, Command] = {}
        """Queries of the control socket by name: they change nothing."""
        self.overrides.register_handlers(self.commands)
        self._stations = StationCommands(config, registry, store, find_transaction, choose_token)
        self._stations.register_handlers(self.commands)

    def replace_stations(self, config: Config) -> None:
        """Use the stations of another configuration as targets of commands."""
        self.overrides.replace_stations(config)
        self._stations.replace_stations(config)

    def add_eebus(self, eebus: EebusService) -> None:
        """Add the commands of the EEBUS node."""
        functions = dict(eebus.commands)
        self.queries["eebus.status"] = functions.pop("eebus.status")

        async def execute(command: SiteCommand, _: Actor) -> object:
            return functions[command.name](msgspec.to_builtins(command))

        for kind in (PairPartner, UnpairPartner, RegisterPartners, SuspendLimits, ResumeLimits):
            self.commands.add_handler(kind, execute)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """End overrides in time and answer at the control socket, until cancelled; started once open."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.overrides.run)
            await nursery.start(serve_commands, self._directory, self.queries, self.commands)
            task_status.started()
