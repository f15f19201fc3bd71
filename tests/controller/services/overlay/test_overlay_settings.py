"""Settings of the overlay node: accepted topologies, and the configuration."""

from __future__ import annotations

import random

import msgspec
import pytest

from controller.config.loader import check_config
from controller.config.schema import OverlayConfig
from controller.overlay.routes import Hop
from controller.services.overlay.overlay_settings import OverlayTrust, node_settings
from controller.signing.policy_enforcer import PolicyEnforcer
from controller.signing.policy_schema import SigningAction, SigningRule
from controller.signing.signature_policy import SignaturePolicy
from controller.signing.signing_keys import Keyring, OwnKey, new_private_key, parse_private_key
from tests.controller.config.test_overlay_rules import WHOLE

NOW = 1_795_000_000.0
KEY = parse_private_key(new_private_key("secp256r1", "LC02", 0.0, 2e9))
PAYLOAD = b'{"networkTopologyInformation":{"routingNode":"LC02"}}'


def enforcer(sign: bool = False, own: tuple[OwnKey, ...] = ()) -> PolicyEnforcer:
    rules = (
        [SigningRule(id="topology", actions=("NotifyNetworkTopology",), do=SigningAction.SIGN)]
        if sign
        else []
    )
    return PolicyEnforcer(SignaturePolicy(keyring=Keyring([KEY.known]), roles=(), verify=(), sign=rules), own)


def trust(learn: str = "signed", enforcer: PolicyEnforcer | None = None) -> OverlayTrust:
    return OverlayTrust(msgspec.convert({"learn": learn}, OverlayConfig), enforcer, lambda: NOW)


def unsigned(node: str) -> str:
    return (
        f"it has no valid signature of a key whose holder is {node!r}; that key has to be in the policy "
        "here, and sign NotifyNetworkTopology there"
    )


def test_topology_signed_by_one_controller_is_accepted_by_another() -> None:
    signed = trust(enforcer=enforcer(sign=True, own=(KEY,))).sign(PAYLOAD)
    assert b"signatures" in signed
    believing = trust(enforcer=enforcer())
    assert believing.verify("LC02", signed, False) is None
    assert believing.verify("LC02", signed, True) is not None
    assert believing.verify("LC03", signed, False) == unsigned("LC03")
    assert believing.verify("LC02", signed.replace(b'"LC02"', b'"LC09"'), False) is not None
    assert believing.verify("LC02", b"[]", False) is not None


@pytest.mark.parametrize(
    ("trusting", "why"),
    [
        (trust("all"), None),
        (trust("all", enforcer()), None),
        (trust("none", enforcer()), '[overlay] has learn = "none"'),
        (trust("signed"), "[signing] has no policy with keys; name one with a key of 'LC02', or set learn"),
        (trust("signed", enforcer()), unsigned("LC02")),
    ],
)
def test_topology_without_signature_is_rejected(trusting: OverlayTrust, why: str | None) -> None:
    assert trusting.verify("LC02", PAYLOAD, False) == why


@pytest.mark.parametrize("signing", [None, enforcer(), enforcer(own=(KEY,))])
def test_overlay_settings_without_rule_nothing_is_signed(signing: PolicyEnforcer | None) -> None:
    assert trust(enforcer=signing).sign(PAYLOAD) == PAYLOAD


def test_overlay_settings_node_is_notified_of_configuration() -> None:
    text = WHOLE + '[[overlay.route]]\ndestination = "CS01"\nvia = "up"\npriority = 7\nweight = 3\n'
    text += '[[backend]]\nid = "up"\nurl = "wss://h/{station}"\ngroup = "parent"\nmode = "overlay"\n'
    config, mistakes, _ = check_config(text, "overlay.toml")
    assert mistakes == []
    assert config is not None
    settings = node_settings(config, None, lambda now: now)
    assert settings.own == "lc"
    assert settings.routes == {"CS77": [Hop("CS01")], "CS01": [Hop("parent", 7, 3)]}
    assert settings.homes == {"CS77": {"CS01"}, "CS01": {"CS01", "parent"}}
    assert settings.groups == {"row": ("CS01", "CS77")}
    assert isinstance(settings.dice, random.Random)
    assert settings.new_id() != settings.new_id()
