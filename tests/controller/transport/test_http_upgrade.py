"""HTTP before the WebSocket: requests that stations send, and answers that backends give."""

from __future__ import annotations

import pytest

from controller.transport.http_upgrade import CompressionOffer, UpgradeError, UpgradeOffer, UpgradeRequest

GOOD = {
    "Host": "lc",
    "Upgrade": "websocket",
    "Connection": "keep-alive, Upgrade",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Protocol": "ocpp1.6",
}
ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="  # for that key: RFC 6455, 1.3


def request(line: str = "GET /ocpp/CS01 HTTP/1.1", **changed: str | None) -> bytes:
    headers = GOOD | {name.replace("_", "-"): value for name, value in changed.items()}
    lines = [line, *(f"{name}: {value}" for name, value in headers.items() if value is not None), "", ""]
    return "\r\n".join(lines).encode()


def asked(data: bytes) -> UpgradeRequest:
    made = UpgradeRequest(1000, compression=True)
    made.receive_data(data)
    return made


# -- as a server ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "status", "header"),
    [
        (request(), 101, f"Sec-WebSocket-Accept: {ACCEPT}"),
        (request(), 101, "Sec-WebSocket-Protocol: chosen"),
        (request(Upgrade="WebSocket"), 101, ""),
        (request(Upgrade=None), 426, "Upgrade: websocket"),
        (request(Connection="close"), 426, "Sec-WebSocket-Version: 13"),
        (request(Sec_WebSocket_Version="8"), 400, "Sec-WebSocket-Version: 13"),
        (request(Sec_WebSocket_Key=None), 400, ""),
        (request(Sec_WebSocket_Key="short"), 400, ""),
        (request("POST /ocpp/CS01 HTTP/1.1"), 405, "Allow: GET"),
        (request("GET /ocpp/CS01 HTTP/1.0"), 505, ""),
    ],
)
def test_upgrade_request_has_its_answer(data: bytes, status: int, header: str) -> None:
    upgrade = asked(data)
    assert upgrade.accept("chosen").status_code == status
    answer = upgrade.protocol.take_output().decode()
    assert answer.startswith(f"HTTP/1.1 {status} ")
    assert header in answer
    assert upgrade.protocol.is_send_closed == (status != 101)


@pytest.mark.parametrize(
    ("sent", "offered"),
    [
        ("ocpp1.6", ["ocpp1.6"]),
        ("ocpp2.0.1, ocpp1.6", ["ocpp2.0.1", "ocpp1.6"]),
        (",ocpp1.6 ,, ocpp 2", ["", "ocpp1.6", "", "ocpp 2"]),
        (None, []),
    ],
)
def test_http_upgrade_subprotocols_are_reported_as_they_were_sent(
    sent: str | None, offered: list[str]
) -> None:
    upgrade = asked(request(Sec_WebSocket_Protocol=sent))
    assert upgrade.subprotocols == offered
    assert upgrade.accept(None).status_code == 101
    assert b"Sec-WebSocket-Protocol" not in upgrade.protocol.take_output()


@pytest.mark.parametrize(
    ("sent", "target"),
    [
        ("/ocpp/CS%2001?a=b", "/ocpp/CS%2001?a=b"),
        ("/ocpp/Säule", "/ocpp/S%C3%A4ule"),
        ("//ocpp/CS01/", "//ocpp/CS01/"),
    ],
)
def test_request_target_is_reported_as_sent_or_percent_encoded(sent: str, target: str) -> None:
    data = request(f"GET {sent} HTTP/1.1")
    whole, bytewise = asked(data), UpgradeRequest(1000, compression=True)
    for byte in data:
        bytewise.receive_data(bytes([byte]))
    assert whole.target == bytewise.target == target


def test_http_upgrade_refusal_has_status_reason_and_headers() -> None:
    upgrade = asked(request())
    upgrade.reject(401, "who are you, Säule?", [("WWW-Authenticate", 'Basic realm="ocpp"')])
    head, _, body = upgrade.protocol.take_output().decode().partition("\r\n\r\n")
    assert head.startswith("HTTP/1.1 401 Unauthorized\r\n")
    assert 'WWW-Authenticate: Basic realm="ocpp"' in head
    assert f"Content-Length: {len(body.encode())}" in head
    assert body == "who are you, Säule?\n"
    assert upgrade.protocol.is_send_closed


@pytest.mark.parametrize(
    ("data", "answer"),
    [
        (b"nonsense\r\n", b""),
        (b"GET / HTTP/1.1\r\nno colon\r\n", b""),
        (b"GET /" + b"x" * 10_000, b"HTTP/1.1 414 "),
        (b"GET / HTTP/1.1\r\n" + b"X: " + b"x" * 10_000, b"HTTP/1.1 431 "),
        (b"GET / HTTP/1.1\r\n" + b"X: x\r\n" * 1000, b"HTTP/1.1 431 "),
    ],
)
def test_upgrade_invalid_request_is_not_waited_for(data: bytes, answer: bytes) -> None:
    upgrade = UpgradeRequest(1000, compression=True)
    with pytest.raises(UpgradeError):
        upgrade.receive_data(data)
    sent = upgrade.protocol.take_output()
    assert sent.startswith(answer)
    assert bool(sent) == bool(answer)


