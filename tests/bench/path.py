"""Length of the way of a message through the running daemon: calls, functions, files, changes of file.

The daemon runs in this process, over real sockets, with the stations and backends of the dimming bench and a
meter on Modbus TCP. All calls of functions of `controller` and `drivers` are counted from the moment the
message is sent until its last consequence has arrived: a Heartbeat and its answer, a meter reading above the
circuit's limit and the SetChargingProfile that follows, a signed dimming command and its profile. The control
loop runs meanwhile as always: each way is taken several times, and the shortest counts.
"""

from __future__ import annotations

import base64
import itertools
import json
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import FrameType
from typing import Any

import trio
from trio_websocket import WebSocketConnection, open_websocket_url

from controller.services import app
from controller.services.configuration import load_configuration
from drivers.meter_model import load_model
from drivers.simulated import SimulatedMeter, serve_tcp
from tests.bench.dimming import Site, site_config
from tests.controller.signing.authors import Author
from tests.interop.programs import free_port

ROOT = Path(__file__).parent.parent.parent
LONGEST_S = 90.0
HEARTBEATS = 20
CUTS = 2
METER_MODEL = "janitza-umg604"
PHASES = ("l1", "l2", "l3")
VOLTS = 230.0
USUAL_A, OVERLOAD_A = 10.0, 101.5
"""Current beside the car: so much, and so much that a lower one of the car keeps the limit of the circuit."""
INTERVAL_S = 0.5
"""Interval of the meter's readings."""
MOVE_S = 0.3
"""Interval in which the meter's last digits change: one that repeats itself is planned with at the worst."""

Row = dict[str, object]


class ReportingSite(Site):
    """The stations of the dimming bench, which also report what their cars draw."""

    async def _obey(self, name: str, socket: WebSocketConnection, frame: list[Any]) -> None:
        before = len(self.limits[name])
        await super()._obey(name, socket, frame)
        if len(self.limits[name]) == before:
            return
        amps = self.limits[name][-1][1]
        sampled = [
            {"value": f"{amps:.1f}", "measurand": "Current.Import", "unit": "A", "phase": phase.upper()}
            for phase in PHASES
        ]
        values = {"timestamp": datetime.now(UTC).isoformat(), "sampledValue": sampled}
        report = {"connectorId": 1, "meterValue": [values]}
        await socket.send_message(json.dumps([2, f"report{before}", "MeterValues", report]))


class Meter:
    """The simulated meter of the circuit, with plausible values that never stand still."""

    def __init__(self, site: Site) -> None:
        self.simulated = SimulatedMeter(load_model(METER_MODEL))
        self._site = site
        self._beside_a = USUAL_A
        self._moves = 0
        self.show(USUAL_A)

    def show(self, beside_a: float) -> None:
        """Show this current beside the car's on each phase (A)."""
        self._beside_a = beside_a
        self._moves += 1
        car_a = sum(told[-1][1] for told in self._site.limits.values() if told)
        amps = beside_a + car_a + 0.01 * (self._moves % 7)
        values = {"frequency": 50.0, "power_active_total": 3 * amps * VOLTS}
        for phase in PHASES:
            values |= {f"current_{phase}": amps, f"voltage_{phase}": VOLTS}
            values |= {f"power_active_{phase}": amps * VOLTS}
        self.simulated.set_values(values)

    async def run(self) -> None:
        """Change the last digits until cancelled."""
        while True:
            self.show(self._beside_a)
            await trio.sleep(MOVE_S)


def bench() -> list[Row]:
    """One row a way."""
    return trio.run(_measure)


class Tracer:
    """Counts the calls of the project's functions while it is on."""

    def __init__(self) -> None:
        self._calls: list[tuple[str, str]] = []

    def __enter__(self) -> Tracer:
        self._calls = []
        sys.setprofile(self._on_event)
        return self

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)

    def _on_event(self, frame: FrameType, event: str, _argument: object) -> None:
        if event == "call":
            code = frame.f_code
            path = code.co_filename.removeprefix(f"{ROOT}/")
            if path.startswith(("controller/", "drivers/")) and path != "drivers/simulated.py":
                self._calls.append((path, code.co_qualname))

    def row(self, what: str) -> Row:
        """Return the figures."""
        files = [path for path, _ in self._calls]
        changes = sum(one != other for one, other in itertools.pairwise(files))
        return {
            "what": what,
            "calls": len(self._calls),
            "functions": len(set(self._calls)),
            "files": len(set(files)),
            "changes of file": changes,
        }

    def listing(self) -> list[str]:
        """Return the calls in their order."""
        return [f"{path} {name}" for path, name in self._calls]


