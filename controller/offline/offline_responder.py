"""Answers to a station while its backend is away, from stored decisions of the backend alone.

Three rules. No answer states what a crash or the backend could undo: what has to be kept comes back
with the answer, to be saved first. No one is authorized who was not before: a station that its backend has
never accepted stays pending, and a driver is judged by the backend's last authorization of him, unless the
station's owner has decided otherwise. And nothing is lost: what only the backend can decide is refused so
that the station asks again, never as if there were no such thing.

Sources: OCPP 1.6 edition 2, sections 4 and 6; OCPP 2.0.1 and 2.1 Part 2, use cases B, C and E, and the
messages' appendix.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import msgspec

from controller.model.journal import Record
from controller.model.peer_text import peer_word
from controller.ocpp.frames import Version, call_error, call_result
from controller.ocpp.id_tokens import STATUSES_2, STATUSES_16, IdToken, named_token, read_token_verdict
from controller.ocpp.json_members import has_member
from controller.ocpp.payloads import OWN_TIME, StationTime, read_payload
from controller.offline.authorization_cache import AuthorizationCache
from controller.offline.journal_records import OutboxEntry
from controller.offline.offline_answers import EMPTY, refused, reported
from controller.offline.offline_messages import TransactionPart, ended_transaction
from controller.offline.station_snapshot import StationSnapshot
from controller.offline.transaction_id_map import SIGNED, TransactionIdMap, is_signed

PENDING_S = 30
"""A station that its backend has never accepted boots again after so long (s)."""

MOST_ENDED = 64
"""Ends of transactions that are stored: far more than a station has EVSEs."""

_TRANSACTION_MESSAGES = {"StartTransaction", "StopTransaction", "TransactionEvent"}

_OPEN_TO_ALL = "NoAuthorization"
"""2.x: the type of the token at a station that is open to everybody by its own settings (C02)."""

_CONTRACT = ("certificate", "iso15118CertificateHashData")
"""2.x, in Authorize: a contract certificate that has to be verified (C07)."""


class OfflineRules(msgspec.Struct, frozen=True, kw_only=True):
    """Rules of the station's owner for its absence.

    `authorize`: "known" authorizes tokens that the backend has accepted, "everyone" whom it has not refused.
    `stop_unauthorized`: a transaction that the backend does not accept afterwards is ended. `station_time`:
    the time that the station is given.
    """

    authorize: Literal["known", "everyone"] = "known"
    stop_unauthorized: bool = True
    station_time: StationTime = OWN_TIME


class OfflineAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Answer to the station, and its consequences.

    `text`: the frame; None: no answer may be given, and an error would lose what the station reports: close
    it, and it keeps that for later. `result`: the payload, where the answer is a good one. `queue`: the
    backend has to get the message once it is back. `transaction`: the id that was given in a 1.6
    StartTransaction. `records` are to be saved before the answer goes. `note`: for the log, empty for none.
    """

    text: str | None = None
    result: bytes | None = None
    queue: bool = False
    transaction: int | None = None
    records: tuple[Record, ...] = ()
    note: str = ""


class _Good(msgspec.Struct, frozen=True, kw_only=True):
    """A good answer in the making; the members are those of `Answer`."""

    result: bytes
    queue: bool = False
    transaction: int | None = None
    records: tuple[Record, ...] = ()
    note: str = ""


_Maker = Callable[[bytes, float], _Good | None]
"""From a request's payload and the time (POSIX s) to its answer; None: it takes the backend."""


