"""Names of files beside the database in the store's directory: they show that a controller has run there."""

from __future__ import annotations

from pathlib import Path

from controller.store.sqlite_journal import FILE

FOLDER = "evidence"
"""Folder of the evidence log."""
PATTERN = "evidence-*.jsonl"
"""Names of its files."""
ASIDE = f"{FOLDER}.before-"
"""Begin of the names of folders of evidence that a restore has moved aside."""
KEY_FILE = "authorisations.key"
"""Key under which idTokens are hashed, made at the first start."""

_REMAINS = (f"{FOLDER}/{PATTERN}", f"{ASIDE}*/{PATTERN}", KEY_FILE, f"{FILE}.*")


def aside_folders(directory: Path) -> list[Path]:
    """Return the folders of evidence that were moved aside, the oldest first."""
    return sorted(path for path in directory.glob(f"{ASIDE}*") if path.is_dir())


def has_remains(directory: Path) -> bool:
    """Return True if a controller has run on a store here, whether its database is there or not."""
    return any(True for pattern in _REMAINS for _ in directory.glob(pattern))
