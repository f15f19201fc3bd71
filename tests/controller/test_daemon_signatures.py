"""Signed commands on their way through the whole daemon, over real sockets, with files and restarts."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
from trio_websocket import WebSocketConnection, open_websocket_url

from controller import gatekeeper
from controller.config import Config
from controller.config.reading import check_config
from controller.daemon import Daemon
from controller.ocpp.frames import Version
from controller.signing import keys, wire
from controller.signing.key_files import write_new
from controller.signing.signatures import examine, key_id
from controller.signing.wire import Direction, Kind
from tests.controller.links.rig import Backend, heard
from tests.controller.signing.authors import compact
from tests.controller.signing.files import write_policy
from tests.controller.signing.house import MALLORY, OLGA, TINA, TOM, limit, signed
from tests.controller.signing.test_jws import EC_PEM, flattened
from tests.controller.test_daemon import running

OBSERVED = """
[[backend]]
id = "fleet"
url = "ws://127.0.0.1:{fleet}/csms/{{station}}"
commands = ["profiles"]
"""


def configured(
    folder: Path,
    backend: Backend,
    fleet: Backend | None = None,
    site: str = "",
    station: str = "",
    key: Path | None = None,
) -> Config:
    """With a fleet that may set profiles, the owner may not: profiles have one author."""
    commands = "" if fleet is None else 'commands = ["reset", "configuration"]'
    config, mistakes, _ = check_config(
        f"""
        [site]
        id = "lc"
        {site}
        [store]
        directory = "{folder}"
        [listen]
        host = "127.0.0.1"
        port = 0
        [signing]
        policy = "{folder / "signing.toml"}"
        {"" if key is None else f'key = "{key}"'}
        [[backend]]
        id = "cpo"
        url = "ws://127.0.0.1:{backend.port}/csms/{{station}}"
        {commands}
        [[circuit]]
        id = "grid"
        limit_a = 40
        [[station]]
        id = "CS01"
        circuit = "grid"
        owner = "cpo"
        {station}
        {"" if fleet is None else 'observers = ["fleet"]'}
        {"" if fleet is None else OBSERVED.format(fleet=fleet.port)}
        """,
        "test.toml",
    )
    assert mistakes == []
    assert config is not None
    return config


@asynccontextmanager
async def backends(count: int) -> AsyncIterator[list[Backend]]:
    async with trio.open_nursery() as nursery:
        made = [Backend() for _ in range(count)]
        for backend in made:
            await nursery.start(backend.run)
        yield made
        nursery.cancel_scope.cancel()


class Station:
    """It obeys what the controller says by itself, and writes down what it is told else."""

    def __init__(self, socket: WebSocketConnection) -> None:
        self._socket = socket
        self._told, self._hears = trio.open_memory_channel[str](100)
        self._answered, self._answers = trio.open_memory_channel[list[Any]](100)
        self._to_say, self._says = trio.open_memory_channel[str](100)

    async def run(self) -> None:
        while True:
            text = await heard_for_long(self._socket)
            frame = json.loads(text)
            if frame[0] == 2:
                await self._socket.send_message(json.dumps([3, frame[1], {"status": "Accepted"}]))
                if not is_ours(frame):
                    self._told.send_nowait(text)
            else:
                self._answered.send_nowait(frame)

    async def say(self) -> None:
        while True:
            await self._socket.send_message(await self._says.receive())

    def says(self, text: str) -> None:
        self._to_say.send_nowait(text)

    async def answer(self, number: str) -> list[Any]:
        """The answer to what it has said last."""
        with trio.fail_after(5):
            frame = await self._answers.receive()
        assert frame[1] == number
        return frame

    async def hears(self) -> str:
        with trio.fail_after(5):
            return await self._hears.receive()

    def heard_no_more(self) -> bool:
        return self._hears.statistics().current_buffer_used == 0


async def heard_for_long(socket: WebSocketConnection) -> str:
    message = await socket.get_message()
    assert isinstance(message, str)
    return message


def is_ours(frame: list[Any]) -> bool:
    """The controller's own CALLs have UUIDs, as those of observers get; but those here are dated."""
    return len(frame[1]) == 36 and "customData" not in frame[3]


