"""Reaction time of the controller, as meters and stations see it.

The clock starts when a meter's registers first show its circuit above what the controller is to keep to: its
limit less its margin. It stops when the limits that the stations hold bring the circuit back: for each
phase, other loads + the sum over the EVSEs of the lower of (drawn current, limit installed) are no more
than that. In it are the meter's polling, the
decision, and the delivery of every cut that was needed; the cars' own delay is not.

An overload that ends by itself is no reaction and is not counted; one that is still open when the run
ends counts with its age. Circuits without a meter are not watched, so they are not counted either.
"""

from __future__ import annotations

import statistics

import msgspec

from controller.demo.site_physics import SimulatedSite

FITS_A = 0.06
"""OCPP 1.6 limits have one decimal: half of its last digit is rounding."""


class Reaction(msgspec.Struct, frozen=True):
    """Reaction times in s; None where no cut was needed."""

    median: float | None
    max: float | None


class ReactionWatch:
    """Observer of the overloads of one site."""

    def __init__(self, site: SimulatedSite) -> None:
        self.reactions_s: list[float] = []
        self._site = site
        self._open: dict[str, float] = {}

    def on_meter_update(self, circuit: str) -> None:
        """Start the clock if the circuit's meter shows an overload that needs a cut."""
        kept_a = self._kept_to_a(circuit)
        overloaded = max(self._site.currents_a()[circuit]) > kept_a
        if overloaded and circuit not in self._open and max(self._site.granted_a()[circuit]) > kept_a:
            self._open[circuit] = self._site.now

    def update(self) -> None:
        """Stop the clocks of the circuits that fit again."""
        currents_a, granted_a = self._site.currents_a(), self._site.granted_a()
        for circuit, since in list(self._open.items()):
            kept_a = self._kept_to_a(circuit)
            if max(granted_a[circuit]) > kept_a:
                continue
            del self._open[circuit]
            if max(currents_a[circuit]) > kept_a:  # the cuts brought it back, not the load
                self.reactions_s.append(self._site.now - since)

    def _kept_to_a(self, circuit: str) -> float:
        plan = self._site.circuits[circuit]
        return plan.limit_a - plan.margin_a + FITS_A

    def result(self) -> Reaction:
        """Return the reactions until now."""
        times = self.reactions_s + [self._site.now - since for since in self._open.values()]
        if not times:
            return Reaction(None, None)
        return Reaction(round(statistics.median(times), 2), round(max(times), 2))
