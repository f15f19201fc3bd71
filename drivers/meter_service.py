"""Polling of meters: one task per meter, turns on each bus. Any failure is a state.

A meter whose polls fail is left out for more and more polls, so that it does not hold up the others on its
bus. A request without an answer is made once more only if the poll before went well. After its first good
reading a meter is asked for its serial number and firmware.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence

import msgspec
import trio

from drivers.bus_registry import BusRegistry
from drivers.coded_text import coded, text_of
from drivers.errors import Cause, DriverError
from drivers.health import MeterHealth
from drivers.meter_model import load_model
from drivers.meter_reader import MeterReader
from drivers.meter_share import serve_share
from drivers.modbus.bus import Bus
from drivers.modbus.modbus_tls import TlsFiles
from drivers.reading import MeterIdentity, MeterState, Quality
from drivers.settings import BusSettings, MeterSettings, default_port
from drivers.virtual_meter import VirtualMeters

log = logging.getLogger("drivers.meter")

Publish = Callable[[MeterState], None]

SKIPPED_POLLS = (0, 0, 1, 2, 5, 10)
"""Polls that a meter without an answer is left out for after its n-th failure."""


class MeterReport(msgspec.Struct, frozen=True):
    """State of one meter, the texts of its device, and how often what happened (see `MeterHealth.events`)."""

    settings: MeterSettings
    state: MeterState
    identity: MeterIdentity
    events: Mapping[str, int]


class MeterPoller:
    """Poller of one meter: checks the results, publishes each state, logs each change."""

    def __init__(self, settings: MeterSettings, publish: Publish) -> None:
        self.settings = settings
        self.state = MeterState(
            meter=settings.id, quality=Quality.DEAD, problem=coded("not read yet"), cause=Cause.NOT_READ
        )
        self.reader = MeterReader(settings, every_quantity=bool(settings.share))
        self.health = MeterHealth(settings.id, settings.stale_after_s, settings.frozen_after_s)
        self._publish = publish
        self._failures = 0
        self._skip = 0
        self._problem, self._cause = "", Cause.NOT_READ
        self._log = StateLog()
        self._identified = MeterIdentity()
        self._first_read = trio.Event()

    def has_settings(self, settings: MeterSettings) -> bool:
        """Return True if it reads the meter of these settings, which differ in times at most."""
        return (
            with_times(settings, self.settings) == self.settings
            and load_model(settings.driver) == self.reader.model  # a model of the site's own may have changed
        )

    def set_times(self, settings: MeterSettings) -> None:
        """Apply another interval and other ages of readings, from the next poll on."""
        self.settings = with_times(self.settings, settings)
        self.health.set_ages(settings.stale_after_s, settings.frozen_after_s)

    async def run(self, bus: Bus) -> None:
        """Poll the meter in its interval until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._identify_when_read, bus)
            due = trio.current_time()
            while True:
                await self.poll(bus)
                if self.state.quality is Quality.GOOD and self.reader.identity is None:
                    self._first_read.set()
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
            self._problem, self._cause = text_of(error), error.cause
            self.reader.reset_device()
            self._announce(self.health.on_failure(self._problem, self._cause, trio.current_time()))
        else:
            self._failures = 0
            self._announce(self.health.on_outcome(outcome, trio.current_time()))

    async def _identify_when_read(self, bus: Bus) -> None:
        """Ask the device for its identity whenever it has been read and is not known; until cancelled.

        A task of its own: where other units of the bus do not answer, the readings do not wait for it.
        """
        while True:
            await self._first_read.wait()
            self._first_read = trio.Event()
            await self._identify(bus)

    async def _identify(self, bus: Bus) -> None:
        identity = await self.reader.identify(bus)
        if identity not in (MeterIdentity(), self._identified):
            self._identified = identity
            log.info(
                "meter identified meter=%s serial_number=%s firmware=%s",
                self.settings.id, identity.serial_number or "-", identity.firmware or "-",
            )  # fmt: skip

    def _announce(self, state: MeterState) -> None:
        self.state = state
        self._log.on_state(state)
        self._publish(state)


class StateLog:
    """Log lines of one meter: each kind of trouble once until it is good again, and each limitation once."""

    def __init__(self) -> None:
        self._bad_since: float | None = None
        self._logged: set[tuple[Quality, Cause]] = set()
        self._limitation = ""

    def on_state(self, state: MeterState) -> None:
        """Log what has changed with this state."""
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
        self._log_limitation(state)

    def _log_limitation(self, state: MeterState) -> None:
        if state.limitation and state.limitation != self._limitation:
            log.warning("meter limited meter=%s problem=%s", state.meter, state.limitation)
        self._limitation = state.limitation or self._limitation


