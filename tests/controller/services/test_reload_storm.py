"""A hundred reloads of valid and invalid files while stations charge and a backend is away."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
import trio
from trio_websocket import ConnectionClosed

from controller.services.app import App
from controller.services.configuration.reload_service import ReloadRejectedError
from drivers.meter_model import load_model
from drivers.simulated import SimulatedMeter, serve_tcp
from tests.controller.services.test_station_adoption import running
from tests.scenario.daemon_peers import (
    ACCEPTED,
    BOOT,
    START,
    STATUS,
    SocketStation,
    connect_station,
    serve_csms_by_name,
    start_result,
    stop_transaction,
)
from tests.scenario.link_harness import CsmsServer, receive_text

RELOADS = 100
SITE = """
[site]
id = "office"
[store]
directory = "{folder}"
[listen]
host = "127.0.0.1"
port = {port}
[load_management]
tick_s = 0.1
margin_a = 0
fallback_a = {fallback_a}
[[card]]
token = "A"
[[backend]]
id = "cpo"
url = "ws://127.0.0.1:{csms}/cpo/{{station}}"
connect_timeout_s = {connect_timeout_s}
{tables}
[[circuit]]
id = "house"
limit_a = {limit_a}
fuse = "{fuse}"
base_load_a = {base_load_a}
{meter}
[[circuit]]
id = "row"
parent = "house"
limit_a = 40
[[station]]
id = "CS01"
circuit = "{circuit}"
label = "{label}"
[[station.evse]]
id = 1
max_a = {max_a}
phases = {phases}
priority = {priority}
[[station]]
id = "CS02"
circuit = "house"
owner = "cpo"
when_backend_away = "autonomous"
"""
METER = """
[[meter]]
id = "grid"
driver = "eastron-sdm630-v2"
transport = "tcp"
host = "127.0.0.1"
port = {port}
ct_ratio = {ratio}
interval_s = 0.1
"""
INVALID = ("[site", '[[station]]\nid = "CS04"\ncircuit = "none"\n', "[house]\n", '[[card]]\ntoken = "A"\n')


pytestmark = pytest.mark.usefixtures("log_levels")


def make_tables(meter: int, chance: random.Random) -> tuple[str, str]:
    """Return the key of the grid's meter, and random tables of meters, backends, circuits and stations."""
    tables, backends = [], []
    for backend in ("copy", "other"):
        if chance.random() < 0.4:
            tables.append(f'[[backend]]\nid = "{backend}"\nurl = "ws://127.0.0.1:11/{{station}}"\n')
            backends.append(backend)
    for station in ("CS03", "CS04"):
        if chance.random() < 0.3:
            circuit = "row"
            if chance.random() < 0.4:
                circuit = f"row-{station}"
                tables.append(f'[[circuit]]\nid = "{circuit}"\nparent = "row"\nlimit_a = 25\n')
            owner = chance.choice([*backends, "cpo", None])
            mode = "" if owner is None else f'owner = "{owner}"\nwhen_backend_away = "autonomous"\n'
            tables.append(f'[[station]]\nid = "{station}"\ncircuit = "{circuit}"\n{mode}')
    if chance.random() < 0.5:
        return "", "".join(tables)
    port, ratio = chance.choice([meter, meter, 13]), chance.choice([1, 1, 2])
    tables.append(METER.format(port=port, ratio=ratio))
    return 'meter = "grid"', "".join(tables)


