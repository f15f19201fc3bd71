"""Fixtures that several tests of the services ask for."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest


@pytest.fixture
def log_levels() -> Iterator[None]:
    """Undo the log levels that a reload of the configuration has set."""
    yield
    for name in ("controller", "drivers"):
        logging.getLogger(name).setLevel(logging.NOTSET)
