"""Announcement of a SHIP node by mDNS (SHIP 1.0.1, 7), and the text of its QR code, sans-IO."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from drivers.eebus.array_json import EebusError
from drivers.eebus.certificates import normalize_ski

SERVICE_TYPE = "_ship._tcp.local."
CATEGORY_ENERGY_MANAGEMENT = "2"
PATH = "/ship/"

LONGEST_ID = 63
LONGEST_TEXT = 32


class Announcement(msgspec.Struct, frozen=True, kw_only=True):
    """TXT record of a node. `register`: a new partner is accepted without a user."""

    ski: str
    ship_id: str
    path: str = PATH
    register: bool = False
    brand: str = ""
    model: str = ""
    type: str = ""
    serial: str = ""
    categories: str = CATEGORY_ENERGY_MANAGEMENT

    def txt(self) -> dict[str, str]:
        """Keys and values of the TXT record, each within its greatest length."""
        return {
            "txtvers": "1",
            "id": shorten(self.ship_id, LONGEST_ID),
            "path": self.path,
            "ski": self.ski,
            "register": "true" if self.register else "false",
            "cat": self.categories,
            "brand": shorten(self.brand, LONGEST_TEXT),
            "model": shorten(self.model, LONGEST_TEXT),
            "type": shorten(self.type, LONGEST_TEXT),
            "serial": shorten(self.serial, LONGEST_TEXT),
        }

    def qr_text(self) -> str:
        """Text of the QR code that a partner's user scans."""
        parts = {
            "SKI": self.ski,
            "ID": shorten(self.ship_id, LONGEST_ID),
            "BRAND": shorten(self.brand, LONGEST_TEXT),
            "TYPE": shorten(self.type, LONGEST_TEXT),
            "MODEL": shorten(self.model, LONGEST_TEXT),
            "SERIAL": shorten(self.serial, LONGEST_TEXT),
        }
        return (
            "SHIP;" + "".join(f"{key}:{_escape(text)};" for key, text in parts.items() if text) + "ENDSHIP;"
        )


def read_txt(txt: Mapping[str, str]) -> Announcement:
    """Return the announcement of a TXT record. Raises EebusError if it is to be ignored."""
    if txt.get("txtvers") != "1":
        raise EebusError(f"txtvers is {txt.get('txtvers')!r:.20}, not 1")
    missing = [key for key in ("id", "path", "ski", "register") if not txt.get(key)]
    if missing:
        raise EebusError(f"{', '.join(missing)} missing")
    if not txt["path"].startswith("/"):
        raise EebusError("path does not begin with /")
    return Announcement(
        ski=normalize_ski(txt["ski"]),
        ship_id=txt["id"][:256],
        path=txt["path"][:256],
        register=txt["register"] == "true",
        brand=txt.get("brand", "")[:256],
        model=txt.get("model", "")[:256],
        type=txt.get("type", "")[:256],
        serial=txt.get("serial", "")[:256],
        categories=txt.get("cat", "")[:256],
    )


def shorten(text: str, most: int) -> str:
    """Return a text cut to so many bytes of UTF-8, at a character."""
    return text.encode()[:most].decode(errors="ignore")


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace(";", "\\;")
