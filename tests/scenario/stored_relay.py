"""The durable state of CS01 in a folder, and the relays of its links, over any number of restarts.

stored = StoredRelay(folder)
scenario = stored.open_link()
...                       # with the owner "cpo", the station, and the observer "fleet"
scenario = stored.restart(scenario).open_link()
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from controller.model.journal import Persist, Record
from controller.ocpp.actions import OBSERVED, reports
from controller.ocpp.frames import Version
from controller.offline.authorization_cache import AuthorizationCache
from controller.offline.offline_handler import OfflineHandler
from controller.offline.offline_responder import OfflineResponder, OfflineRules
from controller.offline.outbox import Outbox
from controller.offline.outbox_sender import OutboxSender
from controller.offline.response_cache import ResponseCache
from controller.offline.station_memory import STATION_RECORDS, OwnerMemory
from controller.offline.station_snapshot import StationSnapshot
from controller.offline.transaction_id_map import TransactionIdMap
from controller.relay.events import Action, Commandable, ObservationMade, ToObserver
from controller.relay.secondary_backend import CommandPermissions, SecondaryBackend
from controller.store.state_store import StateStore
from tests.scenario.relay_harness import TIMEOUT_S, UTC_0, RelayHarness

EVERYONE = OfflineRules(authorize="everyone")


class MessageHarness(RelayHarness):
    """A relay whose messages to the station and the owner alone have to be expected.

    `commits`: the records that were to be durable, in order; `observer_texts`: texts to the observer.
    """

    def __init__(
        self,
        version: Version,
        *,
        up: bool,
        offline: OfflineHandler,
        snapshot: StationSnapshot,
        observers: Mapping[str, SecondaryBackend],
    ) -> None:
        self.commits: list[tuple[Record, ...]] = []
        self.observer_texts: list[str] = []
        super().__init__(version, up=up, offline=offline, snapshot=snapshot, observers=observers)

    def _take_effects(self, actions: list[Action]) -> None:
        self.commits += [action.records for action in actions if isinstance(action, Persist)]
        self.observer_texts += [action.text for action in actions if isinstance(action, ToObserver)]
        aside = Persist | ObservationMade | Commandable | ToObserver
        super()._take_effects([action for action in actions if not isinstance(action, aside)])


class StoredRelay:
    """The parts of a relay that outlive its links; `observed`: also by the observer "fleet"."""

    def __init__(
        self,
        folder: Path,
        version: Version = Version.V16,
        *,
        rules: OfflineRules = EVERYONE,
        observed: bool = False,
    ) -> None:
        self._folder = folder
        self._version = version
        self._rules = rules
        self._observed = observed
        self._records = list(self._loaded())
        self.snapshot, self.answers = StationSnapshot("CS01"), ResponseCache("CS01")
        self.drivers = AuthorizationCache("CS01", b"key")
        self.outbox, self.ids = Outbox("CS01", "cpo"), TransactionIdMap("CS01", "cpo")
        self.copies, self.copied_ids = Outbox("CS01", "fleet"), TransactionIdMap("CS01", "fleet")
        for each in (
            self.snapshot,
            self.answers,
            self.drivers,
            self.outbox,
            self.ids,
            self.copies,
            self.copied_ids,
        ):
            each.restore(self._records)

    def open_link(self, *, up: bool = True) -> MessageHarness:
        """Return the relay of a new link of the station."""
        return MessageHarness(
            self._version,
            up=up,
            offline=self.make_offline_handler(),
            observers=self.make_secondary_backends(),
            snapshot=self.snapshot,
        )

    def make_offline_handler(self) -> OfflineHandler:
        """Return it for one link."""
        kept = OwnerMemory(
            snapshot=self.snapshot,
            authorizations=self.drivers,
            answers=self.answers,
            outbox=self.outbox,
            ids=self.ids,
        )
        responder = OfflineResponder(
            "CS01", self._version, self.drivers, self.ids, self.snapshot, self._rules
        )
        sender = OutboxSender(self.outbox, self.snapshot, self.ids, self._version, "cpo")
        return OfflineHandler(self._version, responder, sender, kept, lambda now: UTC_0 + now)

    def make_secondary_backends(self) -> dict[str, SecondaryBackend]:
        """Return it for one link."""
        return {"fleet": self._make_observer()} if self._observed else {}

    def restart(self, scenario: MessageHarness, commits: int | None = None) -> StoredRelay:
        """Return the state after a crash: so many commits of the link are on the disk, by default all."""
        self._write(scenario.commits[:commits])
        return StoredRelay(self._folder, self._version, rules=self._rules, observed=self._observed)

    def _make_observer(self) -> SecondaryBackend:
        return SecondaryBackend(
            "CS01",
            self._version,
            CommandPermissions("fleet", frozenset()),
            reports(OBSERVED),
            OutboxSender(self.copies, self.snapshot, self.copied_ids, self._version, "fleet"),
            self.copies,
            self.copied_ids,
            TIMEOUT_S,
        )

    def _loaded(self) -> Sequence[Record]:
        store = StateStore(self._folder)
        records = store.load_all(STATION_RECORDS, "CS01")
        store.close()
        return records

    def _write(self, saves: Sequence[Sequence[Record]]) -> None:
        store = StateStore(self._folder)
        for records in saves:
            store.persist_now(records)
        store.close()