@asynccontextmanager
async def station(controller: Daemon) -> AsyncIterator[Station]:
    url = f"ws://127.0.0.1:{controller.port}/ocpp/CS01"
    async with (
        open_websocket_url(url, subprotocols=["ocpp2.0.1"], disconnect_timeout=2) as socket,
        trio.open_nursery() as nursery,
    ):
        made = Station(socket)
        nursery.start_soon(made.run)
        nursery.start_soon(made.say)
        yield made
        nursery.cancel_scope.cancel()


def a_limit(amps: float = 16.0) -> dict[str, Any]:
    payload = limit(amps, made=time.time())
    payload["chargingProfile"] |= {"chargingProfilePurpose": "TxDefaultProfile"}
    return payload


def text_of(number: str, payload: bytes, action: str = "SetChargingProfile") -> str:
    return f'[2,"{number}","{action}",{payload.decode()}]'


async def answer_to(link: WebSocketConnection, number: str) -> list[Any]:
    while True:
        frame: list[Any] = json.loads(await heard(link))
        if frame[1] == number:
            return frame


async def is_refused(link: WebSocketConnection, text: str, words: str) -> None:
    number = json.loads(text)[1]
    await link.send_message(text)
    kind, _, code, description, _ = await answer_to(link, number)
    assert (kind, code) == (4, "SecurityError")
    assert words in description


async def passes(link: WebSocketConnection, served: Station, text: str) -> None:
    """It arrives byte for byte, and is answered."""
    await link.send_message(text)
    assert await served.hears() == text
    assert (await answer_to(link, json.loads(text)[1]))[0] == 3


async def test_a_technicians_limit_passes_untouched_and_no_other_does(tmp_path: Path) -> None:
    write_policy(tmp_path)
    good = text_of("good", signed(a_limit(), TOM))
    async with backends(1) as (cpo,):
        config = configured(tmp_path, cpo)
        async with running(config) as controller, station(controller) as served:
            link = await cpo.link()
            unsigned = text_of("u", json.dumps(a_limit()).encode())
            await is_refused(link, unsigned, "rule safe-profiles: it is not signed")
            await passes(link, served, good)
            await is_refused(link, good.replace('"good"', '"again"'), "it has been here before")
            forged = text_of("f", signed(a_limit(15.5), TOM)).replace("15.5", "15.6")
            await is_refused(link, forged, "no signature on it counts")
            stranger = text_of("m", signed(a_limit(), MALLORY))
            await is_refused(link, stranger, "its key is not known here")
            too_much = text_of("t", signed(a_limit(17), TOM))
            await is_refused(link, too_much, "may not ask for SetChargingProfile 17 A at CS01/1")
            old = a_limit() | {"customData": limit(made=time.time() - 400)["customData"]}
            await is_refused(link, text_of("o", signed(old, TOM)), "400 s before now")
            assert served.heard_no_more()
            told = {(each.rule, each.outcome): each.messages_total for each in controller.status().signatures}
            assert told == {("safe-profiles", "forward"): 1, ("safe-profiles", "refuse"): 6}
        async with running(config) as controller, station(controller) as served:
            link = await cpo.link()
            await is_refused(link, good.replace('"good"', '"later"'), "it has been here before")
            await passes(link, served, text_of("n", signed(a_limit(12), TOM)))


MATRIX = [
    ("cpo", "Reset", OLGA, "passes"),
    ("cpo", "Reset", TOM, "rule resets: tom"),
    ("cpo", "Reset", None, "rule resets: it is not signed"),
    ("cpo", "SetVariables", None, "passes"),
    ("cpo", "SetChargingProfile", None, "rule safe-profiles: it is not signed"),
    ("fleet", "SetChargingProfile", TOM, "passes"),
    ("fleet", "SetChargingProfile", OLGA, "passes"),
    ("fleet", "SetChargingProfile", None, "rule safe-profiles: it is not signed"),
    ("fleet", "Reset", OLGA, "may not"),
]


