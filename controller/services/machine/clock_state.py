"""State of the wall clock: synchronised (NTP) or not, by the kernel.

The sandbox of the packaged service does not allow adjtimex(2). There a second process, this module run with
`python3 -m`, asks the kernel and writes the answer into a file, as "SYNCHRONISED MONOTONIC_TIME".
"""

from __future__ import annotations

import ctypes
import time
from pathlib import Path

STATE_FILE = Path("/run/local-controller-clock/state")
WRITE_S = 10.0
"""Interval at which the state file is written."""
MAX_AGE_S = 35.0
"""Age (s) beyond which the state file is not used: its writer has failed three times."""

_ERROR = 5
"""TIME_ERROR of adjtimex(2): the clock is not synchronised."""
_TIMEX_BYTES = 512
"""Size above that of any kernel's `struct timex`; all zero, the call only reads."""

_libc = ctypes.CDLL(None)


def is_synchronised() -> bool:
    """Return True if the kernel reports a synchronised clock; False where it cannot be asked."""
    state = _ask_kernel()
    return state < _ERROR if state >= 0 else read_state_file(STATE_FILE, time.monotonic())


def read_state_file(path: Path, now: float) -> bool:
    """Return the answer in the state file; False where there is none of the last MAX_AGE_S."""
    try:
        answer, written_at = path.read_text().split()
        return answer == "1" and 0 <= now - float(written_at) <= MAX_AGE_S
    except (OSError, ValueError):
        return False


def write_state_file(path: Path, now: float) -> None:
    """Ask the kernel and write its answer. Raises OSError."""
    partial = path.with_suffix(".new")
    partial.write_text(f"{int(0 <= _ask_kernel() < _ERROR)} {now}\n")
    partial.chmod(0o644)
    partial.replace(path)


def _ask_kernel() -> int:
    """Return the state of the clock by adjtimex(2); -1 where the call is not allowed."""
    state: int = _libc.adjtimex(ctypes.create_string_buffer(_TIMEX_BYTES))
    return state


def _run() -> None:
    """Write the state file until the process is ended."""
    while True:
        write_state_file(STATE_FILE, time.monotonic())
        time.sleep(WRITE_S)


if __name__ == "__main__":
    _run()
