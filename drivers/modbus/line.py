"""A Modbus line under trio: a TCP connection, TLS, or a serial port. One exchange at a time.

A line is opened when it is first needed and closed as soon as it fails; the next exchange opens it
anew. All that waits ends with an answer, `LineLost`, `NoAnswer` or the caller's cancellation.
"""

from __future__ import annotations

import itertools
import os
import ssl
import termios
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator

import serial
import trio

from drivers.decoding import Block
from drivers.modbus.framing import DeviceException, Exchange, Noise, Registers, RtuExchange, TcpExchange

CHUNK = 1024
QUIET_S = 0.2
"""A serial line that is silent for so long after a lost answer has nothing more to say."""


class LineLost(Exception):
    """The line cannot be used. Its text is a person's sentence with the mend."""


class NoAnswer(Exception):
    """The unit did not answer in time, or with noise only."""


class Line(ABC):
    """What meters share. `exchange` is for one caller at a time: a line's poller owns it.

    `paced`: a serial line lies under it, where meters want pauses between requests.
    """

    def __init__(self, name: str, *, paced: bool) -> None:
        self.name = name
        self.paced = paced
        self._transactions: Iterator[int] = itertools.cycle(range(1, 0x10000))

    async def exchange(self, unit: int, block: Block, timeout_s: float) -> Registers | DeviceException:
        """Ask a unit for a block of registers.

        Raises NoAnswer after `timeout_s` (s) or for noise, LineLost where the line itself fails.
        """
        exchange = self._exchange(unit, block)
        try:
            await self._open_within(timeout_s)
            with trio.move_on_after(timeout_s):
                await self._write(exchange.request)
                return await self._answer(exchange)
            await self._after_silence(timeout_s)
        except (LineLost, NoAnswer):
            await self.close()
            raise
        raise NoAnswer(
            f"no answer from unit {unit} on {self.name} within {timeout_s:g} s;"
            " check its wiring, unit number and line settings"
        )

    async def _open_within(self, timeout_s: float) -> None:
        try:
            with trio.fail_after(timeout_s):
                await self._open()
        except trio.TooSlowError:
            raise LineLost(
                f"{self.name} cannot be reached within {timeout_s:g} s; check its address and the network"
            ) from None

    async def _answer(self, exchange: Exchange) -> Registers | DeviceException:
        while True:
            answer = exchange.feed(await self._read())
            if isinstance(answer, Noise):
                raise NoAnswer(answer.why)
            if answer is not None:
                return answer

    @abstractmethod
    async def close(self) -> None:
        """Close the line; the next exchange opens it again."""

    @abstractmethod
    async def _open(self) -> None:
        """Make sure that the line is open and empty."""

    @abstractmethod
    async def _after_silence(self, timeout_s: float) -> None:
        """After a request without an answer: see to it that a late one does not meet the next question.

        RTU answers do not say to which addresses they belong, and gateways lose transaction numbers.
        """

    @abstractmethod
    def _exchange(self, unit: int, block: Block) -> Exchange: ...

    @abstractmethod
    async def _write(self, data: bytes) -> None: ...

    @abstractmethod
    async def _read(self) -> bytes: ...


