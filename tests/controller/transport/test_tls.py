"""TLS to stations and backends over loopback: accepted and rejected peers, changed certificates."""

from __future__ import annotations

import os
import ssl
from contextlib import suppress
from pathlib import Path

import pytest
import trio
from cryptography import x509
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)
from trio_websocket import ConnectionClosed

from controller.transport.byte_transport import ByteTransport
from controller.transport.tls import (
    CHECK_INTERVAL_S,
    RenewedContext,
    TlsError,
    client_tls,
    make_client_context,
    make_server_context,
    server_tls,
)
from tests.bounds import HANG_S
from tests.controller.transport.certificates import DAY, Authority, Pair
from tests.scenario.link_harness import LinkHarness, link_harness, receive_text

CALL = '[2,"1","Heartbeat",{}]'


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def tls(authority: Authority) -> RenewedContext:
    pair = authority.server()
    return server_tls(pair.certificate, pair.key, None)


@pytest.fixture
def mutual(authority: Authority) -> RenewedContext:
    pair = authority.server()
    return server_tls(pair.certificate, pair.key, authority.ca)


async def exchange(site: LinkHarness, station: str, tls: ssl.SSLContext) -> None:
    async with site.connect_station(station, tls=tls) as link:
        backend = await site.csms.accept()
        await link.send_message(CALL)
        assert await receive_text(backend) == CALL


async def cut_off(stream: trio.abc.Stream) -> None:
    """Ask for the upgrade, and see that the connection ends without a word."""
    with trio.fail_after(HANG_S), suppress(trio.BrokenResourceError):
        await stream.send_all(b"GET /ocpp/CS01 HTTP/1.1\r\nHost: lc\r\n\r\n")
        assert await stream.receive_some() == b""


# -- down ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_stations_come_over_tls(
    authority: Authority, tls: RenewedContext, version: ssl.TLSVersion
) -> None:
    theirs = authority.client()
    theirs.minimum_version = theirs.maximum_version = version
    async with link_harness(tls=tls) as site:
        await exchange(site, "CS01", theirs)


def test_tls_below_1_2_is_refused(tls: RenewedContext) -> None:
    assert tls.current(0).minimum_version is ssl.TLSVersion.TLSv1_2


async def test_tls_station_that_sends_plain_to_tls_port_costs_only_itself(
    authority: Authority, tls: RenewedContext, caplog: pytest.LogCaptureFixture
) -> None:
    async with link_harness(tls=tls) as site:
        for _ in range(2):
            await cut_off(await trio.open_tcp_stream("127.0.0.1", site.port))
        await exchange(site, "CS01", authority.client())
        assert site.stats.refused == 2
    assert caplog.text.count("it does not offer TLS at this port (http request)") == 1


# -- mutual TLS (security profile 3) -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("common_name", "alternatives"),
    [
        ("CS01", []),
        ("serial 4711", [x509.DNSName("CS01")]),
        ("serial 4711", [x509.UniformResourceIdentifier("wss://lc.example/ocpp/CS%301")]),
    ],
)
async def test_tls_station_s_certificate_is_for_id(
    authority: Authority, mutual: RenewedContext, common_name: str, alternatives: list[x509.GeneralName]
) -> None:
    async with link_harness(tls=mutual) as site:
        await exchange(site, "CS01", authority.client(authority.issue("cs", common_name, *alternatives)))