@pytest.mark.parametrize(("who", "action", "author", "outcome"), MATRIX)
async def test_who_may_what(tmp_path: Path, who: str, action: str, author: Any, outcome: str) -> None:
    write_policy(
        tmp_path,
        '[[verify]]\nid = "resets"\nactions = ["reset"]\nlinks = ["cpo"]\nrequire = "verifyAny"\n',
    )
    payload = a_limit() if action == "SetChargingProfile" else {"type": "Immediate"}
    body = json.dumps(payload).encode() if author is None else signed(payload, author, action=action)
    async with backends(2) as (cpo, fleet):
        config = configured(tmp_path, cpo, fleet)
        async with running(config) as controller, station(controller) as served:
            links = {"cpo": await cpo.link(), "fleet": await fleet.link()}
            link, text = links[who], text_of("x", body, action)
            await link.send_message(text)
            if outcome == "passes":
                sent, arrived = json.loads(text), json.loads(await served.hears())
                assert (arrived[0], arrived[2:]) == (2, sent[2:])
                assert (await answer_to(link, "x"))[0] == 3
            else:
                kind, _, _, description, _ = await answer_to(link, "x")
                assert kind == 4
                assert outcome in description
                assert served.heard_no_more()


async def test_a_policy_that_changes_is_in_force_while_links_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gatekeeper, "LOOK_S", 0.05)
    write_policy(tmp_path)
    async with backends(1) as (cpo,):
        config = configured(tmp_path, cpo)
        async with running(config) as controller, station(controller) as served:
            link = await cpo.link()
            await passes(link, served, text_of("1", b'{"type":"Immediate"}', "Reset"))
            write_policy(tmp_path, '[[verify]]\nid = "never"\nactions = ["Reset"]\nrequire = "reject"\n')
            with trio.fail_after(5):
                while True:
                    await link.send_message(text_of("2", b'{"type":"Immediate"}', "Reset"))
                    answer = await answer_to(link, "2")
                    if answer[0] == 4:
                        break
                    await trio.sleep(0.02)
            assert "rule never" in answer[3]


JWS_RULES = """
[[key]]
holder = "cso"
certificate = "cso.pem"
[[role]]
id = "cso"
holders = ["cso"]
[[role.may]]
actions = ["SetVariables"]
[[verify]]
id = "variables"
actions = ["SetVariables"]
require = "verifyAny"
roles = ["cso"]
"""
VARIABLES = {
    "setVariableData": [
        {"component": {"name": "C"}, "variable": {"name": "V"}, "attributeValue": "1"},
    ]
}


async def test_ocpps_own_signed_messages_pass_untouched_and_are_verified(tmp_path: Path) -> None:
    (tmp_path / "cso.pem").write_bytes(EC_PEM)
    write_policy(tmp_path, JWS_RULES)
    whole = flattened(json.dumps(VARIABLES).encode(), action="SetVariables")
    other = flattened(json.dumps(VARIABLES).encode(), "RS256", action="SetVariables")  # nobody knows its key
    async with backends(1) as (cpo,):
        config = configured(tmp_path, cpo)
        async with running(config) as controller, station(controller) as served:
            link = await cpo.link()
            action = "SetVariables-Signed"
            await passes(link, served, text_of("1", json.dumps(whole).encode(), action))
            await is_refused(
                link, text_of("2", json.dumps(other).encode(), action), "certificate is not known"
            )
            forged = whole | {"payload": other["payload"][:-4] + "AAAA"}
            await is_refused(link, text_of("3", json.dumps(forged).encode(), action), "rule variables")
            # Where no rule asks for it, a key that nobody knows is no mistake of the message.
            unruled = flattened(b"{}", "RS256", action="GetVariables")
            await passes(link, served, text_of("4", json.dumps(unruled).encode(), "GetVariables-Signed"))


@pytest.mark.parametrize("action", ["BinaryDataTransfer", "SecureDataTransfer"])
async def test_what_is_sealed_for_others_passes(tmp_path: Path, action: str) -> None:
    write_policy(tmp_path)
    sealed = b'{"ciphertext":"AAECAwQ=","keyId": 7,  "parameter":1}'
    async with backends(1) as (cpo,):
        config = configured(tmp_path, cpo)
        async with running(config) as controller, station(controller) as served:
            await passes(await cpo.link(), served, text_of("1", sealed, action))


