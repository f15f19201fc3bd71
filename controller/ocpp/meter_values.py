"""Reading of meter values in a station's messages, each by itself where one of them cannot be read."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from operator import itemgetter
from typing import TypeVar

import msgspec

from controller.ocpp import v2, v16
from controller.ocpp.payloads import read_payload, read_time

Sample = v16.SampledValueV16 | v2.SampledValueV2
MeterValue = v16.MeterValueV16 | v2.MeterValueV2
"""Values measured at one time."""
_SampleT = TypeVar("_SampleT", v16.SampledValueV16, v2.SampledValueV2)
_Carrier = TypeVar("_Carrier", v16.MeterValuesV16, v2.MeterValuesV2, v2.TransactionEventV2)

_MEMBERS = msgspec.json.Decoder(dict[str, msgspec.Raw])
METER_VALUES_16 = msgspec.json.Decoder(v16.MeterValuesV16)
METER_VALUES_2 = msgspec.json.Decoder(v2.MeterValuesV2)
TRANSACTION_EVENT_2 = msgspec.json.Decoder(v2.TransactionEventV2)
_SAMPLES_16 = msgspec.json.Decoder(tuple[v16.SampledValueV16, ...] | None)
_SAMPLES_2 = msgspec.json.Decoder(tuple[v2.SampledValueV2, ...] | None)
_NOT_READABLE = (msgspec.DecodeError, RecursionError, UnicodeError)


def read_sample(sample: Sample, scales: Mapping[str | None, float], most: float) -> float | None:
    """Return a sample's value in the unit of `scales`; None where it is no number, or above `most`."""
    unit: str | None
    if isinstance(sample, v16.SampledValueV16):
        unit, scale = sample.unit, 1.0
    else:
        measure = sample.unit_of_measure or v2.UnitOfMeasureV2()
        unit, multiplier = measure.unit, measure.multiplier or 0
        if abs(multiplier) > 30:
            return None
        scale = 10.0**multiplier
    value = read_number(sample.value)
    factor = scales.get(unit)
    if value is None or factor is None:
        return None
    value *= scale * factor
    return value if abs(value) <= most else None


def read_number(value: str | float | None) -> float | None:
    """Read a number as stations write it: as text, too, and with a decimal comma."""
    if isinstance(value, str):
        try:
            value = float(value.replace(",", "."))
        except ValueError:
            return None
    return value if value is not None and math.isfinite(value) else None


def read_carrier(decoder: msgspec.json.Decoder[_Carrier], payload: bytes) -> _Carrier | None:
    """Read a message with meter values, the oldest first.

    Each value is read by itself where one of them cannot be read.
    """
    message = _read_members(decoder, payload)
    if message is None or message.meter_value is None or len(message.meter_value) < 2:
        return message
    timestamps = [each.timestamp for each in message.meter_value]
    if len(set(timestamps)) == 1:
        return message
    times = [read_time(each) for each in timestamps]
    known = [each for each in times if each is not None]
    if len(known) < len(times) or known == sorted(known):
        return message  # without all times their order is the best that is known
    in_order = sorted(zip(known, message.meter_value, strict=True), key=itemgetter(0))
    return msgspec.structs.replace(message, meter_value=tuple(each for _, each in in_order))


def _read_members(decoder: msgspec.json.Decoder[_Carrier], payload: bytes) -> _Carrier | None:
    try:
        return decoder.decode(payload)
    except _NOT_READABLE:
        pass
    try:
        members = _MEMBERS.decode(payload)
        elements = _read_list(members.pop("meterValue", msgspec.Raw(b"[]")))
        message = decoder.decode(msgspec.json.encode(members))
    except _NOT_READABLE:
        return None
    kind = v16.MeterValueV16 if isinstance(message, v16.MeterValuesV16) else v2.MeterValueV2
    return msgspec.structs.replace(message, meter_value=tuple(_read_element(each, kind) for each in elements))


class _Element(msgspec.Struct, rename="camel"):
    timestamp: msgspec.Raw = msgspec.Raw(b"null")
    sampled_value: msgspec.Raw = msgspec.Raw(b"[]")


def _read_element(raw: bytes, kind: type[MeterValue]) -> MeterValue:
    element = read_payload(_Element, raw) or _Element()
    return kind(timestamp=_decode_text(element.timestamp), sampled_value=element.sampled_value)


def read_samples(values: MeterValue) -> Sequence[Sample]:
    """Return the samples of one moment; each by itself where one of them cannot be read."""
    if isinstance(values, v16.MeterValueV16):
        return _decode_samples(_SAMPLES_16, v16.SampledValueV16, values.sampled_value)
    return _decode_samples(_SAMPLES_2, v2.SampledValueV2, values.sampled_value)


def _decode_samples(
    decoder: msgspec.json.Decoder[tuple[_SampleT, ...] | None], kind: type[_SampleT], raw: msgspec.Raw
) -> Sequence[_SampleT]:
    try:
        return decoder.decode(raw) or ()
    except _NOT_READABLE:
        each_read = (read_payload(kind, each) for each in _read_list(raw))
        return [each for each in each_read if each is not None]


def _read_list(raw: msgspec.Raw) -> list[bytes]:
    try:
        return [bytes(each) for each in msgspec.json.decode(raw, type=list[msgspec.Raw])]
    except _NOT_READABLE:
        return []


def _decode_text(raw: msgspec.Raw) -> str | None:
    try:
        return msgspec.json.decode(raw, type=str)
    except _NOT_READABLE:
        return None
