"""Whether as many sockets may be open as the site's links need."""

from __future__ import annotations

import logging
import resource

log = logging.getLogger("controller.transport")

OTHERS = 64
"""Files that are open beside the links: the store, meters, the page and who looks at it."""


def make_room(links: int) -> int:
    """Let as many files be open as so many links need, as far as the system allows; gives what may be.

    A link that is replaced stands beside its successor for a moment: so each counts twice.
    """
    needed = 2 * links + OTHERS
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < needed:
        soft = _raised(min(needed, hard), soft, hard)
    if soft < needed:
        log.warning(
            "only %d files may be open, %d links may need %d; raise LimitNOFILE= of the service, "
            "or ulimit -n",
            soft,
            links,
            needed,
        )
    return soft


def _raised(wanted: int, soft: int, hard: int) -> int:
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    except (OSError, ValueError):  # a service may not be allowed to
        return soft
    return wanted
