"""Stations with certificates of the site CA, at the port of a whole daemon; and warnings before ends."""

from __future__ import annotations

import base64
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from trio_websocket import (
    ConnectionClosed,
    ConnectionRejected,
    WebSocketConnection,
    open_websocket_url,
)

from controller.backends import pool
from controller.cli.main import main
from controller.config.loader import read_config
from controller.model.expiry import DAY_S, Expiry
from controller.pki.ca_folder import CaFolder, CaSettings
from controller.pki.certificate_ledger import RevocationReason
from controller.pki.certificate_profiles import Purpose
from controller.pki.certificate_requests import RequestContent, build_request
from controller.pki.identity_files import IdentityFolder
from controller.pki.issuance import Applicant
from controller.services import ServiceError, app
from controller.services.app import App
from controller.services.certificates.certificate_service import (
    CertificateService,
    due_expiries,
    find_expiries,
    year_hints,
)
from controller.stations import listener
from tests.bounds import HANG_S
from tests.controller.pki.examples import common_name
from tests.controller.signing.authors import Author
from tests.scenario.link_harness import CsmsServer


def issue_identity(ca: CaFolder, name: str, applicant: Applicant, days: float = 10) -> str:
    """Issue an identity as one file of key and chain; returns the file's name."""
    folder, now = IdentityFolder(ca.path / "identities"), time.time()
    content = RequestContent(not_after=now + days * DAY_S)
    request = folder.new_request(name, applicant.id, content, ca.ids)
    chain, _ = ca.sign(ca.read_request(request), applicant, None, now)
    (imported,) = folder.import_certificates(chain, now)
    return str(imported.file)


def write_site(folder: Path, backend_port: int = 1, days: float = 10, pki: str = "") -> tuple[CaFolder, Path]:
    ca = CaFolder.create(folder / "pki", CaSettings(name="depot", grace_s=0.0), None, time.time())
    server = Applicant(id="gateway", purpose=Purpose.CONTROLLER, hosts=("127.0.0.1",))
    pair = issue_identity(ca, "listener", server, days)
    file = folder / "controller.toml"
    file.write_text(
        f"""
        [site]
        id = "lc"
        [store]
        directory = "{folder}"
        [pki]
        folder = "pki"
        {pki}
        [listen]
        host = "127.0.0.1"
        port = 0
        certificate = "{pair}"
        key = "{pair}"
        client_ca = "pki/trust.pem"
        [[backend]]
        id = "cpo"
        url = "ws://127.0.0.1:{backend_port}/csms/{{station}}"
        [[circuit]]
        id = "grid"
        limit_a = 40
        [[station]]
        id = "CS01"
        circuit = "grid"
        owner = "cpo"
        """
    )
    return ca, file


def _context(ca: CaFolder, pair: str) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(ca.path / "trust.pem"))
    context.load_cert_chain(pair)
    return context


@asynccontextmanager
async def _running(folder: Path) -> AsyncIterator[tuple[App, CaFolder]]:
    async with trio.open_nursery() as nursery:
        backend = CsmsServer()
        await nursery.start(backend.run)
        ca, file = write_site(folder, backend.port)
        config, _ = read_config(file)
        yield await nursery.start(app.run, config), ca
        nursery.cancel_scope.cancel()


async def _rejected(controller: App, context: ssl.SSLContext, station: str = "CS01") -> tuple[int, str]:
    url = f"wss://127.0.0.1:{controller.port}/ocpp/{station}"
    with pytest.raises(ConnectionRejected) as rejected:
        async with open_websocket_url(url, context, subprotocols=["ocpp1.6"]):
            pass
    return rejected.value.status_code, (rejected.value.body or b"").decode()


async def _drain(station: WebSocketConnection) -> None:
    while True:
        await station.get_message()


async def test_revoked_certificate_ends_open_connection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listener, "CERTIFICATE_CHECK_S", 0.1)
    async with _running(tmp_path) as (controller, ca):
        context = _context(ca, issue_identity(ca, "CS01", Applicant(id="CS01", purpose=Purpose.STATION)))
        url = f"wss://127.0.0.1:{controller.port}/ocpp/CS01"
        async with open_websocket_url(url, context, subprotocols=["ocpp1.6"]) as station:
            await trio.sleep(0.3)
            serial = next(each.serial for each in ca.ledger() if each.subject == "CS01")
            ca.revoke(serial, RevocationReason.KEY_COMPROMISE, None, time.time())
            with trio.fail_after(HANG_S), pytest.raises(ConnectionClosed):
                await _drain(station)
        status, reason = await _rejected(controller, context)
        assert status == 403
        assert "is revoked" in reason


