"""The lock on the store's directory: one controller at a time works in it."""

from __future__ import annotations

import fcntl
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from controller.store.state_journal import StoreError

log = logging.getLogger("controller.store")


class StoreLockedError(StoreError):
    """Another controller works in the directory."""


@contextmanager
def hold_store(directory: Path) -> Iterator[None]:
    """Hold the directory for this process; the end of the process releases it, too.

    The lock is on the directory itself, so that a full or read-only disk does not keep the controller from
    starting. A directory that cannot be locked at all is logged, and used without. Raises StoreLockedError.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        log.error(
            "store directory cannot be opened path=%s reason=%s: let the controller's user write there",
            directory,
            error.strerror,
        )
        yield
        return
    try:
        _lock(handle, directory)
        yield
    finally:
        os.close(handle)


def _lock(handle: int, directory: Path) -> None:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise StoreLockedError(
            f"store.directory: another controller works in {directory}; stop it, or give this one its own"
        ) from None
    except OSError as error:
        log.error(
            "store directory cannot be locked path=%s reason=%s: use a local disk", directory, error.strerror
        )
