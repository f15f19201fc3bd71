"""Identity of the present version of a file, by which a change is noticed without reading it."""

from __future__ import annotations

import os
from pathlib import Path

FileStamp = tuple[int, int, int] | None
"""Inode, size and time of the last change (ns); None for a file that is missing or cannot be reached."""


def file_stamp(path: str | Path) -> FileStamp:
    """Return the stamp of a file. That of a folder changes when files are added to it or removed."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns
