"""The controller's own client certificates, renewed by EST and over OCPP; the peers are real servers."""

from __future__ import annotations

import base64
import json
import ssl
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.serialization import pkcs7

from controller.config.loader import check_config, read_config
from controller.pki.ca_folder import CaFolder
from controller.pki.certificate_ledger import RevocationReason
from controller.pki.certificate_profiles import Purpose
from controller.pki.issuance import Applicant
from controller.services import app
from controller.services.certificates.certificate_service import make_server_check
from controller.services.certificates.own_certificates import OwnCertificateService
from tests.controller.services.certificates.test_certificate_service import issue_identity, write_site
from tests.scenario.daemon_driver import RealClock
from tests.scenario.link_harness import CsmsServer, receive_text

LC = Applicant(id="lc", purpose=Purpose.CLIENT)


PAIR = 'certificate = "pki/identities/lc.pem"\nkey = "pki/identities/lc.pem"'


class EstServer:
    """A server that signs requests of clients with a certificate of its CA, or answers `status`."""

    def __init__(self, ca: CaFolder) -> None:
        self.status = 200
        self.peers: list[str] = []
        self._ca = ca
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                outer.answer(self)

            def log_message(self, *args: Any) -> None:
                """Stay silent."""

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(ca.path / "trust.pem"))
        context.verify_mode = ssl.CERT_REQUIRED
        parent = Applicant(id="parent", purpose=Purpose.CONTROLLER, hosts=("127.0.0.1",))
        context.load_cert_chain(issue_identity(ca, "parent", parent))
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.port = self.server.server_address[1]

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        assert handler.path == "/.well-known/est/simplereenroll"
        assert handler.headers["Content-Type"] == "application/pkcs10"
        self.peers.append(str(dict(handler.connection.getpeercert()["subject"][0])))  # type: ignore[attr-defined]
        body = base64.b64decode(handler.rfile.read(int(handler.headers["Content-Length"])))
        if self.status != 200:
            handler.send_response(self.status)
            handler.send_header("Retry-After", "5")
            handler.end_headers()
            return
        chain, _ = self._ca.sign(self._ca.read_request(body), LC, None, time.time())
        certificates = x509.load_pem_x509_certificates(chain)
        answer = base64.encodebytes(pkcs7.serialize_certificates(certificates, serialization.Encoding.DER))
        handler.send_response(200)
        handler.send_header("Content-Type", "application/pkcs7-mime; smime-type=certs-only")
        handler.send_header("Content-Length", str(len(answer)))
        handler.end_headers()
        handler.wfile.write(answer)


@pytest.fixture
def site(tmp_path: Path) -> tuple[CaFolder, Path]:
    ca, file = write_site(tmp_path)
    issue_identity(ca, "lc", LC)
    return ca, file


