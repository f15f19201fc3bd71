"""Dimming by the grid operator (section 14a EnWG): the same scenarios on every driver."""

from __future__ import annotations

from pathlib import Path

from tests.controller.signing.authors import Author
from tests.scenario.drivers import Driver, on_drivers, run_site
from tests.scenario.peers import Car
from tests.scenario.scenario_site import ScenarioSite, SiteSpec

SPEC = SiteSpec(limit_a=63.0, has_grid_operator=True)
LIMIT_W = 4200.0
"""Least power that the grid operator may leave to one controllable EVSE."""
LIMIT_A = LIMIT_W / 3 / 230.0
FORGER = Author()


async def charge(site: ScenarioSite) -> float:
    """Let a car charge at the station until its limit is far above the one to come; return it (A)."""
    await Car().plug_in(await site.connect_station())
    return await site.stations[0].wait_limit(lambda limit_a: limit_a > 20.0)


@on_drivers()
async def test_signed_command_lowers_limit_until_it_is_lifted(driver: Driver, tmp_path: Path) -> None:
    async with run_site(driver, SPEC, tmp_path) as site:
        await charge(site)
        [station] = site.stations
        assert (await site.grid_operator.send_limit(LIMIT_W))["status"] == "accepted"
        assert await station.wait_limit(lambda limit_a: limit_a <= 7.0) <= max(LIMIT_A, 6.0)
        assert (await site.grid_operator.send_limit(None))["status"] == "accepted"
        await station.wait_limit(lambda limit_a: limit_a > 20.0)


@on_drivers()
async def test_forged_command_is_refused_and_changes_no_limit(driver: Driver, tmp_path: Path) -> None:
    async with run_site(driver, SPEC, tmp_path) as site:
        charging_a = await charge(site)
        [station] = site.stations
        acknowledgement = await site.grid_operator.send_limit(LIMIT_W, author=FORGER)
        assert acknowledgement["status"] == "refused"
        assert station.limit_a == charging_a


@on_drivers()
async def test_command_repeated_is_refused_as_replay(driver: Driver, tmp_path: Path) -> None:
    async with run_site(driver, SPEC, tmp_path) as site:
        await charge(site)
        first = await site.grid_operator.send_limit(LIMIT_W)
        repeated = await site.grid_operator.repeat_last()
        assert (first["status"], repeated["status"]) == ("accepted", "refused")
