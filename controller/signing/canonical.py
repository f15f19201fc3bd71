r"""The text that a signature covers, out of the bytes that were received.

It is the payload without its member `signatures`, with `@context` as first member where it has none, and
without white space: members in the author's order, numbers and escapes as the author wrote them. We cut
and never encode anew: what we have not understood is covered by the signature all the same.

A signature is only worth something where all readers read the same. So a payload is refused whose readers
may differ: one name twice in an object (`"a"` and `"\u0061"` are the same name), text that is not UTF-8 or
has half a surrogate pair, numbers beyond every reader, nesting beyond some reader's stack.
"""

from __future__ import annotations

import re
from itertools import pairwise

import msgspec

from controller.signing.signing_wire import CONTEXT, CUSTOM_DATA, SIGNATURES

MOST_BYTES = 262_144
"""All links wait while a payload is read; nothing that is signed in OCPP comes near."""

DEEPEST = 64
LONGEST_NUMBER = 40
"""Characters: far more than the shortest form of any IEEE 754 double needs."""

_TOKEN = re.compile(rb'[ \t\r\n]*+("(?:[^"\\]++|\\.)*+"|[{}\[\]:,]|[^ \t\r\n{}\[\]:,"]++)')
_COLON = b":"
_LIST = b"["
_OPENING = (b"{", _LIST)
_CLOSING = (b"}", b"]")


class NotSignableError(Exception):
    """No text can be signed or verified here. The text says why, and quotes nothing of the payload."""


class SignedDocument(msgspec.Struct, frozen=True):
    """A payload's tokens, without white space, and where its own members stand among them.

    `members` are the names in the payload's order, each with its first token and the one past its last.
    """

    tokens: list[bytes]
    members: dict[str, tuple[int, int]]

    def member(self, name: str) -> bytes | None:
        """The value of a member of the payload itself, white space apart; None where it is not there."""
        if name not in self.members:
            return None
        start, end = self.members[name]
        return b"".join(self.tokens[start + 2 : end])


def read(payload: bytes) -> SignedDocument:
    """The tokens of a payload. Raises NotSignable."""
    if len(payload) > MOST_BYTES:
        raise NotSignableError(f"the payload has {len(payload)} bytes, {MOST_BYTES} at most")
    try:
        if not isinstance(msgspec.json.decode(payload), dict):
            raise NotSignableError("the payload is no JSON object")
    except UnicodeDecodeError:
        raise NotSignableError("the payload is not UTF-8") from None
    except RecursionError:
        raise NotSignableError(f"the payload nests deeper than {DEEPEST}") from None
    except msgspec.ValidationError:
        raise NotSignableError("the payload has a number that no reader holds") from None
    except msgspec.DecodeError:
        raise NotSignableError("the payload is no JSON that every reader reads alike") from None
    tokens = _TOKEN.findall(payload)
    return SignedDocument(tokens, _members(tokens))


def text(document: SignedDocument, context: str) -> bytes:
    """What is signed: `context` goes in front where the document has none of its own."""
    parts = [
        b"".join(document.tokens[start:end])
        for name, (start, end) in document.members.items()
        if name != SIGNATURES
    ]
    if CONTEXT not in document.members:
        parts.insert(0, b'"%s":%s' % (CONTEXT.encode(), msgspec.json.encode(context)))
    return b"{" + b",".join(parts) + b"}"


def with_signature(payload: bytes, document: SignedDocument, signature: bytes) -> bytes:
    """The payload with one more signature, an encoded JSON object; every other byte stays.

    A first signature stands before `customData`, as the authors of the format have it.
    """
    spans = [token.span(1) for token in _TOKEN.finditer(payload)]
    if SIGNATURES in document.members:
        start, end = document.members[SIGNATURES]
        if document.tokens[start + 2] != _LIST:
            raise NotSignableError("the payload's signatures are no list")
        at = spans[end - 1][0]
        comma = b"" if end - 1 == start + 3 else b","
        return payload[:at] + comma + signature + payload[at:]
    member = b'"%s":[%s]' % (SIGNATURES.encode(), signature)
    if CUSTOM_DATA in document.members:
        at = spans[document.members[CUSTOM_DATA][0]][0]
        return payload[:at] + member + b"," + payload[at:]
    at = spans[-2][1]
    return payload[:at] + (b"," if document.members else b"") + member + payload[at:]


def _members(tokens: list[bytes]) -> dict[str, tuple[int, int]]:
    """Where each member of the outermost object stands, after a look at all that is in it."""
    names: list[set[bytes]] = []
    """Of each open object and array, the names so far."""
    starts: list[int] = []
    for place, token in enumerate(tokens):
        if token == _COLON:
            name = tokens[place - 1]
            if b"\\" in name:
                name = msgspec.json.encode(msgspec.json.decode(name, type=str))
            if name in names[-1]:
                raise NotSignableError("the payload has one name twice in an object")
            names[-1].add(name)
            if len(names) == 1:
                starts.append(place - 1)
        elif token in _OPENING:
            names.append(set())
            if len(names) > DEEPEST:
                raise NotSignableError(f"the payload nests deeper than {DEEPEST}")
        elif token in _CLOSING:
            names.pop()
        elif len(token) > LONGEST_NUMBER and token[0] in b"-0123456789":
            raise NotSignableError(f"the payload has a number of more than {LONGEST_NUMBER} characters")
    # A member ends where the comma before the next one stands, the last at the closing brace.
    pairs = pairwise([*starts, len(tokens)])
    return {msgspec.json.decode(tokens[start], type=str): (start, after - 1) for start, after in pairs}
