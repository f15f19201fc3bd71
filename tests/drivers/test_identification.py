"""Identification of meters: which model fits which answers, on a bus and for each model."""

from __future__ import annotations

from functools import partial

import pytest
import trio

from drivers.identification import PROOF, Candidate, ModelTrial
from drivers.identify_service import identify_meters, serial_settings_to_try
from drivers.meter_model import list_models, load_model
from drivers.modbus.pymodbus_frames import ReadRequest
from drivers.read_plan import ReadRange
from drivers.settings import BusSettings
from drivers.simulated import SerialTiming, SimulatedMeter, serve_serial, serve_tcp
from tests.drivers.terminal import pseudo_terminal
from tests.drivers.test_decoding import VALUES

PLAIN = [name for name in list_models() if load_model(name).sunspec is None]


def meter_of(name: str, unit: int = 1) -> SimulatedMeter:
    model = load_model(name)
    meter = SimulatedMeter(model, unit, filled=False)
    values: dict[str, float | None] = dict(VALUES)
    if model.phases == 1:
        values["power_active_total"] = values["power_active_l1"]
    meter.set_values(values)
    for probe in model.identify.probe:
        value = probe.values[0]
        data = (
            value.encode().ljust(2 * probe.words)
            if isinstance(value, str)
            else value.to_bytes(2 * probe.words)
        )
        for offset in range(probe.words):
            word = int.from_bytes(data[2 * offset : 2 * offset + 2])
            meter.set_register(probe.function, probe.address + offset, word)
    return meter


def candidates_for(meter: SimulatedMeter) -> list[Candidate]:
    known: dict[ReadRange, tuple[int, ...] | None] = {}
    found = []
    for name in PLAIN:
        trial = ModelTrial(name, load_model(name), known)
        while (read_range := trial.next_range) is not None:
            request = ReadRequest(1, 0, read_range.function, read_range.address, read_range.count)
            answer = meter.answer(request)
            known[read_range] = None if isinstance(answer, int) else tuple(answer)
            trial.answer(known[read_range])
        if trial.candidate is not None:
            found.append(trial.candidate)
    return sorted(found, key=lambda each: -each.score)


@pytest.mark.parametrize(
    "name",
    ["abb-b23", "eastron-sdm120", "eastron-sdm630-v2", "huawei-dtsu666-h", "janitza-umg96", "kostal-ksem",
     "schneider-iem3000", "siemens-pac2200", "solax-inverter-grid"],
)  # fmt: skip
def test_identification_model_is_among_best_candidates_for_registers(name: str) -> None:
    candidates = candidates_for(meter_of(name))
    best = [each.name for each in candidates if each.score == candidates[0].score]
    assert name in best


@pytest.mark.parametrize("name", [name for name in PLAIN if load_model(name).identify.probe])
def test_identifying_register_is_proof(name: str) -> None:
    candidates = candidates_for(meter_of(name))
    assert candidates[0].score >= PROOF
    assert any("holds" in reason for reason in candidates[0].reasons)


def test_device_without_mains_values_has_no_candidate() -> None:
    model = load_model("eastron-sdm630-v2")
    meter = SimulatedMeter(model)
    meter.set_values(dict.fromkeys(model.by_quantity, 0.0))
    assert candidates_for(meter) == []


@pytest.mark.slow
async def test_identification_meter_on_serial_port_is_identified() -> None:
    lines: list[str] = []
    with pseudo_terminal() as (near, device):
        async with trio.open_nursery() as nursery:
            meter = meter_of("eastron-sdm630-v2", unit=2)
            nursery.start_soon(partial(serve_serial, near, meter, timing=SerialTiming(115200, 0.001)))
            settings = serial_settings_to_try(device, 9600, "N")
            with trio.fail_after(60):
                (found,) = await identify_meters(settings, [1, 2], lines.append)
            nursery.cancel_scope.cancel()
    assert found.unit == 2
    assert found.candidates[0].name in ("eastron-sdm630-v2", "eastron-sdm54")
    assert any("230.2" in reason for reason in found.candidates[0].reasons)
    assert lines == [f"trying {device} at 9600 8N1", "unit 2 answers; comparing models"]


async def test_identification_sunspec_meters_of_host_are_listed(nursery: trio.Nursery) -> None:
    meter = SimulatedMeter(load_model("sunspec-203"), unit=71)
    port = await nursery.start(serve_tcp, meter)
    settings = BusSettings(transport="tcp", host="127.0.0.1", port=port)
    with trio.fail_after(60):
        (found,) = await identify_meters([settings], [71], lambda line: None)
    assert [each.model for each in found.sunspec] == [203]
    nursery.cancel_scope.cancel()


def test_identification_serial_settings_are_tried_from_most_frequent() -> None:
    settings = serial_settings_to_try("/dev/x", None, None)
    assert (settings[0].baud, settings[0].parity) == (9600, "N")
    assert len(settings) == 21
    assert len(serial_settings_to_try("/dev/x", 19200, "E")) == 1