@pytest.fixture
def est(site: tuple[CaFolder, Path]) -> Iterator[EstServer]:
    server = EstServer(site[0])
    thread = threading.Thread(target=server.server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.server.shutdown()
    server.server.server_close()


def _configure(file: Path, *lines: str) -> None:
    more = "\n".join([PAIR, 'ca = "pki/trust.pem"', *lines])
    text = file.read_text().replace('id = "cpo"\n', f'id = "cpo"\n{more}\n')
    file.write_text(text.replace("ws://127.0.0.1:1/", "wss://127.0.0.1:1/"))


def _serial(ca: CaFolder) -> int:
    file = ca.path / "identities" / "lc.pem"
    return x509.load_pem_x509_certificates(file.read_bytes())[0].serial_number


def _service(file: Path, est: EstServer, *, due: bool = True) -> OwnCertificateService:
    _configure(file, f'est_url = "https://127.0.0.1:{est.port}/.well-known/est"')
    config, _ = read_config(file)
    service = OwnCertificateService(config, lambda action, payload: None, make_server_check(config))
    if due:
        service._is_due = lambda backend: True  # type: ignore[method-assign]
    return service


async def test_own_certificate_is_renewed_by_est(site: tuple[CaFolder, Path], est: EstServer) -> None:
    ca, file = site
    old = _serial(ca)
    await _service(file, est).renew_due()
    assert est.peers == ["{'commonName': 'lc'}"]
    assert _serial(ca) != old
    pair = str(ca.path / "identities" / "lc.pem")
    ssl.create_default_context().load_cert_chain(pair)  # key and certificate fit
    assert not (ca.path / "identities" / "lc.next.key.pem").exists()


async def test_own_certificate_is_not_renewed_by_revoked_server(
    site: tuple[CaFolder, Path], est: EstServer, caplog: pytest.LogCaptureFixture
) -> None:
    ca, file = site
    old = _serial(ca)
    service = _service(file, est)
    serial = next(each.serial for each in ca.ledger() if each.subject == "parent")
    ca.revoke(serial, RevocationReason.KEY_COMPROMISE, None, time.time())
    await service.renew_due()
    assert est.peers == []
    assert _serial(ca) == old
    assert "of parent is revoked" in caplog.text


async def test_own_certificate_not_due_is_left_alone(site: tuple[CaFolder, Path], est: EstServer) -> None:
    await _service(site[1], est, due=False).renew_due()
    assert est.peers == []


@pytest.mark.parametrize("status", [202, 401, 503])
async def test_own_certificate_stays_if_est_does_not_issue_one(
    site: tuple[CaFolder, Path], est: EstServer, caplog: pytest.LogCaptureFixture, status: int
) -> None:
    ca, file = site
    old, est.status = _serial(ca), status
    service = _service(file, est)
    await service.renew_due()
    assert _serial(ca) == old
    assert ("own certificate not renewed" in caplog.text) is (status != 202)
    est.status = 200  # the request that waits is used again
    await service.renew_due()
    assert _serial(ca) != old


async def test_own_certificate_is_renewed_over_ocpp_by_backend(site: tuple[CaFolder, Path]) -> None:
    ca, file = site
    old = _serial(ca)
    async with trio.open_nursery() as nursery:
        backend = CsmsServer()
        parent = Applicant(id="parent", purpose=Purpose.CONTROLLER, hosts=("127.0.0.1",))
        backend.tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        backend.tls.load_cert_chain(issue_identity(ca, "parent", parent))
        await nursery.start(backend.run)
        text = file.read_text().replace('id = "lc"', 'id = "lc"\nbackend = "cpo"\nprotocol = "ocpp2.0.1"')
        file.write_text(text.replace("ws://127.0.0.1:1/", f"wss://127.0.0.1:{backend.port}/"))
        _configure(file, "renew_by_ocpp = true")
        await nursery.start(app.run, read_config(file)[0])
        link = await backend.accept()
        boot = json.loads(await receive_text(link))
        accepted = {"status": "Accepted", "interval": 300, "currentTime": "2026-11-27T00:00:00Z"}
        await link.send_message(json.dumps([3, boot[1], accepted]))
        trigger = {"requestedMessage": "SignChargingStationCertificate"}
        await link.send_message(json.dumps([2, "t", "TriggerMessage", trigger]))
        received = [json.loads(await receive_text(link)) for _ in range(2)]
        assert [3, "t", {"status": "Accepted"}] in received
        request = next(frame for frame in received if frame[0] == 2)
        assert request[2] == "SignCertificate"
        await link.send_message(json.dumps([3, request[1], {"status": "Accepted"}]))
        foreign = {"certificateChain": "nonsense"}
        await link.send_message(json.dumps([2, "bad", "CertificateSigned", foreign]))
        assert json.loads(await receive_text(link)) == [3, "bad", {"status": "Rejected"}]
        chain, _ = ca.sign(ca.read_request(request[3]["csr"].encode()), LC, None, time.time())
        await link.send_message(
            json.dumps([2, "good", "CertificateSigned", {"certificateChain": chain.decode()}])
        )
        assert json.loads(await receive_text(link)) == [3, "good", {"status": "Accepted"}]
        assert _serial(ca) != old
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("lines", "what"),
    [
        (f'est_url = "https://x/est"\n{PAIR.replace("identities", "")}', "not an identity of [pki]"),
        (f'est_url = "http://x/est"\n{PAIR}', "is not an https URL"),
        (f"renew_by_ocpp = true\n{PAIR}", "needs the link of the site's own identity"),
    ],
)
def test_own_certificates_renewal_that_cannot_work_is_configuration_error(
    tmp_path: Path, lines: str, what: str
) -> None:
    _, file = write_site(tmp_path)
    text = file.read_text().replace('id = "cpo"\n', f'id = "cpo"\n{lines}\n')
    _, errors, _ = check_config(text, "test.toml")
    assert any(what in str(error) for error in errors), errors


async def test_est_url_of_a_reload_is_used_at_once(site: tuple[CaFolder, Path], est: EstServer) -> None:
    ca, file = site
    before = _serial(ca)
    _configure(file)
    service = OwnCertificateService(read_config(file)[0], lambda action, payload: None)
    service._is_due = lambda backend: not est.peers  # type: ignore[method-assign]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(service.run)
        await trio.testing.wait_all_tasks_blocked()
        assert est.peers == []
        est_url = f'est_url = "https://127.0.0.1:{est.port}/.well-known/est"'
        file.write_text(file.read_text().replace('id = "cpo"\n', f'id = "cpo"\n{est_url}\n'))
        service.set_config(read_config(file)[0])
        await RealClock().wait_until(lambda: _serial(ca) != before, "the certificate is renewed")
        nursery.cancel_scope.cancel()
