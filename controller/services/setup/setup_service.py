"""The setup at work: it reads the machine and the file, searches meters, and writes the configuration.

Terminal and page call `advance_setup` with all answers so far, and show what it returns.
"""

from __future__ import annotations

import socket
import tomllib
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import trio

from controller.access.permissions import Actor
from controller.services import ServiceError
from controller.services.configuration.configuration_check import (
    PlanReload,
    find_in_configuration,
    read_present_configuration,
)
from controller.services.configuration.first_configuration import (
    ensure_signing_key,
    find_site_places,
    version_of,
)
from controller.services.setup.machine_report import find_gpio_chips, find_serial_ports, find_timezone
from controller.services.setup.meter_search import MeterSearchService
from controller.site_setup import SetupError, setup_questions
from controller.site_setup.configuration_fields import change_fields, read_field_groups
from controller.site_setup.setup_document import KEY_DIRECTORY, SitePlaces, find_stations_url, write_document
from controller.web.setup_interface import (
    FieldForms,
    FieldRequest,
    FieldReview,
    MeterSearch,
    SearchRequest,
    SetupProgress,
    SetupRequest,
    SetupResult,
    SetupReview,
)
from controller.web.site_interface import CheckFinding
from drivers.coded_text import coded

ResultT = TypeVar("ResultT")
StoreText = Callable[[str, str, str, Actor], Awaitable[str]]
"""Stores (text, version of the present text, new administrator or ""); returns the password shown once."""


class SetupRejectedError(ServiceError):
    """A setup that cannot be written. Its text states why."""


