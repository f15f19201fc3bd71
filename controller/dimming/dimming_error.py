"""Base of the errors of this package."""

from __future__ import annotations


class DimmingError(Exception):
    """A command, a record or a request of the dimming cannot be used; the text states why."""
