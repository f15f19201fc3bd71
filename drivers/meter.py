"""Polling meters: one task a line, the meters of a line in turn. Whatever goes wrong is a state."""

from __future__ import annotations

import logging
import ssl
from collections.abc import Callable, Sequence
from functools import partial

import trio

from drivers.decoding import Block, Implausible, decode, plan
from drivers.health import MeterHealth
from drivers.modbus.framing import DeviceException, Registers
from drivers.modbus.line import Line, LineLost, NoAnswer, SerialLine, TcpLine
from drivers.reading import MeterState, Quality, Reading
from drivers.registers import RegisterMap, load_map
from drivers.settings import MeterSettings
from drivers.sunspec import SunSpecMissing, SunSpecWalk

log = logging.getLogger("drivers.meter")

Publish = Callable[[MeterState], None]

MODBUS_PORT, SECURE_PORT = 502, 802
RESTS = (0, 0, 1, 2, 5, 10)
"""Polls that a meter without an answer sits out after its n-th failure: it must not hold up its line."""
_REFUSES_GAPS = (2, 3)
"""Exceptions of a meter that was asked for a register which it does not have."""


class DeviceRefused(Exception):
    """The meter answered with an exception to something that we need. Its text is a person's sentence."""


class MeterPoller:
    """One meter on its line: what to read, and how it has gone so far."""

    def __init__(self, settings: MeterSettings, publish: Publish) -> None:
        self.settings = settings
        self._map = load_map(settings.driver)
        self._publish = publish
        self._health = MeterHealth(settings.id, settings.stale_after_s, settings.frozen_after_s)
        self._base: int | None = None if self._map.sunspec else 0
        self._tight = False
        self._failures = 0
        self._rest = 0
        self._why = ""
        self._told: set[str] = set()

    async def poll(self, line: Line) -> None:
        """Read the meter once, unless it sits out after failures; publish what is known of it then."""
        if self._rest > 0:
            self._rest -= 1
            self._say(self._health.failed(self._why, trio.current_time()))
            return
        try:
            outcome = await self._read(line)
        except (LineLost, NoAnswer, DeviceRefused, SunSpecMissing) as error:
            self._rest = RESTS[min(self._failures, len(RESTS) - 1)]
            self._failures += 1
            self._why = str(error)
            if self._map.sunspec is not None:
                self._base = None  # another device or firmware may be there when it is back
            self._say(self._health.failed(self._why, trio.current_time()))
        else:
            self._failures = 0
            self._say(self._health.read(outcome, trio.current_time()))

    async def _read(self, line: Line) -> Reading | Implausible:
        base = self._base if self._base is not None else await self._find_model(line)
        answers: dict[Block, Sequence[int]] = {}
        for block in plan(self._map, base, tight=self._tight):
            answer = await self._exchange(line, block)
            if isinstance(answer, Registers):
                answers[block] = answer.values
            elif not self._tight and answer.code in _REFUSES_GAPS and self._map.sunspec is None:
                self._tight = True
                return await self._read(line)
            elif _needed(self._map, block, base):
                raise DeviceRefused(
                    f"it answers {answer} to {block.count} registers from {block.address};"
                    f' is "{self.settings.driver}" the right driver?'
                )
        return decode(self._map, answers, trio.current_time(), base=base, invert=self.settings.invert)

    async def _find_model(self, line: Line) -> int:
        assert self._map.sunspec is not None
        walk = SunSpecWalk(self._map.sunspec, self._map.register[0].function)
        while walk.base is None:
            answer = await self._exchange(line, walk.next_read())
            walk.take(answer.values if isinstance(answer, Registers) else None)
        self._base = walk.base
        return walk.base

    async def _exchange(self, line: Line, block: Block) -> Registers | DeviceException:
        if line.paced:
            await trio.sleep(self._map.read.gap_ms / 1000)
        return await line.exchange(self.settings.unit, block, self.settings.timeout_s)

    def _say(self, state: MeterState) -> None:
        """Publish always; log each kind of trouble once until all is well again, not once a poll."""
        if state.quality is not Quality.GOOD:
            trouble = f"{state.quality}: {state.problem}"
            if _kind(trouble) not in self._told:
                log.warning("meter %s is %s", self.settings.id, trouble)
            self._told.add(_kind(trouble))
        elif self._told:
            log.warning("meter %s is good again", self.settings.id)
            self._told.clear()
        self._publish(state)


async def run_meters(
    meters: Sequence[MeterSettings],
    publish: Publish,
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Poll all meters until cancelled; `publish` gets each one's state after each of its polls.

    Started once all register maps are read. Raises RegisterFileWrong for a driver that is not known.
    """
    lines: dict[tuple[object, ...], list[MeterPoller]] = {}
    for settings in meters:
        lines.setdefault(_line_key(settings), []).append(MeterPoller(settings, publish))
    async with trio.open_nursery() as nursery:
        for pollers in lines.values():
            nursery.start_soon(poll_in_turn, open_line(pollers[0].settings), pollers)
        task_status.started()


async def poll_in_turn(line: Line, pollers: Sequence[MeterPoller]) -> None:
    """Poll the meters of one line until cancelled, each in its interval; closes the line then."""
    due = dict.fromkeys(pollers, trio.current_time())
    try:
        while True:
            poller = min(due, key=lambda each: due[each])
            await trio.sleep_until(due[poller])
            await poller.poll(line)
            # A line that is too slow for its meters falls behind evenly, and catches nothing up.
            due[poller] = max(due[poller] + poller.settings.interval_s, trio.current_time())
    finally:
        with trio.CancelScope(shield=True):
            await line.close()


def open_line(settings: MeterSettings) -> Line:
    """The line that a meter hangs on; nothing is opened before the first exchange."""
    if settings.transport == "rtu":
        defaults = load_map(settings.driver).serial
        return SerialLine(
            settings.device or "",
            settings.baud or defaults.baud,
            settings.parity or defaults.parity,
            settings.stopbits or defaults.stopbits,
        )
    if settings.transport == "tls":
        return TcpLine(settings.host or "", _port(settings), tls=partial(_tls_context, settings))
    return TcpLine(settings.host or "", _port(settings), rtu=settings.transport == "rtu-over-tcp")


def _tls_context(settings: MeterSettings) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=settings.ca)
    if settings.certificate is not None:
        context.load_cert_chain(settings.certificate, settings.key)
    return context


def _port(settings: MeterSettings) -> int:
    return settings.port or (SECURE_PORT if settings.transport == "tls" else MODBUS_PORT)


def _line_key(settings: MeterSettings) -> tuple[object, ...]:
    if settings.transport == "rtu":
        return (settings.device,)
    return (settings.host, _port(settings), settings.transport)


def _needed(register_map: RegisterMap, block: Block, base: int) -> bool:
    """Whether a block holds a current: without the rest a reading is still a reading."""
    return any(
        register.quantity.startswith("current") and block.has(base + register.address, register.words)
        for register in register_map.register
    )


def _kind(told: str) -> str:
    """What of a message makes it another one: figures in it change from poll to poll."""
    return "".join(letter for letter in told if not letter.isdigit())
