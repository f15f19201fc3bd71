"""Handlers of the commands that go to a station: transactions, restart, connection, rejected messages."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import msgspec

from controller.access.permissions import Actor
from controller.commands.site_command import (
    DropMessage,
    ReconnectStation,
    ResetStation,
    RetryMessage,
    StartTransaction,
    StopTransaction,
)
from controller.commands.station_calls import StationCall, make_remote_start, make_remote_stop, make_reset
from controller.config.schema import Config
from controller.ocpp.frames import Version
from controller.ocpp.payloads import read_payload
from controller.offline.journal_records import EntrySetAside, OutboxRequest
from controller.services.access.command_service import CommandService, SiteCommandError, TargetUnknownError
from controller.stations.registry import SessionRegistry
from controller.stations.session import StationSession
from controller.store.rule_types import key_prefix
from controller.store.state_store import StateStore
from drivers.coded_text import coded

LONGEST_TAG_16 = 20
"""Characters of an idTag (OCPP 1.6, CiString20Type)."""

FindTransaction = Callable[[str, int], int | str | None]
ChooseToken = Callable[[str, str | None], str | None]
"""From a station and an idToken, a card's label or None to the idToken; None: no such card is accepted."""


class _StatusResult(msgspec.Struct):
    status: str = ""


class StationCommands:
    """The stations of a site as targets of commands.

    `find_transaction` returns the id of the transaction that runs at an EVSE, as its station has it;
    `choose_token` the idToken of a remote start.
    """

    def __init__(
        self,
        config: Config,
        registry: SessionRegistry,
        store: StateStore,
        find_transaction: FindTransaction,
        choose_token: ChooseToken,
    ) -> None:
        self.replace_stations(config)
        self._registry = registry
        self._store = store
        self._find_transaction = find_transaction
        self._choose_token = choose_token
        self._start_numbers = itertools.count(1)

    def replace_stations(self, config: Config) -> None:
        """Use the stations of a configuration as targets."""
        self._evses = config.evse_ids

    def register_handlers(self, commands: CommandService) -> None:
        """Register the handlers of all commands to stations."""
        commands.add_handler(ResetStation, self._on_reset)
        commands.add_handler(ReconnectStation, self._on_reconnect)
        commands.add_handler(StartTransaction, self._on_start)
        commands.add_handler(StopTransaction, self._on_stop)
        commands.add_handler(RetryMessage, self._on_retry)
        commands.add_handler(DropMessage, self._on_drop)

    async def _on_reset(self, command: ResetStation, _: Actor) -> object:
        session = self._session(command.station)
        return await _call(session, make_reset(session.version, hard=command.mode == "hard"))

    async def _on_reconnect(self, command: ReconnectStation, _: Actor) -> object:
        self._session(command.station).reconnect()
        return {}

    async def _on_start(self, command: StartTransaction, _: Actor) -> object:
        session = self._session(command.station, command.evse)
        token = self._choose_token(command.station, command.id_token)
        if token is None and command.id_token is None:
            raise SiteCommandError(
                coded("id_token is missing: the station's backend decides which cards may charge")
            )
        if token is None:
            raise TargetUnknownError(coded("no card of the site has this label or idToken"))
        if session.version is Version.V16 and len(token) > LONGEST_TAG_16:
            raise SiteCommandError(
                coded(
                    "id_token: an OCPP 1.6 station takes at most {most} characters",
                    most=LONGEST_TAG_16,
                )
            )
        number = next(self._start_numbers)
        return await _call(session, make_remote_start(session.version, command.evse, token, number))

    async def _on_stop(self, command: StopTransaction, _: Actor) -> object:
        session = self._session(command.station, command.evse)
        transaction = self._find_transaction(command.station, command.evse)
        if transaction is None:
            raise SiteCommandError(
                coded(
                    "no transaction runs at EVSE {evse} of {station}",
                    evse=command.evse,
                    station=repr(command.station),
                )
            )
        return await _call(session, make_remote_stop(session.version, transaction))

    async def _on_retry(self, command: RetryMessage, _: Actor) -> object:
        return await self._request(command, drop=False)

    async def _on_drop(self, command: DropMessage, _: Actor) -> object:
        return await self._request(command, drop=True)

    async def _request(self, command: RetryMessage | DropMessage, *, drop: bool) -> object:
        """Store the request; the relay's journal carries it out within seconds."""
        rejected = self._store.load(EntrySetAside, key_prefix(command.station, command.backend))
        if command.number not in {each.number for each in rejected}:
            raise TargetUnknownError(
                coded(
                    "no message {number} of {station} for {backend} is set aside",
                    number=command.number,
                    station=repr(command.station),
                    backend=repr(command.backend),
                )
            )
        await self._store.persist([OutboxRequest(command.station, command.backend, command.number, drop)])
        return {}

    def _session(self, station: str, evse: int | None = None) -> StationSession:
        """Return the session of a connected station. Raises TargetUnknownError, SiteCommandError."""
        if station not in self._evses:
            raise TargetUnknownError(
                coded("station {station} is not in the configuration", station=repr(station))
            )
        if evse is not None and evse not in self._evses[station]:
            known = ", ".join(map(str, sorted(self._evses[station])))
            raise TargetUnknownError(
                coded(
                    "station {station} has no EVSE {evse}; it has {known}",
                    station=repr(station),
                    evse=evse,
                    known=known,
                )
            )
        session = self._registry.find_session(station)
        if session is None:
            raise SiteCommandError(
                coded("station {station} is not connected; try again once it is", station=repr(station))
            )
        return session


async def _call(session: StationSession, call: StationCall) -> object:
    """Send a CALL and return the station's status. Raises SiteCommandError if it is not accepted."""
    answer = await session.request(call.action, call.payload)
    if answer.result is None:
        raise SiteCommandError(
            coded(
                "the station did not execute {action}: {reason}",
                action=call.action,
                reason=answer.detail or "no answer",
            )
        )
    result = read_payload(_StatusResult, answer.result)
    status = "" if result is None else result.status
    if status not in ("Accepted", "Scheduled"):
        raise SiteCommandError(
            coded(
                "the station answered {action} with {status}",
                action=call.action,
                status=status[:40] or "no status",
            )
        )
    return {"status": status}
