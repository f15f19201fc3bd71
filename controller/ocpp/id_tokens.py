"""idTokens in messages and the backends' verdicts on them, read alike for all versions.

Only the members that we use. Sources: OCPP 1.6 edition 2, sections 6 and 7 (idTag, IdTagInfo); OCPP 2.0.1
and 2.1 Part 2, sections 1 and 2 of the messages' appendix (IdTokenType, IdTokenInfoType). None of what is
in here may be logged: a token names a driver.
"""

from __future__ import annotations

import msgspec

from controller.ocpp.frames import Version
from controller.ocpp.payloads import Int32, read_payload

LONGEST_ID_TAG = 20
"""Characters of an idTag (1.6 section 7.28, CiString20Type)."""
STATUSES_16 = frozenset({"Accepted", "Blocked", "Expired", "Invalid", "ConcurrentTx"})
STATUSES_2 = STATUSES_16 | {
    "NoCredit",
    "NotAllowedTypeEVSE",
    "NotAtThisLocation",
    "NotAtThisTime",
    "Unknown",
}


class IdToken(msgspec.Struct, frozen=True):
    """An idToken. 1.6 has no types of them: `type` is empty there."""

    value: str
    type: str = ""

    @property
    def normal(self) -> bytes:
        """Comparison form of a token: case does not count (1.6 CiString20Type, 2.x IdTokenType)."""
        return f"{self.type}\0{self.value}".lower().encode()


class TokenVerdict(msgspec.Struct, frozen=True, kw_only=True):
    """A backend's verdict on a token. `until`: the end of its validity, as written."""

    status: str
    until: str | None = None
    group: IdToken | None = None


class LocalList(msgspec.Struct, frozen=True, kw_only=True):
    """A SendLocalList; not `is_full`: a difference, where a token with None is removed."""

    version: int
    is_full: bool
    tokens: tuple[tuple[IdToken, TokenVerdict | None], ...]


class _Message(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    pass


class _Info16(_Message, frozen=True, kw_only=True):
    status: str
    expiry_date: str | None = None
    parent_id_tag: str | None = None

    def verdict(self) -> TokenVerdict:
        group = IdToken(self.parent_id_tag) if self.parent_id_tag else None
        return TokenVerdict(status=self.status, until=self.expiry_date, group=group)


class _Token2(_Message, frozen=True, kw_only=True):
    id_token: str
    type: str

    def token(self) -> IdToken:
        return IdToken(self.id_token, self.type)


class _Info2(_Message, frozen=True, kw_only=True):
    status: str
    cache_expiry_date_time: str | None = None
    group_id_token: _Token2 | None = None

    def verdict(self) -> TokenVerdict:
        group = None if self.group_id_token is None else self.group_id_token.token()
        return TokenVerdict(status=self.status, until=self.cache_expiry_date_time, group=group)


class _TokenMessage16(_Message, frozen=True, kw_only=True):
    id_tag: str


class _TokenMessage2(_Message, frozen=True, kw_only=True):
    id_token: _Token2


class _VerdictMessage16(_Message, frozen=True, kw_only=True):
    id_tag_info: _Info16


class _VerdictMessage2(_Message, frozen=True, kw_only=True):
    id_token_info: _Info2


class _Listed16(_Message, frozen=True, kw_only=True):
    id_tag: str
    id_tag_info: _Info16 | None = None


class _Listed2(_Message, frozen=True, kw_only=True):
    id_token: _Token2
    id_token_info: _Info2 | None = None


class _List16(_Message, frozen=True, kw_only=True):
    list_version: Int32
    update_type: str
    local_authorization_list: tuple[_Listed16, ...] | None = None


class _List2(_Message, frozen=True, kw_only=True):
    version_number: Int32
    update_type: str
    local_authorization_list: tuple[_Listed2, ...] | None = None


def named_token(version: Version, payload: bytes) -> IdToken | None:
    """Return the token in a request (Authorize, transactions, remote starts); None if there is none."""
    if version is Version.V16:
        old = read_payload(_TokenMessage16, payload)
        return None if old is None else IdToken(old.id_tag)
    new = read_payload(_TokenMessage2, payload)
    return None if new is None else new.id_token.token()


def read_token_verdict(version: Version, result: bytes) -> TokenVerdict | None:
    """Return the verdict in a response on the token of its request; None if there is none."""
    if version is Version.V16:
        old = read_payload(_VerdictMessage16, result)
        return None if old is None else old.id_tag_info.verdict()
    new = read_payload(_VerdictMessage2, result)
    return None if new is None else new.id_token_info.verdict()


def local_list(version: Version, payload: bytes) -> LocalList | None:
    """Read a SendLocalList; None where it cannot be read."""
    if version is Version.V16:
        old = read_payload(_List16, payload)
        if old is None:
            return None
        tags = tuple(
            (IdToken(each.id_tag), None if each.id_tag_info is None else each.id_tag_info.verdict())
            for each in old.local_authorization_list or ()
        )
        return LocalList(version=old.list_version, is_full=old.update_type == "Full", tokens=tags)
    new = read_payload(_List2, payload)
    if new is None:
        return None
    tokens = tuple(
        (each.id_token.token(), None if each.id_token_info is None else each.id_token_info.verdict())
        for each in new.local_authorization_list or ()
    )
    return LocalList(version=new.version_number, is_full=new.update_type == "Full", tokens=tokens)
