"""Capability discovery: the quirk of each station, and the limits of profiles that it reports.

A station is asked before its first limit, and again after a BootNotification of another model. Its limits
wait for the answer, or until `ANSWER_WAIT_S` are over; without an answer the quirk alone counts.

1.6: GetConfiguration (ed. 2, 5.8 and 9.4: the keys of Smart Charging). 2.x: GetVariables of the component
SmartChargingCtrlr (Part 2, 2.13). Stations answer loosely: numbers as text or as numbers, units as
"Current" and "Power" or "A" and "W", lists with blanks. A value that cannot be read counts as missing.

A station that is new to the controller may hold profiles of an earlier CSMS in the purpose of our limits,
at a higher stack level or without an end: they would prevail over ours. They are cleared once.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import msgspec

from controller.chargers.quirks import NO_QUIRK, Quirk, find_quirk, limit_purpose, limit_scope
from controller.model.observations import Booted
from controller.ocpp.frames import Version
from controller.ocpp.payloads import read_payload

ANSWER_WAIT_S = 3.0
"""Time that the first limit waits for the answer: a station must not stay without any limit."""

_KEYS_16 = {
    "ChargeProfileMaxStackLevel": "max_stack_level",
    "ChargingScheduleAllowedChargingRateUnit": "units",
    "ChargingScheduleMaxPeriods": "max_periods",
    "MaxChargingProfilesInstalled": "max_profiles",
    "ConnectorSwitch3to1PhaseSupported": "phase_switching",
}
_VARIABLES_2 = {
    "ProfileStackLevel": "max_stack_level",
    "RateUnit": "units",
    "PeriodsPerSchedule": "max_periods",
    "Entries": "max_profiles",
    "ACPhaseSwitchingSupported": "phase_switching",
}
_COMPONENT_2 = "SmartChargingCtrlr"
_INSTANCES_2 = {"Entries": "ChargingProfiles"}
_UNITS: dict[str, Literal["A", "W"]] = {"a": "A", "current": "A", "w": "W", "power": "W"}
MOST_COUNT = 2**31 - 1
"""Highest number that a station may report (OCPP integers have 32 bit)."""
_BOOLEANS = {"true": True, "false": False}


class Capabilities(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds of charging profiles as a station reports them; None or empty where it reports none."""

    max_stack_level: int | None = None
    max_periods: int | None = None
    max_profiles: int | None = None
    units: frozenset[Literal["A", "W"]] = frozenset()
    phase_switching: bool | None = None


class Question(msgspec.Struct, frozen=True):
    """A CALL to the station."""

    action: str
    payload: bytes


class DiscoveryQuestion(msgspec.Struct, frozen=True):
    """A question to send. `token` is below 0, where no limit's is."""

    token: int
    question: Question


class _Pair(msgspec.Struct, frozen=True):
    key: str
    value: str | int | float | bool | None = None


class _Configuration(msgspec.Struct, frozen=True, rename="camel"):
    configuration_key: tuple[_Pair, ...] = ()


class _Variable(msgspec.Struct, frozen=True):
    name: str


class _VariableResult(msgspec.Struct, frozen=True, rename="camel"):
    variable: _Variable
    attribute_value: str | int | float | bool | None = None


class _Variables(msgspec.Struct, frozen=True, rename="camel"):
    get_variable_result: tuple[_VariableResult, ...] = ()


class _Pending(msgspec.Struct, frozen=True):
    station: str
    version: Version
    clears: bool = False


