"""Messages between a station and its CSMS: the same scenarios on every driver."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from controller.ocpp.frames import Version
from tests.controller.signing.authors import Author
from tests.scenario.drivers import Driver, on_drivers, run_site
from tests.scenario.peers import CsmsLink, Station
from tests.scenario.scenario_site import SIGNER, ScenarioSite, SiteSpec

VERSIONS = pytest.mark.parametrize("version", list(Version))

SIGNED = SiteSpec(version=Version.V201, has_policy=True)
ODD = '[2, "19223201" ,"SomethingNew",\n{"näme":"\\u00e4",  "big":123456789012345678901234567890,"f":1.0e0}]'
STAMP = "2026-03-29T12:00:0{}Z"


def transaction_calls(version: Version, number: int) -> list[tuple[str, dict[str, object]]]:
    """Return the CALLs of a transaction; in 1.6 the station has this number of it."""
    if version is Version.V16:
        start = {"connectorId": 1, "idTag": "A", "meterStart": 0, "timestamp": STAMP.format(1)}
        return [
            ("StartTransaction", start),
            (
                "StopTransaction",
                {"transactionId": number, "meterStop": 9, "timestamp": STAMP.format(2)},
            ),
        ]
    events = []
    for place, kind in enumerate(("Started", "Updated", "Ended")):
        event: dict[str, object] = {
            "eventType": kind,
            "timestamp": STAMP.format(place),
            "triggerReason": "Authorized",
            "seqNo": place,
            "transactionInfo": {"transactionId": "t1"},
        }
        events.append(("TransactionEvent", event))
    return events


@on_drivers()
@VERSIONS
async def test_message_passes_unchanged_in_both_directions(
    driver: Driver, version: Version, tmp_path: Path
) -> None:
    async with run_site(driver, SiteSpec(version=version), tmp_path) as site:
        station = await site.connect_station()
        csms = await site.csms.link()
        await station.send(ODD)
        await csms.receive(ODD)
        answer = '[3,"19223201",{ "status" : "ok"}]'
        await csms.send(answer)
        await station.receive(answer)
        command = '[2,"csms-x","Unheard",{"x":  [1,2]}]'
        await csms.send(command)
        await station.receive(command)
        error = '[4,"csms-x","NotImplemented","nö", {}]'
        await station.send(error)
        await csms.receive(error)


@on_drivers()
@VERSIONS
async def test_transaction_over_outage_reaches_csms_once_in_order(
    driver: Driver, version: Version, tmp_path: Path
) -> None:
    async with run_site(driver, SiteSpec(version=version), tmp_path) as site:
        station = await site.connect_station()
        csms = await site.csms.link()
        await boot(station, csms)
        await site.csms.go_away()
        number = await send_transaction(station)
        station.expect_nothing()
        await site.csms.come_back()
        csms = await site.csms.link()
        await receive_transaction(csms, version, number)
        heartbeat = await station.send_call("Heartbeat", {})
        await csms.answer_call("Heartbeat", {"currentTime": STAMP.format(9)})
        await station.receive_result(heartbeat)
        csms.expect_nothing()


@on_drivers()
async def test_transaction_over_outage_and_restart_reaches_csms_once(driver: Driver, tmp_path: Path) -> None:
    async with run_site(driver, SiteSpec(), tmp_path) as site:
        station = await site.connect_station()
        csms = await site.csms.link()
        await boot(station, csms)
        await site.csms.go_away()
        number = await send_transaction(station)
        await site.restart()
        await site.connect_station()
        await site.csms.come_back()
        csms = await site.csms.link()
        await receive_transaction(csms, Version.V16, number)
        csms.expect_nothing()


@on_drivers()
async def test_station_added_over_outage_leaves_running_transaction_whole(
    driver: Driver, tmp_path: Path
) -> None:
    async with run_site(driver, SiteSpec(), tmp_path) as site:
        station = await site.connect_station()
        csms = await site.csms.link()
        await boot(station, csms)
        await site.csms.go_away()
        [(action, start), *_] = transaction_calls(Version.V16, 0)
        number = int((await station.request(action, start))["transactionId"])
        await site.add_station("CS02")
        assert station.is_connected
        for action, payload in transaction_calls(Version.V16, number)[1:]:
            await station.request(action, payload)
        await site.csms.come_back()
        csms = await site.csms.link()
        await receive_transaction(csms, Version.V16, number)
        added = await site.connect_station("CS02")
        await boot(added, await site.csms.link("CS02"))
        csms.expect_nothing()


@on_drivers()
async def test_station_in_grace_is_closed_when_csms_stays_away(driver: Driver, tmp_path: Path) -> None:
    spec = SiteSpec(when_away="grace", keys="grace_s = 1")
    async with run_site(driver, spec, tmp_path) as site:
        station = await site.connect_station()
        csms = await site.csms.link()
        await boot(station, csms)
        await site.csms.go_away()
        await station.send_call("Heartbeat", {})
        await station.wait_closed()


@on_drivers()
async def test_station_in_grace_stays_when_csms_comes_back(driver: Driver, tmp_path: Path) -> None:
    spec = SiteSpec(when_away="grace", keys="grace_s = 15")
    async with run_site(driver, spec, tmp_path) as site:
        station = await site.connect_station()
        csms = await site.csms.link()
        await boot(station, csms)
        await site.csms.go_away()
        heartbeat = await station.send_call("Heartbeat", {})
        await site.csms.come_back()
        csms = await site.csms.link()
        await csms.answer_call("Heartbeat", {"currentTime": STAMP.format(3)})
        await station.receive_result(heartbeat)
        assert station.is_connected


@on_drivers()
async def test_observer_gets_copies_and_station_owners_answers(driver: Driver, tmp_path: Path) -> None:
    async with run_site(driver, SiteSpec(is_observed=True), tmp_path) as site:
        station = await site.connect_station()
        csms, observer = await site.csms.link(), await site.observer.link()
        site.observer.answer_automatically()
        await boot(station, csms)
        started = {"transactionId": 70, "idTagInfo": {"status": "Accepted"}}
        [(action, start), *_] = transaction_calls(Version.V16, 0)
        message_id = await station.send_call(action, start)
        await csms.answer_call(action, started, start)
        assert await station.receive_result(message_id) == started
        copy = await observer.wait_call(action)
        assert json.loads(copy.payload) == start


@on_drivers()
async def test_profile_passes_signature_policy_unchanged_if_signed(driver: Driver, tmp_path: Path) -> None:
    async with run_site(driver, SIGNED, tmp_path) as site:
        station = await site.connect_station()
        csms = await site.csms.link()
        await boot(station, csms)
        signed = f'[2,"csms-s","SetChargingProfile",{SIGNER.signed(profile(site, 16.0)).decode()}]'
        await csms.send(signed)
        await station.receive(signed)
        await station.send('[3,"csms-s",{"status":"Accepted"}]')
        await csms.receive('[3,"csms-s",{"status":"Accepted"}]')


@on_drivers()
async def test_profile_that_is_unsigned_or_forged_reaches_no_station(driver: Driver, tmp_path: Path) -> None:
    async with run_site(driver, SIGNED, tmp_path) as site:
        station = await site.connect_station()
        csms = await site.csms.link()
        await boot(station, csms)
        unsigned = json.dumps(profile(site, 16.0))
        forged = SIGNER.signed(profile(site, 16.0)).decode().replace("16.0", "26.0")
        foreign = Author().signed(profile(site, 16.0)).decode()
        for number, text in enumerate((unsigned, forged, foreign)):
            await csms.send(f'[2,"csms-{number}x","SetChargingProfile",{text}]')
            await csms.receive_error(f"csms-{number}x", "SecurityError")
        station.expect_nothing()


def profile(site: ScenarioSite, limit_a: float) -> dict[str, object]:
    """Return a SetChargingProfile of OCPP 2.0.1 that the controller passes on, made at the site's time."""
    period = {"startPeriod": 0, "limit": limit_a}
    schedule = {"id": 1, "chargingRateUnit": "A", "chargingSchedulePeriod": [period]}
    return {
        "evseId": 1,
        "chargingProfile": {
            "id": 7,
            "stackLevel": 0,
            "chargingProfilePurpose": "TxDefaultProfile",
            "chargingProfileKind": "Absolute",
            "chargingSchedule": [schedule],
        },
        "customData": {"vendorId": "scenario", "timestamp": site.clock.utc().isoformat()},
    }


async def boot(station: Station, csms: CsmsLink) -> None:
    """Boot a station that its CSMS accepts."""
    message_id = await station.send_call("BootNotification", station.boot_payload)
    accepted = {"status": "Accepted", "currentTime": STAMP.format(0), "interval": 300}
    await csms.answer_call("BootNotification", accepted, station.boot_payload)
    assert await station.receive_result(message_id) == accepted


async def send_transaction(station: Station) -> int:
    """Send the CALLs of a transaction; return the station's number of it (1.6)."""
    [(action, start), *_] = transaction_calls(station.version, 0)
    number = int((await station.request(action, start)).get("transactionId", 0))
    for action, payload in transaction_calls(station.version, number)[1:]:
        await station.request(action, payload)
    return number


async def receive_transaction(csms: CsmsLink, version: Version, number: int) -> None:
    """Expect and answer the CALLs of the transaction, which the CSMS has under a number of its own (1.6)."""
    own = number + 1
    started = {"transactionId": own, "idTagInfo": {"status": "Accepted"}}
    for action, payload in transaction_calls(version, own):
        await csms.answer_call(action, started if action == "StartTransaction" else {}, payload)
