"""Dimming service: store, inputs, clock and backend of the dimming controller.

The decisions are those of `DimmingController`, which is pure. Its actions are carried out in their order: the
state is stored, the site is limited, the evidence is recorded, then the answers and notifications are sent.

A limit is obeyed even if the store cannot be written; that is logged and counted.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial

import trio

from controller.config import Config
from controller.config.schema import DimmingConfig
from controller.dimming import dimming_messages
from controller.dimming.dimming_builder import make_dimming_settings, module_settings
from controller.dimming.dimming_controller import DimmingController
from controller.dimming.events import (
    ClockTrusted,
    CommandAnswer,
    CommandReceived,
    DimmingAction,
    DimmingChanged,
    DimmingEvent,
    DimmingLogEntry,
    DimmingTick,
    EebusAction,
    EebusProof,
    EebusReported,
    InputsRead,
    MemoryChecked,
    NotifyBackends,
    PersistDimming,
    ProductionAnswered,
    RecordEvidence,
    SourceLimited,
    SourceReached,
)
from controller.model.journal import Record
from controller.ocpp.frames import Version
from controller.profiles.schedule import lowest
from controller.services.dimming_evidence import DimmingEvidence
from controller.services.dimming_notifier import DimmingNotifier
from controller.services.dimming_output import DimmingOutput
from controller.services.dimming_trust import DimmingTrust
from controller.services.load_management_service import LoadManagementService
from controller.services.policy_service import PolicyService
from controller.services.site_mailbox import SiteMailbox
from controller.services.wall_clock import utc
from controller.site_identity.identity import SiteLimited
from controller.stations.registry import SessionRegistry
from controller.store.state_store import StateStore
from controller.transport.deadline_timer import DeadlineTimer
from controller.web.status_model import DimmingStatus
from drivers.eebus.lpc import Answered, Event, LpcView, State
from drivers.input_service import RunInputs
from drivers.reading import MeterState, Quality, Reading

log = logging.getLogger("controller.dimming")

CLOCK_S = 10.0
"""Interval (s) of checks of the clock."""
CHECKPOINT_S = 3600.0
"""Interval (s) of checkpoints, if there are new records."""
RETIRE_S = 86_400.0


class DimmingService:
    """Limits the controllable EVSEs of a site; stored limits apply from the start.

    `mailbox` takes messages for the site's backend; `policy_service` has keys and roles, None: no keys.
    Raises StoreError where the store, and a KeyFileError where the key cannot be used.
    """

    def __init__(
        self,
        config: Config,
        dimming: DimmingConfig,
        limits: LoadManagementService,
        registry: SessionRegistry,
        mailbox: SiteMailbox,
        store: StateStore,
        policy_service: PolicyService | None,
        run_inputs: RunInputs,
    ) -> None:
        self._config = config
        self._dimming = dimming
        self._run_inputs = run_inputs
        self._mailbox = mailbox
        self._settings = make_dimming_settings(config, dimming)
        stations = {ref.station for ref in self._settings.devices}
        notifier = DimmingNotifier(config, dimming, registry, stations, mailbox)
        self._output = DimmingOutput(self._settings, config.site.voltage, limits, notifier)
        now, wall = trio.current_time(), utc(trio.current_time())
        self._trust = DimmingTrust(config, dimming, policy_service)
        key = self._trust.evidence_key(wall)
        self._evidence = DimmingEvidence(config, dimming, key, store, mailbox, wall)
        self._controller = DimmingController(self._settings, self._trust.signatures, now)
        self._timer = DeadlineTimer(lambda: self._controller.deadline(trio.current_time()))
        self._answer: CommandAnswer | None = None
        self._eebus_answer = Answered(False, "no answer")
        self._tokens = 0
        self._meter = limits.site.circuits[0].meter
        self._reading: Reading | None = None
        self._begin(now, wall)

    async def run(self) -> None:
        """Read the inputs and keep the time, until cancelled."""
        async with trio.open_nursery() as nursery:
            modules = list(module_settings(self._dimming).values())
            nursery.start_soon(self._run_inputs, modules, self._read)
            nursery.start_soon(self._keep_time)
            nursery.start_soon(partial(_every, CLOCK_S, self._check_clock))
            nursery.start_soon(partial(_every, CHECKPOINT_S, self._send_checkpoint))
            nursery.start_soon(partial(_every, RETIRE_S, self._retire))

    # -- what comes in --------------------------------------------------------------------------------

    def answer_data_transfer(self, payload: bytes) -> bytes:
        """Return the response to a DataTransfer of the site's backend."""
        received = dimming_messages.command_in(dimming_messages.ACTION, payload)
        if received is None:
            return dimming_messages.not_understood(payload)
        self._tokens += 1
        self._feed(MemoryChecked(self._evidence.is_durable))
        self._feed(CommandReceived(self._tokens, self._config.site.backend or "", received))
        answer = self._answer
        assert answer is not None  # the controller answers each command at once
        return dimming_messages.answer(self._config.site.protocol, answer.payload, accepted=answer.accepted)

    def report_eebus(self, source: str, event: Event, proof: EebusProof | None = None) -> Answered:
        """Process an event of an energy guard; return the answer to a write."""
        self._eebus_answer = Answered(False, "no answer")
        self._feed(EebusReported(source, event, proof))
        return self._eebus_answer

    def record_production(
        self, source: str, event: Event, proof: EebusProof, answered: Answered, state: State
    ) -> None:
        """Record the write of an energy guard that limits production, and its answer."""
        self._feed(ProductionAnswered(EebusReported(source, event, proof), answered, state))

    def eebus_view(self, source: str) -> LpcView:
        """Return the state of the LPC machine of a source of kind "eebus"."""
        return self._controller.eebus_source(source).view

    def on_backend_reached(self, there: bool) -> None:
        """Take that the link to the site's backend was opened or lost."""
        for source in self._settings.sources:
            if source.kind in ("signed", "ocpp"):
                self._feed(SourceReached(source.id, there))
        if there:
            self._output.repeat()

    def on_site_limited(self, limited: SiteLimited) -> float | None:
        """Take the limit of the backend; return the part for the whole connection (A per phase).

        A limit set for an external party applies to the controllable EVSEs, where a source of kind "ocpp" may
        dim them. OCPP 1.6 has one purpose for both: there the limit holds as both.
        """
        old = self._config.site.protocol is Version.V16
        dims_a = limited.limit_a if old else limited.outside_a
        # Each source of kind "ocpp" is the one backend of the site.
        sources = [source.id for source in self._settings.sources if source.kind == "ocpp"]
        watts = None if dims_a is None else dims_a * 3 * self._config.site.voltage
        for source in sources:
            proof = "a charging profile of the site's backend" if watts is not None else "no profile any more"
            self._feed(SourceLimited(source=source, watts=watts, proof=proof))
        whole = [limited.limit_a] if sources else [limited.limit_a, limited.outside_a]
        return lowest(*whole)

    def on_meter_state(self, state: MeterState) -> None:
        """Take the state of a meter."""
        if state.meter == self._meter:
            self._reading = state.reading if state.quality is Quality.GOOD else None
            self.update_measurement()

    def update_measurement(self) -> None:
        """Take the draw and the limits of the site now."""
        measured, decided = self._output.measure(self._reading)
        self._feed(measured)
        if self._controller.effective.dimmed:
            self._feed(decided)
        self._output.update_displays()

    def record_evidence(self, record: RecordEvidence, also: Record | None) -> None:
        """Append a record to the evidence log, in one transaction with `also`."""
        self._evidence.persist([record], utc(trio.current_time()), () if also is None else (also,))

    def status(self) -> DimmingStatus:
        """Return the status of dimming."""
        effective = self._controller.effective
        return self._output.status(effective, self._evidence.count, self._evidence.unwritten)

    # -- what goes out --------------------------------------------------------------------------------

    def _begin(self, now: float, wall: float) -> None:
        memory = self._evidence.load_memory(wall)
        if memory is None:
            self._feed(ClockTrusted(self._trust.is_clock_trusted()))
        else:
            self._controller.restore(memory, now, wall, clock_trusted=self._trust.is_clock_trusted())
        self._feed(DimmingTick())

    def _feed(self, event: DimmingEvent) -> None:
        now = trio.current_time()
        before = self._controller.effective
        actions = self._controller.handle(event, now, utc(now))
        self._evidence.persist(actions, utc(now))
        for action in actions:
            self._do(action, now)
        if self._controller.effective != before:  # carried out and recorded: others may be notified
            self._output.notify(self._controller.effective, now)
        self._timer.update()

    def _do(self, action: DimmingAction, now: float) -> None:
        match action:
            case PersistDimming() | RecordEvidence():
                pass  # in the transaction that has been committed
            case DimmingChanged(effective=effective):
                self._output.limit(effective, now)
            case CommandAnswer():
                self._answer = action
                self._output.history.count_answer(action)
            case NotifyBackends(payload=payload):
                self._mailbox.post(
                    dimming_messages.ACTION, dimming_messages.effect(self._config.site.protocol, payload)
                )
            case EebusAction(action=answered):
                self._eebus_answer = answered
            case DimmingLogEntry(level=level, text=text):
                log.log(level, "%s", text)

    # -- time -----------------------------------------------------------------------------------------

    def _read(self, module: str, levels: tuple[bool, ...]) -> None:
        """Take a reading of a module, which has the id of its source."""
        self._feed(InputsRead(module, levels))

    async def _keep_time(self) -> None:
        while True:
            await self._timer.wait_due()
            self._feed(DimmingTick())

    def _check_clock(self) -> None:
        self._trust.update_keys()
        self._feed(ClockTrusted(self._trust.is_clock_trusted()))

    def _send_checkpoint(self) -> None:
        self._evidence.send_checkpoint(utc(trio.current_time()))

    def _retire(self) -> None:
        if self._trust.is_clock_trusted():
            self._evidence.retire(utc(trio.current_time()))


async def _every(interval_s: float, do: Callable[[], None]) -> None:
    while True:
        do()
        await trio.sleep(interval_s)
