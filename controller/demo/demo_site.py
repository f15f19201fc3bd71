"""The demo's site: a grid connection with two rows of stations and a building, and too little current.

grid (130 A, Modbus TCP meter) -- the building's load, for whose surges 11 A are kept free
 |- row-a (63 A, Modbus RTU meter) -- six stations, seven EVSEs, lighting
 '- row-b (50 A, no meter)         -- six stations
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import NamedTuple

from controller.demo.building_load import BuildingLoad
from controller.demo.demo_frames import STYLES
from controller.demo.site_physics import CircuitPlan, Load, PhysicalEvsePlan
from controller.demo.station_messages import MessageStyle, StationIdentity
from controller.demo.station_plan import StationPlan

ID = "lc-demo"
"""The controller's own OCPP identity."""
CIRCUITS = (
    CircuitPlan(id="grid", parent=None, limit_a=130.0, margin_a=11.0),
    CircuitPlan(id="row-a", parent="grid", limit_a=63.0, margin_a=1.0),
    CircuitPlan(id="row-b", parent="grid", limit_a=50.0, margin_a=1.0),
)
AWAY = (40.0, 8.0)
"""One station disconnects at this time for so long (s), and loses no message."""

_OFFLINE_STATION = "A5"


class _Row(NamedTuple):
    id: str
    circuit: str
    version: str
    wiring: tuple[str, ...]
    """For each EVSE the site's phases that the station's phases sit on, in order."""
    max_a: float = 32.0
    style: MessageStyle = MessageStyle.AMPS


_STATIONS = (
    _Row("A1", "row-a", "ocpp1.6", ("123",)),
    _Row("A2", "row-a", "ocpp1.6", ("231",), 16.0),
    _Row("A3", "row-a", "ocpp2.0.1", ("312",)),
    _Row("A4", "row-a", "ocpp2.0.1", ("123", "231"), 16.0),
    _Row("A5", "row-a", "ocpp2.1", ("231",)),
    _Row("A6 Süd", "row-a", "ocpp2.1", ("312",), style=MessageStyle.KILOWATTS),
    _Row("B1", "row-b", "ocpp1.6", ("1",), style=MessageStyle.ONE_AMP),
    _Row("B2", "row-b", "ocpp1.6", ("231",), style=MessageStyle.KILOWATTS),
    _Row("B3", "row-b", "ocpp2.0.1", ("312",), 16.0),
    _Row("B4", "row-b", "ocpp2.0.1", ("2",)),
    _Row("B5", "row-b", "ocpp2.1", ("123",)),
    _Row("B6", "row-b", "ocpp2.1", ("231",), 16.0),
)


def station_plans(seed: int) -> tuple[StationPlan, ...]:
    """Return the twelve stations; their behavior is drawn from the seed."""
    return tuple(_station(row, random.Random(f"{seed}/habits/{row.id}")) for row in _STATIONS)


def building_loads(seed: int) -> Mapping[str, Load]:
    """Return the other loads, by circuit."""
    return {
        "grid": BuildingLoad(seed, base_a=(22.0, 26.0, 19.0), surge_a=9.0),
        "row-a": BuildingLoad(seed + 1, base_a=(1.2, 0.8, 1.5), surge_a=0.0),
    }


def _station(row: _Row, dice: random.Random) -> StationPlan:
    evses = tuple(
        PhysicalEvsePlan(
            key=(row.id, number),
            circuit=row.circuit,
            phases=tuple(int(phase) - 1 for phase in wiring),
            max_a=row.max_a,
        )
        for number, wiring in enumerate(row.wiring, start=1)
    )
    return StationPlan(
        identity=StationIdentity(row.id, "Demo & Söhne", f"Säule {len(evses)}/{row.max_a:g}", row.style),
        version=row.version,
        evses=evses,
        style=dice.choice(STYLES),
        counts=dice.random() < 0.5,
        slow_s=dice.choice((0.0, 0.0, 0.0, 15.0)),
        meter_s=dice.uniform(5, 10),
        away=AWAY if row.id == _OFFLINE_STATION else None,
    )
