"""The report of a demo run: what the simulated peers and the simulated physics saw."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import msgspec

from controller.demo.grid_operator import DimmingReport
from controller.demo.message_ledger import MessageCounts
from controller.demo.reaction_watch import Reaction
from controller.demo.site_physics import PhaseAmps, SimulatedSite

VERSIONS = ("ocpp1.6", "ocpp2.0.1", "ocpp2.1")


class CircuitReport(msgspec.Struct, frozen=True, kw_only=True):
    """A circuit's limit and peak (A per phase), and the seconds in which any phase was above the limit."""

    id: str
    limit_a: float
    peak_a: PhaseAmps
    seconds_over_limit: float


class EvidenceReport(msgspec.Struct, frozen=True, kw_only=True):
    """Findings of an audit of the evidence with the public key; empty if it is valid."""

    records: int
    findings: tuple[str, ...]


class DemoReport(msgspec.Struct, frozen=True, kw_only=True):
    """Result of one run.

    `stations`: how many booted, by OCPP version. `messages`: see `ledger`. `energy_wh`: delivered to cars.
    `utilisation`: `energy_wh` / the energy that the limits would have let through to the same cars while
    they wanted it, a bound that no controller can beat (see `SimulatedSite.possible_a`); None where no car
    wanted any. `reaction_s`: see `reaction`. `dimming`: see `grid_operator`; None where the run was over
    before its command.
    """

    stations: dict[str, int]
    messages: MessageCounts
    circuits: tuple[CircuitReport, ...]
    energy_wh: float
    utilisation: float | None
    reaction_s: Reaction
    dimming: DimmingReport | None = None
    evidence: EvidenceReport | None = None

    @property
    def failures(self) -> list[str]:
        """Return each criterion that the run did not meet."""
        found = [] if self.evidence is None else [f"evidence: {each}" for each in self.evidence.findings]
        if self.dimming is not None:
            if self.dimming.time_to_effect_s is None:
                found.append("dimming: the site did not come under its limit")
            if (self.dimming.accepted, sum(self.dimming.refused.values())) != (1, 2):
                found.append(f"dimming: one command of three is good, not {self.dimming.accepted}")
        return found

    def json(self) -> bytes:
        """Return the report as indented JSON."""
        return msgspec.json.format(msgspec.json.encode(self), indent=2) + b"\n"

    def __str__(self) -> str:
        """Return a summary for the end of a run."""
        messages = self.messages
        over = ", ".join(f"{each.id} {each.seconds_over_limit:g} s" for each in self.circuits)
        reaction = "no cut was needed"
        if self.reaction_s.max is not None:
            reaction = f"cuts after {self.reaction_s.median} s, {self.reaction_s.max} s at most"
        return (
            f"{messages.relayed} frames relayed, {messages.lost} lost, {messages.duplicated} duplicated, "
            f"{messages.altered} altered, {messages.own} of the controller's own\n"
            f"{self.energy_wh:.0f} Wh charged, {self.utilisation or 0:.0%} of what the limits allowed; "
            f"over limit: {over}; {reaction}"
            f"{'' if self.dimming is None else _dimming_in_words(self.dimming, self.evidence)}"
        )


class SiteReport(msgspec.Struct, frozen=True, kw_only=True):
    """The part of the report that the physics has recorded."""

    circuits: tuple[CircuitReport, ...]
    energy_wh: float
    utilisation: float | None


def site_report(site: SimulatedSite) -> SiteReport:
    """Return what the physics of `site` has recorded until now."""
    circuits = tuple(
        CircuitReport(
            id=circuit.id,
            limit_a=circuit.limit_a,
            peak_a=_rounded(site.records[circuit.id].peak_a),
            seconds_over_limit=round(site.records[circuit.id].seconds_over_limit, 1),
        )
        for circuit in site.circuits.values()
    )
    utilisation = round(site.energy_wh / site.possible_wh, 3) if site.possible_wh else None
    return SiteReport(circuits=circuits, energy_wh=round(site.energy_wh, 1), utilisation=utilisation)


def _dimming_in_words(dimming: DimmingReport, evidence: EvidenceReport | None) -> str:
    refused = ", ".join(f"{count} {reason}" for reason, count in dimming.refused.items())
    reached = "never"
    if dimming.time_to_effect_s is not None:
        reached = f"in {dimming.time_to_effect_s} s"
    records = "" if evidence is None else f"; {evidence.records} records, {len(evidence.findings)} findings"
    return (
        f"\ndimmed from {dimming.grid_w_before / 1000:.1f} kW to {dimming.limit_w / 1000:g} kW {reached}; "
        f"{dimming.accepted} command accepted, refused: {refused or 'none'}{records}"
    )


def complete_report(
    site: SiteReport,
    booted: Iterable[str],
    messages: MessageCounts,
    reaction: Reaction,
    dimming: DimmingReport | None = None,
) -> DemoReport:
    """Return the report; `booted` has the OCPP version of each accepted station."""
    counts = Counter(booted)
    return DemoReport(
        stations={version: counts[version] for version in VERSIONS},
        messages=messages,
        circuits=site.circuits,
        energy_wh=site.energy_wh,
        utilisation=site.utilisation,
        reaction_s=reaction,
        dimming=dimming,
    )


def _rounded(amps: PhaseAmps) -> PhaseAmps:
    return round(amps[0], 2), round(amps[1], 2), round(amps[2], 2)
