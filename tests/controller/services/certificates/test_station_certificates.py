"""Certificates of stations renewed over OCPP by the site CA or the owner: a whole daemon and real TLS."""

from __future__ import annotations

import base64
import json
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio
import trio.lowlevel
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509 import ocsp
from trio_websocket import WebSocketConnection, open_websocket_url

from controller.config.loader import read_config
from controller.ocpp.frames import Version
from controller.pki.ca_folder import CaFolder, CaSettings
from controller.pki.certificate_ledger import (
    CertificateState,
    IssuedCertificate,
    RevocationReason,
)
from controller.pki.certificate_messages import StationCertificateScope
from controller.pki.certificate_profiles import Purpose
from controller.pki.certificate_requests import RequestContent, build_request
from controller.pki.issuance import Applicant
from controller.pki.object_ids import ObjectIds
from controller.services import app
from controller.services.app import App
from controller.services.certificates import station_certificates
from tests.bounds import HANG_S
from tests.controller.ocpp import schemas
from tests.controller.pki.examples import common_name
from tests.controller.services.certificates.test_certificate_service import issue_identity, write_site
from tests.scenario.link_harness import CsmsServer, receive_text

DAY_S = 86_400.0


class CertificateSite:
    """A running controller with a site CA, its backend, and the certificate of CS01."""

    def __init__(self, controller: App, ca: CaFolder, backend: CsmsServer, folder: Path) -> None:
        self.controller = controller
        self.ca = ca
        self.csms = backend
        self._folder = folder
        self.pair = issue_identity(ca, "CS01", Applicant(id="CS01", purpose=Purpose.STATION))

    async def wait_state(self, record: IssuedCertificate, state: CertificateState) -> None:
        with trio.fail_after(HANG_S):
            while self.state(record) is not state:  # noqa: ASYNC110 the ledger is a file
                await trio.sleep(0.02)

    def leaf(self) -> x509.Certificate:
        return x509.load_pem_x509_certificates(Path(self.pair).read_bytes())[0]

    def state(self, record: IssuedCertificate) -> CertificateState:
        return self.ca.ledger().state(record.serial, time.time())

    def records(self) -> list[IssuedCertificate]:
        return [each for each in self.ca.ledger() if each.subject == "CS01"]

    @asynccontextmanager
    async def connect_station(
        self, version: Version = Version.V201, pair: str = ""
    ) -> AsyncIterator[CertifiedStation]:
        context = ssl.create_default_context(cafile=str(self.ca.path / "trust.pem"))
        context.load_cert_chain(pair or self.pair)
        url = f"wss://127.0.0.1:{self.controller.port}/ocpp/CS01"
        async with open_websocket_url(url, context, subprotocols=[version]) as socket:
            yield CertifiedStation(socket, version)

    def write_pair(self, key: ec.EllipticCurvePrivateKey, chain: str) -> str:
        pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        file = self._folder / "renewed.pem"
        file.write_bytes(pem + chain.encode())
        return str(file)


class CertifiedStation:
    """A station that signs requests with keys of its own."""

    def __init__(self, socket: WebSocketConnection, version: Version) -> None:
        self._socket = socket
        self._version = version
        self.roots: list[dict[str, Any]] = []

    async def send(self, message_id: str, action: str, payload: Any) -> None:
        await self._socket.send_message(json.dumps([2, message_id, action, payload]))

    async def answer(self, asked: list[Any], payload: Any) -> None:
        await self._socket.send_message(json.dumps([3, asked[1], payload]))

    async def receive(self, *actions: str) -> list[Any]:
        """Return the next CALLRESULT, or the next CALL of one of these actions."""
        while True:
            frame: list[Any] = json.loads(await receive_text(self._socket))
            if frame[0] == 2:
                schemas.check(
                    self._version, schemas.request(self._version, frame[2]), json.dumps(frame[3]).encode()
                )
            if frame[0] == 3 or (frame[0] == 2 and frame[2] in actions):
                return frame

    async def request_certificate(self, message_id: str, name: str = "CS01") -> ec.EllipticCurvePrivateKey:
        key = ec.generate_private_key(ec.SECP256R1())
        csr = build_request(key, common_name(name), RequestContent(), ObjectIds()).decode()
        payload: dict[str, Any] = {"csr": csr}
        if self._version is not Version.V16:
            payload["certificateType"] = "ChargingStationCertificate"
        if self._version is Version.V21:
            payload["requestId"] = 7
        await self.send(message_id, "SignCertificate", payload)
        return key


