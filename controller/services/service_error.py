"""Base of the errors with which a service says that it cannot do its work."""

from __future__ import annotations


class ServiceError(Exception):
    """A service cannot start, or a request to it cannot be done. Its text names the remedy."""
