"""TLS with self-signed certificates on both sides, where a peer is identified by its key (SHIP, 9).

The standard library verifies a peer's certificate against authorities or not at all, and a server asks for
one only if it verifies it. Here OpenSSL asks for it, and `check` decides, within the handshake.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import suppress

from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from OpenSSL import SSL

from controller.transport.byte_transport import ByteTransport

CheckCertificate = Callable[[x509.Certificate], str]
"""Return a reason to refuse a certificate; empty: it is accepted."""

CIPHERS = (
    b"ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES128-SHA256:"
    b"ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305"
)
"""For TLS 1.2 (SHIP, 9.1); TLS 1.3 has its own."""


class SelfSignedContext:
    """Own key and certificate (PEM), and the check of the peer's."""

    def __init__(self, key: bytes, certificate: bytes, check: CheckCertificate) -> None:
        self._check = check
        self._context = SSL.Context(SSL.TLS_METHOD)
        self._context.set_min_proto_version(SSL.TLS1_2_VERSION)
        self._context.set_cipher_list(CIPHERS)
        self._context.set_options(SSL.OP_NO_RENEGOTIATION | SSL.OP_NO_COMPRESSION)
        self._context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
        private = load_pem_private_key(key, None)
        self._context.use_privatekey(private)  # type: ignore[arg-type]
        self._context.use_certificate(x509.load_pem_x509_certificate(certificate))
        self._context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, self._verify)

    def connect(self, sock: socket.socket, *, server_side: bool) -> SSL.Connection:
        """Return TLS over a socket, before its handshake."""
        connection = SSL.Connection(self._context, sock)
        if server_side:
            connection.set_accept_state()
        else:
            connection.set_connect_state()
        return connection

    def _verify(
        self, connection: SSL.Connection, shown: object, error: int, depth: int, accepted: int
    ) -> bool:
        """Check a certificate of the peer's chain; its own has depth 0."""
        if depth > 0:
            return True
        reason = self._check(shown.to_cryptography())  # type: ignore[attr-defined]
        connection.set_app_data(reason)
        return not reason


class SelfSignedTransport(ByteTransport):
    """A connected TCP socket with such TLS, once `secure_mutually` has returned."""

    _tls: SSL.Connection

    async def secure_mutually(self, context: SelfSignedContext, *, server_side: bool) -> x509.Certificate:
        """Do the TLS handshake and return the peer's certificate. Raises OSError."""
        self._tls = context.connect(self._socket, server_side=server_side)
        while True:
            try:
                self._tls.do_handshake()
                break
            except SSL.WantReadError:
                await self._wait_readable()
            except SSL.WantWriteError:
                await self.watcher.wait_writable()
            except SSL.Error as error:
                raise ConnectionError(self._tls.get_app_data() or describe_openssl_error(error)) from None
        certificate = self._tls.get_peer_certificate(as_cryptography=True)
        if certificate is None:
            raise ConnectionError("the peer has shown no certificate")
        return certificate

    def send(self, data: bytes | memoryview) -> int:
        """Send what can be sent at once; return the number of bytes. Raises OSError."""
        try:
            return int(self._tls.send(bytes(data)))
        except (SSL.WantReadError, SSL.WantWriteError):
            return 0
        except SSL.Error as error:
            raise ConnectionError(describe_openssl_error(error)) from None

    def receive(self, most: int) -> bytes | None:
        """Return what has come, up to so many bytes; b"" is the end, None is nothing yet. Raises OSError."""
        if not self.watcher.is_readable and not self._tls.pending():
            return None
        try:
            return bytes(self._tls.recv(most))
        except (SSL.WantReadError, SSL.WantWriteError):
            self.watcher.is_readable = False
            return None
        except SSL.ZeroReturnError:
            return b""
        except SSL.Error as error:
            raise ConnectionError(describe_openssl_error(error)) from None

    def shutdown_send(self) -> None:
        """Close the sending direction; what the peer still sends can be received."""
        with suppress(SSL.Error):
            self._tls.shutdown()
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)


def describe_openssl_error(error: SSL.Error) -> str:
    """Return the cause of an error of OpenSSL, without its places in the sources."""
    if isinstance(error, SSL.SysCallError):
        return str(error.args[-1])
    reasons = error.args[0] if error.args else []
    return "; ".join(str(each[-1]) for each in reasons) or "TLS failed"
