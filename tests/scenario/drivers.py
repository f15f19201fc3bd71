"""The drivers of scenarios, and how a scenario runs on each of them."""

from __future__ import annotations

import enum
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial, wraps
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from tests.examples import IS_FAST
from tests.scenario.core_driver import CoreSite
from tests.scenario.daemon_driver import run_daemon_site
from tests.scenario.scenario_site import ScenarioSite, SiteSpec
from tests.scenario.session_driver import run_session_site


class Driver(enum.Enum):
    """Pure state machines, sessions over memory streams, or the whole controller over sockets."""

    CORE = "core"
    SESSION = "session"
    DAEMON = "daemon"


def on_drivers(*drivers: Driver) -> Callable[[Callable[..., Awaitable[None]]], Callable[..., None]]:
    """Run an async scenario with the argument `driver` on each of these drivers; by default on all.

    `make test-fast` runs it on the pure cores alone.
    """

    def decorate(scenario: Callable[..., Awaitable[None]]) -> Callable[..., None]:
        @wraps(scenario)
        def run(driver: Driver, **arguments: Any) -> None:
            clock = trio.testing.MockClock(autojump_threshold=0) if driver is Driver.SESSION else None
            trio.run(partial(scenario, driver=driver, **arguments), clock=clock)

        chosen = (Driver.CORE,) if IS_FAST else drivers or tuple(Driver)
        return pytest.mark.parametrize("driver", chosen, ids=[each.value for each in chosen])(run)

    return decorate


@asynccontextmanager
async def run_site(driver: Driver, spec: SiteSpec, folder: Path) -> AsyncIterator[ScenarioSite]:
    """Run the site of a scenario inside the block; its files are in `folder`."""
    match driver:
        case Driver.CORE:
            yield CoreSite(spec, folder)
        case Driver.SESSION:
            async with run_session_site(spec, folder) as site:
                yield site
        case Driver.DAEMON:
            async with run_daemon_site(spec, folder) as site:
                yield site