_EVENTS = {
    Quality.STALE: "became stale",
    Quality.DEAD: "is dead",
    Quality.IMPLAUSIBLE: "became implausible",
}


class _BackupLog:
    """Log lines of a virtual meter: its backup stands in, or does no longer. Its sources log their own."""

    def __init__(self) -> None:
        self._is_replaced = False

    def on_state(self, state: MeterState, backup: str | None) -> None:
        is_replaced = state.quality is Quality.GOOD and state.cause is not Cause.NONE
        if is_replaced and not self._is_replaced:
            log.warning("meter replaced meter=%s by=%s problem=%s", state.meter, backup, state.limitation)
        elif self._is_replaced and not is_replaced:
            log.info("meter no longer replaced meter=%s by=%s quality=%s", state.meter, backup, state.quality)
        self._is_replaced = is_replaced


class _PollTask:
    """Task of one poller: `scope` stops it, `ended` is set once it has left its bus."""

    def __init__(self) -> None:
        self.scope = trio.CancelScope()
        self.ended = trio.Event()


class MeterFleet:
    """All meters of a site: polled ones, those computed from others, and those that stations make.

    `publish` gets each meter's state after each of its polls. Meters on buses of `registry` share them with
    its other users. Raises ModelFileError for a driver that is unknown.
    """

    def __init__(
        self, meters: Sequence[MeterSettings], publish: Publish, registry: BusRegistry | None = None
    ) -> None:
        self._publish = publish
        self._buses = registry or BusRegistry()
        self._nursery: trio.Nursery | None = None
        """Tasks of the pollers, while `run` runs."""
        self._tasks: dict[MeterPoller, _PollTask] = {}
        self.pollers = [
            MeterPoller(each, self.on_meter_state) for each in meters if each.transport != "virtual"
        ]
        self._derived: dict[str, MeterSettings] = {}
        self._derived_states: dict[str, MeterState] = {}
        self._backup_logs: dict[str, _BackupLog] = {}
        self._set_virtual(meters)

    def _set_virtual(self, meters: Sequence[MeterSettings]) -> None:
        """Compute the virtual meters of these from now on; the last states of those that stay are kept."""
        before, self._derived = (
            self._derived,
            {each.id: each for each in meters if each.transport == "virtual"},
        )
        self._virtual = VirtualMeters(self._derived.values())
        same = {name for name, each in self._derived.items() if before.get(name) == each}
        self._derived_states = {name: each for name, each in self._derived_states.items() if name in same}
        self._backup_logs = {
            name: self._backup_logs[name] if name in same else _BackupLog() for name in self._derived
        }

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Poll the meters until cancelled."""
        async with trio.open_nursery() as self._nursery:
            for poller in self.pollers:
                self._start(poller, ())
            task_status.started()
            await trio.sleep_forever()  # meters may be added

    def _start(self, poller: MeterPoller, before: Sequence[trio.Event]) -> None:
        if self._nursery is not None:
            self._tasks[poller] = task = _PollTask()
            self._nursery.start_soon(self._run_poller, poller, task, before)

    async def _run_poller(self, poller: MeterPoller, task: _PollTask, before: Sequence[trio.Event]) -> None:
        """Run a poller and its servers once `before` are set: others may use its line or ports until then."""
        try:
            with task.scope:
                for ended in before:
                    await ended.wait()
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(_run_attached, poller, self._buses)
                    for share in poller.settings.share:
                        nursery.start_soon(
                            serve_share, poller.settings.id, share, poller.reader.last_registers
                        )
        finally:
            task.ended.set()

    def find_changed_models(self, drivers: Mapping[str, str]) -> list[str]:
        """Return the meters whose model is not what it was, where their driver stays; `drivers` by meter."""
        return [
            each.settings.id
            for each in self.pollers
            if drivers.get(each.settings.id) == each.settings.driver
            and load_model(each.settings.driver) != each.reader.model
        ]

    def find_other_meters(self, meters: Sequence[MeterSettings]) -> set[str]:
        """Return the meters whose values mean something else with these settings.

        A meter that is reached in another way only shows what it did before. A virtual meter means something
        else as soon as one of its sources does.
        """
        before = {each.settings.id: each.settings for each in self.pollers} | self._derived
        models = {each.settings.id: each.reader.model for each in self.pollers}
        found = {
            each.id
            for each in meters
            if each.id in before
            and (
                with_connection(with_times(each, before[each.id]), before[each.id]) != before[each.id]
                or (each.id in models and load_model(each.driver) != models[each.id])
            )
        }
        sources = {each.id: {*each.plus, *each.minus, each.backup} for each in meters}
        while further := {name for name, used in sources.items() if name not in found and used & found}:
            found |= further
        return found

    def replace_meters(self, meters: Sequence[MeterSettings]) -> None:
        """Read these meters from now on; those that differ in times at most are read on as before.

        One that is new or reached in another way is published as not read yet. Raises ModelFileError for a
        driver that is unknown, and nothing is changed then.
        """
        polled = {each.id: each for each in meters if each.transport != "virtual"}
        kept = {
            each.settings.id: each
            for each in self.pollers
            if (there := polled.get(each.settings.id)) is not None and each.has_settings(there)
        }
        added = {
            name: MeterPoller(each, self.on_meter_state) for name, each in polled.items() if name not in kept
        }
        stopped = [each for each in self.pollers if kept.get(each.settings.id) is not each]
        tasks = [self._tasks.pop(each) for each in stopped if each in self._tasks]
        for task in tasks:
            task.scope.cancel()
        self.pollers = [kept.get(name) or added[name] for name in polled]
        for name, poller in kept.items():
            poller.set_times(polled[name])
        self._set_virtual(meters)
        for poller in kept.values():  # a virtual meter has a state once each of its sources has one
            for state in self._virtual.on_state(poller.state, trio.current_time()):
                self._derived_states[state.meter] = state
        for poller in added.values():
            log.info("meter configured meter=%s driver=%s", poller.settings.id, poller.settings.driver)
            self.on_meter_state(poller.state)
            self._start(poller, [task.ended for task in tasks])

    def on_meter_state(self, state: MeterState) -> None:
        """Publish the state of a meter, and those of the meters that are computed from it."""
        self._publish_state(state)
        for derived in self._virtual.on_state(state, trio.current_time()):
            self._publish_state(derived)

    def _publish_state(self, state: MeterState) -> None:
        if state.meter in self._derived:
            self._derived_states[state.meter] = state
            self._backup_logs[state.meter].on_state(state, self._derived[state.meter].backup)
        self._publish(state)

    def reports(self) -> Iterator[MeterReport]:
        """Yield each meter's state, its device and its counted events."""
        for poller in self.pollers:
            identity = poller.reader.identity or MeterIdentity()
            yield MeterReport(poller.settings, poller.state, identity, dict(poller.health.events))
        for name, settings in self._derived.items():
            unknown = MeterState(
                meter=name, quality=Quality.DEAD, problem=coded("not read yet"), cause=Cause.NOT_READ
            )
            yield MeterReport(settings, self._derived_states.get(name, unknown), MeterIdentity(), {})

    def bus_events(self) -> Mapping[str, Mapping[str, int]]:
        """Return the counted events of each bus, by its name."""
        return {bus.name: dict(bus.events) for bus in self._buses.buses.values()}


async def run_meters(
    meters: Sequence[MeterSettings],
    publish: Publish,
    registry: BusRegistry | None = None,
    *,
    task_status: trio.TaskStatus[Sequence[MeterPoller]] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Poll all meters until cancelled, see `MeterFleet`; starts with the pollers."""
    fleet = MeterFleet(meters, publish, registry)
    task_status.started(fleet.pollers)
    await fleet.run()


def with_times(settings: MeterSettings, other: MeterSettings) -> MeterSettings:
    """Return settings with the interval and the ages of readings of others."""
    return msgspec.structs.replace(
        settings,
        interval_s=other.interval_s,
        stale_after_s=other.stale_after_s,
        frozen_after_s=other.frozen_after_s,
    )


def with_connection(settings: MeterSettings, other: MeterSettings) -> MeterSettings:
    """Return settings with the way to the device of others, and what is not about its values."""
    return msgspec.structs.replace(
        settings,
        host=other.host,
        port=other.port,
        device=other.device,
        baud=other.baud,
        parity=other.parity,
        stopbits=other.stopbits,
        timeout_s=other.timeout_s,
        ca=other.ca,
        certificate=other.certificate,
        key=other.key,
        priority=other.priority,
        share=other.share,
    )


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
