"""Property tests use the same examples on every machine, and fewer of them in `make test-fast`.

TLS contexts check as strictly as those of Python 3.13, with each release.
"""

import ssl
from collections.abc import Iterator

import pytest
from hypothesis import settings

from tests.examples import IS_FAST, examples

settings.register_profile("full", derandomize=True, deadline=None)
settings.register_profile("fast", derandomize=True, deadline=None, max_examples=examples(100))
settings.load_profile("fast" if IS_FAST else "full")


@pytest.fixture(autouse=True, scope="session")
def strict_tls_defaults() -> Iterator[None]:
    """Let `ssl.create_default_context` return what Python 3.13 returns: older releases check less."""
    make_context = ssl.create_default_context

    def make_strict_context(
        purpose: ssl.Purpose = ssl.Purpose.SERVER_AUTH,
        *,
        cafile: str | None = None,
        capath: str | None = None,
        cadata: str | bytes | None = None,
    ) -> ssl.SSLContext:
        context = make_context(purpose, cafile=cafile, capath=capath, cadata=cadata)
        context.verify_flags |= ssl.VERIFY_X509_STRICT | ssl.VERIFY_X509_PARTIAL_CHAIN
        return context

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ssl, "create_default_context", make_strict_context)
        yield
