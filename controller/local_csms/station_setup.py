"""Setup of a station by the local CSMS: meter values during a transaction, and the local list of cards.

    READ      the settings are read, to change only what differs (they are stored in the station's flash)
    CHANGE    the settings that differ are changed, in 1.6 one by one
    VERSION   the version of the station's local list is read
    LIST      the list is sent, part by part
    DONE      the station has what it accepts

A setting or list that a station rejects is skipped; it is tried again at its next boot or connection.
Sources: OCPP 1.6 ed. 2, sections 5.8, 5.3 and 9; OCPP 2.0.1 Part 2, use cases B05, B06, and the referenced
components SampledDataCtrlr and LocalAuthListCtrlr.
"""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Sequence

import msgspec

from controller.local_csms.cards import Card
from controller.local_csms.csms_settings import CsmsSettings
from controller.local_csms.local_list import fitting_cards, list_updates, list_version
from controller.ocpp.frames import Version
from controller.ocpp.payloads import is_accepted, read_payload

_INTERVAL_16 = "MeterValueSampleInterval"
_MEASURANDS_16 = "MeterValuesSampledData"
_LIST_ENABLED_16 = "LocalAuthListEnabled"
_LIST_LENGTH_16 = "LocalAuthListMaxLength"
_LIST_PART_16 = "SendLocalListMaxLength"
_KEYS_16 = (_INTERVAL_16, _MEASURANDS_16, _LIST_ENABLED_16, _LIST_LENGTH_16, _LIST_PART_16)
_MEASURANDS = "Energy.Active.Import.Register,Current.Import,Power.Active.Import"
"""Register for the session ledger, currents for the load management, power for stations without currents."""

_SAMPLED, _LIST = "SampledDataCtrlr", "LocalAuthListCtrlr"
_INTERVAL_2 = (_SAMPLED, "TxUpdatedInterval")
_MEASURANDS_2 = (_SAMPLED, "TxUpdatedMeasurands")
_LIST_ENABLED_2 = (_LIST, "Enabled")
_LIST_PART_2 = (_LIST, "ItemsPerMessage")
_VARIABLES_2 = (_INTERVAL_2, _MEASURANDS_2, _LIST_ENABLED_2, _LIST_PART_2)


class SetupStep(enum.Enum):
    """State of a station's setup; see the module."""

    READ = "read settings"
    CHANGE = "change settings"
    VERSION = "read list version"
    LIST = "send list"
    DONE = "done"


class SetupCall(msgspec.Struct, frozen=True):
    """The next CALL of a setup."""

    action: str
    payload: bytes


class _Key(msgspec.Struct, frozen=True):
    key: str
    readonly: bool = False
    value: str | int | float | bool | None = None


class _Configuration(msgspec.Struct, frozen=True, rename="camel"):
    configuration_key: tuple[_Key, ...] = ()


class _Name(msgspec.Struct, frozen=True):
    name: str


class _Variable(msgspec.Struct, frozen=True, rename="camel"):
    attribute_status: str
    component: _Name
    variable: _Name
    attribute_value: str | int | float | bool | None = None


class _Variables(msgspec.Struct, frozen=True, rename="camel"):
    get_variable_result: tuple[_Variable, ...] = ()


class _Version16(msgspec.Struct, frozen=True, rename="camel"):
    list_version: int


class _Version2(msgspec.Struct, frozen=True, rename="camel"):
    version_number: int


