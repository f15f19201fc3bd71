"""Signed commands on their way through the whole daemon, with files and restarts."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
import trio

from controller.services import policy_service as gatekeeper
from tests.controller.services.signed_site import (
    a_limit,
    answer_to,
    backends,
    configured,
    is_refused,
    passes,
    station,
    text_of,
)
from tests.controller.services.test_app import running
from tests.controller.signing.files import write_policy
from tests.controller.signing.house import MALLORY, OLGA, TOM, limit, signed
from tests.controller.signing.test_jws import EC_PEM, flattened


async def test_technicians_limit_passes_untouched_and_no_other_does(tmp_path: Path) -> None:
    write_policy(tmp_path)
    good = text_of("good", signed(a_limit(), TOM))
    async with backends(1) as (cpo,):
        config = configured(tmp_path, cpo)
        async with running(config) as controller, station(controller) as served:
            link = await cpo.link()
            unsigned = text_of("u", json.dumps(a_limit()).encode())
            await is_refused(link, unsigned, "rule safe-profiles: it is not signed")
            await passes(link, served, good)
            await is_refused(link, good.replace('"good"', '"again"'), "it was received before")
            forged = text_of("f", signed(a_limit(15.5), TOM)).replace("15.5", "15.6")
            await is_refused(link, forged, "it has no valid signature")
            stranger = text_of("m", signed(a_limit(), MALLORY))
            await is_refused(link, stranger, "its key is unknown")
            too_much = text_of("t", signed(a_limit(17), TOM))
            await is_refused(link, too_much, "has no permission for SetChargingProfile 17 A at CS01/1")
            old = a_limit() | {"customData": limit(made=time.time() - 400)["customData"]}
            await is_refused(link, text_of("o", signed(old, TOM)), "400 s before now")
            assert served.heard_no_more()
            told = {(each.rule, each.outcome): each.messages_total for each in controller.status().signatures}
            assert told == {("safe-profiles", "forward"): 1, ("safe-profiles", "refuse"): 6}
        async with running(config) as controller, station(controller) as served:
            link = await cpo.link()
            await is_refused(link, good.replace('"good"', '"later"'), "it was received before")
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
async def test_app_signed_commands_by_role(
    tmp_path: Path, who: str, action: str, author: Any, outcome: str
) -> None:
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


async def test_app_signatures_policy_that_changes_is_in_force_while_links_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gatekeeper, "POLL_S", 0.05)
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
            await is_refused(link, text_of("2", json.dumps(other).encode(), action), "certificate is unknown")
            forged = whole | {"payload": other["payload"][:-4] + "AAAA"}
            await is_refused(link, text_of("3", json.dumps(forged).encode(), action), "rule variables")
            # Where no rule asks for it, a key that nobody knows is no mistake of the message.
            unruled = flattened(b"{}", "RS256", action="GetVariables")
            await passes(link, served, text_of("4", json.dumps(unruled).encode(), "GetVariables-Signed"))


@pytest.mark.parametrize("action", ["BinaryDataTransfer", "SecureDataTransfer"])
async def test_app_binary_message_for_others_passes(tmp_path: Path, action: str) -> None:
    write_policy(tmp_path)
    sealed = b'{"ciphertext":"AAECAwQ=","keyId": 7,  "parameter":1}'
    async with backends(1) as (cpo,):
        config = configured(tmp_path, cpo)
        async with running(config) as controller, station(controller) as served:
            await passes(await cpo.link(), served, text_of("1", sealed, action))


async def test_role_that_comes_over_sites_own_link_counts_for_stations(tmp_path: Path) -> None:
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
                await is_refused(own, add, "it was received before")
