"""Service of the local CSMS: the stations without backend, and their memories."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import trio

from controller.config.card_files import CardFileError, load_cards
from controller.config.schema import LOCAL_CSMS, CardConfig, Config, LocalCsmsConfig
from controller.local_csms.cards import Card, CardList
from controller.local_csms.csms import LocalCsms
from controller.local_csms.csms_memory import STORED, CsmsMemory, TransactionNumbers
from controller.local_csms.csms_records import TransactionIdAllocated
from controller.local_csms.csms_settings import CsmsSettings
from controller.model.journal import JournalError, Record
from controller.ocpp.frames import Version
from controller.ocpp.payloads import StationTime
from controller.stations.local_link import LocalOwner
from controller.store.state_store import StateStore

log = logging.getLogger("controller")


class LocalCsmsService:
    """The CSMS of the stations without owner. Raises StoreError."""

    def __init__(
        self,
        config: Config,
        cards: Iterable[CardConfig],
        store: StateStore,
        station_time: StationTime,
    ) -> None:
        self._store = store
        self._station_time = station_time
        self._call_timeout_s = config.listen.call_timeout_s
        self._zone = ZoneInfo(config.site.timezone)
        self._numbers = TransactionNumbers(store.load(TransactionIdAllocated))
        self._memories: dict[str, CsmsMemory] = {}
        self._linked: dict[str, LocalCsms] = {}
        """The last link of each station."""
        self.replace_stations(config)
        self.set_cards(config.local_csms, cards)

    def replace_stations(self, config: Config) -> None:
        """Be the CSMS of the stations without owner of a configuration. Raises StoreError."""
        stations = {station.id for station in config.station}
        for gone in self._memories.keys() - stations:
            del self._memories[gone]
            self._linked.pop(gone, None)
        for station in config.station:
            if station.owner is None and station.id not in self._memories:
                memory = CsmsMemory(station.id, self._numbers)
                self._memories[station.id] = self._restore(memory, station.id)

    def set_cards(self, settings: LocalCsmsConfig, cards: Iterable[CardConfig]) -> None:
        """Use these settings and cards from now on, also for the stations that are connected."""
        self._cards = CardList((_make_card(card, self._zone) for card in cards), settings.authorization)
        self._settings = CsmsSettings(
            heartbeat_s=settings.heartbeat_s,
            meter_values_s=settings.meter_values_s,
            sends_local_list=settings.local_list,
            call_timeout_s=self._call_timeout_s,
            station_time=self._station_time,
        )
        for csms in self._linked.values():
            csms.replace_cards(self._cards, self._settings)

    def make_owner(self, station: str, version: Version, utc_of: Callable[[float], float]) -> LocalOwner:
        """Return the local CSMS for a connection of a station."""
        csms = LocalCsms(station, version, self._cards, self._settings, self._memories[station])
        self._linked[station] = csms
        return LocalOwner(LOCAL_CSMS, station, csms, self, utc_of)

    # -- commands of a person ---------------------------------------------------------------------------

    def choose_token(self, station: str, name: str | None) -> str | None:
        """Return the idToken for a remote start; None if there is none.

        `name` is a card's label or an idToken. Without one, a station of the local CSMS gets a token that is
        accepted for this start alone; which tokens others accept is their backends' decision.
        """
        memory = self._memories.get(station)
        if name is None:
            return None if memory is None else memory.make_remote_token(trio.current_time())
        card = self._cards.find_by_name(name)
        if card is not None:
            return card.token
        return name if memory is None or self._cards.is_free else None

    # -- durable records: see `stations.local_link.CsmsJournal` -----------------------------------------

    async def save(self, records: Sequence[Record]) -> None:
        """Persist records; see StateStore.persist. Raises StoreError."""
        await self._store.persist(records)

    def drop_station(self, station: str) -> None:
        """Restore a station's memory from the store: its last changes could not be written."""
        if station not in self._memories:
            return
        with contextlib.suppress(JournalError):  # the store cannot be read either, which it logs itself
            self._restore(self._memories[station], station)

    def _restore(self, memory: CsmsMemory, station: str) -> CsmsMemory:
        memory.restore(self._store.load_all(STORED, station))
        return memory


def load_cards_or_report(config: Config) -> list[CardConfig]:
    """Return all cards; those of the configuration alone if the card file cannot be read, with an ERROR."""
    try:
        return load_cards(config)
    except CardFileError as error:
        log.error("card file not used reason=%s: its cards are not accepted, correct it and reload", error)
        return list(config.card)


def _make_card(card: CardConfig, zone: ZoneInfo) -> Card:
    """Return the card of a table; it is valid until the end of its last day in the site's time zone."""
    until: float | None = None
    if card.valid_until is not None:
        following = card.valid_until + timedelta(days=1)
        until = datetime(following.year, following.month, following.day, tzinfo=zone).timestamp()
    return Card(
        token=card.token,
        label=card.label,
        type=card.type,
        priority_class=card.priority_class,
        valid_until=until,
        is_blocked=card.blocked,
    )
