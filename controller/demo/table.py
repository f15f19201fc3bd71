"""What a person sees of a demo run: a live table in a terminal, or a line every few seconds.

The amperes are the physics' own; offers, states and reasons are the controller's word.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterable, Mapping

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from controller.demo.physics import CircuitPlan, PhaseAmps, SimulatedSite
from controller.site.view import CircuitView, EvseView, SiteView

WIDTH = 100
LOG_LINES = 5
_BAR = 8
_FULL, _NEAR = 1.0, 0.9
"""From this share of the limit on, a bar is red or yellow."""


class LogTail(logging.Handler):
    """Keeps the last few log lines for the table."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.lines: deque[str] = deque(maxlen=LOG_LINES)

    def emit(self, record: logging.LogRecord) -> None:
        """See `logging.Handler`."""
        self.lines.append(f"{record.levelname.lower():<7} {record.getMessage()}")


def render(
    site: SimulatedSite, view: SiteView, versions: Mapping[str, str], frames: int, log: Iterable[str]
) -> RenderableType:
    """The whole picture, 100 columns wide. `versions` has each station's OCPP version."""
    title = Text(
        f"local-controller demo   {site.now:5.0f} s   {site.energy_wh / 1000:6.2f} kWh charged   "
        f"{frames} frames seen by the peers",
        style="bold",
    )
    lines = [Text(line, style="dim", no_wrap=True, overflow="ellipsis") for line in log]
    return Group(title, _circuits(site, view), _stations(site, view, versions), *lines)


def summary(site: SimulatedSite, view: SiteView, frames: int) -> str:
    """The same in one line."""
    currents = site.currents_a()
    circuits = "  ".join(
        f"{circuit.id} {'/'.join(f'{amps:.0f}' for amps in currents[circuit.id])} of {circuit.limit_a:g} A"
        for circuit in site.circuits.values()
    )
    connected = sum(evse.connected for evse in view.evses)
    charging = sum(outlet.drawn_a > 0 for outlet in site.outlets.values())
    return (
        f"{site.now:6.0f} s  {circuits}  {connected} EVSEs connected, {charging} charging, "
        f"{site.energy_wh / 1000:.2f} kWh, {frames} frames"
    )


def _circuits(site: SimulatedSite, view: SiteView) -> Table:
    table = _table()
    table.add_column("circuit", width=9)
    table.add_column("limit", justify="right", width=6)
    for phase in ("L1", "L2", "L3"):
        table.add_column(f"{phase} (A)", width=_BAR + 6, no_wrap=True)
    table.add_column("over limit", justify="right", width=10)
    table.add_column("meter", width=12)
    currents = site.currents_a()
    for circuit in view.circuits:
        plan = site.circuits[circuit.id]
        over = site.records[circuit.id].seconds_over_limit
        table.add_row(
            circuit.id,
            f"{plan.limit_a:g} A",
            *(_bar(amps, plan) for amps in currents[circuit.id]),
            f"{over:.1f} s",
            _meter(circuit),
        )
    return table


def _bar(amps: float, plan: CircuitPlan) -> Text:
    share = amps / plan.limit_a
    style = "red" if share > _FULL else "yellow" if share > _NEAR else "green"
    filled = min(_BAR, round(share * _BAR))
    return Text("━" * filled, style=style) + Text("─" * (_BAR - filled), style="dim") + Text(f"{amps:6.1f}")


def _meter(circuit: CircuitView) -> Text:
    if circuit.meter_quality is None:
        return Text("none", style="dim")
    good = circuit.meter_quality.value == "good"
    return Text(circuit.meter_quality.value, style="green" if good else "red")


def _stations(site: SimulatedSite, view: SiteView, versions: Mapping[str, str]) -> Table:
    table = _table()
    table.add_column("EVSE", width=8, no_wrap=True)
    table.add_column("OCPP", width=5)
    table.add_column("state", width=14, no_wrap=True)
    table.add_column("offered", justify="right", width=7)
    table.add_column("drawn L1/L2/L3", justify="right", width=14, no_wrap=True)
    table.add_column("why", width=WIDTH - 8 - 5 - 14 - 7 - 14 - 6, no_wrap=True, overflow="ellipsis")
    for evse in view.evses:
        outlet = site.outlets[evse.ref.station, evse.ref.evse]
        drawn = [0.0, 0.0, 0.0]
        for phase in outlet.used_phases:
            drawn[phase] = outlet.drawn_a
        table.add_row(
            escape(str(evse.ref)),
            versions[evse.ref.station].removeprefix("ocpp"),
            _state(evse),
            f"{evse.offered_a:.1f} A",
            _amps((drawn[0], drawn[1], drawn[2])),
            Text(evse.reason),
        )
    return table


def _state(evse: EvseView) -> Text:
    if not evse.connected:
        return Text("away", style="red")
    styles = {"charging": "green", "suspended-evse": "yellow", "faulted": "red", "available": "dim"}
    return Text(evse.state.value, style=styles.get(evse.state.value, ""))


def _amps(amps: PhaseAmps) -> Text:
    return Text("/").join(
        Text(f"{value:4.1f}", style="" if value else "dim") if value else Text("   -", style="dim")
        for value in amps
    )


def _table() -> Table:
    return Table(box=None, padding=(0, 1, 0, 0), header_style="bold dim", width=WIDTH)
