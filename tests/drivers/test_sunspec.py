"""Discovery of SunSpec meters: the chain, several meters, other lengths, exceptions."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from drivers.decoding import Implausible, decode_reading
from drivers.errors import Cause, SunSpecError
from drivers.meter_model import load_model
from drivers.meter_reader import sunspec_layouts
from drivers.read_plan import ReadPlan, ReadRange, fields_of
from drivers.reading import Reading
from drivers.sunspec import MAX_MODELS, PHASES, Selection, SunSpecDiscovery, SunSpecMeter

IMAGES: dict[str, Any] = json.loads(Path(__file__).with_name("sunspec_images.json").read_text())
SUNS = (0x5375, 0x6E53)
LENGTHS = {203: 105, 213: 124}


def registers_of(image: dict[str, Any]) -> dict[int, int]:
    text = image["registers"]
    words = [int(text[at : at + 4], 16) for at in range(0, len(text), 4)]
    return {image["base"] + offset: word for offset, word in enumerate(words)}


def words_of(registers: dict[int, int], read_range: ReadRange) -> Sequence[int] | None:
    words = [registers.get(read_range.address + offset) for offset in range(read_range.count)]
    return None if None in words else [word for word in words if word is not None]


def discover(registers: dict[int, int]) -> SunSpecDiscovery:
    discovery = SunSpecDiscovery()
    while (read_range := discovery.next_range()) is not None:
        words = words_of(registers, read_range)
        if words is None:
            discovery.refuse("exception 2 (illegal data address)")
        else:
            discovery.store(words)
    return discovery


def read(image: dict[str, Any], selection: Selection) -> Reading | Implausible:
    """Read an image of registers as a meter is read."""
    registers = registers_of(image)
    layouts = sunspec_layouts(load_model(image["driver"]))
    lengths = {number: model.sunspec.length for number, model in layouts.items() if model.sunspec}
    meter = discover(registers).select(lengths, selection)
    model, phases = layouts[meter.model], PHASES[meter.model]
    plan = ReadPlan(fields_of(model, meter.base, phases), model.read.max_registers)
    plan.begin(0.0)
    while (read_range := plan.next_range()) is not None:
        words = words_of(registers, read_range)
        assert words is not None
        plan.store(words)
    return decode_reading(model, plan.finish(0.0), 0.0, base=meter.base, phases=phases)


@pytest.mark.parametrize("name", [name for name, image in IMAGES.items() if image["expected"]])
def test_sunspec_image_of_device_is_read_as_expected(name: str) -> None:
    image = IMAGES[name]
    reading = read(image, Selection(**image.get("selection", {})))
    assert isinstance(reading, Reading)
    for field, value in image["expected"].items():
        found = getattr(reading, field)
        pairs = zip(found, value, strict=True) if isinstance(value, list) else [(found, value)]
        for one, other in pairs:
            assert one == (other if other is None else pytest.approx(other, rel=1e-5)), field


@pytest.mark.parametrize("name", [name for name, image in IMAGES.items() if not image["expected"]])
def test_image_without_usable_meter_gives_no_reading(name: str) -> None:
    image = IMAGES[name]
    try:
        outcome = read(image, Selection(**image.get("selection", {})))
    except SunSpecError as error:
        text = str(error)
    else:
        assert isinstance(outcome, Implausible)
        text = outcome.problem
    assert image["problem"] in text


def test_sunspec_discovery_reads_whole_chain() -> None:
    discovery = discover(registers_of(IMAGES["1, 103, 120, 203"]))
    assert discovery.models == (1, 103, 120, 203)
    assert [meter.model for meter in discovery.meters] == [203]


def chain(*models: tuple[int, int], options: str = "") -> dict[int, int]:
    """Registers of a device at base 40000; each common model carries `options`."""
    registers = dict(zip((40000, 40001), SUNS, strict=True))
    at = 40002
    for number, length in (*models, (0xFFFF, 0)):
        registers |= dict.fromkeys(range(at, at + 2 + length), 0)
        registers[at], registers[at + 1] = number, length
        at += 2 + length
    return registers


def test_discovery_of_two_meters_asks_which_one() -> None:
    discovery = discover(chain((1, 66), (203, 105), (203, 105)))
    with pytest.raises(SunSpecError, match=r"2 meters .*set sunspec_instance") as raised:
        discovery.select(LENGTHS, Selection())
    assert raised.value.cause is Cause.AMBIGUOUS
    assert discovery.select(LENGTHS, Selection(instance=2)) == SunSpecMeter(2, 203, 40177, 105)


def test_discovery_selects_by_model_and_by_role() -> None:
    registers = chain((1, 66), (213, 124), (1, 66), (203, 105))
    production_at = 40002 + 68 + 126
    for offset, letters in enumerate(("Pr", "od", "uc", "ti", "on")):
        registers[production_at + 34 + offset] = int.from_bytes(letters.encode(), "big")
    discovery = discover(registers)
    assert discovery.select(LENGTHS, Selection(model=213)).instance == 1
    assert discovery.select(LENGTHS, Selection(role="production")).instance == 2
    with pytest.raises(
        SunSpecError, match=r"no meter .*role grid; its meters: 1: model 213 .*\"Production\""
    ):
        discovery.select(LENGTHS, Selection(role="grid"))


def test_discovery_of_another_length_names_both() -> None:
    with pytest.raises(SunSpecError, match="announces 24 registers, the standard's has 124"):
        discover(chain((1, 66), (213, 24))).select(LENGTHS, Selection())


def test_sunspec_discovery_without_meter_lists_models() -> None:
    with pytest.raises(SunSpecError, match="none among its models 1, 103"):
        discover(chain((1, 66), (103, 50))).select(LENGTHS, Selection())


def test_sunspec_discovery_of_another_device_states_it() -> None:
    discovery = SunSpecDiscovery()
    discovery.store((0, 0))
    discovery.store((0, 0))
    with pytest.raises(SunSpecError, match='no "SunS" at 40000, 0, 50000: it is no SunSpec device'):
        discovery.store((0, 0))


def test_sunspec_discovery_refused_names_exceptions() -> None:
    discovery = SunSpecDiscovery()
    discovery.refuse("exception 4 (device failure)")
    discovery.store((0, 0))
    with pytest.raises(SunSpecError, match=r"40000: exception 4 \(device failure\)") as raised:
        discovery.refuse("exception 2 (illegal data address)")
    assert "no SunSpec device" not in str(raised.value)


def test_sunspec_discovery_refused_inside_chain_names_place() -> None:
    discovery = SunSpecDiscovery()
    discovery.store(SUNS)
    with pytest.raises(SunSpecError, match=r"exception 3 .* inside its chain .*40002"):
        discovery.refuse("exception 3 (illegal data value)")


def test_sunspec_discovery_of_endless_chain_ends() -> None:
    discovery = SunSpecDiscovery()
    discovery.store(SUNS)
    for _ in range(MAX_MODELS):
        discovery.store((103, 0))
    with pytest.raises(SunSpecError, match="no end"):
        discovery.store((103, 0))


def test_discovery_behind_small_gateway_reads_common_model_in_pieces() -> None:
    registers = chain((1, 66), (203, 105))
    for offset, text in ((2, "Maker"), (18, "Model 7"), (34, "Production"), (42, "1.2.3"), (50, "A-4711")):
        for number, pair in enumerate(text[at : at + 2] for at in range(0, len(text), 2)):
            registers[40002 + offset + number] = int.from_bytes(pair.encode().ljust(2, b"\0"), "big")
    discovery = SunSpecDiscovery()
    while (read_range := discovery.next_range()) is not None:
        words = words_of(registers, read_range)
        if words is None or read_range.count > 32:
            discovery.refuse("exception 3 (illegal data value)")
        else:
            discovery.store(words)
    [meter] = discovery.meters
    assert meter.role == "Model 7 Production"
    assert (meter.identity.manufacturer, meter.identity.serial_number) == ("Maker", "A-4711")
    assert meter.identity.firmware == "1.2.3"
