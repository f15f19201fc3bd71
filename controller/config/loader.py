"""From the file to a `Config`: every mistake at once, each with its place and its mend."""

from __future__ import annotations

from pathlib import Path as FilePath

import msgspec

from controller.config import cross_rules as config_rules
from controller.config import hints as config_notes
from controller.config.file_rules import file_mistakes, with_absolute_paths
from controller.config.schema import Config
from controller.config.signing_rules import signing_notes
from controller.tomlcheck.diagnostics import ErrorDiagnostic, HintDiagnostic, parse, placed, read_text
from controller.tomlcheck.schema_check import SchemaCheck


class ConfigError(Exception):
    """The file can be read, but not used."""

    def __init__(self, mistakes: list[ErrorDiagnostic], notes: list[HintDiagnostic]) -> None:
        super().__init__(f"{len(mistakes)} mistakes")
        self.mistakes = mistakes
        self.notes = notes


def read_config(path: FilePath) -> tuple[Config, list[HintDiagnostic]]:
    """The configuration in a file, the files that it names included.

    Raises ConfigUnreadable where there is no text to read, ConfigMistakes where it has mistakes.
    """
    text = read_text(path)
    config, mistakes, notes = check_config(text, str(path), path.parent)
    if config is None:
        raise ConfigError(mistakes, notes)
    return config, notes


def check_config(
    text: str, file: str, folder: FilePath | None = None
) -> tuple[Config | None, list[ErrorDiagnostic], list[HintDiagnostic]]:
    """All mistakes and notes of a configuration's text, in the file's order.

    The Config is None where there are mistakes. With `folder`, the files that it names are taken from
    there and looked at too.
    """
    data = parse(text, file)
    if isinstance(data, ErrorDiagnostic):
        return None, [data], []
    shape = SchemaCheck()
    config = msgspec.convert(shape.table(Config, data, ()), Config)
    found = config_rules.mistakes(config)
    noted = config_notes.notes(config)
    if folder is not None:
        config = with_absolute_paths(config, folder)
        found += file_mistakes(config)
        noted += signing_notes(config)
    found = shape.found + [finding for finding in found if finding.path not in shape.stood_in]
    mistakes = placed(found, text, data, file, ErrorDiagnostic)
    notes = placed(noted, text, data, file, HintDiagnostic)
    return None if mistakes else config, mistakes, notes
