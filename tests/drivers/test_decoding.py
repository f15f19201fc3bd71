"""From registers to readings: every model, signs and directions, no values, impossible values."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from drivers.decoding import (
    Implausible,
    Wiring,
    apply_wiring,
    decode_reading,
    decode_values,
    describe_contradiction,
)
from drivers.errors import Cause
from drivers.meter_model import MeterModel, list_models, load_model
from drivers.modbus.pymodbus_frames import ReadRequest
from drivers.read_plan import ReadPlan, ReadRange, RegisterImage, fields_of
from drivers.reading import NO_VALUES, PerPhase, Reading
from drivers.simulated import SUNSPEC_BASE, Fault, SimulatedMeter

IMAGES: dict[str, Any] = json.loads(Path(__file__).with_name("register_images.json").read_text())
"""Registers of each model and their values, computed from the manufacturers' tables by another program."""

VALUES = {
    "voltage_l1": 229.1, "voltage_l2": 230.2, "voltage_l3": 231.3,
    "current_l1": 10.1, "current_l2": 20.2, "current_l3": 30.3,
    "power_active_l1": 2310.0, "power_active_l2": 4650.0, "power_active_l3": 7000.0,
    "power_active_total": 13960.0, "frequency": 49.9,
    "energy_import_total": 123_000.0, "energy_export_total": 4_000.0,
}  # fmt: skip
SDM630 = load_model("eastron-sdm630-v2")
WITH_REGISTERS = [name for name in list_models() if load_model(name).register]


def base_of(model: MeterModel) -> int:
    return 0 if model.sunspec is None else SUNSPEC_BASE + 70


def image_of(meter: SimulatedMeter, model: MeterModel) -> RegisterImage:
    base = base_of(model)
    plan = ReadPlan(fields_of(model, base), model.read.max_registers, bridge_gaps=model.read.bridge_gaps)
    plan.begin(0.0)
    while (read_range := plan.next_range()) is not None:
        request = ReadRequest(1, 0, read_range.function, read_range.address, read_range.count)
        answer = meter.answer(request)
        assert not isinstance(answer, int)
        plan.store(answer)
    return plan.finish(0.0)


def read(
    meter: SimulatedMeter, model: MeterModel = SDM630, wiring: Wiring | None = None
) -> Reading | Implausible:
    return decode_reading(model, image_of(meter, model), 7.0, base=base_of(model), wiring=wiring)


def measuring(values: Mapping[str, float | None], model: MeterModel = SDM630) -> SimulatedMeter:
    meter = SimulatedMeter(model)
    meter.set_values({**VALUES, **values})
    return meter


def good(outcome: Reading | Implausible) -> Reading:
    assert isinstance(outcome, Reading), outcome
    return outcome


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


def test_images_cover_every_model_with_registers() -> None:
    assert IMAGES.keys() == set(WITH_REGISTERS)


@pytest.mark.parametrize("name", IMAGES)
def test_decoding_register_image_of_each_model_decodes_to_values(name: str) -> None:
    model, image = load_model(name), RegisterImage()
    for run in IMAGES[name]["registers"]:
        words = [int(run["words"][at : at + 4], 16) for at in range(0, len(run["words"]), 4)]
        image.store(ReadRange(run["function"], run["address"], len(words)), words)
    values = decode_values(model, image)
    for quantity, value in IMAGES[name]["values"].items():
        assert values[quantity] == pytest.approx(value, rel=1e-4), quantity
    if not model.measures_each_phase:
        return
    reading = good(decode_reading(model, image, 0.0))
    powers = any(power is not None for power in reading.power_w)
    if model.phases == 3 and reading.current_a[0] is not None and powers:
        assert reading.current_a == pytest.approx((12.5, -8.2, 4.0), rel=1e-4)


