"""Signed messages of a station whose backend is away, through the whole daemon."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from trio_websocket import WebSocketConnection

from controller.ocpp.frames import Version
from controller.signing import signature_format, signing_keys
from controller.signing.payload_signatures import key_id, verify_payload
from controller.signing.signature_format import Direction, MessageKind
from controller.signing.signing_keys import write_key_file
from tests.controller.services.test_app import running
from tests.controller.signing.authors import compact
from tests.controller.signing.files import write_policy
from tests.controller.signing.policy_examples import TINA, signed
from tests.scenario.link_harness import receive_text
from tests.scenario.signed_daemon import call_text, configure, connect_station, serve_csms_servers

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


async def next_call_of(link: WebSocketConnection, action: str) -> str:
    """Return the payload's text of the next such CALL; CALLs before it are accepted."""
    while True:
        text = await receive_text(link)
        frame = json.loads(text)
        if frame[0] == 2:
            await link.send_message(json.dumps([3, frame[1], ACCEPTED if "Boot" in frame[2] else {}]))
            if frame[2] == action:
                return text[text.index("{") : -1]


async def test_app_queued_message_keeps_its_authors_signature(tmp_path: Path) -> None:
    file = write_key_file(
        tmp_path / "keys", "lc", signing_keys.new_private_key("secp256r1", "lc", 0, time.time() + 3600)
    )
    write_policy(tmp_path, '[[sign]]\nid = "too"\nactions = ["TransactionEvent"]\npassing = true\n')
    by_station = signed(an_event(1), TINA, action="TransactionEvent", direction=Direction.UP)
    plain = compact(an_event(2, idToken={"idToken": "A1", "type": "ISO14443"}))
    async with serve_csms_servers(1) as (cpo,):
        config = configure(tmp_path, cpo, station=AWAY, key=file)
        async with running(config) as controller, connect_station(controller) as served:
            async with await cpo.accept() as link:
                served.send(call_text("b", compact(BOOT), "BootNotification"))
                await next_call_of(link, "BootNotification")
                assert (await served.receive_answer("b"))[2]["status"] == "Accepted"
                cpo.refuse_status = 503
            served.send(call_text("e1", by_station, "TransactionEvent"))
            assert await served.receive_answer("e1") == [3, "e1", {}]
            served.send(call_text("e2", plain, "TransactionEvent"))
            assert (await served.receive_answer("e2"))[2]["idTokenInfo"]["status"] == "Accepted"
            cpo.refuse_status = None
            link = await cpo.accept()
            for author, sent in ((TINA, by_station), (None, plain)):
                arrived = (await next_call_of(link, "TransactionEvent")).encode()
                before = json.loads(sent).pop("signatures", [])
                assert arrived.startswith(sent.rpartition(b"]}" if author else b"}")[0])
                assert json.loads(arrived)["signatures"][: len(before)] == before
                context = signature_format.context(
                    Version.V201, Direction.UP, MessageKind.REQUEST, "TransactionEvent"
                )
                theirs = {key_id(TINA.key.public_key())} if author else set()
                ours = signing_keys.parse_private_key(file.read_bytes()).known.id
                assert verify_payload(arrived, context, lambda _: True).keys == theirs | {ours}
