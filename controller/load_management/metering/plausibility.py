"""Readings that cannot be, though each of their values could: what only the site can tell of its meters.

A current transformer that is put back the wrong way round, or a gateway that mixes up words, shows a
load as feed-in. Believed, that would hand the site's whole limit to the cars once more. So a phase
whose current turns its sign while it keeps its size is not believed, unless the EVSEs below could have
stopped just then and left as much feed-in; nor is it until it shows a load again, or next to nothing.

A meter that repeats itself may have frozen, and is found stale in its time (`drivers.health`). Until then
what it shows may be long past: so it is *doubted* much sooner, and planned with at the worst.
"""

from __future__ import annotations

from collections.abc import Sequence

from controller.load_management.evse.consumption import OfferCredit
from controller.load_management.site_tree import PhaseAmps
from drivers.reading import Reading

LOADED_A = 5.0
"""Below, a current may change its sign as it likes."""
SAME_SIZE = 0.25
"""How much of itself a current may have changed between two readings and still be the same one."""
POWERS_AGREE_W = 200.0
POWERS_AGREE = 0.1
"""How far the phases' powers may be from their total: so much, and this part of what flows."""

STILL_S = 5.0
"""Readings under load that are the same to the last bit for longer are doubted."""
USUALLY = 2.0
"""A coarse meter is doubted after so many times of what it has been seen to stand still before."""


def contradiction(reading: Reading) -> str:
    """In words, that the powers of the phases do not make their total; empty if they do, or are not told."""
    told = [watts for watts in reading.power_w if watts is not None]
    if len(told) < 3 or reading.power_total_w is None:
        return ""
    bound_w = POWERS_AGREE_W + POWERS_AGREE * sum(abs(watts) for watts in told)
    if abs(sum(told) - reading.power_total_w) <= bound_w:
        return ""
    return f"its phases add up to {sum(told):.0f} W, its total says {reading.power_total_w:.0f} W"


class StillWatch:
    """Looks whether one meter repeats itself for longer than is its habit."""

    def __init__(self) -> None:
        self._usual_s = 0.0
        self._still_s = 0.0

    @property
    def doubted(self) -> bool:
        """Whether the load may by now be another than the last reading showed."""
        return self._still_s > max(STILL_S, USUALLY * self._usual_s)

    def see(self, still_s: float) -> None:
        """One word of a meter that is not found stale: so long (s) it has repeated itself."""
        if still_s < self._still_s:
            self._usual_s = max(self._usual_s, self._still_s)
        self._still_s = still_s


class SignWatch:
    """Looks for phases of one meter that turn their sign under load."""

    def __init__(self) -> None:
        self._last: PhaseAmps | None = None
        self._turned = [False] * 3

    def see(self, amps: PhaseAmps, credits: Sequence[OfferCredit]) -> str:
        """One reading, with what the EVSEs below draw; in words, what cannot be, empty if all can."""
        for phase in range(3):
            if amps[phase] > -LOADED_A:
                self._turned[phase] = False
            elif self._last is not None and self._turns(self._last[phase], amps[phase]):
                stopped_a = sum(credit.high[phase] for credit in credits)
                self._turned[phase] |= self._last[phase] - amps[phase] > stopped_a + LOADED_A
        self._last = amps
        names = " and ".join(f"L{phase + 1}" for phase in range(3) if self._turned[phase])
        return f"{names} turned its sign under load; look at its current transformers" if names else ""

    @staticmethod
    def _turns(before: float, after: float) -> bool:
        return before > LOADED_A and abs(before + after) <= SAME_SIZE * before
