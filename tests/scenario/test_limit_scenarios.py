"""Limits of the stations under a grid connection: the same scenarios on every driver."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from controller.ocpp.frames import Version
from tests.scenario.drivers import Driver, on_drivers, run_site
from tests.scenario.peers import Car
from tests.scenario.scenario_site import ScenarioSite, SiteSpec

FALLBACK_A = 6.0
EACH_VERSION = pytest.mark.parametrize("version", list(Version))
V2 = pytest.mark.parametrize("version", [Version.V201, Version.V21])


async def plug_in_cars(site: ScenarioSite) -> list[Car]:
    """Connect all stations and plug in a car at each; the CSMS answers everything."""
    site.csms.answer_automatically()
    cars = []
    for station in site.stations:
        await site.connect_station(station.name)
        cars.append(Car())
        await cars[-1].plug_in(station)
    return cars


@EACH_VERSION
@on_drivers()
async def test_station_that_connects_gets_fallback_then_lease(
    driver: Driver, version: Version, tmp_path: Path
) -> None:
    async with run_site(driver, SiteSpec(version=version), tmp_path) as site:
        await plug_in_cars(site)
        [station] = site.stations
        assert await station.wait_limit(lambda limit_a: limit_a > FALLBACK_A) <= 32.0
        fallback, lease = station.limits[0], station.limits[-1]
        assert (fallback.limit_a, fallback.until) == (FALLBACK_A, None)
        assert lease.until is not None


@EACH_VERSION
@on_drivers()
async def test_stations_share_grid_connection_within_its_limit(
    driver: Driver, version: Version, tmp_path: Path
) -> None:
    spec = SiteSpec(limit_a=40.0, stations=("CS01", "CS02"), version=version)
    async with run_site(driver, spec, tmp_path) as site:
        await plug_in_cars(site)
        for station in site.stations:
            await station.wait_limit(lambda limit_a: limit_a > FALLBACK_A)
        for station in site.stations:
            for limit in station.limits:
                assert limit.limit_a <= 40.0 - FALLBACK_A
        assert site.limits_a <= 40.0


@on_drivers()
async def test_station_added_to_running_site_shares_within_its_limit(driver: Driver, tmp_path: Path) -> None:
    async with run_site(driver, SiteSpec(limit_a=40.0), tmp_path) as site:
        await plug_in_cars(site)
        first = site.stations[0]
        await first.wait_limit(lambda limit_a: limit_a > 20.0)
        added = await site.add_station("CS02")
        # Its maximum of 32 A is booked before it can connect; its car then gets its part.
        await first.wait_limit(lambda limit_a: limit_a <= 40.0 - 32.0)
        assert first.is_connected
        await site.connect_station("CS02")
        await Car().plug_in(added)
        await added.wait_limit(lambda limit_a: limit_a > FALLBACK_A)
        await first.wait_limit(lambda limit_a: limit_a > FALLBACK_A + 5.0)
        assert site.limits_a <= 40.0


@EACH_VERSION
@on_drivers()
async def test_car_that_leaves_gives_its_current_to_the_other(
    driver: Driver, version: Version, tmp_path: Path
) -> None:
    spec = SiteSpec(limit_a=45.0, stations=("CS01", "CS02"), version=version)
    async with run_site(driver, spec, tmp_path) as site:
        site.csms.answer_automatically()
        for station in site.stations:
            await site.connect_station(station.name)
        first, other = Car(), Car()
        await first.plug_in(site.stations[0])
        await site.stations[0].wait_limit(lambda limit_a: limit_a > 30.0)
        await other.plug_in(site.stations[1])
        assert await site.stations[1].wait_limit(lambda limit_a: limit_a > FALLBACK_A) < 15.0
        await first.unplug()
        assert await site.stations[1].wait_limit(lambda limit_a: limit_a > 30.0) <= 32.0


@on_drivers()
async def test_profile_of_csms_lowers_limit_of_station(driver: Driver, tmp_path: Path) -> None:
    async with run_site(driver, SiteSpec(), tmp_path) as site:
        await plug_in_cars(site)
        [station] = site.stations
        await station.wait_limit(lambda limit_a: limit_a > 12.0)
        csms = await site.csms.link()
        profile = {
            "chargingProfileId": 7,
            "stackLevel": 0,
            "chargingProfilePurpose": "ChargePointMaxProfile",
            "chargingProfileKind": "Absolute",
            "chargingSchedule": {
                "chargingRateUnit": "A",
                "startSchedule": "2020-01-01T00:00:00Z",
                "chargingSchedulePeriod": [{"startPeriod": 0, "limit": 10.0}],
            },
        }
        payload = {"connectorId": 0, "csChargingProfiles": profile}
        assert await csms.request("SetChargingProfile", payload) == {"status": "Accepted"}
        assert await station.wait_limit(lambda limit_a: limit_a <= 10.0) >= FALLBACK_A


@EACH_VERSION
@on_drivers()
async def test_overload_of_building_lowers_limits_of_cars(
    driver: Driver, version: Version, tmp_path: Path
) -> None:
    spec = SiteSpec(limit_a=40.0, has_meter=True, version=version)
    async with run_site(driver, spec, tmp_path) as site:
        site.meter.measure_building(2.0, 1.5, 1.0)
        [car] = await plug_in_cars(site)
        [station] = site.stations
        before_a = await station.wait_limit(lambda limit_a: limit_a > 20.0)
        await car.report_draw()
        site.meter.measure_building(28.0, 1.5, 1.0)
        after_a = await station.wait_limit(lambda limit_a: limit_a < before_a)
        assert after_a + 28.0 <= 40.0


@EACH_VERSION
@on_drivers()
async def test_limits_stay_at_fallback_until_meter_answers(
    driver: Driver, version: Version, tmp_path: Path
) -> None:
    spec = SiteSpec(limit_a=40.0, has_meter=True, meter_has_failed=True, version=version)
    async with run_site(driver, spec, tmp_path) as site:
        site.meter.measure_building(2.0, 1.5, 1.0)
        await plug_in_cars(site)
        [station] = site.stations
        await station.wait_limit(lambda limit_a: limit_a == FALLBACK_A)
        site.meter.recover()
        await station.wait_limit(lambda limit_a: limit_a > FALLBACK_A)
        assert {each.limit_a for each in station.limits[:2]} == {FALLBACK_A}


@on_drivers(Driver.CORE, Driver.SESSION)
async def test_meter_that_fails_takes_limits_to_fallback(driver: Driver, tmp_path: Path) -> None:
    """In virtual time: the last reading is used for half a minute (`metered_circuit.BRIDGE_S`)."""
    async with run_site(driver, SiteSpec(limit_a=40.0, has_meter=True), tmp_path) as site:
        await plug_in_cars(site)
        [station] = site.stations
        await station.wait_limit(lambda limit_a: limit_a > 20.0)
        site.meter.fail()
        await station.wait_limit(lambda limit_a: limit_a == FALLBACK_A)
        site.meter.recover()
        await station.wait_limit(lambda limit_a: limit_a > FALLBACK_A)


@V2
@on_drivers(Driver.CORE, Driver.SESSION)
async def test_need_that_car_reports_comes_before_others(
    driver: Driver, version: Version, tmp_path: Path
) -> None:
    """In virtual time: a rise of 1 A is worth a write at the renewal of the lease only."""
    # 39 A for two cars: 14 kWh in an hour are 20.3 A on three phases.
    spec = SiteSpec(limit_a=40.0, stations=("CS01", "CS02"), version=version)
    async with run_site(driver, spec, tmp_path) as site:
        [first, _] = await plug_in_cars(site)
        for station in site.stations:
            await station.wait_limit(lambda limit_a: limit_a > 15.0)
        await first.request_energy(14_000, timedelta(hours=1))
        assert await site.stations[0].wait_limit(lambda limit_a: limit_a > 20.0) <= 22.0
        assert site.limits_a <= 40.0
