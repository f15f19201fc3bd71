"""Frames by pymodbus: what this project relies on, run against several minor versions of it."""

from __future__ import annotations

import pytest

from drivers.modbus.pymodbus_frames import (
    DeviceException,
    ReadRequest,
    Registers,
    append_crc,
    build_answer,
    build_exception,
    build_request,
    parse_request,
    parse_rtu_answer,
    parse_tcp_answer,
)

MANUAL_RTU = bytes.fromhex("01 02 00 00 00 08 79 cc")
"""Request of a module's manual: 8 discrete inputs of unit 1."""


def test_pymodbus_frames_request_for_rtu_equals_manual() -> None:
    assert build_request(1, 2, 0, 8) == MANUAL_RTU
    assert append_crc(MANUAL_RTU[:-2]) == MANUAL_RTU


def test_pymodbus_frames_request_for_tcp_equals_standard() -> None:
    assert build_request(17, 4, 0x0604, 3, 9) == bytes.fromhex("0009 0000 0006 11 04 0604 0003")


@pytest.mark.parametrize("rtu", [True, False])
@pytest.mark.parametrize("function", [2, 3, 4])
def test_pymodbus_frames_answer_built_by_server_is_parsed(function: int, rtu: bool) -> None:
    request = ReadRequest(5, 0 if rtu else 77, function, 300, 3)
    frame = build_request(5, function, 300, 3, None if rtu else 77)
    assert parse_request(frame, rtu=rtu) == request
    parse = parse_rtu_answer if rtu else parse_tcp_answer
    assert parse(build_answer(request, (1, 0, 1), rtu=rtu), 3) == Registers((1, 0, 1))
    assert parse(build_exception(request, 2, rtu=rtu), 3) == DeviceException(2)


def test_answer_with_wrong_crc_or_length_is_none() -> None:
    frame = build_answer(ReadRequest(5, 0, 3, 0, 2), (1, 2), rtu=True)
    assert parse_rtu_answer(frame[:-1] + b"\x00", 2) is None
    assert parse_rtu_answer(frame, 3) is None


def test_pymodbus_frames_request_of_unknown_function_is_not_read() -> None:
    report_server_id = append_crc(bytes([1, 17]))
    request = parse_request(report_server_id, rtu=True)
    assert request is None or request.count == 0
    assert parse_request(append_crc(bytes([1, 99, 0, 0])), rtu=True) is None
