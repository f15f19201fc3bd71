"""Whole controllers in a chain, the upper one with a signature policy, and a forger above."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import trio
from trio_websocket import WebSocketConnection

from tests.controller.services.overlay.test_overlay_service import MODE, configured, receive_message, station
from tests.controller.services.test_app import running
from tests.controller.services.test_app_clock import OffsetClock
from tests.controller.services.test_overlay_kill import End
from tests.controller.signing.files import write_policy
from tests.controller.signing.policy_examples import OLGA, TOM, signed
from tests.scenario.link_harness import serve_csms
from tests.scenario.signed_daemon import limit_payload

ANOTHER = '[[station]]\nid = "CS05"\ncircuit = "grid"\nowner = "above"\n'


@asynccontextmanager
async def parent(folder: Path, port: int) -> AsyncIterator[Any]:
    """LC01, whose child is LC02, and CS05 a station of its own."""
    (folder / "LC01").mkdir(exist_ok=True)
    more = f'[signing]\npolicy = "{write_policy(folder)}"\n{ANOTHER}'
    async with running(configured(folder, "LC01", port, "CSMS", "LC02", "overlay", more=more)) as made:
        yield made


@asynccontextmanager
async def chain(folder: Path, port: int) -> AsyncIterator[Any]:
    """CS01, which accepts each command, behind LC02, behind LC01."""
    (folder / "LC02").mkdir(exist_ok=True)
    async with parent(folder, port) as upper, trio.open_nursery() as nursery:
        lower = configured(folder, "LC02", upper.port, "LC01", "CS01", "standard", "ocpp")
        async with running(lower) as child, station(child) as socket:
            served = End(socket)
            nursery.start_soon(served.run)
            yield upper
            nursery.cancel_scope.cancel()


async def commanded(link: WebSocketConnection, number: str, payload: str) -> Any:
    """The answer to a command for CS01."""
    await link.send_message(f'[2,["LC02","CS01"],"CSMS","{number}","SetChargingProfile",{payload}]')
    return await receive_message(link, f'"{number}"')


async def is_refused(link: WebSocketConnection, number: str, payload: str, why: str) -> None:
    kind, _, path, _, code, description, _ = await commanded(link, number, payload)
    assert (kind, path, code) == (4, ["LC01"], "SecurityError")
    assert "rule safe-profiles" in description
    assert why in description


async def passes(link: WebSocketConnection, number: str, payload: str) -> None:
    kind, _, path, *_ = await commanded(link, number, payload)
    assert (kind, path) == (3, ["CS01", "LC02", "LC01"])


def a_good_one(amps: float = 16.0) -> str:
    return signed(limit_payload(amps), TOM).decode()


async def below(link: WebSocketConnection) -> None:
    """Wait until CS01 is there, at the other end of the chain."""
    await receive_message(link, "NotifyNetworkTopology", '"CS01"')


async def test_overlay_forged_or_replayed_command_is_refused(tmp_path: Path) -> None:
    good, other = a_good_one(), a_good_one(15.0)
    async with serve_csms() as backend:
        async with chain(tmp_path, backend.port):
            link = await backend.accept()
            await below(link)
            await is_refused(link, "digit", good.replace("16.0", "16.1"), "it has no valid signature")
            await is_refused(link, "unsigned", json.dumps(limit_payload()), "it is not signed")
            for number, (name, value) in enumerate([('"limit":', "15.9,"), ('"evseId":', "2,")]):
                twice = good.replace(name, f"{name}{value}{name}", 1)
                await is_refused(link, f"dup{number}", twice, "has one name twice")
            await is_refused(link, "much", a_good_one(17.0), "has no permission for SetChargingProfile 17 A")
            await passes(link, "good", good)
            await is_refused(link, "again", good, "it was received before")
        async with chain(tmp_path, backend.port) as upper:
            link = await backend.accept()
            await below(link)
            await is_refused(link, "later", good, "it was received before")
            await passes(link, "other", other)
            overlay = upper.status().overlay
            assert overlay is not None
            assert overlay.dropped_total["refused"] == 1


async def test_overlay_signatures_no_clock_makes_old_command_new(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("controller.services.machine.wall_clock.datetime", OffsetClock)
    monkeypatch.setattr(OffsetClock, "ahead", timedelta(0))
    good, unseen = a_good_one(), a_good_one(14.0)
    async with serve_csms() as backend, chain(tmp_path, backend.port):
        link = await backend.accept()
        await below(link)
        await passes(link, "good", good)
        monkeypatch.setattr(OffsetClock, "ahead", timedelta(hours=1))
        await is_refused(link, "late", unseen, "before now")
        monkeypatch.setattr(OffsetClock, "ahead", timedelta(hours=-1))
        await is_refused(link, "early", unseen, "after now")
        monkeypatch.setattr(OffsetClock, "ahead", timedelta(0))
        await is_refused(link, "again", good, "it was received before")


FALSE = [
    ("CS05", "SecurityError"),  # a station of ours, and away
    ("CSMS", "SecurityError"),
    (["CS05", "LC02"], "SecurityError"),
    ("LC01", "GenericError"),  # the controller itself
]


@pytest.mark.parametrize(("path", "code"), FALSE)
async def test_child_cannot_send_for_station_of_another_link(tmp_path: Path, path: Any, code: str) -> None:
    async with serve_csms() as backend, parent(tmp_path, backend.port) as controller:
        link = await backend.accept()
        async with station(controller, "LC02", **{MODE.decode(): "OverlayNetwork"}) as child:
            await child.send_message(json.dumps([2, "CSMS", path, "false", "TransactionEvent", {"n": 1}]))
            answer = await receive_message(child, '"false"')
            assert (answer[0], answer[2], answer[4]) == (4, ["LC01"], code)
            await child.send_message(json.dumps([2, "CSMS", "CS01", "true", "TransactionEvent", {"n": 2}]))
            asked = await receive_message(link, "TransactionEvent")
            assert (asked[2], asked[5]) == (["CS01", "LC02", "LC01"], {"n": 2})


async def test_overlay_signatures_child_does_not_command_sister_or_controller(tmp_path: Path) -> None:
    async with serve_csms() as backend, parent(tmp_path, backend.port) as controller:
        await backend.accept()
        async with station(controller, "LC02", **{MODE.decode(): "OverlayNetwork"}) as child:
            limit = signed(limit_payload(), OLGA)
            for number, (to, code) in enumerate([("LC01", "NotSupported"), ("CS05", "GenericError")]):
                frame = f'[2,"{to}","LC02","c{number}","SetChargingProfile",{limit.decode()}]'
                await child.send_message(frame)
                assert (await receive_message(child, f'"c{number}"'))[4] == code
