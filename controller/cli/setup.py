"""`local-controller setup`: questions whose answers make the configuration of a site.

On a site that has one, what is not asked stays as it is. Exit status: 0 the configuration was written, or
nothing was to be changed; 1 it was not; 2 a file that cannot be read.
"""

from __future__ import annotations

import argparse
import difflib
import os
import sys
import tomllib
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import msgspec
import trio

from controller.access.permissions import LOCAL_ACTOR, Actor
from controller.cli.arguments import (
    FAILED,
    OK,
    UNREADABLE,
    CommandError,
    Subcommands,
    add_config,
)
from controller.model.exception_groups import leaves
from controller.services.control_socket import FILE, ControlError, send_command
from controller.services.first_configuration import (
    add_administrator,
    has_users,
    store_directory_of,
    version_of,
    write_configuration_file,
)
from controller.services.service_error import ServiceError
from controller.services.setup_mode import SetupPlaces, collect_stations, write_site
from controller.services.setup_service import SetupService
from controller.services.station_report import knock_statuses
from controller.site_setup.setup_questions import SetupQuestion
from controller.site_setup.setup_texts import Language
from controller.stations.connection_stats import ConnectionStats
from controller.stations.listener import ListenError
from controller.tomlcheck.diagnostics import FileUnreadableError, read_text
from controller.web.setup_interface import (
    SearchRequest,
    SetupProgress,
    SetupRequest,
    SetupResult,
    SetupReview,
)
from controller.web.status_model import KnockStatus

SEARCH_PERIOD_S = 0.5
_WORDS: dict[str, dict[Language, str]] = {
    "back": {
        "en": "Enter takes the value in [ ]; < goes back; Ctrl-C ends without a change.",
        "de": "Eingabetaste übernimmt den Wert in [ ]; < geht zurück; Strg-C bricht ohne Änderung ab.",
    },
    "write": {"en": "Write {path}? (yes/no) ", "de": "{path} schreiben? (ja/nein) "},
    "written": {"en": "written: {path}", "de": "geschrieben: {path}"},
    "unchanged": {"en": "nothing is changed", "de": "nichts wurde geändert"},
    "password": {
        "en": "password of {user}, shown this once: {password}",
        "de": "Passwort von {user}, nur dieses Mal gezeigt: {password}",
    },
    "start": {
        "en": "start it: sudo systemctl restart local-controller",
        "de": "starten: sudo systemctl restart local-controller",
    },
    "listening": {
        "en": "Stations that connect to ws://GATEWAY:{port}/ocpp/ meanwhile are offered below.",
        "de": "Stationen, die sich währenddessen mit ws://GATEWAY:{port}/ocpp/ verbinden, werden angeboten.",
    },
}


