"""Messages on the wire, against wsproto on the other side: cut anywhere, fragmented, compressed, or not."""

from __future__ import annotations

import itertools
import random
import zlib
from collections.abc import Iterable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets import frames
from websockets.frames import TEXT, Frame
from wsproto import WSConnection
from wsproto.connection import ConnectionType
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Event,
    Message,
    Ping,
    Pong,
    Request,
    TextMessage,
)
from wsproto.extensions import Extension, PerMessageDeflate

from controller.transport import websocket_protocol
from controller.transport.http_upgrade import CompressionOffer, UpgradeOffer, UpgradeRequest
from controller.transport.websocket_protocol import DEFLATED_TEXT, SMALLEST_DEFLATED, WebSocketProtocol

MOST = 1 << 20
DEFLATES = [
    None,
    PerMessageDeflate(),
    PerMessageDeflate(client_no_context_takeover=True, server_no_context_takeover=True),
    PerMessageDeflate(client_max_window_bits=15, server_max_window_bits=15),
    PerMessageDeflate(client_max_window_bits=9, server_max_window_bits=9),
]
"""What the peer offers, or accepts."""

deflates = st.sampled_from(DEFLATES)
texts = st.text(max_size=2 * SMALLEST_DEFLATED) | st.builds(
    str.__mul__, st.text(min_size=1, max_size=9), st.integers(1, 900)
)
cuts = st.lists(st.integers(1, 50) | st.just(10_000), max_size=40)


def pieces(data: bytes, sizes: Iterable[int]) -> Iterable[bytes]:
    """The data, cut into pieces of these sizes, and the rest in one."""
    for size in sizes:
        if data:
            yield data[:size]
            data = data[size:]
    if data:
        yield data


def fresh(deflate: PerMessageDeflate | None) -> list[Extension]:
    if deflate is None:
        return []
    return [
        PerMessageDeflate(
            deflate.client_no_context_takeover,
            deflate.client_max_window_bits,
            deflate.server_no_context_takeover,
            deflate.server_max_window_bits,
        )
    ]


def station_and_wire(
    deflate: PerMessageDeflate | None, sizes: Iterable[int] = ()
) -> tuple[WSConnection, WebSocketProtocol]:
    """A client peer, and the server's protocol."""
    peer = WSConnection(ConnectionType.CLIENT)
    asked = UpgradeRequest(MOST, compression=True)
    request = peer.send(Request("lc", "/ocpp/CS01", extensions=fresh(deflate), subprotocols=["ocpp1.6"]))
    for piece in pieces(request, sizes):
        assert not asked.is_complete
        asked.receive_data(piece)
    assert (asked.target, asked.subprotocols) == ("/ocpp/CS01", ["ocpp1.6"])
    assert asked.accept("ocpp1.6").status_code == 101
    peer.receive_data(asked.protocol.take_output())
    (accepted,) = peer.events()
    assert isinstance(accepted, AcceptConnection)
    assert accepted.subprotocol == "ocpp1.6"
    assert asked.protocol.uses_deflate == bool(deflate)
    return peer, asked.protocol


def backend_and_wire(
    deflate: PerMessageDeflate | None, sizes: Iterable[int] = ()
) -> tuple[WSConnection, WebSocketProtocol]:
    """A server peer, and the client's protocol."""
    peer = WSConnection(ConnectionType.SERVER)
    asking = UpgradeOffer(
        "ws://csms/CS01", ["ocpp1.6"], b"Basic eA==", MOST, compression=CompressionOffer.BEST
    )
    peer.receive_data(asking.protocol.take_output())
    (request,) = peer.events()
    assert isinstance(request, Request)
    assert (b"authorization", b"Basic eA==") in [
        (name.lower(), value) for name, value in request.extra_headers
    ]
    answer = peer.send(AcceptConnection(subprotocol="ocpp1.6", extensions=fresh(deflate)))
    for piece in pieces(answer, sizes):
        assert not asking.is_complete
        asking.receive_data(piece)
    assert asking.is_complete
    return peer, asking.protocol


SIDES = {"station": station_and_wire, "backend": backend_and_wire}
sides = st.sampled_from(sorted(SIDES))