async def _measure() -> list[Row]:
    site, operator = ReportingSite(["CS0000"]), Author()
    meter = Meter(site)
    with tempfile.TemporaryDirectory() as directory, trio.fail_after(LONGEST_S):
        async with _running(Path(directory), site, operator, meter) as port:
            return [
                _shortest("Heartbeat and its answer", await _beat(port)),
                _shortest("meter reading to SetChargingProfile", await _overload(site, meter)),
                _shortest("signed dimming command to its profile", await _dim(site, operator)),
            ]
    raise AssertionError("unreachable")


async def decision_delays(count: int) -> list[float]:
    """Return the times (s) from a change at the meter until the lower limit has reached the station."""
    site, operator = ReportingSite(["CS0000"]), Author()
    meter = Meter(site)
    delays = []
    with tempfile.TemporaryDirectory() as directory, trio.fail_after(count * LONGEST_S):
        async with _running(Path(directory), site, operator, meter):
            for number in range(count):
                await trio.sleep(0.13 * number)  # at different moments between two readings
                changed = trio.current_time()
                meter.show(OVERLOAD_A)
                await site.lower_limit_since(changed)
                delays.append(trio.current_time() - changed)
                meter.show(USUAL_A)
                await site.all_charge_again()
            return delays
    raise AssertionError("unreachable")


def _shortest(what: str, ways: Sequence[Tracer]) -> Row:
    """Return the way with the fewest calls: nothing else happened meanwhile."""
    return min((way.row(what) for way in ways), key=lambda row: int(str(row["calls"])))


@asynccontextmanager
async def _running(folder: Path, site: Site, operator: Author, meter: Meter) -> AsyncIterator[int]:
    """Run daemon, backend, meter and a charging station; yields the stations' port."""
    port = free_port()
    async with trio.open_nursery() as nursery:
        await nursery.start(site.serve)
        meter_port = await nursery.start(serve_tcp, meter.simulated)
        nursery.start_soon(meter.run)
        path = site_config(folder, site, port, base64.b64encode(operator.point).decode())
        text = path.read_text().replace(
            '[[circuit]]\nid = "grid"\n', '[[circuit]]\nid = "grid"\nmeter = "grid"\n'
        )
        path.write_text(
            text + '[[station]]\nid = "BEATS"\nowner = "cpo"\ncircuit = "grid"\n'
            "[[station.evse]]\nmax_a = 6\nfallback_a = 0\n"
            f'[[meter]]\nid = "grid"\ndriver = "{METER_MODEL}"\ntransport = "tcp"\n'
            f'host = "127.0.0.1"\nport = {meter_port}\ninterval_s = {INTERVAL_S}\n'
        )
        config, _ = load_configuration(path)
        await nursery.start(app.run, config)
        nursery.start_soon(site.run, port)
        await site.all_charge()
        yield port
        nursery.cancel_scope.cancel()


async def _beat(port: int) -> list[Tracer]:
    ways = []
    url = f"ws://127.0.0.1:{port}/ocpp/BEATS"
    async with open_websocket_url(url, subprotocols=["ocpp1.6"]) as socket:
        for number in range(HEARTBEATS):
            with Tracer() as way:
                await socket.send_message(f'[2,"beat{number}","Heartbeat",{{}}]')
                while (frame := json.loads(await socket.get_message()))[0] != 3:
                    await socket.send_message(f'[3,"{frame[1]}",{{"status":"Accepted"}}]')
            ways.append(way)
            await trio.sleep(0.05)
    return ways


async def _overload(site: Site, meter: Meter) -> list[Tracer]:
    ways = []
    for _ in range(CUTS):
        with Tracer() as way:
            sent = trio.current_time()
            meter.show(OVERLOAD_A)
            await site.lower_limit_since(sent)
        ways.append(way)
        meter.show(USUAL_A)
        await site.all_charge_again()
    return ways


async def _dim(site: Site, operator: Author) -> list[Tracer]:
    ways = []
    for sequence in range(1, CUTS + 1):
        now = datetime.now(UTC)
        command = operator.signed(
            {
                "commandId": f"bench{sequence}",
                "issuer": {"role": "grid-operator"},
                "scope": {"connectionPoint": "lc"},
                "limitW": 4200,
                "notBefore": now.isoformat(),
                "notAfter": (now + timedelta(seconds=3)).isoformat(),
                "sequence": sequence,
            },
            "urn:local-controller:dim:command:1",
        )
        with Tracer() as way:
            await site.dim(command)
        ways.append(way)
        await site.all_charge_again()
    return ways


if __name__ == "__main__":
    for row in bench():
        print(row)