@pytest.mark.parametrize("upgrade", ["websocket", None])
@pytest.mark.parametrize("early", [b"te\r\n\r\n", b"\x88\x80\0\0\0\0"])
def test_upgrade_with_early_data_that_ends_it_is_rejected(upgrade: str | None, early: bytes) -> None:
    """An invalid frame, and a close frame, in the same segment as the request."""
    received = UpgradeRequest(1000, compression=True)
    with pytest.raises(UpgradeError, match="sent data before the response"):
        received.receive_data(request(Upgrade=upgrade) + early)


def test_upgrade_message_too_long_is_closed_with_the_name_of_its_key() -> None:
    upgrade = asked(request())
    upgrade.accept(None)
    upgrade.protocol.take_output()
    upgrade.protocol.receive_data(b"\x81\xfe\x03\xe9\0\0\0\0" + b"x" * 1001)
    close = upgrade.protocol.take_output()
    assert close[2:4] == (1009).to_bytes(2, "big")
    assert close[4:].decode() == "message longer than 1000 bytes (max_message_bytes)"


def test_upgrade_peer_lost_within_its_request_is_not_waited_for() -> None:
    upgrade = asked(request()[:40])
    with pytest.raises(UpgradeError, match="the peer closed the connection during the handshake"):
        upgrade.receive_data(b"")


# -- as a client ---------------------------------------------------------------------------------------


def asking() -> UpgradeOffer:
    made = UpgradeOffer(
        "wss://csms.example:8443/a%20b?c=d", ["ocpp1.6"], None, 1000, compression=CompressionOffer.NONE
    )
    made._protocol.key = GOOD["Sec-WebSocket-Key"]
    return made


def answer(line: str = "HTTP/1.1 101 Switching Protocols", **changed: str | None) -> bytes:
    headers = {
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Accept": ACCEPT,
        "Sec-WebSocket-Protocol": "ocpp1.6",
    } | {name.replace("_", "-"): value for name, value in changed.items()}
    lines = [line, *(f"{name}: {value}" for name, value in headers.items() if value is not None), "", ""]
    return "\r\n".join(lines).encode()


def test_upgrade_client_requests_the_urls_path() -> None:
    sent = asking().protocol.take_output().decode()
    assert sent.startswith("GET /a%20b?c=d HTTP/1.1\r\nHost: csms.example:8443\r\n")
    assert "Sec-WebSocket-Protocol: ocpp1.6" in sent
    assert "Authorization" not in sent
    assert "Sec-WebSocket-Extensions" not in sent


def test_http_upgrade_messages_that_come_with_answer_are_not_lost() -> None:
    made = asking()
    made.receive_data(answer() + b"\x81\x02hi")
    assert made.is_complete
    assert list(made.protocol.messages) == ["hi"]


def test_http_upgrade_status_line_that_ends_in_bare_line_feed_is_read() -> None:
    made = asking()
    made.receive_data(answer().replace(b"Protocols\r\n", b"Protocols\n") + b"\x81\x02hi")
    assert list(made.protocol.messages) == ["hi"]


def test_http_upgrade_request_line_that_ends_in_bare_line_feed_is_read() -> None:
    upgrade = asked(request().replace(b"HTTP/1.1\r\n", b"HTTP/1.1\n"))
    assert upgrade.target == "/ocpp/CS01"
    assert upgrade.accept("ocpp1.6").status_code == 101


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (answer(Sec_WebSocket_Protocol=None), "it does not support ocpp1.6"),
        (answer(Sec_WebSocket_Protocol="ocpp2.0.1"), "unsupported subprotocol: ocpp2.0.1"),
        (answer(Sec_WebSocket_Accept="wrong"), "invalid Sec-WebSocket-Accept header: wrong"),
        (answer(Sec_WebSocket_Extensions="permessage-deflate"), "no extensions supported"),
        (answer(Upgrade=None), "missing Upgrade header"),
        (b"SSH-2.0-OpenSSH\r\n", "invalid HTTP status line"),
        (b"", "the peer closed the connection during the handshake"),
    ],
)
def test_http_upgrade_invalid_answer_opens_no_websocket(data: bytes, reason: str) -> None:
    with pytest.raises(UpgradeError, match=reason) as failed:
        asking().receive_data(data)
    assert failed.value.answer is None


@pytest.mark.parametrize("end", [{"Content-Length": "4"}, {}])
def test_http_upgrade_refusal_is_reported_with_status(end: dict[str, str]) -> None:
    made = asking()
    lines = ["HTTP/1.1 503 Busy", "Retry-After: 7", *(f"{name}: {value}" for name, value in end.items())]
    data = "\r\n".join([*lines, "", "busy"]).encode()
    if not end:
        made.receive_data(data)  # it is complete when the connection ends
        data = b""
    with pytest.raises(UpgradeError, match="it refused the link with HTTP status 503") as failed:
        made.receive_data(data)
    assert failed.value.answer is not None
    assert failed.value.answer.headers["Retry-After"] == "7"
