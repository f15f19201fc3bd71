"""Backends whose name changes with their group: what was stored under the former one is delivered."""

from __future__ import annotations

from pathlib import Path

import pytest

from controller.offline.journal_records import EntryQueued
from controller.services.app import App
from controller.services.configuration import reload_service
from controller.stations.session import RENEWED
from controller.store.state_store import StateStore
from tests.controller.services.test_live_backends import boot, owned_by, receive_action, table, write
from tests.controller.services.test_station_adoption import command, running
from tests.scenario.daemon_driver import RealClock
from tests.scenario.daemon_peers import (
    START,
    STATUS,
    connect_station,
    serve_csms_by_name,
    start_result,
    stop_transaction,
)

pytestmark = pytest.mark.usefixtures("log_levels")
IN_GROUP = 'group = "csms"'


async def test_queue_of_backend_is_delivered_after_restart_with_group(tmp_path: Path) -> None:
    async with serve_csms_by_name("cpo") as made:
        cpo = made["cpo"]
        async with (
            running(write(tmp_path, owned_by("cpo"), table("cpo", cpo))) as controller,
            connect_station(controller) as station,
        ):
            link = await cpo.accept()
            await boot(station, link)
            cpo.refuse_status = 503
            await link.aclose()
            given = (await station.request("StartTransaction", START))["transactionId"]
        cpo.refuse_status = None
        async with running(write(tmp_path, owned_by("cpo"), table("cpo", cpo, IN_GROUP))) as controller:
            assert await receive_action(await cpo.accept(), "StartTransaction", start_result(7)) == START
            await RealClock().wait_until(
                lambda: [(each.id, each.waiting) for each in controller.status().backends] == [("csms", 0)],
                "nothing waits",
            )
            async with connect_station(controller) as station:
                link = await cpo.accept()
                asked = await station.send_call("StopTransaction", stop_transaction(given))
                # The end goes out with the id that the backend gave in its answer to the start.
                assert await receive_action(link, "StopTransaction") == stop_transaction(7)
                assert await station.receive_result(asked) == {}
    store = StateStore(tmp_path)
    assert list(store.load(EntryQueued)) == []
    store.close()


def links(controller: App) -> list[tuple[str, dict[str, int]]]:
    """Return the number of links to each endpoint, by backend."""
    return [(each.id, each.links) for each in controller.status().backends]


async def test_backend_joins_group_once_transaction_has_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reload_service, "CHECK_S", 0.05)
    async with serve_csms_by_name("cpo", "second") as made:
        cpo = made["cpo"]
        async with running(write(tmp_path, owned_by("cpo"), table("cpo", cpo))) as controller:
            async with connect_station(controller) as station:
                link = await cpo.accept()
                await boot(station, link)
                await station.forward_call(link, "StartTransaction", START, start_result(7))
                second = table("second", made["second"], f"{IN_GROUP}\npriority = 1")
                write(tmp_path, owned_by("csms"), table("cpo", cpo, IN_GROUP), second)
                result = await command(tmp_path, "configuration.reload")
                assert (result["applied"], result["needs_restart"]) == (["backend second (added)"], [])
                assert "backend cpo group" in result["waiting"]
                await station.forward_call(link, "StopTransaction", stop_transaction(7), {})
                assert await station.wait_close_reason() == (1012, RENEWED)
            await RealClock().wait_until(
                lambda: links(controller) == [("csms", {"cpo": 0, "second": 0})],
                "the backend has two endpoints",
            )
            async with connect_station(controller) as station:
                link = await cpo.accept()
                assert await receive_action(link, "StatusNotification") == STATUS
                await station.forward_call(link, "StartTransaction", START, start_result(8))
                assert links(controller) == [("csms", {"cpo": 1, "second": 0})]


async def test_second_endpoint_joins_group_beside_open_links(tmp_path: Path) -> None:
    async with serve_csms_by_name("cpo", "second") as made:
        first = table("cpo", made["cpo"], IN_GROUP)
        second = table("second", made["second"], "priority = 1")
        async with (
            running(write(tmp_path, owned_by("csms"), first, second)) as controller,
            connect_station(controller) as station,
        ):
            link = await made["cpo"].accept()
            await boot(station, link)
            await station.forward_call(link, "StartTransaction", START, start_result(7))
            write(
                tmp_path,
                owned_by("csms"),
                first,
                table("second", made["second"], f"priority = 1\n{IN_GROUP}"),
            )
            result = await command(tmp_path, "configuration.reload")
            assert result["applied"] == ["backend second group"]
            await station.forward_call(link, "StopTransaction", stop_transaction(7), {})
            assert controller.status().backends[0].links == {"cpo": 1, "second": 0}
