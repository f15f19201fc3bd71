"""The setup at work: it reads the machine and the file, searches meters, and writes the configuration.

Terminal and page call `advance_setup` with all answers so far, and show what it returns.
"""

from __future__ import annotations

import glob
import os
import socket
import tomllib
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import trio

from controller.access.permissions import Actor
from controller.config.loader import check_config
from controller.config.schema import ListenConfig, StoreConfig, WebConfig
from controller.services.configuration import ERROR_RULES, HINT_RULES
from controller.services.first_configuration import ensure_signing_key, usual_store_directory, version_of
from controller.services.service_error import ServiceError
from controller.site_setup import setup_questions
from controller.site_setup.configuration_fields import change_fields, read_field_groups
from controller.site_setup.setup_document import KEY_DIRECTORY, SitePlaces, write_document
from controller.site_setup.setup_error import SetupError
from controller.site_setup.setup_questions import (
    Answers,
    KnockingStation,
    MeterChoice,
    MeterScan,
    SetupContext,
)
from controller.tomlcheck.diagnostics import ErrorDiagnostic, FileUnreadableError, read_text
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
from controller.web.status_model import KnockStatus
from drivers.errors import DriverError
from drivers.identify_service import (
    SERIAL_UNITS,
    TCP_UNITS,
    FoundMeter,
    identify_meters,
    serial_settings_to_try,
)
from drivers.settings import BusSettings

MOST_STEPS = 12
MOST_SEARCHES = 16
"""Places whose results are kept."""
MOST_CANDIDATES = 5

ResultT = TypeVar("ResultT")
StoreText = Callable[[str, str, str, Actor], Awaitable[str]]
"""Stores (text, version of the present text, new administrator or ""); returns the password shown once."""


class SetupRejectedError(ServiceError):
    """A setup that cannot be written. Its text states why."""


