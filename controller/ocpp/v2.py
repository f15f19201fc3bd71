"""OCPP 2.0.1 and 2.1: messages that we read or make, with the members that we use.

For these members the two versions are the same. Source: OCPP 2.0.1 and 2.1 Part 2, sections 1 and 2
of the messages' appendix. Everything else passes as bytes.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from controller.ocpp.payloads import Int32, Limit

MOST_WH = 1e9
"""No car needs so much: a message with more is implausible."""


class _Message(msgspec.Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    pass


class ChargingStationV2(_Message, frozen=True, kw_only=True):
    """Identity of a station."""

    vendor_name: str = ""
    model: str = ""
    firmware_version: str = ""
    serial_number: str = ""


class BootNotificationV2(_Message, frozen=True, kw_only=True):
    """Station: it has started."""

    charging_station: ChargingStationV2 = ChargingStationV2()


class StatusNotificationV2(_Message, frozen=True, kw_only=True):
    """Station: a connector's state."""

    evse_id: Int32
    connector_id: Int32 = 1
    connector_status: str
    timestamp: str | None = None


class EvseV2(_Message, frozen=True, kw_only=True):
    """An EVSE's number, and that of one of its connectors."""

    id: Int32
    connector_id: Int32 | None = None


class ComponentV2(_Message, frozen=True, kw_only=True):
    """Component of a station."""

    name: str
    evse: EvseV2 | None = None


class VariableV2(_Message, frozen=True, kw_only=True):
    """Variable of a component."""

    name: str


class EventDataV2(_Message, frozen=True, kw_only=True):
    """One event: the value that a variable has now, as text."""

    component: ComponentV2
    variable: VariableV2
    actual_value: str = ""
    timestamp: str | None = None


class NotifyEventV2(_Message, frozen=True, kw_only=True):
    """Station: events of its components, in order."""

    event_data: tuple[EventDataV2, ...] = ()


class TransactionV2(_Message, frozen=True, kw_only=True):
    """A transaction and how it is going."""

    transaction_id: str
    charging_state: str | None = None


class UnitOfMeasureV2(_Message, frozen=True, kw_only=True):
    """A unit and the power of ten of the value."""

    unit: str | None = None
    multiplier: Int32 | None = None


class SampledValueV2(_Message, frozen=True, kw_only=True):
    """One measured value. Stations also send text, and null for what they omit."""

    value: float | str | None = None
    measurand: str | None = None
    phase: str | None = None
    unit_of_measure: UnitOfMeasureV2 | None = None
    location: str | None = None
    context: str | None = None


class MeterValueV2(_Message, frozen=True, kw_only=True):
    """Values measured at one time; its samples are read by `meter_values.read_samples`."""

    timestamp: str | None = None
    sampled_value: msgspec.Raw = msgspec.Raw(b"[]")


class TransactionEventV2(_Message, frozen=True, kw_only=True):
    """Station: a transaction began, went on or ended. Of the driver's idToken only its presence is read."""

    event_type: str
    trigger_reason: str | None = None
    id_token: msgspec.Raw = msgspec.Raw(b"null")
    timestamp: str | None = None
    offline: bool | None = None
    transaction_info: TransactionV2
    evse: EvseV2 | None = None
    meter_value: tuple[MeterValueV2, ...] | None = None


class MeterValuesV2(_Message, frozen=True, kw_only=True):
    """Station: values of an EVSE's meter."""

    evse_id: Int32
    meter_value: tuple[MeterValueV2, ...] | None = None


class ACChargingParametersV2(_Message, frozen=True, kw_only=True):
    """AC needs of a car: `energy_amount` in Wh."""

    energy_amount: Annotated[float, msgspec.Meta(ge=0, le=MOST_WH)]