async def test_another_station_s_certificate_is_refused_and_both_are_named(
    authority: Authority, mutual: RenewedContext, caplog: pytest.LogCaptureFixture
) -> None:
    theirs = authority.client(authority.issue("cs", "CS02"))
    async with link_harness(tls=mutual) as site:
        refused = await site.expect_rejection("CS01", tls=theirs)
    assert refused.status_code == 403
    assert refused.body == b"its certificate is for 'CS02', not for station 'CS01'\n"
    assert "station=CS01 status=403 reason=its certificate is for 'CS02'" in caplog.text


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("none", "peer did not return a certificate"),
        (
            "other-ca",
            "is not trusted: self-signed certificate in certificate chain|unable to get local issuer",
        ),
        ("expired", "its certificate is not trusted: certificate has expired"),
    ],
)
async def test_tls_without_valid_certificate_accepts_no_station(
    authority: Authority,
    mutual: RenewedContext,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    version: ssl.TLSVersion,
    kind: str,
    reason: str,
) -> None:
    pairs: dict[str, Pair | None] = {
        "none": None,
        "other-ca": Authority(tmp_path, "other").issue("other-ca", "CS01"),
        "expired": authority.issue("old", "CS01", good_for=-DAY),
    }
    theirs = authority.client(pairs[kind])
    theirs.maximum_version = version
    async with link_harness(tls=mutual) as site:
        stream = await trio.open_tcp_stream("127.0.0.1", site.port)
        await cut_off(trio.SSLStream(stream, theirs, server_hostname="127.0.0.1"))
        await exchange(site, "CS01", authority.client(authority.issue("good", "CS01")))
        assert site.stats.accepted == 1
    lines = [
        record.getMessage() for record in caplog.records if "TLS handshake failed" in record.getMessage()
    ]
    assert len(lines) == 1
    assert any(words in lines[0] for words in reason.split("|"))


# -- up ------------------------------------------------------------------------------------------------


async def test_tls_backend_is_reached_with_valid_certificate(authority: Authority) -> None:
    theirs = authority.server("csms").server()
    async with (
        link_harness(upstream_tls=client_tls("cpo", authority.ca, None, None), csms_tls=theirs) as site,
        site.connect_station() as station,
    ):
        backend = await site.csms.accept()
        await station.send_message(CALL)
        assert await receive_text(backend) == CALL


