"""Limits, configuration, diagnosis, measurements: data of SPINE 1.3.0, in the order of its schema."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated, Literal

import msgspec

from drivers.eebus.array_json import EebusError
from drivers.eebus.spine_types import Counter, Element, Id, Name

# -- limits, configuration, diagnosis ---------------------------------------------------------------------


class ScaledNumber(Element, kw_only=True, frozen=True):
    """Number times ten to the power of `scale`."""

    number: Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)] | None = None
    scale: Annotated[int, msgspec.Meta(ge=-128, le=127)] | None = None


class TimePeriod(Element, kw_only=True, frozen=True):
    """Validity of a limit: times as ISO 8601 durations from the receipt, or as points in time."""

    start_time: Name | None = None
    end_time: Name | None = None


class LimitDescription(Element, kw_only=True, frozen=True):
    """Description of a limit."""

    limit_id: Id
    limit_type: Name
    limit_category: Name
    limit_direction: Name
    measurement_id: Id | None = None
    unit: Name
    scope_type: Name


class LimitDescriptions(Element, kw_only=True, frozen=True):
    """Descriptions of the limits."""

    load_control_limit_description_data: tuple[LimitDescription, ...] = ()


class LimitData(Element, kw_only=True, frozen=True):
    """Limit; in a write, members that are None keep their stored values."""

    limit_id: Id | None = None
    is_limit_changeable: bool | None = None
    is_limit_active: bool | None = None
    time_period: TimePeriod | None = None
    value: ScaledNumber | None = None


class LimitList(Element, kw_only=True, frozen=True):
    """Limits."""

    load_control_limit_data: Annotated[tuple[LimitData, ...], msgspec.Meta(max_length=64)] = ()


class KeyDescription(Element, kw_only=True, frozen=True):
    """Description of a configuration value."""

    key_id: Id
    key_name: Name
    value_type: Name
    unit: Name | None = None


class KeyDescriptions(Element, kw_only=True, frozen=True):
    """Descriptions of the configuration values."""

    device_configuration_key_value_description_data: tuple[KeyDescription, ...] = ()


class KeyValue(Element, kw_only=True, frozen=True):
    """Value of a configuration key."""

    duration: Name | None = None
    scaled_number: ScaledNumber | None = None


class KeyValueData(Element, kw_only=True, frozen=True):
    """Configuration value."""

    key_id: Id | None = None
    value: KeyValue | None = None
    is_value_changeable: bool | None = None


class KeyValueList(Element, kw_only=True, frozen=True):
    """Configuration values."""

    device_configuration_key_value_data: Annotated[tuple[KeyValueData, ...], msgspec.Meta(max_length=64)] = ()


class HeartbeatData(Element, kw_only=True, frozen=True):
    """Heartbeat."""

    timestamp: Name | None = None
    heartbeat_counter: Counter | None = None
    heartbeat_timeout: Name | None = None


# -- electrical connection and measurement ----------------------------------------------------------------


class Characteristic(Element, kw_only=True, frozen=True):
    """Characteristic of the grid connection, such as its contractual maximum."""

    electrical_connection_id: Id
    parameter_id: Id
    characteristic_id: Id
    characteristic_context: Name
    characteristic_type: Name
    value: ScaledNumber
    unit: Name


class CharacteristicList(Element, kw_only=True, frozen=True):
    """Characteristics."""

    electrical_connection_characteristic_data: tuple[Characteristic, ...] = ()


class ConnectionDescription(Element, kw_only=True, frozen=True):
    """Description of an electrical connection."""

    electrical_connection_id: Id
    power_supply_type: Name
    ac_connected_phases: Id
    positive_energy_direction: Name


class ConnectionDescriptions(Element, kw_only=True, frozen=True):
    """Descriptions of the electrical connections."""

    electrical_connection_description_data: tuple[ConnectionDescription, ...] = ()


class ParameterDescription(Element, kw_only=True, frozen=True):
    """Phases of a measurement."""

    electrical_connection_id: Id
    parameter_id: Id
    measurement_id: Id
    voltage_type: Name
    ac_measured_phases: Name
    ac_measured_in_reference_to: Name | None = None
    ac_measurement_type: Name
    ac_measurement_variant: Name | None = None
    scope_type: Name | None = None


class ParameterDescriptions(Element, kw_only=True, frozen=True):
    """Phases of all measurements."""

    electrical_connection_parameter_description_data: tuple[ParameterDescription, ...] = ()


class MeasurementDescription(Element, kw_only=True, frozen=True):
    """Description of a measurement."""

    measurement_id: Id
    measurement_type: Name
    commodity_type: Name
    unit: Name
    scope_type: Name


class MeasurementDescriptions(Element, kw_only=True, frozen=True):
    """Descriptions of all measurements."""

    measurement_description_data: tuple[MeasurementDescription, ...] = ()


class MeasurementData(Element, kw_only=True, frozen=True):
    """Measured value."""

    measurement_id: Id
    value_type: Name = "value"
    timestamp: Name
    value: ScaledNumber | None = None
    value_source: Name = "measuredValue"
    value_state: Literal["normal", "outOfRange", "error"] | None = None


class MeasurementList(Element, kw_only=True, frozen=True):
    """Measured values."""

    measurement_data: tuple[MeasurementData, ...] = ()


# -- durations and numbers --------------------------------------------------------------------------------

_DURATION = re.compile(
    r"P(?:(\d{1,6})W)?(?:(\d{1,6})D)?(?:T(?:(\d{1,8})H)?(?:(\d{1,8})M)?(?:(\d{1,10}(?:\.\d{1,9})?)S)?)?"
)


def parse_duration(text: str) -> float:
    """Return an ISO 8601 duration in s. Raises EebusError; years and months have no fixed length."""
    match = _DURATION.fullmatch(text)
    if match is None or text[-1] in "PT":
        raise EebusError(f"{text!r:.60} is not a duration")
    weeks, days, hours, minutes, seconds = (float(part or 0) for part in match.groups())
    return ((weeks * 7 + days) * 24 + hours) * 3600 + minutes * 60 + seconds


def format_duration(seconds: float) -> str:
    """Return a duration in s as ISO 8601, in whole seconds."""
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(hours, 24)
    time = "".join(f"{part}{unit}" for part, unit in ((hour, "H"), (minute, "M"), (second, "S")) if part)
    day = f"{days}D" if days else ""
    return f"P{day}T{time}" if time else f"P{day}" if day else "PT0S"


def format_time(utc: float) -> str:
    """Return POSIX s as an ISO 8601 point in time."""
    text = datetime.fromtimestamp(utc, UTC).isoformat(timespec="milliseconds")
    return text.removesuffix("+00:00") + "Z"


def parse_end(text: str, utc: float) -> float:
    """Return the time (s) from `utc` (POSIX s) until an end that is a duration or a point in time.

    Raises EebusError.
    """
    if text.startswith("P"):
        return parse_duration(text)
    try:
        end = datetime.fromisoformat(text)
    except ValueError as error:
        raise EebusError(f"{text!r:.60} is neither a duration nor a point in time") from error
    return (end if end.tzinfo else end.replace(tzinfo=UTC)).timestamp() - utc


def to_float(value: ScaledNumber) -> float:
    """Return the value of a scaled number; a missing scale is 0. Raises EebusError without number."""
    if value.number is None:
        raise EebusError("a scaled number without number")
    return float(value.number) * 10.0 ** (value.scale or 0)


def from_float(value: float, decimals: int = 0) -> ScaledNumber:
    """Return a number rounded to so many decimals as a scaled number; scale 0 without decimals."""
    return ScaledNumber(number=round(value * 10**decimals), scale=-decimals)
