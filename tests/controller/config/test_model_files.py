"""Model files of meters: each plausible mistake is found at its line, with the remedy."""

from __future__ import annotations

from pathlib import Path

import pytest

from controller.config.loader import check_config
from controller.config.model_files import check_model_file
from drivers.meter_model import set_user_models

MODEL = """vendor = "Example"
model = "EM"
phases = 1
transports = ["tcp", "rtu"]
current_sign = "signed"
[sources]
sheet = "data sheet"
[[register]]
quantity = "current_l1"
function = 3
address = 10
type = "int16"
[[register]]
quantity = "power_active_l1"
function = 3
address = 12
type = "int32"
"""
DELIVERED = sorted((Path(__file__).parents[3] / "drivers" / "meters").glob("*.toml"))


@pytest.mark.parametrize(
    ("right", "wrong", "expected"),
    [
        ('"int16"', '"int17"', '12: register[0].type: cannot be "int17"; did you mean "int16"?'),
        ('"int16"', '"float"', '12: register[0].type: cannot be "float"; did you mean "float32"?'),
        ('"int32"', '"U32"', '17: register[1].type: cannot be "U32"; did you mean "uint32"?'),
        (
            "address = 10",
            'address = "0x000A"',
            '11: register[0].address: cannot be "0x000A"; write the address as a whole number, '
            "counted from 0",
        ),
        (
            "address = 10",
            "address = 70000",
            "11: register[0].address: current_l1 at 70000 does not exist; use 0 to 65535",
        ),
        ("address = 10", "address = 10.0", "11: register[0].address: cannot be 10.0; did you mean 10?"),
        (
            "function = 3",
            'function = "input"',
            '10: register[0].function: cannot be "input"; did you mean 4?',
        ),
        (
            "function = 3",
            "function = 1",
            "10: register[0].function: cannot be 1; write 3 for holding or 4 for input registers; others "
            "are not read",
        ),
        ("current_l1", "I_L1", '9: register[0].quantity: cannot be "I_L1"; did you mean "current_l1"?'),
        (
            "current_l1",
            "currentL1",
            '9: register[0].quantity: cannot be "currentL1"; did you mean "current_l1"?',
        ),
        (
            "current_l1",
            "spannung",
            '9: register[0].quantity: cannot be "spannung"; docs/meter-models.md lists the quantities, '
            "e.g. current_l1 or power_active_total",
        ),
        ('"int16"', '"int16"\nscale = "0.1"', '13: register[0].scale: cannot be "0.1"; did you mean 0.1?'),
        (
            '"int16"',
            '"int16"\nscale = 0',
            "13: register[0].scale: is 0.0; set the factor from the register to the unit",
        ),
        (
            '"int16"',
            '"int16"\nfactor = 0.1',
            "13: register[0].factor: is not a known key; did you mean scale?",
        ),
        (
            '"int32"',
            '"int32"\nword_order = "CDAB"',
            '18: register[1].word_order: cannot be "CDAB"; did you mean "little"?',
        ),
        ("phases = 1", "phases = 7", "3: phases: cannot be 7; write one of 1, 2, 3"),
        ('["tcp", "rtu"]', '"tcp"', '4: transports: cannot be "tcp"; did you mean ["tcp"]?'),
        (
            '["tcp", "rtu"]',
            "[]",
            '4: transports: is empty; name those that the meter has, e.g. ["tcp", "rtu"]',
        ),
        ('"signed"', '"plus"', '5: current_sign: cannot be "plus"; write one of magnitude, signed, unknown'),
        ('[sources]\nsheet = "data sheet"\n', "", "1: sources: is missing; add sources = ... (a table)"),
        (
            '[sources]\nsheet = "data sheet"',
            'sources = ["x"]',
            "6: sources: cannot be a list of 1; write a table",
        ),
        (
            "[sources]",
            "[read]\nmax_registers = 200\n[sources]",
            "7: read.max_registers: cannot be 200; write a number from 1 to 125",
        ),
        (
            "[sources]",
            "[read]\ngap_ms = -1\n[sources]",
            "7: read.gap_ms: cannot be -1; write a number from 0 to 10000",
        ),
        (
            "[sources]",
            "[serial]\nbaud = 96\n[sources]",
            "7: serial.baud: cannot be 96; write a number from 300 to 1000000",
        ),
        (
            "[sources]",
            "[serial]\nunit = 300\n[sources]",
            "7: serial.unit: cannot be 300; write a number from 1 to 247",
        ),
        (
            "[sources]",
            "[tcp]\nport = 0\n[sources]",
            "7: tcp.port: cannot be 0; write a number from 1 to 65535",
        ),
        (
            "[sources]",
            '[serial]\nparity = "even"\n[sources]',
            '7: serial.parity: cannot be "even"; did you mean "E"?',
        ),
        ('vendor = "Example"\n', "", "1: vendor: is missing; add vendor = ... (a text)"),
        (
            "power_active_l1",
            "current_l1",
            "14: register[1].quantity: current_l1 has 2 registers; remove all but one, or mark the others "
            "with alternative = true",
        ),
        ("phases = 1", "phases =", "3: TOML: Invalid value; write a value after =, or remove the line"),
        (
            '"int16"',
            '"int16"\nsources = ["no"]',
            '13: register[0].sources: "no" is not in [sources]; add no to [sources]',
        ),
        (
            "[sources]",
            '[[identify.probe]]\nfunction = 3\naddress = 1\ntype = "uint16"\n[sources]',
            "6: identify.probe[0].values: is missing: the model is never identified; write what the "
            "register holds, e.g. values = [112]",
        ),
    ],
)
def test_model_files_mistake_has_line_and_remedy(right: str, wrong: str, expected: str) -> None:
    assert right in MODEL
    errors, _ = check_model_file(MODEL.replace(right, wrong, 1), "own.toml")
    assert [str(error) for error in errors] == [f"own.toml:{expected}"]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {"address = 12": "address = 9"},
            "own.toml:16: register[1].address: power_active_l1 overlaps current_l1; compare address and "
            "type of both with the manual",
        ),
        (
            {"address = 10": "address = 40011", "address = 12": "address = 40013"},
            "own.toml:11: register[0].address: 40011 may be a register number, and addresses count from "
            "0; write 10 if the manual counts so",
        ),
    ],
)
def test_model_files_unusual_address_is_hint(changes: dict[str, str], expected: str) -> None:
    text = MODEL
    for right, written in changes.items():
        text = text.replace(right, written)
    errors, hints = check_model_file(text, "own.toml")
    assert (errors, [str(hint) for hint in hints]) == ([], [expected])


