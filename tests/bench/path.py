"""Length of the way of a message through the running daemon: calls, functions, files, changes of file.

The daemon runs in this process, over real sockets, with the stations and backends of the dimming bench and a
meter on Modbus TCP. Calls of functions of `controller` and `drivers` are counted in the daemon's thread
between an event and its consequence:

    Heartbeat         sent by the station, until its answer has arrived
    meter reading     answered by the meter with a current above the circuit's limit, until the station has
                      received the lower SetChargingProfile
    signed command    sent by the backend, until the station has received the lower SetChargingProfile

Before, one step of the car proves the meter's phases, as on any site a day after its installation. The
commands limit the car to less and less, so that it need not rise between them; between the overloads it
rises as soon as its share does. The whole takes three minutes.

The daemon's own polls and ticks go on meanwhile. They are taken out in three ways: the window begins with the
event itself (the meter's answer, not the change before it); other windows begin behind a poll, so that the
next one is far; and each way is taken several times, each time with an idle window of the same length. A
function counts with its median over the windows of the event, less its median over the idle ones. Changes of
file are those of the median window, without the functions that do not count.

`python -m tests.bench.path FOLDER` also writes the calls of each way, in their order, into files there.
"""

from __future__ import annotations

import base64
import itertools
import json
import statistics
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import msgspec
import trio
from trio_websocket import WebSocketConnection, open_websocket_url

from controller.load_management.metering.step_check import LEAD_S, SEEN_S
from controller.services import app
from controller.services.configuration.configuration import load_configuration
from drivers.meter_model import load_model
from drivers.modbus.pymodbus_frames import ReadRequest
from drivers.simulated import SimulatedMeter, serve_tcp
from tests.bench.dimming import DimmedStations, site_config
from tests.controller.dimming.commands import signed_command
from tests.controller.signing.authors import Author
from tests.interop.programs import free_port

ROOT = Path(__file__).parent.parent.parent
LONGEST_S = 90.0
"""Bound of one way, with the time until the station charges again (s)."""
HEARTBEATS = 9
LIMITS_W = (10_000, 7000, 4200)
"""Limits of the commands: each cuts the car deeper."""
DIMMED_S = 8.0
"""Time after which a command ends (s); the next one comes before."""
CUTS = 3
SETTLED_S = 1.5
"""Time after which nothing follows from a cut any more (s)."""
SIMULATED = "drivers/simulated.py"
METER_MODEL = "janitza-umg604"
PHASES = ("l1", "l2", "l3")
VOLTS = 230.0
USUAL_A, OVERLOAD_A = 10.0, 101.5
"""Current beside the car: so much, and so much that a lower one of the car keeps the limit of the circuit."""
OTHER_LOAD_A = 3.5
"""Difference of one overload to the next: repeated pulses of one load would keep the room reserved."""
INTERVAL_S = 0.5
"""Interval of the meter's readings."""
MOVE_S = 0.3
"""Interval in which the meter's last digits change: a repeating meter is planned with at the worst."""

BEHIND_POLL_S = 0.15
"""Time after a poll of the meter at which its reading has been processed (s)."""

Row = dict[str, object]
Call = tuple[str, str]
"""File and qualified name of a function."""


class ReportingSite(DimmedStations):
    """The stations of the dimming bench, which also report what their cars draw."""

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__(names)
        self._sockets: dict[str, WebSocketConnection] = {}

    async def _obey(self, name: str, socket: WebSocketConnection, frame: list[Any]) -> None:
        before = len(self.limits[name])
        self._sockets[name] = socket
        await super()._obey(name, socket, frame)
        if len(self.limits[name]) != before:
            await self.report(name)

    async def report(self, name: str) -> None:
        """Report the draw of a car, which is its limit."""
        amps = self.limits[name][-1][1]
        sampled = [
            {"value": f"{amps:.1f}", "measurand": "Current.Import", "unit": "A", "phase": phase.upper()}
            for phase in PHASES
        ]
        values = {"timestamp": datetime.now(UTC).isoformat(), "sampledValue": sampled}
        report = {"connectorId": 1, "meterValue": [values]}
        call = json.dumps([2, f"report{trio.current_time()}", "MeterValues", report])
        await self._sockets[name].send_message(call)


class PolledMeter(SimulatedMeter):
    """A simulated meter that reports its next poll."""

    on_poll: Callable[[], None] | None = None
    """Called at the next poll, once."""

    def answer(self, request: ReadRequest) -> Sequence[int] | int:
        """Answer a request, and report that there was one."""
        if self.on_poll is not None:
            on_poll, self.on_poll = self.on_poll, None
            on_poll()
        return super().answer(request)


