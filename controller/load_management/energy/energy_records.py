"""Durable records of energy over hours: peaks, quotas, energies of sessions, prices, departures."""

from __future__ import annotations

import msgspec

from controller.model.journal import Record


class QuarterStored(Record, frozen=True):
    """Begin of the quarter hour that runs at a circuit: its number and the import register (Wh).

    `quarter`: POSIX s / 900. `register_wh`: None for a meter without a register.
    """

    circuit: str
    quarter: int
    register_wh: float | None


class MonthPeakStored(Record, frozen=True):
    """Highest mean power (W) of a quarter hour in a month ("2026-11") of the site's local time.

    `entries`: the same of the quarters for which entries of the calendar set the target, by their names.
    """

    circuit: str
    month: str
    peak_w: float
    entries: tuple[tuple[str, float], ...] = ()


class QuotaStored(Record, frozen=True):
    """Energy (Wh) that a group has used on a day ("2026-11-27") of the site's clock."""

    group: str
    day: str
    used_wh: float


class SessionEnergyStored(Record, frozen=True):
    """Energy (Wh) that the running session of an EVSE has received; 0 where none runs."""

    station: str
    evse: int
    received_wh: float


class DepartureRow(msgspec.Struct, frozen=True, kw_only=True):
    """Departure as text, in a file or from a program: see `departure_rules`."""

    station: str = ""
    day: str = ""
    ready_by: str
    energy_kwh: str
    card: str = ""
    priority_class: str = ""


class DeparturesStored(Record, frozen=True):
    """Departures that a program has set; cards by their label or the keyed hash of their idToken."""

    departures: tuple[DepartureRow, ...]


class PricesStored(Record, frozen=True):
    """Prices of a kWh that a program has set: `prices[k]` from `begins[k]` (POSIX s) on."""

    begins: tuple[float, ...]
    prices: tuple[float, ...]


EnergyCounted = QuarterStored | MonthPeakStored | QuotaStored | SessionEnergyStored
"""Record of what was counted of the energy."""

ENERGY_RECORDS: tuple[type[Record], ...] = (
    QuarterStored,
    MonthPeakStored,
    QuotaStored,
    SessionEnergyStored,
    PricesStored,
)
"""Types of the records that `EnergyPlanner` restores."""