class SetupService:
    """Setup of the configuration file at `path`, which need not exist; None: the site has no file.

    `read_unknown_stations` returns those that tried to connect, the first one first; `has_users` if
    anybody can log in; `find_places` state and ports of a new site.
    """

    def __init__(
        self,
        path: Path | None,
        read_unknown_stations: Callable[[], Awaitable[Sequence[setup_questions.UnknownStation]]],
        has_users: Callable[[], bool],
        store_text: StoreText,
        find_places: Callable[[], SitePlaces] = lambda: find_site_places(),
        plan: PlanReload | None = None,
    ) -> None:
        self._path = path
        self._read_unknown_stations = read_unknown_stations
        self._has_users = has_users
        self._store_text = store_text
        self._find_places = find_places
        self._plan = plan
        self._search = MeterSearchService()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run the searches for meters until cancelled."""
        await self._search.run(task_status=task_status)

    async def advance_setup(self, request: SetupRequest) -> SetupProgress:
        """Check the answers, and return the next questions or the review. Raises SetupRejectedError."""
        before = await self._read_present()
        answers = dict(request.answers)
        if answers.get("meter.model") == "again":
            del answers["meter.model"]
            await self.search_meter(SearchRequest(target=setup_questions.scan_target(answers)))
        context = await self._context(before)
        language = request.language
        section = setup_questions.next_section(answers, context, language)
        accepted = setup_questions.accepted_answers(answers, context, language)
        review = None if section is not None else await self._review(before, accepted, context, request)
        return SetupProgress(
            section=section,
            answers=accepted,
            problems=setup_questions.find_problems(answers, context, language),
            review=review,
            search=state if (state := self.search_state()).running else None,
            stations_url=find_stations_url(context.document, self._find_places()),
        )

    async def complete_answers(self, request: SetupRequest) -> SetupRequest:
        """Return a request whose missing answers are the defaults. Raises SetupRejectedError."""
        context = await self._context(await self._read_present())
        answers = setup_questions.with_defaults(request.answers, context, request.language)
        return SetupRequest(answers=answers, language=request.language)

    async def write_setup(self, request: SetupRequest, actor: Actor) -> SetupResult:
        """Write the configuration that the answers make. Raises ServiceError."""
        progress = await self.advance_setup(request)
        review = progress.review
        if review is None:
            raise SetupRejectedError(
                coded("the setup is not complete: there are questions without an answer")
            )
        errors = [each for each in review.findings if each.severity == "error"]
        if errors:
            lines = "; ".join(f"line {each.line}: {each.text}" for each in errors[:5])
            raise SetupRejectedError(coded("nothing is changed: {lines}", lines=lines))
        await trio.to_thread.run_sync(ensure_signing_key, review.text, self._directory)
        password = await self._store_text(review.text, review.version, review.user, actor)
        return SetupResult(version=version_of(review.text), user=review.user, password=password)

    # -- forms ------------------------------------------------------------------------------------------

    async def read_fields(self) -> FieldForms:
        """Return the forms of the present configuration. Raises SetupRejectedError."""
        text = await self._read_present()
        groups = await _run_pure(partial(read_field_groups, text))
        return FieldForms(version=version_of(text), groups=groups)

    async def review_fields(self, request: FieldRequest) -> FieldReview:
        """Return the configuration with some keys changed. Raises SetupRejectedError."""
        before = await self._read_present()
        if version_of(before) != request.base:
            raise SetupRejectedError(
                coded("the file was changed meanwhile; load it again and repeat the change")
            )

        def make() -> FieldReview:
            text = change_fields(before, request.changes, request.language)
            return FieldReview(
                text=text, before=before, version=request.base, findings=self._check(text, before)
            )

        return await _run_pure(make)

    async def search_meter(self, request: SearchRequest) -> MeterSearch:
        """Begin to search at a place, unless a search is running. Raises MeterSearchError."""
        return self._search.begin(request.target)

    def search_state(self) -> MeterSearch:
        """Return the state of the running or last search."""
        return self._search.state()

    # -- the site and its machine -----------------------------------------------------------------------

    @property
    def _place(self) -> Path:
        """Return the path of the file. Raises SetupRejectedError."""
        if self._path is None:
            raise SetupRejectedError(coded("the controller was started without a configuration file"))
        return self._path

    @property
    def _directory(self) -> Path:
        return self._place.parent

    async def _read_present(self) -> str:
        """Return the present configuration file; empty without one. Raises ServiceError."""
        return await trio.to_thread.run_sync(read_present_configuration, self._place)

    async def _context(self, before: str) -> setup_questions.SetupContext:
        """Return what the questions depend on: the file, the machine, and the stations that connect."""
        try:
            document: dict[str, Any] = tomllib.loads(before)
        except tomllib.TOMLDecodeError as error:
            raise SetupRejectedError(
                coded(
                    "{place} is not valid TOML: {error}; `local-controller check` shows how to correct it",
                    place=self._place,
                    error=error,
                )
            ) from error
        return setup_questions.SetupContext(
            document=document,
            host_name=socket.gethostname().partition(".")[0],
            timezone=find_timezone(),
            serial_ports=find_serial_ports(),
            gpio_chips=find_gpio_chips(),
            unknown_stations=tuple(await self._read_unknown_stations()),
            scans=self._search.scans,
            has_users=self._has_users(),
        )

    async def _review(
        self,
        before: str,
        accepted: setup_questions.Answers,
        context: setup_questions.SetupContext,
        request: SetupRequest,
    ) -> SetupReview:
        places = self._find_places()

        def make() -> SetupReview:
            text = write_document(before, accepted, context, request.language, places)
            return SetupReview(
                text=text,
                before=before,
                version=version_of(before),
                findings=self._check(text, before),
                user=accepted.get("page.user", ""),
            )

        return await _run_pure(make)

    def _check(self, text: str, before: str) -> list[CheckFinding]:
        """Return what the check finds in a text; a key that is made when it is written is not missing.

        What `before` has as well is marked. Where the site runs, the findings name when each change takes
        effect.
        """
        keys = self._directory / KEY_DIRECTORY
        has_key = keys.is_dir() and any(keys.iterdir())
        return [
            each
            for each in find_in_configuration(text, self._place, self._plan, before)
            if has_key or not each.text.startswith("signing.key: ")
        ]


async def _run_pure(make: Callable[[], ResultT]) -> ResultT:
    """Return what `make` returns in a thread. Raises SetupRejectedError."""
    try:
        return await trio.to_thread.run_sync(make)
    except SetupError as error:
        raise SetupRejectedError(str(error)) from error
