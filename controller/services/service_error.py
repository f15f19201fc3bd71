"""Base of the errors of services that cannot start or do their work."""

from __future__ import annotations


class ServiceError(Exception):
    """A service cannot start, or a request to it cannot be done. Its text names the remedy."""
