"""Space of the disk that the store is on, and the bound below which it is low."""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec

LOW_SHARE = 0.10
LOW_MOST_BYTES = 2 << 30
LOW_LEAST_BYTES = 100 << 20
"""Low is less than a tenth of the disk: 2 GiB where that is more, 100 MiB where it is less."""
RECOVERED = 1.25
"""Low space is enough again above so many times the bound, so that the alarm does not come and go."""
MIB = 1 << 20


class DiskSpace(msgspec.Struct, frozen=True):
    """Space of a disk in bytes: free for the user of this process, and all of it."""

    free_bytes: int
    size_bytes: int

    @property
    def free_mb(self) -> int:
        """Return the free space in MiB."""
        return self.free_bytes // MIB

    @property
    def size_mb(self) -> int:
        """Return the size in MiB."""
        return self.size_bytes // MIB

    @property
    def bound_bytes(self) -> int:
        """Return the free space below which it is low (bytes)."""
        return max(LOW_LEAST_BYTES, min(LOW_MOST_BYTES, round(LOW_SHARE * self.size_bytes)))

    def is_low(self, *, was_low: bool = False) -> bool:
        """Return True if too little is free; `was_low`: the last answer."""
        return self.free_bytes < self.bound_bytes * (RECOVERED if was_low else 1.0)


def read_disk_space(directory: Path) -> DiskSpace | None:
    """Return the space of the disk of a directory; None where that cannot be read."""
    try:
        usage = shutil.disk_usage(directory)
    except OSError:
        return None
    return DiskSpace(usage.free, usage.total)