class OfflineResponder:
    """Answers one station's CALLs over one link, in the place of one backend."""

    def __init__(
        self,
        station: str,
        version: Version,
        authorizations: AuthorizationCache,
        ids: TransactionIdMap,
        snapshot: StationSnapshot,
        rules: OfflineRules,
    ) -> None:
        self._station = station
        self._version = version
        self._authorizations = authorizations
        self._ids = ids
        self._snapshot = snapshot
        self._rules = rules
        self._ended: dict[int | str, None] = {}
        """Transactions whose end the station has reported, the oldest first."""
        self._reported, self._refused = reported(version), refused(version)
        self._makers: dict[str, _Maker] = {
            "BootNotification": self._boot,
            "Heartbeat": self._heartbeat,
            "Authorize": self._authorize,
        }
        if version is Version.V16:
            self._statuses = STATUSES_16
            self._makers |= {"StartTransaction": self._start, "StopTransaction": self._stop}
        else:
            self._statuses = STATUSES_2
            self._makers["TransactionEvent"] = self._event

    def answer_call(self, message_id: str, action: str, payload: bytes, utc: float) -> OfflineAnswer:
        """Answer a CALL of the station. `utc` is our clock, POSIX s."""
        if is_signed(action, payload) and not self._is_plain(action, payload):
            return self._unsigned(message_id, action)
        good = self._good(action, payload, utc)
        if good is None:
            error = call_error(message_id, "GenericError", f"the backend that could answer {action} is away")
            return OfflineAnswer(
                text=error, note=self._note(f"{peer_word(action)} needs the backend, which is away: refused")
            )
        self._record_end(action, payload)
        return OfflineAnswer(
            text=call_result(message_id, good.result),
            result=good.result,
            queue=good.queue,
            transaction=good.transaction,
            records=good.records,
            note=self._note(good.note),
        )

    def answer_repeated(
        self, message_id: str, action: str, payload: bytes, transaction: int | None, utc: float
    ) -> str | None:
        """Return the answer to a message that was answered under another id; None: there can be none.

        `transaction`: the id that a 1.6 StartTransaction was given.
        """
        if transaction is not None:
            return call_result(message_id, self._started(transaction, payload, utc))
        return self.answer_call(message_id, action, payload, utc).text

    def on_outbox_result(self, entry: OutboxEntry, result: bytes) -> tuple[str, bytes] | None:
        """Take the backend's result for a queued message; return a command for the station, or None.

        Where it does not accept the driver of a transaction that was begun meanwhile, the transaction is
        ended: action and payload of a remote stop, with the station's own id. One that is over all the
        same is not stopped by it: the station refuses then.
        """
        if not self._rules.stop_unauthorized or entry.version is not self._version:
            return None
        verdict = read_token_verdict(self._version, result)
        transaction = self._begun(entry)
        if (
            verdict is None
            or verdict.status == "Accepted"
            or transaction is None
            or transaction in self._ended
        ):
            return None
        action = "RemoteStopTransaction" if self._version is Version.V16 else "RequestStopTransaction"
        return action, msgspec.json.encode({"transactionId": transaction})

    def _begun(self, entry: OutboxEntry) -> int | str | None:
        """Return the running transaction that a message is about, by the station's id."""
        if entry.action == "StartTransaction":
            return entry.transaction
        part = read_payload(TransactionPart, entry.payload) if entry.action == "TransactionEvent" else None
        return None if part is None or part.is_end else part.id

    def _record_end(self, action: str, payload: bytes) -> None:
        ended = ended_transaction(self._version, action, payload)
        if ended is not None:
            self._ended[ended] = None
            if len(self._ended) > MOST_ENDED:
                del self._ended[next(iter(self._ended))]

    # -- signed messages ----------------------------------------------------------------------------

    def _is_plain(self, action: str, payload: bytes) -> bool:
        """Return True if the answer is empty: then no signature is missing under it."""
        if action == "TransactionEvent":
            return named_token(self._version, payload) is None
        return action == "StopTransaction" or self._reported.get(action) == EMPTY

    def _unsigned(self, message_id: str, action: str) -> OfflineAnswer:
        """Refuse a signed request: only the backend may sign its answer (OCPP 2.x Part 4, section 7)."""
        reason = f"{peer_word(action)} is signed: only the backend, which is away, can answer it"
        if action.removesuffix(SIGNED) in _TRANSACTION_MESSAGES:
            return OfflineAnswer(note=self._note(reason))
        return OfflineAnswer(text=call_error(message_id, "GenericError", reason), note=self._note(reason))

    def _note(self, what: str) -> str:
        return f"station {self._station}: {what}" if what else ""

    # -- answers ------------------------------------------------------------------------------------

    def _good(self, action: str, payload: bytes, utc: float) -> _Good | None:
        if action in self._makers:
            return self._makers[action](payload, utc)
        if action in self._reported:
            return _Good(result=self._reported[action], queue=True)
        if action in self._refused:
            return _Good(result=self._refused[action], note=f"{action} refused: the backend is away")
        return None

    def _boot(self, payload: bytes, utc: float) -> _Good:
        """Answer a boot. It is not queued: the backend gets it from the station's snapshot."""
        if self._snapshot.was_accepted(self._version, payload):
            return _Good(result=_booted("Accepted", self._snapshot.interval_s, self._format_time(utc)))
        note = "it boots, and its backend has never accepted it: pending until the backend is back"
        return _Good(result=_booted("Pending", PENDING_S, self._format_time(utc)), note=note)

    def _heartbeat(self, _payload: bytes, utc: float) -> _Good:
        return _Good(result=msgspec.json.encode({"currentTime": self._format_time(utc)}))

    def _format_time(self, utc: float) -> str:
        return self._rules.station_time.format(utc)

    def _authorize(self, payload: bytes, utc: float) -> _Good | None:
        """Not queued: a question that has been answered. The transaction itself names the driver again."""
        if any(has_member(payload, name) for name in _CONTRACT):
            return None
        return _Good(result=self._verdict(named_token(self._version, payload), utc))

    def _start(self, payload: bytes, utc: float) -> _Good:
        own, records = self._ids.allocate_id(utc)
        result = self._started(own, payload, utc)
        return _Good(result=result, queue=True, transaction=own, records=tuple(records))

    def _started(self, transaction: int, payload: bytes, utc: float) -> bytes:
        verdict = self._info(named_token(self._version, payload), utc)
        return msgspec.json.encode({"transactionId": transaction, "idTagInfo": verdict})

    def _stop(self, payload: bytes, utc: float) -> _Good:
        token = None if is_signed("StopTransaction", payload) else named_token(self._version, payload)
        return _Good(result=EMPTY if token is None else self._verdict(token, utc), queue=True)

    def _event(self, payload: bytes, utc: float) -> _Good:
        token = named_token(self._version, payload)
        return _Good(result=EMPTY if token is None else self._verdict(token, utc), queue=True)

    def _verdict(self, token: IdToken | None, utc: float) -> bytes:
        name = "idTagInfo" if self._version is Version.V16 else "idTokenInfo"
        return msgspec.json.encode({name: self._info(token, utc)})

    def _info(self, token: IdToken | None, utc: float) -> dict[str, str]:
        return {"status": self._status(token, utc)}

    def _status(self, token: IdToken | None, utc: float) -> str:
        """Return the authorization status of a token; `token` None: the message has none."""
        if token is not None and token.type == _OPEN_TO_ALL:
            return "Accepted"
        verdict = None if token is None else self._authorizations.find_status(token, utc)
        if verdict is None:
            return "Accepted" if self._rules.authorize == "everyone" else "Invalid"
        return verdict if verdict in self._statuses else "Invalid"


def _booted(status: str, interval_s: int, time: str) -> bytes:
    return msgspec.json.encode({"status": status, "currentTime": time, "interval": interval_s})
