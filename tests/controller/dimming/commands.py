"""Commands as a grid operator writes them."""

from __future__ import annotations

from typing import Any

from controller.dimming.dimming_messages import moment

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