@asynccontextmanager
async def running(folder: Path, policy: str = "site-ca", **members: Any) -> AsyncIterator[CertificateSite]:
    async with trio.open_nursery() as nursery:
        backend = CsmsServer()
        await nursery.start(backend.run)
        ca, file = write_site(folder, backend.port, pki=f'station_certificates = "{policy}"', **members)
        config, _ = read_config(file)
        yield CertificateSite(await nursery.start(app.run, config), ca, backend, folder)
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("version", list(Version))
async def test_station_renews_certificate_over_open_link(tmp_path: Path, version: Version) -> None:
    async with running(tmp_path) as site:
        async with site.connect_station(version) as station:
            key = await station.request_certificate("1")
            assert (await station.receive())[1:] == ["1", {"status": "Accepted"}]
            command = await station.receive("CertificateSigned")
            assert command[3].get("requestId") == (7 if version is Version.V21 else None)
            old, new = site.records()
            assert site.state(old) is CertificateState.VALID  # it is not installed yet
            await station.answer(command, {"status": "Accepted"})
            # The same connection serves on: a message still passes to the owner.
            await station.send("2", "Heartbeat", {})
            link = await site.csms.accept()
            assert json.loads(await receive_text(link))[1:3] == ["2", "Heartbeat"]
            await site.wait_state(old, CertificateState.REPLACED)
        pair = site.write_pair(key, command[3]["certificateChain"])
        async with site.connect_station(version, pair) as station:
            await station.send("3", "Heartbeat", {})
        assert site.state(new) is CertificateState.VALID


@pytest.mark.parametrize("version", list(Version))
async def test_station_request_goes_to_owner_by_policy(tmp_path: Path, version: Version) -> None:
    async with running(tmp_path, "owner") as site, site.connect_station(version) as station:
        await station.request_certificate("1")
        link = await site.csms.accept()
        assert json.loads(await receive_text(link))[:3] == [2, "1", "SignCertificate"]
        await link.send_message('[3,"1",{"status":"Accepted"}]')
        await link.send_message('[2,"b1","CertificateSigned",{"certificateChain":"x"}]')
        assert (await station.receive())[1:] == ["1", {"status": "Accepted"}]
        assert (await station.receive("CertificateSigned"))[3] == {"certificateChain": "x"}
        assert len(site.records()) == 1


async def test_station_certificates_owner_does_not_touch_what_site_ca_manages(tmp_path: Path) -> None:
    async with running(tmp_path) as site, site.connect_station() as station:
        await station.send("0", "Heartbeat", {})
        link = await site.csms.accept()
        await receive_text(link)
        await link.send_message('[3,"0",{"currentTime":"2026-11-27T00:00:00Z"}]')
        await station.receive()
        root = x509.load_pem_x509_certificate(site.ca.root_pem())
        refused = [
            ("CertificateSigned", {"certificateChain": "x"}, "Rejected"),
            (
                "InstallCertificate",
                {"certificateType": "CSMSRootCertificate", "certificate": "x"},
                "Rejected",
            ),
            ("DeleteCertificate", {"certificateHashData": hash_certificate(root, root)}, "Failed"),
        ]
        for number, (action, payload, status) in enumerate(refused):
            await link.send_message(json.dumps([2, f"r{number}", action, payload]))
            assert json.loads(await receive_text(link)) == [3, f"r{number}", {"status": status}]
        passed = [
            ("CertificateSigned", {"certificateChain": "x", "certificateType": "V2GCertificate"}),
            ("InstallCertificate", install("V2GRootCertificate")),
        ]
        for number, (action, payload) in enumerate(passed):
            await link.send_message(json.dumps([2, f"p{number}", action, payload]))
            command = await answer_until(station, action)
            assert command[3] == payload
            await station.answer(command, {"status": "Accepted"})
            await receive_text(link)


