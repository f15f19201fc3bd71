"""What a site's owner may choose about sharing the current."""

from __future__ import annotations

import msgspec


class SiteSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Times in s, currents in A per phase, voltage in V line to neutral.

    `tick_s`: how often the current is shared anew while nothing happens. `margin_a`: kept free under
    every circuit's limit. `rotation_s`: how long one turn lasts when not everybody can charge at once.
    `lease_s`: how long a limit holds in a station after our last word. `silence_s`: a meter of which
    nobody has brought any word, good or bad, for so long is dead.
    """

    tick_s: float = 5.0
    margin_a: float = 1.0
    rotation_s: float = 900.0
    lease_s: float = 120.0
    voltage_v: float = 230.0
    silence_s: float = 30.0
