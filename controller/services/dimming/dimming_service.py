r"""Dimming service: passes events and the time to the dimming controller, and executes its actions in order.

The decisions are those of `DimmingController`, which is sans-IO. An event limits the site at once; its state
and its evidence are stored in one transaction, then answers and notifications are sent. A limit is obeyed,
and its command answered, even if the store cannot be written; that is logged and counted.

    digital inputs ----> DimmingService ----> DimmingEvidence   state and evidence, stored
    DimmingBackend ----/                \---> DimmingOutput     limit, what is measured
    EebusLimits ------/               \---> DimmingNotifier   backend and displays
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

import trio

from controller.dimming.dimming_controller import DimmingController
from controller.dimming.dimming_settings import ControllableEvses, DimmingSettings
from controller.dimming.events import (
    ClockTrusted,
    CommandAnswer,
    DimmingAction,
    DimmingChanged,
    DimmingEvent,
    DimmingTick,
    InputsRead,
    NotifyBackends,
)
from controller.model.effects import LogEntry
from controller.services.dimming.dimming_evidence import DimmingEvidence
from controller.services.dimming.dimming_output import DimmingOutput
from controller.services.dimming.dimming_trust import DimmingTrust
from controller.services.machine.wall_clock import utc
from controller.transport.deadline_timer import DeadlineTimer
from controller.web.status_model import DimmingStatus
from drivers.eebus.lpc import LpcView
from drivers.reading import MeterState

log = logging.getLogger("controller.dimming")

CLOCK_S = 10.0
"""Interval (s) of checks of the clock."""
CHECKPOINT_S = 3600.0
"""Interval (s) of checkpoints, if there are new records."""
RETIRE_S = 86_400.0

RunInputs = Callable[[Callable[[str, tuple[bool, ...]], None]], Awaitable[None]]
"""Reads the digital inputs until cancelled, and reports the levels of a source by its id."""


class DimmingService:
    """Limits the controllable EVSEs of a site; stored limits apply from the start."""

    def __init__(
        self,
        settings: DimmingSettings,
        trust: DimmingTrust,
        evidence: DimmingEvidence,
        output: DimmingOutput,
        run_inputs: RunInputs,
    ) -> None:
        self.evidence = evidence
        self._settings = settings
        self._trust = trust
        self._output = output
        self._notifier = output.notifier
        self._run_inputs = run_inputs
        self._controller = DimmingController(settings, trust.signatures, trio.current_time())
        self._timer = DeadlineTimer(lambda: self._controller.deadline)
        self._is_dimmed = False
        """True while a limit applies."""
        self._restore()

    def _restore(self) -> None:
        now = trio.current_time()
        memory = self.evidence.load_memory()
        if memory is None:
            self.handle_event(ClockTrusted(self._trust.is_clock_trusted()))
        else:
            trusted = self._trust.is_clock_trusted()
            self._controller.restore(memory, now, utc(now), clock_trusted=trusted)
        self.handle_event(DimmingTick())

    async def run(self) -> None:
        """Read the inputs and keep the time, until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.evidence.run)
            nursery.start_soon(self._trust.watch_own_keys)
            nursery.start_soon(self._run_inputs, self._on_inputs_read)
            nursery.start_soon(self._keep_time)
            nursery.start_soon(partial(_every, CLOCK_S, self._check_clock))
            nursery.start_soon(partial(_every, CHECKPOINT_S, self._send_checkpoint))
            nursery.start_soon(partial(_every, RETIRE_S, self._retire))

    def handle_event(self, event: DimmingEvent) -> Sequence[DimmingAction]:
        """Pass an event to the controller, execute its actions, and return them: answers are among them.

        Who answers a partner waits for `evidence.wait_stored` first.
        """
        now = trio.current_time()
        wall = utc(now)
        self._trust.update_keys()
        actions = self._controller.handle(event, now, wall)
        changed: DimmingChanged | None = None
        reports: list[bytes] = []
        for action in actions:
            match action:
                case DimmingChanged(effective=effective):
                    changed = action
                    self._is_dimmed = effective.dimmed
                    self._output.limit(effective, wall)
                case CommandAnswer():
                    self._output.count_answer(action)
                case NotifyBackends(payload=payload):
                    reports.append(payload)
                case LogEntry(level=level, text=text):
                    log.log(level, "%s", text)
        if changed is None and not reports:
            self.evidence.persist(actions, wall)
        else:
            self.evidence.persist(actions, wall, lambda _: self._notify(changed, reports, now))
        self._timer.update(self._controller.deadline)
        return actions

    def _notify(self, changed: DimmingChanged | None, reports: Sequence[bytes], now: float) -> None:
        """Notify others of what an event has changed at `now`: it is carried out and recorded."""
        for report in reports:
            self._notifier.report_effect(report)
        if changed is not None:
            self._notifier.notify(changed.effective, now)

    def set_devices(self, devices: ControllableEvses) -> None:
        """Limit these controllable EVSEs from now on; the minimum that is left to all follows from them."""
        self._settings.set_devices(devices)
        self._output.mark_dimmed(self._controller.effective)
        self.handle_event(DimmingTick())

    def on_meter_state(self, state: MeterState) -> None:
        """Take the state of a meter; under a limit its outcome is measured at once."""
        if self._output.on_meter_state(state) and self._is_dimmed:
            self.update_measurement()

    def update_measurement(self) -> None:
        """Compare the draw and the limits of the site now with the limit."""
        has_decisions = self._controller.needs_decisions(trio.current_time())
        self.handle_event(self._output.measure(has_decisions=has_decisions))
        self._notifier.update_displays()

    def repeat_notices(self) -> None:
        """Notify the site's backend again: its link was opened."""
        self._notifier.repeat()

    def eebus_view(self, source: str) -> LpcView:
        """Return the state of the LPC machine of a source of kind "eebus"."""
        return self._controller.eebus_source(source).view

    def status(self) -> DimmingStatus:
        """Return the status of dimming."""
        controller, evidence = self._controller, self.evidence
        return self._output.status(controller.effective, controller.lost, evidence.count, evidence.failed)

    def _on_inputs_read(self, source: str, levels: tuple[bool, ...]) -> None:
        self.handle_event(InputsRead(source, levels))

    async def _keep_time(self) -> None:
        while True:
            await self._timer.wait_due()
            self.handle_event(DimmingTick())

    def _check_clock(self) -> None:
        self.evidence.use_keys(self._trust.evidence_key(), self._trust.public_keys())
        self.handle_event(ClockTrusted(self._trust.is_clock_trusted()))

    def _send_checkpoint(self) -> None:
        """Send a checkpoint of new records to the site's backend, as a witness of their end."""
        self.evidence.make_checkpoint(self._notifier.send_checkpoint)

    def _retire(self) -> None:
        if self._trust.is_clock_trusted():
            self.evidence.retire()


async def _every(interval_s: float, do: Callable[[], None]) -> None:
    while True:
        do()
        await trio.sleep(interval_s)
