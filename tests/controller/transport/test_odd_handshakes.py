"""Upgrade requests as stations in the field send them, byte by byte over a socket, and their answers.

The sources of each stand in `ocpp/quirks.toml` or with the row here.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio

from controller.ocpp.frames import Version
from controller.stations.admission import HandshakeQuirks
from tests.bounds import HANG_S
from tests.scenario.link_harness import LinkHarness, link_harness

HEAD = (
    "Host: lc\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
)
PINNED = HandshakeQuirks(protocol=Version.V16)


@asynccontextmanager
async def asked(site: LinkHarness, target: bytes, headers: str) -> AsyncIterator[str]:
    """The head of the response to a request; the connection stays open inside the block."""
    stream = await trio.open_tcp_stream("127.0.0.1", site.port)
    async with stream:
        await stream.send_all(
            b"GET " + target + b" HTTP/1.1\r\n" + HEAD.encode() + headers.encode() + b"\r\n"
        )
        received = b""
        with trio.fail_after(HANG_S):
            while b"\r\n\r\n" not in received and (chunk := await stream.receive_some()):
                received += chunk
        yield received.partition(b"\r\n\r\n")[0].decode("latin-1")


def subprotocol(head: str) -> str | None:
    found = re.search(r"(?im)^sec-websocket-protocol: *(.*?)\r?$", head)
    return found and found[1]


@pytest.mark.parametrize(
    ("header", "known", "chosen"),
    [
        (
            "Sec-WebSocket-Protocol: ,ocpp2.0.1\r\n",
            HandshakeQuirks(),
            "ocpp2.0.1",
        ),  # KEBA x-series 1.9.0: OCPP.Core#91
        ("Sec-WebSocket-Protocol: ocpp1.6,,\r\n", HandshakeQuirks(), "ocpp1.6"),
        ("sec-websocket-protocol:ocpp1.6 , ocpp2.0.1\r\n", HandshakeQuirks(), "ocpp1.6"),
        ("Sec-WebSocket-Protocol: soap\r\nSec-WebSocket-Protocol: ocpp1.6\r\n", HandshakeQuirks(), "ocpp1.6"),
        ("Sec-WebSocket-Protocol: OCPP1.6\r\n", HandshakeQuirks(), "OCPP1.6"),
        ("Sec-WebSocket-Protocol: ocpp1.6j\r\n", HandshakeQuirks(), "ocpp1.6j"),
        ("", PINNED, None),  # Grizzl-E
        ("Sec-WebSocket-Protocol: \r\n", PINNED, None),
        (
            "Sec-WebSocket-Protocol: ocpp2.0.1, ocpp1.6\r\n",
            HandshakeQuirks(likely=Version.V16),
            "ocpp1.6",
        ),  # FoxESS
    ],
)
async def test_odd_handshakes_versions_are_answered_with_stations_own_names(
    header: str, known: HandshakeQuirks, chosen: str | None
) -> None:
    async with link_harness() as site:
        site.quirks["CS01"] = known
        async with asked(site, b"/ocpp/CS01", header) as head:
            assert head.startswith("HTTP/1.1 101")
            assert subprotocol(head) == chosen
            await site.csms.accept()  # it is served, and its backend dialled, in a version that we know
        assert site.csms.requests[-1].proposed_subprotocols[0] in set(Version)


async def test_handshake_without_version_is_closed_with_the_remedy(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with link_harness() as site, asked(site, b"/ocpp/CS01", "") as head:
        assert head.startswith("HTTP/1.1 101")
    assert "station=CS01 reason=it offers no OCPP version" in caplog.text
    assert "set `protocol` in its [[station]]" in caplog.text


@pytest.mark.parametrize(
    ("station", "target"),
    [
        ("CS01", b"//ocpp/CS01"),
        ("CS01", b"/ocpp/CS01/"),
        ("CS01", b"/ocpp/CS01/CS01"),
        ("CS 02", b"/ocpp/CS%2002"),
        ("CS 02", b"/ocpp/CS%252002"),
        ("CS 02", b"/ocpp/CS+02"),
        ("CS#3", b"/ocpp/CS#3"),
        ("S\u00e4ule", "/ocpp/S\u00e4ule".encode()),
        ("S\u00e4ule", "/ocpp/S\u00e4ule".encode("latin-1")),
        ("S\u00e4ule", b"/ocpp/S%C3%A4ule?key=1"),
    ],
)
async def test_odd_handshakes_station_id_in_any_encoding_is_found(station: str, target: bytes) -> None:
    async with link_harness(**{station: None}) as site:
        async with asked(site, target, "Sec-WebSocket-Protocol: ocpp1.6\r\n") as head:
            assert head.startswith("HTTP/1.1 101")
            await site.csms.accept()
        assert (
            site.csms.requests[-1].path == f"/csms/{quoted(station)}"
        )  # upwards it is written as it must be


def quoted(station: str) -> str:
    return "".join(letter if letter.isalnum() and letter.isascii() else percent(letter) for letter in station)


def percent(letter: str) -> str:
    return "".join(f"%{byte:02X}" for byte in letter.encode())


@pytest.mark.parametrize("target", [b"/CS01", b"/ocpp/x/CS01", b"/ocpp/CS01/CS02", b"/ocpp/CS99", b"/ocpp/"])
async def test_handshake_with_another_path_is_answered_with_the_right_one(target: bytes) -> None:
    async with link_harness() as site, asked(site, target, "Sec-WebSocket-Protocol: ocpp1.6\r\n") as head:
        assert head.startswith("HTTP/1.1 404")
