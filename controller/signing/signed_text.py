r"""The text that a signature covers, cut out of the received bytes.

It is the payload without its member `signatures`, with `@context` as first member if it has none, and
without white space: members in the author's order, numbers and escapes as the author wrote them. Tokens are
cut and never encoded anew: what is not understood is covered by the signature all the same.

A signature proves something only if all readers read the same. So a payload is rejected if readers may
differ: one name twice in an object (`"a"` and `"\u0061"` are the same name), text that is not UTF-8 or has
half a surrogate pair, numbers beyond some reader's range, nesting beyond some reader's stack.
"""

from __future__ import annotations

import re
from itertools import pairwise

import msgspec

from controller.signing import SigningError
from controller.signing.signature_format import CONTEXT, CUSTOM_DATA, SIGNATURES

MAX_BYTES = 262_144
"""Bound of the time for one payload, during which all links wait; no signed OCPP message comes near."""

MAX_DEPTH = 64
MAX_NUMBER_LENGTH = 40
"""Characters: far more than the shortest form of any IEEE 754 double needs."""

_TOKEN = re.compile(rb'[ \t\r\n]*+("(?:[^"\\]++|\\.)*+"|[{}\[\]:,]|[^ \t\r\n{}\[\]:,"]++)')
_TIME = re.compile(rb'"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d+))?Z"')
_FREE_TIME = re.compile(rb'"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d+))?(?:Z|[+-]\d\d:\d\d)?"')
_CUSTOM = b'"customData"'
_DATA = b'"data"'
_SPACE = b" \t\r\n"
_COLON = b":"
_LIST = b"["
_OPENING = (b"{", _LIST)
_CLOSING = (b"}", b"]")


class SignedTextError(SigningError):
    """A payload has no text that can be signed or verified. Its text quotes nothing of the payload."""


class PayloadTokens(msgspec.Struct, frozen=True):
    """Tokens of a payload without white space, and the places of its own members among them.

    `members`: the names in the payload's order, each with its first token and the one past its last.
    """

    tokens: list[bytes]
    members: dict[str, tuple[int, int]]

    def member(self, name: str) -> bytes | None:
        """Return the value of a member of the payload itself without white space; None if it is missing."""
        if name not in self.members:
            return None
        start, end = self.members[name]
        return b"".join(self.tokens[start + 2 : end])


def tokenize_payload(payload: bytes) -> PayloadTokens:
    """Split a payload into tokens. Raises SignedTextError."""
    if len(payload) > MAX_BYTES:
        raise SignedTextError(f"the payload has {len(payload)} bytes, at most {MAX_BYTES} are read")
    try:
        if not isinstance(msgspec.json.decode(payload), dict):
            raise SignedTextError("the payload is not a JSON object")
    except RecursionError:
        raise SignedTextError(f"the payload nests deeper than {MAX_DEPTH}") from None
    except msgspec.ValidationError:
        raise SignedTextError("the payload has a number out of range") from None
    except (msgspec.DecodeError, UnicodeDecodeError):  # of text that is not UTF-8 either, by its version
        what = "valid JSON" if _is_utf8(payload) else "UTF-8"
        raise SignedTextError(f"the payload is not {what}") from None
    tokens = _TOKEN.findall(payload)
    return PayloadTokens(tokens, _find_members(tokens))


def _is_utf8(payload: bytes) -> bool:
    try:
        payload.decode()
    except UnicodeDecodeError:
        return False
    return True


def build_signed_text(payload: PayloadTokens, context: str) -> bytes:
    """Build the text that is signed; `context` goes in front if the payload has none."""
    parts = [
        b"".join(payload.tokens[start:end])
        for name, (start, end) in payload.members.items()
        if name != SIGNATURES
    ]
    if CONTEXT not in payload.members:
        parts.insert(0, b'"%s":%s' % (CONTEXT.encode(), msgspec.json.encode(context)))
    return b"{" + b",".join(parts) + b"}"


