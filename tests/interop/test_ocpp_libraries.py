"""The installed daemon between third-party programs: PyPI `ocpp` and `ocpp-csms`, npm `ocpp-rpc`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import trio

from tests.interop.programs import (
    CONTROLLER,
    HERE,
    VERSIONS,
    Event,
    Program,
    configuration,
    free_port,
    listening,
    started,
)

STATIONS = {
    "python": lambda version, port: (
        sys.executable,
        HERE / "python_station.py",
        version,
        f"ws://127.0.0.1:{port}/ocpp/CS01",
    ),
    "node": lambda version, port: (
        "node",
        HERE / "node_station.js",
        version,
        f"ws://127.0.0.1:{port}/ocpp",
        "CS01",
    ),
}
BACKENDS = {
    "python": lambda port: (sys.executable, HERE / "python_backend.py", str(port)),
    "node": lambda port: ("node", HERE / "node_backend.js", str(port)),
    "csms": lambda port: (sys.executable, HERE / "csms_backend.py", str(port)),
}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("station_kind", "backend_kind"),
    [("python", "python"), ("node", "node"), ("python", "node"), ("node", "python")],
)
async def test_ocpp_libraries_charging_session_passes_controller(
    station_kind: str, backend_kind: str, version: str, tmp_path: Path
) -> None:
    port, backend_port = free_port(), free_port()
    config = configuration(tmp_path, port, backend_port)
    async with started(*BACKENDS[backend_kind](backend_port)) as backend:
        await backend.until(lambda event: "listening" in event)
        async with started(CONTROLLER, "run", "-c", config):
            await listening(port)
            async with started(*STATIONS[station_kind](version, port)) as station:
                await station.until(lambda event: "charged" in event or "failed" in event)
                await backend.until(lambda event: "commanded" in event)
                await station.finish()
                await station.until(lambda event: "done" in event or "failed" in event)

    assert {"got": "BootNotification", "status": "Accepted"} in station.events
    assert station.reports("failed") == []
    assert station.reports("complaint") == []
    assert backend.reports("complaint") == []
    check_transaction(version, station, backend)
    check_limits(version, station)


@pytest.mark.parametrize(
    ("station_kind", "backend_kind", "version"),
    [
        *((kind, kind, version) for kind in ("python", "node") for version in VERSIONS),
        *((kind, "csms", "ocpp1.6") for kind in ("python", "node")),
    ],
)
async def test_ocpp_libraries_session_is_whole_over_a_kill(
    station_kind: str, backend_kind: str, version: str, tmp_path: Path
) -> None:
    port, backend_port = free_port(), free_port()
    config = configuration(tmp_path, port, backend_port)
    async with started(*BACKENDS[backend_kind](backend_port)) as backend:
        await backend.until(lambda event: "listening" in event)
        async with started(CONTROLLER, "run", "-c", config) as controller:
            await listening(port)
            async with started(*STATIONS[station_kind](version, port), "hold") as station:
                await station.until(lambda event: "holds" in event or "failed" in event)
                await backend.until(lambda event: "commanded" in event)
                controller.kill()
                async with started(CONTROLLER, "run", "-c", config):
                    await station.until(lambda event: "charged" in event or "failed" in event)
                    await station.finish()
                    await station.until(lambda event: "done" in event)
    assert station.reports("failed") == []
    assert station.reports("complaint") == []
    assert backend.reports("complaint") == []
    check_messages(version, backend)


@pytest.mark.parametrize("version", VERSIONS[:2])
async def test_ocpp_library_unknown_station_is_adopted_and_charges(version: str, tmp_path: Path) -> None:
    port, backend_port = free_port(), free_port()
    config = configuration(tmp_path, port, backend_port)
    config.write_text(config.read_text().replace("[listen]", '[listen]\nunknown_stations = "pending"'))
    station_program = (
        sys.executable,
        HERE / "python_station.py",
        version,
        f"ws://127.0.0.1:{port}/ocpp/CS02",
    )
    async with started(*BACKENDS["python"](backend_port)) as backend:
        await backend.until(lambda event: "listening" in event)
        async with started(CONTROLLER, "run", "-c", config):
            await listening(port)
            async with started(*station_program) as unknown:
                await unknown.until(lambda event: event.get("status") == "Pending")
            listed = json.loads(await control("station", "list", "--unknown", "--json", "-c", config))
            assert [(each["id"], each["vendor"], each["model"]) for each in listed] == [("CS02", "V", "M")]
            adopted = await control(
                "station", "adopt", "CS02", "--circuit", "grid", "--owner", "cpo", "-c", config
            )
            assert adopted == "CS02: adopted on grid; served from now on\n"
            async with started(*station_program) as station:
                await station.until(lambda event: "charged" in event)
                await backend.until(lambda event: "commanded" in event)
                await station.finish()
                await station.until(lambda event: "done" in event)
    assert {"got": "BootNotification", "status": "Accepted"} in station.events
    assert backend.reports("complaint") == []
    check_transaction(version, station, backend)


async def control(*arguments: str | Path) -> str:
    """Run a subcommand of the installed program, and return what it prints."""
    done = await trio.run_process([CONTROLLER, *arguments], capture_stdout=True)
    return done.stdout.decode()


def check_transaction(version: str, station: Program, backend: Program) -> None:
    check_messages(version, backend)
    if version == "ocpp1.6":
        assert ["HeartbeatInterval"] in backend.reports("unknown_key")
    else:
        assert backend.reports("value") == ["42"]


def check_messages(version: str, backend: Program) -> None:
    """Each message of the transaction has come once, with the backend's own id."""
    saw = [event for event in backend.events if "saw" in event]
    own = backend.reports("began") or [1_800_000_000]
    if version == "ocpp1.6":
        names = [event["saw"] for event in saw]
        assert names.count("StartTransaction") == names.count("StopTransaction") == 1
        [stop] = [event for event in saw if event["saw"] == "StopTransaction"]
        assert [stop["transaction"]] == own
        assert backend.reports("ended") == backend.reports("began")
    else:
        events = [event["event"] for event in saw if event["saw"] == "TransactionEvent"]
        assert events == ["Started", "Updated", "Ended"]


def check_limits(version: str, station: Program) -> None:
    """A permanent fallback first, then a lease above it that ends by itself."""
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
    """Return the members that are compared, in any case and of any version."""
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
