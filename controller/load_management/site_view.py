"""The site at one moment, for people: the terminal's table, the log, the page. Currents in A."""

from __future__ import annotations

import msgspec

from controller.load_management.evse.charger_response import ResponseHabits
from controller.load_management.site_tree import PhaseAmps
from controller.model.observations import EvseRef, EvseState
from drivers.errors import Cause
from drivers.reading import Quality


class CircuitView(msgspec.Struct, frozen=True, kw_only=True):
    """One circuit, per phase.

    `measured_a` is its meter's last word, None without one. `base_a` is what draws beside our EVSEs,
    as far as we know; `booked_a` what our EVSEs may be drawing now. `meter_problem`: what is wrong with its
    meter, or what its good readings lack, in a sentence; `meter_cause` the same as a label.
    """

    id: str
    limit_a: PhaseAmps
    measured_a: PhaseAmps | None
    base_a: PhaseAmps
    booked_a: PhaseAmps
    meter_quality: Quality | None
    meter_problem: str = ""
    meter_cause: Cause = Cause.NONE


class EvseView(msgspec.Struct, frozen=True, kw_only=True):
    """One EVSE: what it was offered (A per phase), what it draws on the site's phases, and why not more.

    `handshake_quirks`: what its station has shown of itself. `single_phase`: it was told to use one phase.
    `draw_unknown`: it may draw, and has not told how much, or not for too long.
    """

    ref: EvseRef
    connected: bool
    state: EvseState
    offered_a: float
    drawn_a: PhaseAmps
    reason: str
    habits: ResponseHabits = ResponseHabits()
    single_phase: bool = False
    draw_unknown: bool = False


class SiteView(msgspec.Struct, frozen=True, kw_only=True):
    """All circuits, parents first, and all EVSEs, in the order of the configuration."""

    circuits: tuple[CircuitView, ...]
    evses: tuple[EvseView, ...]
