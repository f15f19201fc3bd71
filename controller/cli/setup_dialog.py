"""Dialog of the setup on a terminal: one question after the other, with the way back."""

from __future__ import annotations

import shutil
import sys
import textwrap
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
import trio
from msgspec.structs import replace

from controller.cli.arguments import START, UNREADABLE, CommandError
from controller.services.machine.control_socket import ControlError, send_command
from controller.services.setup.setup_service import SetupService
from controller.site_setup.setup_document import SitePlaces, find_stations_url
from controller.site_setup.setup_questions import SetupQuestion, UnknownStation
from controller.site_setup.setup_texts import Language
from controller.tomlcheck.diagnostics import FileUnreadableError, read_text
from controller.web.setup_interface import SearchRequest, SetupProgress, SetupRequest, list_unknown_stations
from controller.web.status_model import UnknownStationStatus

SEARCH_PERIOD_S = 0.5
MIN_WIDTH = 40
_WORDS: dict[str, dict[Language, str]] = {
    "back": {
        "en": "Enter takes the value in [ ]; < goes back; Ctrl-C ends without a change.",
        "de": "Eingabetaste übernimmt den Wert in [ ]; < geht zurück; Strg-C bricht ohne Änderung ab.",
    },
    "write": {"en": "Write {path}? (yes/no) ", "de": "{path} schreiben? (ja/nein) "},
    "written": {"en": "written: {path}", "de": "geschrieben: {path}"},
    "again": {
        "en": "\nThe errors above keep the site from running. Each question again, with your answer:",
        "de": "\nMit den Fehlern oben läuft die Anlage nicht. Alle Fragen noch einmal, mit Ihrer Antwort:",
    },
    "unchanged": {"en": "nothing is changed", "de": "nichts wurde geändert"},
    "hints_before": {
        "en": "hints that the file had before: {count}; `local-controller check` lists them",
        "de": "Hinweise, die schon die bisherige Datei hatte: {count}; `local-controller check` nennt sie",
    },
    "password": {
        "en": "password of {user}, shown this once: {password}",
        "de": "Passwort von {user}, nur dieses Mal gezeigt: {password}",
    },
    "start": {
        "en": f"start it: {START}",
        "de": f"starten: {START}",
    },
    "choice": {"en": "Write a number from 1 to {last}.", "de": "Eine Nummer von 1 bis {last} angeben."},
    "listening": {
        "en": "Stations that connect to {url}/ meanwhile are offered below.",
        "de": "Stationen, die sich währenddessen mit {url}/ verbinden, werden angeboten.",
    },
}


def dialog_text(key: str, language: Language, **values: object) -> str:
    """Return a text of the dialog with its values."""
    return _WORDS[key][language].format(**values)


def listening_text(language: Language, places: SitePlaces) -> str:
    """Return where stations connect that are offered; `places`: where they do so now."""
    return dialog_text("listening", language, url=find_stations_url({}, places))


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


async def read_listed_stations(store: Path) -> Sequence[UnknownStation]:
    """Return the unknown stations that tried to connect to the running controller."""
    try:
        status = await trio.to_thread.run_sync(send_command, store, "status")
    except ControlError:
        return ()
    return list_unknown_stations(msgspec.convert(status.get("knocks", []), list[UnknownStationStatus]))


async def ask_all_questions(
    setup: SetupService, language: Language, former: Mapping[str, str]
) -> dict[str, str]:
    """Ask question by question until all are answered; "<" asks the one before again.

    `former`: answers that are proposed.
    """
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
        question = next(each for each in section.questions if is_open_question(each, answers))
        if question.kind == "scan":
            await _search(setup, question)
            continue
        # An optional answer could not be taken back: Enter would take what is proposed.
        if question.id in former and not question.is_optional:
            question = replace(question, default=former[question.id])
        given = await _ask(question)
        if given == "<":
            if order:
                answers.pop(order.pop(), None)
            continue
        if given and question.choices and given not in _values(question):
            print(f"  {dialog_text('choice', language, last=len(question.choices))}")
            continue
        answers[question.id] = given
        checked = await setup.advance_setup(SetupRequest(answers=answers, language=language))
        if (problem := _problem_of(question, checked)) is not None:
            del answers[question.id]
            print(f"  {problem}" if problem else "", end="\n" if problem else "")
            continue
        order.append(question.id)


def is_open_question(question: SetupQuestion, answers: dict[str, str]) -> bool:
    """Return True for a question without a valid answer."""
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


async def confirm_writing(path: Path, language: Language) -> bool:
    """Ask whether the configuration is written, again until the answer is yes or no."""
    while True:
        given = (await read_terminal_line(dialog_text("write", language, path=path))).strip().lower()
        if given in ("yes", "y", "ja", "j"):
            return True
        if given in ("no", "n", "nein"):
            return False


def _print_wrapped(text: str, indent: str = "", hanging: int = 0) -> None:
    """Print a text; on a terminal its lines end between words.

    `hanging`: columns by which the second line and those after it are further to the right.
    """
    if sys.stdout.isatty():
        width = max(shutil.get_terminal_size().columns, MIN_WIDTH)
        indented = indent + " " * hanging
        text = textwrap.fill(
            text, width, initial_indent=indent, subsequent_indent=indented, break_long_words=False
        )
    else:
        text = f"{indent}{text}"
    print(text)


async def _ask(question: SetupQuestion) -> str:
    """Print a question, and return what the person types: of a choice its number or its value."""
    print()
    _print_wrapped(question.text)
    if question.help:
        _print_wrapped(question.help, "  ")
    for number, choice in enumerate(question.choices, 1):
        _print_wrapped(f"{number}  {choice.text}", "  ", hanging=len(f"{number}  "))
    default = f" [{_shown_default(question)}]" if question.default else ""
    line = await read_terminal_line(f">{default} ")
    given = line.strip() or question.default
    values = _values(question)
    if given.isdecimal() and given not in values and 1 <= int(given) <= len(values):
        return values[int(given) - 1]
    return given


def _values(question: SetupQuestion) -> list[str]:
    return [each.value for each in question.choices]


def _shown_default(question: SetupQuestion) -> str:
    values = _values(question)
    return str(values.index(question.default) + 1) if question.default in values else question.default


async def read_terminal_line(prompt: str) -> str:
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
