"""What a node of the overlay network is told once."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence

import msgspec

from controller.overlay.routes import Hop
from controller.overlay.topology import Signer, Verifier
from controller.signing.policy_enforcer import PolicyEnforcer


class NodeSettings(msgspec.Struct, frozen=True, kw_only=True):
    """`own`: its id. `routes`: configured hops by destination; `groups`: members by the group's name.

    `homes`: by the id of each configured node the links that it comes over. `sign` and `verify` are for
    topology, `gate` is the policy of signatures for what passes, if there is one. `utc_of` makes POSIX s of
    the monotonic clock, `new_id` message ids that nobody else uses.
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
