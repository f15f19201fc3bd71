"""The daemon, as installed, between programs that we did not write: PyPI `ocpp` and npm `ocpp-rpc`."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

HERE = Path(__file__).parent
CONTROLLER = Path(sys.executable).with_name("local-controller")
VERSIONS = ("ocpp1.6", "ocpp2.0.1", "ocpp2.1")
PATIENCE_S = 30.0

Event = dict[str, Any]


class Program:
    """A program of a stranger: its JSON lines as they come."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self._came = trio.Event()

    async def read(self, stream: trio.abc.ReceiveStream) -> None:
        rest = b""
        async for chunk in stream:
            *lines, rest = (rest + chunk).split(b"\n")
            self.events += [json.loads(line) for line in lines if line.startswith(b"{")]
            self._came.set()
            self._came = trio.Event()

    async def until(self, wanted: Callable[[Event], bool]) -> Event:
        with trio.move_on_after(PATIENCE_S):
            while True:
                for event in self.events:
                    if wanted(event):
                        return event
                await self._came.wait()
        raise AssertionError(f"it never came; what came: {self.events}")

    def said(self, key: str) -> list[Any]:
        return [event[key] for event in self.events if key in event]


@asynccontextmanager
async def started(*command: str | Path) -> AsyncIterator[Program]:
    program = Program()
    async with trio.open_nursery() as nursery:
        process = await nursery.start(
            partial(trio.run_process, [*map(str, command)], stdout=subprocess.PIPE, check=False)
        )
        nursery.start_soon(program.read, process.stdout)
        yield program
        nursery.cancel_scope.cancel()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def configuration(folder: Path, port: int, backend_port: int) -> Path:
    path = folder / "controller.toml"
    path.write_text(f"""
[site]
id = "lc-test"
[store]
directory = "{folder}"
[listen]
host = "127.0.0.1"
port = {port}
path = "/ocpp"
[[backend]]
id = "cpo"
url = "ws://127.0.0.1:{backend_port}/csms/{{station}}"
[[circuit]]
id = "grid"
limit_a = 63
[[station]]
id = "CS01"
circuit = "grid"
owner = "cpo"
[[station.evse]]
id = 1
max_a = 32
[load_management]
tick_s = 0.5
""")
    return path


async def listening(port: int) -> None:
    with trio.fail_after(PATIENCE_S):
        while True:
            try:
                await (await trio.open_tcp_stream("127.0.0.1", port)).aclose()
            except OSError:
                await trio.sleep(0.1)
            else:
                return


STATIONS = {
    "python": lambda version, port: (
        sys.executable, HERE / "python_station.py", version, f"ws://127.0.0.1:{port}/ocpp/CS01",
    ),
    "node": lambda version, port: (
        "node", HERE / "node_station.js", version, f"ws://127.0.0.1:{port}/ocpp", "CS01",
    ),
}  # fmt: skip
BACKENDS = {
    "python": lambda port: (sys.executable, HERE / "python_backend.py", str(port)),
    "node": lambda port: ("node", HERE / "node_backend.js", str(port)),
}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("station_kind", "backend_kind"),
    [("python", "python"), ("node", "node"), ("python", "node"), ("node", "python")],
)
async def test_a_charging_session_between_strangers(
    station_kind: str, backend_kind: str, version: str, tmp_path: Path
) -> None:
    port, backend_port = free_port(), free_port()
    config = configuration(tmp_path, port, backend_port)
    async with started(*BACKENDS[backend_kind](backend_port)) as backend:
        await backend.until(lambda event: "listening" in event)
        async with started(CONTROLLER, "run", "-c", config):
            await listening(port)
            async with started(*STATIONS[station_kind](version, port)) as station:
                await station.until(lambda event: "done" in event or "failed" in event)
                await backend.until(lambda event: "commanded" in event)

    assert {"got": "BootNotification", "status": "Accepted"} in station.events
    assert station.said("failed") == []
    assert station.said("complaint") == []
    assert backend.said("complaint") == []
    check_transaction(version, station, backend)
    check_limits(version, station)


def check_transaction(version: str, station: Program, backend: Program) -> None:
    saw = [event["saw"] for event in backend.events if "saw" in event]
    if version == "ocpp1.6":
        assert saw.count("StartTransaction") == saw.count("StopTransaction") == 1
        assert (
            next(event for event in backend.events if event.get("saw") == "StopTransaction")["transaction"]
            == 1_800_000_000
        )
        assert ["HeartbeatInterval"] in backend.said("unknown_key")
    else:
        events = [event["event"] for event in backend.events if event.get("saw") == "TransactionEvent"]
        assert events == ["Started", "Updated", "Ended"]
        assert backend.said("value") == ["42"]


def check_limits(version: str, station: Program) -> None:
    """A permanent floor first, then a lease above it that ends by itself."""
    profiles = [event["payload"] for event in station.events if event.get("did") == "SetChargingProfile"]
    heads = [_profile(payload) for payload in profiles]
    assert heads[0]["level"] == 0
    assert heads[0]["duration"] is None
    leases = [head for head in heads if head["level"] == 1]
    assert leases
    assert all(lease["duration"] is not None and lease["limit"] <= 32 for lease in leases)
    assert {head["purpose"] for head in heads} == {
        "ChargePointMaxProfile" if version == "ocpp1.6" else "ChargingStationMaxProfile"
    }


def _profile(payload: Event) -> Event:
    """The members that count, whatever case the program keeps them in and whatever version they are of."""
    flat = {key.replace("_", "").lower(): value for key, value in payload.items()}
    profile = {
        key.replace("_", "").lower(): value
        for key, value in flat.get("cschargingprofiles", flat.get("chargingprofile")).items()
    }
    schedule = profile["chargingschedule"]
    schedule = schedule[0] if isinstance(schedule, list) else schedule
    schedule = {key.replace("_", "").lower(): value for key, value in schedule.items()}
    return {
        "level": profile["stacklevel"],
        "purpose": profile["chargingprofilepurpose"],
        "duration": schedule.get("duration"),
        "limit": schedule["chargingscheduleperiod"][0]["limit"],
    }
