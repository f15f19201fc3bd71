"""Stored authorizations of drivers' tokens, without the tokens themselves."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.model.journal import Record
from controller.ocpp.frames import Version
from controller.ocpp.id_tokens import IdToken
from controller.offline.authorization_cache import MOST_TOKENS, REMOTE_START_S, AuthorizationCache
from controller.offline.journal_records import LocalListVersion, TokenAuthorized

V16 = Version.V16
UTC = 1_800_000_000.0  # 2027-01-15T08:00:00Z
KEY = b"key of this installation"
ACCEPTED = b'{"status":"Accepted"}'
VERSIONS = pytest.mark.parametrize("version", list(Version))


def _token(version: Version, value: str) -> IdToken:
    return IdToken(value) if version is V16 else IdToken(value, "ISO14443")


def _asked(version: Version, value: str) -> bytes:
    if version is V16:
        return json.dumps({"idTag": value, "connectorId": 1}).encode()
    return json.dumps({"idToken": {"idToken": value, "type": "ISO14443"}}).encode()


def _info(version: Version, status: str, until: str | None, group: str | None) -> dict[str, Any]:
    info: dict[str, Any]
    if version is V16:
        info = {"status": status, "expiryDate": until, "parentIdTag": group}
    else:
        info = {"status": status, "cacheExpiryDateTime": until}
        if group is not None:
            info["groupIdToken"] = {"idToken": group, "type": "Central"}
    return {name: value for name, value in info.items() if value is not None}


def _token_info(version: Version, status: str, until: str | None = None, group: str | None = None) -> bytes:
    name = "idTagInfo" if version is V16 else "idTokenInfo"
    return json.dumps({name: _info(version, status, until, group)}).encode()


def _list(version: Version, number: int, kind: str, tokens: dict[str, str | None]) -> bytes:
    named = (
        ("listVersion", "idTag", "idTagInfo")
        if version is V16
        else ("versionNumber", "idToken", "idTokenInfo")
    )
    entries = []
    for value, status in tokens.items():
        entry = {named[1]: json.loads(_asked(version, value))[named[1]]}
        entries.append(entry | ({} if status is None else {named[2]: _info(version, status, None, None)}))
    return json.dumps({named[0]: number, "updateType": kind, "localAuthorizationList": entries}).encode()


def _known(version: Version, known: AuthorizationCache, *values: str, utc: float = UTC) -> list[str | None]:
    return [known.find_status(_token(version, value), utc) for value in values]


ASKING = [
    (V16, "Authorize"),
    (V16, "StartTransaction"),
    (V16, "StopTransaction"),
    (Version.V201, "Authorize"),
    (Version.V201, "TransactionEvent"),
    (Version.V21, "TransactionEvent"),
]


@pytest.mark.parametrize(("version", "action"), ASKING)
def test_authorization_cache_stores_answers(version: Version, action: str) -> None:
    known = AuthorizationCache("CS01", KEY)
    records = known.on_call_result(
        version, action, _asked(version, "AbC"), _token_info(version, "Accepted", group="G")
    )
    assert len(records) == 1
    assert isinstance(records[0], TokenAuthorized)
    assert (records[0].source, records[0].status) == ("cache", "Accepted")
    assert records[0].group is not None
    assert _known(version, known, "abc", "ABC", "abcd") == ["Accepted", "Accepted", None]
    known.on_call_result(version, action, _asked(version, "abc"), _token_info(version, "Blocked"))
    assert _known(version, known, "AbC") == ["Blocked"]


@pytest.mark.parametrize(
    ("action", "payload", "result"),
    [
        ("Authorize", _asked(V16, "a"), b"{}"),
        ("Authorize", b"{}", _token_info(V16, "Accepted")),
        ("Authorize", _asked(V16, "a"), b"[]"),
        ("Authorize", _asked(V16, "a"), _token_info(V16, "ConcurrentTx")),
        ("DataTransfer", _asked(V16, "a"), _token_info(V16, "Accepted")),
    ],
)
def test_authorization_cache_ignores_other_answers(action: str, payload: bytes, result: bytes) -> None:
    known = AuthorizationCache("CS01", KEY)
    assert known.on_call_result(V16, action, payload, result) == []
    assert known.token_count == 0


def test_concurrent_transaction_does_not_make_token_bad() -> None:
    known = AuthorizationCache("CS01", KEY)
    known.on_call_result(V16, "Authorize", _asked(V16, "a"), _token_info(V16, "Accepted"))
    known.on_call_result(V16, "StartTransaction", _asked(V16, "a"), _token_info(V16, "ConcurrentTx"))
    assert _known(V16, known, "a") == ["Accepted"]


@pytest.mark.parametrize(
    ("until", "before", "after"),
    [
        ("2027-01-15T08:00:00Z", "Accepted", "Expired"),
        ("2027-01-15T09:00:00+01:00", "Accepted", "Expired"),
        ("2027-01-15T08:00:00", "Accepted", "Expired"),
        ("", "Accepted", "Accepted"),
        ("soon", "Expired", "Expired"),
    ],
)
@VERSIONS
def test_authorization_cache_authorization_expires(
    version: Version, until: str, before: str, after: str
) -> None:
    known = AuthorizationCache("CS01", KEY)
    known.on_call_result(version, "Authorize", _asked(version, "a"), _token_info(version, "Accepted", until))
    assert [_known(version, known, "a", utc=utc) for utc in (UTC - 1, UTC)] == [[before], [after]]


@VERSIONS
def test_authorization_list_precedes_cache(version: Version) -> None:
    known = AuthorizationCache("CS01", KEY)
    known.on_call_result(version, "Authorize", _asked(version, "a"), _token_info(version, "Accepted"))
    records = known.on_command_result(
        version, "SendLocalList", _list(version, 7, "Full", {"a": "Blocked", "b": "Accepted"}), ACCEPTED, UTC
    )
    assert records[-1] == LocalListVersion("CS01", 7)
    assert known.list_version == 7
    assert _known(version, known, "a", "b") == ["Blocked", "Accepted"]


@VERSIONS
def test_authorization_cache_difference_changes_and_full_list_replaces(version: Version) -> None:
    known = AuthorizationCache("CS01", KEY)
    records: list[Record] = []
    lists: list[tuple[str, dict[str, str | None]]] = [
        ("Full", {"a": "Accepted", "b": "Accepted", "c": "Accepted"}),
        ("Differential", {"a": None, "b": "Blocked", "d": "Accepted", "e": None}),
    ]
    for number, (kind, tokens) in enumerate(lists):
        records += known.on_command_result(
            version, "SendLocalList", _list(version, number, kind, tokens), ACCEPTED, UTC
        )
    assert _known(version, known, *"abcde") == [None, "Blocked", "Accepted", "Accepted", None]
    recalled = AuthorizationCache("CS01", KEY)
    recalled.restore(records)
    assert _known(version, recalled, *"abcde") == _known(version, known, *"abcde")
    assert recalled.list_version == 1
    known.on_command_result(
        version, "SendLocalList", _list(version, 9, "Full", {"a": "Accepted"}), ACCEPTED, UTC
    )
    assert _known(version, known, *"abcde") == ["Accepted", None, None, None, None]


@pytest.mark.parametrize("result", [b'{"status":"Failed"}', b'{"status":"VersionMismatch"}', b"{}"])
def test_authorization_cache_list_rejected_by_station_is_ignored(result: bytes) -> None:
    known = AuthorizationCache("CS01", KEY)
    assert (
        known.on_command_result(V16, "SendLocalList", _list(V16, 1, "Full", {"a": "Accepted"}), result, UTC)
        == []
    )
    assert (known.token_count, known.list_version) == (0, 0)


def test_authorization_cache_list_that_cannot_be_read_changes_nothing() -> None:
    assert AuthorizationCache("CS01", KEY).on_command_result(V16, "SendLocalList", b"{}", ACCEPTED, UTC) == []


@VERSIONS
def test_clearing_cache_leaves_list(version: Version) -> None:
    known = AuthorizationCache("CS01", KEY)
    records = known.on_command_result(
        version, "SendLocalList", _list(version, 1, "Full", {"a": "Accepted"}), ACCEPTED, UTC
    )
    records += known.on_call_result(
        version, "Authorize", _asked(version, "b"), _token_info(version, "Accepted")
    )
    assert known.on_command_result(version, "ClearCache", b"{}", b'{"status":"Rejected"}', UTC) == []
    records += known.on_command_result(version, "ClearCache", b"{}", ACCEPTED, UTC)
    recalled = AuthorizationCache("CS01", KEY)
    recalled.restore(records)
    assert _known(version, known, "a", "b") == _known(version, recalled, "a", "b") == ["Accepted", None]


@VERSIONS
def test_authorization_cache_remote_start_authorizes_its_token(version: Version) -> None:
    action = "RemoteStartTransaction" if version is V16 else "RequestStartTransaction"
    known = AuthorizationCache("CS01", KEY)
    known.on_command_result(version, action, _asked(version, "a"), b'{"status":"Rejected"}', UTC)
    assert _known(version, known, "a") == [None]
    known.on_command_result(version, action, _asked(version, "a"), ACCEPTED, UTC)
    assert _known(version, known, "a") == ["Accepted"]
    assert _known(version, known, "a", utc=UTC + REMOTE_START_S) == ["Expired"]


@pytest.mark.parametrize("dated", [20.0 * 365 * 86_400, 60.0])
def test_authorization_cache_remote_start_counts_by_a_clock_that_stays(dated: float) -> None:
    known = AuthorizationCache("CS01", KEY)
    at = UTC + dated if dated > 60 else dated
    records = known.on_command_result(V16, "RemoteStartTransaction", _asked(V16, "a"), ACCEPTED, at)
    assert _known(V16, known, "a", utc=at + REMOTE_START_S - 1) == ["Accepted"]
    recalled = AuthorizationCache("CS01", KEY)
    recalled.restore(records)
    assert _known(V16, recalled, "a") != ["Accepted"]


def test_authorization_cache_end_by_a_clock_that_is_not_set_counts_as_over() -> None:
    known = AuthorizationCache("CS01", KEY)
    until = _token_info(V16, "Accepted", "2027-01-15T08:00:00Z")
    known.on_call_result(V16, "Authorize", _asked(V16, "a"), until)
    known.on_call_result(V16, "Authorize", _asked(V16, "b"), _token_info(V16, "Accepted"))
    assert _known(V16, known, "a", "b", utc=60.0) == ["Expired", "Accepted"]


def test_authorization_cache_remote_start_does_not_shorten_what_is_known() -> None:
    known = AuthorizationCache("CS01", KEY)
    known.on_call_result(V16, "Authorize", _asked(V16, "a"), _token_info(V16, "Accepted"))
    assert known.on_command_result(V16, "RemoteStartTransaction", _asked(V16, "a"), ACCEPTED, UTC) == []
    assert _known(V16, known, "a", utc=UTC + 2 * REMOTE_START_S) == ["Accepted"]


def test_authorization_cache_is_bounded_and_drops_oldest() -> None:
    known = AuthorizationCache("CS01", KEY)
    known.on_command_result(
        V16, "SendLocalList", _list(V16, 1, "Full", {"listed": "Accepted"}), ACCEPTED, UTC
    )
    for number in range(MOST_TOKENS - 1):
        known.on_call_result(V16, "Authorize", _asked(V16, str(number)), _token_info(V16, "Accepted"))
    known.on_call_result(V16, "Authorize", _asked(V16, "0"), _token_info(V16, "Blocked"))  # the youngest now
    records = known.on_call_result(V16, "Authorize", _asked(V16, "more"), _token_info(V16, "Accepted"))
    assert [word.status for word in records if isinstance(word, TokenAuthorized)] == [None, "Accepted"]
    assert _known(V16, known, "listed", "0", "1", "more") == ["Accepted", "Blocked", None, "Accepted"]
    assert known.token_count == MOST_TOKENS


def test_authorization_cache_list_without_end_ends_at_bound() -> None:
    known = AuthorizationCache("CS01", KEY)
    endless: dict[str, str | None] = {str(number): "Accepted" for number in range(MOST_TOKENS + 3)}
    known.on_command_result(V16, "SendLocalList", _list(V16, 1, "Full", endless), ACCEPTED, UTC)
    assert known.token_count == MOST_TOKENS
    assert _known(V16, known, "0", str(MOST_TOKENS)) == ["Accepted", None]


def test_authorization_cache_repeated_answer_makes_no_record() -> None:
    known = AuthorizationCache("CS01", KEY)
    records = known.on_call_result(V16, "Authorize", _asked(V16, "a"), _token_info(V16, "Accepted"))
    assert known.on_call_result(V16, "Authorize", _asked(V16, "A"), _token_info(V16, "Accepted")) == []
    other = AuthorizationCache("CS02", KEY)
    other.restore([*records, LocalListVersion("CS01", 3)])
    assert (other.token_count, other.list_version) == (0, 0)


def test_another_type_or_another_key_is_another_token() -> None:
    known = AuthorizationCache("CS01", KEY)
    records = known.on_call_result(
        Version.V201, "Authorize", _asked(Version.V201, "a"), _token_info(Version.V201, "Accepted")
    )
    assert known.find_status(IdToken("a", "eMAID"), UTC) is None
    other = AuthorizationCache("CS01", b"another key")
    other.restore(records)
    assert _known(Version.V201, other, "a") == [None]


_SECRETS = st.text(max_size=16).map("tag-".__add__)


@given(_SECRETS, _SECRETS, st.sampled_from(list(Version)))
def test_authorization_cache_log_contains_no_token(value: str, group: str, version: Version) -> None:
    known = AuthorizationCache("CS01", KEY)
    token_info = _token_info(version, "Accepted", group=group)
    records = known.on_call_result(version, "Authorize", _asked(version, value), token_info)
    listed = _list(version, 1, "Full", {value: "Blocked", group: None})
    records += known.on_command_result(version, "SendLocalList", listed, ACCEPTED, UTC)
    texts = [part for word in records for part in msgspec.structs.astuple(word) if isinstance(part, str)]
    assert any(isinstance(word, TokenAuthorized) for word in records)
    for secret in (value, group):
        assert not [part for part in texts if secret.lower() in part.lower()]
