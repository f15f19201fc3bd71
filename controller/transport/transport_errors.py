"""Exceptions of the transport package, and the description of an error for a person."""

from __future__ import annotations

import os
import socket
import ssl
from datetime import UTC, datetime

from controller.model.exception_groups import leaves
from controller.model.peer_text import bounded_text


class TransportError(Exception):
    """Base class of the exceptions of this package."""


class ConnectionLostError(TransportError):
    """The connection is gone; its text is the reason.

    `is_clean`: it was closed with a close frame that reports no error; `is_local`: this side closed it.
    """

    def __init__(self, reason: str, *, is_clean: bool = False, is_local: bool = False) -> None:
        super().__init__(reason)
        self.is_clean = is_clean
        self.is_local = is_local


class SendQueueFullError(TransportError):
    """The peer reads too slowly: too much waits to be sent already. Its text names how much."""


def find_connection_loss(error: BaseException) -> ConnectionLostError | None:
    """Return the lost connection that an error reports: one closed by this side if there is one."""
    found = [each for each in leaves(error) if isinstance(each, ConnectionLostError)]
    return next((each for each in found if each.is_local), found[0] if found else None)


def describe_error(error: BaseException) -> str:
    """Describe the root cause of an error in one bounded line."""
    root = error
    while root.__cause__ is not None:
        root = root.__cause__
    if isinstance(root, BaseExceptionGroup):
        return "; ".join(sorted({describe_error(each) for each in leaves(root)}))
    if isinstance(root, OSError):
        return bounded_text(_describe_os_error(root))
    return bounded_text(str(root)) or type(root).__name__


def find_remedy(error: BaseException) -> str:
    """Return what a person can check after an error of opening a connection."""
    root = error
    while root.__cause__ is not None:
        root = root.__cause__
    if any(isinstance(each, socket.gaierror) for each in leaves(root)):
        return "check the host in url, and the gateway's DNS servers (/etc/resolv.conf)"
    if isinstance(root, ssl.SSLCertVerificationError):
        if root.verify_code in CLOCK_VERDICTS:
            return "check the gateway's clock (timedatectl), then the backend's certificate"
        return "check the host in url, and ca: the authority of the backend's certificate"
    return "check url, network and firewall, and the backend itself"


CLOCK_VERDICTS = frozenset((9, 10))
"""OpenSSL's X509_V_ERR_CERT_NOT_YET_VALID and X509_V_ERR_CERT_HAS_EXPIRED."""

PLAIN_HTTP_ALERTS = frozenset(("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "PACKET_LENGTH_TOO_LONG"))
"""OpenSSL's reasons where the peer answered a TLS handshake in something other than TLS."""


def _describe_os_error(error: OSError) -> str:
    """Return the error's text without the position in OpenSSL's source."""
    if isinstance(error, ssl.SSLCertVerificationError):
        text = f"its certificate is not trusted: {error.verify_message}"
        if error.verify_code in CLOCK_VERDICTS:
            return f"{text} (clock: {datetime.now(UTC):%Y-%m-%d})"
        return text
    if isinstance(error, ssl.SSLError) and error.reason:
        reason = error.reason.replace("_", " ").lower()
        if error.reason in PLAIN_HTTP_ALERTS:
            return f"it does not offer TLS at this port ({reason})"
        return reason
    if error.errno is not None and error.errno > 0 and not isinstance(error, ssl.SSLError):
        return os.strerror(error.errno)
    return error.strerror or str(error)
