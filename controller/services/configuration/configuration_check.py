"""Findings of the check in a text of the configuration file, as the page shows them.

They name in advance what a reload would apply of the text, and what would wait for a restart.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from controller.config.live_keys import ReloadPlan
from controller.config.loader import check_config
from controller.config.schema import Config
from controller.services import ServiceError
from controller.services.configuration.configuration import ERROR_RULES, HINT_RULES, copy_in_use
from controller.tomlcheck.diagnostics import ErrorDiagnostic, FileUnreadableError, read_text
from controller.web.site_interface import CheckFinding
from drivers.coded_text import coded, parts_or_text
from drivers.file_stamp import FileStamp, file_stamp

PlanReload = Callable[[Config], ReloadPlan]
"""Returns what a reload would do with a configuration. It is called in a worker thread."""


class ConfigurationUnreadableError(ServiceError):
    """The configuration file cannot be read. Its text gives the reason."""


def find_in_configuration(
    text: str, path: Path, plan: PlanReload | None = None, before: str = ""
) -> list[CheckFinding]:
    """Return all errors and hints of a text that is to stand in the file `path`.

    `plan` adds a hint for each change of a text without errors: when it would take effect. `before`: the
    present text, empty without one; what it has as well is marked, on whatever line.
    """
    config, found = _check(text, path)
    earlier = {each.text for each in (found if before == text else _check(before, path)[1] if before else ())}
    marked = [msgspec.structs.replace(each, was_there=each.text in earlier) for each in found]
    return marked if config is None or plan is None else [*marked, *_find_effects(plan(config))]


def _check(text: str, path: Path) -> tuple[Config | None, list[CheckFinding]]:
    """Return the configuration of a text, None with errors, and its findings."""
    config, errors, hints = check_config(text, path.name, path.parent, ERROR_RULES, HINT_RULES)
    return config, [
        CheckFinding(
            severity="error" if isinstance(each, ErrorDiagnostic) else "hint",
            line=each.line,
            text=f"{each.key}: {each.what}; {each.remedy}",
            key=each.key,
            what=parts_or_text(each.what),
            remedy=parts_or_text(each.remedy),
        )
        for each in [*errors, *hints]
    ]


def _find_effects(plan: ReloadPlan) -> Iterator[CheckFinding]:
    """Yield a hint for each change: what needs a restart first, then what waits, then what is applied."""
    for changes, what, remedy in (
        (
            plan.needs_restart,
            coded("takes effect after a restart only"),
            coded("run `sudo systemctl restart local-controller` once it is written"),
        ),
        (
            plan.waiting,
            coded("waits for the end of a transaction, or until a removed station is gone"),
            coded("it is applied then, without another reload"),
        ),
        (plan.applied, coded("changes"), coded("it is applied at once, without a restart")),
    ):
        for key in changes:
            yield CheckFinding(
                severity="hint",
                line=None,
                text=f"{key}: {what}; {remedy}",
                key=key,
                what=parts_or_text(what),
                remedy=parts_or_text(remedy),
            )


def configuration_stamps(path: Path | None, directory: str) -> tuple[FileStamp, FileStamp]:
    """Return the stamps of the file and of its copy in use, which is in the directory of the store."""
    return None if path is None else file_stamp(path), file_stamp(copy_in_use(directory))


def is_configuration_in_use(text: str, directory: str) -> bool | None:
    """Return whether a text is that of the last start or reload; None where no copy of it is readable.

    `directory`: the directory of the store, where the copy is.
    """
    try:
        return read_text(copy_in_use(directory)) == text
    except FileUnreadableError:
        return None


def read_present_configuration(path: Path) -> str:
    """Return the text of the file; empty if there is none. Raises ConfigurationUnreadableError."""
    if not path.exists():
        return ""
    try:
        return read_text(path)
    except FileUnreadableError as error:
        raise ConfigurationUnreadableError(str(error)) from error