def install(kind: str) -> dict[str, str]:
    return {"certificateType": kind, "certificate": "x"}


def hash_certificate(certificate: x509.Certificate, issuer: x509.Certificate) -> dict[str, str]:
    """Return CertificateHashDataType as another program computes it."""
    request = ocsp.OCSPRequestBuilder().add_certificate(certificate, issuer, hashes.SHA256()).build()
    return {
        "hashAlgorithm": "SHA256",
        "issuerNameHash": request.issuer_name_hash.hex(),
        "issuerKeyHash": request.issuer_key_hash.hex(),
        "serialNumber": f"{request.serial_number:x}",
    }


async def test_station_status_query_is_answered_by_site_ca(tmp_path: Path) -> None:
    async with running(tmp_path) as site, site.connect_station() as station:
        issuing = site.ca.authorities()[0]
        subject = hash_certificate(site.leaf(), issuing)
        subject["responderURL"] = "https://example.org"
        await station.send("1", "GetCertificateStatus", {"ocspRequestData": subject})
        answer = (await station.receive())[2]
        assert answer["status"] == "Accepted"
        response = ocsp.load_der_ocsp_response(base64.b64decode(answer["ocspResult"]))
        assert response.certificate_status is ocsp.OCSPCertStatus.GOOD
        issuing.public_key().verify(  # type: ignore[union-attr, call-arg]
            response.signature,
            response.tbs_response_bytes,
            ec.ECDSA(response.signature_hash_algorithm),  # type: ignore[arg-type]
        )
        foreign = subject | {"issuerNameHash": "00" * 32}
        await station.send("2", "GetCertificateStatus", {"ocspRequestData": foreign})
        link = await site.csms.accept()
        assert json.loads(await receive_text(link))[1:3] == ["2", "GetCertificateStatus"]


