"""Settings of load management that a site's owner may choose."""

from __future__ import annotations

import msgspec

from controller.load_management.energy.energy_settings import EnergySettings


class SiteSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Times in s, currents in A per phase, voltage in V line to neutral.

    `tick_s`: how often the current is shared anew while nothing happens. `margin_a`: kept free under
    every circuit's limit. `rotation_s`: length of one turn when not all cars can charge at once.
    `lease_s`: how long a limit holds in a station after our last message. `silence_s`: a meter without any
    state, good or bad, for so long is dead. `writes_per_day`: the most profile writes to a station in a
    day, cuts excepted; None: any number. `energy`: targets over hours.
    """

    tick_s: float = 5.0
    margin_a: float = 1.0
    rotation_s: float = 3600.0
    lease_s: float = 300.0
    voltage_v: float = 230.0
    silence_s: float = 30.0
    writes_per_day: int | None = None
    energy: EnergySettings = EnergySettings()
