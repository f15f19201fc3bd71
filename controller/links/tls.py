"""TLS contexts for links down and up: TLS 1.2 at least (OCPP 2.x Part 2, A00.FR.316; 1.6 whitepaper)."""

from __future__ import annotations

import ssl


def server_context(certificate: str, key: str) -> ssl.SSLContext:
    """For stations that connect to us. Raises OSError or ssl.SSLError for files that do not fit."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(certificate, key)
    return context


def client_context(ca: str | None, certificate: str | None, key: str | None) -> ssl.SSLContext:
    """For a backend that we connect to; `ca` None trusts the system's authorities."""
    context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=ca)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if certificate is not None:
        context.load_cert_chain(certificate, key)
    return context
