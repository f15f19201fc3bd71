"""Findings of the check in a text of the configuration file, as the page shows them."""

from __future__ import annotations

from pathlib import Path

from controller.config.loader import check_config
from controller.services.configuration import ERROR_RULES, HINT_RULES
from controller.services.service_error import ServiceError
from controller.tomlcheck.coded_text import CodedText
from controller.tomlcheck.diagnostics import ErrorDiagnostic, FileUnreadableError, read_text
from controller.web.site_interface import CheckFinding, FindingText


class ConfigurationUnreadableError(ServiceError):
    """The configuration file cannot be read. Its text gives the reason."""


def find_in_configuration(text: str, path: Path) -> list[CheckFinding]:
    """Return all errors and hints of a text that is to stand in the file `path`."""
    _, errors, hints = check_config(text, path.name, path.parent, ERROR_RULES, HINT_RULES)
    return [
        CheckFinding(
            severity="error" if isinstance(each, ErrorDiagnostic) else "hint",
            line=each.line,
            text=f"{each.key}: {each.what}; {each.remedy}",
            key=each.key,
            what=_finding_text(each.what),
            remedy=_finding_text(each.remedy),
        )
        for each in [*errors, *hints]
    ]


def _finding_text(text: str) -> FindingText | None:
    """Return code and values of a text; None of a plain one."""
    if not isinstance(text, CodedText):
        return None
    values = {name: _finding_text(value) or value for name, value in text.values.items()}
    return FindingText(code=text.code.value, values=values)


def read_present_configuration(path: Path) -> str:
    """Return the text of the file; empty if there is none. Raises ConfigurationUnreadableError."""
    if not path.exists():
        return ""
    try:
        return read_text(path)
    except FileUnreadableError as error:
        raise ConfigurationUnreadableError(str(error)) from error
