"""A setup in memory: one question, then the review."""

from __future__ import annotations

from controller.access.permissions import Actor
from controller.site_setup.configuration_fields import read_field_groups
from controller.site_setup.setup_questions import SetupQuestion, SetupSection
from controller.web.http_messages import ProblemError
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

TEXT = """[site]
id = "lc"

[[circuit]]
id = "grid"
limit_a = 63

[[station]]
id = "CS01"
circuit = "grid"
"""


class FakeSetup:
    """A setup whose writes are recorded."""

    def __init__(self) -> None:
        self.written: list[tuple[dict[str, str], str]] = []

    async def advance_setup(self, request: SetupRequest) -> SetupProgress:
        question = SetupQuestion(id="site.id", kind="text", text="Name of the site")
        if "site.id" not in request.answers:
            section = SetupSection(name="site", title="Site", questions=(question,))
            return SetupProgress(section=section, answers={}, problems={})
        review = SetupReview(text="[site]\n", before="", version="", findings=[], user="admin")
        return SetupProgress(section=None, answers=request.answers, problems={}, review=review)

    async def search_meter(self, request: SearchRequest) -> MeterSearch:
        return MeterSearch(running=True, steps=[f"trying {request.target}"])

    async def write_setup(self, request: SetupRequest, actor: Actor) -> SetupResult:
        if "site.id" not in request.answers:
            raise ProblemError(409, "the setup is not complete")
        self.written.append((request.answers, actor.name))
        return SetupResult(version="1", user="admin", password="generated")

    async def read_fields(self) -> FieldForms:
        return FieldForms(version="a" * 64, groups=read_field_groups(TEXT))

    async def review_fields(self, request: FieldRequest) -> FieldReview:
        return FieldReview(text=TEXT, before=TEXT, version=request.base, findings=[])
