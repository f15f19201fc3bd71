"""Number of examples of property tests: fewer in `make test-fast`."""

from __future__ import annotations

import os

IS_FAST = bool(os.environ.get("TEST_FAST"))
FAST_SHARE = 15


def examples(full: int) -> int:
    """Return the number of examples for a test that has `full` of them in `make test`."""
    return max(5, full // FAST_SHARE) if IS_FAST else full
