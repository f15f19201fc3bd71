"""One controller at a time works in a store: two would tell everything twice, and tear the evidence."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from controller.store.database import StoreError

FILE = "lock"


@contextmanager
def held(directory: Path) -> Iterator[None]:
    """Have the store for ourselves while in here; the end of the process gives it back, too.

    Raises StoreFailed where another has it, or where it cannot be used at all.
    """
    path = directory / FILE
    try:
        directory.mkdir(parents=True, exist_ok=True)
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise _failed(
            f"{path} cannot be used: {error.strerror}; let the controller's user write there"
        ) from error
    try:
        _take(file, directory)
        yield
    finally:
        os.close(file)


def _take(file: int, directory: Path) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise _failed(f"another controller works in {directory}; stop it, or give this one its own") from None
    except OSError as error:
        raise _failed(f"{directory} cannot be locked: {error.strerror}; use a local disk") from error


def _failed(what: str) -> StoreError:
    return StoreError(f"store.directory: {what}")