class DCChargingParametersV2(_Message, frozen=True, kw_only=True):
    """DC needs of a car: `energy_amount` and `ev_energy_capacity` in Wh, states of charge in percent."""

    energy_amount: Annotated[float, msgspec.Meta(ge=0, le=MOST_WH)] | None = None
    ev_energy_capacity: Annotated[float, msgspec.Meta(ge=0, le=MOST_WH)] | None = None
    state_of_charge: Annotated[float, msgspec.Meta(ge=0, le=100)] | None = None
    full_soc: Annotated[float, msgspec.Meta(ge=0, le=100)] | None = msgspec.field(
        default=None, name="fullSoC"
    )

    @property
    def energy_wh(self) -> float | None:
        """Return the energy that the car asks for, or that it takes until it is full; None if unknown."""
        if self.energy_amount is not None:
            return self.energy_amount
        if self.ev_energy_capacity is None or self.state_of_charge is None:
            return None
        full_percent = 100.0 if self.full_soc is None else self.full_soc
        return max(0.0, full_percent - self.state_of_charge) / 100 * self.ev_energy_capacity


class V2XChargingParametersV2(_Message, frozen=True, kw_only=True):
    """Needs of a car that may discharge, too (2.1): what it needs until its target (Wh)."""

    ev_target_energy_request: Annotated[float, msgspec.Meta(ge=-MOST_WH, le=MOST_WH)] | None = None


class ChargingNeedsV2(_Message, frozen=True, kw_only=True):
    """Charging needs of a car, and its departure (RFC 3339)."""

    departure_time: str | None = None
    ac_charging_parameters: ACChargingParametersV2 | None = None
    dc_charging_parameters: DCChargingParametersV2 | None = None
    v2x_charging_parameters: V2XChargingParametersV2 | None = None

    @property
    def energy_wh(self) -> float | None:
        """Return the energy that the car asks for (Wh); None if it names none."""
        if self.ac_charging_parameters is not None:
            return self.ac_charging_parameters.energy_amount
        if self.dc_charging_parameters is not None:
            return self.dc_charging_parameters.energy_wh
        if self.v2x_charging_parameters is not None:
            wanted_wh = self.v2x_charging_parameters.ev_target_energy_request
            return None if wanted_wh is None else max(0.0, wanted_wh)
        return None


class NotifyEVChargingNeedsV2(_Message, frozen=True, kw_only=True):
    """Station: what the car at an EVSE has asked for by ISO 15118."""

    evse_id: Int32
    charging_needs: ChargingNeedsV2


class ChargingSchedulePeriodV2(_Message, frozen=True, kw_only=True):
    """From `start_period` (s after the schedule's start) on, `limit` holds (2.1: L2 and L3 may differ)."""

    start_period: Int32
    limit: Limit | None = None
    limit_l2: Limit | None = msgspec.field(default=None, name="limit_L2")
    limit_l3: Limit | None = msgspec.field(default=None, name="limit_L3")
    number_phases: Int32 | None = None
    phase_to_use: Int32 | None = None
    operation_mode: str | None = None
    setpoint: Limit | None = None


class ChargingScheduleV2(_Message, frozen=True, kw_only=True):
    """Limits over time; `duration` in s, None for ever. Without `start_schedule`: from the transaction on."""

    id: Int32 | None = None
    start_schedule: str | None = None
    duration: Int32 | None = None
    charging_rate_unit: str
    use_local_time: bool | None = None
    limit_at_soc: dict[str, Any] | None = msgspec.field(default=None, name="limitAtSoC")
    charging_schedule_period: tuple[ChargingSchedulePeriodV2, ...]


class ChargingProfileV2(_Message, frozen=True, kw_only=True):
    """A schedule with its purpose and rank."""

    id: Int32
    stack_level: Int32
    charging_profile_purpose: str
    charging_profile_kind: str
    recurrency_kind: str | None = None
    valid_from: str | None = None
    valid_to: str | None = None
    transaction_id: str | None = None
    max_offline_duration: Int32 | None = None
    dyn_update_interval: Int32 | None = None
    dyn_update_time: str | None = None
    charging_schedule: tuple[ChargingScheduleV2, ...]


class SetChargingProfileV2(_Message, frozen=True, kw_only=True):
    """SetChargingProfile to the station: a limit."""

    evse_id: Int32
    charging_profile: ChargingProfileV2


class ProfileHeadV2(_Message, frozen=True, kw_only=True):
    """Head of a backend's profile: the members that show whether it affects ours."""

    number: Int32 | None = msgspec.field(default=None, name="id")
    purpose: str = msgspec.field(default="", name="chargingProfilePurpose")