def fragments(message: str | bytes, sizes: Sequence[int]) -> list[Event]:
    """The message as the peer sends it, a ping before each fragment but the first."""
    events: list[Event] = []
    rest = message
    for size in sizes:
        events += [_event(rest[:size], finished=False), Ping(b"here?")]
        rest = rest[size:]
    return [*events, _event(rest, finished=True)]


def _event(data: str | bytes, *, finished: bool) -> Message:
    if isinstance(data, str):
        return TextMessage(data, message_finished=finished)
    return BytesMessage(data, message_finished=finished)


@given(
    sides,
    deflates,
    st.lists(
        st.tuples(texts | st.binary(max_size=300), st.lists(st.integers(0, 99), max_size=3)),
        max_size=5,
    ),
    cuts,
)
def test_protocol_message_of_a_peer_is_received(
    side: str, deflate: PerMessageDeflate | None, sent: list[tuple[str | bytes, list[int]]], sizes: list[int]
) -> None:
    peer, wire = SIDES[side](deflate, sizes)
    events = [event for message, at in sent for event in fragments(message, at)]
    data = b"".join(peer.send(event) for event in events)
    for piece in pieces(data, sizes):
        wire.receive_data(piece)
    assert list(wire.messages) == [message for message, _ in sent]
    assert (wire.close_cause, wire.is_finished) == (None, False)
    peer.receive_data(wire.take_output())
    pings = [event for event in events if isinstance(event, Ping)]
    assert list(peer.events()) == [Pong(ping.payload) for ping in pings]


@given(sides, deflates, st.lists(texts, max_size=5), cuts)
def test_protocol_sent_text_is_received(
    side: str, deflate: PerMessageDeflate | None, sent: list[str], sizes: list[int]
) -> None:
    peer, wire = SIDES[side](deflate)
    arrived, text = [], ""
    for piece in pieces(b"".join(wire.encode_text(each.encode()) for each in sent), sizes):
        peer.receive_data(piece)
        for event in peer.events():
            assert isinstance(event, TextMessage)
            text += event.data
            if event.message_finished:
                arrived.append(text)
                text = ""
    assert arrived == sent


@given(
    st.sampled_from(sorted(SIDES)), st.one_of(texts, st.sampled_from(["x" * 125, "x" * 126, "é" * 40_000]))
)
def test_protocol_text_is_the_frame_of_the_library(side: str, text: str) -> None:
    _, wire = SIDES[side](None)
    data = text.encode()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(websocket_protocol, "_masking_keys", itertools.repeat(b"\1\2\3\4"))
        patched.setattr(frames.secrets, "token_bytes", lambda _: b"\1\2\3\4")
        assert wire.encode_text(data) == Frame(TEXT, data).serialize(mask=wire._masks)


