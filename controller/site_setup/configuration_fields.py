"""Forms for the keys of a configuration that installers change, and the change of single keys in the file.

A form shows the file as it is written: ranges of stations stay ranges, and a key that is not there is empty.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from controller.site_setup import AnswerError, SetupError
from controller.site_setup.setup_document import SetupDocument, add_nested_table, plain_number, set_key
from controller.site_setup.setup_questions import (
    PHASE_CHOICES,
    backend_names,
    format_limit,
    read_limit,
    read_number,
    without_unit,
)
from controller.site_setup.setup_texts import Language, setup_text

FieldKind = Literal["text", "number", "limit", "choice", "phases"]
FieldPath = Annotated[tuple[str | int, ...], Meta(min_length=2, max_length=6, description="keys and indexes")]


class ConfigurationField(msgspec.Struct, frozen=True, kw_only=True):
    """One key in a form. `path`: its place in the file; `value`: as a person writes it, empty if not set.

    `label`: name of its text, e.g. circuit.limit_a. `unit` empty without. `words`: what a number may be
    instead. `evse`: number of the EVSE of the station that it is of; None: it is of the table itself.
    """

    path: tuple[str | int, ...]
    label: str
    kind: FieldKind
    value: str
    unit: str = ""
    choices: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    evse: int | None = None


class FieldGroup(msgspec.Struct, frozen=True, kw_only=True):
    """Keys of one table: `table` names its kind, `id` which one."""

    table: str
    id: str
    fields: tuple[ConfigurationField, ...]


class FieldChange(msgspec.Struct, frozen=True, kw_only=True):
    """A new value for a key, as a person writes it; empty: the key is removed, and its default counts."""

    path: FieldPath
    value: Annotated[str, Meta(max_length=1000)]


class _Key(msgspec.Struct, frozen=True):
    name: str
    kind: FieldKind
    unit: str = ""
    choices: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    """Words that a number may be instead."""


_MARGIN = _Key("margin_a", "number", "A", words=("auto",))
_LOAD_MANAGEMENT = (_MARGIN, _Key("fallback_a", "number", "A"))
_CIRCUIT = (
    _Key("limit_a", "limit", "A"),
    _MARGIN,
    _Key("base_load_a", "number", "A"),
    _Key("limit_w", "number", "W"),
    _Key("peak_kw", "number", "kW"),
)
_METER = (_Key("host", "text"), _Key("interval_s", "number", "s"), _Key("stale_after_s", "number", "s"))
_BACKEND = (_Key("url", "text"), _Key("connect_timeout_s", "number", "s"))
_EVSE = (_Key("phases", "phases"), _Key("max_a", "number", "A"), _Key("priority", "number"))
_DIMMING = (_Key("failsafe_w", "number", "W"),)
_SOURCE = (_Key("lost_after_s", "number", "s"),)
_CONTACT = (_Key("limit_w", "number", "W"), _Key("on_when", "choice", "", ("open", "closed")))
_MODULE = (_Key("host", "text"), _Key("device", "text"))


def read_field_groups(text: str) -> list[FieldGroup]:
    """Return the forms of a configuration text. Raises SetupError for a text that is no TOML."""
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SetupError(f"the configuration is not valid TOML: {error}") from error
    return [group for group in _find_groups(data) if group.fields]


def _find_groups(data: Mapping[str, Any]) -> Iterator[FieldGroup]:
    yield _group(
        "load_management", "", ("load_management",), data.get("load_management", {}), _LOAD_MANAGEMENT
    )
    circuits = tuple(str(each.get("id")) for each in _tables(data, "circuit"))
    for name, keys in (("circuit", _CIRCUIT), ("meter", _METER), ("backend", _BACKEND)):
        for index, table in enumerate(_tables(data, name)):
            keys_of = tuple(key for key in keys if key.name != "host" or "host" in table)
            yield _group(name, str(table.get("id", index)), (name, index), table, keys_of)
    owners = tuple(backend_names(data))
    has_default_evse = "evse" in data.get("station_defaults", {})
    for index, table in enumerate(_tables(data, "station")):
        own = [_Key("label", "text"), _Key("circuit", "choice", "", circuits)]
        if owners:
            own.append(_Key("owner", "choice", "", owners))
        path: tuple[str | int, ...] = ("station", index)
        group = _group("station", str(table.get("id", index)), path, table, own)
        evses = _tables(table, "evse") or ([] if has_default_evse else [{}])
        further = [
            _field("station", (*path, "evse", number), evse, key, evse=evse.get("id", 1))
            for number, evse in enumerate(evses)
            for key in _EVSE
            if "max_kw" not in evse
        ]
        yield msgspec.structs.replace(group, fields=(*group.fields, *further))
    yield from _dimming_groups(data.get("dimming"))


def _dimming_groups(dimming: Any) -> Iterator[FieldGroup]:
    if not isinstance(dimming, dict):
        return
    yield _group("dimming", "", ("dimming",), dimming, _DIMMING)
    for name, keys, identity in (
        ("source", _SOURCE, "id"),
        ("contact", _CONTACT, "name"),
        ("module", _MODULE, "id"),
    ):
        for index, table in enumerate(_tables(dimming, name)):
            shown = [key for key in keys if name != "module" or key.name in table]
            yield _group(
                f"dimming.{name}", str(table.get(identity, index)), ("dimming", name, index), table, shown
            )


def _tables(data: Mapping[str, Any], name: str) -> Sequence[Mapping[str, Any]]:
    found = data.get(name, [])
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []


def _group(
    table: str, identity: str, path: tuple[str | int, ...], data: Mapping[str, Any], keys: Sequence[_Key]
) -> FieldGroup:
    return FieldGroup(table=table, id=identity, fields=tuple(_field(table, path, data, key) for key in keys))


def _field(
    table: str, path: tuple[str | int, ...], data: Mapping[str, Any], key: _Key, evse: Any = None
) -> ConfigurationField:
    choices = PHASE_CHOICES if key.kind == "phases" else key.choices
    return ConfigurationField(
        path=(*path, key.name),
        label=f"{table}.{key.name}",
        kind=key.kind,
        value=_shown(data.get(key.name)),
        unit=key.unit,
        choices=choices,
        words=key.words,
        evse=evse if isinstance(evse, int) else None,
    )


def _shown(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, list):
        return " ".join(value) if all(isinstance(each, str) for each in value) else format_limit(value)
    if isinstance(value, float | int) and not isinstance(value, bool):
        return f"{value:g}" if abs(value) < 1e6 else str(plain_number(value))
    return str(value)


# -- changes ------------------------------------------------------------------------------------------------


def change_fields(text: str, changes: Sequence[FieldChange], language: Language = "en") -> str:
    """Return the text with other values for some keys; all else stays as it is written.

    Only keys that a form shows are changed. Raises SetupError, and AnswerError for a value.
    """
    fields = {field.path: field for group in read_field_groups(text) for field in group.fields}
    document = SetupDocument(text)
    for change in changes:
        field = fields.get(tuple(change.path))
        if field is None:
            raise SetupError(f"{_place(change.path)[:80]}: is not in a form; change it in the file")
        _change_field(document, field, change.value.strip(), language)
    return document.text


def _change_field(document: SetupDocument, field: ConfigurationField, value: str, language: Language) -> None:
    if value == field.value:
        return
    table: Any = document.root
    for place, part in enumerate(field.path[:-1]):
        if isinstance(part, str) and part not in table:
            if not value:
                return
            if place == 0:
                table = document.table(part)
                continue
            add_nested_table(table, part)
        table = table[part]
    name = str(field.path[-1])
    if not value:
        table.pop(name, None)
        return
    set_key(table, name, _read_value(field, value, language))


def _read_value(field: ConfigurationField, value: str, language: Language) -> Any:
    """Return a person's text as a value of TOML. Raises AnswerError, which names the place."""
    try:
        match field.kind:
            case "number":
                if value in field.words:
                    return value
                return plain_number(read_number(without_unit(value, field.unit), -1e9, 1e9, language))
            case "limit":
                numbers = [plain_number(each) for each in read_limit(value, 0, language)]
                return numbers[0] if len(numbers) == 1 else numbers
            case "phases":
                if value not in field.choices:
                    raise AnswerError(setup_text(language, "error.choice", choices=", ".join(field.choices)))
                return value.split()
            case _:
                return value
    except AnswerError as error:
        raise AnswerError(f"{_place(field.path)}: {error}") from error


def _place(path: Sequence[str | int]) -> str:
    """Return the path of a key as the page finds its field by, e.g. "circuit.0.limit_a"."""
    return ".".join(map(str, path))
