"""TLS settings that all connections share, of stations, backends and meters."""

from __future__ import annotations

import ssl


def apply_tls_profile(context: ssl.SSLContext) -> None:
    """Set what all releases of Python do alike: TLS 1.2 or newer, no renegotiation, usual checks.

    From 3.13 on strict checks (RFC 5280) are the default. They reject authorities whose certificates name
    no key identifiers, as many own ones of sites and backends do: an upgrade would cut their links.
    """
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
