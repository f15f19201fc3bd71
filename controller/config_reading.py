"""From the file to a `Config`: every mistake at once, each with its place and its mend."""

from __future__ import annotations

import difflib
import tomllib
import types
from collections.abc import Mapping
from pathlib import Path as FilePath
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin, get_type_hints

import msgspec

from controller import config_rules
from controller.config import Config
from controller.toml_lines import Path, locate


class Mistake(msgspec.Struct, frozen=True, kw_only=True):
    """Something in the file that must be mended. `line` counts from 1, `key` is its place in words."""

    file: str
    line: int
    key: str
    what: str
    mend: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.key}: {self.what}; {self.mend}"


class Note(Mistake, frozen=True, kw_only=True):
    """Something that a person should know, but that is no mistake."""


class ConfigMistakes(Exception):
    """The file can be read, but not used."""

    def __init__(self, mistakes: list[Mistake], notes: list[Note]) -> None:
        super().__init__(f"{len(mistakes)} mistakes")
        self.mistakes = mistakes
        self.notes = notes


class ConfigUnreadable(Exception):
    """The file cannot be read. Its text says why."""


def read_config(path: FilePath) -> tuple[Config, list[Note]]:
    """The configuration in a file, the files that it names included.

    Raises ConfigUnreadable where there is no text to read, ConfigMistakes where it has mistakes.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except IsADirectoryError:
        raise ConfigUnreadable(
            f"{path}: is a directory; name the file in it, e.g. {path}/controller.toml"
        ) from None
    except UnicodeDecodeError as error:
        raise ConfigUnreadable(f"{path}: is not UTF-8 text (byte {error.start}); TOML must be") from None
    except OSError as error:
        raise ConfigUnreadable(f"{path}: cannot be read: {error.strerror}") from None
    config, mistakes, notes = check_config(text, str(path), path.parent)
    if config is None or mistakes:
        raise ConfigMistakes(mistakes, notes)
    return config, notes


def check_config(
    text: str, file: str, folder: FilePath | None = None
) -> tuple[Config | None, list[Mistake], list[Note]]:
    """All mistakes and notes of a configuration's text, in the file's order.

    The Config is None where the data has not even the right shape. With `folder`, the files that it
    names are taken from there and looked at too.
    """
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        return None, [_syntax_mistake(text, file, error)], []
    lines = locate(text)
    shape = _Shape()
    shape.table(Config, data, ())
    found = shape.found
    notes: list[config_rules.Finding] = []
    config = None if found else msgspec.convert(data, Config)
    if config is not None:
        if folder is not None:
            config = _with_absolute_paths(config, folder)
        found += config_rules.mistakes(config, look_at_files=folder is not None)
        notes += config_rules.notes(config)
    return config, _placed(found, lines, data, file, Mistake), _placed(notes, lines, data, file, Note)


def render(mistakes: list[Mistake], notes: list[Note]) -> str:
    """Mistakes and notes as a person reads them, a line each."""
    lines = [str(mistake) for mistake in mistakes]
    lines += [f"{note} (note)" for note in notes]
    if mistakes:
        lines.append(f"{len(mistakes)} mistake{'' if len(mistakes) == 1 else 's'}")
    return "\n".join(lines)


_TablesT = TypeVar("_TablesT", bound=msgspec.Struct)


def _with_absolute_paths(config: Config, folder: FilePath) -> Config:
    def absolute(table: _TablesT, *keys: str) -> _TablesT:
        named = {key: getattr(table, key) for key in keys}
        return msgspec.structs.replace(
            table, **{key: str((folder / name).absolute()) for key, name in named.items() if name is not None}
        )

    return msgspec.structs.replace(
        config,
        listen=absolute(config.listen, "certificate", "key"),
        backend=tuple(absolute(each, "ca", "certificate", "key", "password_file") for each in config.backend),
        meter=tuple(absolute(each, "ca", "certificate", "key") for each in config.meter),
        station=tuple(absolute(each, "password_file") for each in config.station),
    )


def _syntax_mistake(text: str, file: str, error: tomllib.TOMLDecodeError) -> Mistake:
    message = str(error)
    what, _, place = message.partition(" (at ")
    digits = place.removeprefix("line ").split(",")[0]
    line = int(digits) if digits.isdigit() else text.count("\n") + 1
    return Mistake(file=file, line=line, key="TOML", what=what, mend="see toml.io for how it is written")


def _placed(
    findings: list[config_rules.Finding],
    lines: Mapping[Path, int],
    data: dict[str, Any],
    file: str,
    kind: type[Any],
) -> list[Any]:
    placed = [
        kind(
            file=file,
            line=_line(found.path, lines),
            key=_in_words(found.path, data),
            what=found.what,
            mend=found.mend,
        )
        for found in findings
    ]
    return sorted(placed, key=lambda each: each.line)


def _line(path: Path, lines: Mapping[Path, int]) -> int:
    while path and path not in lines:
        path = path[:-1]
    return lines.get(path, 1)


def _in_words(path: Path, data: Any) -> str:
    """E.g. `station "CS01" evse[0].max_a`: an element of an array by its id where it has one."""
    words = ""
    for part in path:
        if isinstance(part, int):
            element = data[part] if isinstance(data, list) and part < len(data) else None
            name = element.get("id") if isinstance(element, dict) else None
            words += f' "{name}"' if isinstance(name, str) else f"[{part}]"
            data = element
        else:
            words += f".{part}" if words and not words.endswith('"') else (f" {part}" if words else part)
            data = data.get(part) if isinstance(data, dict) else None
    return words


class _Shape:
    """Compares data with the Structs: names, types and ranges. Goes on after each finding."""

    def __init__(self) -> None:
        self.found: list[config_rules.Finding] = []

    def table(self, kind: type[msgspec.Struct], data: object, path: Path) -> None:
        if not isinstance(data, dict):
            self._find(path, f"is {_kind_of(data)}", f"write it as a table: [{'.'.join(map(str, path))}]")
            return
        hints = get_type_hints(kind, include_extras=True)
        for key, value in data.items():
            if key in hints:
                self._value(hints[key], value, (*path, key))
            else:
                self._find((*path, key), "is not a key that is known here", _nearest(key, hints))
        for field in msgspec.structs.fields(kind):
            if field.required and field.name not in data:
                self._find(
                    path + ((field.name,) if not path else ()), f"has no {field.name}", f"add {field.name}"
                )

    def _value(self, hint: Any, value: object, path: Path) -> None:
        struct, many = _struct_in(hint)
        if struct is None:
            self._leaf(hint, value, path)
        elif not many:
            self.table(struct, value, path)
        elif isinstance(value, list):
            for index, element in enumerate(value):
                self.table(struct, element, (*path, index))
        else:
            self._find(path, f"is {_kind_of(value)}", f"write each as a table of its own: [[{path[-1]}]]")

    def _leaf(self, hint: Any, value: object, path: Path) -> None:
        try:
            msgspec.convert(value, hint)
        except msgspec.ValidationError as error:
            what = str(error).replace("`", "")
            self._find(path, what[0].lower() + what[1:], _how(hint, value))

    def _find(self, path: Path, what: str, mend: str) -> None:
        self.found.append(config_rules.Finding(path, what, mend))


def _struct_in(hint: Any) -> tuple[type[msgspec.Struct] | None, bool]:
    """The Struct that a field holds, if any, and whether it holds many."""
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        return hint, False
    arguments = get_args(hint)
    many = get_origin(hint) is tuple
    for argument in arguments:
        if isinstance(argument, type) and issubclass(argument, msgspec.Struct):
            return argument, many
    return None, False


def _how(hint: Any, value: object) -> str:
    choices = _choices(hint)
    if choices:
        if isinstance(value, str) and (near := difflib.get_close_matches(value, choices, 1)):
            return f'did you mean "{near[0]}"?'
        return "use one of " + ", ".join(choices)
    return "correct the value"


def _choices(hint: Any) -> list[str]:
    if isinstance(hint, type) and issubclass(hint, str) and hasattr(hint, "__members__"):
        return [member.value for member in hint]  # type: ignore[attr-defined]
    if get_origin(hint) in (Union, types.UnionType, Annotated, tuple):
        return [choice for argument in get_args(hint) for choice in _choices(argument)]
    return [str(choice) for choice in get_args(hint)] if "Literal" in str(get_origin(hint)) else []


def _nearest(key: str, known: Mapping[str, Any]) -> str:
    if key == "password":
        return (
            "secrets do not stand in this file: put it into a file of its own and name that in password_file"
        )
    near = difflib.get_close_matches(key, known, 1)
    return f"did you mean {near[0]}?" if near else "remove it; known are " + ", ".join(known)


def _kind_of(value: object) -> str:
    names = {
        dict: "a table",
        list: "an array",
        str: "a text",
        bool: "true or false",
        int: "a number",
        float: "a number",
    }
    return names.get(type(value), type(value).__name__)
