"""Meter models: the files that are delivered, the types that they use, and the mistakes of a file."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.errors import ModelFileError
from drivers.meter_model import (
    MeterModel,
    list_models,
    load_model,
    parse_model,
    read_user_models,
    set_user_models,
)
from drivers.register import SCALE_NOT_IMPLEMENTED, Register

GOOD_FILE = """
vendor = "V"
model = "M"
phases = 1
transports = ["rtu"]
current_sign = "signed"
sources = { test = "this test" }
[[register]]
quantity = "current_l1"
function = 3
address = 10
type = "int16"
"""


def register(kind: str, **fields: object) -> Register:
    return Register(quantity="current_l1", function=3, address=0, type=kind, **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", list_models())
def test_delivered_model_is_valid_and_names_sources(name: str) -> None:
    model = load_model(name)
    assert name.startswith(re.split("[ -]", model.vendor.lower())[0])
    assert model.sources
    assert all(each.sources for each in model.register)


def test_meter_model_delivered_models_measure_each_phase_but_one() -> None:
    assert len(list_models()) >= 46
    unusable = [name for name in list_models() if not load_model(name).measures_each_phase]
    assert unusable == ["eastron-sdm72d-m-v1"]


def test_meter_model_models_mark_what_one_source_states() -> None:
    unconfirmed = {name for name in list_models() if not load_model(name).confirmed}
    assert {"abb-m1m", "eastron-sdm54", "huawei-dtsu666-h", "keba-kecontact-e10"} <= unconfirmed
    assert not {"abb-b23", "eastron-sdm630-v2", "janitza-umg96"} & unconfirmed


def test_delivered_models_use_every_shape_of_register() -> None:
    registers = [each for name in list_models() for each in load_model(name).register]
    assert {each.type for each in registers} == {
        "int16", "uint16", "int32", "uint32", "int64", "uint64", "float32", "float64",
        "iskra_t5", "iskra_t6", "iskra_t7",
    }  # fmt: skip
    assert {each.function for each in registers} == {3, 4}
    orders = {(each.type, each.word_order) for each in registers}
    assert orders >= {("float32", "big"), ("float32", "little"), ("int32", "little")}
    assert any(each.scale_register is not None for each in registers)


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
        ("iskra_t5", [0xFF00, 0x08FE], pytest.approx(230.2)),
        ("iskra_t6", [0x00FF, 0xFFFE], -2.0),
        ("iskra_t6", [0x0100, 0x0064], 1000.0),
        ("iskra_t7", [0x0001, 0x2710], 10000.0),
        ("iskra_t7", [0xFF00, 0x2710], -10000.0),
    ],
)
def test_type_is_decoded_in_both_word_orders(kind: str, words: list[int], value: float) -> None:
    assert register(kind).decode(words) == value
    assert register(kind, word_order="little").decode(words[::-1]) == value


@given(
    kind=st.sampled_from(["int32", "uint32", "int64", "float32", "float64", "iskra_t5"]),
    order=st.sampled_from(["big", "little"]),
    scale=st.sampled_from([0.001, 0.1, 1.0, 10.0, 1000.0]),
    steps=st.integers(0, 1_000_000),
)
def test_encoded_value_decodes_to_itself(kind: str, order: str, scale: float, steps: int) -> None:
    there = register(kind, word_order=order, scale=scale)
    assert there.decode(there.encode(steps * scale)) == pytest.approx(steps * scale, rel=1e-5)


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
def test_no_value_pattern_decodes_to_none(kind: str, no_value: str | None, words: list[int]) -> None:
    there = register(kind, no_value=no_value)
    assert there.decode(words) is None
    assert there.decode(there.encode(None)) is None


@pytest.mark.parametrize("exponent", [None, SCALE_NOT_IMPLEMENTED, 11, -11])
def test_scale_factor_not_implemented_gives_no_value(exponent: int | None) -> None:
    assert register("int16", scale_register=1).decode([100], exponent) is None


def test_meter_model_scale_factor_multiplies_register() -> None:
    assert register("int16", scale_register=1).decode([1234], -2) == pytest.approx(12.34)


def test_unknown_model_is_refused_with_nearest_name() -> None:
    with pytest.raises(ModelFileError, match='did you mean "eastron-sdm630-v2"'):
        load_model("eastron-sdm630")
    with pytest.raises(ModelFileError, match="`local-controller meter list`"):
        load_model("/etc/passwd")


def test_valid_file_is_parsed() -> None:
    assert parse_model(GOOD_FILE, "m.toml").register == (
        Register(quantity="current_l1", function=3, address=10, type="int16"),
    )


@pytest.fixture(autouse=True)
def without_user_models() -> Iterator[None]:
    yield
    set_user_models({})


def test_meter_model_user_models_are_read_from_directory(tmp_path: Path) -> None:
    (tmp_path / "own-meter.toml").write_text(GOOD_FILE)
    (tmp_path / "broken.toml").write_text("vendor = 1")
    (tmp_path / "notes.txt").write_text("not a model")
    models, errors = read_user_models(tmp_path)
    set_user_models(models)
    assert "own-meter" in list_models()
    assert load_model("own-meter") == models["own-meter"]
    assert errors.keys() == {"broken"}
    assert read_user_models(tmp_path / "nowhere") == ({}, {})


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        (
            GOOD_FILE.replace('"int16"', '"int17"'),
            r"register\[0\]\.type: Invalid enum value 'int17'",
        ),
        (GOOD_FILE.replace("address = 10", "adress = 10"), r'register\[0\].*did you mean "address"\?'),
        (GOOD_FILE.replace("current_l1", "curent_l1"), r'register\[0\].*did you mean "current_l1"\?'),
        (
            GOOD_FILE.replace("address = 10", "address = 65536"),
            r"\[0\]\.address: current_l1 at 65536",
        ),
        (GOOD_FILE.replace("vendor", "vender"), r'file: .*did you mean "vendor"\?'),
        (
            GOOD_FILE + GOOD_FILE[GOOD_FILE.index("[[") :],
            r"register\[1\]\.quantity: current_l1 has 2 registers",
        ),
        (GOOD_FILE + "scale_register = 3\n[sunspec]\nmodels = [203]\nlength = 5\n", "use 2 to 6"),
        (GOOD_FILE + "scale = 0.0\n", r"register\[0\]\.scale: is 0\.0"),
        (GOOD_FILE + 'sources = ["nobody"]\n', r'"nobody" is not in \[sources\]'),
        (GOOD_FILE[: GOOD_FILE.index("[[")], "register: is missing"),
        (GOOD_FILE + "[read]\nmax_registers = 'many'\n", r"read\.max_registers: Expected `int`"),
        (GOOD_FILE + "= 1", r"m\.toml: .*line"),
    ],
)
def test_meter_model_file_with_error_is_refused_with_place(wrong: str, text: str) -> None:
    with pytest.raises(ModelFileError, match=text):
        parse_model(wrong, "m.toml")


def test_file_with_several_errors_names_all() -> None:
    wrong = GOOD_FILE.replace('"int16"', '"int17"').replace("phases = 1", "phases = 7")
    with pytest.raises(ModelFileError) as raised:
        parse_model(wrong, "m.toml")
    assert len(str(raised.value).splitlines()) == 2


def test_meter_model_example_of_documentation_is_valid() -> None:
    text = (Path(__file__).parents[2] / "docs" / "meter-models.md").read_text()
    example = text.partition("```toml\n")[2].partition("```")[0]
    assert len(parse_model(example, "example.toml").register) == 6
    for field in (*MeterModel.__struct_fields__, *Register.__struct_fields__):
        assert f"`{field}`" in text