class StationSetup:
    """The setup of one station over one link, from READ to DONE; one CALL at a time.

    `cards` None: the station gets no list.
    """

    def __init__(self, version: Version, settings: CsmsSettings, cards: Sequence[Card] | None) -> None:
        self.step = SetupStep.READ
        self.skipped: list[str] = []
        """Settings and lists that the station has rejected."""
        self._version = version
        self._settings = settings
        self._cards = cards if settings.sends_local_list else None
        self._changes: deque[SetupCall] = deque()
        self._updates: deque[bytes] = deque()
        self._per_message: int | None = None
        self._most_cards: int | None = None

    def next_call(self) -> SetupCall | None:
        """Return the next CALL; None if nothing is left to do."""
        match self.step:
            case SetupStep.READ:
                return _read_settings(self._version)
            case SetupStep.CHANGE:
                return self._changes[0]
            case SetupStep.VERSION:
                return SetupCall("GetLocalListVersion", b"{}")
            case SetupStep.LIST:
                return SetupCall("SendLocalList", self._updates[0])
        return None

    def on_answer(self, result: bytes | None) -> None:
        """Take the answer to the last CALL; None: an error, or no answer in time."""
        match self.step:
            case SetupStep.READ:
                self._on_settings(result)
            case SetupStep.CHANGE:
                done = self._changes.popleft()
                if result is None or not _is_change_accepted(self._version, result):
                    self.skipped.append(done.action)
                self._choose_next_step()
            case SetupStep.VERSION:
                self._on_list_version(result)
            case SetupStep.LIST:
                self._updates.popleft()
                if result is None or not is_accepted(result):
                    self.skipped.append("SendLocalList")
                    self._updates.clear()
                self.step = SetupStep.LIST if self._updates else SetupStep.DONE

    # -- settings -------------------------------------------------------------------------------------

    def _interval(self, present: str | float | bool | None) -> str:
        """Return the interval of meter values that the station has to have, or its own if that is kept."""
        present_s = _number(present)
        if self._settings.keeps_shorter and present_s and 0 < present_s < self._settings.meter_values_s:
            return str(present)
        return str(self._settings.meter_values_s)

    def _on_settings(self, result: bytes | None) -> None:
        if self._version is Version.V16:
            self._on_settings_16(result)
        else:
            self._on_settings_2(result)
        self._choose_next_step()

    def _on_settings_16(self, result: bytes | None) -> None:
        read = None if result is None else read_payload(_Configuration, result)
        found = {} if read is None else {each.key: each for each in read.configuration_key}
        required: dict[str, str] = {}
        if self._settings.meter_values_s:
            interval = found.get(_INTERVAL_16)
            required = {
                _INTERVAL_16: self._interval(None if interval is None else interval.value),
                _MEASURANDS_16: _MEASURANDS,
            }
        if self._cards is not None:
            required[_LIST_ENABLED_16] = "true"
        for key, value in required.items():
            known = found.get(key)
            if known is None or known.readonly or (changed := _changed_value(known.value, value)) is None:
                continue
            payload = msgspec.json.encode({"key": key, "value": changed})
            self._changes.append(SetupCall("ChangeConfiguration", payload))
        if read is not None and _LIST_ENABLED_16 not in found and _LIST_PART_16 not in found:
            self._cards = None  # the station has no local list
        self._most_cards = _count(found, _LIST_LENGTH_16)
        self._per_message = _count(found, _LIST_PART_16)

    def _on_settings_2(self, result: bytes | None) -> None:
        read = None if result is None else read_payload(_Variables, result)
        found = {
            (each.component.name, each.variable.name): each
            for each in (() if read is None else read.get_variable_result)
            if each.attribute_status == "Accepted"
        }
        required: dict[tuple[str, str], str] = {}
        if self._settings.meter_values_s:
            interval = found.get(_INTERVAL_2)
            required = {
                _INTERVAL_2: self._interval(None if interval is None else interval.attribute_value),
                _MEASURANDS_2: _MEASURANDS,
            }
        if self._cards is not None:
            required[_LIST_ENABLED_2] = "true"
        changed = [
            _set_variable(*place, new)
            for place, value in required.items()
            if place in found and (new := _changed_value(found[place].attribute_value, value)) is not None
        ]
        if changed:
            payload = msgspec.json.encode({"setVariableData": changed})
            self._changes.append(SetupCall("SetVariables", payload))
        if read is not None and not any(component == _LIST for component, _ in found):
            self._cards = None
        part = found.get(_LIST_PART_2)
        self._per_message = None if part is None else _number(part.attribute_value)

    def _choose_next_step(self) -> None:
        if self._changes:
            self.step = SetupStep.CHANGE
        else:
            self.step = SetupStep.DONE if self._cards is None else SetupStep.VERSION

    # -- local list -----------------------------------------------------------------------------------

    def _on_list_version(self, result: bytes | None) -> None:
        self.step = SetupStep.DONE
        number = None if result is None else _read_version(self._version, result)
        if number is None or number < 0 or self._cards is None:  # 1.6: -1, lists are not supported
            return
        cards = fitting_cards(self._version, self._cards, self._most_cards)
        if number == list_version(self._version, cards) or (number == 0 and not cards):
            return
        self._updates.extend(list_updates(self._version, cards, self._per_message))
        self.step = SetupStep.LIST


def _read_settings(version: Version) -> SetupCall:
    if version is Version.V16:
        return SetupCall("GetConfiguration", msgspec.json.encode({"key": list(_KEYS_16)}))
    required = [{"component": {"name": part}, "variable": {"name": name}} for part, name in _VARIABLES_2]
    return SetupCall("GetVariables", msgspec.json.encode({"getVariableData": required}))


def _set_variable(component: str, variable: str, value: str) -> dict[str, object]:
    return {"component": {"name": component}, "variable": {"name": variable}, "attributeValue": value}


class _SetResult(msgspec.Struct, frozen=True, rename="camel"):
    attribute_status: str


class _SetResults(msgspec.Struct, frozen=True, rename="camel"):
    set_variable_result: tuple[_SetResult, ...] = ()


class _StatusResult(msgspec.Struct, frozen=True):
    status: str


def _is_change_accepted(version: Version, result: bytes) -> bool:
    if version is Version.V16:
        changed = read_payload(_StatusResult, result)
        return changed is not None and changed.status in ("Accepted", "RebootRequired")
    results = read_payload(_SetResults, result)
    return results is not None and all(
        each.attribute_status in ("Accepted", "RebootRequired") for each in results.set_variable_result
    )


def _read_version(version: Version, result: bytes) -> int | None:
    if version is Version.V16:
        old = read_payload(_Version16, result)
        return None if old is None else old.list_version
    new = read_payload(_Version2, result)
    return None if new is None else new.version_number


def _changed_value(value: str | float | bool | None, required: str) -> str | None:
    """Return the value to set; None if the setting is as wanted. Members of a list are only added."""
    present = [part for part in str("" if value is None else value).replace(" ", "").split(",") if part]
    if "," not in required:
        return None if [part.lower() for part in present] == [required] else required
    missing = [part for part in required.split(",") if part not in present]
    return ",".join([*present, *missing]) if missing else None


def _count(found: dict[str, _Key], key: str) -> int | None:
    return _number(found[key].value) if key in found else None


def _number(value: str | float | bool | None) -> int | None:
    try:
        number = int(float(str(value)))
    except (ValueError, OverflowError):
        return None
    return number if number > 0 else None
