"""What the stations said of themselves when they last booted: a restart of ours is no boot of theirs."""

from __future__ import annotations

from pathlib import Path

from controller.model.observations import Booted
from controller.store.database import Database

FILE = "boots.sqlite"

_SCHEMA = """
CREATE TABLE IF NOT EXISTS boots (
    station TEXT NOT NULL PRIMARY KEY,
    vendor TEXT NOT NULL,
    model TEXT NOT NULL,
    firmware TEXT NOT NULL
) STRICT
"""


_KEEPS = "models and firmware of the stations: their quirks are known again when they boot"


class BootStore:
    """The file of boots in the store's directory. Raises StoreFailed where it cannot be used."""

    def __init__(self, directory: Path) -> None:
        self._database = Database(directory / FILE, _SCHEMA, _KEEPS)
        self._saved = {
            station: Booted(vendor, model, firmware)
            for station, vendor, model, firmware in self._database.rows(
                "SELECT station, vendor, model, firmware FROM boots"
            )
        }

    def load(self) -> dict[str, Booted]:
        """The last boot of each station."""
        return dict(self._saved)

    def save(self, station: str, boot: Booted) -> None:
        """Keep a station's boot; durable when it returns. One that says the same again is not written."""
        if self._saved.get(station) == boot:
            return
        row = (station, boot.vendor, boot.model, boot.firmware)
        self._database.write(("INSERT OR REPLACE INTO boots VALUES (?, ?, ?, ?)", [row]))
        self._saved[station] = boot

    def close(self) -> None:
        """Close the file."""
        self._database.close()