class CapabilityDiscovery:
    """Quirks and reported capabilities of all stations. `dc_stations` take limits in W only.

    `own`: rows of the site, which come before the controller's; `chosen`: rows by station, independent of the
    station reports of itself.
    """

    def __init__(
        self,
        dc_stations: Iterable[str] = (),
        own: Sequence[Quirk] = (),
        chosen: Mapping[str, Quirk] | None = None,
    ) -> None:
        self._own = own
        self._dc_stations = frozenset(dc_stations)
        self._chosen = dict(chosen or {})
        self._quirks = dict(self._chosen)
        self._capabilities: dict[str, Capabilities] = {}
        self._pending: dict[int, _Pending] = {}
        self._cleared: set[str] = set()
        self._tokens = itertools.count(-1, -1)

    def add_station(self, station: str, chosen: Quirk | None, *, is_dc: bool) -> None:
        """Add a station; `chosen`: the row that is used whatever it reports, None: the one that matches."""
        self._dc_stations = self._dc_stations | {station} if is_dc else self._dc_stations - {station}
        if chosen is not None:
            self._chosen[station] = self._quirks[station] = chosen
        elif self._chosen.pop(station, None) is not None:  # of a station with this id that was removed
            del self._quirks[station]

    def set_rows(self, own: Sequence[Quirk]) -> None:
        """Use other rows of the site for the boots from now on."""
        self._own = own

    def row(self, station: str) -> Quirk:
        """Return the row that is used for a station; NO_QUIRK if none matches."""
        return self._quirks.get(station, NO_QUIRK)

    def quirk(self, station: str) -> Quirk:
        """Return the station's quirk, narrowed by the capabilities that it has reported."""
        reported = self._capabilities.get(station, Capabilities())
        quirk = narrow_quirk(self._quirks.get(station, NO_QUIRK), reported)
        if station in self._dc_stations:
            return msgspec.structs.replace(quirk, unit="W", steps_a=())
        return quirk

    def mark_cleared(self, station: str) -> None:
        """Treat the station as limited by us before: nothing is cleared."""
        self._cleared.add(station)

    def mark_uncleared(self, station: str) -> None:
        """Let foreign profiles in the purpose of our limits be cleared again."""
        self._cleared.discard(station)

    def on_boot(self, station: str, boot: Booted) -> None:
        """Find the quirk for a BootNotification; capabilities of another model or firmware are dropped."""
        quirk = self._chosen.get(station) or find_quirk(boot.vendor, boot.model, boot.firmware, self._own)
        if quirk != self._quirks.get(station, NO_QUIRK):
            self._capabilities.pop(station, None)
        self._quirks[station] = quirk

    def next_question(
        self, station: str, version: Version, evses: int | None = None
    ) -> DiscoveryQuestion | None:
        """Return the next question before the station's first limit; None if there is none left.

        With the number of its `evses`, foreign profiles in our purpose are cleared, too.
        """
        if station not in self._capabilities:
            return self._send(_Pending(station, version), capability_question(version))
        if evses is None or station in self._cleared:
            return None
        purpose = limit_purpose(version, limit_scope(self.quirk(station), evses))
        return self._send(_Pending(station, version, clears=True), clearing_question(version, purpose))

    def on_result(self, token: int, result: bytes | None) -> None:
        """Take the response to a question; None: it was refused, or timed out."""
        pending = self._pending.pop(token, None)
        if pending is not None and pending.clears:
            self._cleared.add(pending.station)
        elif pending is not None:
            self._capabilities[pending.station] = read_capabilities(pending.version, result)

    def on_link_lost(self, token: int) -> None:
        """Requeue a question whose link ended before an answer."""
        self._pending.pop(token, None)

    def _send(self, pending: _Pending, question: Question) -> DiscoveryQuestion:
        token = next(self._tokens)
        self._pending[token] = pending
        return DiscoveryQuestion(token, question)


@functools.cache
def capability_question(version: Version) -> Question:
    """Return the CALL that asks a station for its smart charging capabilities."""
    if version is Version.V16:
        return Question("GetConfiguration", msgspec.json.encode({"key": list(_KEYS_16)}))
    requested = []
    for name in _VARIABLES_2:
        instance = {"instance": _INSTANCES_2[name]} if name in _INSTANCES_2 else {}
        requested.append({"component": {"name": _COMPONENT_2}, "variable": {"name": name, **instance}})
    return Question("GetVariables", msgspec.json.encode({"getVariableData": requested}))


def clearing_question(version: Version, purpose: str) -> Question:
    """Return the CALL that clears all profiles of a purpose (1.6 ed. 2, 5.5; 2.0.1 Part 2, K10)."""
    criteria = {"chargingProfilePurpose": purpose}
    payload = criteria if version is Version.V16 else {"chargingProfileCriteria": criteria}
    return Question("ClearChargingProfile", msgspec.json.encode(payload))


def read_capabilities(version: Version, result: bytes | None) -> Capabilities:
    """Read the response to `capability_question`; None is read as a response without any value."""
    found: dict[str, str] = {}
    if result is not None and version is Version.V16:
        configuration = read_payload(_Configuration, result) or _Configuration()
        for pair in configuration.configuration_key:
            found[_KEYS_16.get(pair.key, "")] = _text(pair.value)
    elif result is not None:
        variables = read_payload(_Variables, result) or _Variables()
        for each in variables.get_variable_result:
            found[_VARIABLES_2.get(each.variable.name, "")] = _text(each.attribute_value)
    return Capabilities(
        max_stack_level=_count(found.get("max_stack_level", ""), least=0),
        max_periods=_count(found.get("max_periods", ""), least=1),
        max_profiles=_count(found.get("max_profiles", ""), least=1),
        units=_units(found.get("units", "")),
        phase_switching=_BOOLEANS.get(found.get("phase_switching", "").strip().lower()),
    )


def narrow_quirk(quirk: Quirk, reported: Capabilities) -> Quirk:
    """Return the quirk with the lower of its bounds and the reported ones; its own unit has precedence."""
    unit = quirk.unit
    if unit is None and reported.units == {"W"}:
        unit = "W"
    return msgspec.structs.replace(
        quirk,
        unit=unit,
        phase_switching=reported.phase_switching if quirk.phase_switching is None else quirk.phase_switching,
        max_stack_level=_lower(quirk.max_stack_level, reported.max_stack_level),
        max_periods=_lower(quirk.max_periods, reported.max_periods),
        max_profiles=_lower(quirk.max_profiles, reported.max_profiles),
    )


def _lower(known: int | None, reported: int | None) -> int | None:
    return min((bound for bound in (known, reported) if bound is not None), default=None)


def _text(value: str | float | bool | None) -> str:
    return "" if value is None else str(value)


def _count(text: str, *, least: int) -> int | None:
    try:
        value = int(float(text))
    except (ValueError, OverflowError):
        return None
    return value if least <= value <= MOST_COUNT else None


def _units(text: str) -> frozenset[Literal["A", "W"]]:
    names = text.replace(";", ",").replace(" ", ",").lower().split(",")
    return frozenset(_UNITS[name] for name in names if name in _UNITS)
