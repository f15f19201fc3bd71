"""From registers to readings: what is asked for, signs, no values, nonsense; every map there and back."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence

import pytest
from pymodbus.pdu.register_message import ReadHoldingRegistersRequest, ReadInputRegistersRequest

from drivers.decoding import Block, Implausible, decode, plan
from drivers.reading import Reading
from drivers.registers import RegisterMap, list_maps, load_map
from drivers.simulated import SUNSPEC_BASE, SimulatedMeter

VALUES = {
    "voltage_l1": 229.1,
    "voltage_l2": 230.2,
    "voltage_l3": 231.3,
    "current_l1": 10.1,
    "current_l2": 20.2,
    "current_l3": 30.3,
    "power_active_l1": 2310.0,
    "power_active_l2": 4650.0,
    "power_active_l3": 7000.0,
    "power_active_total": 13960.0,
    "frequency": 49.9,
    "energy_import_total": 123_000.0,
    "energy_export_total": 4_000.0,
}
SDM630 = load_map("eastron-sdm630-v2")


def base_of(register_map: RegisterMap) -> int:
    return 0 if register_map.sunspec is None else SUNSPEC_BASE + 70


def read(meter: SimulatedMeter, register_map: RegisterMap, *, invert: bool = False) -> Reading | Implausible:
    base = base_of(register_map)
    answers: dict[Block, Sequence[int]] = {}
    for block in plan(register_map, base):
        ask = ReadHoldingRegistersRequest if block.function == 3 else ReadInputRegistersRequest
        answer = meter.answer(ask(address=block.address, count=block.count, dev_id=meter.unit))
        assert len(answer.registers) == block.count
        answers[block] = answer.registers
    return decode(register_map, answers, 7.0, base=base, invert=invert)


def measuring(values: Mapping[str, float | None], register_map: RegisterMap = SDM630) -> SimulatedMeter:
    meter = SimulatedMeter(register_map)
    meter.set({**VALUES, **values})
    return meter


def flat(reading: Reading) -> dict[str, float | None]:
    found: dict[str, float | None] = {
        "power_active_total": reading.power_total_w,
        "frequency": reading.frequency_hz,
        "energy_import_total": reading.energy_import_wh,
        "energy_export_total": reading.energy_export_wh,
    }
    for phase in range(3):
        found[f"voltage_l{phase + 1}"] = reading.voltage_v[phase]
        found[f"current_l{phase + 1}"] = reading.current_a[phase]
        found[f"power_active_l{phase + 1}"] = reading.power_w[phase]
    return found


@pytest.mark.parametrize("name", list_maps())
def test_every_quantity_of_every_map_comes_back_as_it_was_measured(name: str) -> None:
    register_map = load_map(name)
    reading = read(measuring({}, register_map), register_map)
    assert isinstance(reading, Reading)
    assert reading.time == 7.0
    told = flat(reading)
    for register in register_map.register:
        value = VALUES[register.quantity]
        assert told[register.quantity] == pytest.approx(value, rel=1e-5), register.quantity


@pytest.mark.parametrize("name", list_maps())
def test_every_value_is_asked_for_in_one_piece_within_the_meters_limit(name: str) -> None:
    register_map = load_map(name)
    for tight in (False, True):
        blocks = plan(register_map, tight=tight)
        assert all(0 < block.count <= register_map.read.max_registers for block in blocks)
        for register in register_map.register:
            holding = [
                block
                for block in blocks
                if block.function == register.function and block.has(register.address, register.words)
            ]
            assert len(holding) == 1, register.quantity
            if register.scale_register is not None:
                assert holding[0].has(register.scale_register, 1)


def test_few_requests_read_a_meter() -> None:
    assert plan(SDM630) == [Block(4, 0, 18), Block(4, 52, 24)]
    assert len(plan(load_map("janitza-umg604"))) == 1
    assert plan(load_map("sunspec-203"), 40070) == [Block(3, 40072, 105)]


def test_a_tight_plan_reads_no_gap_and_keeps_optional_registers_apart() -> None:
    register_map = load_map("abb-b23")
    asked = [
        address
        for block in plan(register_map, tight=True)
        for address in range(block.address, block.address + block.count)
    ]
    own = [
        address
        for register in register_map.register
        for address in range(register.address, register.address + register.words)
    ]
    assert sorted(asked) == sorted(own)
    assert Block(3, 0x5000, 4) in plan(register_map, tight=True)


def test_a_magnitude_takes_the_direction_of_its_phases_power() -> None:
    reading = read(measuring({"power_active_l2": -4650.0, "power_active_l3": 0.0}), SDM630)
    assert isinstance(reading, Reading)
    assert reading.current_a == pytest.approx((10.1, -20.2, 30.3))


def test_a_current_without_direction_counts_as_import() -> None:
    reading = read(measuring({"power_active_l1": None}), SDM630)
    assert isinstance(reading, Reading)
    assert reading.power_w[0] is None
    assert reading.current_a[0] == pytest.approx(10.1)


def test_invert_turns_all_that_has_a_direction() -> None:
    reading = read(measuring({}), SDM630, invert=True)
    assert isinstance(reading, Reading)
    assert reading.current_a == pytest.approx((-10.1, -20.2, -30.3))
    assert reading.power_w == pytest.approx((-2310.0, -4650.0, -7000.0))
    assert reading.power_total_w == pytest.approx(-13960.0)
    assert (reading.energy_import_wh, reading.energy_export_wh) == pytest.approx((4_000.0, 123_000.0))
    assert reading.voltage_v == pytest.approx((229.1, 230.2, 231.3))


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"current_l2": None}, "no value for current_l2"),
        ({"current_l3": math.inf}, "current_l3 is inf"),
        ({"current_l1": 1e7}, r"current_l1 is 1e\+07"),
        ({"voltage_l1": 5000.0}, "voltage_l1 is 5000"),
        ({"power_active_l1": -1e9}, r"power_active_l1 is -1e\+09"),
        ({"frequency": math.inf}, "frequency is infinite"),
    ],
)
def test_nonsense_is_a_verdict(values: Mapping[str, float | None], said: str) -> None:
    verdict = read(measuring(values), SDM630)
    assert isinstance(verdict, Implausible)
    assert re.search(said, verdict.why)


def test_what_the_map_has_and_the_meter_did_not_tell_is_no_value() -> None:
    first, _ = plan(SDM630)
    meter = measuring({})
    answer = meter.answer(ReadInputRegistersRequest(address=first.address, count=first.count, dev_id=1))
    reading = decode(SDM630, {first: answer.registers}, 0.0)
    assert isinstance(reading, Reading)
    assert reading.current_a == pytest.approx((10.1, 20.2, 30.3))
    assert reading.frequency_hz is None
    assert reading.energy_import_wh is None


def test_a_sunspec_meter_without_a_scale_factor_has_no_current() -> None:
    register_map = load_map("sunspec-203")
    (block,) = plan(register_map)
    words = [100] * block.count
    words[6 - 2] = 0x8000
    verdict = decode(register_map, {block: words}, 0.0)
    assert isinstance(verdict, Implausible)
    assert "current_l1" in verdict.why
