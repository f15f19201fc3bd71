"""`local-controller setup`: questions whose answers make the configuration of a site.

On a site that has one, what is not asked stays as it is. Exit status: 0 the configuration was written, or
nothing was to be changed; 1 it was not; 2 a file that cannot be read.
"""

from __future__ import annotations

import argparse
import difflib
import os
import sys
from functools import partial
from pathlib import Path

import trio

from controller.access.permissions import LOCAL_ACTOR, Actor
from controller.cli.arguments import (
    FAILED,
    OK,
    UNREADABLE,
    CommandError,
    Subcommands,
    add_config,
    address,
    reload_units,
)
from controller.cli.setup_dialog import (
    ask_all_questions,
    confirm_writing,
    dialog_text,
    is_open_question,
    listening_text,
    read_answers,
    read_listed_stations,
)
from controller.model.exception_groups import leaves
from controller.services import ServiceError
from controller.services.configuration.first_configuration import (
    find_site_places,
    has_users,
    store_directory_of,
    write_or_replace_site,
)
from controller.services.machine.control_socket import FILE, send_command
from controller.services.setup.setup_service import SetupService
from controller.services.setup.station_collector import CollectorError, StationCollector
from controller.services.setup_mode import SetupEnd, serve_setup
from controller.site_setup.setup_texts import Language
from controller.web.setup_interface import (
    SetupProgress,
    SetupRequest,
    SetupResult,
    SetupReview,
)


