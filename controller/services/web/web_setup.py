"""The setup for the page: of a site that runs, its writes are commands of the person who uses it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from controller.access.permissions import ADMINISTRATOR, Actor
from controller.commands.site_command import AddUser, WriteConfiguration
from controller.services.access.access_service import AccessService
from controller.services.access.command_service import CommandService
from controller.services.configuration.configuration_check import PlanReload
from controller.services.setup.setup_service import SetupService
from controller.services.web.web_problems import await_or_problem
from controller.site_setup.setup_questions import UnknownStation
from controller.web.setup_interface import (
    FieldForms,
    FieldRequest,
    FieldReview,
    MeterSearch,
    SearchRequest,
    SetupProgress,
    SetupRequest,
    SetupResult,
    list_unknown_stations,
)
from controller.web.status_model import ControllerStatus


class WebSetup:
    """The setup for the page: a SetupInterface around the SetupService."""

    def __init__(self, setup: SetupService) -> None:
        self._setup = setup

    async def advance_setup(self, request: SetupRequest) -> SetupProgress:
        """Check the answers, and return the next questions or the review. Raises ProblemError."""
        return await await_or_problem(self._setup.advance_setup(request))

    async def search_meter(self, request: SearchRequest) -> MeterSearch:
        """Begin to search for meters, unless a search is running. Raises ProblemError."""
        return await await_or_problem(self._setup.search_meter(request))

    async def read_fields(self) -> FieldForms:
        """Return the forms of the present configuration. Raises ProblemError."""
        return await await_or_problem(self._setup.read_fields())

    async def review_fields(self, request: FieldRequest) -> FieldReview:
        """Return the configuration with some keys changed. Raises ProblemError."""
        return await await_or_problem(self._setup.review_fields(request))

    async def write_setup(self, request: SetupRequest, actor: Actor) -> SetupResult:
        """Write the configuration that the answers make. Raises ProblemError."""
        return await await_or_problem(self._setup.write_setup(request, actor))


def make_site_setup(
    path: Path | None,
    read_status: Callable[[], ControllerStatus],
    access: AccessService,
    commands: CommandService,
    plan: PlanReload | None,
) -> SetupService:
    """Return the setup of a site that runs: what it changes are commands of the person who uses it."""

    async def read_unknown_stations() -> Sequence[UnknownStation]:
        return list_unknown_stations(read_status().unknown_stations)

    async def store_text(text: str, base: str, user: str, actor: Actor) -> str:
        await commands.execute(WriteConfiguration(text=text, base=base), actor)
        if not user:
            return ""
        added = await commands.execute(AddUser(user=user, role=ADMINISTRATOR), actor)
        return str(added["password"]) if isinstance(added, dict) else ""

    return SetupService(path, read_unknown_stations, lambda: access.has_users, store_text, plan=plan)
