"""Notices of faults that begin and end, and of jumps beyond a margin, for people."""

from __future__ import annotations

import math

from controller.load_management.events import SiteLog, SiteNotice
from controller.load_management.evse.evse_controller import EvseController
from controller.load_management.metering.metered_circuit import MeteredCircuit
from controller.load_management.site_view import UnconfiguredView

JUMPS_QUIET_S = 3600.0
"""At most one line in this time about jumps of a circuit's base load."""


class FaultNotices:
    """Faults that are going on: one notice when a fault begins, one when it ends, nothing while it lasts.

    `log` gets the notices.
    """

    def __init__(self, log: SiteLog) -> None:
        self._log = log
        self._noticed: dict[str, str] = {}
        self._with_faults: set[str] = set()
        """Circuits with a fault that was noted, in the last reading."""
        self._jumps: dict[str, tuple[int, float]] = {}
        self._margins: dict[str, float] = {}

    def note(self, key: str, text: str, end: str, *, end_is_warning: bool = False) -> None:
        """Add a notice when a fault begins, and one when it ends; nothing while it lasts."""
        if text and key not in self._noticed:
            self._noticed[key] = text
            self._log.append(SiteNotice(text=text, warning=True))
        elif not text and self._noticed.pop(key, ""):
            self._log.append(SiteNotice(text=end, warning=end_is_warning))

    def drop_circuit(self, circuit: str) -> None:
        """Drop what is noted of a circuit that the site no longer has."""
        for key in (f"meter {circuit}", f"unseen {circuit}", f"over {circuit}"):
            self._noticed.pop(key, None)
        self._with_faults.discard(circuit)
        self._jumps.pop(circuit, None)
        self._margins.pop(circuit, None)

    def note_circuit(
        self, metered: MeteredCircuit, now: float, defiant: EvseController | None = None
    ) -> None:
        """Warn when a meter becomes suspected and when a circuit stays above its limit, and of the end.

        `defiant`: the EVSE below that draws most above its limits by its reports, while it is above.
        """
        circuit = metered.circuit
        suspicion, missing = metered.suspicion(now), metered.unseen.missing_current(now)
        if suspicion or missing or metered.over_limit or circuit.id in self._with_faults:
            self._note_meter(metered, suspicion, missing, defiant)
        self._note_jumps(metered, now)

    def _note_meter(
        self, metered: MeteredCircuit, suspicion: str, missing: str, defiant: EvseController | None
    ) -> None:
        circuit = metered.circuit
        text = f"meter suspected meter={circuit.meter} circuit={circuit.id}: {suspicion}"
        self.note(
            f"meter {circuit.id}", text if suspicion else "", f"meter trusted again meter={circuit.meter}"
        )
        self.note(
            f"unseen {circuit.id}",
            f"meter shows no current meter={circuit.meter} circuit={circuit.id}: {missing}"
            if missing
            else "",
            f"meter shows current meter={circuit.meter}",
        )
        over = ""
        if metered.over_limit and metered.measured is not None:
            shown = "/".join(f"{amps:.0f}" for amps in metered.measured)
            limit = "/".join(f"{amps:g}" for amps in dict.fromkeys(circuit.limit_a))
            remedy = "reduce the load of the building or raise margin_a"
            if defiant is not None:
                remedy = (
                    f"station {defiant.evse.ref} draws {defiant.model.draw.defiant_a:.0f} A and does not "
                    "follow its limits; check its configuration, or switch it off"
                )
            over = f"circuit above its limit circuit={circuit.id} current={shown}A limit={limit}A: {remedy}"
        ended = (
            f"circuit within its limit again circuit={circuit.id} after={metered.last_overload_s:.0f}s "
            f"highest={metered.last_overload_a:.0f}A"
        )
        self.note(f"over {circuit.id}", over, ended, end_is_warning=True)
        if suspicion or missing or over:
            self._with_faults.add(circuit.id)
        else:
            self._with_faults.discard(circuit.id)

    def _note_jumps(self, metered: MeteredCircuit, now: float) -> None:
        """Note jumps of the base load beyond the margin, and a margin that was learned anew."""
        circuit, jumps = metered.circuit, metered.jumps
        count, at = self._jumps.setdefault(circuit.id, (jumps.beyond, -math.inf))
        if jumps.beyond > count and now >= at + JUMPS_QUIET_S:
            self._jumps[circuit.id] = jumps.beyond, now
            proposed = "" if jumps.proposed_a is None else f" proposed={jumps.proposed_a:g}A"
            self._add_line(
                f"base load jumped beyond the margin circuit={circuit.id} times={jumps.beyond - count} "
                f"highest={jumps.highest_a:.1f}A margin={metered.margin_a:g}A{proposed}"
            )
        before = self._margins.setdefault(circuit.id, metered.margin_a)
        if metered.circuit.learns_margin and metered.margin_a != before:
            self._add_line(
                f"margin learned circuit={circuit.id} margin={metered.margin_a:g}A before={before:g}A"
            )
        self._margins[circuit.id] = metered.margin_a

    def _add_line(self, text: str) -> None:
        self._log.append(SiteNotice(text=text, warning=False))

    def note_impossible(self, controller: EvseController) -> None:
        """Warn once of a report that the EVSE's wiring does not allow."""
        report = controller.impossible
        shown = "" if report is None else "/".join("-" if a is None else f"{a:.3g}" for a in report.current_a)
        text = (
            f"report rejected evse={controller.evse.ref} current={shown}A max={controller.evse.max_a:g}A: no "
            "such current can flow there; check the unit in the station's meter values"
        )
        self.note(f"report {controller.evse.ref}", text if shown else "", "reports plausible again")

    def note_unconfigured(self, view: UnconfiguredView) -> None:
        """Warn once of an EVSE of a configured station that the configuration does not name."""
        ref = view.ref
        phases = ", ".join(f'"L{phase + 1}"' for phase in view.phases)
        self.note(
            f"unconfigured {ref}",
            f"EVSE not configured evse={ref}: held at the fallback of its station, and counted at up to "
            f"{view.max_a:g} A; add to the station [[station.evse]] id = {ref.evse} phases = [{phases}] "
            f"max_a = {view.max_a:g} as it is wired"
            if view.may_draw
            else "",
            f"EVSE not configured has no car any more evse={ref}",
        )
