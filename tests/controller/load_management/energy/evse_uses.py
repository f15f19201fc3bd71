"""Uses of EVSEs, as the energy plan is given them, for tests."""

from __future__ import annotations

from msgspec.structs import replace

from controller.load_management.events import EvseUse

CHARGING = EvseUse(has_demand=True, is_served=True, drawn_w=0.0, priority=0, max_a=32.0, most_w=22_000.0)


def make_use(**changes: object) -> EvseUse:
    """Return the use of an EVSE whose car wants 32 A on three phases, with these members changed."""
    return replace(CHARGING, **changes)
