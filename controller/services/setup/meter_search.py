"""Search for a meter at a serial port or an address, one place at a time, and what it has found."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import trio

from controller.services import ServiceError
from controller.site_setup.setup_questions import MeterChoice, MeterScan
from controller.transport.transport_errors import describe_error
from controller.web.setup_interface import MeterSearch
from drivers.errors import DriverError
from drivers.identify_service import (
    SERIAL_UNITS,
    TCP_UNITS,
    FoundMeter,
    identify_meters,
    serial_settings_to_try,
)
from drivers.settings import BusSettings

MOST_STEPS = 12
MOST_SEARCHES = 16
"""Places whose results are kept."""
MOST_CANDIDATES = 5


class MeterSearchError(ServiceError):
    """A search that is not begun. Its text states why."""


class MeterSearchService:
    """Searches for meters; `scans` are the results by place."""

    def __init__(self) -> None:
        self._nursery: trio.Nursery | None = None
        self._scans: dict[str, MeterScan] = {}
        self._steps: deque[str] = deque(maxlen=MOST_STEPS)
        self._place = ""
        """Place where meters are searched now; empty for none."""

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run the searches until cancelled."""
        async with trio.open_nursery() as self._nursery:
            task_status.started()
            await trio.sleep_forever()

    @property
    def scans(self) -> Mapping[str, MeterScan]:
        """Return the results by place."""
        return dict(self._scans)

    def begin(self, target: str) -> MeterSearch:
        """Begin to search at a place, unless a search is running. Raises MeterSearchError."""
        if not _is_target(target):
            raise MeterSearchError(f"{target!r} is neither a serial port nor HOST:PORT")
        if self._nursery is None:
            raise MeterSearchError("the setup has ended")
        if self._place and self._place != target:
            raise MeterSearchError(f"meters are searched at {self._place}; wait until that is over")
        if not self._place:
            self._place = target
            self._scans.pop(target, None)
            self._steps.clear()
            self._nursery.start_soon(self._search, target)
        return self.state()

    def state(self) -> MeterSearch:
        """Return the state of the running or last search."""
        return MeterSearch(running=bool(self._place), steps=list(self._steps))

    async def _search(self, target: str) -> None:
        try:
            self._scans[target] = await search_meters(target, self._steps.append)
        finally:
            self._place = ""
            while len(self._scans) > MOST_SEARCHES:
                del self._scans[next(iter(self._scans))]


async def search_meters(target: str, report: Callable[[str], None]) -> MeterScan:
    """Search meters at a serial port, or at HOST:PORT; `report` gets a line about each step."""
    if target.startswith("/"):
        settings: Sequence[BusSettings] = serial_settings_to_try(target, None, None)
        units: Sequence[int] = SERIAL_UNITS
    else:
        host, _, port = target.rpartition(":")
        settings, units = [BusSettings(transport="tcp", host=host.strip("[]"), port=int(port))], TCP_UNITS
    try:
        found = await identify_meters(settings, units, report)
    except (DriverError, OSError) as error:
        return MeterScan(problem=describe_error(error))
    return MeterScan(found=tuple(choice for each in found for choice in _meter_choices(each)))


def _meter_choices(found: FoundMeter) -> list[MeterChoice]:
    settings = found.settings
    line: dict[str, Any] = {}
    if settings.transport == "rtu":
        line = {"baud": settings.baud, "parity": settings.parity, "stopbits": settings.stopbits}
    known = [
        MeterChoice(driver=each.name, unit=found.unit, serial_number=each.serial_number, **line)
        for each in found.candidates[:MOST_CANDIDATES]
    ]
    several = len(found.sunspec) > 1
    sunspec = [
        MeterChoice(driver="sunspec", unit=found.unit, instance=each.instance if several else None, **line)
        for each in found.sunspec
    ]
    return [*known, *sunspec]


def _is_target(target: str) -> bool:
    if target.startswith("/dev/"):
        return ".." not in target and os.path.exists(target)
    host, _, port = target.rpartition(":")
    return bool(host) and port.isdecimal() and 1 <= int(port) <= 65_535
