"""TLS contexts for links down and up: TLS 1.2 at least (OCPP 2.x Part 2, A00.FR.316; 1.6 whitepaper).

Nobody may negotiate anew in an open link: to send, one would have to read. TLS 1.3 has no such thing.

Certificates are renewed while links are open: a `RenewedContext` follows its files.
"""

from __future__ import annotations

import logging
import os
import ssl
from collections.abc import Callable
from functools import partial

log = logging.getLogger("controller.transport")

LOOK_S = 1.0
"""How long the files are taken to be as they were: a storm of handshakes is no storm of file looks."""

_Seen = tuple[tuple[int, int, int] | None, ...]
"""Of each file its inode, size and time of change (ns); None where it is not there."""


class TlsError(Exception):
    """Certificates that cannot be used. Its text names the files and the mend."""


def server_context(certificate: str, key: str, client_ca: str | None = None) -> ssl.SSLContext:
    """For stations that connect to us; with `client_ca` only for those whose certificate it has signed.

    Raises OSError or ssl.SSLError for files that do not fit.
    """
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=client_ca)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.load_cert_chain(certificate, key)
    if client_ca is not None:
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def client_context(ca: str | None, certificate: str | None, key: str | None) -> ssl.SSLContext:
    """For a backend that we connect to; `ca` None trusts the system's authorities.

    Raises OSError or ssl.SSLError for files that do not fit.
    """
    context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=ca)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    if certificate is not None:
        context.load_cert_chain(certificate, key)
    return context


class RenewedContext:
    """A context made from files, and made anew when they change; open links keep theirs.

    What cannot be used is told once, and the context before it stays.
    """

    def __init__(self, owner: str, build: Callable[[], ssl.SSLContext], files: tuple[str, ...]) -> None:
        """`owner`: whose certificates these are, in words for the log. Raises TlsFailed for bad files."""
        self._owner = owner
        self._build = build
        self._files = files
        self._looked_at = float("-inf")
        self._seen = self._look()
        try:
            self._context = build()
        except OSError as error:  # ssl.SSLError is one too
            raise TlsError(
                f"{owner}: {self._names} cannot be used: {in_words(error)}; "
                "a certificate in PEM, and the key that it was made for, must be there"
            ) from error

    def current(self, now: float) -> ssl.SSLContext:
        """The context for a handshake that begins now (s, monotonic)."""
        if now - self._looked_at < LOOK_S:
            return self._context
        self._looked_at = now
        if (seen := self._look()) != self._seen:
            self._seen = seen
            self._renew()
        return self._context

    def _renew(self) -> None:
        try:
            self._context = self._build()
        except OSError as error:
            log.error(
                "%s: the new %s cannot be used, the old certificate stays: %s",
                self._owner,
                self._names,
                in_words(error),
            )
        else:
            log.info("%s: new handshakes use the new %s", self._owner, self._names)

    @property
    def _names(self) -> str:
        return ", ".join(self._files)

    def _look(self) -> _Seen:
        return tuple(_stamp(file) for file in self._files)


def server_tls(certificate: str, key: str, client_ca: str | None) -> RenewedContext:
    """As `server_context`, following its files. Raises TlsFailed."""
    build = partial(server_context, certificate, key, client_ca)
    return RenewedContext("listen", build, _named(certificate, key, client_ca))


def client_tls(backend: str, ca: str | None, certificate: str | None, key: str | None) -> RenewedContext:
    """As `client_context`, following its files. Raises TlsFailed."""
    build = partial(client_context, ca, certificate, key)
    return RenewedContext(f"backend {backend}", build, _named(ca, certificate, key))


def _named(*files: str | None) -> tuple[str, ...]:
    return tuple(file for file in files if file is not None)


def _stamp(file: str) -> tuple[int, int, int] | None:
    try:
        stat = os.stat(file)
    except OSError:
        return None
    return (stat.st_ino, stat.st_size, stat.st_mtime_ns)


def in_words(error: OSError) -> str:
    """What went wrong, without the place in OpenSSL's sources, which helps nobody at a site."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {error.verify_message}"
    if isinstance(error, ssl.SSLError) and error.reason:
        return error.reason.replace("_", " ").lower()
    if error.errno is not None and error.errno > 0 and not isinstance(error, ssl.SSLError):
        return os.strerror(error.errno)
    return error.strerror or str(error)