class RequestStartTransactionV2(_Message, frozen=True, kw_only=True):
    """Backend: start a transaction, with the profile that may come with it."""

    evse_id: Int32 | None = None
    charging_profile: ChargingProfileV2 | None = None


class ScheduleUpdateV2(_Message, frozen=True, kw_only=True):
    """New limits of the one period of a profile of the kind Dynamic (2.1)."""

    limit: Limit | None = None
    limit_l2: Limit | None = msgspec.field(default=None, name="limit_L2")
    limit_l3: Limit | None = msgspec.field(default=None, name="limit_L3")
    setpoint: Limit | None = None


class UpdateDynamicScheduleV2(_Message, frozen=True, kw_only=True):
    """Backend: an update of a profile of the kind Dynamic (2.1)."""

    charging_profile_id: Int32
    schedule_update: ScheduleUpdateV2 = ScheduleUpdateV2()


class PullDynamicScheduleUpdateV2(_Message, frozen=True, kw_only=True):
    """Station: a request for an update of a profile of the kind Dynamic (2.1)."""

    charging_profile_id: Int32


class PullDynamicScheduleUpdateResultV2(_Message, frozen=True, kw_only=True):
    """Backend: the update; None where there is none."""

    schedule_update: ScheduleUpdateV2 | None = None


class ClearingCriteriaV2(_Message, frozen=True, kw_only=True):
    """Criteria of profiles to remove: all that are named must match."""

    evse_id: Int32 | None = None
    charging_profile_purpose: str | None = None
    stack_level: Int32 | None = None


class ClearChargingProfileV2(_Message, frozen=True, kw_only=True):
    """Backend: profiles to remove, by id or by criteria."""

    charging_profile_id: Int32 | None = None
    charging_profile_criteria: ClearingCriteriaV2 | None = None


class GetCompositeScheduleV2(_Message, frozen=True, kw_only=True):
    """Backend: what will an EVSE take? `duration` in s."""

    evse_id: Int32
    duration: Int32
    charging_rate_unit: str | None = None


class CompositePeriodsV2(_Message, frozen=True, kw_only=True):
    """Composite schedule of an EVSE, from `schedule_start` on."""

    evse_id: Int32
    duration: Int32
    schedule_start: str
    charging_rate_unit: str
    charging_schedule_period: tuple[ChargingSchedulePeriodV2, ...]


class CompositeScheduleV2(_Message, frozen=True, kw_only=True):
    """Our answer to GetCompositeSchedule."""

    status: str
    schedule: CompositePeriodsV2


class ReportCriteriaV2(_Message, frozen=True, kw_only=True):
    """Criteria of profiles to report: all that are named must match."""

    charging_profile_id: tuple[Int32, ...] | None = None
    charging_profile_purpose: str | None = None
    stack_level: Int32 | None = None
    charging_limit_source: tuple[str, ...] | None = None


class GetChargingProfilesV2(_Message, frozen=True, kw_only=True):
    """Backend: report the profiles that you hold."""

    request_id: Int32
    evse_id: Int32 | None = None
    charging_profile: ReportCriteriaV2 = ReportCriteriaV2()


class ReportChargingProfilesV2(_Message, frozen=True, kw_only=True):
    """Profiles that are held at an EVSE, as they were set; `tbc`: more follow."""

    request_id: Int32
    charging_limit_source: str
    charging_profile: tuple[msgspec.Raw, ...]
    tbc: bool = False
    evse_id: Int32


class ChargingLimitV2(_Message, frozen=True, kw_only=True):
    """Charging limit and its source."""

    charging_limit_source: str


class NotifyChargingLimitV2(_Message, frozen=True, kw_only=True):
    """NotifyChargingLimit to the backend: an EVSE is limited."""

    evse_id: Int32
    charging_limit: ChargingLimitV2
    charging_schedule: tuple[ChargingScheduleV2, ...]


class ClearedChargingLimitV2(_Message, frozen=True, kw_only=True):
    """ClearedChargingLimit to the backend: an EVSE is no longer limited."""

    charging_limit_source: str
    evse_id: Int32
