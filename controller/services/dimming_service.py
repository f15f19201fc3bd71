"""The dimming desk at work: its files, its contacts, its clock, and what its decisions do to the site.

All decisions are `dimming.desk.Desk`'s, which is pure. Here its actions are done in their order: first what
a restart needs is on disk, then the site is limited, then it goes on record, then it is told.

A disk that fails keeps nobody from obeying: that a limit holds matters more than that it is written down.
It is told, and counted.
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
from controller.dimming.dimming_builder import desk_settings, module_settings
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
from drivers.eebus.lpc import Answered, Event, LpcView
from drivers.input_service import RunInputs
from drivers.reading import MeterState, Quality, Reading

log = logging.getLogger("controller.dimming")

CLOCK_S = 10.0
"""Between two looks at whether the clock is synchronised."""
CHECKPOINT_S = 3600.0
"""Between two checkpoints, while there is anything new to witness."""
RETIRE_S = 86_400.0


class DimmingService:
    """What limits the steerable EVSEs of a site, from its first moment on: what was saved holds at once.

    `mailbox` takes messages for the site's backend; `keeper` knows whose keys count, None: nobody's.
    Raises StoreFailed where its files cannot be used, KeyFileWrong where the key cannot.
    """

    def __init__(
        self,
        config: Config,
        dimming: DimmingConfig,
        limits: LoadManagementService,
        board: SessionRegistry,
        mailbox: SiteMailbox,
        store: StateStore,
        keeper: PolicyService | None,
        run_inputs: RunInputs,
    ) -> None:
        self._config = config
        self._dimming = dimming
        self._run_inputs = run_inputs
        self._limits = limits
        self._mailbox = mailbox
        self._settings = desk_settings(config, dimming)
        self._teller = DimmingNotifier(
            config, dimming, board, {ref.station for ref in self._settings.devices}, mailbox
        )
        now, wall = trio.current_time(), utc(trio.current_time())
        self._keeper = keeper
        self._signatures = KeyProofs(Keyring(), (), _own_keys(config))
        self._follow_keys()
        directory = Path(config.store.directory)
        self._evidence = EvidenceLog(directory / FOLDER, _evidence_key(config, wall).private, wall, store)
        self._store = store
        self._desk = DimmingController(self._settings, self._signatures, now)
        self._alarm = DeadlineTimer(lambda: self._desk.deadline(trio.current_time()))
        self._answer: CommandAnswer | None = None
        self._eebus_answer = Answered(False, "no answer")
        self._tokens = 0
        self._account = DimmingHistory(self._settings)
        self._trusted: bool | None = None
        self._witnessed = self._evidence.head.count
        self._meter = limits.site.circuits[0].meter
        self._reading: Reading | None = None
        self._begin(now, wall)

    async def run(self) -> None:
        """Read the contacts and keep the time, until cancelled."""
        async with trio.open_nursery() as nursery:
            modules = list(module_settings(self._dimming).values())
            nursery.start_soon(self._run_inputs, modules, self._read)
            nursery.start_soon(self._keep_time)
            nursery.start_soon(partial(_every, CLOCK_S, self._look_at_clock))
            nursery.start_soon(partial(_every, CHECKPOINT_S, self._hand_out_checkpoint))
            nursery.start_soon(partial(_every, RETIRE_S, self._retire))

    # -- what comes in --------------------------------------------------------------------------------

    def answer_data_transfer(self, payload: bytes) -> bytes:
        """The answer to a DataTransfer of the site's backend."""
        received = dimming_messages.command_in(dimming_messages.ACTION, payload)
        if received is None:
            return dimming_messages.not_understood(payload)
        self._tokens += 1
        self._feed(MemoryChecked(not self._store.status.error))
        self._feed(CommandReceived(self._tokens, self._config.site.backend or "", received))
        answer = self._answer
        assert answer is not None  # the desk answers each at once
        return dimming_messages.answer(self._config.site.protocol, answer.payload, accepted=answer.accepted)

    def report_eebus(self, source: str, event: Event, proof: EebusProof | None = None) -> Answered:
        """Process an event of an energy guard; return the answer to a write."""
        self._eebus_answer = Answered(False, "no answer")
        self._feed(EebusReported(source, event, proof))
        return self._eebus_answer

    def eebus_view(self, source: str) -> LpcView:
        """Return the state of the LPC machine of a source of kind "eebus"."""
        return self._desk.eebus_view(source)

    def on_backend_reached(self, there: bool) -> None:
        """The site's backend, by which words come, is there from now on, or is not."""
        for source in self._settings.sources:
            if source.kind in ("signed", "ocpp"):
                self._feed(SourceReached(source.id, there))
        if there:
            self._teller.again()

    def on_site_limited(self, limited: SiteLimited) -> float | None:
        """The backend's limit for the site. Returns what is one for the whole connection (A per phase).

        What it says for somebody outside is for the steerable EVSEs, where a source of kind "ocpp" may dim
        them. OCPP 1.6 has one purpose for both: there the limit holds as both.
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

    def metered(self, state: MeterState) -> None:
        """A meter was read, or could not be."""
        if state.meter == self._meter:
            self._reading = state.reading if state.quality is Quality.GOOD else None
            self.look()

    def look(self) -> None:
        """Take in what the site draws and may draw now."""
        view, voltage = self._limits.view(), self._config.site.voltage
        devices_w = draws_w(view, self._settings.devices, self._reading, voltage)
        grid_w = None if self._reading is None else power_w(self._reading, voltage)
        known = [watts for watts in devices_w.values() if watts is not None]
        self._account.drawn_w = sum(known) if len(known) == len(devices_w) else None
        self._account.grid_w = grid_w
        self._feed(Measured(devices_w, grid_w))
        if self._desk.effective.dimmed:
            decisions = {
                each.ref: (round(each.offered_a, 2), each.reason)
                for each in view.evses
                if each.ref in self._settings.devices
            }
            self._feed(Decided(decisions))
        self._teller.look()

    def status(self) -> DimmingStatus:
        """What people are told of it."""
        effective = self._desk.effective
        return self._account.status(effective, self._in_words(effective), self._evidence.head.count)

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
            self._desk.recall(memory, now, wall, clock_trusted=self._clock_trusted())
        self._feed(DimmingTick())

    def _feed(self, event: DimmingEvent) -> None:
        now = trio.current_time()
        before = self._desk.effective
        actions = self._desk.handle(event, now, utc(now))
        self._persist(actions, utc(now))
        for action in actions:
            self._do(action, now)
        if self._desk.effective != before:  # it is done, and on record: now it may be told
            self._teller.tell(self._span(self._desk.effective, now))
        self._alarm.update()

    def _do(self, action: DimmingAction, now: float) -> None:
        match action:
            case PersistDimming() | RecordEvidence():
                pass  # in the transaction that `_persist` has committed
            case DimmingChanged(effective=effective):
                self._dim(effective, now)
            case CommandAnswer():
                self._answer = action
                self._account.answered(action)
            case NotifyBackends(payload=payload):
                self._mailbox.post(
                    dimming_messages.ACTION, dimming_messages.effect(self._config.site.protocol, payload)
                )
            case EebusAction(action=answered):
                self._eebus_answer = answered
            case DimmingLogEntry(level=level, text=text):
                log.log(level, "%s", text)

    def _dim(self, effective: EffectiveLimit, now: float) -> None:
        """Limit the site."""
        total = effective.total
        bounds = [*effective.evses.values(), *([] if total is None else [total])]
        self._limits.happened(
            site_events.SiteDimmed(
                total_w=None if total is None else total.watts,
                phases_w=effective.phases_w,
                evses_w={ref: bound.watts for ref, bound in effective.evses.items()},
                why=self._in_words(effective),
                whys={
                    ref: self._worded(bound.source, bound.watts, bound.until)
                    for ref, bound in effective.evses.items()
                },
                until=min((bound.until for bound in bounds if bound.until is not None), default=None),
            )
        )
        self._account.dimmed(effective, utc(now))

    def _span(self, effective: EffectiveLimit, now: float) -> DimmingSpan | None:
        """What is told to others: the limit on all devices, or the sum where each has its own."""
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

    def _in_words(self, effective: EffectiveLimit) -> str:
        if effective.total is not None:
            total = effective.total
            return self._worded(total.source, total.watts, total.until)
        return f"dimmed by {' and '.join(effective.sources)}" if effective.dimmed else ""

    def _worded(self, source: str, watts: float, until: float | None) -> str:
        words = f"dimmed by {source} to {watts / 1000:.1f} kW"
        return words if until is None else f"{words} until {self._teller.clock(utc(until))}"

    def _persist(self, actions: Sequence[DimmingAction], wall: float) -> None:
        """Commit what an event changes, and what goes on record about it, in one transaction.

        A store that cannot be written keeps no limit from being obeyed: the records are kept in memory.
        """
        records: list[Record] = []
        for action in actions:
            if isinstance(action, PersistDimming):
                records.append(action.memory)
            elif isinstance(action, RecordEvidence):
                records += self._evidence.prepare(action.kind, action.body, wall)
        try:
            self._store.persist_now(records)
            self._evidence.write_files()
        except StoreError as error:
            self._account.unwritten += sum(isinstance(each, EvidenceLine) for each in records)
            log.error("evidence not in its file yet: %s", error)

    # -- time -----------------------------------------------------------------------------------------

    def _read(self, module: str, levels: tuple[bool, ...]) -> None:
        """A module is named after its source."""
        self._feed(InputsRead(module, levels))

    async def _keep_time(self) -> None:
        while True:
            await self._alarm.wait_due()
            self._feed(DimmingTick())

    def _clock_trusted(self) -> bool:
        trusted = self._dimming.clock == "believed" or is_synchronised()
        if trusted is not self._trusted:
            told = "trusted" if trusted else "not synchronised: no signed command is obeyed until it is"
            log.log(logging.INFO if trusted else logging.WARNING, "the clock is %s", told)
        self._trusted = trusted
        return trusted

    def _follow_keys(self) -> None:
        """The policy's keys and roles are those that count now, over files that change and over the wire."""
        if self._keeper is not None:
            policy, own = self._keeper.in_force
            self._signatures.exchange(Keyring(policy.keys), policy.file.role, own)

    def _look_at_clock(self) -> None:
        self._follow_keys()
        self._feed(ClockTrusted(self._clock_trusted()))

    def _hand_out_checkpoint(self) -> None:
        """A line of the log for somebody else to keep: an end that is cut off is then found."""
        if self._evidence.head.count <= self._witnessed:
            return
        try:
            line = self._evidence.checkpoint(utc(trio.current_time()))
        except StoreError as failed:
            log.error("no checkpoint: %s", failed)
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
                log.info("evidence %s is older than %d days: removed", name, days.days)
        except StoreError as failed:
            log.error("old evidence cannot be removed: %s", failed)


def _evidence_key(config: Config, wall: float) -> OwnKey:
    """The key that signs the evidence until the next start: the newest, though the clock may be wrong now."""
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
