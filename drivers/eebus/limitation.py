"""Limits and failsafe values on the wire: LoadControl and DeviceConfiguration of LPC and LPP, sans-IO.

A write may carry any part of a limit: value, activation, duration, or the deletion of the duration. What is
left out keeps its stored value, the scale of a number included. A write is done as a whole or not at all,
and commands one direction of power; entries are matched by their identifiers, an entry without identifier
means all. Whether a complete limit is accepted is decided by the state machine, not here.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping

import msgspec
from msgspec.structs import replace

from drivers.eebus import spine_features as features
from drivers.eebus.array_json import EebusError
from drivers.eebus.lpc import Failsafe, FailsafeWritten, LimitWritten, LpcView, State
from drivers.eebus.spine_data import (
    Characteristic,
    CharacteristicList,
    KeyDescription,
    KeyDescriptions,
    KeyValue,
    KeyValueData,
    KeyValueList,
    LimitData,
    LimitDescription,
    LimitDescriptions,
    LimitList,
    ScaledNumber,
    format_duration,
    from_float,
    parse_duration,
    parse_end,
    to_float,
)
from drivers.eebus.spine_datagrams import Command, ErrorNumber, SpineError
from drivers.eebus.spine_features import CONFIGURATION, ELECTRICAL_CONNECTION, LOAD_CONTROL, Key, LocalDevice
from drivers.eebus.spine_types import Filter


class PowerDirection(enum.Enum):
    """PowerDirection of the power that is limited."""

    CONSUME = "consume"
    PRODUCE = "produce"


class _Names(msgspec.Struct, frozen=True):
    """Identifiers and names of one direction."""

    limit_id: int
    failsafe_key: int
    failsafe_name: str
    characteristic: str
    use_case: str


NAMES = {
    PowerDirection.CONSUME: _Names(
        1, 1, "failsafeConsumptionActivePowerLimit", "contractualConsumptionNominalMax", features.LPC
    ),
    PowerDirection.PRODUCE: _Names(
        2, 3, "failsafeProductionActivePowerLimit", "contractualProductionNominalMax", features.LPP
    ),
}
DURATION_KEY = 2
DURATION_NAME = "failsafeDurationMinimum"
SCENARIOS = (1, 2, 3, 4)

Changed = list[tuple[Key, str]]
"""Functions whose data has changed."""


class PreparedWrite(msgspec.Struct, frozen=True):
    """Write that was understood: the event for the state machine, and the data if it is accepted."""

    direction: PowerDirection
    event: LimitWritten | FailsafeWritten
    limit: LimitData | None = None
    keys: Mapping[int, KeyValue] = {}


class Limitation:
    """Data of the limits. `nominal_w`: contractual maximum of each direction that is offered (W)."""

    def __init__(
        self,
        local: LocalDevice,
        nominal_w: Mapping[PowerDirection, float],
        views: Mapping[PowerDirection, LpcView],
    ) -> None:
        self._local = local
        self._views = dict(views)
        self._limits = {
            direction: LimitData(
                limit_id=NAMES[direction].limit_id,
                is_limit_changeable=True,
                is_limit_active=False,
                value=ScaledNumber(number=0, scale=0),
            )
            for direction in nominal_w
        }
        self._keys: dict[int, KeyValue] = {}
        self._describe(nominal_w)
        for direction, view in views.items():
            self._take_failsafe(direction, view.failsafe)
        self._publish()

    # -- writes ---------------------------------------------------------------------------------------

    def prepare(self, key: Key, command: Command, now: float, utc: float) -> PreparedWrite:
        """Understand a write to one of the two features. Raises SpineError."""
        try:
            if key == LOAD_CONTROL:
                return self._prepare_limit(command, now, utc)
            return self._prepare_keys(command)
        except SpineError:
            raise
        except EebusError as error:
            raise SpineError(ErrorNumber.REJECTED, str(error)) from error

    def commit(self, write: PreparedWrite) -> None:
        """Store the data of an accepted write; `update` with the new state follows."""
        if write.limit is not None:
            self._limits[write.direction] = write.limit
        self._keys.update(write.keys)

    def update(self, direction: PowerDirection, view: LpcView) -> Changed:
        """Take over the state of a machine and return what has changed on the wire."""
        self._views[direction] = view
        limit = self._limits[direction]
        if limit.is_limit_active and view.state is not State.LIMITED:
            self._limits[direction] = _ended(limit)  # by itself: an accepted write has set the activation
        self._take_failsafe(direction, view.failsafe)
        return self._publish()

    def _prepare_limit(self, command: Command, now: float, utc: float) -> PreparedWrite:
        entries = command.convert(LimitList).load_control_limit_data
        partial, deletes = _split(command.filters)
        ids = {direction: NAMES[direction].limit_id for direction in self._limits}
        targets: set[PowerDirection] = set()
        for identifier in [
            *(_first(entry.limit_id, _selected_limit(partial)) for entry in entries),
            *(_selected_limit(each) for each in deletes),
        ]:
            chosen = {direction for direction, known in ids.items() if identifier in (None, known)}
            if not chosen:
                raise SpineError(ErrorNumber.REJECTED, f"unknown limitId {identifier}")
            targets |= chosen
        if len(targets) != 1 or len(entries) > 1:
            raise SpineError(ErrorNumber.REJECTED, "a write commands one limit")
        if any(each.load_control_limit_data_elements is None for each in deletes):
            raise SpineError(ErrorNumber.REJECTED, "a limit cannot be deleted: deactivate it")
        [direction] = targets
        entry = entries[0] if entries else LimitData()
        return self._merge_limit(direction, entry, command.filters, delete=bool(deletes), now=now, utc=utc)

    def _merge_limit(
        self,
        direction: PowerDirection,
        entry: LimitData,
        filters: tuple[Filter, ...],
        *,
        delete: bool,
        now: float,
        utc: float,
    ) -> PreparedWrite:
        """Complete what was written by what is stored and holds at `now`."""
        stored, until = self._limits[direction], self._views[direction].until
        if stored.is_limit_active and until is not None and until <= now:
            stored = _ended(stored)  # a write may come before `update` with the end of the limit
        whole = not filters
        active = bool(stored.is_limit_active) and not whole
        active = active if entry.is_limit_active is None else entry.is_limit_active
        period = None if delete or whole else stored.time_period
        if entry.time_period is not None:
            period = entry.time_period if entry.time_period.end_time is not None else None
        limit = replace(
            stored,
            is_limit_active=active,
            time_period=period,
            value=_merge_number(stored.value, entry.value, keep_scale=not whole),
        )
        duration_s: float | None = None
        if period is not None and period.end_time is not None:
            # A duration that is already running goes on; written anew, or with a new activation, it starts.
            ends_at = until if entry.time_period is None and stored.is_limit_active else None
            duration_s = parse_end(period.end_time, utc) if ends_at is None else ends_at - now
        watts = to_float(limit.value) if limit.value is not None else 0.0
        event = LimitWritten(watts=watts, active=active, duration_s=duration_s if active else None)
        return PreparedWrite(direction, event, limit=limit)

    def _prepare_keys(self, command: Command) -> PreparedWrite:
        partial, deletes = _split(command.filters)
        if deletes:
            raise SpineError(ErrorNumber.REJECTED, "configuration values cannot be deleted")
        written: dict[int, KeyValue] = {}
        for entry in command.convert(KeyValueList).device_configuration_key_value_data:
            key = _first(entry.key_id, _selected_key(partial))
            if key is None or key not in self._keys or key in written or entry.value is None:
                raise SpineError(ErrorNumber.REJECTED, f"unknown, repeated or empty keyId {key}")
            written[key] = entry.value
        directions = [each for each in self._limits if NAMES[each].failsafe_key in written]
        if not written or len(directions) > 1 or (PowerDirection.PRODUCE in directions and len(written) > 1):
            raise SpineError(ErrorNumber.REJECTED, "a write sets the values of one direction of power")
        direction = directions[0] if directions else PowerDirection.CONSUME
        watts: float | None = None
        duration_s: float | None = None
        keys: dict[int, KeyValue] = {}
        for key, value in written.items():
            if key == DURATION_KEY:
                if value.duration is None:
                    raise SpineError(ErrorNumber.REJECTED, f"keyId {key} is a duration")
                duration_s = parse_duration(value.duration)
                keys[key] = KeyValue(duration=value.duration)
            else:
                if value.scaled_number is None:
                    raise SpineError(ErrorNumber.REJECTED, f"keyId {key} is a scaled number")
                keep_scale = bool(command.filters)
                number = _merge_number(
                    self._keys[key].scaled_number, value.scaled_number, keep_scale=keep_scale
                )
                watts = to_float(number)
                keys[key] = KeyValue(scaled_number=number)
        others = (view for each, view in self._views.items() if each is not direction)
        unlocked = any(view.state in (State.CONTROLLED, State.LIMITED) for view in others)
        event = FailsafeWritten(watts=watts, duration_s=duration_s, unlocked=unlocked)
        return PreparedWrite(direction, event, keys=keys)

    # -- data -----------------------------------------------------------------------------------------

    def _take_failsafe(self, direction: PowerDirection, failsafe: Failsafe) -> None:
        """Set the configuration values where they differ: what was written stays as it was written."""
        key = NAMES[direction].failsafe_key
        number = self._keys[key].scaled_number if key in self._keys else None
        if number is None or to_float(number) != failsafe.watts:
            self._keys[key] = KeyValue(scaled_number=from_float(failsafe.watts))
        duration = self._keys[DURATION_KEY].duration if DURATION_KEY in self._keys else None
        if direction is PowerDirection.CONSUME and (
            duration is None or parse_duration(duration) != failsafe.duration_s
        ):
            self._keys[DURATION_KEY] = KeyValue(duration=format_duration(failsafe.duration_s))

    def _publish(self) -> Changed:
        limits = LimitList(load_control_limit_data=tuple(self._limits.values()))
        keys = KeyValueList(
            device_configuration_key_value_data=tuple(
                KeyValueData(key_id=key, value=value, is_value_changeable=True)
                for key, value in sorted(self._keys.items())
            )
        )
        changed: Changed = []
        if self._local.set_data(LOAD_CONTROL, features.LIMITS, limits):
            changed.append((LOAD_CONTROL, features.LIMITS))
        if self._local.set_data(CONFIGURATION, features.KEY_VALUES, keys):
            changed.append((CONFIGURATION, features.KEY_VALUES))
        return changed

    def _describe(self, nominal_w: Mapping[PowerDirection, float]) -> None:
        limits = tuple(
            LimitDescription(
                limit_id=NAMES[direction].limit_id,
                limit_type="signDependentAbsValueLimit",
                limit_category="obligation",
                limit_direction=direction.value,
                measurement_id=0,
                unit="W",
                scope_type="activePowerLimit",
            )
            for direction in nominal_w
        )
        keys = [
            KeyDescription(
                key_id=NAMES[direction].failsafe_key,
                key_name=NAMES[direction].failsafe_name,
                value_type="scaledNumber",
                unit="W",
            )
            for direction in nominal_w
        ]
        keys.insert(1, KeyDescription(key_id=DURATION_KEY, key_name=DURATION_NAME, value_type="duration"))
        characteristics = tuple(
            Characteristic(
                electrical_connection_id=0,
                parameter_id=0,
                characteristic_id=number,
                characteristic_context="entity",
                characteristic_type=NAMES[direction].characteristic,
                value=from_float(watts),
                unit="W",
            )
            for number, (direction, watts) in enumerate(nominal_w.items())
        )
        set_data = self._local.set_data
        set_data(
            LOAD_CONTROL,
            features.LIMIT_DESCRIPTIONS,
            LimitDescriptions(load_control_limit_description_data=limits),
        )
        set_data(
            CONFIGURATION,
            features.KEY_DESCRIPTIONS,
            KeyDescriptions(device_configuration_key_value_description_data=tuple(keys)),
        )
        set_data(
            ELECTRICAL_CONNECTION,
            features.CHARACTERISTICS,
            CharacteristicList(electrical_connection_characteristic_data=characteristics),
        )


def _ended(limit: LimitData) -> LimitData:
    """Return a limit that has ended by itself, without its duration: a later activation is a new limit."""
    return replace(limit, is_limit_active=False, time_period=None)


def _split(filters: tuple[Filter, ...]) -> tuple[Filter | None, list[Filter]]:
    """Return the partial filter, if there is one, and the delete filters. Raises SpineError."""
    partials = [each for each in filters if each.cmd_control.partial is not None]
    deletes = [each for each in filters if each.cmd_control.delete is not None]
    if len(partials) > 1 or len(partials) + len(deletes) != len(filters):
        raise SpineError(ErrorNumber.FILTER_NOT_SUPPORTED, "filters are partial (one) or delete")
    return (partials[0] if partials else None), deletes


def _merge_number(
    stored: ScaledNumber | None, written: ScaledNumber | None, *, keep_scale: bool
) -> ScaledNumber:
    stored = stored or ScaledNumber(number=0, scale=0)
    if written is None:
        return stored
    return ScaledNumber(
        number=stored.number if written.number is None else written.number,
        scale=_first(written.scale, stored.scale if keep_scale else 0),
    )


def _first(first: int | None, second: int | None) -> int | None:
    return second if first is None else first


def _selected_limit(chosen: Filter | None) -> int | None:
    selectors = None if chosen is None else chosen.load_control_limit_list_data_selectors
    return None if selectors is None else selectors.limit_id


def _selected_key(chosen: Filter | None) -> int | None:
    selectors = None if chosen is None else chosen.device_configuration_key_value_list_data_selectors
    return None if selectors is None else selectors.key_id
