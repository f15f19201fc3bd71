"""Interface through which the page runs the setup, and the data that it returns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Protocol

import msgspec
from msgspec import Meta

from controller.access.permissions import Actor
from controller.site_setup.configuration_fields import FieldChange, FieldGroup
from controller.site_setup.setup_questions import SetupSection, UnknownStation
from controller.site_setup.setup_texts import Language
from controller.web.site_interface import CheckFinding
from controller.web.status_model import UnknownStationStatus

AnswerText = Annotated[str, Meta(max_length=10_000)]


class SetupRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Answers of a person by question id, and the person's language."""

    answers: Annotated[dict[Annotated[str, Meta(max_length=100)], AnswerText], Meta(max_length=2000)]
    language: Language = "en"


class SearchRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Place where a meter is searched: a serial port of the gateway, or HOST:PORT."""

    target: Annotated[str, Meta(min_length=1, max_length=300)]


class MeterSearch(msgspec.Struct, frozen=True, kw_only=True):
    """State of a search for meters: its last steps."""

    running: bool
    steps: list[str]


class SetupReview(msgspec.Struct, frozen=True, kw_only=True):
    """The configuration that the answers make. `before`: the present one, empty without.

    `version`: SHA-256 of the present text. `user`: administrator who is added, empty for none.
    """

    text: str
    before: str
    version: str
    findings: list[CheckFinding]
    user: str = ""


class SetupProgress(msgspec.Struct, frozen=True, kw_only=True):
    """Progress of a setup: the next questions, or the review where all are answered.

    `answers`: those that are valid. `problems`: by question id, why an answer is not. `search`: the search
    for a meter that goes on, null without. `stations_url`: where stations connect, without their ids.
    """

    section: SetupSection | None
    answers: dict[str, str]
    problems: dict[str, str]
    review: SetupReview | None = None
    search: MeterSearch | None = None
    stations_url: str = ""


class SetupResult(msgspec.Struct, frozen=True, kw_only=True):
    """A configuration was written. `password`: of the new administrator, shown once; empty without one."""

    version: str
    user: str = ""
    password: str = ""


class FieldRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Changes of single keys of the configuration, made from the version `base`."""

    base: str
    changes: Annotated[list[FieldChange], Meta(max_length=500)]
    language: Language = "en"


class FieldForms(msgspec.Struct, frozen=True, kw_only=True):
    """Forms of the configuration file, and the version that they show."""

    version: str
    groups: list[FieldGroup]


class FieldReview(msgspec.Struct, frozen=True, kw_only=True):
    """The changed configuration, with what the check finds in it; nothing is written yet."""

    text: str
    before: str
    version: str
    findings: list[CheckFinding]


class SetupInterface(Protocol):
    """The setup as the page uses it. Methods raise ProblemError."""

    async def advance_setup(self, request: SetupRequest) -> SetupProgress:
        """Check the answers, and return the next questions or the review."""

    async def search_meter(self, request: SearchRequest) -> MeterSearch:
        """Begin to search for meters, unless a search is running."""

    async def read_fields(self) -> FieldForms:
        """Return the forms of the present configuration."""

    async def review_fields(self, request: FieldRequest) -> FieldReview:
        """Return the configuration with some keys changed."""

    async def write_setup(self, request: SetupRequest, actor: Actor) -> SetupResult:
        """Write the configuration that the answers make."""


def list_unknown_stations(unknown_stations: Sequence[UnknownStationStatus]) -> list[UnknownStation]:
    """Return unknown stations in the order of the setup: by their first connection."""
    return [
        UnknownStation(
            id=unknown.id,
            address=unknown.peer,
            first_seen=unknown.first_seen,
            vendor=unknown.vendor,
            model=unknown.model,
            serial_number=unknown.serial_number,
            firmware=unknown.firmware,
        )
        for unknown in sorted(unknown_stations, key=lambda each: each.first_seen)
    ]
