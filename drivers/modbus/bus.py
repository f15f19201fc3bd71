"""Modbus bus under trio: one exchange at a time, in turns. Its transports are in the modules beside.

A bus is opened by its first exchange and closed as soon as it fails; the next exchange opens it anew. All
that waits ends with an answer, `BusError`, `ModbusAnswerError` or the caller's cancellation.

Many gateways close the connection after each answer or when it was idle, some close a new one at once
while they still hold the old one. So a connection that was closed before the answer is opened anew within
the same exchange, RECONNECTS times at most.

RTU answers do not name the registers that they hold. An answer that was given up may still come, and fit the
next request for as many registers of another place. Where that is possible, the bus is listened to after
an answer for as long as the lost one was waited for: of two answers that differ neither is used.
"""

from __future__ import annotations

import heapq
import itertools
import os
import ssl
import termios
from abc import ABC, abstractmethod
from collections import Counter, deque
from collections.abc import Iterator

import msgspec
import trio

from drivers.coded_text import coded, decimal
from drivers.errors import BusError, Cause, ModbusAnswerError
from drivers.modbus.framing import Diagnosis, Exchange, InvalidAnswer
from drivers.modbus.pymodbus_frames import DeviceException, Registers
from drivers.read_plan import ReadRange

RECONNECTS = 2
RECONNECT_PAUSE_S = 0.05
PRIORITY_HEAD_START_S = 1.0
"""Head start (s) of a request of the next higher priority: no request waits for ever."""
FAST_SILENCE_S = 0.00175
"""Silence between frames from 19200 baud up (Modbus over serial line 1.02, 2.5.1.1)."""


LATE_TIMEOUTS = 4
"""Time limits of an exchange, from its request on, within which a lost answer may still come."""
LOST_KEPT = 16
"""Lost answers that are kept of a bus, the newest."""


class LostAnswer(msgspec.Struct, frozen=True):
    """Request without an answer, and until when it may come (s, monotonic)."""

    unit: int
    read_range: ReadRange
    timeout_s: float
    until: float

    def may_be(self, unit: int, read_range: ReadRange, answer: Registers | DeviceException) -> bool:
        """Return True if the answer to another request may be this one."""
        if (self.unit, self.read_range.function) != (unit, read_range.function):
            return False
        fits = self.read_range.count == read_range.count or isinstance(answer, DeviceException)
        return fits and self.read_range != read_range


class ConnectionClosedError(BusError):
    """The peer closed the connection, or the adapter was unplugged."""

    cause = Cause.CONNECTION_CLOSED


class TurnQueue:
    """Turns on a bus: by priority, then in order; a high priority is a head start, so none starves."""

    def __init__(self) -> None:
        self._waiting: list[tuple[float, int, trio.Event]] = []
        self._numbers = itertools.count()
        self._busy = False

    async def acquire(self, priority: int = 0, since: float | None = None) -> None:
        """Wait for the exchanges before, each bounded by its own time limit, then hold the bus.

        `since`: the monotonic time (s) from which on the turn is wanted, by default now. The requests of
        one poll give the poll's begin, so a poll that has begun is completed before later ones.
        """
        if not self._busy:
            self._busy = True
            return
        event = trio.Event()
        asked_at = (trio.current_time() if since is None else since) - priority * PRIORITY_HEAD_START_S
        entry = (asked_at, next(self._numbers), event)
        heapq.heappush(self._waiting, entry)
        try:
            await event.wait()
        except trio.Cancelled:
            if event.is_set():  # the turn was given to us at the same moment
                self.release()
            else:
                self._waiting.remove(entry)
                heapq.heapify(self._waiting)
            raise

    def release(self) -> None:
        """Release the bus to the next waiting task."""
        if self._waiting:
            heapq.heappop(self._waiting)[2].set()
        else:
            self._busy = False


