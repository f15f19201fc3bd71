"""Signed commands on their way through the whole daemon, with files and restarts."""

from __future__ import annotations

import json
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
from trio_websocket import WebSocketConnection

from controller.access.access_records import AuditStored
from controller.cli.main import main
from controller.ocpp.frames import Version
from controller.services.signing import policy_service as gatekeeper
from controller.signing import signature_format
from controller.signing.payload_signatures import KeyId, verify_payload
from controller.signing.replay_cache import ReplayRecord
from controller.signing.signature_format import Direction, MessageKind
from controller.signing.signing_keys import new_private_key, parse_private_key, write_key_file
from controller.store.state_store import StateStore
from tests.bounds import HANG_S
from tests.controller.services.test_app import running
from tests.controller.signing.files import write_policy
from tests.controller.signing.policy_examples import MALLORY, OLGA, TOM, limit, signed
from tests.controller.signing.test_jws import EC_PEM, flattened
from tests.scenario.link_harness import receive_text
from tests.scenario.signed_daemon import (
    call_text,
    configure,
    connect_station,
    expect_forwarded,
    expect_refusal,
    limit_payload,
    receive_answer,
    serve_csms_servers,
)


async def test_technicians_limit_passes_untouched_and_no_other_does(tmp_path: Path) -> None:
    write_policy(tmp_path)
    good = call_text("good", signed(limit_payload(), TOM))
    async with serve_csms_servers(1) as (cpo,):
        config = configure(tmp_path, cpo)
        async with running(config) as controller, connect_station(controller) as served:
            link = await cpo.accept()
            unsigned = call_text("u", json.dumps(limit_payload()).encode())
            await expect_refusal(link, unsigned, "rule safe-profiles: it is not signed")
            await expect_forwarded(link, served, good)
            await expect_refusal(link, good.replace('"good"', '"again"'), "it was received before")
            forged = call_text("f", signed(limit_payload(15.5), TOM)).replace("15.5", "15.6")
            await expect_refusal(link, forged, "it has no valid signature")
            foreign = call_text("m", signed(limit_payload(), MALLORY))
            await expect_refusal(link, foreign, "its key is unknown")
            too_much = call_text("t", signed(limit_payload(17), TOM))
            await expect_refusal(link, too_much, "has no permission for SetChargingProfile 17 A at CS01/1")
            old = limit_payload() | {"customData": limit(made=time.time() - 400)["customData"]}
            await expect_refusal(link, call_text("o", signed(old, TOM)), "400 s before now")
            assert served.has_no_text()
            counts = {
                (each.rule, each.outcome): each.messages_total for each in controller.status().signatures
            }
            assert counts == {("safe-profiles", "forward"): 1, ("safe-profiles", "refuse"): 6}
        async with running(config) as controller, connect_station(controller) as served:
            link = await cpo.accept()
            await expect_refusal(link, good.replace('"good"', '"later"'), "it was received before")
            await expect_forwarded(link, served, call_text("n", signed(limit_payload(12), TOM)))