class MovingMeter:
    """The simulated meter of the circuit, with plausible values that never stand still."""

    def __init__(self, site: DimmedStations) -> None:
        self.simulated = PolledMeter(load_model(METER_MODEL))
        self._site = site
        self._beside_a = USUAL_A
        self._moves = 0
        self.show(USUAL_A)

    def show(self, beside_a: float) -> None:
        """Show this current beside the car's on each phase (A)."""
        self._beside_a = beside_a
        self._moves += 1
        car_a = sum(offers[-1][1] for offers in self._site.limits.values() if offers)
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

    async def wait_quiet(self) -> None:
        """Wait until a poll has just been processed: the next one is most of an interval away."""
        polled = trio.Event()
        self.simulated.on_poll = polled.set
        await polled.wait()
        await trio.sleep(BEHIND_POLL_S)


class Tracer:
    """Counts the calls of the project's functions in this thread while it is on."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.began_at = 0.0
        self._simulated_depth = 0

    def __enter__(self) -> Tracer:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)

    def start(self) -> None:
        """Begin to count."""
        self.began_at = trio.current_time()
        sys.setprofile(self._on_event)

    def _on_event(self, frame: FrameType, event: str, _argument: object) -> None:
        if event not in ("call", "return"):
            return
        code = frame.f_code
        path = code.co_filename.removeprefix(f"{ROOT}/")
        if path == SIMULATED:  # the meter itself encodes its values with functions of the daemon's drivers
            self._simulated_depth = max(0, self._simulated_depth + (1 if event == "call" else -1))
        elif event == "call" and not self._simulated_depth and path.startswith(("controller/", "drivers/")):
            self.calls.append((path, code.co_qualname))


class Way(msgspec.Struct):
    """A way that was taken several times, each time beside an idle window of the same length."""

    what: str
    taken: list[list[Call]] = []
    idle: list[list[Call]] = []

    length_s: float = 0.0
    """Length of the newest window of the event."""

    async def take(self, event: Callable[[Tracer], Awaitable[None]]) -> None:
        """Take the way once: `event` starts the tracer, and ends with its last consequence."""
        tracer = Tracer()
        try:
            await event(tracer)
        finally:
            sys.setprofile(None)
        self.length_s = trio.current_time() - tracer.began_at
        self.taken.append(tracer.calls)

    async def idle_as_long(self, meter: MovingMeter) -> None:
        """Take an idle window of the length of the newest one of the event, as far from polls."""
        await meter.wait_quiet()
        with Tracer() as tracer:
            await trio.sleep(self.length_s)
        self.idle.append(tracer.calls)

    def counted(self) -> Counter[Call]:
        """Return how often each function belongs to the event."""
        taken, idle = [Counter(each) for each in self.taken], [Counter(each) for each in self.idle]
        return Counter(
            {
                call: count
                for call in set().union(*taken)
                if (count := _median(taken, call) - _median(idle, call)) > 0
            }
        )

    def listing(self) -> list[Call]:
        """Return the calls of the median window in their order, without functions that do not count."""
        counted = self.counted()
        return [call for call in sorted(self.taken, key=len)[len(self.taken) // 2] if call in counted]

    def row(self) -> Row:
        """Return the figures."""
        counted = self.counted()
        files = [path for path, _ in self.listing()]
        return {
            "what": self.what,
            "calls": counted.total(),
            "functions": len(counted),
            "files": len({path for path, _ in counted}),
            "changes of file": sum(one != other for one, other in itertools.pairwise(files)),
        }


def _median(windows: Sequence[Counter[Call]], call: Call) -> int:
    return round(statistics.median(window[call] for window in windows))


def bench() -> list[Row]:
    """One row a way."""
    return [way.row() for way in trio.run(_measure)]


async def _measure() -> list[Way]:
    site, operator = ReportingSite(["CS0000"]), Author()
    meter = MovingMeter(site)
    with tempfile.TemporaryDirectory() as directory, trio.fail_after((1 + 2 * CUTS) * LONGEST_S):
        async with _running(Path(directory), site, operator, meter) as port:
            heartbeat = await _beat(port, meter)
            await _prove_phases(site, operator)
            command = await _dim(site, operator, meter)
            return [heartbeat, await _overload(site, meter), command]
    raise AssertionError("unreachable")


async def decision_delays(count: int) -> list[float]:
    """Return the times (s) from a change at the meter until the lower limit has reached the station."""
    site, operator = ReportingSite(["CS0000"]), Author()
    meter = MovingMeter(site)
    delays = []
    with tempfile.TemporaryDirectory() as directory, trio.fail_after(count * LONGEST_S):
        async with _running(Path(directory), site, operator, meter):
            for number in range(count):
                await trio.sleep(0.13 * number)  # at different moments between two readings
                changed = trio.current_time()
                meter.show(OVERLOAD_A + number * OTHER_LOAD_A)
                await site.lower_limit_since(changed)
                delays.append(trio.current_time() - changed)
                meter.show(USUAL_A)
                await site.all_charge_again()
            return delays
    raise AssertionError("unreachable")


@asynccontextmanager
async def _running(
    folder: Path, site: DimmedStations, operator: Author, meter: MovingMeter
) -> AsyncIterator[int]:
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


async def _beat(port: int, meter: MovingMeter) -> Way:
    way = Way("Heartbeat and its answer")
    url = f"ws://127.0.0.1:{port}/ocpp/BEATS"
    async with open_websocket_url(url, subprotocols=["ocpp1.6"]) as socket, trio.open_nursery() as nursery:
        answers, answered = trio.open_memory_channel[str](1)
        nursery.start_soon(_answer_calls, socket, answers)
        for number in range(HEARTBEATS):
            await meter.wait_quiet()

            async def beat(tracer: Tracer, number: int = number) -> None:
                with tracer:
                    await socket.send_message(f'[2,"beat{number}","Heartbeat",{{}}]')
                    await answered.receive()

            await way.take(beat)
            await way.idle_as_long(meter)
        nursery.cancel_scope.cancel()
    return way


async def _answer_calls(socket: WebSocketConnection, answers: trio.MemorySendChannel[str]) -> None:
    """Accept the CALLs of the daemon as they come, outside of the windows too, and pass on its answers."""
    while True:
        text = await socket.get_message()
        frame = json.loads(text)
        if frame[0] == 3:
            await answers.send(text)
        else:
            await socket.send_message(f'[3,"{frame[1]}",{{"status":"Accepted"}}]')


async def _overload(site: DimmedStations, meter: MovingMeter) -> Way:
    way = Way("meter reading to SetChargingProfile")

    async def overload(tracer: Tracer, number: int) -> None:
        await meter.wait_quiet()
        meter.show(OVERLOAD_A + number * OTHER_LOAD_A)
        meter.simulated.on_poll = tracer.start
        await site.lower_limit_since(trio.current_time())

    for number in range(CUTS):
        await site.all_charge_again()
        await way.take(partial(overload, number=number))
        meter.show(USUAL_A)
        await trio.sleep(SETTLED_S)
        await way.idle_as_long(meter)
    return way


async def _prove_phases(site: ReportingSite, operator: Author) -> None:
    """Let the meter see one step of a car between two of its reports, and wait until that has been judged."""
    await trio.sleep(LEAD_S)
    await site.report(site.names[0])
    await trio.sleep(SETTLED_S)
    # The car stays down until that has been judged: its rise would hide the step.
    await site.send_command(signed_command(operator, 1, LIMITS_W[-1], datetime.now(UTC), SEEN_S + LEAD_S))
    await trio.sleep(SEEN_S + LEAD_S)
    await site.all_charge_again()
    await trio.sleep(SEEN_S)


async def _dim(site: DimmedStations, operator: Author, meter: MovingMeter) -> Way:
    way = Way("signed dimming command to its profile")
    for sequence, limit_w in enumerate(LIMITS_W, 2):
        command = signed_command(operator, sequence, limit_w, datetime.now(UTC), DIMMED_S)
        await meter.wait_quiet()

        async def dim(tracer: Tracer, command: bytes = command) -> None:
            with tracer:
                sent = trio.current_time()
                await site.send_command(command)
                await site.all_lower(sent)

        await way.take(dim)
        await trio.sleep(SETTLED_S)
        await way.idle_as_long(meter)
    return way


def main() -> None:
    """Print the rows; write the calls of each way into the folder that is named."""
    for way in trio.run(_measure):
        print(way.row())
        for folder in sys.argv[1:]:
            Path(folder).mkdir(parents=True, exist_ok=True)
            lines = [f"{path} {name}" for path, name in way.listing()]
            (Path(folder) / f"{way.what.split()[0].lower()}.txt").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
