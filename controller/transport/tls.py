"""TLS contexts of the stations' port and of backends: TLS 1.2 at least, reloaded when files change.

Renegotiation is off: it would have to send while it reads. TLS 1.3 has none.
Sources: OCPP 2.x Part 2, A00.FR.316; OCPP 1.6 security whitepaper.
"""

from __future__ import annotations

import logging
import ssl
from collections.abc import Callable
from functools import partial

from controller.transport.transport_errors import TransportError, describe_error
from drivers.file_stamp import FileStamp, file_stamp
from drivers.tls_profile import apply_tls_profile

log = logging.getLogger("controller.transport")

CHECK_INTERVAL_S = 1.0
"""Time for which files are taken as unchanged: a storm of handshakes causes one stat per second."""

PASS_PHRASE = "the private key has a pass phrase; remove it: openssl pkey -in KEY -out NEW_KEY"

"""Of each file its inode, size and time of change (ns); None where it is missing."""


class TlsError(TransportError):
    """Certificate files cannot be used; its text names the files and the remedy."""


class KeyLockedError(TransportError, OSError):
    """A private key has a pass phrase, which a daemon cannot be asked for."""


def make_server_context(certificate: str, key: str, client_ca: str | None = None) -> ssl.SSLContext:
    """Make a context for stations; `client_ca` demands a client certificate that it has issued.

    Raises OSError or ssl.SSLError for files that cannot be used.
    """
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=client_ca)
    apply_tls_profile(context)
    load_key(context, certificate, key)
    if client_ca is not None:
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def make_client_context(ca: str | None, certificate: str | None, key: str | None) -> ssl.SSLContext:
    """Make a context for a backend; `ca` None trusts the system's authorities.

    Raises OSError or ssl.SSLError for files that cannot be used.
    """
    context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=ca)
    apply_tls_profile(context)
    if certificate is not None:
        load_key(context, certificate, key)
    return context


def make_checked_context(
    ca: str | None,
    certificate: str | None,
    key: str | None,
    find_objection: Callable[[bytes], str | None] | None,
) -> ssl.SSLContext:
    """Make a context for clients with blocking sockets, as `make_client_context` does.

    A handshake fails with ssl.SSLCertVerificationError where `find_objection` returns why the server's
    certificate (DER), which TLS has verified, is not accepted.
    """
    context = make_client_context(ca, certificate, key)
    if find_objection is not None:
        check = find_objection

        class CheckedSocket(ssl.SSLSocket):
            def do_handshake(self, block: bool = False) -> None:
                super().do_handshake(block)
                if (objection := check(self.getpeercert(binary_form=True) or b"")) is not None:
                    raise ssl.SSLCertVerificationError(1, objection)

        context.sslsocket_class = CheckedSocket
    return context


def load_key(context: ssl.SSLContext, certificate: str, key: str | None) -> None:
    """Load a certificate and its private key; raises KeyLockedError where the key has a pass phrase.

    Without the callback OpenSSL would ask on the terminal, and block the whole process.
    """
    context.load_cert_chain(certificate, key, password=_reject_pass_phrase)


def _reject_pass_phrase() -> str:
    raise KeyLockedError(PASS_PHRASE)


class RenewedContext:
    """A context made from files, and made again when they change; open connections keep theirs.

    New files that cannot be used are logged once, and the context before them stays in use.
    """

    def __init__(self, owner: str, build: Callable[[], ssl.SSLContext], files: tuple[str, ...]) -> None:
        """Load the files of `owner`, named so in the log. Raises TlsError where they cannot be used."""
        self._owner = owner
        self._build = build
        self._files = files
        self._checked_at = float("-inf")
        self._stamps = self._read_stamps()
        try:
            self._context = build()
        except OSError as error:  # ssl.SSLError and KeyLockedError are OSErrors
            raise TlsError(
                f"{owner}: {self._names} cannot be used: {describe_error(error)}; "
                "provide a certificate in PEM and the private key that it was issued for"
            ) from error

    def current(self, now: float) -> ssl.SSLContext:
        """Return the context for a handshake that begins now (s, monotonic)."""
        if now - self._checked_at < CHECK_INTERVAL_S:
            return self._context
        self._checked_at = now
        if (stamps := self._read_stamps()) != self._stamps:
            self._stamps = stamps
            self._reload()
        return self._context

    def _reload(self) -> None:
        try:
            self._context = self._build()
        except OSError as error:
            log.error(
                "certificate rejected, the previous one stays in use owner=%s files=%s reason=%s",
                self._owner,
                self._names,
                describe_error(error),
            )
        else:
            log.info("certificate reloaded owner=%s files=%s", self._owner, self._names)

    @property
    def _names(self) -> str:
        return ", ".join(self._files)

    def _read_stamps(self) -> tuple[FileStamp, ...]:
        return tuple(map(file_stamp, self._files))


def server_tls(certificate: str, key: str, client_ca: str | None) -> RenewedContext:
    """Make the reloaded context of the stations' port. Raises TlsError."""
    build = partial(make_server_context, certificate, key, client_ca)
    return RenewedContext("listen", build, _given(certificate, key, client_ca))


def client_tls(backend: str, ca: str | None, certificate: str | None, key: str | None) -> RenewedContext:
    """Make the reloaded context of a backend. Raises TlsError."""
    build = partial(make_client_context, ca, certificate, key)
    return RenewedContext(f"backend {backend}", build, _given(ca, certificate, key))


def _given(*files: str | None) -> tuple[str, ...]:
    return tuple(file for file in files if file is not None)
