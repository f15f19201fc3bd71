"""The check of `doctor` on the disk of the store."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from controller.cli.doctor_checks import DoctorFinding
from controller.store.disk_space import read_disk_space
from controller.store.sqlite_journal import FILE


def check_disk(directory: Path) -> Iterator[DoctorFinding]:
    """Check the space below the store, and what damaged files there are."""
    space = read_disk_space(directory)
    if space is None:
        yield DoctorFinding(
            "disk", "error", f"{directory}: cannot be read", "create it, writable by the service's user"
        )
        return
    free = f"{space.free_mb} MB of {space.size_mb} MB free"
    if space.is_low():
        yield DoctorFinding(
            "disk",
            "warning",
            f"{directory}: {free}",
            "delete what is not needed, e.g. `journalctl --vacuum-size`",
        )
    else:
        yield DoctorFinding("disk", "ok", f"{directory}: {free}")
    try:
        damaged = sorted(path.name for path in directory.glob(f"{FILE}.*corrupt*"))
    except OSError:
        damaged = []
    for name in damaged:
        yield DoctorFinding(
            "disk",
            "warning",
            f"{directory / name}: a damaged store was moved aside",
            "restore a backup if state is missing; replace a worn SD card",
        )
