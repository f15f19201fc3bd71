"""The limit on open files of this process, raised to the number of sockets that a site needs."""

from __future__ import annotations

import logging
import resource

log = logging.getLogger("controller.transport")

OTHER_FILES = 64
"""Files that are open beside the links: the store, meters, the page and its visitors."""


def raise_descriptor_limit(links: int) -> int:
    """Raise the limit on open files to what so many links need, and return the limit in force.

    A link that is replaced is open beside its successor for a moment, so each counts twice.
    """
    needed = 2 * links + OTHER_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < needed:
        soft = _set_soft_limit(min(needed, hard), soft, hard)
    if soft < needed:
        log.warning(
            "open file limit too low limit=%d needed=%d links=%d; raise LimitNOFILE= of the service, "
            "or ulimit -n",
            soft,
            needed,
            links,
        )
    return soft


def _set_soft_limit(new_limit: int, soft: int, hard: int) -> int:
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (new_limit, hard))
    except (OSError, ValueError):  # a service may not be permitted to raise it
        return soft
    return new_limit
