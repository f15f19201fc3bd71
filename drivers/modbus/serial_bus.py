"""Serial ports as Modbus buses: pyserial opens and configures them, trio waits for them."""

from __future__ import annotations

import errno
import termios

import serial
import trio

from drivers.coded_text import coded
from drivers.errors import BusError
from drivers.modbus.bus import (
    FAST_SILENCE_S,
    Bus,
    ConnectionClosedError,
    os_reason,
    read_descriptor,
    write_descriptor,
)
from drivers.modbus.framing import Exchange, RtuExchange
from drivers.read_plan import ReadRange

CHUNK = 1024
QUIET_S = 0.2
"""A bus that is silent for so long after a lost answer carries no late one any more."""
SILENCE_CHARACTERS = 3.5
BITS_PER_CHARACTER = 11


class SerialBus(Bus):
    """Modbus RTU on a serial port."""

    def __init__(self, device: str, baud: int, parity: str, stopbits: int) -> None:
        super().__init__(device, serial_timing=True)
        self._baud, self._parity, self._stopbits = baud, parity, stopbits
        self._port: serial.Serial | None = None

    @property
    def line_settings(self) -> str:
        """Settings of the port, e.g. "9600 8N1"."""
        return f"{self._baud} 8{self._parity}{self._stopbits}"

    async def close(self) -> None:
        """See `Bus`."""
        port, self._port = self._port, None
        if port is not None:
            trio.lowlevel.notify_closing(port.fileno())
            port.close()

    def _silence_s(self) -> float:
        return max(FAST_SILENCE_S, SILENCE_CHARACTERS * BITS_PER_CHARACTER / self._baud)

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
                self._request_low_latency(self._port)
            waiting = self._port.in_waiting
            if waiting:
                self.events["stray_bytes"] += waiting
            self._port.reset_input_buffer()  # also what the kernel has not passed on yet
        except (serial.SerialException, OSError, termios.error, ValueError) as error:
            raise BusError(self._explain_unavailable(error)) from error

    @staticmethod
    def _request_low_latency(port: serial.Serial) -> None:
        """Have the adapter pass bytes on at once; FTDI adapters hold them for 16 ms by default."""
        try:
            port.set_low_latency_mode(True)
        except (OSError, ValueError, NotImplementedError):
            return  # a driver without this mode

    def _explain_unavailable(self, error: Exception) -> str:
        number = error.args[0] if isinstance(error, termios.error) else getattr(error, "errno", None)
        if number == errno.ENOENT:
            return coded(
                "{device} does not exist: the adapter is unplugged, or device names another one",
                device=self.name,
            )
        if number == errno.EACCES:
            return coded(
                "{device} must not be opened; add the controller's user to the group dialout",
                device=self.name,
            )
        if number in (errno.EBUSY, errno.EAGAIN):
            return coded("{device} is used by another program; stop it", device=self.name)
        return coded(
            "{device} cannot be opened ({reason}); check the adapter",
            device=self.name,
            reason=os_reason(error),
        )

    async def _drain(self, timeout_s: float) -> None:
        with trio.move_on_after(timeout_s):
            received = True
            while received:
                with trio.move_on_after(QUIET_S) as quiet:
                    self.events["late_bytes"] += len(await self._read())
                received = not quiet.cancelled_caught

    def _new_exchange(self, unit: int, read_range: ReadRange) -> Exchange:
        return RtuExchange(unit, read_range.function, read_range.address, read_range.count)

    async def _write(self, data: bytes) -> None:
        assert self._port is not None
        try:
            await write_descriptor(self._port.fileno(), data)
        except OSError as error:
            raise self._unplugged(error) from error

    async def _read(self) -> bytes:
        assert self._port is not None
        try:
            data = await read_descriptor(self._port.fileno(), CHUNK)
        except OSError as error:
            raise self._unplugged(error) from error
        if not data:
            raise self._unplugged(None)
        return data

    def _unplugged(self, error: OSError | None) -> ConnectionClosedError:
        if error is None:
            return ConnectionClosedError(
                coded("{device} is gone; plug the adapter in again", device=self.name)
            )
        return ConnectionClosedError(
            coded(
                "{device} is gone ({reason}); plug the adapter in again",
                device=self.name,
                reason=os_reason(error),
            )
        )
