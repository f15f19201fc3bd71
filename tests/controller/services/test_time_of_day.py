"""Time of day of the load management on a gateway whose clock has no battery."""

from __future__ import annotations

import os
from datetime import datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any

import pytest
import trio

from controller.config.loader import check_config
from controller.model.plausible_time import EARLIEST
from controller.services.load_management.load_management_service import LoadManagementService
from controller.services.machine.wall_clock import find_last_write, find_station_time
from controller.store.sqlite_journal import state_files
from controller.store.state_store import StateStore

SITE = """
[site]
id = "lc"
timezone = "Europe/Berlin"
[store]
directory = "."
[[circuit]]
id = "grid"
limit_a = 63
[[station]]
id = "CS01"
circuit = "grid"
[local_csms]
[[calendar]]
name = "evening"
begin = "18:00"
end = "20:00"
circuit = "grid"
limit_a = 20
"""
NOON = datetime(2026, 11, 27, 11)
"""UTC; 12:00 in Berlin."""


class FixedClock(datetime):
    """A clock on the wall that shows `shown`."""

    shown = NOON

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> Any:
        return cls.shown.replace(tzinfo=tz)


async def test_clock_that_is_not_set_holds_all_entries_of_calendar(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mock_clock: trio.testing.MockClock
) -> None:
    config, errors, _ = check_config(SITE, "site.toml")
    assert config is not None, errors
    monkeypatch.setattr("controller.services.machine.wall_clock.datetime", FixedClock)
    monkeypatch.setattr(FixedClock, "shown", datetime(1970, 1, 1, 0, 5))
    service = LoadManagementService(config, StateStore(tmp_path), {})
    grid = service.site.circuits[0]
    service.share_current()
    assert service.energy.calendar.limit_a(grid) == (20.0, 20.0, 20.0)
    assert service.energy.time_of_day(trio.current_time()) == ""
    assert service.energy.view(trio.current_time()).calendar == ("evening",)

    monkeypatch.setattr(FixedClock, "shown", NOON)  # by NTP
    service.share_current()
    assert service.energy.calendar.limit_a(grid) == (63.0, 63.0, 63.0)

    monkeypatch.setattr(FixedClock, "shown", datetime(1970, 1, 1, 0, 10))  # the time goes on as it was
    mock_clock.jump(timedelta(hours=6.5).total_seconds())
    service.share_current()
    assert service.energy.calendar.limit_a(grid) == (20.0, 20.0, 20.0)
    assert service.energy.time_of_day(trio.current_time()) == "18:30"


def test_station_time_is_that_of_newest_file_of_the_run_before(tmp_path: Path) -> None:
    for name, written in (("state.sqlite", EARLIEST + 100.0), ("state.sqlite-wal", EARLIEST + 900.0)):
        (tmp_path / name).write_text("x")
        os.utime(tmp_path / name, (written, written))
    time = find_station_time(find_last_write(state_files(tmp_path)), 30.0)
    assert time.given_at(30.0) == EARLIEST + 900.0
    assert time.given_at(90.0) == EARLIEST + 960.0
    assert time.given_at(EARLIEST + 5000.0) == EARLIEST + 5000.0
    assert find_station_time(find_last_write(state_files(tmp_path / "none")), 30.0).given_at(30.0) == EARLIEST
