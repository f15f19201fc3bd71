"""The page as one document: style and script are inline, each allowed by its own hash."""

from __future__ import annotations

import base64
import hashlib
from importlib.resources import files


def _asset(name: str) -> str:
    return files(__package__).joinpath(name).read_text("utf-8")


def _hash(text: str) -> str:
    """Return the source expression of an inline element (Content Security Policy Level 3, 6.7.2)."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


_STYLE, _SCRIPT = _asset("page.css"), _asset("page.js")

PAGE = _asset("page.html").replace("/* page.css */", _STYLE).replace("/* page.js */", _SCRIPT).encode("utf-8")

POLICY = (
    f"default-src 'none'; style-src {_hash(_STYLE)}; script-src {_hash(_SCRIPT)}; connect-src 'self'; "
    "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""The page's own style, script and (empty) icon, and requests of the script to this server."""