async def test_certificate_not_confirmed_is_sent_again_on_next_link(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(station_certificates, "CHECK_S", 0.05)
    monkeypatch.setattr(station_certificates, "TRIGGER_S", 0.5)
    async with running(tmp_path) as site:
        async with site.connect_station() as station:
            await station.request_certificate("1")
            await answer_until(station, "CertificateSigned")
        old, new = site.records()
        assert site.state(old) is CertificateState.VALID
        async with site.connect_station() as station:
            await station.send("2", "Heartbeat", {})
            command = await answer_until(station, "CertificateSigned")
            assert x509.load_pem_x509_certificates(command[3]["certificateChain"].encode())[
                0
            ].serial_number == int(new.serial, 16)


RENEWAL_CALLS = ("GetInstalledCertificateIds", "InstallCertificate", "TriggerMessage")


OTHER_CALLS = (
    "TriggerMessage", "GetVariables", "GetConfiguration", "ClearChargingProfile", "SetChargingProfile",
)  # fmt: skip
"""What a station is also asked at its first connection: one CALL waits for the answer to the other."""


async def answer_until(station: CertifiedStation, action: str) -> list[Any]:
    """Answer what the controller asks by itself until a CALL of `action` arrives."""
    while True:
        asked = await station.receive(*RENEWAL_CALLS, *OTHER_CALLS, action)
        if asked[0] == 2 and asked[2] == action:
            return asked
        if asked[0] == 2:
            await station.answer(asked, {"status": "Accepted"})


async def test_station_that_rejects_certificate_keeps_old_one(tmp_path: Path) -> None:
    async with running(tmp_path) as site, site.connect_station() as station:
        await station.request_certificate("1")
        await station.receive()
        await station.answer(await station.receive("CertificateSigned"), {"status": "Rejected"})
        old, new = site.records()
        await site.wait_state(new, CertificateState.REVOKED)
        assert site.state(old) is CertificateState.VALID


async def test_station_due_for_renewal_is_triggered_and_gets_root(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(station_certificates, "CHECK_S", 0.05)
    monkeypatch.setattr(
        "controller.pki.certificate_ledger.CertificateLedger.due", lambda ledger, utc: list(ledger)
    )
    async with running(tmp_path) as site, site.connect_station() as station:
        await station.send("1", "Heartbeat", {})
        calls: dict[str, Any] = {}
        while not {"InstallCertificate", "TriggerMessage"} <= calls.keys():
            asked = await station.receive(*RENEWAL_CALLS)
            if asked[0] == 2:
                calls[asked[2]] = asked[3]
                await station.answer(asked, {"status": "Accepted"})
        assert calls["InstallCertificate"] == {
            "certificateType": "CSMSRootCertificate",
            "certificate": site.ca.root_pem().decode(),
        }
        assert calls["TriggerMessage"] == {"requestedMessage": "SignChargingStationCertificate"}


ROOT_CALLS = ("GetInstalledCertificateIds", "InstallCertificate", "DeleteCertificate")


def earlier_ca(folder: Path) -> CaFolder:
    """Make a CA with the name of the site's, as after its loss."""
    return CaFolder.create(folder / "earlier", CaSettings(name="depot"), None, time.time())


def root_hash(ca: CaFolder) -> dict[str, str]:
    root = x509.load_pem_x509_certificate(ca.root_pem())
    return hash_certificate(root, root)


@pytest.mark.parametrize("version", list(Version))
async def test_earlier_root_is_deleted_once_present_one_is_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: Version
) -> None:
    monkeypatch.setattr(station_certificates, "CHECK_S", 0.05)
    earlier = root_hash(earlier_ca(tmp_path))
    foreign = earlier | {"issuerNameHash": "00" * 32}
    async with running(tmp_path) as site, site.connect_station(version) as station:
        await station.send("1", "Heartbeat", {})
        calls: list[list[Any]] = []
        while not calls or calls[-1][2] != "DeleteCertificate":
            asked = await station.receive(*ROOT_CALLS, *OTHER_CALLS)
            if asked[0] != 2:
                continue
            answer: dict[str, Any] = {"status": "Accepted"}
            if asked[2] in ROOT_CALLS:
                calls.append(asked)
            if asked[2] == "GetInstalledCertificateIds":
                answer |= installed(version, earlier, foreign)
            await station.answer(asked, answer)
        assert tuple(each[2] for each in calls) == ROOT_CALLS
        assert calls[-1][3] == {"certificateHashData": earlier}


def identity_chain(ca: CaFolder, applicant: Applicant) -> tuple[x509.Certificate, ...]:
    file = Path(issue_identity(ca, applicant.id, applicant))
    return tuple(x509.load_pem_x509_certificates(file.read_bytes()))


def installed(version: Version, *roots: dict[str, str]) -> dict[str, Any]:
    if version is Version.V16:
        return {"certificateHashData": list(roots)}
    kind = "CSMSRootCertificate"
    return {
        "certificateHashDataChain": [{"certificateType": kind, "certificateHashData": each} for each in roots]
    }


async def test_earlier_root_stays_while_listener_is_certified_by_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(station_certificates, "CHECK_S", 0.05)
    ca = earlier_ca(tmp_path)
    server = Applicant(id="gateway", purpose=Purpose.CONTROLLER, hosts=("127.0.0.1",))
    chain = identity_chain(ca, server)
    monkeypatch.setattr(station_certificates, "_read_chain", lambda file: chain)
    async with running(tmp_path) as site, site.connect_station() as station:
        await station.send("1", "Heartbeat", {})
        asked = await station.receive("GetInstalledCertificateIds")
        await station.answer(asked, {"status": "Accepted"} | installed(Version.V201, root_hash(ca)))
        await station.answer(await station.receive("InstallCertificate"), {"status": "Accepted"})
        link = await site.csms.accept()
        await receive_text(link)
        command = [2, "1", "DeleteCertificate", {"certificateHashData": root_hash(ca)}]
        await link.send_message(json.dumps(command))
        assert json.loads(await receive_text(link)) == [3, "1", {"status": "Failed"}]


def test_root_of_public_ca_that_listener_needs_may_not_be_deleted(tmp_path: Path) -> None:
    ca = earlier_ca(tmp_path)
    server = Applicant(id="gateway", purpose=Purpose.CONTROLLER, hosts=("127.0.0.1",))
    scope = StationCertificateScope((), identity_chain(ca, server))
    needed = msgspec.json.encode({"certificateHashData": root_hash(ca)})
    assert scope.refuse_command("DeleteCertificate", needed) == b'{"status":"Failed"}'
    other = msgspec.json.encode({"certificateHashData": root_hash(ca) | {"issuerNameHash": "ab" * 32}})
    assert scope.refuse_command("DeleteCertificate", other) is None


HOSTILE = [
    ("other-name", lambda: request(name="CS02"), "the request is for"),
    ("ten-years", lambda: request(RequestContent(not_after=time.time() + 3650 * DAY_S)), "days"),
    ("not-a-request", lambda: "nonsense", "no certificate request"),
    ("ca", lambda: ca_request(), "asks for a CA"),
    ("expired", lambda: request(RequestContent(not_after=time.time() - 1)), "over already"),
    ("foreign-proof", lambda: forged_request(), "not signed with its own key"),
]


def ca_request() -> str:
    """Return a request for a certificate with which others could be issued."""
    builder = x509.CertificateSigningRequestBuilder().subject_name(common_name("CS01"))
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    signed = builder.sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
    return signed.public_bytes(serialization.Encoding.PEM).decode()


def forged_request() -> str:
    """Return a request whose key was exchanged after it was signed."""
    own, other = (
        x509.load_pem_x509_csr(request().encode()),
        x509.load_pem_x509_csr(request().encode()),
    )
    keys = [
        each.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        for each in (own, other)
    ]
    der = own.public_bytes(serialization.Encoding.DER).replace(*keys)
    pem = base64.encodebytes(der).decode()
    return f"-----BEGIN CERTIFICATE REQUEST-----\n{pem}-----END CERTIFICATE REQUEST-----\n"


def request(content: RequestContent | None = None, name: str = "CS01") -> str:
    key = ec.generate_private_key(ec.SECP256R1())
    return build_request(key, common_name(name), content or RequestContent(), ObjectIds()).decode()


@pytest.mark.parametrize(("case", "make", "why"), HOSTILE, ids=[each[0] for each in HOSTILE])
async def test_hostile_request_is_rejected_and_reaches_no_backend(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, case: str, make: Any, why: str
) -> None:
    async with running(tmp_path) as site, site.connect_station() as station:
        await station.send("1", "SignCertificate", {"csr": make()})
        assert (await station.receive())[2] == {"status": "Rejected"}
        assert why in caplog.text
        assert len(site.records()) == 1
        await station.send("2", "Heartbeat", {})
        link = await site.csms.accept()
        assert json.loads(await receive_text(link))[2] == "Heartbeat"


async def test_flood_of_requests_is_bounded(tmp_path: Path) -> None:
    async with running(tmp_path) as site, site.connect_station() as station:
        statuses = []
        for number in range(5):
            await station.request_certificate(str(number))
            while True:
                frame = await station.receive("CertificateSigned")
                if frame[0] == 3:
                    statuses.append(frame[2]["status"])
                    break
                await station.answer(frame, {"status": "Accepted"})
        assert statuses == ["Accepted"] * 3 + ["Rejected"] * 2


async def test_certificate_revoked_while_it_is_installed_is_not_accepted(tmp_path: Path) -> None:
    async with running(tmp_path) as site, site.connect_station() as station:
        await station.request_certificate("1")
        await station.receive()
        command = await station.receive("CertificateSigned")
        _, new = site.records()
        site.ca.revoke(new.serial, RevocationReason.KEY_COMPROMISE, None, time.time())
        await station.answer(command, {"status": "Accepted"})
        old, _ = site.records()
        await trio.lowlevel.checkpoint()
        assert site.state(new) is CertificateState.REVOKED
        assert site.state(old) is CertificateState.VALID
