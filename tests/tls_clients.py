"""TLS clients of tests and benches, alike with all releases of Python."""

from __future__ import annotations

import ssl


def make_test_client(ca: str) -> ssl.SSLContext:
    """Return the context of a client that trusts the authorities of the file `ca`.

    Python checks strictly by default from 3.13 on, and rejects authorities whose certificates name no key
    identifiers: those of tests are such, as many own ones of sites and backends are.
    """
    context = ssl.create_default_context(cafile=ca)
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context
