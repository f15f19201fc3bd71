"""The drivers of scenarios, and how a scenario chooses one."""

from __future__ import annotations

import enum
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.scenario.core_driver import CoreSite
from tests.scenario.daemon_driver import run_daemon_site
from tests.scenario.scenario_site import ScenarioSite, SiteSpec


class Driver(enum.Enum):
    """What runs a scenario: pure state machines, or the whole controller over sockets."""

    CORE = "core"
    DAEMON = "daemon"


@asynccontextmanager
async def run_site(driver: Driver, spec: SiteSpec, folder: Path) -> AsyncIterator[ScenarioSite]:
    """Run the site of a scenario inside the block; its files are in `folder`."""
    if driver is Driver.CORE:
        yield CoreSite(spec, folder)
        return
    async with run_daemon_site(spec, folder) as site:
        yield site
