"""Signed meter values (OCMF) by relay and outbox: byte for byte, also over a `kill -9`."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from pyocmf import OCMF
from trio_websocket import ConnectionClosed, WebSocketRequest, open_websocket_url, serve_websocket

from tests.interop.programs import free_port
from tests.scenario.controller_process import ControllerProcess

PATIENCE_S = 120.0
KEY = ec.derive_private_key(11, ec.SECP256R1())
STAMP = "2026-11-27T12:00:00Z"


def sign_reading(kind: str, kwh: str) -> str:
    """Return an OCMF record whose blanks, digits and escapes are those of a meter's firmware."""
    tariff = "0,49 \\u20ac/kWh \\u2014 M\u00fcller\\/S\u00f6hne"
    reading = (
        f'{{"TM":"2026-11-27T12:00:00,000+0000 S","TX":"{kind}","RV":{kwh},"RI":"1-b:1.8.0","RU":"kWh",'
        '"RT":"AC","EF":"","ST":"G"}'
    )
    payload = (
        '{"FV":"1.0", "GI":"ABL SBC-301" , "GS":"808829900001","PG":"T12","MV":"Phoenix Contact","IS":true,'
        f'"IT":"ISO14443","ID":"1F2D3A4F5506C7","IL":"VERIFIED","TT":"{tariff}","RD":[{reading}]}}'
    )
    signature = KEY.sign(payload.encode(), ec.ECDSA(hashes.SHA256())).hex()
    return f'OCMF|{payload}|{{"SA":"ECDSA-secp256r1-SHA256","SD":"{signature}"}}'


def is_genuine(record: str) -> bool:
    """Verify a record by PyPI `pyocmf`, as whoever checks a bill does."""
    key = KEY.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo).hex()
    return bool(OCMF.from_string(record).verify_signature(key))


class Backend:
    """A backend that accepts all and keeps the text of each CALL."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self._received = trio.Event()

    async def serve(self, request: WebSocketRequest) -> None:
        socket = await request.accept(subprotocol=request.proposed_subprotocols[0])
        try:
            while True:
                text = await socket.get_message()
                number, action, payload = json.loads(text)[1:]
                self.texts.append(text)
                self._received.set()
                await socket.send_message(json.dumps([3, number, self._answer(action, payload)]))
        except ConnectionClosed:
            pass

    def _answer(self, action: str, payload: dict[str, Any]) -> dict[str, Any]:
        if action == "BootNotification":
            return {"status": "Accepted", "currentTime": STAMP, "interval": 300}
        if action == "StartTransaction":
            return {"transactionId": 4711, "idTagInfo": {"status": "Accepted"}}
        return {}

    async def wait_texts(self, records: Sequence[str]) -> None:
        """Wait until each record has come."""
        while not all(map(self.find_texts, records)):
            await self._received.wait()
            self._received = trio.Event()

    def find_texts(self, record: str) -> list[str]:
        """Return the texts that hold a record as the station has written it."""
        return [text for text in self.texts if written(record) in text]


def written(record: str) -> str:
    """Return a record as the station's firmware writes it into JSON: escaped as little as possible."""
    return json.dumps(record, ensure_ascii=False)


@asynccontextmanager
async def running(backend: Backend, port: int) -> AsyncIterator[None]:
    async with trio.open_nursery() as nursery:
        await nursery.start(partial(serve_websocket, backend.serve, "127.0.0.1", port, ssl_context=None))
        yield
        nursery.cancel_scope.cancel()


class HandwritingStation:
    """A station that writes its CALLs by hand, with blanks."""

    def __init__(self, socket: Any) -> None:
        self._socket = socket
        self._sent = 0

    async def send(self, action: str, payload: str) -> dict[str, Any]:
        self._sent += 1
        number = f"m{self._sent}"
        await self._socket.send_message(f'[2, "{number}","{action}" ,{payload}]')
        while True:
            frame = json.loads(await self._socket.get_message())
            if frame[0] == 2:
                await self._socket.send_message(json.dumps([3, frame[1], {"status": "Accepted"}]))
            elif frame[1] == number:
                assert frame[0] == 3, frame
                return dict(frame[2])


def values_16(record: str) -> str:
    return (
        f'{{"timestamp":"{STAMP}","sampledValue":[{{"value" : {written(record)},"format":"SignedData",'
        '"context":"Transaction.End"}]}'
    )


