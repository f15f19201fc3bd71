"""The page as one document: its style and script stand inside, each allowed by its own hash."""

from __future__ import annotations

import base64
import hashlib
from importlib.resources import files


def _asset(name: str) -> str:
    return files(__package__).joinpath(name).read_text("utf-8")


def _hash(text: str) -> str:
    """As Content Security Policy Level 3 names an inline element's text (section 6.7.2)."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


_STYLE, _SCRIPT = _asset("page.css"), _asset("page.js")

PAGE = _asset("page.html").replace("/* page.css */", _STYLE).replace("/* page.js */", _SCRIPT).encode("utf-8")

POLICY = (
    f"default-src 'none'; style-src {_hash(_STYLE)}; script-src {_hash(_SCRIPT)}; connect-src 'self'; "
    "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""Nothing but the page's own style, script and (empty) icon, and what the script asks of this server."""
