"""Dimming by the whole daemon: from a grid operator's command over a backend to a station's profile."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trio
from msgspec.structs import replace

from controller.dimming.evidence_audit import audit
from controller.services.dimming import dimming_evidence, dimming_service, dimming_trust
from controller.services.signing import policy_service
from controller.signing.signing_keys import fingerprint, new_private_key, read_key_files
from controller.store.evidence_files import EvidenceLog, evidence_files
from controller.store.sqlite_journal import FILE, SqliteJournal
from controller.store.state_journal import Change, StoreError
from controller.store.store_files import ASIDE, FOLDER
from controller.store.store_transfer import export_lines, import_entries, open_store_file, read_export
from tests.bounds import HANG_S
from tests.controller.dimming.commands import signed_command
from tests.controller.services.test_app import limits, running, until
from tests.drivers.test_input_service import Module
from tests.scenario.dimmed_daemon import (
    DSO,
    MALLORY,
    MINIMUM_W,
    GridOperatorLink,
    configure,
    connect_charging_station,
    connect_grid_operator,
    make_command,
    read_evidence,
    receive_data_transfer,
    receive_lower_limit,
    utc_text,
    wait_status,
)
from tests.scenario.link_harness import serve_csms


async def test_app_dimming_signed_command_dims_station_and_is_on_record(tmp_path: Path) -> None:
    async with serve_csms() as peer:
        config = configure(tmp_path, peer)
        async with running(config) as controller, connect_charging_station(controller, "CS01") as socket:
            operator = await connect_grid_operator(peer)
            [_, (_, before_a)] = await limits(socket, 2)
            assert before_a > 20
            response = await operator.send_command(make_command())
            assert (response["status"], response["limitW"]) == ("accepted", MINIMUM_W)
            # CS02 is not there: its fallback of 6 A is kept free for it, 4140 W of the 7560.
            assert await receive_lower_limit(socket) <= (MINIMUM_W - 4140) / 690 + 6
            await until(controller, "CS01", "dimmed by dso to 7.6 kW until ")
            notice = await operator.receive_call("NotifyChargingLimit")
            assert notice["chargingLimit"]["chargingLimitSource"] == "SO"
            status = controller.status().dimming
            assert status is not None
            assert (status.dimmed, status.limit_w, status.accepted_total) == (True, MINIMUM_W, 1)
            await wait_status(
                controller, lambda status: "decision" in [each["kind"] for each in read_evidence(tmp_path)]
            )
    others = {"checkpoint", "clock", "key"}  # of the start: the state of the clock, the keys of the policy
    kinds = [each["kind"] for each in read_evidence(tmp_path) if each["kind"] not in others]
    assert {each["kind"] for each in read_evidence(tmp_path)} >= {"clock", "key"}
    assert kinds[:5] == ["command", "verdict", "limit", "readings", "decision"]


async def test_app_dimming_evidence_is_signed_with_a_new_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(policy_service, "POLL_S", 0.05)
    monkeypatch.setattr(dimming_service, "CLOCK_S", 0.05)
    async with serve_csms() as peer:
        config = configure(tmp_path, peer)
        [first] = read_key_files(tmp_path / "key.pem").values()
        async with running(config):
            operator = await connect_grid_operator(peer)
            await operator.send_command(make_command(1))
            (tmp_path / "key.pem").write_bytes(new_private_key("secp256r1", "lc", 1, 4e9))
            await trio.sleep(0.5)
            await operator.send_command(make_command(2, None))
    [second] = read_key_files(tmp_path / "key.pem").values()
    files = [(path.name, path.read_bytes()) for path in evidence_files(tmp_path / "evidence")]
    names = [json.loads(line)["key"] for _, data in files for line in data.splitlines()]
    assert (names[0], names[-1]) == (fingerprint(first.known.id), fingerprint(second.known.id))
    assert audit(files, [each.private.public_key() for each in (first, second)]).findings == ()


async def test_app_forged_or_replayed_dimming_changes_nothing(tmp_path: Path) -> None:
    async with serve_csms() as peer:
        config = configure(tmp_path, peer)
        async with running(config) as controller:
            operator = await connect_grid_operator(peer)
            first = make_command(1)
            assert (await operator.send_command(make_command(2, author=MALLORY)))["reason"] == "bad-signature"
            assert (await operator.send_command(first))["status"] == "accepted"
            assert (await operator.send_command(first))["reason"] == "replayed"
            assert (await operator.send_command(make_command(2, None)))["status"] == "accepted"
            await operator.receive_call("ClearedChargingLimit")
            answer = await operator.request("DataTransfer", {"vendorId": "org.example"})
            assert answer == {"status": "UnknownVendorId"}
            status = controller.status().dimming
            assert status is not None
            assert (status.dimmed, status.accepted_total) == (False, 2)
            assert status.refused_total == {"bad-signature": 1, "replayed": 1}
            [span] = status.spans
            assert span.until is not None


async def test_app_dimming_is_refused_without_a_trusted_clock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(dimming_service, "CLOCK_S", 0.05)
    monkeypatch.setattr(dimming_trust, "is_synchronised", lambda: False)
    async with serve_csms() as peer:
        config = configure(tmp_path, peer)
        assert config.dimming is not None
        config = replace(config, dimming=replace(config.dimming, clock="synchronised"))
        async with running(config) as controller:
            operator = await connect_grid_operator(peer)
            assert (await operator.send_command(make_command()))["reason"] == "clock-not-trusted"
            monkeypatch.setattr(dimming_trust, "is_synchronised", lambda: True)
            with trio.fail_after(HANG_S):
                while (await operator.send_command(make_command()))["status"] == "refused":
                    continue
            assert (await wait_status(controller, lambda status: status.dimmed)).limit_w == MINIMUM_W
    assert "clock not synchronised: signed commands are refused" in caplog.text


async def test_app_dimming_restart_keeps_limit_and_refuses_old_command(tmp_path: Path) -> None:
    async with serve_csms() as peer:
        config = configure(tmp_path, peer)
        first = make_command(1)
        async with running(config):
            assert (await (await connect_grid_operator(peer)).send_command(first))["status"] == "accepted"
        async with running(config) as controller, connect_charging_station(controller, "CS01") as socket:
            assert [amps for _, amps in await limits(socket, 2)] == [6.0, 0.0]
            operator = await connect_grid_operator(peer)
            assert (await operator.send_command(first))["reason"] == "replayed"


@pytest.mark.parametrize("loss", ["removed", "restored"])
async def test_app_dimming_old_state_refuses_obeyed_commands(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, loss: str
) -> None:
    store = tmp_path / "store"
    async with serve_csms() as peer:
        config = configure(tmp_path, peer)
        config = replace(config, store=replace(config.store, directory=str(store)))
        lift = make_command(2, None)
        later = signed_command(DSO, 3, None, datetime.now(UTC) + timedelta(hours=1))
        async with running(config):
            operator = await connect_grid_operator(peer)
            assert (await operator.send_command(make_command(1)))["status"] == "accepted"
            puts, _ = read_export([*export_lines(open_store_file(store))])
            shutil.copytree(store / FOLDER, tmp_path / "backup")
            for each in (lift, later, make_command(4)):
                assert (await operator.send_command(each))["status"] == "accepted"
        if loss == "removed":
            (store / FILE).unlink()
        else:
            import_entries(open_store_file(store), puts, replace=True)
            (store / FOLDER).rename(store / f"{ASIDE}20261201T120000Z")
            shutil.copytree(tmp_path / "backup", store / FOLDER)
        async with running(config):
            operator = await connect_grid_operator(peer)
            assert "memory of dimming commands lost" in caplog.text
            assert (await operator.send_command(lift))["reason"] == "replayed"
            assert (await operator.send_command(later))["reason"] == "replayed"
            assert (await operator.send_command(make_command(4)))["reason"] == "replayed"
            assert (await operator.send_command(make_command(5)))["status"] == "accepted"
        caplog.clear()
        async with running(config):
            operator = await connect_grid_operator(peer)
            assert (await operator.send_command(make_command(6)))["status"] == "accepted"
            assert "memory of dimming commands lost" not in caplog.text


async def test_app_dimming_limit_from_outside_is_for_controllable_alone(tmp_path: Path) -> None:
    profile = {
        "id": 1,
        "stackLevel": 0,
        "chargingProfilePurpose": "ChargingStationExternalConstraints",
        "chargingProfileKind": "Absolute",
        "chargingSchedule": [
            {
                "id": 1,
                "chargingRateUnit": "W",
                "chargingSchedulePeriod": [{"startPeriod": 0, "limit": 9000}],
            }
        ],
    }
    async with serve_csms() as peer:
        config = configure(tmp_path, peer, source='kind = "ocpp"')
        async with running(config) as controller:
            operator = await connect_grid_operator(peer)
            answer = await operator.request("SetChargingProfile", {"evseId": 0, "chargingProfile": profile})
            assert answer == {"status": "Accepted"}
            status = controller.status().dimming
            assert status is not None
            assert status.limit_w is not None
            assert round(status.limit_w) == 9000
            assert status.sources == ("dso",)
            notice = await operator.receive_call("NotifyChargingLimit")
            assert notice["chargingLimit"]["chargingLimitSource"] == "CSO"


async def test_profile_of_1_6_backend_limits_site_and_dims(tmp_path: Path) -> None:
    profile = {
        "chargingProfileId": 1,
        "stackLevel": 0,
        "chargingProfilePurpose": "ChargePointMaxProfile",
        "chargingProfileKind": "Absolute",
        "chargingSchedule": {
            "chargingRateUnit": "A",
            "chargingSchedulePeriod": [{"startPeriod": 0, "limit": 15}],
        },
    }
    async with serve_csms() as peer:
        config = configure(tmp_path, peer, source='kind = "ocpp"', protocol="ocpp1.6")
        async with running(config) as controller:
            operator = await connect_grid_operator(peer)
            members = {"connectorId": 0, "csChargingProfiles": profile}
            assert await operator.request("SetChargingProfile", members) == {"status": "Accepted"}
            status = await wait_status(controller, lambda status: status.dimmed)
            assert status.limit_w == 3 * 15 * 230
            while (response := await operator.receive_call("DataTransfer"))["messageId"] != "dimmed":
                operator.calls.clear()
            assert json.loads(response["data"])["setBy"] == "CSO"
            await operator.request("ClearChargingProfile", {"id": 1})
            await wait_status(controller, lambda status: not status.dimmed)


async def test_app_dimming_backend_that_reconnects_gets_limit_in_force(tmp_path: Path) -> None:
    async with serve_csms() as peer, running(configure(tmp_path, peer)):
        operator = await connect_grid_operator(peer)
        await operator.receive_call("ClearedChargingLimit")
        await operator.send_command(make_command())
        await operator.receive_call("NotifyChargingLimit")
        await operator.disconnect()
        again = await connect_grid_operator(peer)
        notice = await again.receive_call("NotifyChargingLimit")
        [schedule] = notice["chargingSchedule"]
        assert schedule["chargingSchedulePeriod"] == [{"startPeriod": 0, "limit": MINIMUM_W}]


@asynccontextmanager
async def serve_closed_contact() -> AsyncIterator[tuple[Module, int]]:
    """Serve a module with one contact, which is closed; yield it with its port."""
    module = Module()
    module.inputs = [True]
    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        serving = await nursery.start(trio.serve_listeners, module.serve, listeners)
        yield module, serving[0].socket.getsockname()[1]
        nursery.cancel_scope.cancel()


def contact_source(source: str, limit_w: int, port: int) -> str:
    """Return a source whose one contact is that of `serve_closed_contact`, from its kind on."""
    return f"""
        kind = "contact"
        module = "io"
        settle_s = 0.05
        lost_after_s = 0.3
        [[dimming.contact]]
        name = "W3"
        source = "{source}"
        input = 0
        limit_w = {limit_w}
        [[dimming.module]]
        id = "io"
        transport = "tcp"
        driver = "wago-750"
        host = "127.0.0.1"
        port = {port}
        interval_s = 0.05
        """


async def test_app_dimming_contact_broken_wire_or_dead_module_dims(tmp_path: Path) -> None:
    async with serve_csms() as peer, serve_closed_contact() as (closed, port):
        source = contact_source("dso", 8000, port)
        async with running(configure(tmp_path, peer, source=source)) as controller:
            status = controller.status().dimming
            assert status is not None
            assert status.dimmed, "the contact has not been read yet"
            await wait_status(controller, lambda status: not status.dimmed)
            closed.inputs = [False]
            assert (await wait_status(controller, lambda status: status.dimmed)).limit_w == 8000
            closed.inputs = [True]
            await wait_status(controller, lambda status: not status.dimmed)
            closed.inputs = None
            lost = await wait_status(controller, lambda status: status.dimmed)
            assert lost.limit_w == 8000
            assert [span.assumed for span in lost.spans] == [True, False, True]
            closed.inputs = [True]
            back = await wait_status(controller, lambda status: not status.dimmed)
            assert [span.assumed for span in back.spans] == [True, False, True, True]
    why = [
        record["body"]["total"]["proof"] for record in read_evidence(tmp_path) if record["kind"] == "limit"
    ]
    assert why == [
        "its contacts were not read yet",
        "W3 on",
        "its contacts cannot be read",
        "the state of W3 is unknown",
    ]


async def test_app_dimming_dead_module_is_named_beside_lower_limit(tmp_path: Path) -> None:
    async with serve_csms() as peer, serve_closed_contact() as (closed, port):
        signed = 'kind = "signed"\nrole = "grid-operator"\n[[dimming.source]]\nid = "box"'
        source = signed + contact_source("box", 9000, port)
        async with running(configure(tmp_path, peer, source=source)) as controller:
            operator = await connect_grid_operator(peer)
            await wait_status(controller, lambda status: not status.dimmed)
            await operator.send_command(make_command())
            closed.inputs = None
            lost = await wait_status(controller, lambda status: bool(status.source_faults))
            assert lost.source_fault == "box: its contacts cannot be read"
            assert [(each.source, each.why) for each in lost.source_faults] == [
                ("box", "its contacts cannot be read")
            ]
            assert lost.limit_w == MINIMUM_W
            assert lost.statement is not None
            assert (lost.statement.name, lost.spans[-1].assumed) == ("dso", False)
            closed.inputs = [True]
            back = await wait_status(controller, lambda status: not status.source_faults)
            assert (back.source_fault, back.limit_w) == ("", MINIMUM_W)
    records = [each["body"] for each in read_evidence(tmp_path) if each["kind"] == "limit"]
    assert {"source": "box", "why": "its contacts cannot be read"} in [
        each for record in records if record["total"]["source"] == "dso" for each in record["lost"]
    ]
    assert records[-1]["lost"] == []


async def test_app_dimming_display_shows_limit_until_its_end(tmp_path: Path) -> None:
    async with serve_csms() as peer:
        config = configure(tmp_path, peer, more='displays = true\nlanguage = "en"')
        async with running(config) as controller, connect_charging_station(controller, "CS01") as socket:
            operator = await connect_grid_operator(peer)
            await limits(socket, 2)
            await operator.send_command(make_command(1))
            shown = await receive_data_transfer(socket)
            assert shown["messageId"] == "dimmed"
            text = json.loads(shown["data"])["text"]
            assert text.startswith("The grid operator limits the charging power until ")
            await operator.send_command(make_command(2, None))
            assert (await receive_data_transfer(socket))["messageId"] == "dimmedNoMore"
            view = await until(controller, "CS01", "")
            assert view.connected


async def test_app_dimming_effect_is_measured_and_reported(tmp_path: Path) -> None:
    values = [{"measurand": "Current.Import", "phase": f"L{n}", "unit": "A", "value": "4"} for n in (1, 2, 3)]
    meter = {"connectorId": 1, "meterValue": [{"timestamp": utc_text(), "sampledValue": values}]}
    async with serve_csms() as peer:
        config = configure(tmp_path, peer)
        async with (
            running(config) as controller,
            connect_charging_station(controller, "CS01") as socket,
            connect_charging_station(controller, "CS02", "Available") as other,
        ):
            operator = await connect_grid_operator(peer)
            await limits(socket, 2)
            await limits(other, 1)
            assert (await operator.send_command(make_command()))["status"] == "accepted"
            await socket.send_message(json.dumps([2, "m", "MeterValues", meter]))
            while (response := await operator.receive_call("DataTransfer"))["messageId"] != "dimEffect":
                operator.calls.clear()
            assert (response["data"]["reached"], response["data"]["limitW"]) == (True, MINIMUM_W)
            assert response["data"]["powerAfterW"] == 3 * 4 * 230
            assert response["data"]["signatures"]


async def test_app_dimming_checkpoint_is_handed_out_that_log_contains(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dimming_service, "CHECKPOINT_S", 0.2)
    async with serve_csms() as peer:
        async with running(configure(tmp_path, peer)):
            operator = await connect_grid_operator(peer)
            await operator.send_command(make_command())
            response = await operator.receive_call("DataTransfer")
        assert response["messageId"] == "dimCheckpoint"
        assert response["data"] in read_evidence(tmp_path)


async def test_app_dimming_hanging_disk_limits_before_it_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk_works, commit = threading.Event(), SqliteJournal.commit

    def commit_once_disk_works(journal: SqliteJournal, changes: Sequence[Change], token: int) -> None:
        disk_works.wait(30)
        commit(journal, changes, token)

    answers: list[str] = []

    async def send_command(operator: GridOperatorLink) -> None:
        answers.append((await operator.send_command(make_command()))["status"])

    async with serve_csms() as peer, running(configure(tmp_path, peer)) as controller:
        operator = await connect_grid_operator(peer)
        monkeypatch.setattr(SqliteJournal, "commit", commit_once_disk_works)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(send_command, operator)
                await wait_status(controller, lambda status: status.dimmed)
                assert answers == []
                assert "verdict" not in [each["kind"] for each in read_evidence(tmp_path)]
                disk_works.set()
        finally:
            disk_works.set()
        assert answers == ["accepted"]
        assert "verdict" in [each["kind"] for each in read_evidence(tmp_path)]


async def test_app_dimming_failed_disk_does_not_prevent_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(*_: object) -> None:
        raise StoreError("the disk is full")

    monkeypatch.setattr(dimming_evidence, "FILES_RETRY_S", 0.05)
    monkeypatch.setattr(EvidenceLog, "write_files", fails)
    async with (
        serve_csms() as peer,
        running(configure(tmp_path, peer)) as controller,
        connect_charging_station(controller, "CS01") as socket,
    ):
        operator = await connect_grid_operator(peer)
        await limits(socket, 2)
        assert (await operator.send_command(make_command()))["status"] == "accepted"
        assert await receive_lower_limit(socket) < 20
        assert (await wait_status(controller, lambda status: status.evidence_failed_total > 0)).dimmed
        assert "verdict" not in [each["kind"] for each in read_evidence(tmp_path)]
        monkeypatch.undo()
        with trio.fail_after(HANG_S):
            while "evidence in its files again" not in caplog.text:  # noqa: ASYNC110
                await trio.sleep(0.02)
    assert "verdict" in [each["kind"] for each in read_evidence(tmp_path)]  # not while a line is written
    assert caplog.text.count("evidence not in its file yet reason=the disk is full") == 1
    assert caplog.text.count("evidence in its files again") == 1
