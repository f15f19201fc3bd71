"""Output of a demo run: a live table in a terminal, or a line every few seconds.

The amperes are the physics' own; offers, states and reasons are the controller's word.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterable

from msgspec.structs import replace
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from controller.demo.site_physics import PhaseAmps, SimulatedSite
from controller.web import terminal
from controller.web.status_model import ControllerStatus, EvseStatus

LOG_LINES = 5


class LogTail(logging.Handler):
    """Keeps the last few log lines for the table."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.lines: deque[str] = deque(maxlen=LOG_LINES)

    def emit(self, record: logging.LogRecord) -> None:
        """See `logging.Handler`."""
        self.lines.append(f"{record.levelname.lower():<7} {record.getMessage()}")


def render(site: SimulatedSite, status: ControllerStatus, frames: int, log: Iterable[str]) -> RenderableType:
    """Return the whole table, as wide as those of `terminal`."""
    title = Text(
        f"local-controller demo   {site.now:5.0f} s   {site.energy_wh / 1000:6.2f} kWh charged   "
        f"{frames} frames seen by the peers",
        style="bold",
    )
    lines = [Text(line, style="dim", no_wrap=True, overflow="ellipsis") for line in log]
    return Group(title, _circuits(site, status), _stations(site, status), *lines)


def summary(site: SimulatedSite, status: ControllerStatus, frames: int) -> str:
    """Return a summary in one line."""
    currents = site.currents_a()
    circuits = "  ".join(
        f"{circuit.id} {'/'.join(f'{amps:.0f}' for amps in currents[circuit.id])} of {circuit.limit_a:g} A"
        for circuit in site.circuits.values()
    )
    connected = sum(evse.connected for evse in status.evses)
    charging = sum(evse.drawn_a > 0 for evse in site.evses.values())
    return (
        f"{site.now:6.0f} s  {circuits}  {connected} EVSEs connected, {charging} charging, "
        f"{site.energy_wh / 1000:.2f} kWh, {frames} frames"
    )


def _circuits(site: SimulatedSite, status: ControllerStatus) -> Table:
    currents = site.currents_a()
    over = {id: f"{record.seconds_over_limit:.1f} s" for id, record in site.records.items()}
    rows = [replace(circuit, measured_a=currents[circuit.id]) for circuit in status.circuits]
    return terminal.circuits_table(rows, "over limit", over)


def _stations(site: SimulatedSite, status: ControllerStatus) -> Table:
    return terminal.evses_table(
        (replace(evse, drawn_a=_drawn(site, evse)) for evse in status.evses), whole=False
    )


def _drawn(site: SimulatedSite, evse: EvseStatus) -> PhaseAmps:
    physical = site.evses[evse.station, evse.evse]
    drawn = [0.0, 0.0, 0.0]
    for phase in physical.used_phases:
        drawn[phase] = physical.drawn_a
    return drawn[0], drawn[1], drawn[2]
