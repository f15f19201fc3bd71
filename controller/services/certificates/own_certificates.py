"""Service that renews the controller's own client certificates: by EST, or over OCPP by the site's backend.

    EST     simplereenroll (RFC 7030) with the certificate in use, over TLS
    OCPP    SignCertificate of the site's own identity, CertificateSigned of its backend

A renewal begins when two thirds of the validity are over. The new key is made here; key and certificate are
put into use in one step, and the next handshake shows them. Open connections stay.
"""

from __future__ import annotations

import http.client
import logging
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
import trio

from controller.config import BackendConfig, Config
from controller.ocpp.frames import Version
from controller.ocpp.payloads import read_payload
from controller.pki import PkiError, certificate_messages, est_messages
from controller.pki.certificate_requests import RequestContent
from controller.pki.est_messages import EstPending
from controller.pki.identity_files import IdentityFolder
from controller.pki.object_ids import ObjectIds
from controller.transport.tls import make_checked_context

log = logging.getLogger("controller.pki")

CHECK_S = 3600.0
"""Interval of the search for certificates that are due, and of further tries."""
TIMEOUT_S = 30.0
"""Time that an EST server may take."""


class OwnCertificateService:
    """Renews the client certificates of backends whose files are identities of [pki].

    `post` sends a CALL of the site's own identity to its backend. `find_objection` returns why an EST
    server's certificate is not accepted.
    """

    def __init__(
        self,
        config: Config,
        post: Callable[[str, bytes], None],
        find_objection: Callable[[bytes], str | None] | None = None,
    ) -> None:
        self._post = post
        self._find_objection = find_objection
        self._version = config.site.protocol
        self._folder = IdentityFolder(
            Path(config.pki.folder if config.pki is not None else "") / "identities"
        )
        self._changed = trio.Event()
        self.set_config(config)

    def set_config(self, config: Config) -> None:
        """Renew the certificates of another configuration from now on, those that are due at once."""
        renewed = [each for each in config.backend if each.est_url is not None or each.renew_by_ocpp]
        self._backends = {each.id: each for each in renewed}
        self._changed.set()

    async def run(self) -> None:
        """Renew certificates that are due until cancelled."""
        while True:
            self._changed = trio.Event()
            await self.renew_due()
            with trio.move_on_after(CHECK_S):
                await self._changed.wait()

    async def renew_due(self) -> None:
        """Renew each certificate after two thirds of its validity."""
        for backend in tuple(self._backends.values()):
            try:
                if await trio.to_thread.run_sync(self._is_due, backend):
                    await self._renew(backend)
            except (PkiError, OSError, ValueError, http.client.HTTPException) as error:
                log.warning(
                    "own certificate not renewed backend=%s reason=%s remedy=check the server, "
                    "or renew it by hand: `local-controller pki renew`",
                    backend.id,
                    error,
                )

    def _is_due(self, backend: BackendConfig) -> bool:
        certificate = self._folder.certificate(_identity_of(backend))
        begin = certificate.not_valid_before_utc.timestamp()
        end = certificate.not_valid_after_utc.timestamp()
        return time.time() >= end - (end - begin) / 3

    async def _renew(self, backend: BackendConfig) -> None:
        name = _identity_of(backend)
        request = await trio.to_thread.run_sync(self._make_request, name)
        if backend.renew_by_ocpp:
            self._post("SignCertificate", _sign_certificate(self._version, request))
            log.info("certificate requested backend=%s identity=%s", backend.id, name)
            return
        answer = await trio.to_thread.run_sync(
            _reenroll, backend, request, self._find_objection, abandon_on_cancel=True
        )
        if isinstance(answer, EstPending):
            log.info(
                "certificate not issued yet backend=%s retry_after=%gs", backend.id, answer.retry_after_s
            )
            return
        await trio.to_thread.run_sync(self._import, answer)

    def _make_request(self, name: str) -> bytes:
        return self._folder.new_request(name, self._folder.common_name(name), RequestContent(), ObjectIds())

    def _import(self, chain: bytes) -> None:
        for imported in self._folder.import_certificates(chain, time.time()):
            log.info("own certificate renewed identity=%s serial=%s", imported.name, imported.serial)

    # -- commands of the site's backend -----------------------------------------------------------------

    def answer_command(self, action: str, payload: bytes) -> bytes:
        """Return the response to CertificateSigned or a trigger of the site's backend."""
        if action == "CertificateSigned":
            return self._install(payload)
        backend = next((each for each in self._backends.values() if each.renew_by_ocpp), None)
        if backend is None:
            return b'{"status":"NotImplemented"}'
        try:
            request = self._make_request(_identity_of(backend))
        except PkiError as error:
            log.warning("certificate not requested backend=%s reason=%s", backend.id, error)
            return certificate_messages.REJECTED
        self._post("SignCertificate", _sign_certificate(self._version, request))
        return certificate_messages.ACCEPTED

    def _install(self, payload: bytes) -> bytes:
        """Put the certificate of a CertificateSigned into use if its key waits here."""
        read = read_payload(certificate_messages.CertificateSignedCall, payload)
        try:
            if read is None:
                raise PkiError("the message is invalid")
            self._import(read.certificate_chain.encode())
        except PkiError as error:
            log.warning("certificate of the site's backend rejected reason=%s", error)
            return certificate_messages.REJECTED
        return certificate_messages.ACCEPTED


def _identity_of(backend: BackendConfig) -> str:
    """Return the name of the identity in [pki] that is a backend's client certificate."""
    return Path(backend.certificate or "").stem


def _sign_certificate(version: Version, request: bytes) -> bytes:
    payload = {"csr": request.decode("ascii")}
    if version is not Version.V16:
        payload["certificateType"] = "ChargingStationCertificate"
    return msgspec.json.encode(payload)


def _reenroll(
    backend: BackendConfig, request: bytes, find_objection: Callable[[bytes], str | None] | None
) -> bytes | EstPending:
    """Send a simplereenroll and read its response; blocks. Raises EstError, OSError and HTTPException."""
    parts = urlsplit(backend.est_url or "")
    context = make_checked_context(backend.ca, backend.certificate, backend.key, find_objection)
    connection = http.client.HTTPSConnection(
        parts.hostname or "", parts.port or 443, timeout=TIMEOUT_S, context=context
    )
    try:
        headers = {"Content-Type": est_messages.REQUEST_TYPE, "Content-Transfer-Encoding": "base64"}
        body = est_messages.write_reenroll(request)
        connection.request("POST", f"{parts.path.rstrip('/')}/simplereenroll", body, headers)
        response = connection.getresponse()
        return est_messages.read_response(
            response.status,
            response.getheader("Content-Type", ""),
            response.getheader("Retry-After", ""),
            response.read(est_messages.MAX_RESPONSE_BYTES),
        )
    finally:
        connection.close()
