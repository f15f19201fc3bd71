"""Dimming service: store, inputs, clock and backend of the dimming controller.

The decisions are those of `DimmingController`, which is pure. Its actions are carried out in their order: the
state is stored, the site is limited, the evidence is recorded, then the answers and notifications are sent.

A limit is obeyed even if the store cannot be written; that is logged and counted.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import partial
from pathlib import Path

import trio

from controller.config import Config
from controller.config.schema import DimmingConfig
from controller.dimming import dimming_messages
from controller.dimming.dimming_builder import make_dimming_settings, module_settings
from controller.dimming.dimming_controller import DimmingController
from controller.dimming.effective_limit import EffectiveLimit
from controller.dimming.events import (
    ClockTrusted,
    CommandAnswer,
    CommandReceived,
    Decided,
    DimmingAction,
    DimmingChanged,
    DimmingEvent,
    DimmingLogEntry,
    DimmingMemory,
    DimmingTick,
    EebusAction,
    EebusProof,
    EebusReported,
    InputsRead,
    Measured,
    MemoryChecked,
    NotifyBackends,
    PersistDimming,
    ProductionAnswered,
    RecordEvidence,
    SourceLimited,
    SourceReached,
)
from controller.dimming.evidence_recovery import recover_obeyed_commands
from controller.dimming.key_proofs import KeyProofs
from controller.dimming.notifications import BACKEND, GRID_OPERATOR, DimmingSpan
from controller.load_management import events as site_events
from controller.model.journal import Record
from controller.ocpp.frames import Version
from controller.profiles.schedule import lowest
from controller.services.clock_state import is_synchronised
from controller.services.dimming_history import DimmingHistory, draws_w, power_w
from controller.services.dimming_notifier import DimmingNotifier
from controller.services.load_management_service import LoadManagementService, utc
from controller.services.policy_service import PolicyService
from controller.services.site_mailbox import SiteMailbox
from controller.signing.signing_keys import Keyring, OwnKey, read_key_files, select_signing_key
from controller.site_identity.identity import SiteLimited
from controller.stations.registry import SessionRegistry
from controller.store.evidence_files import FOLDER, EvidenceLog
from controller.store.evidence_records import EvidenceLine
from controller.store.state_journal import StoreError
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
        self._limits = limits
        self._mailbox = mailbox
        self._settings = make_dimming_settings(config, dimming)
        self._notifier = DimmingNotifier(
            config, dimming, registry, {ref.station for ref in self._settings.devices}, mailbox
        )
        now, wall = trio.current_time(), utc(trio.current_time())
        self._policy = policy_service
        self._signatures = KeyProofs(Keyring(), (), _own_keys(config))
        self._update_keys()
        directory = Path(config.store.directory)
        self._evidence = EvidenceLog(directory / FOLDER, _evidence_key(config, wall).private, wall, store)
        self._store = store
        self._controller = DimmingController(self._settings, self._signatures, now)
        self._timer = DeadlineTimer(lambda: self._controller.deadline(trio.current_time()))
        self._answer: CommandAnswer | None = None
        self._eebus_answer = Answered(False, "no answer")
        self._tokens = 0
        self._history = DimmingHistory(self._settings)
        self._trusted: bool | None = None
        self._witnessed = self._evidence.head.count
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
        self._feed(MemoryChecked(not self._store.status.error))
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
            self._notifier.repeat()

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
        view, voltage = self._limits.view(), self._config.site.voltage
        devices_w = draws_w(view, self._settings.devices, self._reading, voltage)
        grid_w = None if self._reading is None else power_w(self._reading, voltage)
        known = [watts for watts in devices_w.values() if watts is not None]
        self._history.drawn_w = sum(known) if len(known) == len(devices_w) else None
        self._history.grid_w = grid_w
        self._feed(Measured(devices_w, grid_w))
        if self._controller.effective.dimmed:
            decisions = {
                each.ref: (round(each.offered_a, 2), each.reason)
                for each in view.evses
                if each.ref in self._settings.devices
            }
            self._feed(Decided(decisions))
        self._notifier.update_displays()

    def record_evidence(self, record: RecordEvidence, also: Record | None) -> None:
        """Append a record to the evidence log, in one transaction with `also`."""
        self._persist([record], utc(trio.current_time()), () if also is None else (also,))

    def status(self) -> DimmingStatus:
        """Return the status of dimming."""
        effective = self._controller.effective
        return self._history.status(effective, self._describe_all(effective), self._evidence.head.count)

    # -- what goes out --------------------------------------------------------------------------------

    def _begin(self, now: float, wall: float) -> None:
        memory = max(self._store.load(DimmingMemory), key=lambda each: each.saved, default=None)
        if memory is None and self._store.status.was_lost:
            memory = DimmingMemory(saved=wall, said=recover_obeyed_commands(self._evidence.records()))
            log.error(
                "memory of dimming commands lost: sequences recovered from the evidence log sources=%s; "
                "limits that held before the start are gone, ask the grid operator for them",
                sorted(memory.said),
            )
        if memory is None:
            self._feed(ClockTrusted(self._clock_trusted()))
        else:
            self._controller.restore(memory, now, wall, clock_trusted=self._clock_trusted())
        self._feed(DimmingTick())

    def _feed(self, event: DimmingEvent) -> None:
        now = trio.current_time()
        before = self._controller.effective
        actions = self._controller.handle(event, now, utc(now))
        self._persist(actions, utc(now))
        for action in actions:
            self._do(action, now)
        if self._controller.effective != before:  # carried out and recorded: others may be notified
            self._notifier.notify(self._span(self._controller.effective, now))
        self._timer.update()

    def _do(self, action: DimmingAction, now: float) -> None:
        match action:
            case PersistDimming() | RecordEvidence():
                pass  # in the transaction that `_persist` has committed
            case DimmingChanged(effective=effective):
                self._dim(effective, now)
            case CommandAnswer():
                self._answer = action
                self._history.count_answer(action)
            case NotifyBackends(payload=payload):
                self._mailbox.post(
                    dimming_messages.ACTION, dimming_messages.effect(self._config.site.protocol, payload)
                )
            case EebusAction(action=answered):
                self._eebus_answer = answered
            case DimmingLogEntry(level=level, text=text):
                log.log(level, "%s", text)

    def _dim(self, effective: EffectiveLimit, now: float) -> None:
        """Send the limit to load management."""
        total = effective.total
        bounds = [*effective.evses.values(), *([] if total is None else [total])]
        self._limits.handle_event(
            site_events.SiteDimmed(
                total_w=None if total is None else total.watts,
                phases_w=effective.phases_w,
                evses_w={ref: bound.watts for ref, bound in effective.evses.items()},
                why=self._describe_all(effective),
                whys={
                    ref: self._describe(bound.source, bound.watts, bound.until)
                    for ref, bound in effective.evses.items()
                },
                until=min((bound.until for bound in bounds if bound.until is not None), default=None),
            )
        )
        self._history.on_limit(effective, utc(now))

    def _span(self, effective: EffectiveLimit, now: float) -> DimmingSpan | None:
        """Return the limit to notify: of all devices, or the sum where each has its own."""
        bounds = [effective.total] if effective.total else list(effective.evses.values())
        if not bounds or (effective.total is None and len(bounds) < len(self._settings.devices)):
            return None
        ends = [bound.until for bound in bounds]
        until = None if None in ends else max(each for each in ends if each is not None)
        kinds = {source.id: source.kind for source in self._settings.sources}
        by_backend = all(kinds[bound.source] == "ocpp" for bound in bounds)
        return DimmingSpan(
            watts=sum(bound.watts for bound in bounds),
            since=utc(now),
            until=None if until is None else utc(until),
            set_by=BACKEND if by_backend else GRID_OPERATOR,
        )

    def _describe_all(self, effective: EffectiveLimit) -> str:
        if effective.total is not None:
            total = effective.total
            return self._describe(total.source, total.watts, total.until)
        return f"dimmed by {' and '.join(effective.sources)}" if effective.dimmed else ""

    def _describe(self, source: str, watts: float, until: float | None) -> str:
        text = f"dimmed by {source} to {watts / 1000:.1f} kW"
        return text if until is None else f"{text} until {self._notifier.format_local_time(utc(until))}"

    def _persist(self, actions: Sequence[DimmingAction], wall: float, also: Sequence[Record] = ()) -> None:
        """Store the changes of an event and its evidence in one transaction.

        A store that cannot be written keeps no limit from being obeyed: the records are kept in memory.
        """
        records: list[Record] = list(also)
        for action in actions:
            if isinstance(action, PersistDimming):
                records.append(action.memory)
            elif isinstance(action, RecordEvidence):
                records += self._evidence.prepare(action.kind, action.body, wall)
        try:
            self._store.persist_now(records)
            self._evidence.write_files()
        except StoreError as error:
            self._history.unwritten += sum(isinstance(each, EvidenceLine) for each in records)
            log.error("evidence not in its file yet reason=%s", error)

    # -- time -----------------------------------------------------------------------------------------

    def _read(self, module: str, levels: tuple[bool, ...]) -> None:
        """Take a reading of a module, which has the id of its source."""
        self._feed(InputsRead(module, levels))

    async def _keep_time(self) -> None:
        while True:
            await self._timer.wait_due()
            self._feed(DimmingTick())

    def _clock_trusted(self) -> bool:
        trusted = self._dimming.clock == "believed" or is_synchronised()
        if trusted is not self._trusted:
            if trusted:
                log.info("clock trusted")
            else:
                log.warning("clock not synchronised: signed commands are refused until it is; check NTP")
        self._trusted = trusted
        return trusted

    def _update_keys(self) -> None:
        """Take the keys and roles of the policy that is in force."""
        if self._policy is not None:
            policy, own = self._policy.in_force
            self._signatures.replace_keys(Keyring(policy.keys), policy.file.role, own)

    def _check_clock(self) -> None:
        self._update_keys()
        self._feed(ClockTrusted(self._clock_trusted()))

    def _send_checkpoint(self) -> None:
        """Send a checkpoint of the evidence log to the site's backend, as a witness of its end."""
        if self._evidence.head.count <= self._witnessed:
            return
        try:
            line = self._evidence.checkpoint(utc(trio.current_time()))
        except StoreError as failed:
            log.error("checkpoint not made reason=%s", failed)
            return
        self._witnessed = self._evidence.head.count
        self._mailbox.post(
            dimming_messages.ACTION, dimming_messages.checkpoint(self._config.site.protocol, line)
        )

    def _retire(self) -> None:
        if not self._clock_trusted():
            return
        days = timedelta(days=self._dimming.retention_days)
        self._evidence.check_files(utc(trio.current_time()))
        try:
            for name in self._evidence.retire(utc(trio.current_time()), days):
                log.info("evidence removed after its retention file=%s days=%d", name, days.days)
        except StoreError as failed:
            log.error("old evidence not removed reason=%s", failed)


def _evidence_key(config: Config, wall: float) -> OwnKey:
    """Return the key that signs the evidence: the newest, even if the clock is wrong."""
    own = _own_keys(config)
    return select_signing_key(own, wall) or max(own, key=lambda each: each.known.not_before)


def _own_keys(config: Config) -> list[OwnKey]:
    assert config.signing is not None  # the check has made sure of it, and of the key
    assert config.signing.key is not None
    return list(read_key_files(Path(config.signing.key)).values())


async def _every(interval_s: float, do: Callable[[], None]) -> None:
    while True:
        do()
        await trio.sleep(interval_s)