def test_masking_keys_are_those_of_the_system_each_once(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[bytes] = []

    def urandom(count: int) -> bytes:
        given.append(bytes(range(256)) * (count // 256))
        return given[-1]

    monkeypatch.setattr(websocket_protocol.os, "urandom", urandom)
    keys = websocket_protocol._draw_masking_keys()
    used = [next(keys) for _ in range(websocket_protocol.KEYS_AT_ONCE)]
    assert b"".join(used) == given[0]
    assert len(given) == 1
    next(keys)
    assert len(given) == 2


@given(sides, deflates, st.lists(st.binary(max_size=2 * SMALLEST_DEFLATED), max_size=5), cuts)
def test_protocol_sent_binary_is_received_as_binary(
    side: str, deflate: PerMessageDeflate | None, sent: list[bytes], sizes: list[int]
) -> None:
    peer, wire = SIDES[side](deflate)
    arrived, data = [], b""
    for piece in pieces(b"".join(map(wire.encode_binary, sent)), sizes):
        peer.receive_data(piece)
        for event in peer.events():
            assert isinstance(event, BytesMessage)
            data += event.data
            if event.message_finished:
                arrived.append(data)
                data = b""
    assert arrived == sent


@given(sides, deflates, st.binary(max_size=400), cuts)
def test_websocket_protocol_no_bytes_from_peer_bring_it_down(
    side: str, deflate: PerMessageDeflate | None, noise: bytes, sizes: list[int]
) -> None:
    """Any input becomes messages, or an end with a reason; nothing follows the end."""
    _, wire = SIDES[side](deflate)
    for piece in pieces(noise, sizes):
        was_gone, messages = wire.close_cause, len(wire.messages)
        wire.receive_data(piece)
        assert was_gone is None or (wire.close_cause, len(wire.messages)) == (was_gone, messages)
    wire.receive_data(b"")
    assert wire.close_cause is not None
    assert wire.is_finished


@pytest.mark.parametrize("side", SIDES)
def test_deflate_makes_messages_that_resemble_each_other_short(side: str) -> None:
    peer, wire = SIDES[side](DEFLATES[1])
    texts = [
        f'[2,"{number}","MeterValues",{{"connectorId":1,"meterValue":[{"0" * 300}]}}]' for number in "ab"
    ]
    first, second = (wire.encode_text(text.encode()) for text in texts)
    assert len(second) < len(first) < 100
    assert len(wire.encode_text(b"x" * (SMALLEST_DEFLATED - 1))) > SMALLEST_DEFLATED
    peer.receive_data(first + second)
    assert [event.data for event in peer.events() if isinstance(event, TextMessage)] == texts


@pytest.mark.parametrize("side", SIDES)
def test_deflate_message_of_2_kb_refers_to_the_one_before(side: str) -> None:
    _, wire = SIDES[side](PerMessageDeflate(client_max_window_bits=15, server_max_window_bits=15))
    text = random.Random(1).randbytes(1000).hex().encode()
    first, second = wire.encode_text(text), wire.encode_text(text)
    assert len(first) > 1000
    assert len(second) < 100


def deflated(data: bytes) -> bytes:
    """The payload of a deflated message that needs no window of earlier ones."""
    encoder = zlib.compressobj(wbits=-9)
    return (encoder.compress(data) + encoder.flush(zlib.Z_SYNC_FLUSH))[:-4]


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize(
    ("payload", "code"),
    [(b"\xff" * 50, 1002), (deflated(b"x" * (MOST + 1)), 1009), (deflated(b"\xff\xfe"), 1007)],
    ids=["not deflated", "too long", "not UTF-8"],
)
def test_deflated_message_that_is_invalid_fails_the_connection(side: str, payload: bytes, code: int) -> None:
    whole = Frame(TEXT, payload).serialize(mask=side == "station")
    frame = bytes([DEFLATED_TEXT]) + whole[1:]
    causes = []
    for sizes in ([len(frame)], [1, len(frame)]):
        peer, wire = SIDES[side](DEFLATES[1])
        wire.receive_data(peer.send(TextMessage("before")))
        for piece in pieces(frame + peer.send(TextMessage("after")), sizes):
            wire.receive_data(piece)
        assert wire.messages == ["before"]
        peer.receive_data(wire.take_output())
        (closed,) = peer.events()
        assert isinstance(closed, CloseConnection)
        assert closed.code == code
        causes.append(wire.close_cause)
    assert causes[0] is not None
    assert causes[0] == causes[1]


@pytest.mark.parametrize("side", SIDES)
def test_websocket_protocol_close_is_answered_also_in_middle_of_message(side: str) -> None:
    peer, wire = SIDES[side](None)
    wire.receive_data(
        peer.send(TextMessage("begun", message_finished=False)) + peer.send(CloseConnection(1001, "bye"))
    )
    assert wire.close_cause is not None
    assert (wire.close_cause.reason, wire.close_cause.is_clean) == ("closed with 1001, bye", True)
    peer.receive_data(wire.take_output())
    assert list(peer.events()) == [CloseConnection(1001, "bye")]


@pytest.mark.parametrize("side", SIDES)
def test_websocket_protocol_reason_that_is_too_long_for_close_frame_is_cut(side: str) -> None:
    peer, wire = SIDES[side](None)
    wire.send_close(1013, "ü" * 100)
    wire.send_close(1000, "once is enough")
    peer.receive_data(wire.take_output())
    assert list(peer.events()) == [CloseConnection(1013, "ü" * 61)]
