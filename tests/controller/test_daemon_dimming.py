"""Dimming by the whole daemon: from a grid operator's command over a backend to a station's profile."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import trio
from trio_websocket import WebSocketConnection, open_websocket_url

from controller.config import Config
from controller.config.reading import check_config
from controller.daemon import Daemon
from controller.dimming.audit import audit
from controller.signing.key_files import read_keys
from controller.signing.keys import new_private
from controller.store.evidence import FOLDER, evidence_files
from controller.web.status import DimmingStatus
from tests.controller.links.rig import Backend, heard
from tests.controller.signing.authors import Author
from tests.controller.test_daemon import limits, running, until
from tests.drivers.test_contacts import Module

CONTEXT = "urn:local-controller:dim:command:1"
MINIMUM_W = 7560.0
"""What two devices keep."""
DSO, MALLORY = Author(), Author()


def configured(folder: Path, backend: Backend, source: str = "", more: str = "") -> Config:
    (folder / "key.pem").write_bytes(new_private("secp256r1", "lc", 0, 4e9))
    (folder / "key.pem").chmod(0o600)
    (folder / "policy.toml").write_text(
        f"""
        version = 1
        [[key]]
        holder = "dso"
        public = "{base64.b64encode(DSO.point).decode()}"
        [[role]]
        id = "grid-operator"
        holders = ["dso"]
        """
    )
    config, mistakes, _ = check_config(
        f"""
        [site]
        id = "lc"
        backend = "cpo"
        [store]
        directory = "{folder}"
        [listen]
        host = "127.0.0.1"
        port = 0
        [load_management]
        tick_s = 0.1
        [signing]
        key = "key.pem"
        policy = "policy.toml"
        [dimming]
        clock = "believed"
        {more}
        [[dimming.source]]
        id = "dso"
        {source or 'kind = "signed"'}
        {'role = "grid-operator"' if not source else ""}
        [[backend]]
        id = "cpo"
        url = "ws://127.0.0.1:{backend.port}/csms/{{station}}"
        [[circuit]]
        id = "grid"
        limit_a = 60
        [[station]]
        id = "CS01"
        circuit = "grid"
        owner = "cpo"
        [[station.evse]]
        id = 1
        steuve = true
        [[station]]
        id = "CS02"
        circuit = "grid"
        owner = "cpo"
        [[station.evse]]
        id = 1
        steuve = true
        """,
        "test.toml",
        folder,
    )
    assert mistakes == []
    assert config is not None
    return config


@asynccontextmanager
async def backend() -> AsyncIterator[Backend]:
    async with trio.open_nursery() as nursery:
        peer = Backend()
        await nursery.start(peer.run)
        yield peer
        nursery.cancel_scope.cancel()


class Operator:
    """The backend's end of the site's own link, and the grid operator behind it."""

    def __init__(self, socket: WebSocketConnection) -> None:
        self._socket = socket
        self.heard: list[tuple[str, dict[str, Any]]] = []
        self._ids = 0

    async def ask(self, action: str, payload: dict[str, Any]) -> dict[str, Any]:
        """The answer to a CALL of ours."""
        self._ids += 1
        await self._socket.send_message(json.dumps([2, f"b{self._ids}", action, payload]))
        while True:
            frame = await self.next()
            if frame[0] == 3:
                assert frame[1] == f"b{self._ids}"
                answer: dict[str, Any] = frame[2]
                return answer

    async def next(self) -> list[Any]:
        """The next frame; a CALL is answered."""
        frame: list[Any] = json.loads(await heard(self._socket))
        if frame[0] == 2:
            self.heard.append((frame[2], frame[3]))
            answer: dict[str, Any] = {}
            if frame[2] == "BootNotification":
                now = datetime.now(UTC).isoformat()
                answer = {"status": "Accepted", "interval": 300, "currentTime": now}
            elif frame[2] == "DataTransfer":
                answer = {"status": "Accepted"}
            await self._socket.send_message(json.dumps([3, frame[1], answer]))
        return frame

    async def until(self, action: str) -> dict[str, Any]:
        """The payload of the first CALL of this action."""
        while True:
            for said, payload in self.heard:
                if said == action:
                    return payload
            await self.next()

    async def sends(self, command: bytes) -> dict[str, Any]:
        """The acknowledgement of a command."""
        payload = {"vendorId": "org.local-controller", "messageId": "dim", "data": json.loads(command)}
        answer = await self.ask("DataTransfer", payload)
        told: dict[str, Any] = answer["data"]
        assert answer["status"] == ("Rejected" if told["status"] == "refused" else "Accepted")
        assert told["signatures"]
        return told


async def attached(peer: Backend) -> Operator:
    """The site's own link, booted."""
    while True:
        socket = await peer.link()
        if socket.path == "/csms/lc":
            operator = Operator(socket)
            await operator.until("BootNotification")
            return operator


