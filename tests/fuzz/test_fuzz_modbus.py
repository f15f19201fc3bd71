"""Arbitrary bytes for the decoders of Modbus frames, registers, SunSpec chains and model files."""

from __future__ import annotations

from functools import partial
from importlib import resources

import pytest

from drivers import decoding, meter_model, meter_share, read_plan, register, sunspec
from drivers.decoding import Implausible, decode_reading
from drivers.errors import ModelFileError, SunSpecError
from drivers.meter_model import list_models, load_model, parse_model
from drivers.meter_share import SharedRegisters
from drivers.modbus import framing, pymodbus_frames
from drivers.modbus.framing import Exchange, InvalidAnswer, RtuExchange, TcpExchange
from drivers.modbus.pymodbus_frames import DeviceException, ReadRequest, Registers, build_answer
from drivers.read_plan import ReadPlan, ReadRange, RegisterImage, fields_of
from drivers.reading import Reading
from drivers.settings import ShareSettings
from drivers.sunspec import MAX_MODELS, Selection, SunSpecDiscovery
from tests.fuzz.coverage_guided import fuzz

COUNT = 5
REQUEST = ReadRequest(17, 9, 4, 300, COUNT)


def feed(start: type[RtuExchange] | partial[TcpExchange], data: bytes) -> None:
    """Feed data in pieces; an accepted answer has the requested length."""
    exchange: Exchange = start(17, 4, 300, COUNT)
    step = 1 + (data[0] % 16 if data else 0)
    for at in range(0, len(data), step):
        answer = exchange.feed(data[at : at + step])
        if isinstance(answer, Registers):
            assert len(answer.values) == COUNT
            assert all(0 <= word <= 0xFFFF for word in answer.values)
        if answer is not None:
            assert isinstance(answer, Registers | DeviceException | InvalidAnswer)
            return
    exchange.diagnose()


@pytest.mark.parametrize("rtu", [True, False])
def test_fuzz_modbus_fuzzed_answers_never_break_exchange(rtu: bool) -> None:
    good = build_answer(REQUEST, range(COUNT), rtu=rtu)
    start = RtuExchange if rtu else partial(TcpExchange, transaction=9)
    reached = fuzz(partial(feed, start), [framing, pymodbus_frames], [good, b"\x03" + good, b"\x15\x03\x03"])
    assert reached > 20


def decode(name: str, data: bytes) -> None:
    """Decode registers made of the data; a reading is plausible in all its values."""
    model, image = load_model(name), RegisterImage()
    plan = ReadPlan(fields_of(model), model.read.max_registers)
    words = [int.from_bytes(data[at : at + 2], "big") for at in range(0, len(data), 2)] or [0]
    plan.begin(0.0)
    while (read_range := plan.next_range()) is not None:
        image.store(read_range, [words[at % len(words)] for at in range(read_range.count)])
        plan.store([0] * read_range.count)
    outcome = decode_reading(model, image, 0.0)
    assert isinstance(outcome, Reading | Implausible)
    if isinstance(outcome, Reading):
        currents = [amps for amps in outcome.current_a if amps is not None]
        assert len(currents) == model.phases or "current_l1" not in model.by_quantity
        assert all(abs(amps) <= decoding.MAX_AMPS for amps in currents)


@pytest.mark.parametrize(
    "name", ["eastron-sdm630-v2", "abb-b23", "sunspec-203", "kostal-ksem", "iskra-wm3m4"]
)
def test_fuzz_modbus_fuzzed_registers_never_give_impossible_reading(name: str) -> None:
    seeds = [bytes(160), b"\x43\x66\x00\x00\x41\x20\x00\x00" * 20, b"\x80\x00" * 80, b"\x00\x00\x08\xfd" * 40]
    fuzz(partial(decode, name), [decoding, register, read_plan], seeds)


def discover(data: bytes) -> None:
    """Answer a discovery with the data as registers; it ends, with meters or an error."""
    discovery, at = SunSpecDiscovery(), 0
    for _ in range(2 * MAX_MODELS + 10):
        read_range = discovery.next_range()
        if read_range is None:
            break
        part = data[at : at + 2 * read_range.count]
        at += len(part)
        try:
            if len(part) < 2 * read_range.count:
                discovery.refuse("exception 2 (illegal data address)")
            else:
                discovery.store([int.from_bytes(part[i : i + 2], "big") for i in range(0, len(part), 2)])
        except SunSpecError:
            return
    assert discovery.next_range() is None
    try:
        meter = discovery.select({203: 105, 213: 124}, Selection())
    except SunSpecError:
        return
    assert meter.length in (105, 124)


def test_fuzzed_sunspec_chain_ends() -> None:
    mark = b"SunS"
    chain = mark + b"\x00\x01\x00\x42" + bytes(100) + b"\x00\xcb\x00\x69" + b"\xff\xff\x00\x00"
    fuzz(discover, [sunspec], [mark, chain, b"\0\0\0\0" + mark])


def test_fuzz_modbus_fuzzed_requests_never_break_server_of_shared_meter() -> None:
    image = RegisterImage()
    image.store(ReadRange(4, 300, 20), range(20))
    shared = SharedRegisters(ShareSettings(port=1, unit=17), lambda: (image, 0.0))

    def serve(data: bytes) -> None:
        answer = shared.answer(data, 1.0)
        assert len(answer) <= 260
        assert not answer or answer[:2] == data[:2]

    good = TcpExchange(17, 4, 300, 5, 9).request
    fuzz(serve, [meter_share, pymodbus_frames], [good, good[:7] + b"\x06\x00\x00\x00\x01"])


def test_fuzzed_model_files_are_refused_or_valid() -> None:
    def check(data: bytes) -> None:
        try:
            model = parse_model(data.decode("utf-8", "replace"), "m.toml")
        except ModelFileError:
            return
        assert model.register or model.sunspec is not None

    texts = [
        resources.files("drivers.meters").joinpath(f"{name}.toml").read_bytes()[:600]
        for name in list_models()[:6]
    ]
    minimal = (
        b'vendor="V"\nmodel="M"\nphases=1\ntransports=["rtu"]\ncurrent_sign="signed"\nsources={}\n'
        b'[[register]]\nquantity="current_l1"\nfunction=3\naddress=10\ntype="int16"\n'
    )
    fuzz(check, [meter_model], [minimal, *texts])
