"""What one relayed round trip costs: in the relay's state machine alone, and over loopback sockets.

The sockets are measured beside a direct link between the same two strangers in the same run: the
ratio says what a controller in between adds. Figures of different machines do not compare; ratios do.
"""

from __future__ import annotations

import statistics
import time

import trio

from controller.ocpp.frames import Version
from controller.ocpp.observer import Observer
from controller.ocpp.profiles import Scope
from controller.relay.events import BackendUp, FromBackend, FromStation
from controller.relay.ownership import Ownership
from controller.relay.station import StationRelay
from tests.controller.links.rig import heard, rig
from tests.controller.relay.playbook import a_station

ROUNDS = 3000
SIZES = (300, 2000)


def bench() -> list[dict[str, object]]:
    """One row a measurement."""
    rows: list[dict[str, object]] = []
    for size in SIZES:
        rows.append(_state_machine(size))
        rows += trio.run(_sockets, size)
    return rows


def _call(number: int, size: int) -> str:
    head = f'[2,"{number}","DataTransfer",{{"vendorId":"bench","data":"'
    return head + "x" * (size - len(head) - 3) + '"}]'


def _state_machine(size: int) -> dict[str, object]:
    relay = StationRelay(
        "CS01", "cpo", Version.V201, Observer(Version.V201, 230),
        Ownership(Version.V201, Scope.STATION, a_station(Scope.STATION)), 30, 0.0,
    )  # fmt: skip
    relay.handle(BackendUp(), 0.0)
    texts = [(_call(number, size), f'[3,"{number}",{{}}]') for number in range(ROUNDS)]
    start = time.process_time()
    for call, answer in texts:
        relay.handle(FromStation(call), 1.0)
        relay.handle(FromBackend(answer), 1.0)
    spent = time.process_time() - start
    return {"what": f"relay state machine, {size} B", "us per round trip": round(spent / ROUNDS * 1e6, 1)}


async def _sockets(size: int) -> list[dict[str, object]]:
    relayed: list[float] = []
    async with rig() as site, site.station("CS01", "ocpp2.0.1") as station:
        backend = await site.backend.link()
        for number in range(ROUNDS // 3):
            start = time.perf_counter()
            await station.send_message(_call(number, size))
            await heard(backend)
            await backend.send_message(f'[3,"{number}",{{}}]')
            await heard(station)
            relayed.append(time.perf_counter() - start)
    direct: list[float] = []
    async with rig() as site:
        site.port = site.backend.port
        async with site.station("CS01", "ocpp2.0.1") as station:
            backend = await site.backend.link()
            for number in range(ROUNDS // 3):
                start = time.perf_counter()
                await station.send_message(_call(number, size))
                await heard(backend)
                await backend.send_message(f'[3,"{number}",{{}}]')
                await heard(station)
                direct.append(time.perf_counter() - start)
    through, without = statistics.median(relayed), statistics.median(direct)
    return [
        {
            "what": f"round trip over sockets, {size} B",
            "direct ms": round(without * 1e3, 3),
            "through the controller ms": round(through * 1e3, 3),
            "ratio": round(through / without, 2),
        }
    ]
