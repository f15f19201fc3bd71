"""The demo's site as a configuration file of the controller."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import tomli_w

from controller.demo.demo_site import ID
from controller.demo.grid_operator import ROLE
from controller.demo.site_physics import VOLTAGE_V, CircuitPlan
from controller.demo.station_plan import StationPlan

KEY, POLICY = "controller-key.pem", "signing.toml"
"""Files beside the configuration: the controller's own key, and the policy."""


def write_configuration(
    path: Path,
    circuits: Sequence[CircuitPlan],
    stations: Sequence[StationPlan],
    meters: Mapping[str, Mapping[str, Any]],
    backend_port: int,
    grid_operator: str,
) -> None:
    """Write the file and a policy beside it; the store is in the same directory.

    `meters` has the keys of the `[[meter]]` of each metered circuit; `grid_operator` is a public key.
    """
    policy = {
        "version": 1,
        "key": [{"holder": "netz", "public": grid_operator}],
        "role": [{"id": ROLE, "holders": ["netz"]}],
    }
    (path.parent / POLICY).write_bytes(tomli_w.dumps(policy).encode())
    document: dict[str, Any] = {
        "site": {"id": ID, "backend": "demo", "timezone": "Europe/Berlin", "voltage": VOLTAGE_V},
        "store": {"directory": str(path.parent)},
        "listen": {"host": "127.0.0.1", "port": 0, "path": "/ocpp"},
        "web": {"host": "127.0.0.1", "port": 0},
        "backend": [{"id": "demo", "url": f"ws://127.0.0.1:{backend_port}/ocpp/{{station}}"}],
        "circuit": [_circuit(circuit, circuit.id in meters) for circuit in circuits],
        "meter": [{"id": circuit, **meter} for circuit, meter in meters.items()],
        "station": [_station(station) for station in stations],
        "load_management": {"tick_s": 1.0, "fallback_a": 6.0, "lease_s": 60.0},
        "signing": {"key": KEY, "policy": POLICY},
        "dimming": {
            "clock": "believed",
            "source": [{"id": "grid-operator", "kind": "signed", "role": ROLE, "rank": 10}],
        },
    }
    path.write_bytes(tomli_w.dumps(document).encode())


def _circuit(circuit: CircuitPlan, metered: bool) -> dict[str, Any]:
    written: dict[str, Any] = {
        "id": circuit.id,
        "limit_a": circuit.limit_a,
        "margin_a": circuit.margin_a,
    }
    if circuit.parent is not None:
        written["parent"] = circuit.parent
    if metered:
        written["meter"] = circuit.id
    return written


def _station(station: StationPlan) -> dict[str, Any]:
    return {
        "id": station.id,
        "circuit": station.evses[0].circuit,
        "owner": "demo",
        "evse": [
            {
                "id": evse.key[1],
                "phases": [f"L{phase + 1}" for phase in evse.phases],
                "min_a": 6.0,
                "max_a": evse.max_a,
                "steuve": True,
            }
            for evse in station.evses
        ],
    }
