"""Events of the site's control, the effect that it asks for, and what it has to log."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import msgspec

from controller.chargers.quirks import Quirk
from controller.load_management.site_tree import ZERO, PhaseAmps, PhaseFlags
from controller.model.observations import EvseRef, Observation
from controller.model.statements import Statement
from controller.profiles.limit_profiles import LimitKind
from drivers.reading import MeterState


class StationUp(msgspec.Struct, frozen=True):
    """Station that can be commanded from now on. The profiles in it are unknown."""

    station: str


class StationDown(msgspec.Struct, frozen=True):
    """Station that can no longer be commanded. Its open calls get no answer."""

    station: str


class QuirkSelected(msgspec.Struct, frozen=True):
    """Quirk that a station has."""

    station: str
    quirk: Quirk


class StationObserved(msgspec.Struct, frozen=True, gc=False):
    """Observation of a station."""

    station: str
    observation: Observation


class MeterUpdated(msgspec.Struct, frozen=True, gc=False):
    """State of a meter after a poll."""

    state: MeterState


class LimitAnswered(msgspec.Struct, frozen=True, gc=False):
    """End of a `SetLimit`: accepted, rejected, or not answered in time."""

    token: int
    accepted: bool
    detail: str = ""


class GroupLimit(msgspec.Struct, frozen=True):
    """Limit of a backend for the whole site from now on (A per phase); None: no longer."""

    limit_a: float | None


class SiteDimmed(msgspec.Struct, frozen=True, kw_only=True):
    """Limit of the grid operator for the controllable EVSEs from now on; by default none.

    `total_w`: what they may draw from the grid together (W; None: no limit), `phases_w` on each phase of it;
    `evses_w`: what each of these may draw. `why` states it: for the whole, and of each EVSE.
    `until`: when the first of these ends by itself (s, monotonic; None: unknown).
    """

    total_w: float | None = None
    phases_w: tuple[float | None, float | None, float | None] = (None, None, None)
    evses_w: Mapping[EvseRef, float] = {}
    why: Statement | None = None
    whys: Mapping[EvseRef, Statement] = {}
    until: float | None = None


class EvseOverridden(msgspec.Struct, frozen=True, kw_only=True):
    """Override of a person for one EVSE from now on; by default none.

    `limit_a`: the most that it is given (A per phase; 0: a pause; None: no limit). `priority` replaces the
    configured one. `boost`: it charges from the grid, too, where its mode is surplus. `why` states a
    limit.
    """

    ref: EvseRef
    limit_a: float | None = None
    priority: int | None = None
    boost: bool = False
    why: Statement | None = None


class EvseUse(msgspec.Struct, frozen=True, kw_only=True):
    """Use of one EVSE at a pass.

    `has_demand`: a car needs current; `is_served`: it is offered its minimum. `drawn_w`: its draw, or the
    likely one where no report shows it (W). `priority`: within which it shares with others. `max_a`: the
    most that it can draw on a phase (A), `most_w` the power of its car then, `sure_w` what it likely takes
    of it at least, `small_w` what cars with small chargers take, `least_w` the power at its minimum, on
    `phases` of the site. `left_wh` until `leaves_in_s`: its departure goal, None without one.
    """

    has_demand: bool
    is_served: bool
    drawn_w: float
    priority: int
    max_a: float
    most_w: float
    sure_w: float = math.inf
    small_w: tuple[float, ...] = ()
    least_w: float = 0.0
    phases: PhaseFlags = (True, True, True)
    left_wh: float | None = None
    leaves_in_s: float | None = None


class CarRoom(msgspec.Struct, frozen=True):
    """Power that a circuit has for the cars below it: on each phase, and on all together (W).

    `others_a`: what does not flow to cars, with the margin (A per phase); `base_w`: the building's part of it
    (W); `volts`: voltage of a phase.
    """

    phases_w: PhaseAmps
    sum_w: float = math.inf
    others_a: PhaseAmps = ZERO
    base_w: float = 0.0
    volts: float = 230.0

    def lowered(self, limit_a: float, limit_w: float) -> CarRoom:
        """Return the room under a limit of each phase (A) and one of all phases together (W)."""
        first, second, third = (
            min(room_w, (limit_a - others_a) * self.volts)
            for room_w, others_a in zip(self.phases_w, self.others_a, strict=True)
        )
        sum_w = min(self.sum_w, limit_w - self.base_w)
        return msgspec.structs.replace(self, phases_w=(first, second, third), sum_w=sum_w)


NO_ROOMS: Mapping[str, CarRoom] = {}
NO_DEPARTURES: Mapping[EvseRef, float] = {}


class GoalBound(NamedTuple):
    """Most that a car with a departure goal can expect in a span of time (A per phase; s, monotonic)."""

    begins_at: float
    ends_at: float
    most_a: float


class EvsePlan(msgspec.Struct, frozen=True, kw_only=True):
    """Part of the energy plan that concerns one EVSE at this moment; by default nothing.

    `priority` and `surplus` replace the configured ones. `limit_a`: the most that it is given (A per phase;
    0: it waits; None: no limit), and `why` states it; `is_wait`: for a better time, which a boost skips.
    `needs_a`: current that it gets before others of its priority get more than their minimum, and `need_why`
    states it. `bounds`: what its goal can expect under entries of the calendar, in their order.
    """

    priority: int | None = None
    surplus: bool | None = None
    limit_a: float | None = None
    why: Statement | None = None
    is_wait: bool = False
    needs_a: float = 0.0
    need_why: Statement | None = None
    bounds: tuple[GoalBound, ...] = ()


NO_PLAN = EvsePlan()


class ControlTick(msgspec.Struct, frozen=True, gc=False):
    """Time for a pass: `tick_s` is over, or a pass is due. `utc`: the time of day (POSIX s), if known."""

    utc: float | None = None


SiteEvent = (
    StationUp
    | StationDown
    | QuirkSelected
    | StationObserved
    | MeterUpdated
    | LimitAnswered
    | GroupLimit
    | SiteDimmed
    | EvseOverridden
    | ControlTick
)


class SetLimit(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Limit (A per phase) to send to a station; each ends with one `LimitAnswered` of its token.

    A fallback has no end; a lease ends `duration_s` s after the station accepted it. `urgent`: a circuit is
    over its limit now; it goes before everything else that waits for the station. `fallback_a`: what holds
    after a lease (A per phase). `limit_w` and `fallback_w` are the same for a station that accepts W only.
    `number_phases`: it may use so many, None: all that it has.
    """

    token: int
    ref: EvseRef
    kind: LimitKind
    limit_a: float
    duration_s: float | None
    fallback_a: float = 0.0
    limit_w: float = 0.0
    fallback_w: float = 0.0
    number_phases: int | None = None
    urgent: bool = False


class LoggedDecision(msgspec.Struct, frozen=True, gc=False):
    """Limit of an EVSE (A per phase), and why it is not higher."""

    ref: EvseRef
    limit_a: float
    statement: Statement

    @property
    def warning(self) -> bool:
        """Return False: a decision is no fault."""
        return False

    @property
    def reason(self) -> str:
        """Return the reason in English."""
        return str(self.statement)

    def __str__(self) -> str:
        station, evse = self.ref
        return f"limit decided station={station} evse={evse} limit={self.limit_a:g}A reason={self.reason}"


class SiteNotice(msgspec.Struct, frozen=True, kw_only=True):
    """Line for the log: a fault that began (`warning`) or ended."""

    text: str
    warning: bool

    def __str__(self) -> str:
        return self.text


SiteLog = list[LoggedDecision | SiteNotice]
"""Changes of limits and fault notices to be logged, in their order."""