class SetupService:
    """Setup of the configuration file at `path`, which need not exist; None: the site has no file.

    `read_knocks` returns the unknown stations that tried to connect; `has_users` if anybody can log in.
    `find_places` returns state and ports of a new site.
    """

    def __init__(
        self,
        path: Path | None,
        read_knocks: Callable[[], Awaitable[Sequence[KnockStatus]]],
        has_users: Callable[[], bool],
        store_text: StoreText,
        find_places: Callable[[], SitePlaces] = lambda: find_site_places(),
    ) -> None:
        self._path = path
        self._read_knocks = read_knocks
        self._has_users = has_users
        self._store_text = store_text
        self._find_places = find_places
        self._nursery: trio.Nursery | None = None
        self._scans: dict[str, MeterScan] = {}
        self._steps: deque[str] = deque(maxlen=MOST_STEPS)
        self._searched = ""
        """Place where meters are searched now; empty for none."""

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run the searches for meters until cancelled."""
        async with trio.open_nursery() as self._nursery:
            task_status.started()
            await trio.sleep_forever()

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
            search=self.search_state() if self._searched else None,
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
            raise SetupRejectedError("the setup is not complete: there are questions without an answer")
        errors = [each for each in review.findings if each.severity == "error"]
        if errors:
            lines = "; ".join(f"line {each.line}: {each.text}" for each in errors[:5])
            raise SetupRejectedError(f"{len(errors)} errors, nothing is changed: {lines}")
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
            raise SetupRejectedError("the file was changed meanwhile; load it again and repeat the change")

        def make() -> FieldReview:
            text = change_fields(before, request.changes, request.language)
            return FieldReview(text=text, before=before, version=request.base, findings=self._check(text))

        return await _run_pure(make)

    # -- the search for meters --------------------------------------------------------------------------

    async def search_meter(self, request: SearchRequest) -> MeterSearch:
        """Begin to search at a place, unless that goes on; one place at a time."""
        target = request.target
        if not _is_target(target):
            raise SetupRejectedError(f"{target!r} is neither a serial port nor HOST:PORT")
        if self._nursery is None:
            raise SetupRejectedError("the setup has ended")
        if self._searched and self._searched != target:
            raise SetupRejectedError(f"meters are searched at {self._searched}; wait until that is over")
        if not self._searched:
            self._searched = target
            self._scans.pop(target, None)
            self._steps.clear()
            self._nursery.start_soon(self._search, target)
        return self.search_state()

    def search_state(self) -> MeterSearch:
        """Return the state of the search that goes on or went on last."""
        return MeterSearch(running=bool(self._searched), steps=list(self._steps))

    async def _search(self, target: str) -> None:
        try:
            self._scans[target] = await search_meters(target, self._steps.append)
        finally:
            self._searched = ""
            while len(self._scans) > MOST_SEARCHES:
                del self._scans[next(iter(self._scans))]

    # -- the site and its machine -----------------------------------------------------------------------

    @property
    def _place(self) -> Path:
        """Return the path of the file. Raises SetupRejectedError."""
        if self._path is None:
            raise SetupRejectedError("the controller was started without a configuration file")
        return self._path

    @property
    def _directory(self) -> Path:
        return self._place.parent

    async def _read_present(self) -> str:
        """Return the present configuration file; empty without one. Raises SetupRejectedError."""
        if not await trio.to_thread.run_sync(self._place.exists):
            return ""
        try:
            return await trio.to_thread.run_sync(read_text, self._place)
        except FileUnreadableError as error:
            raise SetupRejectedError(str(error)) from error

    async def _context(self, before: str) -> SetupContext:
        """Return what the questions depend on: the file, the machine, and the stations that connect."""
        try:
            document: dict[str, Any] = tomllib.loads(before)
        except tomllib.TOMLDecodeError as error:
            raise SetupRejectedError(
                f"{self._place} is not valid TOML: {error}; `local-controller check` shows how to correct it"
            ) from error
        knocks = await self._read_knocks()
        return SetupContext(
            document=document,
            host_name=socket.gethostname().partition(".")[0],
            timezone=find_timezone(),
            serial_ports=find_serial_ports(),
            gpio_chips=find_gpio_chips(),
            knocks=tuple(_knocking_station(each) for each in reversed(knocks)),
            scans=dict(self._scans),
            has_users=self._has_users(),
        )

    async def _review(
        self, before: str, accepted: Answers, context: SetupContext, request: SetupRequest
    ) -> SetupReview:
        places = self._find_places()

        def make() -> SetupReview:
            text = write_document(before, accepted, context, request.language, places)
            return SetupReview(
                text=text,
                before=before,
                version=version_of(before),
                findings=self._check(text),
                user=accepted.get("page.user", ""),
            )

        return await _run_pure(make)

    def _check(self, text: str) -> list[CheckFinding]:
        """Return what the check finds in a text; a key that is made when it is written is not missing."""
        directory = self._directory
        _, errors, hints = check_config(text, self._place.name, directory, ERROR_RULES, HINT_RULES)
        has_key = (directory / KEY_DIRECTORY).is_dir()
        return [
            CheckFinding(
                severity="error" if isinstance(each, ErrorDiagnostic) else "hint",
                line=each.line,
                text=f"{each.key}: {each.what}; {each.remedy}",
            )
            for each in [*errors, *hints]
            if has_key or each.key != "signing.key"
        ]


async def _run_pure(make: Callable[[], ResultT]) -> ResultT:
    """Return what `make` returns in a thread. Raises SetupRejectedError."""
    try:
        return await trio.to_thread.run_sync(make)
    except SetupError as error:
        raise SetupRejectedError(str(error)) from error


async def search_meters(target: str, report: Callable[[str], None]) -> MeterScan:
    """Search meters at a serial port, or at HOST:PORT; `report` gets a line about each step."""
    if target.startswith("/"):
        settings: Sequence[BusSettings] = serial_settings_to_try(target, None, None)
        units: Sequence[int] = SERIAL_UNITS
    else:
        host, _, port = target.rpartition(":")
        settings, units = [BusSettings(transport="tcp", host=host.strip("[]"), port=int(port))], TCP_UNITS
    try:
        found = await identify_meters(settings, units, report)
    except (DriverError, OSError) as error:
        return MeterScan(problem=str(error))
    return MeterScan(found=tuple(choice for each in found for choice in _meter_choices(each)))


def _meter_choices(found: FoundMeter) -> list[MeterChoice]:
    settings = found.settings
    line: dict[str, Any] = {}
    if settings.transport == "rtu":
        line = {"baud": settings.baud, "parity": settings.parity, "stopbits": settings.stopbits}
    known = [
        MeterChoice(driver=each.name, unit=found.unit, serial_number=each.serial_number, **line)
        for each in found.candidates[:MOST_CANDIDATES]
    ]
    several = len(found.sunspec) > 1
    sunspec = [
        MeterChoice(driver="sunspec", unit=found.unit, instance=each.instance if several else None, **line)
        for each in found.sunspec
    ]
    return [*known, *sunspec]


def find_site_places(port: int = ListenConfig().port, web_port: int = WebConfig().port) -> SitePlaces:
    """Return where a new site has its state and its ports; None for what is the default."""
    store = usual_store_directory()
    return SitePlaces(
        store=None if store == StoreConfig().directory else store,
        port=None if port == ListenConfig().port else port,
        web_port=None if web_port == WebConfig().port else web_port,
    )


def find_serial_ports(root: str = "/") -> tuple[str, ...]:
    """Return the serial ports of adapters, by their stable names where they have one."""
    stable = sorted(glob.glob(os.path.join(root, "dev/serial/by-id/*")))
    taken = {os.path.realpath(each) for each in stable}
    plain = [
        each
        for pattern in ("ttyUSB*", "ttyACM*", "ttyAMA*")
        for each in sorted(glob.glob(os.path.join(root, "dev", pattern)))
        if os.path.realpath(each) not in taken
    ]
    return (*stable, *plain)


def find_gpio_chips() -> tuple[str, ...]:
    """Return the GPIO chips of the machine."""
    return tuple(sorted(glob.glob("/dev/gpiochip*")))


def find_timezone(root: Path = Path("/etc")) -> str:
    """Return the time zone of the machine; UTC where it has none by name."""
    try:
        return (root / "timezone").read_text().strip() or "UTC"
    except OSError:
        place = os.path.realpath(root / "localtime")
        return place.partition("zoneinfo/")[2] or "UTC"


def _is_target(target: str) -> bool:
    if target.startswith("/dev/"):
        return ".." not in target and os.path.exists(target)
    host, _, port = target.rpartition(":")
    return bool(host) and port.isdecimal() and 1 <= int(port) <= 65_535


def _knocking_station(knock: KnockStatus) -> KnockingStation:
    return KnockingStation(
        id=knock.id,
        address=knock.peer,
        first_seen=knock.first_seen,
        vendor=knock.vendor,
        model=knock.model,
        serial_number=knock.serial_number,
        firmware=knock.firmware,
    )
