"""State of the site at one moment, for people. Currents in A."""

from __future__ import annotations

import msgspec

from controller.load_management.energy.energy_view import EnergyView
from controller.load_management.evse.learned_values import LearnedResponse
from controller.load_management.site_tree import ZERO, PhaseAmps
from controller.model.observations import EvseRef, EvseState
from controller.model.parts import Parts
from controller.model.statements import Statement
from drivers.errors import Cause
from drivers.reading import Quality


class CircuitView(msgspec.Struct, frozen=True, kw_only=True):
    """One circuit, per phase.

    `limit_now_a`: what the calendar or a backend leaves of `limit_a` now.
    `measured_a` is its meter's last reading, None without one; `meter_problem` states what is wrong with the
    meter, or what its good readings lack, `meter_cause` the same as a label. `base_a` is what draws beside
    our EVSEs, as far as it is known; `booked_a` what our EVSEs may be drawing now; `reserve_a` what is free
    for cars that come and draw their fallback at once, as far as the circuit has it. `over_limit_s`: for how
    long it has been above its limit (s), `overloads`: how often it was for longer than some seconds.
    `jumps`: how often the building's load jumped so far, and `jump_a` how far (A), which `margin_a` has to
    absorb; `jumps_beyond`: how often it did not. `proposed_margin_a`: margin that absorbs what recurs; None
    before it is known.
    `learns_margin`: that is what `margin_a` follows.
    """

    id: str
    limit_a: PhaseAmps
    limit_now_a: PhaseAmps
    measured_a: PhaseAmps | None
    base_a: PhaseAmps
    booked_a: PhaseAmps
    meter_quality: Quality | None
    meter_problem: str = ""
    meter_cause: Cause = Cause.NONE
    over_limit_s: float = 0.0
    overloads: int = 0
    margin_a: float = 0.0
    jump_a: float = 0.0
    jumps: int = 0
    jumps_beyond: int = 0
    proposed_margin_a: float | None = None
    learns_margin: bool = False
    reserve_a: PhaseAmps = ZERO


class EvseView(msgspec.Struct, frozen=True, kw_only=True):
    """State of one EVSE: its offer (A per phase), its draw on the site's phases, and why it is not higher.

    `statement`: the reason as code and values.

    `learned`: what its station has shown of itself. `single_phase`: it was set to use one phase.
    `problem`: why its limits are in doubt, None if they are not. `draw_unknown`: it may draw, and has not
    reported how much, or not for too long. `reports_every_s`: time between its reports (s), 0 before the
    second one. `offered_w`: the offer in W of all phases, where its station accepts W only; else None.
    `goal`: energy that its car still needs (Wh) and the time until it leaves (s); None without a goal.
    """

    ref: EvseRef
    connected: bool
    state: EvseState
    offered_a: float
    drawn_a: PhaseAmps
    statement: Statement
    problem: Statement | None = None
    learned: LearnedResponse = LearnedResponse()
    single_phase: bool = False
    draw_unknown: bool = False
    reports_every_s: float = 0.0
    offered_w: float | None = None
    goal: tuple[float, float] | None = None

    @property
    def reason(self) -> str:
        """Return the reason in English."""
        return str(self.statement)


EvseDraws = dict[EvseRef, PhaseAmps | None]
"""Draw of EVSEs on the site's phases (A); None: their stations are away, or have not reported it lately."""


class UnconfiguredView(msgspec.Struct, frozen=True, kw_only=True):
    """State of an EVSE that the configuration does not name (A per phase).

    `phases` and `max_a`: as it is taken to be wired. `may_draw`: a car may be there. `booked_a`: what is kept
    free for it beside the configured EVSEs. `is_limited`: a limit is in force; `shares_limit`: it is that of
    the whole station.
    """

    ref: EvseRef
    phases: tuple[int, ...]
    max_a: float
    may_draw: bool
    drawn_a: PhaseAmps
    booked_a: float
    is_limited: bool
    shares_limit: bool


class SiteView(msgspec.Struct, frozen=True, kw_only=True):
    """State of all circuits, parents first, all EVSEs in the configuration's order, and the energy plan.

    `unconfigured`: EVSEs of its stations that the configuration does not name.
    """

    circuits: tuple[CircuitView, ...]
    evses: tuple[EvseView, ...]
    energy: EnergyView = EnergyView()
    unconfigured: tuple[UnconfiguredView, ...] = ()


SiteViewParts = Parts[SiteView]
"""A SiteView that is read in parts."""