class Bus(ABC):
    """A bus that several units share; `read` gives its callers turns.

    `serial_timing`: a serial bus lies under it, where meters need pauses between requests. `events`
    counts exchanges, answers and everything that went wrong.
    """

    def __init__(self, name: str, *, serial_timing: bool) -> None:
        self.name = name
        self.serial_timing = serial_timing
        self.role = ""
        """Role of our certificate, for messages; empty without Modbus/TCP Security."""
        self.events: Counter[str] = Counter()
        self._turns = TurnQueue()
        self._lost: deque[LostAnswer] = deque(maxlen=LOST_KEPT)
        self._transactions: Iterator[int] = itertools.cycle(range(1, 0x10000))
        self._quiet_since = 0.0
        self._fresh = False
        self.just_opened = False
        """The last answer was the first one on its connection."""

    async def read(
        self,
        unit: int,
        read_range: ReadRange,
        timeout_s: float,
        *,
        priority: int = 0,
        since: float | None = None,
        gap_s: float = 0.0,
    ) -> Registers | DeviceException:
        """Read registers of a unit, at least `gap_s` (s) after the last exchange on a serial bus.

        `priority` and `since` order the turns on the bus, see `TurnQueue`.
        Raises ModbusAnswerError after `timeout_s` (s) or for bytes that are no answer, BusError where the bus
        itself fails.
        """
        await self._turns.acquire(priority, since)
        try:
            return await self._exchange_or_reconnect(unit, read_range, timeout_s, gap_s)
        finally:
            self._turns.release()

    async def _exchange_or_reconnect(
        self, unit: int, read_range: ReadRange, timeout_s: float, gap_s: float
    ) -> Registers | DeviceException:
        reconnects = 0
        while True:
            try:
                return await self._exchange(unit, read_range, timeout_s, gap_s)
            except ConnectionClosedError as error:
                await self.close()
                if reconnects >= RECONNECTS or error.cause is not Cause.CONNECTION_CLOSED:
                    raise
                self.events["reconnects"] += 1
                if self._fresh:
                    await trio.sleep(RECONNECT_PAUSE_S * 2**reconnects)
                reconnects += 1
            except (BusError, ModbusAnswerError):
                await self.close()
                raise

    async def _exchange(
        self, unit: int, read_range: ReadRange, timeout_s: float, gap_s: float
    ) -> Registers | DeviceException:
        self.events["requests"] += 1
        if not await self._is_ready():
            await self._open_within(timeout_s)
        await self._keep_silence(gap_s)
        exchange = self._new_exchange(unit, read_range)
        answer: Registers | DeviceException | None = None
        sent_at = trio.current_time()
        try:
            with trio.move_on_after(timeout_s):
                await self._write(exchange.request)
                answer = await self._receive(exchange)
                self.events["answers"] += 1
                self.just_opened, self._fresh = self._fresh, False
            if answer is not None:
                await self._confirm(unit, read_range, exchange, answer)
                return answer
        finally:
            self._quiet_since = trio.current_time()
        if self.serial_timing:
            until = sent_at + LATE_TIMEOUTS * timeout_s
            self._lost.append(LostAnswer(unit, read_range, timeout_s, until))
        diagnosis = exchange.diagnose()
        self.events["timeouts" if diagnosis is None else str(diagnosis.cause)] += 1
        await self._drain(timeout_s)
        raise self._no_answer(unit, timeout_s, diagnosis)

    async def _confirm(
        self, unit: int, read_range: ReadRange, exchange: Exchange, answer: Registers | DeviceException
    ) -> None:
        """Wait for a second answer, where the first may belong to an earlier request.

        Raises ModbusAnswerError if it differs.
        """
        now = trio.current_time()
        doubts = [each for each in self._lost if now < each.until and each.may_be(unit, read_range, answer)]
        if not doubts:
            return
        with trio.move_on_after(max(each.timeout_s for each in doubts)):
            found = exchange.feed(b"")
            while found is None:
                found = exchange.feed(await self._read())
            if found != answer:
                self.events["late_answers"] += 1
                raise ModbusAnswerError(
                    coded(
                        "unit {unit} on {bus}: two answers came to one request: that to an earlier one was "
                        "late; raise timeout_s",
                        unit=unit,
                        bus=self.name,
                    ),
                    Cause.WRONG_ANSWER,
                )

    def _no_answer(self, unit: int, timeout_s: float, diagnosis: Diagnosis | None) -> ModbusAnswerError:
        if diagnosis is not None:
            return ModbusAnswerError(
                coded("unit {unit} on {bus}: {problem}", unit=unit, bus=self.name, problem=diagnosis.text),
                diagnosis.cause,
            )
        return ModbusAnswerError(
            coded(
                "no answer from unit {unit} on {bus} within {timeout} s; check its wiring, unit number and "
                "bus settings, and raise timeout_s if it is slow",
                unit=unit,
                bus=self.name,
                timeout=decimal(timeout_s),
            )
        )

    async def _open_within(self, timeout_s: float) -> None:
        try:
            with trio.fail_after(timeout_s):
                await self._open()
        except trio.TooSlowError:
            raise self._slow_opening(timeout_s) from None

    def _slow_opening(self, timeout_s: float) -> BusError:
        """Explain that opening took too long."""
        return BusError(
            coded(
                "{bus} cannot be reached within {timeout} s; check its address and the network, and raise "
                "timeout_s if it is slow",
                bus=self.name,
                timeout=decimal(timeout_s),
            )
        )

    async def _keep_silence(self, gap_s: float) -> None:
        """Wait until the bus has been silent for long enough."""
        wait_s = self._quiet_since + max(gap_s, self._silence_s()) - trio.current_time()
        if self.serial_timing and wait_s > 0:
            await trio.sleep(wait_s)

    async def _receive(self, exchange: Exchange) -> Registers | DeviceException:
        while True:
            answer = exchange.feed(await self._read())
            if isinstance(answer, InvalidAnswer):
                self.events[str(answer.diagnosis.cause)] += 1
                raise ModbusAnswerError(
                    coded("{bus}: {problem}", bus=self.name, problem=answer.diagnosis.text),
                    answer.diagnosis.cause,
                )
            if answer is not None:
                return answer

    def _silence_s(self) -> float:
        return FAST_SILENCE_S

    @abstractmethod
    async def close(self) -> None:
        """Close the bus; the next exchange opens it again."""

    async def _is_ready(self) -> bool:
        """Return True if the bus is open and needs no preparation for the next request."""
        return False

    @abstractmethod
    async def _open(self) -> None:
        """Open the bus unless it is open, and discard what was received unsolicited."""

    @abstractmethod
    async def _drain(self, timeout_s: float) -> None:
        """Keep a late answer from being taken for the answer to the next request.

        RTU answers do not name the addresses that they belong to, and gateways lose transaction numbers.
        """

    @abstractmethod
    def _new_exchange(self, unit: int, read_range: ReadRange) -> Exchange: ...

    @abstractmethod
    async def _write(self, data: bytes) -> None: ...

    @abstractmethod
    async def _read(self) -> bytes: ...


async def write_descriptor(descriptor: int, data: bytes) -> None:
    """Write all data to a non-blocking port or socket. Raises OSError.

    trio's streams yield to other tasks after each write, which costs a look at all sockets; a request that
    is followed by the wait for its answer does not need it.
    """
    while data:
        try:
            data = data[os.write(descriptor, data) :]
        except BlockingIOError:
            await trio.lowlevel.wait_writable(descriptor)


async def read_descriptor(descriptor: int, limit: int) -> bytes:
    """Wait for data of a non-blocking port or socket; return up to `limit` bytes. Raises OSError.

    Empty at the end of the data.
    """
    while True:
        await trio.lowlevel.wait_readable(descriptor)
        try:
            return os.read(descriptor, limit)
        except BlockingIOError:
            continue  # another reader of the same descriptor, or a spurious wake-up


def os_reason(error: BaseException) -> str:
    """Return the system's text of an error, e.g. "No route to host"."""
    number = error.args[0] if isinstance(error, termios.error) else getattr(error, "errno", None)
    if isinstance(error, ssl.SSLError) or not isinstance(number, int) or number <= 0:
        return str(error)
    return os.strerror(number)
