"""Model files of meters: their mistakes, each with its line and the remedy."""

from __future__ import annotations

import msgspec

from controller.tomlcheck.diagnostics import (
    ErrorDiagnostic,
    HintDiagnostic,
    Problem,
    locate_problems,
)
from controller.tomlcheck.schema_check import SchemaCheck
from controller.tomlcheck.toml_syntax import parse_toml
from drivers.coded_text import coded
from drivers.meter_model import MeterModel, find_content_mistakes, find_model_oddities

_PLACEHOLDERS: dict[str, object] = {
    "vendor": "?",
    "model": "?",
    "phases": 3,
    "transports": ("tcp",),
    "current_sign": "unknown",
    "sources": {},
    "quantity": "frequency",
    "function": 3,
    "address": 0,
    "type": "float32",
}
_OTHER_NAMES: dict[str, tuple[str, ...]] = {
    "byte_order": ("word_order",),
    "data_type": ("type",),
    "endian": ("word_order",),
    "endianness": ("word_order",),
    "factor": ("scale",),
    "fc": ("function",),
    "format": ("type",),
    "function_code": ("function",),
    "manufacturer": ("vendor",),
    "measurement": ("quantity",),
    "multiplier": ("scale",),
    "name": ("quantity", "model"),
    "offset": ("address",),
    "reg": ("address",),
    "registers": ("register",),
    "swap": ("word_order",),
    "transport": ("transports",),
}
_OTHER_VALUES: dict[str, str] = {
    **dict.fromkeys(("type.float", "type.real", "type.ieee754", "type.single", "type.f32"), "float32"),
    **dict.fromkeys(("type.double", "type.f64"), "float64"),
    **dict.fromkeys(("type.s16", "type.short", "type.i16", "type.int"), "int16"),
    **dict.fromkeys(("type.u16", "type.word", "type.ushort", "type.uint"), "uint16"),
    **dict.fromkeys(("type.s32", "type.long", "type.i32"), "int32"),
    **dict.fromkeys(("type.u32", "type.dword", "type.ulong"), "uint32"),
    **dict.fromkeys(("type.s64", "type.i64"), "int64"),
    **dict.fromkeys(("type.u64",), "uint64"),
    **dict.fromkeys(("word_order.abcd", "word_order.be", "word_order.msb", "word_order.high"), "big"),
    **dict.fromkeys(("word_order.cdab", "word_order.le", "word_order.lsb", "word_order.swapped"), "little"),
    **dict.fromkeys(("function.holding", "function.0x03"), "3"),
    **dict.fromkeys(("function.input", "function.0x04"), "4"),
    **dict.fromkeys(("transports.modbus tcp", "transports.ethernet"), "tcp"),
    **dict.fromkeys(("transports.rs485", "transports.modbus rtu", "transports.serial"), "rtu"),
    **{
        f"quantity.{written}_l{phase}": f"{meant}_l{phase}"
        for written, meant in (
            ("u", "voltage"),
            ("i", "current"),
            ("p", "power_active"),
            ("power", "power_active"),
            ("q", "power_reactive"),
            ("pf", "power_factor"),
        )
        for phase in (1, 2, 3)
    },
    **dict.fromkeys(("quantity.power", "quantity.power_total", "quantity.p_total"), "power_active_total"),
    **dict.fromkeys(("quantity.energy", "quantity.energy_import"), "energy_import_total"),
    "quantity.energy_export": "energy_export_total",
    "quantity.f": "frequency",
}
_VALUE_REMEDIES: dict[str, str] = {
    "register.quantity": coded(
        "docs/meter-models.md lists the quantities, e.g. current_l1 or power_active_total"
    ),
    "register.function": coded("write 3 for holding or 4 for input registers; others are not read"),
    "register.address": coded("write the address as a whole number, counted from 0"),
}


def check_model_file(text: str, file: str) -> tuple[list[ErrorDiagnostic], list[HintDiagnostic]]:
    """Return the mistakes of a model file, and what in it is most likely not meant."""
    document = parse_toml(text, file)
    if isinstance(document, ErrorDiagnostic):
        return [document], []
    schema = SchemaCheck(
        MeterModel, _PLACEHOLDERS, _OTHER_NAMES, _OTHER_VALUES, value_remedies=_VALUE_REMEDIES
    )
    model = msgspec.convert(schema.check_table(MeterModel, document, ()), MeterModel)
    found, odd = schema.problems, []
    if not found:
        found = [Problem(each.path, each.text, each.remedy) for each in find_content_mistakes(model)]
        odd = [Problem(each.path, each.text, each.remedy) for each in find_model_oddities(model)]
    return (
        locate_problems(found, text, document, file, ErrorDiagnostic),
        locate_problems(odd, text, document, file, HintDiagnostic),
    )
