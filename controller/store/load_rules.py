"""Rules of the records of the load management: limits, the energy of quarter hours, learned margins."""

from __future__ import annotations

from collections.abc import Mapping

from controller.load_management.energy.energy_records import (
    DeparturesStored,
    MonthPeakStored,
    PricesStored,
    QuarterStored,
    QuotaStored,
    SessionEnergyStored,
)
from controller.load_management.metering.margin_learning import MarginStored
from controller.load_management.metering.unproven_phases import HiddenLoadStored
from controller.model.journal import Record
from controller.store.limit_records import LimitStored
from controller.store.rule_types import RecordRule, WriteFailure

LOAD_RULES: Mapping[type[Record], RecordRule] = {
    LimitStored: RecordRule(
        "limit",
        ("station", "evse"),
        WriteFailure.LIMIT_FALLS,
        "the limit of an EVSE: it counts at its worst case until its station confirms one",
    ),
    QuarterStored: RecordRule(
        "quarter",
        ("circuit",),
        WriteFailure.KEEP,
        "the energy of the running quarter hour: it counts at its worst case until the next one",
    ),
    MonthPeakStored: RecordRule(
        "month-peak",
        ("circuit",),
        WriteFailure.KEEP,
        "the highest quarter hour of the month: it does not count as free until it is reached again",
    ),
    QuotaStored: RecordRule(
        "quota", ("group",), WriteFailure.KEEP, "the energy that a group has used today: it counts from 0"
    ),
    SessionEnergyStored: RecordRule(
        "session-energy",
        ("station", "evse"),
        WriteFailure.KEEP,
        "the energy that a session has received: with fairness by energy it counts from 0",
    ),
    MarginStored: RecordRule(
        "margin",
        ("circuit",),
        WriteFailure.KEEP,
        "the jumps of a circuit's base load: its margin is learned anew",
    ),
    HiddenLoadStored: RecordRule(
        "hidden-load",
        ("circuit",),
        WriteFailure.KEEP,
        "the load of a circuit from before its cars: it is found anew once none of them draws",
    ),
    DeparturesStored: RecordRule(
        "departures", (), WriteFailure.REJECT, "the departures set by a program: they have to be set again"
    ),
    PricesStored: RecordRule(
        "prices", (), WriteFailure.KEEP, "the prices of energy: they have to be set again"
    ),
}
"""The rule of each record that is stored as a value."""
