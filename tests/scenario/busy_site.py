"""A busy site whose controller is killed again and again, and the ledgers at the end."""

from __future__ import annotations

import random
import sqlite3
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import NamedTuple

import msgspec
import trio

from controller.offline.journal_records import EntryQueued, EntrySetAside, RecordKind
from controller.store.sqlite_journal import FILE
from controller.store.state_store import StateStore
from tests.bounds import HANG_S
from tests.interop.programs import free_port
from tests.scenario.busy_csms import NO_FAULTS, BusyCsms, CsmsFaults
from tests.scenario.busy_station import BusyStation
from tests.scenario.controller_process import ControllerProcess
from tests.scenario.transaction_ledger import Difference, TransactionLedger, compare_parts

STATIONS = {
    "CP1": "ocpp1.6",
    "CP2": "ocpp1.6",
    "CP3": "ocpp1.6",
    "CS1": "ocpp2.0.1",
    "CS2": "ocpp2.0.1",
}
CALL_TIMEOUT_S = 60.0
LATE_TIMEOUT_S = 0.5
"""`listen.call_timeout_s`, also where backends answer late: then some answers come after it."""


class Figures(msgspec.Struct, frozen=True):
    """Figures of a run; `differences` by backend and station, where there are any."""

    kills: int
    seconds: float
    transactions: int
    messages: int
    repeated_by_stations: int
    resent_same_id: int
    differences: dict[str, Difference]
    left: int
    set_aside: int
    calls_before_boot: list[str]
    rejected: int = 0
    late_answers: int = 0
    still_waiting: int = 0
    """Messages not delivered yet that the controller still stores: they are not lost."""

    @property
    def lost(self) -> int:
        """Return the number of messages that a backend has not received."""
        return sum(len(each.lost) for each in self.differences.values())

    @property
    def doubled(self) -> int:
        """Return the number of messages that a backend has received as two."""
        return sum(len(each.doubled) for each in self.differences.values())

    @property
    def disordered(self) -> int:
        """Return the number of stations whose messages a backend has received in another order."""
        return sum(each.disordered for each in self.differences.values())


class BusySite(NamedTuple):
    """The parts of a run; the backends and stations run from the start, the controller does not."""

    folder: Path
    controller: ControllerProcess
    owner: BusyCsms
    observer: BusyCsms
    stations: list[BusyStation]


@asynccontextmanager
async def busy_site(
    folder: Path, chance: random.Random, faults: CsmsFaults = NO_FAULTS, *, reuses_ids: bool = False
) -> AsyncIterator[BusySite]:
    """Run a site whose stations the owner has accepted once; otherwise they would stay pending.

    `faults`: of both backends. `reuses_ids`: the stations count their message ids anew at each boot.
    """
    port, owner_port, observer_port = free_port(), free_port(), free_port()
    call_timeout_s = LATE_TIMEOUT_S if faults.late else CALL_TIMEOUT_S
    site = BusySite(
        folder,
        ControllerProcess(folder, configuration(folder, port, owner_port, observer_port, call_timeout_s)),
        BusyCsms("cpo", owner_port, TransactionLedger(1), chance, faults=faults),
        BusyCsms("fleet", observer_port, TransactionLedger(500_000), chance, faults=faults),
        [
            BusyStation(name, protocol, f"ws://127.0.0.1:{port}/ocpp/{name}", chance, reuses_ids=reuses_ids)
            for name, protocol in STATIONS.items()
        ],
    )
    site.owner.steady = True
    async with trio.open_nursery() as nursery:
        for backend in (site.owner, site.observer):
            nursery.start_soon(backend.run)
        for station in site.stations:
            nursery.start_soon(station.run)
        try:
            await _wait_all_accepted(site)
            site.owner.steady = False
            yield site
        finally:
            await site.controller.kill()
        nursery.cancel_scope.cancel()


def configuration(folder: Path, port: int, owner_port: int, observer_port: int, call_timeout_s: float) -> str:
    """Autonomous stations with an owner and an observer."""
    stations = "".join(
        f"""
[[station]]
id = "{name}"
circuit = "grid"
owner = "cpo"
observers = ["fleet"]
when_backend_away = "autonomous"
authorise_when_away = "everyone"
"""
        for name in STATIONS
    )
    return f"""
[site]
id = "lc-crash"
[store]
directory = "{folder}"
[listen]
host = "127.0.0.1"
port = {port}
path = "/ocpp"
call_timeout_s = {call_timeout_s}
[[backend]]
id = "cpo"
url = "ws://127.0.0.1:{owner_port}/csms/{{station}}"
[[backend]]
id = "fleet"
url = "ws://127.0.0.1:{observer_port}/fleet/{{station}}"
[[circuit]]
id = "grid"
limit_a = 250
{stations}"""


