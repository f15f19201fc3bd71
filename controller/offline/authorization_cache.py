"""Authorizations of idTokens by a backend, for the time when it is away.

Learned from its answers (the cache) and from the local list that it has given the station (the list). A
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
from controller.ocpp.frames import Version
from controller.ocpp.id_tokens import IdToken, LocalList, TokenVerdict, local_list, named_token, said_of_token
from controller.ocpp.payloads import is_accepted
from controller.offline.journal_records import LocalListVersion, TokenAuthorized

MOST_TOKENS = 10_000
"""Tokens that are known per station, in list and cache together."""

REMOTE_START_S = 3600.0
"""A backend that starts a transaction by a token vouches for it so long, until the car is plugged in."""

LIST = "list"
CACHE = "cache"

_ASKING = {"Authorize", "StartTransaction", "StopTransaction", "TransactionEvent"}
_REMOTE_STARTS = {"RemoteStartTransaction", "RequestStartTransaction"}
_ONLY_NOW = "ConcurrentTx"
"""Describes the moment, and not the token."""


class AuthorizationCache:
    """Those at one station. `key` is the installation's own: with another, nothing is known any more."""

    def __init__(self, station: str, key: bytes) -> None:
        self._station = station
        self._key = key
        self._books: dict[str, dict[str, TokenAuthorized]] = {LIST: {}, CACHE: {}}
        self._list_version = 0

    @property
    def list_version(self) -> int:
        """The version of the station's local list as far as we have seen it; 0: none."""
        return self._list_version

    @property
    def token_count(self) -> int:
        """Return the number of tokens in list and cache together."""
        return sum(map(len, self._books.values()))

    def restore(self, records: Iterable[Record]) -> None:
        """Take over what was saved before a restart of ours; records about others are left alone."""
        for word in records:
            if isinstance(word, TokenAuthorized) and word.station == self._station:
                self._take(word)
            elif isinstance(word, LocalListVersion) and word.station == self._station:
                self._list_version = word.version

    def find_status(self, token: IdToken, utc: float) -> str | None:
        """Return the status that the backend would give a token by all that is known; None: nothing is.

        The list comes before the cache. What has ended is "Expired", whatever it was.
        """
        hashed = self._hash(token)
        word = self._books[LIST].get(hashed) or self._books[CACHE].get(hashed)
        if word is None:
            return None
        return "Expired" if word.until is not None and utc >= word.until else word.status

    # -- learning -----------------------------------------------------------------------------------

    def on_call_result(self, version: Version, action: str, payload: bytes, result: bytes) -> list[Record]:
        """Learn from the backend's result for a request of the station."""
        if action not in _ASKING:
            return []
        said = said_of_token(version, result)
        token = None if said is None else named_token(version, payload)
        if said is None or token is None or said.status == _ONLY_NOW:
            return []
        return self._put(self._word(CACHE, token, said))

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
            return self._forget_all(CACHE)
        if action in _REMOTE_STARTS:
            return self._started(named_token(version, payload), utc)
        return []

    def _listed(self, sent: LocalList) -> list[Record]:
        records = self._forget_all(LIST) if sent.is_full else []
        for token, said in sent.tokens:
            records += self._put(self._word(LIST, token, said))
        self._list_version = sent.version
        return [*records, LocalListVersion(self._station, sent.version)]

    def _started(self, token: IdToken | None, utc: float) -> list[Record]:
        if token is None or self.find_status(token, utc) == "Accepted":
            return []
        word = self._word(CACHE, token, TokenVerdict(status="Accepted"))
        return self._put(msgspec.structs.replace(word, until=utc + REMOTE_START_S))

    def _forget_all(self, source: str) -> list[Record]:
        records: list[Record] = []
        for word in list(self._books[source].values()):
            records += self._put(_forgotten(word))
        return records

    def _put(self, word: TokenAuthorized) -> list[Record]:
        """Take a word, and give it back with those that made room for it; nothing where it is no news."""
        book = self._books[word.source]
        before = book.get(word.token)
        if word == before or (word.status is None and before is None):
            return []
        records: list[Record] = []
        if word.status is not None and before is None and self.token_count >= MOST_TOKENS:
            cache = self._books[CACHE]
            if not cache:
                return []  # a list longer than any station takes: what is beyond is unknown
            oldest = next(iter(cache.values()))
            records.append(_forgotten(oldest))
            del cache[oldest.token]
        self._take(word)
        return [*records, word]

    def _take(self, word: TokenAuthorized) -> None:
        book = self._books[word.source]
        book.pop(word.token, None)  # what is authorized again is the youngest
        if word.status is not None:
            book[word.token] = word

    def _word(self, source: str, token: IdToken, said: TokenVerdict | None) -> TokenAuthorized:
        hashed = self._hash(token)
        if said is None:
            return TokenAuthorized(self._station, source, hashed, None)
        group = None if said.group is None else self._hash(said.group)
        return TokenAuthorized(self._station, source, hashed, said.status, _moment(said.until), group)

    def _hash(self, token: IdToken) -> str:
        return hmac.new(self._key, token.normal, hashlib.sha256).hexdigest()


def _forgotten(word: TokenAuthorized) -> TokenAuthorized:
    return msgspec.structs.replace(word, status=None, until=None, group=None)


def _moment(text: str | None) -> float | None:
    """Return the end of an authorization (POSIX s); one whose end cannot be read has ended."""
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return 0.0