def command(sequence: int = 1, limit_w: float | None = MINIMUM_W, author: Author = DSO) -> bytes:
    now = datetime.now(UTC)
    return author.signed(
        {
            "commandId": f"command-{sequence}",
            "issuer": {"role": "grid-operator"},
            "scope": {"connectionPoint": "lc"},
            "limitW": limit_w,
            "notBefore": now.isoformat(),
            "notAfter": (now + timedelta(hours=1)).isoformat(),
            "sequence": sequence,
        },
        CONTEXT,
    )


@asynccontextmanager
async def station(controller: Daemon, name: str) -> AsyncIterator[WebSocketConnection]:
    async with open_websocket_url(
        f"ws://127.0.0.1:{controller.port}/ocpp/{name}", subprotocols=["ocpp1.6"], disconnect_timeout=2
    ) as socket:
        await socket.send_message('[2,"s","StatusNotification",{"connectorId":1,"status":"Charging"}]')
        yield socket


async def lowered(socket: WebSocketConnection) -> float:
    """The next lease that is lower than 20 A."""
    while True:
        [(level, amps)] = await limits(socket, 1)
        if level == 1 and amps < 20:
            return amps


async def recorded(controller: Daemon, count: int) -> None:
    """Wait until so many records are written."""
    await found(controller, lambda status: status.evidence_records >= count)


async def found(controller: Daemon, good: Callable[[DimmingStatus], bool]) -> DimmingStatus:
    """Wait until the status is as it should be."""
    with trio.fail_after(5):
        while True:
            status = controller.status().dimming
            assert status is not None
            if good(status):
                return status
            await trio.sleep(0.02)


def evidence(folder: Path) -> list[dict[str, Any]]:
    """All records, after a look by somebody who trusts nothing."""
    [own] = read_keys(folder / "key.pem").values()
    files = [(path.name, path.read_bytes()) for path in evidence_files(folder / FOLDER)]
    result = audit(files, [own.private.public_key()])
    assert result.findings == ()
    return [json.loads(line) for _, data in files for line in data.splitlines()]


async def test_a_signed_command_dims_a_station_and_is_on_record(tmp_path: Path) -> None:
    async with backend() as peer:
        config = configured(tmp_path, peer)
        async with running(config) as controller, station(controller, "CS01") as socket:
            operator = await attached(peer)
            [_, (_, before_a)] = await limits(socket, 2)
            assert before_a > 20
            told = await operator.sends(command())
            assert (told["status"], told["limitW"]) == ("accepted", MINIMUM_W)
            # CS02 is not there: its floor of 6 A is kept free for it, 4140 W of the 7560.
            assert await lowered(socket) <= (MINIMUM_W - 4140) / 690 + 6
            await until(controller, "CS01", "dimmed by dso to 7.6 kW until ")
            notice = await operator.until("NotifyChargingLimit")
            assert notice["chargingLimit"]["chargingLimitSource"] == "SO"
            status = controller.status().dimming
            assert status is not None
            assert (status.dimmed, status.limit_w, status.accepted_total) == (True, MINIMUM_W, 1)
            await recorded(controller, 5)
    kinds = [record["kind"] for record in evidence(tmp_path)]
    assert kinds[:5] == ["command", "verdict", "limit", "readings", "decision"]


async def test_what_is_forged_or_said_again_changes_nothing(tmp_path: Path) -> None:
    async with backend() as peer:
        config = configured(tmp_path, peer)
        async with running(config) as controller:
            operator = await attached(peer)
            first = command(1)
            assert (await operator.sends(command(2, author=MALLORY)))["reason"] == "bad-signature"
            assert (await operator.sends(first))["status"] == "accepted"
            assert (await operator.sends(first))["reason"] == "replayed"
            assert (await operator.sends(command(2, None)))["status"] == "accepted"
            await operator.until("ClearedChargingLimit")
            answer = await operator.ask("DataTransfer", {"vendorId": "org.example"})
            assert answer == {"status": "UnknownVendorId"}
            status = controller.status().dimming
            assert status is not None
            assert (status.dimmed, status.accepted_total) == (False, 2)
            assert status.refused_total == {"bad-signature": 1, "replayed": 1}
            [span] = status.spans
            assert span.until is not None


