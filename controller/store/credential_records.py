"""Records of stations' passwords, as hashes."""

from __future__ import annotations

from controller.model.journal import Record


class CredentialStored(Record, frozen=True):
    """The hash line of a station's password, and how the password became known."""

    station: str
    origin: str
    hash: str
