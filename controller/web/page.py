"""Files of the page, read once; the strict policy allows nothing that is not one of them."""

from __future__ import annotations

from importlib.resources import files

import msgspec

_HTML = "text/html; charset=utf-8"
_SCRIPT = "text/javascript; charset=utf-8"
_STYLE = "text/css; charset=utf-8"
_FILES = {
    "/": ("page.html", _HTML),
    "/setup": ("setup.html", _HTML),
    "/assets/setup.js": ("setup.js", _SCRIPT),
    "/assets/page.css": ("page.css", _STYLE),
    "/assets/page.js": ("page.js", _SCRIPT),
    "/assets/settings.js": ("settings.js", _SCRIPT),
    "/assets/differences.js": ("differences.js", _SCRIPT),
    "/assets/findings.js": ("findings.js", _SCRIPT),
    "/assets/elements.js": ("elements.js", _SCRIPT),
    "/assets/statements.js": ("statements.js", _SCRIPT),
    "/assets/texts.js": ("texts.js", _SCRIPT),
    "/assets/charts.js": ("charts.js", _SCRIPT),
    "/assets/icon.svg": ("icon.svg", "image/svg+xml"),
}


SETUP_PAGE = "/setup"
"""Address of the setup's page; in setup mode it is also at /."""


class Asset(msgspec.Struct, frozen=True):
    """One file of the page."""

    content_type: str
    body: bytes


ASSETS = {
    path: Asset(content_type, files(__package__).joinpath(name).read_bytes())
    for path, (name, content_type) in _FILES.items()
}

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""Content Security Policy Level 3: no inline style or script, nothing of another host."""

PAGE_HEADERS = (
    ("Content-Security-Policy", POLICY),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Cache-Control", "no-cache"),
)
