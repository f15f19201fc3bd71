"""Which rule is for a message, and that a message without a rule costs next to nothing."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from controller.ocpp.frames import Version
from controller.signing import rule_set
from controller.signing.policy_schema import (
    Permission,
    SignerRole,
    SigningAction,
    SigningRule,
    VerificationMode,
    VerificationRule,
)
from controller.signing.roles import RoleTable
from controller.signing.rule_set import RuleKey, RuleSet
from controller.signing.signature_format import Direction, MessageKind

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
UTC_NOON = NOON.timestamp()
NO_ROLES = RoleTable(())
FACTS = RuleKey(
    version=Version.V201,
    action="SetChargingProfile",
    direction=Direction.DOWN,
    kind=MessageKind.REQUEST,
    link="cpo",
)


def verify(name: str = "rule", priority: int = 0, **of: object) -> VerificationRule:
    return VerificationRule(id=name, priority=priority, require=VerificationMode.ANY, **of)  # type: ignore[arg-type]


def found(*verifies: VerificationRule, facts: RuleKey = FACTS, utc: float = UTC_NOON) -> str | None:
    rule = RuleSet(verifies, (), NO_ROLES).verification_rule(facts, utc)
    return None if rule is None else rule.id


@pytest.mark.parametrize(
    ("of", "fits"),
    [
        ({}, True),
        ({"versions": (Version.V16,)}, False),
        ({"versions": (Version.V16, Version.V201)}, True),
        ({"actions": ("SetChargingProfile",)}, True),
        ({"actions": ("setChargingProfile",)}, False),
        ({"actions": ("Set*",)}, True),
        ({"actions": ("*Profile",)}, True),
        ({"actions": ("Set*g*e",)}, True),
        ({"actions": ("Set?hargingProfile",)}, False),
        ({"actions": ("[S]etChargingProfile",)}, False),
        ({"actions": ("profiles",)}, True),
        ({"actions": ("firmware", "Reset")}, False),
        ({"direction": Direction.DOWN}, True),
        ({"direction": Direction.UP}, False),
        ({"links": ("cpo",)}, True),
        ({"links": ("cp*",)}, True),
        ({"links": ("fleet", "CS*")}, False),
        ({"kinds": (MessageKind.RESPONSE,)}, False),
        ({"contexts": ("*/v2.1/csms/setChargingProfileRequest",)}, True),
        ({"contexts": ("*/v1.6/*",)}, False),
    ],
)
def test_rule_matches_messages_it_names(of: dict[str, object], fits: bool) -> None:
    assert (found(verify(**of)) == "rule") is fits
    book = RuleSet((), (SigningRule(id="s", **of),), NO_ROLES)  # type: ignore[arg-type]
    assert book.has_rule_for(FACTS) is fits


def test_rule_with_highest_priority_decides_then_first() -> None:
    assert found(verify("a", 1), verify("b", 2), verify("c", 2)) == "b"
    assert found(verify("a", 3, actions=("Reset",)), verify("b", -5)) == "b"


def test_rule_is_in_force_within_validity() -> None:
    limited = verify("limited", 5, not_before=NOON, not_after=NOON.replace(hour=13))
    times = [UTC_NOON - 1, UTC_NOON, UTC_NOON + 3599, UTC_NOON + 3600]
    assert [found(limited, verify("always"), utc=utc) for utc in times] == [
        "always",
        "limited",
        "limited",
        "always",
    ]
    assert found(limited, utc=UTC_NOON + 3600) is None


def test_signing_rule_for_forwarded_needs_passing() -> None:
    own, both, never = (
        SigningRule(id="own", priority=2),
        SigningRule(id="both", passing=True),
        SigningRule(id="no", do=SigningAction.FORWARD),
    )

    def signing(*signs: SigningRule, passing: bool) -> str | None:
        rule = RuleSet((), signs, NO_ROLES).signing_rule(FACTS, UTC_NOON, passing=passing)
        return None if rule is None else rule.id

    assert signing(own, both, passing=False) == "own"
    assert signing(own, both, passing=True) == "both"
    assert signing(own, passing=True) is None
    assert signing(never, both, passing=False) == "no"


def role(*actions: str) -> RoleTable:
    return RoleTable([SignerRole(id="r", holders=("h",), may=(Permission(actions=actions),))])


@pytest.mark.parametrize(
    ("granted", "action", "rule"),
    [
        ("SetChargingProfile", "SetChargingProfile", "safe-profiles"),
        ("SetChargingProfile", "ClearChargingProfile", "safe-profiles"),
        ("SetChargingProfile", "UpdateFirmware", None),
        ("profiles", "SetChargingProfile", "safe-profiles"),
        ("firmware", "SignedUpdateFirmware", "safe-firmware"),
        ("InstallCertificate", "CertificateSigned", "safe-certificates"),
        ("AddUserRole", "DeleteSignaturePolicy", "safe-policies"),
        ("*", "SetChargingProfile", "safe-profiles"),
        ("*", "Reset", None),
        ("Reset", "SetChargingProfile", None),
    ],
)
def test_rule_set_safe_rules_apply_once_role_has_permission(
    granted: str, action: str, rule: str | None
) -> None:
    book = RuleSet((), (), role(granted))
    facts = RuleKey(
        version=Version.V16,
        action=action,
        direction=Direction.DOWN,
        kind=MessageKind.REQUEST,
        link="anybody",
    )
    found = book.verification_rule(facts, UTC_NOON)
    assert (None if found is None else found.id) == rule
    assert found is None or (found.fresh and found.require is VerificationMode.ANY)


def test_rule_of_file_goes_before_safe_rules() -> None:
    book = RuleSet([verify("mine", -1_000_000)], (), role("*"))
    assert [rule.id for rule in book.verification_rules(FACTS)] == ["mine", "safe-profiles"]


def test_safe_rule_for_policies_goes_before_all_rules() -> None:
    facts = RuleKey(
        version=Version.V201,
        action="AddUserRole",
        direction=Direction.DOWN,
        kind=MessageKind.REQUEST,
        link="cpo",
    )
    book = RuleSet([verify("mine", 1_000_000)], (), role("*"))
    assert [rule.id for rule in book.verification_rules(facts)] == ["safe-policies", "mine"]


def test_safe_rules_do_not_apply_to_reports() -> None:
    facts = RuleKey(
        version=Version.V16,
        action="SetChargingProfile",
        direction=Direction.UP,
        kind=MessageKind.REQUEST,
        link="CS01",
    )
    assert not RuleSet((), (), role("*")).has_rule_for(facts)


def test_rule_cache_is_bounded() -> None:
    book = RuleSet([verify(actions=("Reset",))], (), NO_ROLES)
    for number in range(2 * rule_set._MAX_CACHED):
        facts = RuleKey(
            version=Version.V16,
            action=f"A{number}",
            direction=Direction.UP,
            kind=MessageKind.REQUEST,
            link="CS01",
        )
        assert not book.has_rule_for(facts)
    assert len(book._cache) <= rule_set._MAX_CACHED