def restore_times(payload: PayloadTokens, *, free_data: bool) -> PayloadTokens | None:
    """Write the times as their author signed them; None if that changes nothing.

    WWCP controllers drop zeros at the end of a fraction when they pass a message on, and WWCP nodes sign
    times in free JSON (`customData`, with `free_data` also `data`) without their zone. So times get
    exactly three decimals, and those in free JSON lose their zone. The zone of a free time is then not
    covered: the user of the result must read its values, not those received.
    """
    tokens = list(payload.tokens)
    depth = 0
    free_depth = 0  # depth of the object whose member began free JSON; 0 outside of it
    for place, token in enumerate(tokens):
        if token[:1] == b'"':
            if tokens[place + 1] == _COLON:
                # A member at the depth where free JSON began either begins it anew or ends it.
                if free_depth in (0, depth):
                    begins = token == _CUSTOM or (free_data and depth == 1 and token == _DATA)
                    free_depth = depth if begins else 0
            else:
                pattern = _FREE_TIME if free_depth else _TIME
                tokens[place] = pattern.sub(_full_time, token)
        elif token in _OPENING:
            depth += 1
        elif token in _CLOSING:
            depth -= 1
            if depth < free_depth:
                free_depth = 0
    return None if tokens == payload.tokens else PayloadTokens(tokens, payload.members)


def _full_time(match: re.Match[bytes]) -> bytes:
    return b'"%s.%sZ"' % (match[1], (match[2] or b"")[:3].ljust(3, b"0"))


def insert_signature(text: bytes, payload: PayloadTokens, signature: bytes) -> bytes:
    """Insert one more signature, an encoded JSON object; every other byte stays. Raises SignedTextError.

    `text` is the payload as it was tokenized. A first signature is inserted before `customData`, as WWCP
    writes it.
    """
    member = b'"%s":[%s]' % (SIGNATURES.encode(), signature)
    if SIGNATURES not in payload.members and CUSTOM_DATA not in payload.members:
        at = len(text[: text.rindex(b"}")].rstrip(_SPACE))
        return text[:at] + (b"," if payload.members else b"") + member + text[at:]
    spans = [token.span(1) for token in _TOKEN.finditer(text)]
    if SIGNATURES in payload.members:
        start, end = payload.members[SIGNATURES]
        if payload.tokens[start + 2] != _LIST:
            raise SignedTextError("the payload's signatures are not a list")
        at = spans[end - 1][0]
        comma = b"" if end - 1 == start + 3 else b","
        return text[:at] + comma + signature + text[at:]
    at = spans[payload.members[CUSTOM_DATA][0]][0]
    return text[:at] + member + b"," + text[at:]


def _find_members(tokens: list[bytes]) -> dict[str, tuple[int, int]]:
    """Find the members of the outermost object, after a check of all that is in it."""
    names: list[set[bytes]] = []  # of each open object and array, the names so far
    starts: list[int] = []
    for place, token in enumerate(tokens):
        if token == _COLON:
            name = tokens[place - 1]
            if b"\\" in name:
                name = msgspec.json.encode(msgspec.json.decode(name, type=str))
            if name in names[-1]:
                raise SignedTextError("the payload has one name twice in an object")
            names[-1].add(name)
            if len(names) == 1:
                starts.append(place - 1)
        elif token in _OPENING:
            names.append(set())
            if len(names) > MAX_DEPTH:
                raise SignedTextError(f"the payload nests deeper than {MAX_DEPTH}")
        elif token in _CLOSING:
            names.pop()
        elif len(token) > MAX_NUMBER_LENGTH and token[0] in b"-0123456789":
            raise SignedTextError(f"the payload has a number of more than {MAX_NUMBER_LENGTH} characters")
    # A member ends at the comma before the next one, the last at the closing brace.
    pairs = pairwise([*starts, len(tokens)])
    return {msgspec.json.decode(tokens[start], type=str): (start, after - 1) for start, after in pairs}
