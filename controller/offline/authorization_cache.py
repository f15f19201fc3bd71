"""Authorizations of idTokens by a backend, for the time when it is away.

Read from its answers (the cache) and from the local list that it has given the station (the list). A
token names a driver: it is kept as a keyed hash alone, so that neither the file nor a backup of it discloses
who charges where.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable
from datetime import UTC, datetime

import msgspec

from controller.model.journal import Record
from controller.model.plausible_time import has_ended
from controller.ocpp.frames import Version
from controller.ocpp.id_tokens import (
    IdToken,
    LocalList,
    TokenVerdict,
    local_list,
    named_token,
    read_token_verdict,
)
from controller.ocpp.payloads import is_accepted
from controller.offline.journal_records import LocalListVersion, TokenAuthorized

MOST_TOKENS = 10_000
"""Tokens that are known per station, in list and cache together."""

REMOTE_START_S = 3600.0
"""Time (s) that a token counts as authorized after a remote start with it."""

LIST = "list"
CACHE = "cache"

_AUTHORIZING = {"Authorize", "StartTransaction", "StopTransaction", "TransactionEvent"}
_REMOTE_STARTS = {"RemoteStartTransaction", "RequestStartTransaction"}
_OF_THE_MOMENT = "ConcurrentTx"
"""A status that describes the moment, not the token."""


class AuthorizationCache:
    """Authorizations at one station. `key` is the installation's own; with another one none is found."""

    def __init__(self, station: str, key: bytes) -> None:
        self._station = station
        self._key = key
        self._tables: dict[str, dict[str, TokenAuthorized]] = {LIST: {}, CACHE: {}}
        self._list_version = 0

    @property
    def list_version(self) -> int:
        """Version of the local list that the station was sent last; 0: none."""
        return self._list_version

    @property
    def token_count(self) -> int:
        """Return the number of tokens in list and cache together."""
        return sum(map(len, self._tables.values()))

    def restore(self, records: Iterable[Record]) -> None:
        """Restore what was stored before a restart; records of other stations are ignored."""
        for record in records:
            if isinstance(record, TokenAuthorized) and record.station == self._station:
                self._index(record)
            elif isinstance(record, LocalListVersion) and record.station == self._station:
                self._list_version = record.version

    def find_status(self, token: IdToken, utc: float) -> str | None:
        """Return the status that the backend would give a token as far as known; None: it is unknown.

        The list comes before the cache. What has ended is "Expired", whatever its status was. A remote start
        that is later than `utc` was dated by a clock that was ahead, and counts for nothing.
        """
        hashed = self._hash(token)
        record = self._tables[LIST].get(hashed) or self._tables[CACHE].get(hashed)
        if record is None:
            return None
        if record.since is not None and record.until is not None:  # both by the gateway's own clock
            if utc < record.since:
                return None
            return "Expired" if utc >= record.until else record.status
        return "Expired" if has_ended(record.until, utc) else record.status

    # -- learning -----------------------------------------------------------------------------------

    @staticmethod
    def reads_result_of(action: str) -> bool:
        """Return True if `on_call_result` reads the result for a CALL with this action."""
        return action in _AUTHORIZING

    def on_call_result(self, version: Version, action: str, payload: bytes, result: bytes) -> list[Record]:
        """Learn from the backend's result for a request of the station."""
        if action not in _AUTHORIZING:
            return []
        verdict = read_token_verdict(version, result)
        token = None if verdict is None else named_token(version, payload)
        if verdict is None or token is None or verdict.status == _OF_THE_MOMENT:
            return []
        return self._put(self._make_record(CACHE, token, verdict))

    def on_command_result(
        self, version: Version, action: str, payload: bytes, result: bytes, utc: float
    ) -> list[Record]:
        """Learn from the station's result for a command of the backend."""
        if not is_accepted(result):
            return []
        if action == "SendLocalList":
            sent = local_list(version, payload)
            return [] if sent is None else self._listed(sent)
        if action == "ClearCache":
            return self._remove_all(CACHE)
        if action in _REMOTE_STARTS:
            return self._started(named_token(version, payload), utc)
        return []

    def _listed(self, sent: LocalList) -> list[Record]:
        records = self._remove_all(LIST) if sent.is_full else []
        for token, verdict in sent.tokens:
            records += self._put(self._make_record(LIST, token, verdict))
        self._list_version = sent.version
        return [*records, LocalListVersion(self._station, sent.version)]

    def _started(self, token: IdToken | None, utc: float) -> list[Record]:
        if token is None or self.find_status(token, utc) == "Accepted":
            return []
        record = self._make_record(CACHE, token, TokenVerdict(status="Accepted"))
        return self._put(msgspec.structs.replace(record, since=utc, until=utc + REMOTE_START_S))

    def _remove_all(self, source: str) -> list[Record]:
        records: list[Record] = []
        for record in list(self._tables[source].values()):
            records += self._put(_as_removed(record))
        return records

    def _put(self, record: TokenAuthorized) -> list[Record]:
        """Apply a record; return it with those that made room for it, nothing where it changes nothing."""
        table = self._tables[record.source]
        before = table.get(record.token)
        if record == before or (record.status is None and before is None):
            return []
        records: list[Record] = []
        if record.status is not None and before is None and self.token_count >= MOST_TOKENS:
            cache = self._tables[CACHE]
            if not cache:
                return []  # a list longer than any station takes: what is beyond is unknown
            oldest = next(iter(cache.values()))
            records.append(_as_removed(oldest))
            del cache[oldest.token]
        self._index(record)
        return [*records, record]

    def _index(self, record: TokenAuthorized) -> None:
        table = self._tables[record.source]
        table.pop(record.token, None)  # what is authorized again is the youngest
        if record.status is not None:
            table[record.token] = record

    def _make_record(self, source: str, token: IdToken, verdict: TokenVerdict | None) -> TokenAuthorized:
        hashed = self._hash(token)
        if verdict is None:
            return TokenAuthorized(self._station, source, hashed, None)
        group = None if verdict.group is None else self._hash(verdict.group)
        return TokenAuthorized(self._station, source, hashed, verdict.status, _moment(verdict.until), group)

    def _hash(self, token: IdToken) -> str:
        return hmac.new(self._key, token.normal, hashlib.sha256).hexdigest()


def _as_removed(record: TokenAuthorized) -> TokenAuthorized:
    return msgspec.structs.replace(record, status=None, until=None, group=None)


def _moment(text: str | None) -> float | None:
    """Return the end of an authorization (POSIX s); one whose end cannot be read has ended."""
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return 0.0