class TcpLine(Line):
    """Modbus TCP, Modbus TCP over TLS, or RTU frames over TCP (`rtu`).

    `tls` makes the context anew for each connection: certificates are exchanged while we run.
    """

    def __init__(
        self, host: str, port: int, *, rtu: bool = False, tls: Callable[[], ssl.SSLContext] | None = None
    ) -> None:
        super().__init__(f"{host}:{port}", paced=rtu)
        self._host = host
        self._port = port
        self._rtu = rtu
        self._tls = tls
        self._stream: trio.abc.Stream | None = None

    async def close(self) -> None:
        """See `Line`."""
        stream, self._stream = self._stream, None
        if stream is not None:
            await trio.aclose_forcefully(stream)

    async def _open(self) -> None:
        if self._stream is not None:
            return
        try:
            context = None if self._tls is None else self._tls()
            stream = await trio.open_tcp_stream(self._host, self._port)
        except OSError as error:
            raise LineLost(
                f"{self.name} cannot be reached ({_reason(error)}); check its address and the network"
            ) from error
        self._stream = stream if context is None else await self._secured(stream, context)

    async def _secured(self, stream: trio.SocketStream, context: ssl.SSLContext) -> trio.abc.Stream:
        secured = trio.SSLStream(stream, context, server_hostname=self._host)
        self._stream = secured  # so that `close` finds it if the handshake fails
        try:
            await secured.do_handshake()
        except trio.BrokenResourceError as error:
            raise LineLost(
                f"no TLS with {self.name} ({error.__cause__ or 'it hung up'}); check the certificates"
            ) from error
        return secured

    async def _after_silence(self, timeout_s: float) -> None:
        await self.close()

    def _exchange(self, unit: int, block: Block) -> Exchange:
        if self._rtu:
            return RtuExchange(unit, block.function, block.address, block.count)
        return TcpExchange(unit, block.function, block.address, block.count, next(self._transactions))

    async def _write(self, data: bytes) -> None:
        assert self._stream is not None
        try:
            await self._stream.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise LineLost(f"{self.name} closed the connection") from error

    async def _read(self) -> bytes:
        assert self._stream is not None
        try:
            data = bytes(await self._stream.receive_some(CHUNK))
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise LineLost(f"{self.name} closed the connection") from error
        if not data:
            raise LineLost(f"{self.name} closed the connection; some gateways take one client only")
        return data


class SerialLine(Line):
    """Modbus RTU on a serial port. pyserial opens and sets it, trio waits for it."""

    def __init__(self, device: str, baud: int, parity: str, stopbits: int) -> None:
        super().__init__(device, paced=True)
        self._baud, self._parity, self._stopbits = baud, parity, stopbits
        self._port: serial.Serial | None = None

    async def close(self) -> None:
        """See `Line`."""
        port, self._port = self._port, None
        if port is not None:
            trio.lowlevel.notify_closing(port.fileno())
            port.close()

    async def _open(self) -> None:
        try:
            if self._port is None:
                self._port = serial.Serial(
                    self.name,
                    self._baud,
                    parity=self._parity,
                    stopbits=self._stopbits,
                    timeout=0,
                    exclusive=True,
                )
            self._port.reset_input_buffer()  # what is left there answers no question of ours
        except (serial.SerialException, OSError, termios.error, ValueError) as error:
            raise LineLost(
                f"{self.name} cannot be opened ({_reason(error)}); is it plugged in, and nobody else's?"
            ) from error

    async def _after_silence(self, timeout_s: float) -> None:
        with trio.move_on_after(timeout_s):
            heard = True
            while heard:
                with trio.move_on_after(QUIET_S) as quiet:
                    await self._read()
                heard = not quiet.cancelled_caught

    def _exchange(self, unit: int, block: Block) -> Exchange:
        return RtuExchange(unit, block.function, block.address, block.count)

    async def _write(self, data: bytes) -> None:
        assert self._port is not None
        try:
            while data:
                await trio.lowlevel.wait_writable(self._port.fileno())
                data = data[os.write(self._port.fileno(), data) :]
        except OSError as error:
            raise self._gone(error) from error

    async def _read(self) -> bytes:
        assert self._port is not None
        try:
            await trio.lowlevel.wait_readable(self._port.fileno())
            data = os.read(self._port.fileno(), CHUNK)
        except BlockingIOError:
            return b""
        except OSError as error:
            raise self._gone(error) from error
        if not data:
            raise LineLost(f"{self.name} is gone; plug it in again")
        return data

    def _gone(self, error: OSError) -> LineLost:
        return LineLost(f"{self.name} is gone ({_reason(error)}); plug it in again")


def _reason(error: BaseException) -> str:
    number = error.args[0] if isinstance(error, termios.error) else getattr(error, "errno", None)
    if isinstance(error, ssl.SSLError) or not isinstance(number, int) or number <= 0:
        return str(error)
    return os.strerror(number)