async def run_kills(
    folder: Path, kills: int, seed: int, faults: CsmsFaults = NO_FAULTS, *, reuses_ids: bool = False
) -> Figures:
    """Kill the controller so often at random moments, let all be delivered, and compare the ledgers.

    `faults` and `reuses_ids`: see `busy_site`.
    """
    chance = random.Random(seed)
    began = time.monotonic()
    async with busy_site(folder, chance, faults, reuses_ids=reuses_ids) as site:
        for _ in range(kills):
            await site.controller.kill()
            await _run_once(site.controller, chance)
        await restart(site)
        await settle(site)
    return compare_ledgers(site, kills, time.monotonic() - began)


async def _wait_all_accepted(site: BusySite) -> None:
    await site.controller.start()
    await site.controller.ready()
    with trio.fail_after(HANG_S):
        while any(not station.journal for station in site.stations):
            await site.owner.received.wait()


async def _run_once(controller: ControllerProcess, chance: random.Random) -> None:
    await controller.start()
    if chance.random() < 0.1:
        await trio.sleep(chance.uniform(0, 1.5))  # while it starts
    else:
        await controller.ready()
        await trio.sleep(chance.uniform(0, 1.0))
    assert controller.is_running, controller.log[-3000:]


async def restart(site: BusySite) -> None:
    """Kill the controller once more, and start it."""
    await site.controller.kill()
    await site.controller.start()
    await site.controller.ready()


async def settle(site: BusySite) -> None:
    """Keep the backends steady, let the stations end their transactions, and wait for all deliveries."""
    site.owner.steady = site.observer.steady = True
    for station in site.stations:
        station.finishing = True
    # A station that is not finished repeats its last message: that one is not lost.
    with trio.fail_after(HANG_S):
        for station in site.stations:
            await station.finished.wait()
    with trio.move_on_after(HANG_S):
        for backend in (site.owner, site.observer):
            while any(len(backend.ledger.parts[each.name]) < len(each.journal) for each in site.stations):
                await backend.received.wait()
        while _waiting(site.folder):  # noqa: ASYNC110  (another process has no event for us)
            await trio.sleep(0.05)
    await site.controller.stop()


def _waiting(folder: Path) -> int:
    """Return the number of messages that the controller's file holds for its backends."""
    with closing(sqlite3.connect(f"file:{folder / FILE}?mode=ro", uri=True)) as database:
        (count,) = database.execute("SELECT count(*) FROM entries WHERE kind = 'outbox'").fetchone()
        return int(count)


def compare_ledgers(site: BusySite, kills: int = 0, seconds: float = 0.0) -> Figures:
    """Return the figures of a run."""
    store = StateStore(site.folder)
    waiting = Counter(
        (each.backend, each.station)
        for each in store.load(EntryQueued)
        if each.entry.kind is RecordKind.TRANSACTION
    )
    found: dict[str, Difference] = {}
    still_waiting = 0
    for backend in (site.owner, site.observer):
        for station in site.stations:
            each = compare_parts(station.journal, backend.ledger.parts[station.name])
            held = min(len(each.lost), waiting[backend.name, station.name])
            still_waiting += held
            # Messages are delivered in order: those that wait are the newest of those not received.
            each = each._replace(lost=each.lost[: len(each.lost) - held])
            found[f"{backend.name} {station.name}"] = each
    found_all = Figures(
        kills=kills,
        seconds=round(seconds, 1),
        transactions=sum(station.transactions for station in site.stations),
        messages=sum(len(station.journal) for station in site.stations),
        repeated_by_stations=sum(station.repeated for station in site.stations),
        resent_same_id=site.owner.ledger.resent + site.observer.ledger.resent,
        differences={name: each for name, each in found.items() if any(each)},
        left=len(store.load(EntryQueued)),
        set_aside=len(store.load(EntrySetAside)),
        rejected=len(site.owner.ledger.rejected) + len(site.observer.ledger.rejected),
        late_answers=site.owner.late_answers + site.observer.late_answers,
        calls_before_boot=site.observer.calls_before_boot,
        still_waiting=still_waiting,
    )
    store.close()
    return found_all