@pytest.mark.parametrize("file", DELIVERED, ids=lambda file: file.stem)
def test_model_files_that_are_delivered_have_no_finding(file: Path) -> None:
    assert check_model_file(file.read_text(), file.name) == ([], [])


SITE = """
[site]
id = "lc"
[[circuit]]
id = "grid"
limit_a = 63
meter = "grid"
base_load_a = 20
[[meter]]
id = "grid"
driver = "own"
transport = "tcp"
host = "10.0.0.20"
"""


@pytest.mark.parametrize(
    ("model", "is_error", "expected"),
    [
        (MODEL.replace("int16", "int17"), True, 'own.toml:12: register[0].type: cannot be "int17"'),
        (
            MODEL.replace('sheet"', 'bl\u00e4tter"').encode("latin-1"),
            True,
            "own.toml:7: is not UTF-8 text at column 17",
        ),
        (MODEL.replace("= 12", "= 9"), False, "own.toml:16: register[1].address: power_active_l1 overlaps"),
        ("\ufeff" + MODEL.replace("= 12", "= 9"), False, "own.toml:16: register[1].address"),
    ],
)
def test_model_files_findings_are_those_of_the_meter(
    tmp_path: Path, model: str | bytes, is_error: bool, expected: str
) -> None:
    (tmp_path / "meters").mkdir()
    (tmp_path / "meters" / "own.toml").write_bytes(model.encode() if isinstance(model, str) else model)
    try:
        _, errors, hints = check_config(SITE, str(tmp_path / "site.toml"), tmp_path)
    finally:
        set_user_models({})
    found = [each for each in (errors if is_error else hints) if each.key == 'meter "grid" driver']
    assert [each.what.replace(f"{tmp_path}/meters/", "")[: len(expected)] for each in found] == [expected]
