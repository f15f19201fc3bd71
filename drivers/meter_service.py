"""Polling of meters: one task per meter, turns on each bus. Whatever goes wrong is a state.

A meter whose polls fail is left out for more and more polls, so that it does not hold up the others on its
bus. A request without an answer is made once more only if the poll before went well.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import trio

from drivers.bus_registry import BusRegistry
from drivers.errors import Cause, DriverError
from drivers.health import MeterHealth
from drivers.meter_model import load_model
from drivers.meter_reader import MeterReader
from drivers.meter_share import serve_share
from drivers.modbus.bus import Bus
from drivers.modbus.modbus_tls import TlsFiles
from drivers.reading import MeterState, Quality
from drivers.settings import BusSettings, MeterSettings, default_port
from drivers.virtual_meter import VirtualMeters

log = logging.getLogger("drivers.meter")

Publish = Callable[[MeterState], None]

SKIPPED_POLLS = (0, 0, 1, 2, 5, 10)
"""Polls that a meter without an answer is left out for after its n-th failure."""


class MeterPoller:
    """One meter: polls it, judges the results, publishes each state, logs each change of it."""

    def __init__(self, settings: MeterSettings, publish: Publish) -> None:
        self.settings = settings
        self.reader = MeterReader(settings, every_quantity=bool(settings.share))
        self.health = MeterHealth(settings.id, settings.stale_after_s, settings.frozen_after_s)
        self._publish = publish
        self._failures = 0
        self._skip = 0
        self._problem, self._cause = "", Cause.NOT_READ
        self._bad_since: float | None = None
        self._logged: set[tuple[Quality, Cause]] = set()
        self._limitation = ""

    async def run(self, bus: Bus) -> None:
        """Poll the meter in its interval until cancelled."""
        due = trio.current_time()
        while True:
            await self.poll(bus)
            # A bus that is too slow for its meters falls behind evenly, and nothing is caught up on.
            due = max(due + self.settings.interval_s, trio.current_time())
            await trio.sleep_until(due)

    async def poll(self, bus: Bus) -> None:
        """Read the meter once, unless it is left out after failures; publish its state."""
        if self._skip > 0:
            self._skip -= 1
            self._announce(self.health.on_skipped(self._problem, self._cause, trio.current_time()))
            return
        try:
            outcome = await self.reader.read(bus, retry=self._failures == 0)
        except DriverError as error:
            self._skip = SKIPPED_POLLS[min(self._failures, len(SKIPPED_POLLS) - 1)]
            self._failures += 1
            self._problem, self._cause = str(error), error.cause
            self.reader.forget_device()
            self._announce(self.health.on_failure(self._problem, self._cause, trio.current_time()))
        else:
            self._failures = 0
            self._announce(self.health.on_outcome(outcome, trio.current_time()))

    def _announce(self, state: MeterState) -> None:
        """Publish the state; log each kind of trouble once until the meter is good again."""
        if state.quality is not Quality.GOOD:
            if self._bad_since is None:
                self._bad_since = trio.current_time()
            if (state.quality, state.cause) not in self._logged:
                self._logged.add((state.quality, state.cause))
                log.warning(
                    "meter %s meter=%s cause=%s problem=%s",
                    _EVENTS[state.quality], state.meter, state.cause, state.problem,
                )  # fmt: skip
        elif self._bad_since is not None:
            after_s = trio.current_time() - self._bad_since
            log.info("meter recovered meter=%s after=%.0fs", state.meter, after_s)
            self._bad_since = None
            self._logged.clear()
        if state.limitation and state.limitation != self._limitation:
            log.warning("meter limited meter=%s problem=%s", state.meter, state.limitation)
        self._limitation = state.limitation or self._limitation
        self._publish(state)


_EVENTS = {
    Quality.STALE: "became stale",
    Quality.DEAD: "is dead",
    Quality.IMPLAUSIBLE: "became implausible",
}


async def run_meters(
    meters: Sequence[MeterSettings],
    publish: Publish,
    registry: BusRegistry | None = None,
    *,
    task_status: trio.TaskStatus[Sequence[MeterPoller]] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Poll all meters until cancelled; `publish` gets each one's state after each of its polls.

    Started, with the pollers, once all models are loaded. Meters on buses of `registry` share them with
    its other users. Raises ModelFileError for a driver that is unknown.
    """
    buses = registry or BusRegistry()
    virtual = VirtualMeters(settings for settings in meters if settings.transport == "virtual")

    def publish_with_virtual(state: MeterState) -> None:
        publish(state)
        for derived in virtual.on_state(state, trio.current_time()):
            publish(derived)

    pollers = [
        MeterPoller(settings, publish_with_virtual) for settings in meters if settings.transport != "virtual"
    ]
    async with trio.open_nursery() as nursery:
        for poller in pollers:
            nursery.start_soon(_run_attached, poller, buses)
            for share in poller.settings.share:
                nursery.start_soon(serve_share, poller.settings.id, share, poller.reader.last_registers)
        task_status.started(pollers)


async def _run_attached(poller: MeterPoller, buses: BusRegistry) -> None:
    bus = buses.attach(bus_settings_of(poller.settings))
    try:
        await poller.run(bus)
    finally:
        with trio.CancelScope(shield=True):
            await buses.detach(bus)


def bus_settings_of(settings: MeterSettings) -> BusSettings:
    """Return the settings of the bus that a meter is connected to."""
    if settings.transport == "rtu":
        defaults = load_model(settings.driver).serial
        return BusSettings(
            transport="rtu",
            device=settings.device or "",
            baud=settings.baud or defaults.baud,
            parity=settings.parity or defaults.parity,
            stopbits=settings.stopbits or defaults.stopbits,
        )
    files = TlsFiles(settings.ca, settings.certificate, settings.key)
    return BusSettings(
        transport=settings.transport,
        host=settings.host or "",
        port=settings.port or default_port(settings.transport),
        tls=files if settings.transport == "tls" else None,
    )