def add_parser(commands: Subcommands) -> None:
    """Add the subcommand."""
    parser = commands.add_parser("setup", help="make the configuration of a site by questions, or change it")
    add_config(parser)
    parser.add_argument(
        "--answers", type=Path, metavar="FILE", help="TOML file with answers by question; nothing is asked"
    )
    parser.add_argument(
        "--page",
        nargs="?",
        type=address,
        const=("127.0.0.1", 8080),
        metavar="HOST:PORT",
        help="serve the questions as a page, with a code that is printed; default: 127.0.0.1:8080",
    )
    parser.add_argument(
        "--stations",
        type=address,
        default=(),
        metavar="HOST:PORT",
        help="where stations connect, now and in the configuration of a new site; default: 0.0.0.0:8887",
    )
    parser.add_argument("--language", choices=("en", "de"), help="default: by LANG")
    parser.add_argument("--yes", action="store_true", help="with --answers: write without a last question")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Ask, or read the answers, and write the configuration. Raises CommandError."""
    if options.page is not None:
        return _serve_page(options)
    status = FAILED
    try:
        status = trio.run(partial(_run, options), strict_exception_groups=True)
    except* (CommandError, ServiceError) as group:
        errors = list(leaves(group))
        status = max(each.status if isinstance(each, CommandError) else FAILED for each in errors)
        raise CommandError("\n".join(map(str, errors)), status) from group
    except* KeyboardInterrupt:
        print(f"\n{dialog_text('unchanged', _language(options))}")
    return status


def _serve_page(options: argparse.Namespace) -> int:
    """Serve the setup of a new site as a page until its configuration is written. Raises CommandError."""
    path = options.config.absolute()
    if path.exists():
        raise CommandError(f"{path} exists: the setup of this site is on its page, at /setup")
    collector = StationCollector(*options.stations)
    ended = serve_setup(path, options.page, (collector.host, collector.port))
    return FAILED if ended is SetupEnd.FAILED else OK


def _language(options: argparse.Namespace) -> Language:
    if options.language is not None:
        chosen: Language = options.language
        return chosen
    return "de" if os.environ.get("LC_ALL", os.environ.get("LANG", "")).startswith("de") else "en"


async def _run(options: argparse.Namespace) -> int:
    path: Path = options.config.absolute()
    language = _language(options)
    collector = StationCollector(*options.stations)
    store = _store_of(path)
    is_running = (store / FILE).exists()
    setup = SetupService(
        path,
        partial(read_listed_stations, store) if is_running else collector.read_unknown_stations,
        partial(has_users, store),
        partial(_store_text, path, store if is_running else None),
        find_places=lambda: find_site_places(collector.host, collector.port),
    )
    async with trio.open_nursery() as nursery:
        await nursery.start(setup.run)
        if options.answers is not None:
            request = SetupRequest(answers=read_answers(options.answers), language=language)
            request = await setup.complete_answers(request)
        else:
            if not is_running:
                await _listen(nursery, collector, language)
            print(dialog_text("back", language))
            request = await _ask_until_valid(setup, path, language)
        status = await _finish(setup, request, path, is_asked=not (options.answers and options.yes))
        nursery.cancel_scope.cancel()
    return status


async def _ask_until_valid(setup: SetupService, path: Path, language: Language) -> SetupRequest:
    """Ask all questions, again where the configuration of the answers has errors."""
    answers: dict[str, str] = {}
    while True:
        answers = await ask_all_questions(setup, language, answers)
        request = SetupRequest(answers=answers, language=language)
        review = (await setup.advance_setup(request)).review
        if review is None or not _has_errors(review):
            return request
        _print_review(review, path, request.language)
        print(dialog_text("again", language))


async def _listen(nursery: trio.Nursery, collector: StationCollector, language: Language) -> None:
    """List stations that connect during the questions; a port in use leaves that out."""
    try:
        await nursery.start(collector.run)
    except CollectorError as error:
        print(error, file=sys.stderr)
        return
    print(listening_text(language, find_site_places(collector.host, collector.port)))


def _store_of(path: Path) -> Path:
    try:
        return store_directory_of(path.read_text("utf-8-sig") if path.exists() else "", path.parent)
    except PermissionError:
        raise  # `main` names its file and the remedy
    except (OSError, ValueError) as error:
        raise CommandError(f"{path}: cannot be read: {error}", UNREADABLE) from error


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
    return await trio.to_thread.run_sync(write_or_replace_site, path, text, base, user)


# -- review and writing -----------------------------------------------------------------------------------


async def _finish(setup: SetupService, request: SetupRequest, path: Path, *, is_asked: bool) -> int:
    """Show the configuration with its findings, ask, and write it. Raises CommandError."""
    progress = await setup.advance_setup(request)
    review = progress.review
    if review is None:
        raise CommandError(_describe_missing(progress))
    _print_review(review, path, request.language)
    if _has_errors(review):
        return FAILED
    if review.text == review.before and not review.user:
        print(dialog_text("unchanged", request.language))
        return OK
    if is_asked and not await confirm_writing(path, request.language):
        print(dialog_text("unchanged", request.language))
        return FAILED
    result = await setup.write_setup(request, LOCAL_ACTOR)
    reload_units(path)
    _print_result(result, review, path, request.language)
    return OK


def _describe_missing(progress: SetupProgress) -> str:
    """Return a line for each question of the answers file that has no valid answer."""
    lines = [f"{name}: {problem}" for name, problem in progress.problems.items()]
    section = progress.section
    if section is not None:
        for each in section.questions:
            if is_open_question(each, progress.answers) and each.id not in progress.problems:
                values = ", ".join(choice.value for choice in each.choices)
                lines.append(f"{each.id}: missing: {each.text}{f' ({values})' if values else ''}")
    return "\n".join(lines)


def _has_errors(review: SetupReview) -> bool:
    return any(each.severity == "error" for each in review.findings)


def _print_review(review: SetupReview, path: Path, language: Language) -> None:
    print()
    if review.before:
        lines = difflib.unified_diff(
            review.before.splitlines(), review.text.splitlines(), str(path), str(path), lineterm="", n=2
        )
        print("\n".join(lines))
    else:
        print(review.text)
    shown = [each for each in review.findings if each.severity == "error" or not each.was_there]
    for each in shown:
        mark = "" if each.severity == "error" else " (hint)"
        print(f"{path.name}:{each.line}: {each.text}{mark}", file=sys.stderr)
    if count := len(review.findings) - len(shown):
        print(dialog_text("hints_before", language, count=count), file=sys.stderr)


def _print_result(result: SetupResult, review: SetupReview, path: Path, language: Language) -> None:
    print(dialog_text("written", language, path=path))
    if result.password:
        print(dialog_text("password", language, user=result.user, password=result.password))
    if not review.before:
        print(dialog_text("start", language))