@pytest.mark.parametrize("name", WITH_REGISTERS)
def test_simulated_meter_of_each_model_is_read_as_set(name: str) -> None:
    model = load_model(name)
    if not model.measures_each_phase:
        return
    values = dict(VALUES)
    if model.phases == 1:
        values["power_active_total"] = values["power_active_l1"]
    reading = good(read(measuring(values, model), model))
    assert reading.time == 7.0
    found = flat(reading)
    for quantity in model.by_quantity.keys() & VALUES.keys():
        assert found[quantity] == pytest.approx(values[quantity], rel=2e-3), quantity


def test_decoding_magnitude_gets_direction_of_phases_power() -> None:
    values = {"power_active_l2": -4650.0, "power_active_l3": 0.0, "power_active_total": -2340.0}
    reading = good(read(measuring(values)))
    assert reading.current_a == pytest.approx((10.1, -20.2, 30.3))
    assert reading.direction_unknown == ()


NO_PHASE_POWERS = {f"power_active_l{phase}": None for phase in (1, 2, 3)}


def test_decoding_total_feed_in_proves_direction_of_balanced_phases() -> None:
    currents = {f"current_l{phase}": 10.0 for phase in (1, 2, 3)}
    reading = good(read(measuring({**NO_PHASE_POWERS, **currents, "power_active_total": -6800.0})))
    assert reading.current_a == pytest.approx((-10.0, -10.0, -10.0))
    assert reading.direction_unknown == ()


def test_total_import_leaves_magnitudes_as_import() -> None:
    reading = good(read(measuring(NO_PHASE_POWERS)))
    assert reading.current_a == pytest.approx((10.1, 20.2, 30.3))
    assert reading.direction_unknown == ()


def test_total_feed_in_that_proves_nothing_counts_as_import() -> None:
    reading = good(read(measuring({**NO_PHASE_POWERS, "power_active_total": -5000.0})))
    assert reading.current_a == pytest.approx((10.1, 20.2, 30.3))
    assert reading.direction_unknown == (1, 2, 3)
    inverted = apply_wiring(reading, Wiring(invert=True))
    assert inverted.current_a == pytest.approx((10.1, 20.2, 30.3))


def test_decoding_meter_with_total_import_and_export_has_signed_total() -> None:
    model = load_model("dzg-dvh4013")
    reading = good(read(measuring({"power_active_total": -5000.0}, model), model))
    assert reading.power_total_w == pytest.approx(-5000.0)
    assert reading.direction_unknown == (1, 2, 3)


def test_inverted_meter_changes_all_directions() -> None:
    reading = good(read(measuring({}), wiring=Wiring(invert=True)))
    assert reading.current_a == pytest.approx((-10.1, -20.2, -30.3))
    assert reading.power_w == pytest.approx((-2310.0, -4650.0, -7000.0))
    assert reading.power_total_w == pytest.approx(-13960.0)
    assert (reading.energy_import_wh, reading.energy_export_wh) == pytest.approx((4_000.0, 123_000.0))
    assert reading.voltage_v == pytest.approx((229.1, 230.2, 231.3))


def test_transformer_ratio_multiplies_all_but_voltages() -> None:
    reading = good(read(measuring({}), wiring=Wiring(ct_ratio=40.0)))
    assert reading.current_a == pytest.approx((404.0, 808.0, 1212.0))
    assert reading.power_total_w == pytest.approx(558_400.0)
    assert reading.energy_import_wh == pytest.approx(4_920_000.0)
    assert reading.voltage_v == pytest.approx((229.1, 230.2, 231.3))


def test_decoding_phase_order_moves_values_to_sites_phases() -> None:
    reading = good(read(measuring({}), wiring=Wiring(phase_order=(2, 3, 1))))
    assert reading.current_a == pytest.approx((30.3, 10.1, 20.2))
    assert reading.voltage_v == pytest.approx((231.3, 229.1, 230.2))