def values_2(record: str) -> str:
    return (
        f'{{"timestamp":"{STAMP}","sampledValue":[{{"value":2935.600,"signedMeterValue":{{'
        f'"signedMeterData" : {written(record)},"signingMethod":"","encodingMethod":"OCMF",'
        '"publicKey":""}}]}'
    )


async def charge(station: HandwritingStation, version: str, records: list[str]) -> None:
    """Start a transaction, report a signed value within it, and end it with another."""
    begin, middle, end = records
    boot = '{"chargePointVendor":"V","chargePointModel":"M"}'
    if version == "2.0.1":
        boot = '{"reason":"PowerUp","chargingStation":{"vendorName":"V","model":"M"}}'
        await station.send("BootNotification", boot)
        for number, (kind, reason, record) in enumerate(
            zip(
                ("Started", "Updated", "Ended"),
                ("Authorized", "MeterValuePeriodic", "Local"),
                records,
                strict=True,
            )
        ):
            trigger = "StopAuthorized" if kind == "Ended" else reason
            await station.send(
                "TransactionEvent",
                f'{{"eventType":"{kind}","timestamp":"{STAMP}","triggerReason":"{trigger}","seqNo":{number},'
                f'"transactionInfo":{{"transactionId":"t1"}},"evse":{{"id":1,"connectorId":1}},'
                f'"meterValue":[{values_2(record)}]}}',
            )
        return
    await station.send("BootNotification", boot)
    start = f'{{"connectorId":1,"idTag":"A","meterStart":2935600,"timestamp":"{STAMP}"}}'
    number = (await station.send("StartTransaction", start))["transactionId"]
    for record in (begin, middle):
        await station.send(
            "MeterValues",
            f'{{"connectorId":1,"transactionId":{number},"meterValue":[{values_16(record)}]}}',
        )
    await station.send(
        "StopTransaction",
        f'{{"transactionId":{number},"meterStop":2935700,"timestamp":"{STAMP}","transactionData":[{values_16(end)}]}}',
    )


@pytest.mark.parametrize("version", ["1.6", "2.0.1"])
@pytest.mark.parametrize("away", [False, True], ids=["relayed", "killed-with-outbox"])
async def test_signed_values_reach_backend_byte_for_byte(tmp_path: Path, version: str, *, away: bool) -> None:
    port, backend_port, backend = free_port(), free_port(), Backend()
    controller = ControllerProcess(
        tmp_path,
        f"""
[site]
id = "depot"
[store]
directory = "{tmp_path}"
[listen]
host = "127.0.0.1"
port = {port}
[[backend]]
id = "cpo"
url = "ws://127.0.0.1:{backend_port}/{{station}}"
[[circuit]]
id = "grid"
limit_a = 63
[[station]]
id = "CS01"
circuit = "grid"
owner = "cpo"
when_backend_away = "autonomous"
authorise_when_away = "everyone"
""",
    )
    records = [sign_reading(kind, f"29{k}5.6{k}0") for k, kind in enumerate("BCE")]
    with trio.fail_after(PATIENCE_S):
        await controller.start()
        await controller.ready()
        url = f"ws://127.0.0.1:{port}/ocpp/CS01"
        protocols = [f"ocpp{version}"]
        if not away:
            async with (
                running(backend, backend_port),
                open_websocket_url(url, subprotocols=protocols, disconnect_timeout=2) as socket,
            ):
                await charge(HandwritingStation(socket), version, records)
        else:
            async with open_websocket_url(url, subprotocols=protocols, disconnect_timeout=2) as socket:
                await charge(HandwritingStation(socket), version, records)
                await controller.kill()
            await controller.start()
            await controller.ready()
            async with running(backend, backend_port):
                await backend.wait_texts(records)
        await controller.stop()
    for record in records:
        [text] = backend.find_texts(record)
        assert is_genuine(find_record(json.loads(text)))


def test_signed_values_changed_digit_is_not_genuine() -> None:
    record = sign_reading("B", "2935.600")
    assert is_genuine(record)
    assert not is_genuine(record.replace("2935.600", "2935.601"))


def find_record(frame: list[Any]) -> str:
    """Return the signed record in a CALL."""
    payload = frame[3]
    values = payload.get("meterValue") or payload["transactionData"]
    sample = values[0]["sampledValue"][0]
    return str(
        sample["signedMeterValue"]["signedMeterData"] if "signedMeterValue" in sample else sample["value"]
    )
