"""Whether the wall clock can be trusted: the kernel knows whether somebody keeps it in step (NTP)."""

from __future__ import annotations

import ctypes

_ERROR = 5
"""TIME_ERROR of adjtimex(2): the clock is not synchronised."""
_ROOM = 512
"""More bytes than any kernel's `struct timex` has; all zero, it asks and sets nothing."""

_libc = ctypes.CDLL(None)


def is_synchronised() -> bool:
    """What the kernel says; False where it cannot be asked."""
    state: int = _libc.adjtimex(ctypes.create_string_buffer(_ROOM))
    return 0 <= state < _ERROR
