"""Triggers, resets, firmware and log transfers through the daemon, between third-party programs."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.interop.programs import (
    CONTROLLER,
    HERE,
    VERSIONS,
    Event,
    configuration,
    free_port,
    listening,
    started,
)

Report = tuple[str, str, int | None]

PLACE = "ftp://files.example/CS01?token=a%20b"

ASKED = {
    "ocpp1.6": [
        ("TriggerMessage", "Accepted"),
        ("GetDiagnostics", None),
        ("GetLog", "Accepted"),
        ("UpdateFirmware", None),
        ("SignedUpdateFirmware", "Accepted"),
        ("Reset", "Accepted"),
    ],
    "ocpp2.0.1": [
        ("TriggerMessage", "Accepted"),
        ("GetLog", "Accepted"),
        ("UpdateFirmware", "Accepted"),
        ("Reset", "Accepted"),
    ],
}
ASKED["ocpp2.1"] = [
    ("TriggerMessage", "Accepted"),
    ("SetChargingProfile", "Accepted"),
    ("UpdateDynamicSchedule", "Accepted"),
    *ASKED["ocpp2.0.1"][1:],
]

_LOG = [("LogStatusNotification", "Uploading", 7), ("LogStatusNotification", "Uploaded", 7)]
_STEPS = ("Downloading", "Downloaded", "Installing", "Installed")
REPORTED: dict[str, list[Report]] = {
    "ocpp1.6": [
        *(("DiagnosticsStatusNotification", step, None) for step in ("Uploading", "Uploaded")),
        *_LOG,
        *(("FirmwareStatusNotification", step, None) for step in _STEPS),
        *(
            ("SignedFirmwareStatusNotification", step, 8)
            for step in ("Downloaded", "SignatureVerified", "Installed")
        ),
    ],
    "ocpp2": [*_LOG, *(("FirmwareStatusNotification", step, 8) for step in _STEPS)],
}


@pytest.mark.parametrize("version", VERSIONS)
async def test_ocpp_service_backend_looks_after_station(version: str, tmp_path: Path) -> None:
    family = version if version == "ocpp1.6" else "ocpp2"
    port, backend_port = free_port(), free_port()
    config = configuration(tmp_path, port, backend_port)
    async with started(sys.executable, HERE / "python_service_backend.py", str(backend_port)) as backend:
        await backend.until(lambda event: "listening" in event)
        async with started(CONTROLLER, "run", "-c", config):
            await listening(port)
            url = f"ws://127.0.0.1:{port}/ocpp/CS01"
            async with started(sys.executable, HERE / "python_service_station.py", version, url) as station:
                await backend.until(lambda _: len(backend.reports("status")) == len(REPORTED[family]))
                await backend.until(lambda event: event.get("reported") == "Heartbeat")
                await backend.until(lambda event: event.get("asked") == "Reset")
                await station.finish()
                await station.until(lambda event: "done" in event)

    assert backend.reports("complaint") == []
    assert [(event["asked"], event["answer"]) for event in backend.events if "asked" in event] == ASKED[
        version
    ]
    # Each command's reports come in order; those of two commands may overlap, as the station has it.
    assert steps_of_each(
        (event["reported"], event["status"], event.get("request"))
        for event in backend.events
        if "status" in event
    ) == steps_of_each(REPORTED[family])
    assert [event["reported"] for event in backend.events if "reported" in event].count("Heartbeat") == 1
    assert backend.reports("reported").count("BootNotification") == 2  # after the Reset, too
    check_payloads(station.events)
    if version == "ocpp2.1":
        [schedule] = station.reports("limited")[-1]["charging_profile"]["charging_schedule"]
        assert schedule["charging_schedule_period"][0]["limit"] == 0.0  # the update allows 4 A


def steps_of_each(reports: Iterable[Report]) -> dict[str, list[Report]]:
    found: dict[str, list[Report]] = {}
    for report in reports:
        found.setdefault(report[0], []).append(report)
    return found


def check_payloads(events: list[Event]) -> None:
    """What the backend wrote has come to the station as it was."""
    texts = {str(event["did"]): str(event.get("payload")) for event in events if "did" in event}
    for action in texts.keys() - {"TriggerMessage", "Reset"}:
        assert PLACE in texts[action]
    assert any(event.get("wanted") == "Heartbeat" for event in events)
