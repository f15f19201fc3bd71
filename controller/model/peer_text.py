"""Text of a peer (vendor, error, close reason, header), bounded and escaped where it comes in. Sans-IO."""

from __future__ import annotations

import re
import unicodedata

LONGEST_CHARACTERS = 80
"""Characters of a peer's text that are kept for a person."""

_PLAIN_WORD = re.compile(r"[\w.:+/@-]{1,80}", re.ASCII)
"""Text that is the value of one pair in a log line as it is."""

_INVISIBLE = frozenset(("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"))
"""Unicode categories that control a terminal or a text's direction, or that have no glyph."""


def bounded_text(text: str, most: int = LONGEST_CHARACTERS) -> str:
    r"""Return the first line of a peer's text, at most `most` characters, with controls escaped.

    Safe in a terminal, a log line, a page and a metric's label: no escape sequence, line break, bidirectional
    override or lone surrogate is left; each is written as `\x1b` or `\u202e`. What is cut off ends in "...".
    """
    if len(text) <= most and text.isprintable():
        return text.strip()
    lines = text[: 4 * most].strip().splitlines()
    first = lines[0].rstrip() if lines else ""
    escaped = "".join(map(_escape, first[: most + 1]))
    is_cut = len(escaped) > most or len(lines) > 1 or len(text) > 4 * most
    return escaped[: most - 3] + "..." if is_cut else escaped


def peer_word(text: str) -> str:
    """Return a peer's message id, action or error code as the value of one pair in a log line.

    It is bounded, and quoted where it could end the pair or begin another.
    """
    if _PLAIN_WORD.fullmatch(text):
        return text
    return '"' + bounded_text(text).replace('"', "'") + '"'


def _escape(character: str) -> str:
    if unicodedata.category(character) not in _INVISIBLE:
        return character
    return character.encode("unicode_escape").decode("ascii")
