"""What the relay costs: the installed daemon, beside a relay on `websockets` and a splice of TCP bytes.

All in one run, in turns, under the same load (`relay_load`), each relay alone on one core. Messages count
as relayed; what counts against them is the CPU time of the relay's process, so that a load that does not
keep it busy does no harm. Figures of different machines do not compare; ratios of one run do.
"""

from __future__ import annotations

import json
import os
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from controller.chargers.quirks import LimitScope
from controller.model.effects import BackendUp, FromBackend
from controller.model.journal import StoreState
from controller.ocpp.frames import Version
from controller.ocpp.station_state import StationStateTracker
from controller.offline.offline_handler import make_offline_handler
from controller.offline.offline_responder import OfflineRules
from controller.offline.station_memory import StationMemory
from controller.profiles.arbiter import ProfileArbiter
from controller.relay.events import FromStation
from controller.relay.station_relay import StationRelay
from controller.relay.upstream import OwnerSide
from tests.bench.relay_load import Load, answer_of, call_of
from tests.bench.relay_others import Place
from tests.controller.transport.certificates import Authority
from tests.scenario.relay_harness import make_absorbed_profiles

US, PEER, SPLICE, ACCEPT = "local-controller", "websockets", "splice", "accept"
CONTROLLER = Path(sys.executable).parent / "local-controller"
TICK_S = 1 / os.sysconf("SC_CLK_TCK")
PATIENCE_S = 120.0

Row = dict[str, object]


def bench(*, quick: bool = False) -> list[Row]:
    """One row a measurement; `quick`: with few stations, and once."""
    rounds = 1 if quick else 3
    with tempfile.TemporaryDirectory() as folder:
        site = _Site(Path(folder))
        return [
            *(_state_machine(size, changing=changing) for size in (300, 2000) for changing in (False, True)),
            _state_machine(300, autonomous=True),
            *(
                _throughput(site, stations, size, rounds, tls=tls, deflate=deflate)
                for tls, deflate in ((False, False), (True, False), (False, True))
                for stations in ((64,) if quick else (1, 64, 1000))
                for size in (300, 2000)
            ),
            *(_latency(site, stations) for stations in ((64,) if quick else (64, 1000))),
            *(_memory(site, 200 if quick else 1000, tls=tls) for tls in (False, True)),
            *(() if quick else [_memory(site, 4000, tls=True, kinds=(US,))]),
            _arrival(site, 200 if quick else 1000),
        ]


# -- the measurements --------------------------------------------------------------------------------------


def _throughput(
    site: _Site, stations: int, size: int, rounds: int, *, tls: bool = False, deflate: bool = False
) -> Row:
    """Messages relayed per CPU second of the relay."""
    kinds = [US, PEER] if tls or deflate else [US, PEER, SPLICE]
    found: dict[str, list[float]] = {kind: [] for kind in kinds}
    for _ in range(rounds):
        random.shuffle(kinds)
        for kind in kinds:
            with site.relay(kind, stations, tls=tls, deflate=deflate) as relay, relay.load(size=size) as load:
                load.until("warm")
                spent = relay.cpu_s()
                load.until("over")
                spent = relay.cpu_s() - spent
                found[kind].append(2 * load.result()["round_trips"] / spent)
    how = ", TLS" * tls + ", deflate" * deflate
    return {"what": f"messages per CPU second, {stations} stations, {size} B{how}", **_compared(found, 0)}


def _latency(site: _Site, stations: int) -> Row:
    """How long a call takes from station to backend, where 500 messages a second pass."""
    row: Row = {"what": f"ms from station to backend, 500 messages/s, {stations} stations, p50 / p99"}
    for kind in (US, PEER, SPLICE):
        with site.relay(kind, stations) as relay, relay.load(rate=250.0, seconds=6.0) as load:
            result = load.result()
            row[kind] = f"{result['p50_ms']:.2f} / {result['p99_ms']:.2f}"
    return row


def _memory(site: _Site, stations: int, *, tls: bool, kinds: tuple[str, ...] = (US, PEER)) -> Row:
    """Memory of a station that is connected and idle."""
    found: dict[str, list[float]] = {}
    for kind in kinds:
        with site.relay(kind, stations, tls=tls) as relay:
            before = relay.memory_kib()
            with relay.load(idle=True):
                time.sleep(1.0)
                found[kind] = [(relay.memory_kib() - before) / stations]
    return {"what": f"KiB a station, idle, {stations} stations{', TLS' * tls}", **_compared(found, 1)}


def _arrival(site: _Site, stations: int) -> Row:
    """What it costs that a station comes in, and on to its backend; `storm` has how long that takes."""
    row: Row = {"what": f"CPU ms a station that connects, {stations} stations, TLS"}
    for kind in (US, PEER, ACCEPT):
        with site.relay(kind, stations, tls=True) as relay:
            before = relay.cpu_s()
            with relay.load(idle=True, bare=kind == ACCEPT):
                row[kind] = round((relay.cpu_s() - before) / stations * 1e3, 2)
    return row


def _compared(found: dict[str, list[float]], digits: int) -> Row:
    median = {kind: statistics.median(each) for kind, each in found.items()}
    row: Row = {kind: round(value, digits) for kind, value in sorted(median.items())}
    if PEER in median:
        row[f"ratio to {PEER}"] = round(median[US] / median[PEER], 2)
    return row


