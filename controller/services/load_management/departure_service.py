"""Service of departures: cards of running sessions, goals that follow, commands of programs."""

from __future__ import annotations

import logging

import trio

from controller.access.permissions import Actor
from controller.commands.site_command import SetDeparture, SetDepartures
from controller.config import Config
from controller.load_management.energy.departure_plan import CardInUse
from controller.load_management.energy.energy_records import DepartureRow, DeparturesStored
from controller.load_management.events import StationObserved
from controller.load_management.site_builder import find_refs
from controller.model.observations import EvseRef, NeedsSeen
from controller.services.access.command_service import CommandContentError, CommandService, TargetUnknownError
from controller.services.load_management.load_management_service import LoadManagementService
from controller.services.session_ledger.session_ledger_service import SessionLedger
from controller.store.state_store import StateStore
from drivers.coded_text import coded

log = logging.getLogger("controller")

CARDS_S = 5.0
"""Interval at which the cards that charge are looked up."""
MOST_MISTAKES = 20
"""Number of mistakes that an answer names."""


class DepartureService:
    """Gives cars the goals of the departure plan."""

    def __init__(
        self,
        config: Config,
        load_management: LoadManagementService,
        sessions: SessionLedger,
        store: StateStore,
        commands: CommandService,
    ) -> None:
        self._config = config
        self._load_management = load_management
        self._plans = load_management.energy.evses
        self._sessions = sessions
        self._store = store
        self._card_names: frozenset[str] = frozenset()
        self._names_of: dict[str, set[str]] = {}
        """Names of cards in the departures, by what sessions have of the card."""
        self._rows = [row for each in store.load(DeparturesStored) for row in each.departures]
        self.set_config(config)
        commands.add_handler(SetDeparture, self._on_set_departure)
        commands.add_handler(SetDepartures, self._on_set_departures)

    def set_config(self, config: Config) -> None:
        """Use the stations and cards of another configuration; its settings are in force already."""
        self._config = config
        if config.load_management.departures is None:
            self._plans.departures.remove_file()
        self._use_rows()
        self._update_card_names()

    def read_file(self, text: str) -> int:
        """Use the departures of a CSV file; return their number. Raises EnergyFileError."""
        return self._plans.departures.read_file(text, self._find_evses)

    async def run(self) -> None:
        """Look up the cards that charge, until cancelled."""
        while True:
            self.update_cards()
            await trio.sleep(CARDS_S)

    def update_cards(self) -> None:
        """Pass the cards that charge now to the plan, and the goals that follow to the load management."""
        if self._plans.departures.card_names != self._card_names:
            self._update_card_names()
        cards: dict[EvseRef, CardInUse] = {}
        received_wh: dict[EvseRef, float] = {}
        for session in self._sessions.running():
            if session.evse is None:
                continue
            ref = EvseRef(session.station, session.evse)
            received_wh[ref] = session.energy_wh or 0.0
            keys = {session.card.label, session.card.token_hash} - {""}
            names = keys.union(*(self._names_of.get(key, ()) for key in keys))
            cards[ref] = CardInUse(frozenset(names), session.card.priority_class)
        self._plans.set_cards(cards)
        utc = self._load_management.energy.utc(trio.current_time())
        if utc is None:
            return
        for ref, needs in self._plans.departures.take_changes(received_wh, utc):
            self._load_management.handle_event(StationObserved(ref.station, needs))

    def _update_card_names(self) -> None:
        self._card_names = self._plans.departures.card_names
        self._names_of = {}
        for name in self._card_names:
            self._names_of.setdefault(self._sessions.find_card_name(name), set()).add(name)

    def _find_evses(self, name: str) -> list[EvseRef]:
        """Return the EVSEs that a name means; all for an empty one."""
        return find_refs(self._config, name)

    def _use_rows(self) -> None:
        """Use the departures that a program has set, but those of stations that are not configured."""
        for mistake in self._plans.departures.set_rows(self._rows, self._find_evses):
            log.warning("departure not used reason=%s remedy=set the departures again", mistake)

    async def _on_set_departure(self, command: SetDeparture, _: Actor) -> object:
        """Set the departure goal of the car at an EVSE. Raises TargetUnknownError."""
        ref = EvseRef(command.station, command.evse)
        if ref not in self._find_evses(command.station):
            raise TargetUnknownError(coded("EVSE {ref} is not configured", ref=ref))
        needs = NeedsSeen(command.evse, 1000 * command.energy_kwh, command.leaves_in_s)
        self._load_management.handle_event(StationObserved(command.station, needs))
        return {}

    async def _on_set_departures(self, command: SetDepartures, _: Actor) -> object:
        """Replace the departures of programs. Raises CommandContentError, naming each mistake."""
        rows = [
            DepartureRow(
                station=each.station,
                day=each.day,
                ready_by=each.ready_by,
                energy_kwh=f"{each.energy_kwh:g}",
                card=self._sessions.find_card_name(each.card) if each.card else "",
                priority_class=each.priority_class,
            )
            for each in command.departures
        ]
        utc = self._load_management.energy.utc(trio.current_time())
        mistakes = self._plans.departures.find_mistakes(rows, self._find_evses, utc)
        if mistakes:
            raise CommandContentError("; ".join(mistakes[:MOST_MISTAKES]))
        await self._store.persist([DeparturesStored(tuple(rows))])
        self._rows = rows
        self._use_rows()
        self.update_cards()
        return {"departures": len(rows)}
