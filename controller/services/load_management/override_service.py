"""Overrides of EVSEs at work: stored, applied to the load management, and ended when their time is over."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from zoneinfo import ZoneInfo

import trio

from controller.access.permissions import Actor
from controller.commands.overrides import OverrideBook, OverrideKind, OverrideRemoved, OverrideStored
from controller.commands.site_command import BoostEvse, LimitEvse, PauseEvse, PrioritizeEvse, ResumeEvse
from controller.config.schema import Config
from controller.load_management.events import EvseOverridden
from controller.model.observations import EvseRef
from controller.model.statements import Statement, StatementCode
from controller.services.access.command_service import CommandService, TargetUnknownError
from controller.services.load_management.load_management_service import LoadManagementService
from controller.services.machine.wall_clock import format_end, uptime
from controller.store.state_store import StateStore
from drivers.coded_text import coded

log = logging.getLogger("controller")

BOOST_PRIORITY = 1000
"""Priority of a boosted EVSE: above all sensible configured ones."""


class OverrideService:
    """The overrides of one site. Those that were stored before a restart hold from the start."""

    def __init__(
        self,
        config: Config,
        load_management: LoadManagementService,
        store: StateStore,
        utc: Callable[[], float] = time.time,
        uptime: Callable[[], float] = uptime,
    ) -> None:
        self._evses: dict[str, list[int]] = {}
        self._timezone = ZoneInfo(config.site.timezone)
        self._load_management = load_management
        self._store = store
        self._utc = utc
        self._uptime = uptime
        self._book = OverrideBook()
        self._changed = trio.Event()
        self.replace_stations(config)

    def replace_stations(self, config: Config) -> None:
        """Use the stations of a configuration, with their stored overrides that have not ended."""
        before = self._evses
        self._evses = config.evse_ids
        for stored in self._store.load(OverrideStored):
            is_new = stored.station not in before and stored.evse in self._evses.get(stored.station, ())
            if is_new and stored.measure_left(self._utc(), self._uptime()) > 0:
                self._book.set(stored)
                self._load_management.handle_event(self._event(stored))
        self._changed.set()

    def register_handlers(self, commands: CommandService) -> None:
        """Register the handlers of all commands that make or end overrides."""
        commands.add_handler(PauseEvse, self._on_pause)
        commands.add_handler(LimitEvse, self._on_limit)
        commands.add_handler(PrioritizeEvse, self._on_prioritize)
        commands.add_handler(BoostEvse, self._on_boost)
        commands.add_handler(ResumeEvse, self._on_resume)

    def find(self, ref: EvseRef) -> OverrideStored | None:
        """Return the override of an EVSE; None if it has none."""
        return self._book.find(ref)

    async def run(self) -> None:
        """End overrides when their time is over; until cancelled."""
        while True:
            self._changed = trio.Event()
            await self._end_due()
            left_s = self._book.measure_next_end(self._utc(), self._uptime())
            # The wall clock, which counts after a restart of the machine, is read again once a minute.
            timeout_s = 60.0 if left_s is None else min(60.0, max(0.0, left_s))
            with trio.move_on_after(timeout_s):
                await self._changed.wait()

    async def _end_due(self) -> None:
        ended = self._book.take_ended(self._utc(), self._uptime())
        for ref in ended:
            log.info("override ended evse=%s", ref)
            self._load_management.handle_event(EvseOverridden(ref=ref))
        if ended:
            await self._store.persist([OverrideRemoved(*ref) for ref in ended])

    async def _on_pause(self, command: PauseEvse, actor: Actor) -> object:
        return await self._set(command, OverrideKind.PAUSE, 0.0, command.duration_s, actor)

    async def _on_limit(self, command: LimitEvse, actor: Actor) -> object:
        return await self._set(command, OverrideKind.LIMIT, command.limit_a, command.duration_s, actor)

    async def _on_prioritize(self, command: PrioritizeEvse, actor: Actor) -> object:
        return await self._set(command, OverrideKind.PRIORITY, command.priority, command.duration_s, actor)

    async def _on_boost(self, command: BoostEvse, actor: Actor) -> object:
        return await self._set(command, OverrideKind.BOOST, BOOST_PRIORITY, command.duration_s, actor)

    async def _on_resume(self, command: ResumeEvse, _: Actor) -> object:
        refs = self._refs(command.station, command.evse)
        removed = [ref for ref in refs if self._book.remove(ref)]
        await self._store.persist([OverrideRemoved(*ref) for ref in removed])
        for ref in removed:
            self._load_management.handle_event(EvseOverridden(ref=ref))
        self._changed.set()
        return {"evses": [str(ref) for ref in removed]}

    async def _set(
        self,
        command: PauseEvse | LimitEvse | PrioritizeEvse | BoostEvse,
        kind: OverrideKind,
        value: float,
        duration_s: float,
        actor: Actor,
    ) -> object:
        refs = self._refs(command.station, command.evse)
        now, up_s = self._utc(), self._uptime()
        until = now + duration_s
        stored = [OverrideStored(*ref, kind, value, until, actor.name, now, up_s) for ref in refs]
        await self._store.persist(stored)
        for each in stored:
            self._book.set(each)
            self._load_management.handle_event(self._event(each))
        self._changed.set()
        return {"evses": [str(ref) for ref in refs], "until": until}

    def _refs(self, station: str, evse: int | None) -> Sequence[EvseRef]:
        """Return the EVSEs that a command is for. Raises TargetUnknownError."""
        evses = self._evses.get(station)
        if evses is None:
            raise TargetUnknownError(
                coded("station {station} is not in the configuration", station=repr(station))
            )
        if evse is not None and evse not in evses:
            known = ", ".join(map(str, evses))
            raise TargetUnknownError(
                coded(
                    "station {station} has no EVSE {evse}; it has {known}",
                    station=repr(station),
                    evse=evse,
                    known=known,
                )
            )
        return [EvseRef(station, each) for each in evses if evse in (None, each)]

    def _event(self, stored: OverrideStored) -> EvseOverridden:
        end = format_end(stored.until, stored.made_at, self._timezone)
        match stored.kind:
            case OverrideKind.PAUSE:
                why = Statement(code=StatementCode.PAUSED, name=stored.by, time=end)
                return EvseOverridden(ref=stored.ref, limit_a=0.0, why=why)
            case OverrideKind.LIMIT:
                why = Statement(code=StatementCode.LIMITED, current_a=stored.value, name=stored.by, time=end)
                return EvseOverridden(ref=stored.ref, limit_a=stored.value, why=why)
            case OverrideKind.PRIORITY:
                return EvseOverridden(ref=stored.ref, priority=int(stored.value))
            case OverrideKind.BOOST:
                return EvseOverridden(ref=stored.ref, priority=int(stored.value), boost=True)
