"""OCPP 1.6: messages that we read or make, with the members that we use.

Source: OCPP 1.6 edition 2, sections 6 and 7. Everything else passes as bytes.
"""

from __future__ import annotations

import msgspec

from controller.ocpp.payloads import Int32, Limit, TransactionId


class _Message(msgspec.Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    pass


class BootNotificationV16(_Message, frozen=True, kw_only=True):
    """Station: it has started."""

    charge_point_vendor: str = ""
    charge_point_model: str = ""
    firmware_version: str = ""
    charge_point_serial_number: str = ""
    charge_box_serial_number: str = ""


class StatusNotificationV16(_Message, frozen=True, kw_only=True):
    """Station: a connector's state (connector 0 is the station itself)."""

    connector_id: Int32
    status: str


class StartTransactionV16(_Message, frozen=True, kw_only=True):
    """Station: a transaction begins. The driver's idTag is not read."""

    connector_id: Int32
    timestamp: str | None = None


class StartTransactionResultV16(_Message, frozen=True, kw_only=True):
    """Backend: the number that it gives to the transaction."""

    transaction_id: TransactionId


class StopTransactionV16(_Message, frozen=True, kw_only=True):
    """Station: a transaction ends."""

    transaction_id: TransactionId
    timestamp: str | None = None


class SampledValueV16(_Message, frozen=True, kw_only=True):
    """One measured value (section 7.43). Stations also send numbers, and null for what they omit."""

    value: str | float | None = None
    measurand: str | None = None
    phase: str | None = None
    unit: str | None = None
    location: str | None = None
    context: str | None = None


class MeterValueV16(_Message, frozen=True, kw_only=True):
    """Values measured at one time; its samples are read by `meter_values.read_samples`."""

    timestamp: str | None = None
    sampled_value: msgspec.Raw = msgspec.Raw(b"[]")


class MeterValuesV16(_Message, frozen=True, kw_only=True):
    """Station: values of a connector's meter."""

    connector_id: Int32
    transaction_id: TransactionId | None = None
    meter_value: tuple[MeterValueV16, ...] | None = None


class ChargingSchedulePeriodV16(_Message, frozen=True, kw_only=True):
    """From `start_period` (s after the schedule's start) on, `limit` holds."""

    start_period: Int32
    limit: Limit
    number_phases: Int32 | None = None


class ChargingScheduleV16(_Message, frozen=True, kw_only=True):
    """Limits over time; `duration` in s, None for ever. Without `start_schedule`: from the transaction on."""

    duration: Int32 | None = None
    start_schedule: str | None = None
    charging_rate_unit: str
    charging_schedule_period: tuple[ChargingSchedulePeriodV16, ...]


class ChargingProfileV16(_Message, frozen=True, kw_only=True):
    """A schedule with its purpose and rank."""

    charging_profile_id: Int32
    transaction_id: Int32 | None = None
    stack_level: Int32
    charging_profile_purpose: str
    charging_profile_kind: str
    recurrency_kind: str | None = None
    valid_from: str | None = None
    valid_to: str | None = None
    charging_schedule: ChargingScheduleV16


class SetChargingProfileV16(_Message, frozen=True, kw_only=True):
    """SetChargingProfile to the station: a limit."""

    connector_id: Int32
    cs_charging_profiles: ChargingProfileV16


class RemoteStartTransactionV16(_Message, frozen=True, kw_only=True):
    """Backend: start a transaction, with the profile that may come with it (5.11)."""

    connector_id: Int32 | None = None
    charging_profile: ChargingProfileV16 | None = None


class ClearChargingProfileV16(_Message, frozen=True, kw_only=True):
    """Backend: profiles to remove, by id or by all that is named (5.5)."""

    id: Int32 | None = None
    connector_id: Int32 | None = None
    charging_profile_purpose: str | None = None
    stack_level: Int32 | None = None


class GetCompositeScheduleV16(_Message, frozen=True, kw_only=True):
    """Backend: what will a connector take (5.7)? `duration` in s."""

    connector_id: Int32
    duration: Int32
    charging_rate_unit: str | None = None


class CompositeScheduleV16(_Message, frozen=True, kw_only=True):
    """Our answer to GetCompositeSchedule."""

    status: str
    connector_id: Int32
    schedule_start: str
    charging_schedule: ChargingScheduleV16
