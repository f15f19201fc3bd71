"""TCP, TLS and UDP as Modbus buses."""

from __future__ import annotations

import errno
import ssl

import trio

from drivers.coded_text import CodedText, coded, decimal
from drivers.errors import BusError, Cause
from drivers.file_stamp import FileStamp
from drivers.modbus.bus import Bus, ConnectionClosedError, os_reason, read_descriptor, write_descriptor
from drivers.modbus.framing import Exchange, RtuExchange, TcpExchange
from drivers.modbus.modbus_tls import (
    FindObjection,
    ModbusTlsError,
    TlsFiles,
    build_context,
    explain_alert,
    explain_handshake,
    read_role_of,
)
from drivers.read_plan import ReadRange

CHUNK = 1024
ALERT_WAIT_S = 0.1
RENEWAL_CHECK_S = 30.0
"""Interval (s) of checks for new versions of a connection's certificate files."""
REVOCATION_CHECK_S = 5.0
"""Interval (s) of checks whether the certificate of a connected meter is revoked."""


class TcpBus(Bus):
    """Modbus TCP, Modbus/TCP Security (`tls`), or RTU frames over TCP (`rtu`).

    The files of `tls` are read anew for each connection. A connection that holds is replaced within
    RENEWAL_CHECK_S after its files were renewed, as soon as the new ones are usable. A meter whose
    certificate `find_objection` does not accept is not read; an open connection to it ends within
    REVOCATION_CHECK_S.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        rtu: bool = False,
        tls: TlsFiles | None = None,
        find_objection: FindObjection | None = None,
    ) -> None:
        super().__init__(f"{host}:{port}", serial_timing=rtu)
        self._host = host
        self._port = port
        self._rtu = rtu
        self._tls = tls
        self._find_objection = find_objection
        self._certificate_checked_at = 0.0
        self._stamps: tuple[FileStamp, ...] = ()
        self._checked_at = 0.0
        self._stream: trio.SocketStream | trio.SSLStream[trio.SocketStream] | None = None

    async def close(self) -> None:
        """See `Bus`."""
        stream, self._stream = self._stream, None
        if stream is not None:
            await trio.aclose_forcefully(stream)

    async def _is_ready(self) -> bool:
        if self._stream is not None and self._tls is not None:
            await self._close_if_renewed(self._tls)
            await self._close_if_revoked()
        return self._stream is not None

    async def _open(self) -> None:
        context = None
        if self._tls is not None:
            self._stamps, self._checked_at = self._tls.stamps(), trio.current_time()
            context = build_context(self._tls)
            self.role = "no role" if self._tls.certificate is None else read_role_of(self._tls.certificate)
        try:
            stream = await trio.open_tcp_stream(self._host, self._port)
        except OSError as error:
            raise BusError(self._explain_unreachable(error)) from error
        self._fresh = True
        self._stream = stream if context is None else await self._secure(stream, context)

    async def _close_if_renewed(self, files: TlsFiles) -> None:
        now = trio.current_time()
        if now - self._checked_at < RENEWAL_CHECK_S:
            return
        self._checked_at = now
        if files.stamps() == self._stamps:
            return
        try:
            build_context(files)
        except ModbusTlsError:
            return  # half of a renewal: the connection holds until the files are usable
        self.events["renewals"] += 1
        await self.close()

    async def _close_if_revoked(self) -> None:
        """Close a connection whose server is not accepted any more; opening it again gives the reason."""
        now = trio.current_time()
        if now - self._certificate_checked_at < REVOCATION_CHECK_S:
            return
        self._certificate_checked_at = now
        if isinstance(self._stream, trio.SSLStream) and self._objection(self._stream) is not None:
            await self.close()

    def _objection(self, stream: trio.SSLStream[trio.SocketStream]) -> str | None:
        if self._find_objection is None:
            return None
        return self._find_objection(stream.getpeercert(binary_form=True) or b"")

    async def _secure(
        self, stream: trio.SocketStream, context: ssl.SSLContext
    ) -> trio.SSLStream[trio.SocketStream]:
        secured = trio.SSLStream(stream, context, server_hostname=self._host)
        self._stream = secured  # so that `close` finds it if the handshake is cancelled
        try:
            await secured.do_handshake()
        except trio.BrokenResourceError as error:
            raise ModbusTlsError(explain_handshake(self.name, error)) from error
        self._certificate_checked_at = trio.current_time()
        if (objection := self._objection(secured)) is not None:
            raise ModbusTlsError(
                coded(
                    "the certificate of {bus} is rejected ({objection}); issue a new one for it",
                    bus=self.name,
                    objection=objection,
                )
            )
        if secured.version() == "TLSv1.3":
            await self._wait_for_alert(secured)
        return secured

    async def _wait_for_alert(self, secured: trio.SSLStream[trio.SocketStream]) -> None:
        """Wait shortly for the alert of a server that rejects our certificate.

        In TLS 1.3 it checks the certificate after our side has completed the handshake. A request sent
        meanwhile would meet a closed connection, and the reset would hide the alert.
        """
        with trio.move_on_after(ALERT_WAIT_S):
            try:
                data = await secured.receive_some(1)
            except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
                raise self._closed(error) from error
            if not data:
                raise self._closed(None)
            raise ModbusTlsError(
                coded("{bus} sends without being asked; check that its port uses Modbus", bus=self.name)
            )

    def _slow_opening(self, timeout_s: float) -> BusError:
        if self._stream is None:
            return super()._slow_opening(timeout_s)
        return ModbusTlsError(
            coded(
                "{bus} did not complete the TLS handshake within {timeout} s; check that its port uses TLS, "
                "and raise timeout_s if it is slow",
                bus=self.name,
                timeout=decimal(timeout_s),
            )
        )

    def _explain_unreachable(self, error: OSError) -> str:
        nested = error.__cause__ if isinstance(error.__cause__, OSError) else error
        if isinstance(error.__cause__, BaseExceptionGroup):
            nested = next((each for each in error.__cause__.exceptions if isinstance(each, OSError)), error)
        if nested.errno == errno.ECONNREFUSED:
            return coded("{bus} refuses the connection: nothing listens there; check its port", bus=self.name)
        return _unreachable(self.name, nested)

    async def _drain(self, timeout_s: float) -> None:
        await self.close()

    def _new_exchange(self, unit: int, read_range: ReadRange) -> Exchange:
        function, address, count = read_range.function, read_range.address, read_range.count
        if self._rtu:
            return RtuExchange(unit, function, address, count)
        return TcpExchange(unit, function, address, count, next(self._transactions))

    async def _write(self, data: bytes) -> None:
        assert self._stream is not None
        try:
            if isinstance(self._stream, trio.SocketStream):
                await write_descriptor(self._stream.socket.fileno(), data)
            else:
                await self._stream.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError, OSError) as error:
            raise self._closed(error) from error

    async def _read(self) -> bytes:
        assert self._stream is not None
        try:
            if isinstance(self._stream, trio.SocketStream):
                data = await read_descriptor(self._stream.socket.fileno(), CHUNK)
            else:
                data = bytes(await self._stream.receive_some(CHUNK))
        except (trio.BrokenResourceError, trio.ClosedResourceError, OSError) as error:
            raise self._closed(error) from error
        if not data:
            raise self._closed(None)
        return data

    def _closed(self, error: Exception | None) -> ConnectionClosedError:
        if error is not None and self._tls is not None and (alert := explain_alert(error)):
            return ConnectionClosedError(
                coded("{bus} closed the connection with {alert}", bus=self.name, alert=alert), Cause.TLS
            )
        if self._tls is not None and self._fresh:
            return ConnectionClosedError(
                coded(
                    "{bus} closed the connection before its first answer; it may not accept our certificate",
                    bus=self.name,
                )
            )
        return ConnectionClosedError(
            coded("{bus} closed the connection; some gateways allow one client only", bus=self.name)
        )


def _unreachable(bus: str, error: OSError) -> CodedText:
    return coded(
        "{bus} cannot be reached ({reason}); check its address and the network",
        bus=bus,
        reason=os_reason(error),
    )


class UdpBus(Bus):
    """Modbus TCP frames in UDP datagrams, one request and one answer each."""

    def __init__(self, host: str, port: int) -> None:
        super().__init__(f"{host}:{port}", serial_timing=False)
        self._host = host
        self._port = port
        self._socket: trio.socket.SocketType | None = None

    async def close(self) -> None:
        """See `Bus`."""
        await trio.lowlevel.checkpoint()
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    async def _open(self) -> None:
        if self._socket is not None:
            return
        try:
            found = await trio.socket.getaddrinfo(self._host, self._port, type=trio.socket.SOCK_DGRAM)
            self._fresh = True
            family, kind, protocol, _, address = found[0]
            self._socket = trio.socket.socket(family, kind, protocol)
            await self._socket.connect(address)
        except OSError as error:
            raise BusError(_unreachable(self.name, error)) from error

    async def _drain(self, timeout_s: float) -> None:
        await self.close()

    def _new_exchange(self, unit: int, read_range: ReadRange) -> Exchange:
        return TcpExchange(
            unit, read_range.function, read_range.address, read_range.count, next(self._transactions)
        )

    async def _write(self, data: bytes) -> None:
        assert self._socket is not None
        try:
            await self._socket.send(data)
        except OSError as error:
            raise self._refused(error) from error

    async def _read(self) -> bytes:
        assert self._socket is not None
        try:
            return await self._socket.recv(CHUNK)
        except OSError as error:  # the answer to the last datagram was "port unreachable"
            raise self._refused(error) from error

    def _refused(self, error: OSError) -> BusError:
        return BusError(
            coded(
                "{bus} refused the request ({reason}); check its address and port",
                bus=self.name,
                reason=os_reason(error),
            )
        )
