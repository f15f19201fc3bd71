"""State of the wall clock: synchronised (NTP) or not, by the kernel."""

from __future__ import annotations

import ctypes

_ERROR = 5
"""TIME_ERROR of adjtimex(2): the clock is not synchronised."""
_ROOM = 512
"""Size above that of any kernel's `struct timex`; all zero, the call only reads."""

_libc = ctypes.CDLL(None)


def is_synchronised() -> bool:
    """Return True if the kernel reports a synchronised clock; False where it cannot be asked."""
    state: int = _libc.adjtimex(ctypes.create_string_buffer(_ROOM))
    return 0 <= state < _ERROR
