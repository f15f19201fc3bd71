"""What else goes wrong on a gateway: a full disk, a spoilt file, a clock that is another after each start."""

from __future__ import annotations

import random
import resource
import shutil
from pathlib import Path

import pytest
import trio

from controller.store.sqlite_journal import FILE
from tests.bounds import HANG_S
from tests.scenario.busy_site import BusySite, busy_site, compare_ledgers, restart, settle

FULL_S = 2.0
SMALL = 65_536
"""To this size files may grow on the full disk: the log is smaller, and what the relay writes is soon not."""
DAY_S = 86_400


def disk_full(pid: int) -> None:
    """No file of the process grows any more: to SQLite that is a full disk."""
    _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (SMALL, hard))


def disk_freed(pid: int) -> None:
    _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (hard, hard))


def all_is_well(site: BusySite) -> None:
    found = compare_ledgers(site)
    assert (found.differences, found.left, found.set_aside) == ({}, 0, 0)


@pytest.mark.parametrize("killed", [False, True])
async def test_faults_full_disk_closes_stations_unanswered(tmp_path: Path, *, killed: bool) -> None:
    """No answered message is lost: neither when the disk is freed, nor when the controller is killed."""
    async with busy_site(tmp_path, random.Random(2)) as site:
        await trio.sleep(1)
        disk_full(site.controller.pid)
        await trio.sleep(FULL_S)
        assert site.controller.is_running
        sent = [len(station.journal) for station in site.stations]
        await trio.sleep(1)
        assert [len(station.journal) for station in site.stations] == sent  # nothing has an answer
        if killed:
            await restart(site)
        else:
            disk_freed(site.controller.pid)
        await settle(site)
        assert "its messages cannot be stored" in site.controller.log
    all_is_well(site)


MOST_RESENT = 2
"""Messages a station that are out, or about to be sent, when the first commit fails."""


async def test_faults_full_disk_holds_queued_transactions_over_crash(tmp_path: Path) -> None:
    async with busy_site(tmp_path, random.Random(4)) as site:
        site.observer.steady = True
        site.owner.leave()
        queued = [len(station.journal) for station in site.stations]
        with trio.fail_after(HANG_S):
            while any(len(each.journal) < was + 8 for each, was in zip(site.stations, queued, strict=True)):
                await site.observer.received.wait()
        disk_full(site.controller.pid)
        with trio.fail_after(HANG_S):
            while "store cannot be written" not in site.controller.log:
                await site.observer.received.wait()
        site.owner.steady = True
        site.owner.come_back()
        with trio.fail_after(HANG_S):
            await site.owner.received.wait()
        await trio.sleep(FULL_S)  # a queue that is not held is delivered by then
        await restart(site)
        await settle(site)
    all_is_well(site)
    assert site.owner.ledger.resent <= MOST_RESENT * len(site.stations)


async def test_faults_damaged_store_is_moved_aside_and_site_continues(tmp_path: Path) -> None:
    spoilt = b"no database" * 1000
    async with busy_site(tmp_path, random.Random(3)) as site:
        site.owner.steady = True
        await site.controller.kill()
        (tmp_path / FILE).write_bytes(spoilt)
        (tmp_path / f"{FILE}-wal").unlink(missing_ok=True)
        await site.controller.start()
        await site.controller.ready()
        await wait_for_more(site, 20)
        assert f"store file damaged path={tmp_path / FILE}" in site.controller.log
    assert kept_aside(tmp_path) == [spoilt]


def kept_aside(folder: Path) -> list[bytes]:
    return [path.read_bytes() for path in folder.glob(f"{FILE}.corrupt-*Z")]


async def wait_for_more(site: BusySite, more: int) -> None:
    """Wait until the owner has received so many more messages of each station."""
    parts = site.owner.ledger.parts
    before = {station.name: len(parts[station.name]) for station in site.stations}
    with trio.fail_after(HANG_S):
        while any(len(parts[name]) < count + more for name, count in before.items()):
            await site.owner.received.wait()


async def test_faults_clock_changed_at_each_start_doubles_nothing(tmp_path: Path) -> None:
    """The controller's ids are made of the time; lists in the store have an order of their own."""
    assert shutil.which("faketime") is not None, "faketime is missing: apt install faketime"
    async with busy_site(tmp_path, random.Random(4)) as site:
        for days in (400, -400, 0, 0):
            site.controller.prefix = ("faketime", "-f", f"{days * DAY_S:+d}s")
            await restart(site)
            await trio.sleep(0.5)
        await settle(site)
    all_is_well(site)