@pytest.mark.parametrize(
    ("values", "text", "cause"),
    [
        ({"current_l2": None}, "no value for current_l2", Cause.MISSING_VALUE),
        ({"current_l3": math.inf}, "current_l3 is inf", Cause.IMPOSSIBLE_VALUE),
        ({"current_l1": 1e7}, "current_l1 is 1e+07", Cause.IMPOSSIBLE_VALUE),
        ({"voltage_l1": 5000.0}, "voltage_l1 is 5000", Cause.IMPOSSIBLE_VALUE),
        ({"power_active_l1": -1e9}, "power_active_l1 is -1e+09", Cause.IMPOSSIBLE_VALUE),
        ({"frequency": math.inf}, "frequency is inf", Cause.IMPOSSIBLE_VALUE),
        ({"current_l1": 0.01}, "L1 shows 2310 W at 0.01 A", Cause.IMPOSSIBLE_VALUE),
        ({"power_active_total": 1500.0}, "add up to 13960 W, its total is 1500 W", Cause.IMPOSSIBLE_VALUE),
    ],
)
def test_impossible_values_are_named(values: Mapping[str, float | None], text: str, cause: Cause) -> None:
    outcome = read(measuring(values))
    assert isinstance(outcome, Implausible)
    assert text in outcome.problem
    assert outcome.cause is cause


@pytest.mark.parametrize("volts", [230.0, 231.5, 256.0])
@pytest.mark.parametrize("name", ["eastron-sdm630-v2", "siemens-pac2200", "schneider-iem3000"])
def test_swapped_words_at_round_values_are_found(name: str, volts: float) -> None:
    model = load_model(name)
    round_values = {"current_l1": 16.0, "current_l2": 8.0, "current_l3": 0.5}
    voltages = dict.fromkeys(("voltage_l1", "voltage_l2", "voltage_l3"), volts)
    powers = {f"power_active_l{phase}": 0.0 for phase in (1, 2, 3)}
    meter = measuring({**round_values, **voltages, **powers, "power_active_total": 0.0}, model)
    meter.fault = Fault.SWAPPED_WORDS
    outcome = read(meter, model)
    assert isinstance(outcome, Implausible)


def test_frequency_times_ten_is_divided() -> None:
    assert good(read(measuring({"frequency": 499.0}))).frequency_hz == pytest.approx(49.9)


def test_registers_that_were_not_read_are_no_value() -> None:
    image = RegisterImage()
    meter = measuring({})
    answer = meter.answer(ReadRequest(1, 0, 4, 0, 18))
    assert not isinstance(answer, int)
    image.store(ReadRange(4, 0, 18), answer)
    reading = good(decode_reading(SDM630, image, 0.0))
    assert reading.current_a == pytest.approx((10.1, 20.2, 30.3))
    assert reading.frequency_hz is None
    assert reading.energy_import_wh is None


def test_sunspec_current_without_scale_factor_is_no_value() -> None:
    model = load_model("sunspec-203")
    image = RegisterImage()
    words = [100] * 107
    words[6] = 0x8000
    image.store(ReadRange(3, 0, 107), words)
    outcome = decode_reading(model, image, 0.0)
    assert isinstance(outcome, Implausible)
    assert "current_l1" in outcome.problem


@pytest.mark.parametrize(
    ("phases", "total", "words"),
    [
        ((5000.0, 5000.0, 5000.0), 15_000.0, ""),
        ((5000.0, 5000.0, 5000.0), 13_400.0, ""),
        ((5000.0, 5000.0, 5000.0), 5000.0, "its phases add up to 15000 W, its total is 5000 W"),
        ((5000.0, -5000.0, 5000.0), 15_000.0, "its phases add up to 5000 W, its total is 15000 W"),
        ((50.0, 0.0, 0.0), 200.0, ""),
        ((5000.0, None, 5000.0), 15_000.0, ""),
        (NO_VALUES, 15_000.0, ""),
        ((5000.0, 5000.0, 5000.0), None, ""),
    ],
)
def test_powers_that_do_not_add_up_contradict_each_other(
    phases: PerPhase, total: float | None, words: str
) -> None:
    assert describe_contradiction(phases, total) == words
