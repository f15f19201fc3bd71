"""Overrides at work, in virtual time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import cast

import trio

from controller.access.permissions import LOCAL_ACTOR
from controller.commands.site_command import BoostEvse, LimitEvse, PauseEvse, ResumeEvse
from controller.load_management.events import EvseOverridden
from controller.model.observations import EvseRef
from controller.services.access.audit_log import AuditLog
from controller.services.access.command_service import CommandService
from controller.services.load_management.load_management_service import LoadManagementService
from controller.services.load_management.override_service import OverrideService
from controller.store.state_store import StateStore
from tests.controller.services.test_app import configured
from tests.controller.store.synchronous_store import SynchronousStore
from tests.scenario.link_harness import CsmsServer

NOON = 1_795_262_400.0


class RecordingControl:
    """Stands for the load management and records what it gets."""

    def __init__(self) -> None:
        self.events: list[EvseOverridden] = []

    def handle_event(self, event: EvseOverridden) -> None:
        self.events.append(event)


def utc() -> float:
    return NOON + trio.current_time()


def service(folder: Path, control: RecordingControl, store: StateStore) -> OverrideService:
    config = configured(folder, cast(CsmsServer, Port()))
    return OverrideService(config, cast(LoadManagementService, control), store, utc, trio.current_time)


class Port:
    port = 1


async def test_override_that_ends_on_another_day_has_its_date(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    control, store = RecordingControl(), SynchronousStore(tmp_path)
    overrides, commands = service(tmp_path, control, store), CommandService(AuditLog(store, utc))
    overrides.register_handlers(commands)
    await commands.execute(PauseEvse(station="CS01", duration_s=86_400), LOCAL_ACTOR)
    begin = datetime.fromtimestamp(NOON, UTC)
    assert str(control.events[0].why) == f"paused by local until {begin + timedelta(days=1):%Y-%m-%d} 12:00"


async def test_override_ends_by_itself_and_is_deleted(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    control, store = RecordingControl(), SynchronousStore(tmp_path)
    overrides, commands = service(tmp_path, control, store), CommandService(AuditLog(store, utc))
    overrides.register_handlers(commands)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(overrides.run)
        await commands.execute(PauseEvse(station="CS01", duration_s=600), LOCAL_ACTOR)
        await commands.execute(LimitEvse(station="CS02", limit_a=10, duration_s=900), LOCAL_ACTOR)
        pause, limit = control.events
        assert (pause.ref, pause.limit_a, str(pause.why)) == (
            EvseRef("CS01", 1),
            0.0,
            "paused by local until 12:10",
        )
        assert (limit.limit_a, str(limit.why)) == (10.0, "limited to 10 A by local until 12:15")
        await trio.sleep(599)
        assert len(control.events) == 2
        await trio.sleep(2)
        assert control.events[2] == EvseOverridden(ref=EvseRef("CS01", 1))
        await trio.sleep(300)
        assert control.events[3] == EvseOverridden(ref=EvseRef("CS02", 1))
        nursery.cancel_scope.cancel()
    again = RecordingControl()
    service(tmp_path, again, store)
    assert again.events == []


async def test_override_of_before_restart_holds_until_resumed(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    store = SynchronousStore(tmp_path)
    first = service(tmp_path, RecordingControl(), store)
    commands = CommandService(AuditLog(store, utc))
    first.register_handlers(commands)
    await commands.execute(BoostEvse(station="CS01"), LOCAL_ACTOR)
    control = RecordingControl()
    service(tmp_path, control, store).register_handlers(commands)
    [boost] = control.events
    assert boost.boost
    assert boost.priority == 1000
    await commands.execute(ResumeEvse(station="CS01"), LOCAL_ACTOR)
    assert control.events[1] == EvseOverridden(ref=EvseRef("CS01", 1))
    await commands.execute(ResumeEvse(station="CS01"), LOCAL_ACTOR)
    assert len(control.events) == 2, "there is nothing to resume"


async def test_override_lasts_for_its_span_though_clock_is_set_ahead(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    ahead_s = 0.0
    control, store = RecordingControl(), SynchronousStore(tmp_path)
    config = configured(tmp_path, cast(CsmsServer, Port()))
    load_management = cast(LoadManagementService, control)

    def clock() -> float:
        return utc() + ahead_s

    overrides = OverrideService(config, load_management, store, clock, trio.current_time)
    commands = CommandService(AuditLog(store, utc))
    overrides.register_handlers(commands)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(overrides.run)
        await commands.execute(LimitEvse(station="CS01", limit_a=10, duration_s=900), LOCAL_ACTOR)
        await trio.sleep(100)
        ahead_s = 1e6
        await trio.sleep(790)
        assert overrides.find(EvseRef("CS01", 1)) is not None
        again = OverrideService(config, load_management, store, clock, trio.current_time)
        assert again.find(EvseRef("CS01", 1)) is not None, "nor does a restart of the service end it"
        await trio.sleep(20)
        assert overrides.find(EvseRef("CS01", 1)) is None
        nursery.cancel_scope.cancel()
