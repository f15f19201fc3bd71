"""Several backends behind one daemon: what owner and observer hear, and what neither may."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest
from trio_websocket import ConnectionClosed

from controller.backends import failover
from controller.model.rate_limits import Backoff
from tests.controller.services.simple_peers import (
    ACCEPTED,
    BOOT,
    START,
    STATUS,
    a_site,
    backends,
    connected,
    hears,
    meter,
    started,
    stop,
)
from tests.controller.services.test_app import running
from tests.controller.transport.rig import heard

OBSERVED = 'owner = "cpo"\nobservers = ["fleet"]'


async def test_app_backends_observer_has_own_ids_and_station_never_answers(
    tmp_path: Path,
) -> None:
    async with (
        backends("cpo", "fleet") as made,
        running(a_site(tmp_path, made, {}, OBSERVED)) as controller,
        connected(controller) as station,
    ):
        cpo, fleet = await made["cpo"].link(), await made["fleet"].link()
        await station.told(cpo, "BootNotification", BOOT, ACCEPTED)
        await hears(fleet, "BootNotification", BOOT, ACCEPTED | {"interval": 7})
        await station.told(cpo, "StatusNotification", STATUS, {})
        await hears(fleet, "StatusNotification", STATUS, {})
        await station.told(cpo, "StartTransaction", START, started(70))
        await hears(fleet, "StartTransaction", START, started(900))
        await station.told(cpo, "MeterValues", meter(70), {})
        await fleet.aclose()
        await station.told(cpo, "StopTransaction", stop(70), {})
        back = await made["fleet"].link()
        await hears(back, "StatusNotification", STATUS, {})  # its boot has been accepted before
        await hears(back, "MeterValues", meter(900), {})
        await hears(back, "StopTransaction", stop(900), {})


async def test_app_backends_observer_commands_what_it_may_and_nothing_else(tmp_path: Path) -> None:
    async with backends("cpo", "fleet") as made:
        config = a_site(tmp_path, made, {"fleet": 'commands = ["TriggerMessage"]'}, OBSERVED)
        async with running(config) as controller, connected(controller) as station:
            await made["cpo"].link()
            fleet = await made["fleet"].link()
            await fleet.send_message('[2,"f1","Reset",{"type":"Hard"}]')
            refused = json.loads(await heard(fleet))
            assert refused[:3] == [4, "f1", "SecurityError"]
            assert "fleet may not Reset CS01" in refused[3]
            await station.says("Heartbeat", {})  # it has not booted anew: it may be commanded
            await fleet.send_message('[2,"f2","TriggerMessage",{"requestedMessage":"Heartbeat"}]')
            await station.obeys("TriggerMessage")
            assert json.loads(await heard(fleet)) == [3, "f2", {"status": "Accepted"}]
            assert "Reset" not in station.commanded


async def test_app_backends_no_backend_is_shown_what_is_another_s(tmp_path: Path) -> None:
    (tmp_path / "fleet.password").write_text("fleet's own secret\n")
    shown = b"Basic " + base64.b64encode(b"CS01:station secret")
    keys = {"fleet": f'password_file = "{tmp_path}/fleet.password"'}
    async with backends("cpo", "fleet", "third") as made:
        config = a_site(tmp_path, made, keys, 'owner = "cpo"\nobservers = ["fleet", "third"]')
        async with running(config) as controller, connected(controller, [(b"Authorization", shown)]):
            for each in made.values():
                await each.link()
    headers = {name: dict(each.requests[0].headers) for name, each in made.items()}
    assert headers["cpo"][b"authorization"] == shown
    assert headers["fleet"][b"authorization"] == b"Basic " + base64.b64encode(b"CS01:fleet's own secret")
    assert b"authorization" not in headers["third"]


TWO_WAYS = {"a": 'group = "cpo"\npriority = 1', "b": 'group = "cpo"\npriority = 2'}


@pytest.mark.parametrize("mode", ["autonomous", "grace"])
async def test_endpoint_loss_moves_next_message_and_loses_none(tmp_path: Path, mode: str) -> None:
    async with backends("a", "b") as made:
        config = a_site(tmp_path, made, TWO_WAYS, f'owner = "cpo"\nwhen_backend_away = "{mode}"')
        async with running(config) as controller, connected(controller) as station:
            first = await made["a"].link()
            await station.told(first, "StartTransaction", START, started(70))
            made["a"].refuse_with = 503
            asked = await station.says("MeterValues", meter(70))
            await heard(first)
            await first.aclose(1011, "broken")
            second = await made["b"].link()
            await hears(second, "MeterValues", meter(70), {})
            assert await station.hears(asked) == {}
            await station.told(second, "StopTransaction", stop(70), {})
            with pytest.raises(ConnectionClosed):
                await heard(first)


async def test_links_go_back_when_better_uplink_has_answered_for_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(failover, "FAILBACK_S", 0.4)
    monkeypatch.setattr(failover, "PROBE_INTERVAL_S", 0.1)
    monkeypatch.setattr(failover, "BACKOFF", Backoff(first_s=0.1, longest_s=0.1))
    async with backends("a", "b") as made:
        config = a_site(tmp_path, made, TWO_WAYS, 'owner = "cpo"\nwhen_backend_away = "autonomous"')
        made["a"].refuse_with = 503
        async with running(config) as controller, connected(controller) as station:
            second = await made["b"].link()
            await station.told(second, "StartTransaction", START, started(70))
            made["a"].refuse_with = None
            first = await made["a"].link()
            await station.told(first, "StopTransaction", stop(70), {})
