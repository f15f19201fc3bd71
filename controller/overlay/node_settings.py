"""Settings of a node of the overlay network."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence

import msgspec

from controller.overlay.routes import Hop
from controller.overlay.topology import Signer, Verifier
from controller.signing.policy_enforcer import PolicyEnforcer


class NodeSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of one node. `own`: its id.

    `routes`: configured hops by destination; `groups`: members by the name of the group. `homes`: by the id
    of each configured node the links that it may come over. `sign` and `verify` are for topology; `gate` is
    the policy of signatures for forwarded messages, if there is one. `utc_of` converts monotonic s to POSIX
    s; `new_id` makes unique message ids.
    """

    own: str
    routes: Mapping[str, Sequence[Hop]] = {}
    groups: Mapping[str, Sequence[str]] = {}
    homes: Mapping[str, frozenset[str]] = {}
    sign: Signer
    verify: Verifier
    utc_of: Callable[[float], float]
    new_id: Callable[[], str]
    dice: random.Random
    timeout_s: float = 60.0
    gate: PolicyEnforcer | None = None