async def test_replaced_certificate_is_rejected_and_successor_accepted(tmp_path: Path) -> None:
    async with _running(tmp_path) as (controller, ca):
        station = Applicant(id="CS01", purpose=Purpose.STATION)
        old, new = (
            _context(ca, issue_identity(ca, "old", station)),
            _context(ca, issue_identity(ca, "new", station)),
        )
        status, reason = await _rejected(controller, old)
        assert (status, "is replaced" in reason) == (403, True)
        url = f"wss://127.0.0.1:{controller.port}/ocpp/CS01"
        async with open_websocket_url(url, new, subprotocols=["ocpp1.6"]):
            pass


def write_pair(ca: CaFolder, begin: float, end: float, utc: float) -> str:
    """Write a key and a certificate of CS01, issued at `utc`; returns the file's name."""
    key = ec.generate_private_key(ec.SECP256R1())
    content = RequestContent(not_before=begin, not_after=end)
    request = build_request(key, common_name("CS01"), content, ca.ids)
    station = Applicant(id="CS01", purpose=Purpose.STATION)
    chain, _ = ca.sign(ca.read_request(request), station, None, utc)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (ca.path / "pair.pem").write_bytes(pem + chain)
    return str(ca.path / "pair.pem")


@pytest.mark.parametrize(("begin_days", "end_days"), [(-10, -1), (1, 10)], ids=["expired", "not yet valid"])
async def test_certificate_outside_its_validity_is_rejected_in_handshake(
    tmp_path: Path, begin_days: float, end_days: float
) -> None:
    async with _running(tmp_path) as (controller, ca):
        now = time.time()
        begin, end = now + begin_days * DAY_S, now + end_days * DAY_S
        context = _context(ca, write_pair(ca, begin, end, min(begin, now)))
        await _fails_handshake(controller, context)


async def test_certificate_of_other_ca_with_same_name_is_rejected_in_handshake(tmp_path: Path) -> None:
    async with _running(tmp_path) as (controller, ca):
        other = CaFolder.create(tmp_path / "other", CaSettings(name="depot"), None, time.time())
        pair = issue_identity(other, "CS01", Applicant(id="CS01", purpose=Purpose.STATION))
        await _fails_handshake(controller, _context(ca, pair))


async def _fails_handshake(controller: App, context: ssl.SSLContext) -> None:
    """Expect that the controller ends the handshake with a TLS alert, before any request."""
    with trio.fail_after(HANG_S):
        stream = await trio.open_ssl_over_tcp_stream("127.0.0.1", controller.port, ssl_context=context)
        with pytest.raises(trio.BrokenResourceError) as failed:
            await stream.receive_some(1)
    assert "ALERT" in str(failed.value.__cause__).upper()


async def test_certificate_that_names_foreign_evses_is_rejected(tmp_path: Path) -> None:
    async with _running(tmp_path) as (controller, ca):
        applicant = Applicant(id="CS01", purpose=Purpose.STATION, evses=("1", "7"))
        status, reason = await _rejected(controller, _context(ca, issue_identity(ca, "CS01", applicant)))
        assert status == 403
        assert "EVSEs that CS01 does not have: 7" in reason


async def test_revoked_certificate_of_backend_ends_links(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "CERTIFICATE_CHECK_S", 0.1)
    async with trio.open_nursery() as nursery:
        backend = CsmsServer()
        ca, file = write_site(tmp_path)
        parent = Applicant(id="parent", purpose=Purpose.CONTROLLER, hosts=("127.0.0.1",))
        backend.tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        backend.tls.load_cert_chain(issue_identity(ca, "parent", parent))
        await nursery.start(backend.run)
        text = file.read_text().replace("ws://127.0.0.1:1/", f"wss://127.0.0.1:{backend.port}/")
        file.write_text(text.replace('id = "cpo"', 'id = "cpo"\nca = "pki/trust.pem"'))
        controller = await nursery.start(app.run, read_config(file)[0])
        context = _context(ca, issue_identity(ca, "CS01", Applicant(id="CS01", purpose=Purpose.STATION)))
        url = f"wss://127.0.0.1:{controller.port}/ocpp/CS01"
        async with open_websocket_url(url, context, subprotocols=["ocpp1.6"]):
            link = await backend.accept()
            serial = next(each.serial for each in ca.ledger() if each.subject == "parent")
            ca.revoke(serial, RevocationReason.KEY_COMPROMISE, None, time.time())
            with trio.fail_after(HANG_S), pytest.raises(ConnectionClosed) as closed:
                await _drain(link)
            assert closed.value.reason is not None
            assert closed.value.reason.code == 1008
        status, reason = await _rejected(controller, context)
        assert status >= 400
        assert "is revoked" in reason
        nursery.cancel_scope.cancel()