async def test_tls_dial_acknowledges_first_session_ticket_at_once(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a backend without TCP_NODELAY answers the upgrade 40 ms later."""
    asked: list[ByteTransport] = []
    monkeypatch.setattr(ByteTransport, "acknowledge_at_once", lambda transport: asked.append(transport))
    theirs = authority.server().server()
    async with (
        link_harness(upstream_tls=client_tls("cpo", authority.ca, None, None), csms_tls=theirs) as site,
        site.connect_station(),
    ):
        await site.csms.accept()
    assert len(asked) == 1


@pytest.mark.parametrize(
    ("kind", "reason", "remedy"),
    [
        ("other-ca", "its certificate is not trusted: unable to get local issuer certificate", "ca: the"),
        ("expired", "certificate has expired (clock: 20", "the gateway's clock"),
        ("wrong host", "its certificate is not trusted: Hostname mismatch", "the host in url"),
        ("plain", "wrong version number", "check url"),
    ],
)
async def test_tls_unverified_backend_gets_nothing_and_closes_station(
    authority: Authority,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    kind: str,
    reason: str,
    remedy: str,
) -> None:
    servers = {
        "other-ca": Authority(tmp_path, "other").server("other-ca").server(),
        "expired": authority.server("old", good_for=-DAY).server(),
        "wrong host": authority.issue("other", "x", x509.DNSName("other.example")).server(),
        "plain": None,
    }
    upstream_tls = client_tls("cpo", authority.ca, None, None)
    async with (
        link_harness(upstream_tls=upstream_tls, csms_tls=servers[kind]) as site,
        site.connect_station() as station,
    ):
        with pytest.raises(ConnectionClosed):
            await receive_text(station)
        assert site.csms.requests == []
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len(warnings) == 1
    assert "backend unreachable backend=cpo" in warnings[0]
    assert reason in warnings[0].lower() if kind == "plain" else reason in warnings[0]
    assert remedy in warnings[0].partition(" remedy=")[2]


async def test_tls_backend_is_shown_own_certificate(authority: Authority) -> None:
    ours = authority.issue("lc", "lc-depot")
    theirs = authority.server("csms").server(client_ca=authority.ca)
    upstream_tls = client_tls("cpo", authority.ca, ours.certificate, ours.key)
    async with (
        link_harness(upstream_tls=upstream_tls, csms_tls=theirs) as site,
        site.connect_station() as station,
    ):
        backend = await site.csms.accept()
        await station.send_message(CALL)
        assert await receive_text(backend) == CALL


async def test_tls_backend_that_requires_missing_certificate_closes_station(
    authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    theirs = authority.server("csms").server(client_ca=authority.ca)

    async def refuse(stream: trio.SSLStream[trio.SocketStream]) -> None:
        with pytest.raises(trio.BrokenResourceError):
            await stream.do_handshake()
        await trio.aclose_forcefully(stream)

    async with link_harness(upstream_tls=client_tls("cpo", authority.ca, None, None)) as site:
        listeners = await trio.open_ssl_over_tcp_listeners(0, theirs, host="127.0.0.1")
        await site.nursery.start(trio.serve_listeners, refuse, listeners)
        site.csms.port = listeners[0].transport_listener.socket.getsockname()[1]
        async with site.connect_station() as station:
            with pytest.raises(ConnectionClosed):
                await receive_text(station)
    assert "link failed backend=cpo station=CS01" in caplog.text
    assert "did not answer" not in caplog.text


# -- certificates that change --------------------------------------------------------------------------


async def test_tls_new_handshakes_use_newest_certificate_and_open_links_stay(
    authority: Authority, tls: RenewedContext, tmp_path: Path
) -> None:
    async with link_harness(tls=tls, CS02=None) as site, site.connect_station(tls=authority.client()) as old:
        backend = await site.csms.accept()
        newer = Authority(tmp_path, "newer")
        newer.server()  # in place of the pair that is in use
        tls.current(trio.current_time() + CHECK_INTERVAL_S)  # as if the second were over
        await exchange(site, "CS02", newer.client())
        await old.send_message(CALL)
        assert await receive_text(backend) == CALL


def test_tls_files_are_checked_once_a_second(authority: Authority, tls: RenewedContext) -> None:
    first = tls.current(100.0)
    authority.server()
    assert tls.current(100.0 + CHECK_INTERVAL_S / 2) is first
    assert tls.current(100.0 + CHECK_INTERVAL_S) is not first


def test_tls_files_that_stay_same_keep_context(tls: RenewedContext) -> None:
    assert tls.current(0.0) is tls.current(10.0) is tls.current(20.0)


@pytest.mark.parametrize("harm", ["half a pair", "nonsense", "gone", "locked key"])
def test_tls_broken_new_pair_is_reported_once_and_old_one_stays(
    authority: Authority, tls: RenewedContext, tmp_path: Path, caplog: pytest.LogCaptureFixture, harm: str
) -> None:
    first = tls.current(0.0)
    certificate = tmp_path / "server.pem"
    if harm == "half a pair":
        os.replace(authority.server("other").certificate, certificate)
    elif harm == "nonsense":
        certificate.write_text("nonsense")
    elif harm == "locked key":
        pair = authority.server()
        Path(pair.key).write_bytes(locked_key(pair.key))
    else:
        certificate.unlink()
    assert [tls.current(10.0 * look) is first for look in range(1, 4)] == [True] * 3
    assert caplog.text.count("certificate rejected, the previous one stays in use") == 1
    authority.server()
    assert tls.current(50.0) is not first


def test_tls_at_start_broken_pair_is_failure_that_names_files(authority: Authority, tmp_path: Path) -> None:
    one, other = authority.server("one"), authority.server("other")
    with pytest.raises(TlsError, match=r"listen: .*one\.pem, .*other\.key cannot be used: .*mismatch"):
        server_tls(one.certificate, other.key, None)
    with pytest.raises(TlsError, match=r"backend cpo: .*none\.pem cannot be used: No such file"):
        client_tls("cpo", str(tmp_path / "none.pem"), None, None)


def locked_key(file: str) -> bytes:
    """Return the private key in a file with a pass phrase, in PEM."""
    key = load_pem_private_key(Path(file).read_bytes(), None)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))


def test_tls_key_with_pass_phrase_is_error_and_asks_on_no_terminal(
    authority: Authority, tmp_path: Path
) -> None:
    pair = authority.server("locked")
    locked = tmp_path / "locked.key"
    locked.write_bytes(locked_key(pair.key))
    with pytest.raises(TlsError, match="has a pass phrase; remove it"):
        server_tls(pair.certificate, str(locked), None)
    with pytest.raises(TlsError, match="has a pass phrase; remove it"):
        client_tls("cpo", None, pair.certificate, str(locked))


def test_tls_checks_certificates_alike_with_all_releases_of_python(authority: Authority) -> None:
    pair = authority.server()
    server = make_server_context(pair.certificate, pair.key, authority.ca)
    client = make_client_context(authority.ca, None, None)
    for context in (server, client):
        assert not context.verify_flags & ssl.VERIFY_X509_STRICT
