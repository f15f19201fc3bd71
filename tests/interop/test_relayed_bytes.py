"""Texts pass the installed daemon unchanged in both directions, between third-party programs."""

from __future__ import annotations

from pathlib import Path

import trio
from trio_websocket import WebSocketConnection, open_websocket_url

from tests.interop.programs import CONTROLLER, configuration, free_port, listening, started
from tests.scenario.link_harness import CsmsServer, receive_text

JWS = (
    '{"payload":"eyJ0aW1lc3RhbXAiOiIyMDI2In0","protected":"eyJPQ1BQQWN0aW9uIjoiU2V0Q2hhcmdpbmdQcm9maWxlIn0",'
    '"signature":"MEUCIQ_-Dx0"}'
)

ANSWERED = [
    ("signed", f'[2,"s1","NotifyEvent-Signed",{JWS}]', f'[3,"s1",{JWS}]'),
    ("a signed transaction", f'[2,"s2","TransactionEvent-Signed",{JWS}]', f'[3,"s2",{JWS}]'),
    ("white space", '[2, "w1",\t"DataTransfer" , {"vendorId" : "V"}]', '[ 3,"w1", {"status":"Accepted" } ]'),
    ("numbers", '[2,"n1","DataTransfer",{"a":1.0,"b":1e3,"c":12345678901234567890}]', '[3,"n1",{"x":-0.0}]'),
    ("letters", '[2,"l1","DataTransfer",{"a":"\\u00e4ä\\/€😀"}]', '[3,"l1",{"a":"\\ud83d\\ude00"}]'),
    ("members twice", '[2,"m1","DataTransfer",{"a":1,"a":2}]', '[3,"m1",{"b":1,"b":1}]'),
    ("an unknown action", '[2,"u1","MakeCoffee",{"strength":[[[]]]}]', '[3,"u1",{"cup":null}]'),
    ("no good answer", '[2,"e1","DataTransfer",{}]', '[4,"e1","InternalError","né", {"a": 1}]'),
]
UNANSWERED = [
    ("SEND", '[6,"p1","NotifyPeriodicEventStream",{"id": 1,"data":[{"t":0.50,"v":"1"}]}]'),
    ("SEND, signed", f'[6,"p2","NotifyPeriodicEventStream-Signed",{JWS}]'),
]
COMMANDS = [
    (f'[2,"c1","SetVariables-Signed",{JWS}]', f'[3,"c1",{JWS}]'),
    ('[2,"c2","TriggerMessage", {"requestedMessage":"Heartbeat"}]', '[3,"c2", {"status":"Accepted"}]'),
]


async def test_relayed_bytes_every_text_is_text_that_was_sent(tmp_path: Path) -> None:
    backend, port = CsmsServer(), free_port()
    async with trio.open_nursery() as nursery:
        await nursery.start(backend.run)
        async with started(CONTROLLER, "run", "-c", configuration(tmp_path, port, backend.port)):
            await listening(port)
            url = f"ws://127.0.0.1:{port}/ocpp/CS01"
            async with open_websocket_url(url, subprotocols=["ocpp2.1"]) as station:
                up = await backend.accept()
                await from_the_station(station, up)
                await from_the_backend(station, up)
        nursery.cancel_scope.cancel()


async def from_the_station(station: WebSocketConnection, up: WebSocketConnection) -> None:
    for name, call, answer in ANSWERED:
        await station.send_message(call)
        assert await receive_text(up) == call, name
        await up.send_message(answer)
        assert await next_of_theirs(station) == answer, name
    for name, text in UNANSWERED:
        await station.send_message(text)
        assert await receive_text(up) == text, name
    # The station could not parse the last answer, and reports it.
    complaint = '[5,"e1","FormatViolation","what is cup?",{"of" : "CALLRESULT"}]'
    await station.send_message(complaint)
    assert await receive_text(up) == complaint


async def from_the_backend(station: WebSocketConnection, up: WebSocketConnection) -> None:
    for call, answer in COMMANDS:
        await up.send_message(call)
        assert await next_of_theirs(station) == call
        await station.send_message(answer)
        assert await receive_text(up) == answer
    for text in (UNANSWERED[0][1], '[5,"c2", "GenericError","",{}]'):
        await up.send_message(text)
        assert await next_of_theirs(station) == text


async def next_of_theirs(station: WebSocketConnection) -> str:
    """Return the next text of the backend; the controller's own calls are answered with an error."""
    while True:
        text = await receive_text(station)
        own = own_call(text)
        if own is None:
            return text
        await station.send_message(f'[4,"{own}","NotSupported","",{{}}]')


OWN = ("SetChargingProfile", "GetVariables", "ClearChargingProfile")


def own_call(text: str) -> str | None:
    """The id of a CALL of the controller itself: it sets limits, and asks what the station can take."""
    if any(f'"{action}"' in text for action in OWN):
        return text.split('"')[1]
    return None
