"""What the site is told, and what it wants of the stations."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from controller.chargers.quirks import Quirk
from controller.model.observations import EvseRef, Observation
from controller.profiles.limit_profiles import LimitKind
from drivers.reading import MeterState


class StationUp(msgspec.Struct, frozen=True):
    """A station can be commanded from now on. Nothing is known of the profiles in it."""

    station: str


class StationDown(msgspec.Struct, frozen=True):
    """A station can no longer be commanded. Calls to it that have no answer will get none."""

    station: str


class QuirkSelected(msgspec.Struct, frozen=True):
    """A station is one with this quirk."""

    station: str
    quirk: Quirk


class StationObserved(msgspec.Struct, frozen=True):
    """A station told something about itself, or somebody did something to it."""

    station: str
    observation: Observation


class MeterUpdated(msgspec.Struct, frozen=True):
    """A meter was read, or could not be."""

    state: MeterState


class LimitAnswered(msgspec.Struct, frozen=True):
    """The end of a `SetLimit`: the station took it, or refused it, or did not answer in time."""

    token: int
    accepted: bool
    detail: str = ""


class GroupLimit(msgspec.Struct, frozen=True):
    """A backend limits the site as a whole from now on (A per phase); None: no longer."""

    limit_a: float | None


class SiteDimmed(msgspec.Struct, frozen=True, kw_only=True):
    """The grid operator limits the steerable EVSEs from now on; by default: no longer.

    `total_w`: what they may draw from the grid together (W; None: no limit), `phases_w` on each phase of it;
    `evses_w`: what each of these may draw. `why` says so in words: for the whole, and of each EVSE.
    `until`: when the first of these ends by itself (s, monotonic; None: nobody knows).
    """

    total_w: float | None = None
    phases_w: tuple[float | None, float | None, float | None] = (None, None, None)
    evses_w: Mapping[EvseRef, float] = {}
    why: str = ""
    whys: Mapping[EvseRef, str] = {}
    until: float | None = None


class ControlTick(msgspec.Struct, frozen=True):
    """`tick_s` has passed."""


SiteEvent = (
    StationUp
    | StationDown
    | QuirkSelected
    | StationObserved
    | MeterUpdated
    | LimitAnswered
    | GroupLimit
    | SiteDimmed
    | ControlTick
)


class SetLimit(msgspec.Struct, frozen=True, kw_only=True):
    """Put a limit (A per phase) into a station; each ends with one `LimitAnswered` of its token.

    A floor has no end; a lease ends `duration_s` s after the station took it. `urgent`: a circuit is
    over its limit now; it goes before everything else that waits for the station. `after_a`: what shall
    hold after a lease (A per phase). `phases`: how many at least share it, for a station that takes W.
    `number_phases`: it may use so many, None: all that it has.
    """

    token: int
    ref: EvseRef
    kind: LimitKind
    limit_a: float
    duration_s: float | None
    after_a: float = 0.0
    phases: int = 1
    number_phases: int | None = None
    urgent: bool = False
