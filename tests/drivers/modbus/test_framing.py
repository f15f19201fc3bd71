"""One exchange against whole, cut, corrupt and foreign answers."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymodbus.framer import FramerRTU, FramerSocket
from pymodbus.pdu import DecodePDU, ExceptionResponse, ModbusPDU
from pymodbus.pdu.register_message import ReadHoldingRegistersResponse, ReadInputRegistersResponse

from drivers.errors import Cause
from drivers.modbus.framing import MAX_BYTES, Answer, Exchange, InvalidAnswer, RtuExchange, TcpExchange
from drivers.modbus.pymodbus_frames import DeviceException, Registers

UNIT, TRANSACTION = 17, 9
VALUES = (0x1104, 0x0304, 0xFFFF)
"""Registers that look like the beginning of an answer themselves."""


def rtu() -> RtuExchange:
    return RtuExchange(UNIT, 4, 0x0604, len(VALUES))


def tcp() -> TcpExchange:
    return TcpExchange(UNIT, 4, 0x0604, len(VALUES), TRANSACTION)


def registers(
    values: tuple[int, ...] = VALUES, unit: int = UNIT, transaction: int = TRANSACTION
) -> ModbusPDU:
    return ReadInputRegistersResponse(registers=list(values), dev_id=unit, transaction_id=transaction)


def holding(values: tuple[int, ...] = VALUES) -> ModbusPDU:
    return ReadHoldingRegistersResponse(registers=list(values), dev_id=UNIT, transaction_id=TRANSACTION)


def refusal(code: int) -> ModbusPDU:
    return ExceptionResponse(4, code, UNIT, TRANSACTION)


def rtu_frame(pdu: ModbusPDU) -> bytes:
    return FramerRTU(DecodePDU(is_server=True)).buildFrame(pdu)


def tcp_frame(pdu: ModbusPDU) -> bytes:
    return FramerSocket(DecodePDU(is_server=True)).buildFrame(pdu)


GOOD_RTU, GOOD_TCP = rtu_frame(registers()), tcp_frame(registers())
BAD_CRC = GOOD_RTU[:-1] + bytes([GOOD_RTU[-1] ^ 0xFF])

KINDS = pytest.mark.parametrize(("start", "good"), [(rtu, GOOD_RTU), (tcp, GOOD_TCP)], ids=["rtu", "tcp"])


def fed(exchange: Exchange, *pieces: bytes) -> Answer | None:
    """Feed pieces and return the last result; the ones before must give none."""
    for piece in pieces[:-1]:
        assert exchange.feed(piece) is None
    return exchange.feed(pieces[-1])


def test_framing_requests_equal_those_of_standard() -> None:
    assert rtu().request[:-2] == bytes.fromhex("11 04 0604 0003")
    assert tcp().request == bytes.fromhex("0009 0000 0006 11 04 0604 0003")


@KINDS
def test_framing_exchange_fed_in_any_pieces_returns_registers(
    start: Callable[[], Exchange], good: bytes
) -> None:
    assert start().feed(good) == Registers(VALUES)
    for cut in range(1, len(good)):
        assert fed(start(), good[:cut], good[cut:]) == Registers(VALUES)
    assert fed(start(), *(bytes([byte]) for byte in good)) == Registers(VALUES)


@pytest.mark.parametrize("code", [1, 2, 4, 6, 11, 99])
def test_framing_exchange_fed_exception_returns_code(code: int) -> None:
    assert rtu().feed(rtu_frame(refusal(code))) == DeviceException(code)
    assert tcp().feed(tcp_frame(refusal(code))) == DeviceException(code)


def test_device_exception_shows_code_and_name() -> None:
    assert str(DeviceException(11)) == "exception 11 (gateway target device failed to respond)"
    assert str(DeviceException(99)) == "exception 99 (unknown)"


DIRT = {
    "garbage": b"\x00\xff\x11",
    "half an answer": GOOD_RTU[:5],
    "another unit's answer": rtu_frame(registers(unit=3)),
    "another unit's answer of the same bytes": rtu_frame(registers(unit=UNIT + 1)),
    "our own echo": rtu().request,
    "a wrong CRC": BAD_CRC,
    "another function": rtu_frame(holding()),
    "a shorter answer": rtu_frame(registers(VALUES[:2])),
    "a longer answer": rtu_frame(registers((*VALUES, 5))),
    "no registers": rtu_frame(registers(())),
    "another's refusal": rtu_frame(ExceptionResponse(4, 2, 3)),
}


@pytest.mark.parametrize("dirt", DIRT.values(), ids=DIRT)
def test_framing_rtu_exchange_with_dirt_before_finds_answer(dirt: bytes) -> None:
    assert rtu().feed(dirt) is None
    assert rtu().feed(dirt + GOOD_RTU) == Registers(VALUES)
    assert fed(rtu(), dirt, GOOD_RTU) == Registers(VALUES)
    assert rtu().feed(dirt + rtu_frame(refusal(2))) == DeviceException(2)
    assert rtu().feed(GOOD_RTU + dirt) == Registers(VALUES)
    dirty = dirt + GOOD_RTU
    for cut in range(1, len(dirty)):
        assert fed(rtu(), dirty[:cut], dirty[cut:]) == Registers(VALUES)


def test_rtu_exchange_with_noise_only_is_invalid() -> None:
    exchange = rtu()
    fed(exchange, *[b"\x00" * 64] * (MAX_BYTES // 64))
    assert isinstance(exchange.feed(b"\x00"), InvalidAnswer)


@pytest.mark.parametrize(
    ("changed", "taken"),
    [
        (registers(transaction=TRANSACTION - 1), False),
        (registers(unit=UNIT + 1, transaction=0), False),
        (registers(unit=UNIT + 1), False),
        (registers(transaction=0), True),
        (registers(unit=0), True),
        (registers(unit=255), True),
    ],
    ids=["late", "foreign", "wrong unit", "lost transaction", "unit 0", "unit 255"],
)
def test_tcp_exchange_compares_transaction_and_unit(changed: ModbusPDU, taken: bool) -> None:
    """Some gateways lose the transaction, others the unit."""
    first = tcp().feed(tcp_frame(changed))
    assert first == (Registers(VALUES) if taken else None)
    if not taken:
        assert tcp().feed(tcp_frame(changed) + GOOD_TCP) == Registers(VALUES)


@pytest.mark.parametrize(
    "wrong",
    [
        GOOD_RTU,
        GOOD_TCP[:2] + b"\x00\x01" + GOOD_TCP[4:],
        GOOD_TCP[:4] + b"\xff\xff" + GOOD_TCP[6:],
        GOOD_TCP[:4] + b"\x00\x02" + GOOD_TCP[6:],
        tcp_frame(holding()),
        tcp_frame(registers(VALUES[:2])),
        tcp_frame(registers(())),
        tcp_frame(registers((*VALUES, 5))),
    ],
    ids=["rtu", "protocol", "endless", "empty", "function", "short", "none", "long"],
)
def test_tcp_exchange_with_impossible_frame_is_invalid(wrong: bytes) -> None:
    assert isinstance(tcp().feed(wrong), InvalidAnswer)


pieces = st.lists(
    st.one_of(
        st.binary(max_size=40),
        st.sampled_from([*DIRT.values(), GOOD_TCP[:9], tcp_frame(registers(VALUES[:1]))]),
    ),
    max_size=12,
)


@given(pieces)
def test_exchange_with_random_bytes_never_fails(dirt: list[bytes]) -> None:
    """Noise is an answer only with the right unit, function, length, and CRC or MBAP by chance."""
    for start in (rtu, tcp):
        exchange = start()
        for piece in dirt:
            answer = exchange.feed(piece)
            assert not isinstance(answer, Registers) or len(answer.values) == len(VALUES)
            if answer is not None:
                break


@given(
    dirt=st.binary(max_size=60),
    unit=st.integers(1, 247),
    values=st.lists(st.integers(0, 0xFFFF), min_size=1, max_size=20),
)
def test_framing_rtu_exchange_never_accepts_foreign_frame(dirt: bytes, unit: int, values: list[int]) -> None:
    answer = rtu().feed(dirt + rtu_frame(registers(tuple(values), unit=unit)))
    if unit == UNIT and len(values) == len(VALUES):
        assert answer == Registers(tuple(values))
    else:
        assert not isinstance(answer, Registers)


@pytest.mark.parametrize(
    ("dirt", "text", "cause"),
    [
        (rtu().request, "only the echo of the request", Cause.NO_ANSWER),
        (BAD_CRC, "wrong checksum", Cause.CORRUPT_ANSWER),
        (GOOD_RTU[:7], "ended after 7 of 11 bytes", Cause.CORRUPT_ANSWER),
        (rtu_frame(registers(unit=3)), "unit 3 answered instead of unit 17", Cause.WRONG_ANSWER),
        (rtu_frame(registers(VALUES[:2])), "4 bytes of data instead of 6", Cause.WRONG_ANSWER),
        (b"\x00\xff\x00", "3 bytes came that are no answer", Cause.CORRUPT_ANSWER),
    ],
)
def test_framing_rtu_exchange_without_answer_names_what_came(dirt: bytes, text: str, cause: Cause) -> None:
    exchange = rtu()
    assert exchange.diagnose() is None
    assert exchange.feed(dirt) is None
    diagnosis = exchange.diagnose()
    assert diagnosis is not None
    assert text in diagnosis.text
    assert diagnosis.cause is cause


@pytest.mark.parametrize(
    ("dirt", "text", "cause"),
    [
        (tcp_frame(registers(transaction=8)), "transaction 8 instead of 9", Cause.WRONG_ANSWER),
        (tcp_frame(registers(unit=3)), "unit 3 answered instead of unit 17", Cause.WRONG_ANSWER),
        (GOOD_TCP[:9], "ended after 9 bytes", Cause.CORRUPT_ANSWER),
        (b"\x15\x03", 'set transport = "tls"', Cause.CORRUPT_ANSWER),
    ],
)
def test_framing_tcp_exchange_without_answer_names_what_came(dirt: bytes, text: str, cause: Cause) -> None:
    exchange = tcp()
    assert exchange.diagnose() is None
    assert exchange.feed(dirt) is None
    diagnosis = exchange.diagnose()
    assert diagnosis is not None
    assert text in diagnosis.text
    assert diagnosis.cause is cause


def test_framing_tcp_exchange_fed_tls_alert_suggests_tls() -> None:
    answer = tcp().feed(bytes.fromhex("15030300020246"))
    assert isinstance(answer, InvalidAnswer)
    assert 'set transport = "tls"' in answer.diagnosis.text
