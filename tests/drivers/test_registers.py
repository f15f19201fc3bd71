"""Register maps: the files that ship, the types that they use, and what is said of a wrong one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.registers import SCALE_UNKNOWN, Register, RegisterFileWrong, list_maps, load_map, parse_map

SOUND = """
vendor = "V"
model = "M"
phases = 1
transports = ["rtu"]
current_sign = "signed"
sources = ["the test"]
[[register]]
quantity = "current_l1"
function = 3
address = 10
type = "int16"
"""


def register(kind: str, **fields: object) -> Register:
    return Register(quantity="current_l1", function=3, address=0, type=kind, **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", list_maps())
def test_every_map_is_sound_and_names_its_sources(name: str) -> None:
    found = load_map(name)
    assert found.sources
    assert name.startswith(found.vendor.lower().split()[0])


def test_the_maps_cover_the_shapes_that_meters_have() -> None:
    registers = [register for name in list_maps() for register in load_map(name).register]
    assert {register.type for register in registers} >= {
        "int16",
        "uint16",
        "int32",
        "uint32",
        "int64",
        "uint64",
        "float32",
        "float64",
    }
    assert {register.function for register in registers} == {3, 4}
    orders = {(register.type, register.word_order) for register in registers}
    assert orders >= {("float32", "big"), ("float32", "little"), ("int32", "little")}
    assert any(register.scale_register is not None for register in registers)


@pytest.mark.parametrize(
    ("kind", "words", "value"),
    [
        ("int16", [0xFFFE], -2.0),
        ("uint16", [0xFFFE], 65534.0),
        ("int32", [0xFFFF, 0xFFFE], -2.0),
        ("uint32", [0x0001, 0x0002], 65538.0),
        ("int64", [0xFFFF, 0xFFFF, 0xFFFF, 0xFFFE], -2.0),
        ("uint64", [0, 0, 1, 2], 65538.0),
        ("float32", [0x4366, 0x3333], pytest.approx(230.2, abs=1e-4)),
        ("float64", [0x406C, 0xC666, 0x6666, 0x6666], pytest.approx(230.2)),
    ],
)
def test_types_decode_in_both_word_orders(kind: str, words: list[int], value: float) -> None:
    assert register(kind).decode(words) == value
    assert register(kind, word_order="little").decode(words[::-1]) == value


@given(
    kind=st.sampled_from(["int32", "uint32", "int64", "float32", "float64"]),
    order=st.sampled_from(["big", "little"]),
    scale=st.sampled_from([0.001, 0.1, 1.0, 10.0, 1000.0]),
    steps=st.integers(0, 1_000_000),
)
def test_what_is_encoded_decodes_to_itself(kind: str, order: str, scale: float, steps: int) -> None:
    there = register(kind, word_order=order, scale=scale)
    assert there.decode(there.encode(steps * scale)) == pytest.approx(steps * scale, rel=1e-6)


@pytest.mark.parametrize(
    ("kind", "no_value", "words"),
    [
        ("uint32", "max", [0xFFFF, 0xFFFF]),
        ("int32", "max", [0x7FFF, 0xFFFF]),
        ("int16", "min", [0x8000]),
        ("uint32", "zero", [0, 0]),
        ("int32", "overflow", [0x7FFF, 0x0001]),
        ("float32", None, [0x7FC0, 0x0000]),
        ("float32", None, [0xFFFF, 0xFFFF]),
    ],
)
def test_no_value_patterns_are_no_value(kind: str, no_value: str | None, words: list[int]) -> None:
    there = register(kind, no_value=no_value)
    assert there.decode(words) is None
    assert there.decode(there.encode(None)) is None


@pytest.mark.parametrize("exponent", [None, SCALE_UNKNOWN, 11, -11])
def test_a_scale_factor_that_is_none_makes_no_value(exponent: int | None) -> None:
    assert register("int16", scale_register=1).decode([100], exponent) is None


def test_a_scale_factor_scales() -> None:
    assert register("int16", scale_register=1).decode([1234], -2) == pytest.approx(12.34)


def test_an_unknown_meter_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(RegisterFileWrong, match='did you mean "eastron-sdm630-v2"'):
        load_map("eastron-sdm630")
    with pytest.raises(RegisterFileWrong, match="known are abb-b23, "):
        load_map("/etc/passwd")


def test_a_sound_map_is_taken() -> None:
    assert parse_map(SOUND, "m.toml").register == (
        Register(quantity="current_l1", function=3, address=10, type="int16"),
    )


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (SOUND.replace('"int16"', '"int17"'), r"m\.toml: Invalid enum value 'int17' - at `\$.register"),
        (SOUND.replace("address = 10", "adress = 10"), r"m\.toml: .*adress"),
        (SOUND.replace("address = 10", "address = 65536"), r"m\.toml: current_l1: address 65536"),
        (SOUND.replace("phases = 1", "phases = 2"), r"m\.toml: current_l2 is missing"),
        (SOUND + SOUND[SOUND.index("[[") :], r"m\.toml: current_l1 stands there twice"),
        (SOUND + "scale_register = 3\n", r"m\.toml: current_l1: SunSpec integers"),
        (SOUND + "= 1", r"m\.toml: .*line"),
    ],
)
def test_a_wrong_map_is_refused_with_file_and_place(wrong: str, said: str) -> None:
    with pytest.raises(RegisterFileWrong, match=said):
        parse_map(wrong, "m.toml")
