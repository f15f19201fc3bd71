"""TLS of one connection between buffers of bytes, without its socket; sans-IO.

A TLS socket of the standard library reads the head and the body of each record on their own, sends each
session ticket on its own, and sets the mode of the socket again at each step of its handshake. Between
buffers a message costs one system call to receive and one to send, as without TLS.
"""

from __future__ import annotations

import ssl


class TlsEngine:
    """TLS records to bytes and back; its errors are raised as ssl.SSLError, which is an OSError."""

    __slots__ = ("_incoming", "_outgoing", "_tls")

    def __init__(self, context: ssl.SSLContext, *, server_side: bool, host: str | None) -> None:
        """Begin before the handshake. `host`: name in the server's certificate."""
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(
            self._incoming, self._outgoing, server_side=server_side, server_hostname=host
        )

    def advance_handshake(self) -> bool:
        """Return True once the handshake is done; False if it needs more of the peer.

        There may be output in each case, also where it raises: an alert.
        """
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            return False
        return True

    def receive_records(self, data: bytes) -> None:
        """Pass received records; b"" at the end of the stream."""
        if data:
            self._incoming.write(data)
        else:
            self._incoming.write_eof()

    @property
    def has_records(self) -> bool:
        """True if received bytes are left that `decrypt` has not returned, whole records or not."""
        return self._incoming.pending > 0 or self._tls.pending() > 0

    def decrypt(self, most: int) -> bytes | None:
        """Return up to `most` bytes, b"" at the end of the stream, None if a record is not complete."""
        try:
            return self._tls.read(most)
        except ssl.SSLWantReadError:
            return None
        except ssl.SSLEOFError:
            return b""  # without close_notify: many stations send none

    def encrypt(self, data: bytes | memoryview) -> bytes:
        """Return the records of `data`, behind all other output that was not taken."""
        self._tls.write(data)
        return self._outgoing.read()

    def take_output(self) -> bytes:
        """Return what TLS itself is to send: the handshake, tickets, key updates and alerts."""
        return self._outgoing.read()

    def send_close(self) -> None:
        """Queue close_notify: without it the peer cannot distinguish the end from a cut by an attacker."""
        try:
            self._tls.unwrap()
        except ssl.SSLWantReadError:
            return  # the peer's own may follow

    @property
    def peer_certificate(self) -> dict[str, object]:
        """The peer's verified certificate as ssl.SSLObject.getpeercert returns it; empty without one."""
        return dict(self._tls.getpeercert() or {})

    @property
    def peer_certificate_der(self) -> bytes | None:
        """The peer's verified certificate in DER; None without one."""
        return self._tls.getpeercert(binary_form=True)