async def test_a_role_that_comes_over_the_sites_own_link_counts_for_the_stations(tmp_path: Path) -> None:
    write_policy(tmp_path, '[[verify]]\nid = "resets"\nactions = ["Reset"]\nrequire = "verifyAny"\n')
    role = {"id": "helper", "holders": ["tom"], "may": [{"actions": ["Reset"]}]}
    dated = {"userRole": role, "customData": limit(made=time.time())["customData"]}
    add = text_of("add", signed(dated, OLGA, action="AddUserRole"), "AddUserRole")
    reset = signed({"type": "Immediate"}, TOM, action="Reset")
    async with backends(1) as (cpo,):
        config = configured(tmp_path, cpo, site='backend = "cpo"\nprotocol = "ocpp2.0.1"')
        async with running(config) as controller:
            own = await cpo.link()
            async with station(controller) as served:
                link = await cpo.link()
                await is_refused(link, text_of("1", reset, "Reset"), "rule resets: tom")
                await is_refused(own, add.replace('"tom"', '"olga"'), "rule safe-policies")
                await own.send_message(add)
                assert await answer_to(own, "add") == [3, "add", {"status": "Accepted"}]
                await passes(link, served, text_of("2", reset, "Reset"))
        async with running(config) as controller:
            own = await cpo.link()
            async with station(controller) as served:
                await passes(await cpo.link(), served, text_of("3", reset, "Reset"))
                await is_refused(own, add, "it has been here before")


AWAY = 'when_backend_away = "autonomous"\nauthorise_when_away = "everyone"'
BOOT = {"reason": "PowerUp", "chargingStation": {"vendorName": "V", "model": "M"}}
ACCEPTED = {"status": "Accepted", "interval": 300, "currentTime": "2026-01-01T00:00:00Z"}


def an_event(number: int, **members: Any) -> dict[str, Any]:
    return {
        "eventType": "Updated",
        "timestamp": "2026-11-21T12:00:00Z",
        "triggerReason": "MeterValuePeriodic",
        "seqNo": number,
        "transactionInfo": {"transactionId": "t1"},
        **members,
    }


async def call_told(link: WebSocketConnection, action: str) -> str:
    """The payload's text of the next such CALL; the backend accepts whatever comes until then."""
    while True:
        text = await heard(link)
        frame = json.loads(text)
        if frame[0] == 2:
            await link.send_message(json.dumps([3, frame[1], ACCEPTED if "Boot" in frame[2] else {}]))
            if frame[2] == action:
                return text[text.index("{") : -1]


async def test_what_waits_for_a_backend_keeps_its_authors_signature(tmp_path: Path) -> None:
    file = write_new(tmp_path / "keys", "lc", keys.new_private("secp256r1", "lc", 0, time.time() + 3600))
    write_policy(tmp_path, '[[sign]]\nid = "too"\nactions = ["TransactionEvent"]\npassing = true\n')
    by_station = signed(an_event(1), TINA, action="TransactionEvent", direction=Direction.UP)
    plain = compact(an_event(2, idToken={"idToken": "A1", "type": "ISO14443"}))
    async with backends(1) as (cpo,):
        config = configured(tmp_path, cpo, station=AWAY, key=file)
        async with running(config) as controller, station(controller) as served:
            async with await cpo.link() as link:
                served.says(text_of("b", compact(BOOT), "BootNotification"))
                await call_told(link, "BootNotification")
                assert (await served.answer("b"))[2]["status"] == "Accepted"
                cpo.refuse_with = 503
            served.says(text_of("e1", by_station, "TransactionEvent"))
            assert await served.answer("e1") == [3, "e1", {}]
            served.says(text_of("e2", plain, "TransactionEvent"))
            assert (await served.answer("e2"))[2]["idTokenInfo"]["status"] == "Accepted"
            cpo.refuse_with = None
            link = await cpo.link()
            for author, told in ((TINA, by_station), (None, plain)):
                arrived = (await call_told(link, "TransactionEvent")).encode()
                before = json.loads(told).pop("signatures", [])
                assert arrived.startswith(told.rpartition(b"]}" if author else b"}")[0])
                assert json.loads(arrived)["signatures"][: len(before)] == before
                context = wire.context(Version.V201, Direction.UP, Kind.REQUEST, "TransactionEvent")
                theirs = {key_id(TINA.key.public_key())} if author else set()
                ours = keys.read_private(file.read_bytes()).known.id
                assert examine(arrived, context, lambda _: True).keys == theirs | {ours}
