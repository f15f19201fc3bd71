"""A site that changes with each command: every list of the page has one entry more then."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from msgspec.structs import replace

from controller.access.permissions import Actor
from controller.commands.site_command import SiteCommand
from controller.web.setup_interface import FieldForms
from controller.web.site_interface import (
    ConfigurationText,
    EventEntry,
    HistorySeries,
    SessionEntry,
    UserEntry,
)
from controller.web.status_model import ControllerStatus, RevisionStatus
from tests.controller.web.fake_setup import FakeSetup
from tests.controller.web.fake_site import FakeAccess, FakeSite
from tests.controller.web.large_site import site_of


class ChangingSite(FakeSite):
    """The site; `count` is the number of its changes."""

    def __init__(self) -> None:
        super().__init__(self._status)
        self.count = 0
        self.setup = ChangingSetup(self)

    def _status(self) -> ControllerStatus:
        status, count = site_of(3), self.count
        time = datetime.fromisoformat(status.time) + timedelta(minutes=count)
        revisions = RevisionStatus(sessions=count, events=count, configuration=count, users=count)
        return replace(status, time=time.isoformat(), revisions=revisions, timezone="Europe/Berlin")

    async def execute(self, command: SiteCommand, actor: Actor) -> Mapping[str, Any]:
        self.count += 1
        return {}

    def events(self, most: int) -> Sequence[EventEntry]:
        return [
            EventEntry(
                time=f"2026-11-21T12:00:{number:02}+00:00",
                severity="info",
                text=f"event {number}",
                actor="anna (page)",
            )
            for number in range(self.count, -1, -1)
        ]

    async def sessions(self, first: str, last: str) -> Sequence[SessionEntry]:
        return [
            SessionEntry(station=f"S-{number}", evse=1, transaction="t", started=f"{first}-01T00:00:00Z")
            for number in range(self.count, -1, -1)
        ]

    async def history(self, channels: Sequence[str], start: int, end: int) -> Sequence[HistorySeries]:
        times, value = list(range(start + 60, end, 60)), float(self.count)
        values = [value] * len(times)
        return [
            HistorySeries(
                channel=channel, unit="W", interval_s=60, times=times, low=values, mean=values, high=values
            )
            for channel in ("power/grid", "power/row-1", "power/row-2")
        ]

    async def configuration(self) -> ConfigurationText:
        text = f'# version {self.count}\n[site]\nid = "lc"\n[[circuit]]\nid = "grid"\nlimit_a = 63\n'
        return ConfigurationText(
            text=text, version=f"{self.count:064}", path="/etc/controller.toml", in_use=self.count != 3
        )


class ChangingSetup(FakeSetup):
    """The forms of a changing site."""

    def __init__(self, site: ChangingSite) -> None:
        super().__init__()
        self._site = site

    async def read_fields(self) -> FieldForms:
        return replace(await super().read_fields(), version=f"{self._site.count:064}")


class ChangingAccess(FakeAccess):
    """The users of a changing site."""

    def __init__(self, site: ChangingSite) -> None:
        super().__init__()
        self._site = site

    def users(self) -> Sequence[UserEntry]:
        return [UserEntry(name=f"user-{number}", role="viewer") for number in range(self._site.count + 1)]
