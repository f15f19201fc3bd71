"""Read-only Modbus TCP server: another energy manager reads the registers of a meter from its last reading.

For a meter with a single bus or connection. The registers are those of the last poll, at the addresses of
the meter itself. A reading that is too old is answered with exception 11, as a gateway does whose meter does
not answer; so no reader controls by old values.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import trio

from drivers.modbus.pymodbus_frames import MBAP, ReadRequest, build_answer, build_exception, parse_request
from drivers.read_plan import RegisterImage
from drivers.settings import ShareSettings

log = logging.getLogger("drivers.share")

IDLE_S = 120.0
"""A client that asks nothing for so long is disconnected."""
MAX_FRAME = 260
_ILLEGAL_FUNCTION, _ILLEGAL_ADDRESS, _ILLEGAL_VALUE, _TARGET_FAILED = 1, 2, 3, 11
MAX_REGISTERS = 125

Source = Callable[[], tuple[RegisterImage, float]]
"""Returns the registers of the last reading and its monotonic time (s)."""


class SharedRegisters:
    """Answers of one shared meter. Sans-IO."""

    def __init__(self, settings: ShareSettings, source: Source) -> None:
        self._settings = settings
        self._source = source

    def answer(self, frame: bytes, now: float) -> bytes:
        """Answer one frame of Modbus TCP at the monotonic `now` (s); empty for one that is invalid."""
        request = parse_request(frame, rtu=False)
        if request is None:
            if len(frame) <= MBAP:
                return b""
            unit, transaction = frame[6], int.from_bytes(frame[:2], "big")
            request = ReadRequest(unit, transaction, frame[7] & 0x7F, 0, 0)
        result = self._read(request, now)
        if isinstance(result, int):
            return build_exception(request, result, rtu=False)
        return build_answer(request, result, rtu=False)

    def _read(self, request: ReadRequest, now: float) -> list[int] | int:
        if request.unit not in (self._settings.unit, 0, 255):
            return _TARGET_FAILED
        if request.function not in (3, 4) or request.count == 0:
            return _ILLEGAL_FUNCTION
        if request.count > MAX_REGISTERS:
            return _ILLEGAL_VALUE
        image, read_at = self._source()
        if now - read_at > self._settings.max_age_s:
            return _TARGET_FAILED
        words = image.get(request.function, request.address, request.count)
        return _ILLEGAL_ADDRESS if words is None else words


async def serve_share(
    meter: str,
    settings: ShareSettings,
    source: Source,
    *,
    task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve a meter's registers until cancelled; starts with the bound port.

    Returns after a warning if the port cannot be opened: the meter itself is read without it.
    """
    try:
        listeners = await trio.open_tcp_listeners(settings.port, host=settings.host)
    except OSError as error:
        log.warning(
            "meter share failed meter=%s port=%d problem=%s remedy=choose another port",
            meter, settings.port, error.strerror or error,
        )  # fmt: skip
        task_status.started(0)
        return
    registers = SharedRegisters(settings, source)
    clients = trio.CapacityLimiter(settings.max_clients)

    async def serve(stream: trio.SocketStream) -> None:
        async with stream:
            try:
                clients.acquire_nowait()
            except trio.WouldBlock:
                return
            try:
                await _serve_client(stream, registers)
            finally:
                clients.release()

    task_status.started(listeners[0].socket.getsockname()[1])
    log.info("meter shared meter=%s port=%d unit=%d", meter, settings.port, settings.unit)
    await trio.serve_listeners(serve, listeners)


async def _serve_client(stream: trio.SocketStream, registers: SharedRegisters) -> None:
    """Answer the requests of one client until it leaves, stays idle, or sends what is not Modbus TCP."""
    buffer = b""
    try:
        while True:
            with trio.fail_after(IDLE_S):
                data = await stream.receive_some(MAX_FRAME)
            buffer += bytes(data)
            while len(buffer) >= MBAP:
                protocol, length = int.from_bytes(buffer[2:4], "big"), int.from_bytes(buffer[4:6], "big")
                if protocol != 0 or not 2 <= length <= MAX_FRAME - 6:
                    return
                if len(buffer) < 6 + length:
                    break
                frame, buffer = buffer[: 6 + length], buffer[6 + length :]
                await stream.send_all(registers.answer(frame, trio.current_time()))
            if not data:
                return
    except (trio.BrokenResourceError, trio.TooSlowError):
        return