async def test_a_restart_goes_on_under_the_limit_and_obeys_no_old_command(tmp_path: Path) -> None:
    async with backend() as peer:
        config = configured(tmp_path, peer)
        first = command(1)
        async with running(config):
            assert (await (await attached(peer)).sends(first))["status"] == "accepted"
        async with running(config) as controller, station(controller, "CS01") as socket:
            assert [amps for _, amps in await limits(socket, 2)] == [6.0, 0.0]
            operator = await attached(peer)
            assert (await operator.sends(first))["reason"] == "replayed"


async def test_a_limit_from_outside_is_for_the_steerable_alone(tmp_path: Path) -> None:
    profile = {
        "id": 1, "stackLevel": 0, "chargingProfilePurpose": "ChargingStationExternalConstraints",
        "chargingProfileKind": "Absolute",
        "chargingSchedule": [{
            "id": 1, "chargingRateUnit": "W", "chargingSchedulePeriod": [{"startPeriod": 0, "limit": 9000}],
        }],
    }  # fmt: skip
    async with backend() as peer:
        config = configured(tmp_path, peer, source='kind = "ocpp"')
        async with running(config) as controller:
            operator = await attached(peer)
            answer = await operator.ask("SetChargingProfile", {"evseId": 0, "chargingProfile": profile})
            assert answer == {"status": "Accepted"}
            status = controller.status().dimming
            assert status is not None
            assert status.limit_w is not None
            assert round(status.limit_w) == 9000
            assert status.sources == ("dso",)
            notice = await operator.until("NotifyChargingLimit")
            assert notice["chargingLimit"]["chargingLimitSource"] == "CSO"


async def test_a_contact_dims_and_so_does_a_broken_wire_and_a_dead_module(tmp_path: Path) -> None:
    closed = Module()
    closed.inputs = [True]
    async with backend() as peer, trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        serving = await nursery.start(trio.serve_listeners, closed.serve, listeners)
        port = serving[0].socket.getsockname()[1]
        source = f"""
        kind = "contact"
        module = "io"
        settle_s = 0.05
        lost_after_s = 0.3
        [[dimming.contact]]
        name = "W3"
        source = "dso"
        input = 0
        limit_w = 8000
        [[dimming.module]]
        id = "io"
        transport = "tcp"
        driver = "wago-750"
        host = "127.0.0.1"
        port = {port}
        interval_s = 0.05
        """
        async with running(configured(tmp_path, peer, source=source)) as controller:
            status = controller.status().dimming
            assert status is not None
            assert status.dimmed, "nobody knows yet what the contact says"
            await found(controller, lambda status: not status.dimmed)
            closed.inputs = [False]
            assert (await found(controller, lambda status: status.dimmed)).limit_w == 8000
            closed.inputs = [True]
            await found(controller, lambda status: not status.dimmed)
            closed.inputs = None
            assert (await found(controller, lambda status: status.dimmed)).limit_w == 8000
        nursery.cancel_scope.cancel()
    why = [record["body"]["total"]["proof"] for record in evidence(tmp_path) if record["kind"] == "limit"]
    assert why == ["its contacts were not read yet", "W3 on", "its contacts cannot be read"]


async def test_a_display_says_it_and_then_no_longer(tmp_path: Path) -> None:
    async with backend() as peer:
        config = configured(tmp_path, peer, more='displays = true\nlanguage = "en"')
        async with running(config) as controller, station(controller, "CS01") as socket:
            operator = await attached(peer)
            await limits(socket, 2)
            await operator.sends(command(1))
            shown = await transfer(socket)
            assert shown["messageId"] == "dimmed"
            text = json.loads(shown["data"])["text"]
            assert text.startswith("The grid operator limits the charging power until ")
            await operator.sends(command(2, None))
            assert (await transfer(socket))["messageId"] == "dimmedNoMore"
            view = await until(controller, "CS01", "")
            assert view.connected


async def transfer(socket: WebSocketConnection) -> dict[str, Any]:
    """The next DataTransfer that a station gets; limits are taken on the way."""
    while True:
        frame = json.loads(await heard(socket))
        if frame[0] != 2:
            continue
        if frame[2] == "DataTransfer":
            await socket.send_message(f'[3,"{frame[1]}",{{"status":"UnknownVendorId"}}]')
            payload: dict[str, Any] = frame[3]
            return payload
        await socket.send_message(f'[3,"{frame[1]}",{{"status":"Accepted"}}]')
