"""Commands as a grid operator writes them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from controller.dimming.dimming_messages import moment
from tests.controller.signing.authors import Author

CONTEXT = "urn:local-controller:dim:command:1"
NOON = 1_795_262_400.0
"""2026-11-21 12:00 UTC."""
POINT = "DE0001234567890"


def command(number: int = 1, limit_w: float | None = 4200.0, **changes: Any) -> dict[str, Any]:
    """One for the whole site, from NOON for an hour; `begins` and `ends` are s after NOON."""
    begins, ends = changes.pop("begins", 0.0), changes.pop("ends", 3600.0)
    evses, point = changes.pop("evses", None), changes.pop("point", POINT)
    scope = {"connectionPoint": point} | ({} if evses is None else {"evses": evses})
    return {
        "commandId": f"command-{number}",
        "issuer": {"role": changes.pop("role", "grid-operator")},
        "scope": scope,
        "limitW": limit_w,
        "notBefore": moment(NOON + begins),
        "notAfter": moment(NOON + ends),
        "sequence": number,
    } | changes


def signed_command(
    author: Author, number: int, limit_w: float | None, now: datetime, lasts_s: float = 3600.0
) -> bytes:
    """Return one for the whole site "lc", signed, from now on."""
    begins = now.timestamp() - NOON
    parts = command(number, limit_w, begins=begins, ends=begins + lasts_s, point="lc")
    return author.signed(parts, CONTEXT)