def add_parser(commands: Subcommands) -> None:
    """Add the subcommand."""
    parser = commands.add_parser("setup", help="make the configuration of a site by questions, or change it")
    add_config(parser)
    parser.add_argument(
        "--answers", type=Path, metavar="FILE", help="TOML file with answers by question; nothing is asked"
    )
    parser.add_argument("--language", choices=("en", "de"), help="default: by LANG")
    parser.add_argument("--yes", action="store_true", help="with --answers: write without a last question")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Ask, or read the answers, and write the configuration. Raises CommandError."""
    status = FAILED
    try:
        status = trio.run(partial(_run, options), strict_exception_groups=True)
    except* (CommandError, ServiceError) as group:
        errors = list(leaves(group))
        status = max(each.status if isinstance(each, CommandError) else FAILED for each in errors)
        raise CommandError("\n".join(map(str, errors)), status) from group
    except* KeyboardInterrupt:
        print(f"\n{_say('unchanged', _language(options))}")
    return status


def _language(options: argparse.Namespace) -> Language:
    if options.language is not None:
        chosen: Language = options.language
        return chosen
    return "de" if os.environ.get("LC_ALL", os.environ.get("LANG", "")).startswith("de") else "en"


def _say(key: str, language: Language, **values: object) -> str:
    return _WORDS[key][language].format(**values)


async def _run(options: argparse.Namespace) -> int:
    path: Path = options.config.absolute()
    language = _language(options)
    stats, places = ConnectionStats(), SetupPlaces()
    store = _store_of(path)
    is_running = (store / FILE).exists()
    setup = SetupService(
        path,
        partial(_read_knocks, store if is_running else None, stats),
        partial(has_users, store),
        partial(_store_text, path, store if is_running else None),
    )
    async with trio.open_nursery() as nursery:
        await nursery.start(setup.run)
        if options.answers is not None:
            request = SetupRequest(answers=read_answers(options.answers), language=language)
            request = await setup.complete_answers(request)
        else:
            if not is_running:
                await _listen(nursery, stats, places, language)
            print(_say("back", language))
            request = SetupRequest(answers=await _ask_all(setup, language), language=language)
        status = await _finish(setup, request, path, is_asked=not (options.answers and options.yes))
        nursery.cancel_scope.cancel()
    return status


async def _listen(
    nursery: trio.Nursery, stats: ConnectionStats, places: SetupPlaces, language: Language
) -> None:
    """List stations that connect during the questions; a port in use leaves that out."""
    try:
        await nursery.start(collect_stations, stats, places)
    except ListenError as error:
        print(error, file=sys.stderr)
        return
    print(_say("listening", language, port=places.port))


def read_answers(path: Path) -> dict[str, str]:
    """Read a file with answers, e.g. `connection.limit = 63` or [connection] limit = 63. Raises CommandError.

    Ids with dots are tables in TOML; numbers, booleans and lists are written as a person would answer.
    """
    try:
        data = tomllib.loads(read_text(path))
    except FileUnreadableError as error:
        raise CommandError(str(error), UNREADABLE) from error
    except tomllib.TOMLDecodeError as error:
        raise CommandError(f"{path}: is not valid TOML: {error}") from error
    return dict(_flatten("", data))


def _flatten(prefix: str, value: object) -> Sequence[tuple[str, str]]:
    if isinstance(value, dict):
        return [pair for key, each in value.items() for pair in _flatten(f"{prefix}.{key}".strip("."), each)]
    if isinstance(value, bool):
        return [(prefix, "yes" if value else "no")]
    if isinstance(value, list):
        return [(prefix, " ".join(map(str, value)))]
    return [(prefix, str(value))]


def _store_of(path: Path) -> Path:
    try:
        return store_directory_of(path.read_text("utf-8-sig") if path.exists() else "", path.parent)
    except (OSError, ValueError) as error:
        raise CommandError(f"{path}: cannot be read: {error}", UNREADABLE) from error


async def _read_knocks(running: Path | None, stats: ConnectionStats) -> Sequence[KnockStatus]:
    """Return the unknown stations that tried to connect, here or at the running controller."""
    if running is None:
        return knock_statuses(stats.knocks)
    try:
        status = await trio.to_thread.run_sync(send_command, running, "status")
    except ControlError:
        return ()
    return msgspec.convert(status.get("knocks", []), list[KnockStatus])


async def _store_text(path: Path, running: Path | None, text: str, base: str, user: str, _: Actor) -> str:
    """Write the configuration: a running controller does it, with check, version and reload."""
    if running is not None:
        await trio.to_thread.run_sync(
            partial(send_command, running, "configuration.write", text=text, base=base)
        )
        if not user:
            return ""
        members = {"user": user, "role": "administrator"}
        result = await trio.to_thread.run_sync(partial(send_command, running, "user.add", **members))
        return str(result.get("password", ""))
    return await trio.to_thread.run_sync(_write_files, path, text, base, user)


def _write_files(path: Path, text: str, base: str, user: str) -> str:
    """Write the configuration where no controller runs; return the password of a new administrator."""
    if not path.exists():
        return write_site(path, text, user)
    if version_of(read_text(path)) != base:
        raise ControlError(f"{path} was changed meanwhile; begin again")
    try:
        write_configuration_file(path, text)
    except OSError as error:
        raise ControlError(f"{path} cannot be written: {error.strerror}; run it as root") from error
    return add_administrator(store_directory_of(text, path.parent), user) if user else ""


# -- the dialog -------------------------------------------------------------------------------------------


async def _ask_all(setup: SetupService, language: Language) -> dict[str, str]:
    """Ask question by question until all are answered; "<" asks the one before again."""
    answers: dict[str, str] = {}
    order: list[str] = []
    title = ""
    while True:
        progress = await setup.advance_setup(SetupRequest(answers=answers, language=language))
        section = progress.section
        if section is None:
            return answers
        if section.title != title:
            title = section.title
            print(f"\n{title}\n{'-' * len(title)}")
        question = next(each for each in section.questions if _is_open(each, answers))
        if question.kind == "scan":
            await _search(setup, question)
            continue
        given = await _ask(question)
        if given == "<":
            if order:
                answers.pop(order.pop(), None)
            continue
        answers[question.id] = given
        checked = await setup.advance_setup(SetupRequest(answers=answers, language=language))
        if (problem := _problem_of(question, checked)) is not None:
            del answers[question.id]
            print(f"  {problem}" if problem else "", end="\n" if problem else "")
            continue
        order.append(question.id)


def _is_open(question: SetupQuestion, answers: dict[str, str]) -> bool:
    return not question.value and not (question.is_optional and question.id in answers)


def _problem_of(question: SetupQuestion, progress: SetupProgress) -> str | None:
    """Return why an answer is not taken, "" where it asks for a new search; None if it is."""
    if question.id in progress.problems:
        return progress.problems[question.id]
    if question.id == "meter.model" and question.id not in progress.answers:
        return ""
    return None


async def _search(setup: SetupService, question: SetupQuestion) -> None:
    """Search for meters, and print each step."""
    print(question.text)
    state = await setup.search_meter(SearchRequest(target=question.target))
    shown: list[str] = []
    while state.running:
        for step in state.steps:
            if step not in shown:
                print(f"  {step}")
                shown.append(step)
        await trio.sleep(SEARCH_PERIOD_S)
        state = setup.search_state()


async def _ask(question: SetupQuestion) -> str:
    """Print a question, and return what the person types: of a choice its number or its value."""
    print(f"\n{question.text}")
    if question.help:
        print(f"  {question.help}")
    for number, choice in enumerate(question.choices, 1):
        print(f"  {number}  {choice.text}")
    default = f" [{_shown_default(question)}]" if question.default else ""
    line = await _read_line(f">{default} ")
    given = line.strip() or question.default
    values = [each.value for each in question.choices]
    if given.isdecimal() and given not in values and 1 <= int(given) <= len(values):
        return values[int(given) - 1]
    return given


def _shown_default(question: SetupQuestion) -> str:
    values = [each.value for each in question.choices]
    return str(values.index(question.default) + 1) if question.default in values else question.default


async def _read_line(prompt: str) -> str:
    """Read a line from the terminal in a thread. Raises KeyboardInterrupt at its end."""

    def read() -> str:
        try:
            return input(prompt)
        except EOFError:
            return "\x04"

    line = await trio.to_thread.run_sync(read, abandon_on_cancel=True)
    if line == "\x04":
        raise KeyboardInterrupt
    return line


# -- review and writing -----------------------------------------------------------------------------------


async def _finish(setup: SetupService, request: SetupRequest, path: Path, *, is_asked: bool) -> int:
    """Show the configuration with its findings, ask, and write it. Raises CommandError."""
    progress = await setup.advance_setup(request)
    review = progress.review
    if review is None:
        raise CommandError(_describe_missing(progress))
    _print_review(review, path)
    if any(each.severity == "error" for each in review.findings):
        return FAILED
    if review.text == review.before and not review.user:
        print(_say("unchanged", request.language))
        return OK
    if is_asked:
        agreed = await _read_line(_say("write", request.language, path=path))
        if agreed.strip().lower() not in ("yes", "y", "ja", "j"):
            print(_say("unchanged", request.language))
            return FAILED
    result = await setup.write_setup(request, LOCAL_ACTOR)
    _print_result(result, review, path, request.language)
    return OK


def _describe_missing(progress: SetupProgress) -> str:
    """Return a line for each question of the answers file that has no valid answer."""
    lines = [f"{name}: {problem}" for name, problem in progress.problems.items()]
    section = progress.section
    if section is not None:
        for each in section.questions:
            if _is_open(each, progress.answers) and each.id not in progress.problems:
                wanted = ", ".join(choice.value for choice in each.choices)
                lines.append(f"{each.id}: missing: {each.text}{f' ({wanted})' if wanted else ''}")
    return "\n".join(lines)


def _print_review(review: SetupReview, path: Path) -> None:
    print()
    if review.before:
        lines = difflib.unified_diff(
            review.before.splitlines(), review.text.splitlines(), str(path), str(path), lineterm="", n=2
        )
        print("\n".join(lines))
    else:
        print(review.text)
    for each in review.findings:
        mark = "" if each.severity == "error" else " (hint)"
        print(f"{path.name}:{each.line}: {each.text}{mark}", file=sys.stderr)


def _print_result(result: SetupResult, review: SetupReview, path: Path, language: Language) -> None:
    print(_say("written", language, path=path))
    if result.password:
        print(_say("password", language, user=result.user, password=result.password))
    if not review.before:
        print(_say("start", language))