def test_ledger_that_cannot_be_read_any_more_leaves_last_one(tmp_path: Path) -> None:
    ca, _ = write_site(tmp_path)
    issue_identity(ca, "CS01", Applicant(id="CS01", purpose=Purpose.STATION))
    service = CertificateService(ca.path, {"CS01": ("1",)})
    pem = (ca.path / "identities" / "CS01.pem").read_bytes()
    der = x509.load_pem_x509_certificates(pem)[0].public_bytes(Encoding.DER)
    assert service.find_objection("CS01", der) is None
    (ca.path / "ledger.jsonl").write_text("nonsense\n")
    assert service.find_objection("CS01", der) is None
    assert "path is for" in (service.find_objection("CS02", der) or "")


def test_certificate_service_missing_ca_is_error_at_start(tmp_path: Path) -> None:
    with pytest.raises(ServiceError, match="folder"):
        CertificateService(tmp_path, {})


def test_check_warns_before_certificate_ends(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, file = write_site(tmp_path, days=5)
    assert main(["check", "-c", str(file)]) == 0
    warnings = [line for line in capsys.readouterr().err.splitlines() if "critical:" in line]
    assert any("critical: listen.certificate ends in 5 days; renew it now" in line for line in warnings)


def test_ends_of_all_certificates_are_found_first_one_first(tmp_path: Path) -> None:
    _, file = write_site(tmp_path, days=40)
    ends = find_expiries(read_config(file)[0])
    assert [end.name for end in ends] == [
        "listen.certificate",
        "certificate controller/gateway",
        "listen.client_ca",
        "site CA",
    ]


def test_policy_key_without_end_is_none_of_the_ends(tmp_path: Path) -> None:
    """A key of the policy needs no end: `doctor` and `support-bundle` failed by one without."""
    ever, once = (base64.b64encode(Author().point).decode() for _ in range(2))
    (tmp_path / "signing.toml").write_text(
        f'version = 1\n[[key]]\nholder = "ever"\npublic = "{ever}"\n'
        f'[[key]]\nholder = "once"\npublic = "{once}"\nnot_after = 2031-01-01T00:00:00Z\n'
    )
    (tmp_path / "controller.toml").write_text(
        '[site]\nid = "lc"\n[signing]\npolicy = "signing.toml"\n[[circuit]]\nid = "grid"\nlimit_a = 40\n'
    )
    ends = find_expiries(read_config(tmp_path / "controller.toml")[0])
    assert [each.name for each in ends] == ["key of once"]


@pytest.mark.parametrize(("days", "warns"), [(31, False), (29.9, True), (-1, True)])
def test_end_is_warned_of_from_30_days_before(days: float, warns: bool) -> None:
    end = Expiry(name="listen.certificate", not_after=1e9 + days * DAY_S)
    assert bool(due_expiries([end], 1e9)) is warns


def test_short_certificate_of_site_ca_is_warned_of_when_its_renewal_is_due(tmp_path: Path) -> None:
    ca, file = write_site(tmp_path, days=60)
    issue_identity(ca, "CS01", Applicant(id="CS01", purpose=Purpose.STATION), days=30)
    expiries, now = find_expiries(read_config(file)[0]), time.time()
    assert due_expiries(expiries, now) == []
    (due,) = due_expiries(expiries, now + 21 * DAY_S)
    assert due.name == "certificate station/CS01"


@pytest.mark.parametrize(("days", "names"), [(-1, False), (29, False), (31, True), (364, True), (366, False)])
def test_certificate_service_end_within_year_is_hint_unless_it_is_due(days: int, names: bool) -> None:
    end = Expiry(name="key", not_after=1e9 + days * DAY_S)
    assert bool(year_hints([end], 1e9)) is names
