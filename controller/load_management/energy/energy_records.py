"""Durable records of energy over hours: quarter-hour peaks and daily quotas."""

from __future__ import annotations

from controller.model.journal import Record


class QuarterStored(Record, frozen=True):
    """Begin of the quarter hour that runs at a circuit: its number and the import register (Wh).

    `quarter`: POSIX s / 900. `register_wh`: None for a meter without a register.
    """

    circuit: str
    quarter: int
    register_wh: float | None


class MonthPeakStored(Record, frozen=True):
    """Highest mean power (W) of a quarter hour in a month ("2026-11") of the site's local time."""

    circuit: str
    month: str
    peak_w: float


class QuotaStored(Record, frozen=True):
    """Energy (Wh) that a group has used on a day ("2026-11-27") of the site's clock."""

    group: str
    day: str
    used_wh: float


class PricesStored(Record, frozen=True):
    """Prices of a kWh that a program has set: `prices[k]` from `begins[k]` (POSIX s) on."""

    begins: tuple[float, ...]
    prices: tuple[float, ...]


ENERGY_RECORDS: tuple[type[Record], ...] = (QuarterStored, MonthPeakStored, QuotaStored, PricesStored)
"""All types of these records."""
