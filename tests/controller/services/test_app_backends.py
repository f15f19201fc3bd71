"""Several backends behind one daemon: what owner and observer receive and may command."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest
from msgspec.structs import replace
from trio_websocket import ConnectionClosed

from controller.backends import failover
from controller.config import Config
from controller.model.rate_limits import Backoff
from controller.web.alarm_model import find_conditions
from tests.controller.services.test_app import running
from tests.scenario.daemon_peers import (
    ACCEPTED,
    BOOT,
    START,
    STATUS,
    answer_call,
    configure,
    connect_station,
    meter_values,
    serve_csms_by_name,
    start_result,
    stop_transaction,
)
from tests.scenario.link_harness import receive_text

OBSERVED = 'owner = "cpo"\nobservers = ["fleet"]'


async def test_app_backends_observer_has_own_ids_and_station_never_answers(
    tmp_path: Path,
) -> None:
    async with (
        serve_csms_by_name("cpo", "fleet") as made,
        running(configure(tmp_path, made, {}, OBSERVED)) as controller,
        connect_station(controller) as station,
    ):
        cpo, fleet = await made["cpo"].accept(), await made["fleet"].accept()
        await station.forward_call(cpo, "BootNotification", BOOT, ACCEPTED)
        await answer_call(fleet, "BootNotification", BOOT, ACCEPTED | {"interval": 7})
        await station.forward_call(cpo, "StatusNotification", STATUS, {})
        await answer_call(fleet, "StatusNotification", STATUS, {})
        await station.forward_call(cpo, "StartTransaction", START, start_result(70))
        await answer_call(fleet, "StartTransaction", START, start_result(900))
        await station.forward_call(cpo, "MeterValues", meter_values(70), {})
        await fleet.aclose()
        await station.forward_call(cpo, "StopTransaction", stop_transaction(70), {})
        back = await made["fleet"].accept()
        await answer_call(back, "StatusNotification", STATUS, {})  # its boot has been accepted before
        await answer_call(back, "MeterValues", meter_values(900), {})
        await answer_call(back, "StopTransaction", stop_transaction(900), {})


async def test_app_backends_observer_commands_what_it_may_and_nothing_else(tmp_path: Path) -> None:
    async with serve_csms_by_name("cpo", "fleet") as made:
        config = configure(tmp_path, made, {"fleet": 'commands = ["TriggerMessage"]'}, OBSERVED)
        async with running(config) as controller, connect_station(controller) as station:
            await made["cpo"].accept()
            fleet = await made["fleet"].accept()
            await fleet.send_message('[2,"f1","Reset",{"type":"Hard"}]')
            refused = json.loads(await receive_text(fleet))
            assert refused[:3] == [4, "f1", "SecurityError"]
            assert "fleet may not Reset CS01" in refused[3]
            await station.send_call("Heartbeat", {})  # it has not booted anew: it may be commanded
            await fleet.send_message('[2,"f2","TriggerMessage",{"requestedMessage":"Heartbeat"}]')
            await station.accept_until("TriggerMessage")
            assert json.loads(await receive_text(fleet)) == [3, "f2", {"status": "Accepted"}]
            assert "Reset" not in station.commands


async def test_app_backends_backend_sees_no_data_of_another(tmp_path: Path) -> None:
    (tmp_path / "fleet.password").write_text("fleet's own secret\n")
    shown = b"Basic " + base64.b64encode(b"CS01:station secret")
    keys = {"fleet": f'password_file = "{tmp_path}/fleet.password"'}
    async with serve_csms_by_name("cpo", "fleet", "third") as made:
        config = configure(tmp_path, made, keys, 'owner = "cpo"\nobservers = ["fleet", "third"]')
        async with running(config) as controller, connect_station(controller, [(b"Authorization", shown)]):
            for each in made.values():
                await each.accept()
    headers = {name: dict(each.requests[0].headers) for name, each in made.items()}
    assert headers["cpo"][b"authorization"] == shown
    assert headers["fleet"][b"authorization"] == b"Basic " + base64.b64encode(b"CS01:fleet's own secret")
    assert b"authorization" not in headers["third"]


TWO_WAYS = {"a": 'group = "cpo"\npriority = 1', "b": 'group = "cpo"\npriority = 2'}


@pytest.mark.parametrize("mode", ["autonomous", "grace"])
async def test_endpoint_loss_moves_next_message_and_loses_none(tmp_path: Path, mode: str) -> None:
    async with serve_csms_by_name("a", "b") as made:
        config = configure(tmp_path, made, TWO_WAYS, f'owner = "cpo"\nwhen_backend_away = "{mode}"')
        async with running(config) as controller, connect_station(controller) as station:
            first = await made["a"].accept()
            await station.forward_call(first, "StartTransaction", START, start_result(70))
            made["a"].refuse_status = 503
            asked = await station.send_call("MeterValues", meter_values(70))
            await receive_text(first)
            await first.aclose(1011, "broken")
            second = await made["b"].accept()
            await answer_call(second, "MeterValues", meter_values(70), {})
            assert await station.receive_result(asked) == {}
            await station.forward_call(second, "StopTransaction", stop_transaction(70), {})
            with pytest.raises(ConnectionClosed):
                await receive_text(first)


async def test_links_go_back_when_better_uplink_has_answered_for_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(failover, "FAILBACK_S", 0.4)
    monkeypatch.setattr(failover, "PROBE_INTERVAL_S", 0.1)
    monkeypatch.setattr(failover, "BACKOFF", Backoff(first_s=0.1, longest_s=0.1))
    async with serve_csms_by_name("a", "b") as made:
        config = configure(tmp_path, made, TWO_WAYS, 'owner = "cpo"\nwhen_backend_away = "autonomous"')
        made["a"].refuse_status = 503
        async with running(config) as controller, connect_station(controller) as station:
            second = await made["b"].accept()
            await station.forward_call(second, "StartTransaction", START, start_result(70))
            made["a"].refuse_status = None
            first = await made["a"].accept()
            await station.forward_call(first, "StopTransaction", stop_transaction(70), {})


def with_short_calls(config: Config) -> Config:
    return replace(config, listen=replace(config.listen, call_timeout_s=0.2))


async def test_backend_that_is_connected_and_never_answers_is_an_alarm(tmp_path: Path) -> None:
    async with serve_csms_by_name("cpo") as made:
        config = with_short_calls(configure(tmp_path, made, {}, 'owner = "cpo"'))
        async with running(config) as controller, connect_station(controller) as station:
            cpo = await made["cpo"].accept()
            await station.forward_call(cpo, "BootNotification", BOOT, ACCEPTED)
            for _ in range(2):
                await station.send_call("Heartbeat", {})
                assert await station.receive_error() == "GenericError"
            assert not [each for each in find_conditions(controller.status(), 0.0) if "backend" in each.kind]
            await station.send_call("Heartbeat", {})
            await station.wait_closed()
            status = controller.status()
            assert (status.backends[0].unanswered, status.backends[0].unanswered_action) == (3, "Heartbeat")
            [alarm] = [each for each in find_conditions(status, 0.0) if each.kind == "backend-silent"]
            assert "leaves messages without an answer, Heartbeat the last" in str(alarm.statement)
