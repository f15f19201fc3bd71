"""Settings of the overlay node: from the configuration, and from the signature policy."""

from __future__ import annotations

import logging
import random
import uuid
from collections.abc import Callable

import trio

from controller.config import BackendConfig, Config
from controller.config.backend_rules import backend_names, endpoints_by_backend
from controller.config.schema import OverlayConfig
from controller.ocpp.frames import Version
from controller.overlay.node import NodeSettings
from controller.overlay.overlay_wire import TOPOLOGY
from controller.overlay.routes import Hop
from controller.services.machine.wall_clock import utc
from controller.signing.policy_enforcer import PolicyEnforcer
from controller.signing.rule_set import RuleKey
from controller.signing.signature_format import Direction, MessageKind
from controller.signing.signed_text import SignedTextError

log = logging.getLogger("controller.overlay")


class OverlayTrust:
    """Signs topology messages and verifies those of others, by policy; `enforcer` None: no policy."""

    def __init__(
        self, overlay: OverlayConfig, enforcer: PolicyEnforcer | None, utc: Callable[[], float]
    ) -> None:
        self._learn = overlay.learn
        self.enforcer = enforcer
        self._utc = utc

    def sign(self, payload: bytes) -> bytes:
        """Return the payload to send: signed where the policy requires it."""
        if self.enforcer is None:
            return payload
        signed = self.enforcer.sign_own(_facts("", is_call=False), payload, self._utc())
        if signed.unsigned_reason:
            log.warning("topology sent unsigned reason=%s", signed.unsigned_reason)
        return signed.payload

    def verify(self, node: str, payload: bytes, is_call: bool) -> str | None:
        """Return why a node's topology is rejected; None if it is accepted."""
        if self._learn == "all":
            return None
        if self._learn == "none":
            return '[overlay] has learn = "none"'
        if self.enforcer is None:
            return f"[signing] has no policy with keys; name one with a key of {node!r}, or set learn"
        try:
            signers = self.enforcer.valid_signers(_facts(node, is_call=is_call), payload, self._utc())
        except SignedTextError as error:
            return str(error)
        if node in signers:
            return None
        return (
            f"it has no valid signature of a key whose holder is {node!r}; that key has to be in the policy "
            f"here, and sign {TOPOLOGY} there"
        )


def first_endpoints(config: Config) -> dict[str, BackendConfig]:
    """Return the first endpoint of each backend by its name."""
    return {name: tables[0] for name, tables in endpoints_by_backend(config).items()}


def node_settings(
    config: Config, enforcer: PolicyEnforcer | None, utc_of: Callable[[float], float] = utc
) -> NodeSettings:
    """Return the settings of the node. Links have the ids of stations and the names of backends."""
    overlay = config.overlay or OverlayConfig()
    trust = OverlayTrust(overlay, enforcer, lambda: utc_of(trio.current_time()))
    backends = backend_names(config)
    routes: dict[str, list[Hop]] = {}
    for route in overlay.route:
        link = backends.get(route.via, route.via)
        routes.setdefault(route.destination, []).append(Hop(link, route.priority, route.weight))
    stations = {station.id: {station.id} for station in config.station}
    homes = {name: stations.get(name, set()) | {hop.link for hop in hops} for name, hops in routes.items()}
    return NodeSettings(
        own=config.site.id,
        routes=routes,
        groups={group.id: group.members for group in overlay.group},
        homes={name: frozenset(links) for name, links in (stations | homes).items()},
        sign=trust.sign,
        verify=trust.verify,
        utc_of=utc_of,
        new_id=lambda: str(uuid.uuid4()),
        dice=random.Random(),
        timeout_s=config.listen.call_timeout_s,
        enforcer=enforcer,
    )


def _facts(link: str, *, is_call: bool) -> RuleKey:
    kind = MessageKind.REQUEST if is_call else MessageKind.SEND
    return RuleKey(version=Version.V21, action=TOPOLOGY, direction=Direction.UP, kind=kind, link=link)
