"""A busy site whose controller is killed again and again: what is in the ledgers at the end."""

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
from tests.crash.backends import Backend
from tests.crash.controllers import Controller
from tests.crash.ledger import Difference, Ledger, difference
from tests.crash.stations import Station
from tests.interop.programs import free_port

STATIONS = {
    "CP1": "ocpp1.6",
    "CP2": "ocpp1.6",
    "CP3": "ocpp1.6",
    "CS1": "ocpp2.0.1",
    "CS2": "ocpp2.0.1",
}
SETTLE_S = 25.0
"""By then everything has to be told, once all are there to stay."""


class Figures(msgspec.Struct, frozen=True):
    """What came of a run; `differences` by backend and station, where there are any."""

    kills: int
    seconds: float
    transactions: int
    messages: int
    repeated_by_stations: int
    resent_same_id: int
    differences: dict[str, Difference]
    left: int
    set_aside: int
    unintroduced: list[str]
    still_waiting: int = 0
    """Messages that no backend has heard yet, and that the controller still holds: they are not lost."""

    @property
    def lost(self) -> int:
        """Messages that a backend has not heard."""
        return sum(len(each.lost) for each in self.differences.values())

    @property
    def doubled(self) -> int:
        """Messages that a backend has heard as two."""
        return sum(len(each.doubled) for each in self.differences.values())

    @property
    def disordered(self) -> int:
        """Stations whose messages a backend has heard in another order."""
        return sum(each.disordered for each in self.differences.values())


class BusySite(NamedTuple):
    """All that a run is made of; the backends and stations run from the start, the controller does not."""

    folder: Path
    controller: Controller
    owner: Backend
    observer: Backend
    stations: list[Station]


@asynccontextmanager
async def busy_site(folder: Path, chance: random.Random) -> AsyncIterator[BusySite]:
    """A site whose stations the owner has accepted once: they would stay pending else."""
    port, owner_port, observer_port = free_port(), free_port(), free_port()
    site = BusySite(
        folder,
        Controller(folder, configuration(folder, port, owner_port, observer_port)),
        Backend("cpo", owner_port, Ledger(1), chance),
        Backend("fleet", observer_port, Ledger(500_000), chance),
        [
            Station(name, protocol, f"ws://127.0.0.1:{port}/ocpp/{name}", chance)
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
            await _all_known(site)
            site.owner.steady = False
            yield site
        finally:
            await site.controller.kill()
        nursery.cancel_scope.cancel()


def configuration(folder: Path, port: int, owner_port: int, observer_port: int) -> str:
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


async def crash(folder: Path, kills: int, seed: int) -> Figures:
    """Kill the controller so often at random moments, let all come to rest, and compare the books."""
    chance = random.Random(seed)
    began = time.monotonic()
    async with busy_site(folder, chance) as site:
        for _ in range(kills):
            await site.controller.kill()
            await _one_life(site.controller, chance)
        await restarted(site)
        await come_to_rest(site)
    return figures(site, kills, time.monotonic() - began)


async def _all_known(site: BusySite) -> None:
    await site.controller.start()
    await site.controller.ready()
    with trio.fail_after(SETTLE_S):
        while any(not station.journal for station in site.stations):
            await site.owner.heard.wait()


async def _one_life(controller: Controller, chance: random.Random) -> None:
    await controller.start()
    if chance.random() < 0.1:
        await trio.sleep(chance.uniform(0, 1.5))  # while it starts
    else:
        await controller.ready()
        await trio.sleep(chance.uniform(0, 1.0))
    assert controller.is_running, controller.log[-3000:]


async def restarted(site: BusySite) -> None:
    """Killed once more, and started."""
    await site.controller.kill()
    await site.controller.start()
    await site.controller.ready()


async def come_to_rest(site: BusySite) -> None:
    """The backends are there to stay; the stations end what they have begun; all is told."""
    site.owner.steady = site.observer.steady = True
    for station in site.stations:
        station.finishing = True
    with trio.move_on_after(SETTLE_S):
        for station in site.stations:
            await station.finished.wait()
        for backend in (site.owner, site.observer):
            while any(len(backend.ledger.parts[each.name]) < len(each.journal) for each in site.stations):
                await backend.heard.wait()
        while _waiting(site.folder):  # noqa: ASYNC110  (another process has no event for us)
            await trio.sleep(0.05)
    await site.controller.stop()


def _waiting(folder: Path) -> int:
    """How many messages the controller still keeps for its backends, as its file has it."""
    with closing(sqlite3.connect(f"file:{folder / FILE}?mode=ro", uri=True)) as database:
        (count,) = database.execute("SELECT count(*) FROM entries WHERE kind = 'outbox'").fetchone()
        return int(count)


def figures(site: BusySite, kills: int = 0, seconds: float = 0.0) -> Figures:
    """What the books say."""
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
            each = difference(station.journal, backend.ledger.parts[station.name])
            held = min(len(each.lost), waiting[backend.name, station.name])
            still_waiting += held
            # Messages are delivered in order: those that wait are the newest of those not heard.
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
        unintroduced=site.observer.unintroduced,
        still_waiting=still_waiting,
    )
    store.close()
    return found_all
