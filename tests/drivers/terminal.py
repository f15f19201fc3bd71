"""A pseudo-terminal as a serial line between a test and the program that opens its device."""

from __future__ import annotations

import os
import tty
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def pseudo_terminal() -> Iterator[tuple[int, str]]:
    """The near end, and the device at the far end."""
    near, far = os.openpty()
    tty.setraw(far)
    try:
        yield near, os.ttyname(far)
    finally:
        os.close(near)
        os.close(far)
