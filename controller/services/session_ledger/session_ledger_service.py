"""Service of the session ledger: one recorder per station, cards by label, retention."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterable
from functools import lru_cache
from zoneinfo import ZoneInfo

import trio
from msgspec.structs import replace

from controller.config.schema import CardConfig, Config
from controller.ocpp.frames import Version
from controller.ocpp.id_tokens import IdToken
from controller.services.machine.clock_state import is_synchronised
from controller.session_ledger.charging_session import (
    CardReference,
    ChargingSession,
    EndedSessionStored,
    RunningSessionStored,
    SessionsExpired,
    month_of,
    months_before,
    reference_card,
)
from controller.session_ledger.session_recorder import MOST_BEGUN_A_DAY, ClockChange, SessionRecorder
from controller.store.rule_types import key_begin, key_prefix
from controller.store.session_store import SessionStore
from controller.store.state_journal import StoreError
from controller.store.state_store import StateStore

log = logging.getLogger("controller.store")

MONTHS_REPEATED = 2
"""A session that began so many months ago may have ended just before a restart."""
EXPIRY_CHECK_S = 86_400.0
"""Interval at which sessions that are older than the retention are deleted."""
CLOCK_CHECK_S = 3600.0
"""Interval of the same while the clock is not synchronised."""
FIRST_YEAR = 1970
"""Year of a clock that has not been set since the power came."""
CLOCK_STEP_CHECK_S = 5.0
"""Interval at which steps of the clock are looked for."""
SMALLEST_STEP_S = 1.0
"""Step of the clock (s) from which times of sessions are corrected."""


class SessionLedger:
    """The charging sessions of all stations. Raises StoreError.

    `key` hashes idTokens. Running sessions are in memory, ended ones in the store.
    """

    def __init__(
        self,
        config: Config,
        cards: Iterable[CardConfig],
        store: StateStore,
        key: bytes,
        read_clock_state: Callable[[], bool] = is_synchronised,
    ) -> None:
        self._store = store
        self._key = key
        self._is_clock_synchronised = read_clock_state
        self._retention_months = config.sessions.retention_months
        self._evses = config.evse_ids
        self._cards: dict[str, CardConfig] = {}
        self._recorders: dict[str, tuple[Version, SessionRecorder]] = {}
        self.zone = ZoneInfo(config.site.timezone)
        self.set_cards(cards)
        self._ran_at_start = {record.station for record in store.load(RunningSessionStored)}
        """Stations with a session that ran at the start, of other configurations too."""
        for station in self._ran_at_start & self._evses.keys():
            # Which version the station uses shows when it connects.
            self._recorders[station] = Version.V16, self._restore(station, Version.V16)

    def replace_stations(self, config: Config) -> None:
        """Record the sessions of the stations of another configuration from now on."""
        self._evses = config.evse_ids

    def set_retention(self, months: int) -> None:
        """Keep sessions for so many months, from the next daily check on."""
        self._retention_months = months

    def set_cards(self, cards: Iterable[CardConfig]) -> None:
        """Name the cards of sessions that begin from now on by these labels."""
        self._cards = {card.token.lower(): card for card in cards}

    # -- of the sessions' links -----------------------------------------------------------------------

    def find_recorder(self, station: str, version: Version) -> SessionRecorder:
        """Return the recorder of a station: it outlives the links, as sessions do."""
        known = self._recorders.get(station)
        if known is None or known[0] is not version:
            known = self._recorders[station] = version, self._restore(station, version)
        return known[1]

    def drop_station(self, station: str) -> None:
        """Restore a station's running sessions from the store: their last changes could not be written."""
        known = self._recorders.get(station)
        if known is not None:
            with contextlib.suppress(StoreError):  # the store cannot be read either, which it logs itself
                self._recorders[station] = known[0], self._restore(station, known[0])

    def _restore(self, station: str, version: Version) -> SessionRecorder:
        evses = self._evses.get(station, [])
        recorder = SessionRecorder(
            station,
            version,
            self._name_card,
            evses[0] if len(evses) == 1 else None,
            self._is_clock_synchronised,
        )
        months = _repeated_months(month_of(time.time()))
        ended = [key_prefix(month, station) for month in months]
        recorder.restore(self._store.load(EndedSessionStored, *ended))
        if station in self._recorders or station in self._ran_at_start:  # no other has a running one
            recorder.restore(self._store.load(RunningSessionStored, key_prefix(station)))
        return recorder

    def _name_card(self, token: IdToken) -> CardReference:
        card = self._cards.get(token.value.lower())
        if card is None:
            return reference_card(self._key, token)
        return reference_card(self._key, token, card.label, card.priority_class)

    def find_card_name(self, name: str) -> str:
        """Return what sessions have of a card: its label if `name` is one, else the hash of an idToken."""
        if any(card.label == name for card in self._cards.values()):
            return name
        return reference_card(self._key, IdToken(name)).token_hash

    # -- reading ----------------------------------------------------------------------------------------

    def running(self) -> list[ChargingSession]:
        """Return the sessions that run at stations of the configuration, the earliest first."""
        found = [
            each
            for station, (_, recorder) in self._recorders.items()
            if station in self._evses
            for each in recorder.running
        ]
        return sorted(found, key=lambda each: each.started_at)

    def ended(self, first_month: str, last_month: str) -> list[ChargingSession]:
        """Return the ended sessions that began in these months (UTC, like "2026-11"). Raises StoreError."""
        return SessionStore(self._store).ended(first_month, last_month)

    # -- retention --------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Delete sessions that are older than the retention, once a day, and follow the clock.

        Only by a synchronised clock: one that is years ahead after a start would delete all of them. Once
        cancelled, it stores the energy of running sessions: a station may be gone at the next start.
        """
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._run_retention)
                nursery.start_soon(self._run_clock_checks)
        finally:
            with trio.CancelScope(shield=True), contextlib.suppress(StoreError):
                await self._store_running()

    async def _store_running(self) -> None:
        """Store what running sessions have measured since they were stored. Raises StoreError."""
        utc = time.time()
        records = [record for _, recorder in self._recorders.values() for record in recorder.flush(utc)]
        if records:
            await self._store.persist(records)

    async def _run_clock_checks(self) -> None:
        """Correct the times of running sessions when the clock is set or synchronised, until cancelled."""
        while True:
            before, was_right, checked_at = _clock_offset(), self._is_clock_synchronised(), time.monotonic()
            await trio.sleep(CLOCK_STEP_CHECK_S)
            step_s, is_right = _clock_offset() - before, self._is_clock_synchronised()
            if abs(step_s) >= SMALLEST_STEP_S or (is_right and not was_right):
                elapsed_s = time.monotonic() - checked_at
                await self.correct_times(
                    ClockChange(step_s=step_s, checked_s=elapsed_s, synchronised=is_right)
                )

    async def correct_times(self, change: ClockChange) -> None:
        """Correct the times of running sessions after a change of the clock."""
        utc = time.time()
        records = [
            record
            for _, recorder in self._recorders.values()
            for record in recorder.on_clock_change(change, utc)
        ]
        if not records:
            return
        log.info(
            "begin of running sessions corrected count=%d step_s=%.0f synchronised=%s",
            len(records),
            change.step_s,
            change.synchronised,
        )
        with contextlib.suppress(StoreError):  # they are stored again with their next change
            await self._store.persist(records)

    async def _run_retention(self) -> None:
        while True:
            is_right = self._is_clock_synchronised()
            if is_right:
                await self._delete_expired()
            else:
                log.info("expired sessions kept reason=clock not synchronised remedy=check NTP")
            for station, (_, recorder) in self._recorders.items():
                if count := recorder.pop_unrecorded():
                    log.warning(
                        "sessions not recorded station=%s count=%d reason=more than %d a day; "
                        "check the station, which begins them",
                        station,
                        count,
                        MOST_BEGUN_A_DAY,
                    )
            await trio.sleep(EXPIRY_CHECK_S if is_right else CLOCK_CHECK_S)

    async def _delete_expired(self) -> None:
        """Delete expired sessions; of those that a wrong clock has dated, the age counts from now on."""
        this_month = month_of(time.time())
        before = months_before(this_month, self._retention_months)
        try:
            kept = [replace(each, month=this_month) for each in self._load_misdated(before)]
            await self._store.persist([*kept, SessionsExpired(before)])
        except StoreError as error:
            log.warning("expired sessions not deleted reason=%s", error)

    def _load_misdated(self, before: str) -> list[EndedSessionStored]:
        """Return the ended sessions from before a month which a clock that was not synchronised has dated.

        One that is stored with another month than that of its begin has been kept before.
        """
        last_year = int(before.partition("-")[0])
        return [
            each
            for year in range(FIRST_YEAR, last_year + 1)
            for each in self._store.load(EndedSessionStored, key_begin(f"{year}-"))
            if each.month < before
            and each.month == each.session.month
            and not each.session.clock_synchronised
        ]


@lru_cache(maxsize=1)
def _repeated_months(last: str) -> tuple[str, ...]:
    """Return the months in which a session may have begun that has ended just before a restart."""
    return tuple(months_before(last, back) for back in range(MONTHS_REPEATED, -1, -1))


def _clock_offset() -> float:
    """Return wall clock minus monotonic clock (s): it changes with each step."""
    return time.time() - time.monotonic()
