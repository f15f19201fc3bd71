"""What is remembered of CS01 in a folder, and the relays of its links, over any number of restarts.

house = Remembered(folder)
talk = house.link()
...                       # a conversation with the owner "cpo", station and observer "fleet"
talk = house.restarted(talk).link()
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from controller.ocpp.actions import OBSERVED, reports
from controller.ocpp.frames import Version
from controller.relay.answers import Answers
from controller.relay.authorisations import Authorisations
from controller.relay.autonomy import Autonomy, Rules
from controller.relay.commands import Commands
from controller.relay.courier import Courier
from controller.relay.events import Action, Commandable, Observed, ToObserver
from controller.relay.observing import Observing
from controller.relay.outbox import Outbox
from controller.relay.saving import Save, Word
from controller.relay.stead import Kept, Stead
from controller.relay.story import Story
from controller.relay.transaction_ids import TransactionIds
from controller.store.relay import RelayStore
from tests.controller.relay.playbook import TIMEOUT_S, UTC_0, Playbook

EVERYONE = Rules(authorise="everyone")


class Messages(Playbook):
    """A conversation in which messages alone have to be asked for. `writes`: what was to be saved, in order.

    What the observer hears stands in `fleet`.
    """

    def __init__(
        self,
        version: Version,
        *,
        up: bool,
        stead: Stead,
        story: Story,
        observers: Mapping[str, Observing],
    ) -> None:
        self.writes: list[tuple[Word, ...]] = []
        self.fleet: list[str] = []
        super().__init__(version, up=up, stead=stead, story=story, observers=observers)

    def _take(self, actions: list[Action]) -> None:
        self.writes += [action.words for action in actions if isinstance(action, Save)]
        self.fleet += [action.text for action in actions if isinstance(action, ToObserver)]
        aside = Save | Observed | Commandable | ToObserver
        super()._take([action for action in actions if not isinstance(action, aside)])


class Remembered:
    """`observed`: by the backend "fleet", too."""

    def __init__(
        self,
        folder: Path,
        version: Version = Version.V16,
        *,
        rules: Rules = EVERYONE,
        observed: bool = False,
    ) -> None:
        self._folder = folder
        self._version = version
        self._rules = rules
        self._observed = observed
        self._words = list(self._loaded())
        self.story, self.answers = Story("CS01"), Answers("CS01")
        self.drivers = Authorisations("CS01", b"key")
        self.outbox, self.ids = Outbox("CS01", "cpo"), TransactionIds("CS01", "cpo")
        self.copies, self.copied_ids = Outbox("CS01", "fleet"), TransactionIds("CS01", "fleet")
        for each in (
            self.story, self.answers, self.drivers, self.outbox, self.ids, self.copies, self.copied_ids,
        ):  # fmt: skip
            each.recall(self._words)

    def link(self, *, up: bool = True) -> Messages:
        """A station connects."""
        return Messages(
            self._version, up=up, stead=self.stead(), observers=self.observers(), story=self.story
        )

    def stead(self) -> Stead:
        """For one link."""
        kept = Kept(
            story=self.story,
            authorisations=self.drivers,
            answers=self.answers,
            outbox=self.outbox,
            ids=self.ids,
        )
        autonomy = Autonomy("CS01", self._version, self.drivers, self.ids, self.story, self._rules)
        courier = Courier(self.outbox, self.story, self.ids, self._version)
        return Stead(self._version, autonomy, courier, kept, lambda now: UTC_0 + now)

    def observers(self) -> dict[str, Observing]:
        """For one link."""
        return {"fleet": self._observing()} if self._observed else {}

    def restarted(self, talk: Messages, writes: int | None = None) -> Remembered:
        """We die: only so many of the link's writes have reached the disk, or all."""
        self._write(talk.writes[:writes])
        return Remembered(self._folder, self._version, rules=self._rules, observed=self._observed)

    def _observing(self) -> Observing:
        return Observing(
            "CS01",
            self._version,
            Commands("fleet", frozenset()),
            reports(OBSERVED),
            Courier(self.copies, self.story, self.copied_ids, self._version),
            self.copies,
            self.copied_ids,
            TIMEOUT_S,
        )

    def _loaded(self) -> Sequence[Word]:
        store = RelayStore(self._folder)
        words = store.load("CS01").words
        store.close()
        return words

    def _write(self, saves: Sequence[Sequence[Word]]) -> None:
        store = RelayStore(self._folder)
        for words in saves:
            store.write(words)
        store.close()
