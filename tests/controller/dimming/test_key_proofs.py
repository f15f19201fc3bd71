"""Commands signed by real keys, from the bytes to the verdict."""

from __future__ import annotations

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec

from controller.dimming.dimming_messages import COMMAND_CONTEXT
from controller.dimming.verification import Issuers, KeyProofs, Reason, Situation, Verification
from controller.signing import payload_signatures
from controller.signing.policy_schema import SignerRole
from controller.signing.signing_keys import Keyring, KnownKey, OwnKey
from tests.controller.dimming.commands import NOON, POINT, command

NETZ, CPO, ADMIN, OURS, MALLORY = (ec.derive_private_key(n, ec.SECP256R1()) for n in range(11, 16))
ROLES = (
    SignerRole(id="grid-operator", holders=("netz",)),
    SignerRole(id="operator", holders=("cpo", "admin"), approvals=2),
)


def known(key: ec.EllipticCurvePrivateKey, holder: str, until: float = NOON + 1000) -> KnownKey:
    key_id = payload_signatures.key_id(key.public_key())
    return KnownKey(id=key_id, holder=holder, not_before=NOON - 1000, not_after=until)


RING = Keyring([known(NETZ, "netz"), known(CPO, "cpo"), known(ADMIN, "admin")])
KEYED = KeyProofs(RING, ROLES, [OwnKey(known(OURS, "lc"), OURS)])


def signed(number: int, *keys: ec.EllipticCurvePrivateKey, role: str = "grid-operator") -> bytes:
    payload = msgspec.json.encode(command(number, role=role, ends=7200))
    for key in keys:
        payload = payload_signatures.add_signature(payload, key, COMMAND_CONTEXT)
    return payload


def judged(received: bytes, utc: float = NOON) -> Reason | None:
    issuers = [Issuers(id="dso", role="grid-operator"), Issuers(id="cpo", role="operator")]
    verification = Verification(POINT, [], issuers, {}, KEYED)
    return verification.verify_command(received, Situation(utc=utc, clock_trusted=True)).reason


def test_command_with_valid_keys_is_applied() -> None:
    assert judged(signed(1, NETZ)) is None
    assert judged(signed(1, MALLORY, NETZ)) is None
    assert judged(signed(1)) is Reason.UNSIGNED
    assert judged(signed(1, MALLORY)) is Reason.BAD_SIGNATURE
    assert judged(signed(1, CPO)) is Reason.WRONG_ROLE


def test_key_proofs_changed_digit_makes_signature_invalid() -> None:
    assert judged(signed(1, NETZ).replace(b"4200", b"4201")) is Reason.BAD_SIGNATURE


def test_key_is_valid_in_period() -> None:
    assert judged(signed(1, NETZ), NOON + 999) is None
    assert judged(signed(1, NETZ), NOON + 1000) is Reason.KEY_NOT_VALID


def test_role_with_two_approvals_needs_two_holders() -> None:
    assert judged(signed(1, CPO, role="operator")) is Reason.WRONG_ROLE
    assert judged(signed(1, CPO, CPO, role="operator")) is Reason.WRONG_ROLE
    assert judged(signed(1, CPO, ADMIN, role="operator")) is None


def test_ambiguous_command_is_malformed() -> None:
    twice = signed(1, NETZ).replace(b'"limitW":4200.0', b'"limitW":100000.0,"limitW":4200.0')
    assert judged(twice) is Reason.BAD_SIGNATURE


def test_signature_of_another_context_is_invalid() -> None:
    payload = msgspec.json.encode(command(1) | {"@context": COMMAND_CONTEXT})
    other = payload_signatures.add_signature(
        payload.replace(b"command:1", b"effect:1"), NETZ, "urn:local-controller:dim:effect:1"
    )
    assert judged(other) is Reason.MALFORMED
    assert judged(other.replace(b"effect:1", b"command:1")) is Reason.BAD_SIGNATURE


def test_key_proofs_answers_verify_with_own_public_key() -> None:
    context = "urn:local-controller:dim:effect:1"
    told = KEYED.sign(msgspec.json.encode({"@context": context, "reached": True}), context, NOON)
    ours = payload_signatures.key_id(OURS.public_key())
    assert payload_signatures.verify_payload(told, context, lambda key: key == ours).keys == {ours}
    assert KEYED.sign(b'{"@context":"x"}', "x", NOON + 1000) == b'{"@context":"x"}'


def test_keys_and_roles_are_replaced() -> None:
    keyed = KeyProofs(RING, ROLES, [])
    received = signed(1, NETZ)
    assert [signer.roles for signer in keyed.verify(received, NOON).signers] == [{"grid-operator"}]
    keyed.replace_keys(RING, (), [])
    assert [signer.roles for signer in keyed.verify(received, NOON).signers] == [frozenset()]
    keyed.replace_keys(Keyring(), ROLES, [])
    assert keyed.verify(received, NOON).signers == ()
