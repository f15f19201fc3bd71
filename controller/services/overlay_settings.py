"""What the overlay's node is told once: by the configuration, and by the gate of signatures."""

from __future__ import annotations

import logging
import random
import uuid
from collections.abc import Callable

from controller.config import Config
from controller.config.backend_rules import backend_names
from controller.config.schema import OverlayConfig
from controller.ocpp.frames import Version
from controller.overlay.node_settings import NodeSettings
from controller.overlay.overlay_wire import TOPOLOGY
from controller.overlay.routes import Hop
from controller.signing.policy_enforcer import PolicyEnforcer
from controller.signing.rule_set import RuleKey
from controller.signing.signature_format import Direction, MessageKind
from controller.signing.signed_text import SignedTextError

log = logging.getLogger("controller.overlay")


class OverlayTrust:
    """What our topology is signed with, and whose is believed: by the `gate`, if there is one."""

    def __init__(self, overlay: OverlayConfig, gate: PolicyEnforcer | None, utc: Callable[[], float]) -> None:
        self._learn = overlay.learn
        self.gate = gate
        self._utc = utc

    def sign(self, payload: bytes) -> bytes:
        """The payload as it goes out: signed where the policy has it so."""
        if self.gate is None:
            return payload
        signed = self.gate.sign_own(_facts("", is_call=False), payload, self._utc())
        if signed.unsigned_reason:
            log.warning("our topology goes out unsigned: %s", signed.unsigned_reason)
        return signed.payload

    def verify(self, node: str, payload: bytes, is_call: bool) -> str | None:
        """Why a node is not believed; None where it is."""
        if self._learn == "all":
            return None
        if self._learn == "none":
            return '[overlay] has learn = "none"'
        if self.gate is None:
            return "no policy of [signing] knows a key"
        try:
            signers = self.gate.valid_signers(_facts(node, is_call=is_call), payload, self._utc())
        except SignedTextError as no:
            return str(no)
        return None if node in signers else f"it has no valid signature of a key whose holder is {node!r}"


def node_settings(config: Config, trust: OverlayTrust, utc_of: Callable[[float], float]) -> NodeSettings:
    """As the node wants it. Links bear the ids of stations, and the names of backends."""
    overlay = config.overlay or OverlayConfig()
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
        gate=trust.gate,
    )


def _facts(link: str, *, is_call: bool) -> RuleKey:
    kind = MessageKind.REQUEST if is_call else MessageKind.SEND
    return RuleKey(version=Version.V21, action=TOPOLOGY, direction=Direction.UP, kind=kind, link=link)
