"""Settings of a site's energy over hours, as plain values. Powers in W, energies in Wh, currents in A."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, tzinfo

import msgspec

from controller.load_management.energy.week_schedule import WeekSpan
from controller.model.observations import EvseRef


class PeakSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Target of the mean power of each quarter hour at a metered circuit.

    `target_w`: None where the calendar alone sets one. `reached_is_free`: the highest mean of the month so
    far counts as the target where it is higher, as it is paid for already; for a target of the calendar, the
    highest mean under the same entry.
    """

    target_w: float | None = None
    reached_is_free: bool = False


class CalendarEntry(msgspec.Struct, frozen=True, kw_only=True):
    """Settings that hold during a span of the week.

    For `circuit`: `limit_a` (per phase), `limit_w` (all phases) and `peak_w` (quarter-hour mean); for
    `evses`: `priority` and `surplus`. None: as without the entry.
    """

    name: str
    span: WeekSpan
    circuit: str | None = None
    limit_a: float | None = None
    limit_w: float | None = None
    peak_w: float | None = None
    evses: frozenset[EvseRef] = frozenset()
    priority: int | None = None
    surplus: bool | None = None


class GroupSettings(msgspec.Struct, frozen=True, kw_only=True):
    """EVSEs of a tenant: the current on each phase that they are guaranteed together (A), and a quota a day.

    0 and None: nothing is guaranteed, and there is no quota.
    """

    id: str
    evses: frozenset[EvseRef]
    guaranteed_a: float = 0.0
    quota_wh: float | None = None


class DepartureRule(msgspec.Struct, frozen=True, kw_only=True):
    """Departure of the cars at some EVSEs: on these days at this minute, with so much energy (Wh).

    `days`: numbers of the days, 0 is Monday; `date`: on this one ("2026-11-27") only. `cards`: only of cars
    with one of these cards, by label or idToken; `priority_classes`: with a card of one of these classes.
    """

    evses: frozenset[EvseRef]
    days: frozenset[int]
    minute: int
    energy_wh: float
    date: str | None = None
    cards: frozenset[str] = frozenset()
    priority_classes: frozenset[str] = frozenset()


class BatterySettings(msgspec.Struct, frozen=True, kw_only=True):
    """A stationary battery and its meter; see the configuration's [battery]."""

    meter: str
    use_battery: bool = False
    cars_first: bool = False


class EnergySettings(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of a site about energy over hours; nothing by default."""

    zone: tzinfo = UTC
    peaks: Mapping[str, PeakSettings] = {}
    calendar: tuple[CalendarEntry, ...] = ()
    groups: tuple[GroupSettings, ...] = ()
    class_priorities: Mapping[str, int] = {}
    is_fair_by_energy: bool = False
    departures: tuple[DepartureRule, ...] = ()
    has_prices: bool = False
    pause_above: float | None = None
    battery: BatterySettings | None = None

    @property
    def has_plan(self) -> bool:
        """True if something of it holds beyond one session: all but departures."""
        return msgspec.structs.replace(self, zone=UTC, departures=()) != EnergySettings()
