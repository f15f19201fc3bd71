"""Signed commands on their way through the whole daemon, with files and restarts."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
import trio

from controller.services import policy_service as gatekeeper
from tests.controller.services.test_app import running
from tests.controller.signing.files import write_policy
from tests.controller.signing.house import MALLORY, OLGA, TOM, limit, signed
from tests.controller.signing.test_jws import EC_PEM, flattened
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
            stranger = call_text("m", signed(limit_payload(), MALLORY))
            await expect_refusal(link, stranger, "its key is unknown")
            too_much = call_text("t", signed(limit_payload(17), TOM))
            await expect_refusal(link, too_much, "has no permission for SetChargingProfile 17 A at CS01/1")
            old = limit_payload() | {"customData": limit(made=time.time() - 400)["customData"]}
            await expect_refusal(link, call_text("o", signed(old, TOM)), "400 s before now")
            assert served.has_no_text()
            told = {(each.rule, each.outcome): each.messages_total for each in controller.status().signatures}
            assert told == {("safe-profiles", "forward"): 1, ("safe-profiles", "refuse"): 6}
        async with running(config) as controller, connect_station(controller) as served:
            link = await cpo.accept()
            await expect_refusal(link, good.replace('"good"', '"later"'), "it was received before")
            await expect_forwarded(link, served, call_text("n", signed(limit_payload(12), TOM)))


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


async def test_app_signatures_policy_that_changes_is_in_force_while_links_stay(
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
            with trio.fail_after(5):
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
    other = flattened(json.dumps(VARIABLES).encode(), "RS256", action="SetVariables")  # nobody knows its key
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
            # Where no rule asks for it, a key that nobody knows is no mistake of the message.
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
