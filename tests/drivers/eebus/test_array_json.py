"""EEBUS JSON in array form: by schema, in both directions, with any strings."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.eebus import array_json
from drivers.eebus.array_json import EebusError
from drivers.eebus.spine_data import (
    LimitData,
    LimitList,
    ScaledNumber,
    TimePeriod,
    format_duration,
    format_time,
    parse_duration,
    parse_end,
    to_float,
)
from drivers.eebus.spine_types import FeatureAddress, ResultData

LIMIT = LimitList(
    load_control_limit_data=(
        LimitData(limit_id=1, time_period=TimePeriod(), value=ScaledNumber(number=42, scale=2)),
        LimitData(limit_id=2),
    )
)
TEXT = (
    b'[{"loadControlLimitData":[[{"limitId":1},{"timePeriod":[]},{"value":[{"number":42},{"scale":2}]}],'
    b'[{"limitId":2}]]}]'
)


def test_lists_of_objects_are_lists_of_lists() -> None:
    assert array_json.encode(LIMIT) == TEXT
    assert array_json.decode(TEXT, LimitList) == LIMIT


def test_lists_of_plain_values_stay_plain() -> None:
    address = FeatureAddress(device="d:_n:x", entity=(1, 2), feature=3)
    assert array_json.encode(address) == b'[{"device":"d:_n:x"},{"entity":[1,2]},{"feature":3}]'
    assert array_json.decode(array_json.encode(address), FeatureAddress) == address


@pytest.mark.parametrize("text", ["}],[{", "[]", '"},{"', "{}", "\u0000"])
def test_strings_with_structure_characters_stay_as_they_are(text: str) -> None:
    result = ResultData(error_number=7, description=text)
    assert array_json.decode(array_json.encode(result), ResultData) == result


def test_empty_lists_are_left_out() -> None:
    assert array_json.encode(LimitList()) == b"[]"
    assert array_json.decode(b"[]", LimitList) == LimitList()


def test_unknown_members_are_skipped() -> None:
    text = b'[{"errorNumber":7},{"more":[{"nothing":[1,2]}]},{"description":"x"}]'
    assert array_json.decode(text, ResultData) == ResultData(error_number=7, description="x")


def test_plain_objects_are_taken_as_well() -> None:
    assert array_json.decode(b'{"errorNumber":7}', ResultData).error_number == 7


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b"7",
        b"[7]",
        b"[[]]",
        b'[{"errorNumber":"7"}]',
        b'[{"errorNumber":-1}]',
        b'[{"errorNumber":1},{"errorNumber":2}]',
        b'[{"description":"x"}]',
        b'[{"errorNumber":1e400}]',
        b"[" * 100_000,
        b'[{"a":' * 100_000,
        b"\xff\xfe",
    ],
)
def test_array_json_invalid_text_is_error(text: bytes) -> None:
    with pytest.raises(EebusError):
        array_json.decode(text, ResultData)


limits = st.builds(
    LimitData,
    limit_id=st.none() | st.integers(0, 2**32 - 1),
    is_limit_active=st.none() | st.booleans(),
    time_period=st.none() | st.builds(TimePeriod, end_time=st.none() | st.text(max_size=40)),
    value=st.none()
    | st.builds(ScaledNumber, number=st.integers(-(2**63), 2**63 - 1), scale=st.integers(-128, 127)),
)


@given(st.lists(limits, max_size=5))
def test_array_json_encoding_is_decoded_again(entries: list[LimitData]) -> None:
    value = LimitList(load_control_limit_data=tuple(entries))
    assert array_json.decode(array_json.encode(value), LimitList) == value
    assert msgspec.json.decode(array_json.encode(value)) == array_json.to_array(value)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("PT2H", 7200),
        ("PT60S", 60),
        ("PT1M", 60),
        ("P1D", 86_400),
        ("P1DT1H12M", 90_720),
        ("PT1H54M", 6840),
        ("PT0S", 0),
        ("PT0.5S", 0.5),
        ("P2W", 1_209_600),
    ],
)
def test_array_json_durations_are_parsed(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "P", "PT", "P1Y", "P1M", "PT-5S", "-PT5S", "5", "PT1e9S", "P1DT"])
def test_array_json_text_that_is_not_duration_is_error(text: str) -> None:
    with pytest.raises(EebusError):
        parse_duration(text)


@given(st.integers(0, 10**9))
def test_formatted_durations_are_parsed_back(seconds: int) -> None:
    assert parse_duration(format_duration(seconds)) == seconds


def test_points_in_time_are_relative_to_now() -> None:
    assert format_time(0.5) == "1970-01-01T00:00:00.500Z"
    assert parse_end("1970-01-01T00:01:00.1234567Z", 10.0) == pytest.approx(50.123456)
    assert parse_end("1970-01-01T01:01:00+01:00", 10.0) == pytest.approx(50.0)
    assert parse_end("PT5S", 10.0) == 5.0
    with pytest.raises(EebusError):
        parse_end("tomorrow", 10.0)


def test_array_json_scaled_number_without_number_is_error() -> None:
    assert to_float(ScaledNumber(number=3, scale=-1)) == pytest.approx(0.3)
    with pytest.raises(EebusError):
        to_float(ScaledNumber(scale=2))
