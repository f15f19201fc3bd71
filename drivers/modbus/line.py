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
from collections.abc import Iterator

import serial
import trio

from drivers.decoding import Block
from drivers.modbus.framing import DeviceException, Exchange, Noise, Registers, RtuExchange, TcpExchange

CHUNK = 1024


class LineLost(Exception):
    """The line cannot be used. Its text is a person's sentence with the mend."""


class NoAnswer(Exception):
    """The unit did not answer in time, or with noise only."""


class Line(ABC):
    """What meters share. `exchange` is for one caller at a time: a line's poller owns it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._transactions: Iterator[int] = itertools.cycle(range(1, 0x10000))

    async def exchange(self, unit: int, block: Block, timeout_s: float) -> Registers | DeviceException:
        """Ask a unit for a block of registers.

        Raises NoAnswer after `timeout_s` (s) or for noise, LineLost where the line itself fails.
        """
        try:
            with trio.fail_after(timeout_s):
                await self._open()
                exchange = self._exchange(unit, block)
                await self._write(exchange.request)
                return await self._answer(exchange)
        except trio.TooSlowError:
            await self._after_silence()
            raise NoAnswer(f"no answer from unit {unit} within {timeout_s:g} s") from None
        except LineLost:
            await self.close()
            raise

    async def _answer(self, exchange: Exchange) -> Registers | DeviceException:
        while True:
            answer = exchange.feed(await self._read())
            if isinstance(answer, Noise):
                await self.close()
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
    async def _after_silence(self) -> None:
        """After a request without an answer."""

    @abstractmethod
    def _exchange(self, unit: int, block: Block) -> Exchange: ...

    @abstractmethod
    async def _write(self, data: bytes) -> None: ...

    @abstractmethod
    async def _read(self) -> bytes: ...


class TcpLine(Line):
    """Modbus TCP, Modbus TCP over TLS (`tls`), or RTU frames over TCP (`rtu`)."""

    def __init__(self, host: str, port: int, *, rtu: bool = False, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(f"{host}:{port}")
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
            stream: trio.abc.Stream = await trio.open_tcp_stream(self._host, self._port)
            if self._tls is not None:
                secured = trio.SSLStream(stream, self._tls, server_hostname=self._host)
                await secured.do_handshake()
                stream = secured
        except (OSError, trio.BrokenResourceError) as error:
            raise LineLost(
                f"{self.name} cannot be reached ({error}); check its address and the network"
            ) from error
        self._stream = stream

    async def _after_silence(self) -> None:
        # A late answer must not meet the next question: RTU has no transaction numbers, gateways lose them.
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
        super().__init__(device)
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

    async def _after_silence(self) -> None:
        """Nothing: the next request empties the line first."""

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
    number = getattr(error, "errno", None)
    return os.strerror(number) if isinstance(number, int) else str(error)