async def test_app_wait_of_months_is_named_and_shortened_by_a_person(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    write_policy(tmp_path)
    async with serve_csms_servers(1) as (cpo,):
        config = configure(tmp_path, cpo)
        StateStore(Path(config.store.directory)).persist_now([ReplayRecord((), time.time() + 90 * 86_400)])
        file = tmp_path / "site.toml"
        file.write_text(f'[store]\ndirectory = "{config.store.directory}"\n')
        async with running(config) as controller, connect_station(controller):
            link = await cpo.accept()
            waiting = controller.status().signing_wait
            assert waiting is not None
            assert waiting.until is not None
            refused = f"all made until {waiting.until} count as received"
            await expect_refusal(link, call_text("w", signed(limit_payload(), TOM)), refused)
            resume = partial(main, ["policy", "resume", "-c", str(file)])
            assert await trio.to_thread.run_sync(resume) == 0
            assert "wait for signed messages shortened by a person" in caplog.text
            (audit,) = StateStore(Path(config.store.directory)).load(AuditStored)
            assert audit.command == "signing.resume"
            shortened = controller.status().signing_wait
            assert shortened is not None
            assert not shortened.can_shorten
            assert f"made after {shortened.until} are accepted again" in capsys.readouterr().out
            assert await trio.to_thread.run_sync(resume) == 1
            assert "this wait cannot be shortened" in capsys.readouterr().err


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
async def test_app_signed_commands_by_role(
    tmp_path: Path, who: str, action: str, author: Any, outcome: str
) -> None:
    write_policy(
        tmp_path,
        '[[verify]]\nid = "resets"\nactions = ["reset"]\nlinks = ["cpo"]\nrequire = "verifyAny"\n',
    )
    payload = limit_payload() if action == "SetChargingProfile" else {"type": "Immediate"}
    body = json.dumps(payload).encode() if author is None else signed(payload, author, action=action)
    async with serve_csms_servers(2) as (cpo, fleet):
        config = configure(tmp_path, cpo, fleet)
        async with running(config) as controller, connect_station(controller) as served:
            links = {"cpo": await cpo.accept(), "fleet": await fleet.accept()}
            link, text = links[who], call_text("x", body, action)
            await link.send_message(text)
            if outcome == "passes":
                sent, arrived = json.loads(text), json.loads(await served.receive_text())
                assert (arrived[0], arrived[2:]) == (2, sent[2:])
                assert (await receive_answer(link, "x"))[0] == 3
            else:
                kind, _, _, description, _ = await receive_answer(link, "x")
                assert kind == 4
                assert outcome in description
                assert served.has_no_text()


async def test_app_signatures_changed_policy_applies_to_open_links(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gatekeeper, "POLL_S", 0.05)
    write_policy(tmp_path)
    async with serve_csms_servers(1) as (cpo,):
        config = configure(tmp_path, cpo)
        async with running(config) as controller, connect_station(controller) as served:
            link = await cpo.accept()
            await expect_forwarded(link, served, call_text("1", b'{"type":"Immediate"}', "Reset"))
            write_policy(tmp_path, '[[verify]]\nid = "never"\nactions = ["Reset"]\nrequire = "reject"\n')
            with trio.fail_after(HANG_S):
                while True:
                    await link.send_message(call_text("2", b'{"type":"Immediate"}', "Reset"))
                    answer = await receive_answer(link, "2")
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
    other = flattened(json.dumps(VARIABLES).encode(), "RS256", action="SetVariables")  # its key is unknown
    async with serve_csms_servers(1) as (cpo,):
        config = configure(tmp_path, cpo)
        async with running(config) as controller, connect_station(controller) as served:
            link = await cpo.accept()
            action = "SetVariables-Signed"
            await expect_forwarded(link, served, call_text("1", json.dumps(whole).encode(), action))
            await expect_refusal(
                link, call_text("2", json.dumps(other).encode(), action), "certificate is unknown"
            )
            forged = whole | {"payload": other["payload"][:-4] + "AAAA"}
            await expect_refusal(link, call_text("3", json.dumps(forged).encode(), action), "rule variables")
            # Where no rule requires it, an unknown key is no fault of the message.
            unruled = flattened(b"{}", "RS256", action="GetVariables")
            await expect_forwarded(
                link, served, call_text("4", json.dumps(unruled).encode(), "GetVariables-Signed")
            )


@pytest.mark.parametrize("action", ["BinaryDataTransfer", "SecureDataTransfer"])
async def test_app_binary_message_for_others_passes(tmp_path: Path, action: str) -> None:
    write_policy(tmp_path)
    sealed = b'{"ciphertext":"AAECAwQ=","keyId": 7,  "parameter":1}'
    async with serve_csms_servers(1) as (cpo,):
        config = configure(tmp_path, cpo)
        async with running(config) as controller, connect_station(controller) as served:
            await expect_forwarded(await cpo.accept(), served, call_text("1", sealed, action))


async def test_role_that_comes_over_sites_own_link_counts_for_stations(tmp_path: Path) -> None:
    write_policy(tmp_path, '[[verify]]\nid = "resets"\nactions = ["Reset"]\nrequire = "verifyAny"\n')
    role = {"id": "helper", "holders": ["tom"], "may": [{"actions": ["Reset"]}]}
    dated = {"userRole": role, "customData": limit(made=time.time())["customData"]}
    add = call_text("add", signed(dated, OLGA, action="AddUserRole"), "AddUserRole")
    reset = signed({"type": "Immediate"}, TOM, action="Reset")
    async with serve_csms_servers(1) as (cpo,):
        config = configure(tmp_path, cpo, site='backend = "cpo"\nprotocol = "ocpp2.0.1"')
        async with running(config) as controller:
            own = await cpo.accept()
            async with connect_station(controller) as served:
                link = await cpo.accept()
                await expect_refusal(link, call_text("1", reset, "Reset"), "rule resets: tom")
                await expect_refusal(own, add.replace('"tom"', '"olga"'), "rule safe-policies")
                await own.send_message(add)
                assert await receive_answer(own, "add") == [3, "add", {"status": "Accepted"}]
                await expect_forwarded(link, served, call_text("2", reset, "Reset"))
        async with running(config) as controller:
            own = await cpo.accept()
            async with connect_station(controller) as served:
                await expect_forwarded(await cpo.accept(), served, call_text("3", reset, "Reset"))
                await expect_refusal(own, add, "it was received before")


SIGN_ALL_UP = """
[[sign]]
id = "own"
actions = ["*"]
direction = "up"
kinds = ["request", "response", "send"]
"""
SITE_LIMIT = {"stackLevel": 0, "chargingProfileKind": "Absolute"}
PERIODS = {"chargingRateUnit": "A", "chargingSchedulePeriod": [{"startPeriod": 0, "limit": 20.0}]}
START = {"startSchedule": "2026-01-01T00:00:00.000Z"}
SCHEDULE_16 = {
    "chargingProfileId": 7,
    "chargingProfilePurpose": "ChargePointMaxProfile",
    "chargingSchedule": PERIODS | START,
}
SCHEDULE_201 = {
    "id": 7,
    "chargingProfilePurpose": "ChargingStationMaxProfile",
    "chargingSchedule": [{"id": 1} | PERIODS | START],
}
OWN_COMMANDS: dict[Version, list[tuple[str, dict[str, Any]]]] = {
    Version.V16: [
        ("GetConfiguration", {}),
        ("SetChargingProfile", {"connectorId": 0, "csChargingProfiles": SITE_LIMIT | SCHEDULE_16}),
        ("GetCompositeSchedule", {"connectorId": 0, "duration": 600}),
        ("TriggerMessage", {"requestedMessage": "Heartbeat"}),
        ("Reset", {"type": "Soft"}),
    ],
    Version.V201: [
        ("GetVariables", {"getVariableData": [{"component": {"name": "C"}, "variable": {"name": "V"}}]}),
        ("SetChargingProfile", {"evseId": 0, "chargingProfile": SITE_LIMIT | SCHEDULE_201}),
        ("GetCompositeSchedule", {"evseId": 0, "duration": 600}),
        ("TriggerMessage", {"requestedMessage": "Heartbeat"}),
        ("Reset", {"type": "OnIdle"}),
    ],
}


UNSIGNABLE = {Version.V16: [], Version.V201: ["GetCompositeSchedule"]}
"""Answers that WWCP cannot write as OCPP has them: they are sent unsigned, with a warning."""


class SiteBackend:
    """The backend of a site's own identity; it verifies what it receives with the site's key."""

    def __init__(self, link: WebSocketConnection, version: Version, key: KeyId) -> None:
        self._link = link
        self._version = version
        self._key = key
        self.signed: set[tuple[MessageKind, str]] = set()
        self.unsigned: list[str] = []

    async def receive(self, commands: dict[str, str]) -> list[Any]:
        """Return the next message, once its signature was verified; `commands`: action by id."""
        text = await receive_text(self._link)
        frame: list[Any] = json.loads(text)
        assert frame[0] in (2, 3), text
        is_call = frame[0] == 2
        action = frame[2] if is_call else commands[frame[1]]
        kind = MessageKind.REQUEST if is_call else MessageKind.RESPONSE
        context = signature_format.context(self._version, Direction.UP, kind, action)
        payload = text.partition(f'"{action if is_call else frame[1]}",')[2].removesuffix("]")
        free = action == "DataTransfer"
        report = verify_payload(payload.encode(), context, self._key.__eq__, free_data=free)
        if report.keys == {self._key}:
            self.signed.add((kind, action))
        else:
            self.unsigned.append(action)
        return frame

    async def answer(self, frame: list[Any]) -> None:
        answer: dict[str, Any] = {}
        if frame[2] == "BootNotification":
            answer = {"status": "Accepted", "interval": 300, "currentTime": "2026-11-27T08:00:00.000Z"}
        await self._link.send_message(json.dumps([3, frame[1], answer]))

    async def command(self, number: str, action: str, payload: dict[str, Any]) -> None:
        """Send a permitted command, and return once it was answered."""
        dated = payload | {"customData": limit(made=time.time())["customData"]}
        content = signed(dated, OLGA, action=action, version=self._version)
        await self._link.send_message(call_text(number, content, action))
        while True:
            frame = await self.receive({number: action})
            if frame[0] == 3:
                return
            await self.answer(frame)


@pytest.mark.parametrize("version", list(OWN_COMMANDS))
async def test_site_identity_signs_requests_and_answers(
    tmp_path: Path, version: Version, caplog: pytest.LogCaptureFixture
) -> None:
    write_policy(tmp_path, SIGN_ALL_UP)
    file = write_key_file(tmp_path, "lc", new_private_key("secp256r1", "lc", 0.0, 4e9))
    key = parse_private_key(file.read_bytes()).known.id
    site = f'backend = "cpo"\nprotocol = "{version}"'
    async with serve_csms_servers(1) as (cpo,):
        config = configure(tmp_path, cpo, site=site, key=file)
        async with running(config):
            backend = SiteBackend(await cpo.accept(), version, key)
            await backend.answer(await backend.receive({}))
            for number, (action, payload) in enumerate(OWN_COMMANDS[version]):
                await backend.command(f"c{number}", action, payload)
    assert backend.unsigned == UNSIGNABLE[version]
    assert (MessageKind.REQUEST, "BootNotification") in backend.signed
    answered = {action for action, _ in OWN_COMMANDS[version]} - set(UNSIGNABLE[version])
    assert {action for kind, action in backend.signed if kind is MessageKind.RESPONSE} == answered
    for action in UNSIGNABLE[version]:
        assert f"message sent without our signature action={action}" in caplog.text
