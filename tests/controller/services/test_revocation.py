"""Certificates of the site CA that are revoked: servers that the controller connects to are left at once.

Those of stations and of backends are in `test_certificate_service`, that of an MQTT broker in
`tests/interop/test_mqtt_broker`.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import trio

from controller.config.loader import read_config
from controller.config.schema import WebhookConfig
from controller.model.rate_limits import Backoff
from controller.pki.ca_folder import CaFolder
from controller.pki.certificate_ledger import RevocationReason
from controller.pki.certificate_profiles import Purpose
from controller.pki.issuance import Applicant
from controller.services import app
from controller.services.certificates.certificate_service import make_server_check
from controller.services.publishing import webhook_service
from controller.services.publishing.webhook_service import WebhookService
from controller.web.status_model import MeterStatus
from drivers.errors import Cause
from drivers.modbus import tcp_bus
from drivers.reading import Quality
from tests.bounds import HANG_S
from tests.controller.services.certificates.test_certificate_service import issue_identity, write_site
from tests.controller.services.publishing.test_webhook_service import BEGAN, receiving, until_received
from tests.drivers.modbus.test_modbus_tls import secured_meter

METER = """
[[meter]]
id = "grid"
driver = "eastron-sdm630-v2"
transport = "tls"
host = "127.0.0.1"
port = {port}
ca = "pki/trust.pem"
interval_s = 0.1
stale_after_s = 1
"""


def server_context(ca: CaFolder, name: str, purpose: Purpose) -> ssl.SSLContext:
    """Return the TLS context of a server with a certificate of the site CA."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(
        issue_identity(ca, name, Applicant(id=name, purpose=purpose, hosts=("127.0.0.1",)))
    )
    return context


def revoke(ca: CaFolder, name: str) -> None:
    serial = next(each.serial for each in ca.ledger() if each.subject == name)
    ca.revoke(serial, RevocationReason.KEY_COMPROMISE, None, time.time())


async def until(is_met: Callable[[], bool]) -> None:
    with trio.fail_after(HANG_S):
        while not is_met():  # noqa: ASYNC110
            await trio.sleep(0.02)


async def test_revoked_meter_is_lost_and_not_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tcp_bus, "REVOCATION_CHECK_S", 0.1)
    ca, file = write_site(tmp_path)
    with secured_meter(server_context(ca, "meter-1", Purpose.METER)) as port:
        text = file.read_text().replace("limit_a = 40", 'limit_a = 40\nmeter = "grid"\nbase_load_a = 10')
        file.write_text(text + METER.format(port=port))
        async with trio.open_nursery() as nursery:
            controller = await nursery.start(app.run, read_config(file)[0])

            def meter() -> MeterStatus:
                (status,) = controller.status().meters
                return status

            await until(lambda: meter().quality is Quality.GOOD)
            revoke(ca, "meter-1")
            await until(lambda: meter().quality is Quality.DEAD)
            assert meter().cause is Cause.TLS
            assert "of meter-1 is revoked); issue a new one for it" in (meter().problem or "")
            nursery.cancel_scope.cancel()


async def test_webhook_of_revoked_server_is_not_posted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    ca, file = write_site(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(ca.path / "trust.pem"))
    monkeypatch.setattr(webhook_service, "RETRIES", Backoff(first_s=0.01, longest_s=0.01))
    with receiving() as receiver:
        receiver.socket = server_context(ca, "alarms", Purpose.CONTROLLER).wrap_socket(
            receiver.socket, server_side=True
        )
        settings = WebhookConfig(url=receiver.url.replace("http:", "https:"))
        service = WebhookService("lc", settings, make_server_check(read_config(file)[0]))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(service.run)
            service.on_alarm(BEGAN)
            await until_received(receiver, 1)
            revoke(ca, "alarms")
            service.on_alarm(BEGAN)
            await until(lambda: "of alarms is revoked" in caplog.text)
            nursery.cancel_scope.cancel()
        assert len(receiver.requests) == 1


def test_server_check_without_site_ca_is_absent(tmp_path: Path) -> None:
    _, file = write_site(tmp_path)
    assert make_server_check(read_config(file)[0]) is not None
    file.write_text(file.read_text().replace('[pki]\n        folder = "pki"', ""))
    assert make_server_check(read_config(file)[0]) is None