def _state_machine(size: int, *, changing: bool = False, autonomous: bool = False) -> Row:
    """The part of it that is decision, and not transport; `changing`: each message has another value.

    `autonomous`: the station is served while its owner is away.
    """
    owner = OwnerSide("cpo")
    if autonomous:
        memory = StationMemory("CS01", ["cpo"], b"key", [], StoreState())
        offline = make_offline_handler(memory, Version.V16, OfflineRules(), lambda now: now)
        owner = OwnerSide("cpo", offline=offline, snapshot=memory.snapshot)
    relay = StationRelay(
        "CS01",
        Version.V16,
        owner,
        StationStateTracker(Version.V16, 230),
        ProfileArbiter(Version.V16, LimitScope.STATION, make_absorbed_profiles(LimitScope.STATION)),
        30,
        0.0,
    )
    relay.handle(BackendUp(), 0.0, 0.0)
    rounds, call, answer = 3000, call_of(size), answer_of(size)
    texts = [(call.payload(number).decode(), answer.payload(number).decode()) for number in range(rounds)]
    if changing:
        texts = [(asked.replace("2417.5", f"{n:06}"), answered) for n, (asked, answered) in enumerate(texts)]
    start = time.process_time()
    for asked, answered in texts:
        relay.handle(FromStation(asked), 1.0, 1.0)
        relay.handle(FromBackend(answered), 1.0, 1.0)
    spent = time.process_time() - start
    values = ("other values each" if changing else "the same values") + ", autonomous" * autonomous
    return {
        "what": f"us a round trip, the state machine alone, {size} B, {values}",
        US: round(spent / rounds * 1e6, 1),
    }


# -- the processes -----------------------------------------------------------------------------------------


class _Site:
    """Certificates, configurations, and relays that run."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._authority = Authority(folder)
        self._pair = self._authority.server()
        os.chmod(self._pair.key, 0o600)

    @contextmanager
    def relay(
        self, kind: str, stations: int, *, tls: bool = False, deflate: bool = False
    ) -> Iterator[_Relay]:
        port, backend = _free_ports()
        place = Place(port, backend, deflate)
        if tls:
            place.ca, place.certificate, place.key = (
                self._authority.ca,
                self._pair.certificate,
                self._pair.key,
            )
        if kind == US:
            command = [str(CONTROLLER), "run", "-c", str(self._configuration(place, stations))]
        else:
            command = [
                sys.executable,
                "-m",
                "tests.bench.relay_others",
                kind,
                msgspec.json.encode(place).decode(),
            ]
        log = (self._folder / "log").open("w")
        process = subprocess.Popen(command, stdout=log, stderr=log, preexec_fn=lambda: _alone_on(0))
        try:
            _wait_for(port, process, self._folder / "log")
            yield _Relay(process.pid, place, stations)
        finally:
            process.kill()
            process.wait()
            log.close()

    def _configuration(self, place: Place, stations: int) -> Path:
        own = theirs = ""
        if place.certificate:
            own = f'certificate = "{place.certificate}"\nkey = "{place.key}"'
            theirs = f'ca = "{place.ca}"'
        compression = "true" if place.deflate else "false"
        text = f"""
            [site]
            id = "bench"
            [store]
            directory = "{self._folder}"
            [listen]
            host = "127.0.0.1"
            port = {place.port}
            handshakes_per_second = 0
            messages_per_second = 0
            compression = {compression}
            {own}
            [[backend]]
            id = "cpo"
            url = "{"wss" if theirs else "ws"}://localhost:{place.backend}/csms/{{station}}"
            compression = {compression}
            {theirs}
            [[circuit]]
            id = "grid"
            limit_a = 10000
            [load_management]
            fallback_a = 0
        """
        for number in range(stations):
            text += f'\n[[station]]\nid = "CS{number:04}"\ncircuit = "grid"\nowner = "cpo"\n'
        file = self._folder / "controller.toml"
        file.write_text(text)
        return file


class _Relay:
    """A relay that runs, and the load that is put on it."""

    def __init__(self, pid: int, place: Place, stations: int) -> None:
        self._pid = pid
        self._place = place
        self._stations = stations

    def cpu_s(self) -> float:
        """User and system time of its process so far."""
        fields = Path(f"/proc/{self._pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) * TICK_S

    def memory_kib(self) -> float:
        """Its resident memory."""
        pages = int(Path(f"/proc/{self._pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGESIZE") / 1024

    @contextmanager
    def load(
        self,
        *,
        size: int = 300,
        seconds: float = 2.0,
        rate: float = 0.0,
        idle: bool = False,
        bare: bool = False,
    ) -> Iterator[_Load]:
        """Run a load whose links are open when the block begins; `idle`: without messages."""
        place = self._place
        wanted = Load(
            place.port,
            place.backend,
            self._stations,
            size,
            seconds,
            rate,
            place.deflate,
            place.ca,
            place.certificate,
            place.key,
            bare,
        )
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.bench.relay_load", msgspec.json.encode(wanted).decode()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            preexec_fn=lambda: _alone_on(1),
        )
        with process:
            load = _Load(process)
            try:
                load.until("through")
                if not idle:
                    load.go()
                yield load
            finally:
                process.kill()


class _Load:
    """The load's process, line by line."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._in, self._out = process.stdin, process.stdout

    def go(self) -> None:
        self._in.write("go\n")
        self._in.flush()

    def until(self, word: str) -> None:
        if (line := self._out.readline().strip()) != word:
            raise RuntimeError(f"expected {word} from the load, got {line!r}")

    def result(self) -> dict[str, float]:
        found: dict[str, float] = json.loads(self._out.readline())
        return found


def _alone_on(core: int) -> None:
    os.sched_setaffinity(0, {core % (os.cpu_count() or 1)})


def _free_ports() -> tuple[int, int]:
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as other:
        return one.getsockname()[1], other.getsockname()[1]


def _wait_for(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while process.poll() is None and time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise RuntimeError(f"no relay: {log.read_text()[-1000:]}")
