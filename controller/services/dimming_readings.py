"""What is measured, in the terms of dimming: the power of each steerable EVSE, and of the connection."""

from __future__ import annotations

from collections.abc import Collection

from controller.load_management.site_view import SiteView
from controller.model.observations import EvseRef
from drivers.reading import NO_VALUES, Reading


def draws_w(
    view: SiteView, devices: Collection[EvseRef], reading: Reading | None, voltage: float
) -> dict[EvseRef, float | None]:
    """What each device draws (W); None where its station is away, or does not tell."""
    measured = NO_VALUES if reading is None else reading.voltage_v
    volts = [each or voltage for each in measured]
    return {
        each.ref: sum(amps * v for amps, v in zip(each.drawn_a, volts, strict=True))
        if each.connected and not each.draw_unknown
        else None
        for each in view.evses
        if each.ref in devices
    }


def power_w(reading: Reading, voltage: float) -> float | None:
    """What a meter shows of all phases together (W)."""
    if reading.power_total_w is not None:
        return reading.power_total_w
    powers = [
        power if power is not None or amps is None else amps * (volts or voltage)
        for power, amps, volts in zip(reading.power_w, reading.current_a, reading.voltage_v, strict=True)
    ]
    known = [power for power in powers if power is not None]
    return sum(known) if len(known) == len(powers) else None