def write(folder: Path, csms: int, meter: int, chance: random.Random) -> float | None:
    """Write a random file; return the limit of its grid connection (A), None if it is invalid."""
    limit_a = chance.choice([30, 36, 40, 63])
    key, tables = make_tables(meter, chance)
    text = SITE.format(
        folder=folder,
        csms=csms,
        port=chance.choice([0, 0, 0, 9]),
        fallback_a=chance.choice([0, 6]),
        limit_a=limit_a,
        circuit=chance.choice(["house", "row"]),
        label=chance.choice(["", "Yard"]),
        max_a=chance.choice([16, 32]),
        phases=json.dumps(chance.choice([["L1", "L2", "L3"], ["L3", "L1", "L2"]])),
        priority=chance.choice([0, 3]),
        fuse=chance.choice(["plain", "gG", "B"]),
        base_load_a=chance.choice([0, 4]),
        connect_timeout_s=chance.choice([10, 11]),
        meter=key,
        tables=tables,
    )
    is_invalid = chance.random() < 0.25
    (folder / "controller.toml").write_text(text + (chance.choice(INVALID) if is_invalid else ""))
    return None if is_invalid else float(limit_a)


def offered_a(controller: App) -> float:
    return sum(each.offered_a for each in controller.view().evses if each.connected)


async def reload_often(controller: App, folder: Path, csms: int, meter: int) -> None:
    """Reload random files; what is offered is within the limit of the last valid one after each."""
    chance, limit_a = random.Random(15), 63.0
    for number in range(RELOADS):
        written_a = write(folder, csms, meter, chance)
        before = controller.view().circuits[0].limit_a
        try:
            await controller.reload()
        except ReloadRejectedError:
            assert written_a is None
            assert controller.view().circuits[0].limit_a == before
        else:
            assert written_a is not None
            limit_a = controller.view().circuits[0].limit_a[0]
            assert limit_a in (written_a, before[0])
        assert offered_a(controller) <= limit_a, f"reload {number}"


async def accept_commands(station: SocketStation) -> None:
    """Accept commands until the test ends; no connection may be closed before."""
    await station.wait_closed()
    raise AssertionError("a reload has closed the connection of a station that stays")


async def test_reload_storm_ends_no_session_and_loses_no_message(tmp_path: Path) -> None:
    async with serve_csms_by_name("cpo") as made, trio.open_nursery() as serving:
        csms = made["cpo"]
        meter = await serving.start(serve_tcp, SimulatedMeter(load_model("eastron-sdm630-v2")))
        chance = random.Random(1)
        while write(tmp_path, csms.port, meter, chance) is None:
            pass
        async with (
            running(tmp_path / "controller.toml", patience_s=300) as controller,
            connect_station(controller) as first,
            connect_station(controller, name="CS02") as second,
        ):
            link = await csms.accept()
            await second.forward_call(link, "BootNotification", BOOT, ACCEPTED)
            await second.forward_call(link, "StatusNotification", STATUS, {})
            await second.forward_call(link, "StartTransaction", START, start_result(7))
            await first.request("BootNotification", BOOT)
            await first.request("StartTransaction", START)
            csms.refuse_status = 503
            await link.aclose()
            await second.request("StopTransaction", stop_transaction(7))
            async with trio.open_nursery() as nursery:
                nursery.start_soon(accept_commands, first)
                nursery.start_soon(accept_commands, second)
                await reload_often(controller, tmp_path, csms.port, meter)
                nursery.cancel_scope.cancel()
            csms.refuse_status = None
            assert await count_stops(csms) == 1
            assert (await first.request("Heartbeat", {})).keys() == {"currentTime"}
        serving.cancel_scope.cancel()


async def count_stops(csms: CsmsServer) -> int:
    """Answer what is delivered, and return how often the end of the transaction came within that."""
    stops = 0
    with trio.move_on_after(60) as waited:
        while True:
            link = await csms.links.receive()
            try:
                while True:
                    frame = json.loads(await receive_text(link))
                    if frame[0] != 2:
                        continue
                    stops += frame[2] == "StopTransaction"
                    await link.send_message(json.dumps([3, frame[1], ACCEPTED if frame[2][0] == "B" else {}]))
                    if stops:
                        waited.deadline = min(waited.deadline, trio.current_time() + 1.0)
            except ConnectionClosed:
                continue
    return stops
