"""OCPP's own signed messages, signed by RFC 7515 without code of the controller or a JOSE library."""

from __future__ import annotations

import base64
import hashlib
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa, utils
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from controller.ocpp.frames import Version
from controller.signing import signing_keys
from controller.signing.curves import CurveKeyError
from controller.signing.jws import JwsCertificate, JwsVerifier, read_jws_certificate
from controller.signing.policy_enforcer import FORWARD, PolicyEnforcer
from controller.signing.policy_schema import SigningRule, VerificationMode, VerificationRule
from controller.signing.signature_format import MessageKind
from controller.signing.signature_policy import SignaturePolicy
from controller.signing.signed_text import SignedTextError
from controller.signing.signing_keys import Keyring, KnownKey
from tests.controller.signing.authors import compact
from tests.controller.signing.policy_examples import NOW, ROLES, decide, describe_decision, limit

Private = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey
P256 = ec.generate_private_key(ec.SECP256R1())
RSA = rsa.generate_private_key(65537, 2048)
BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


def certificate_of(key: Private) -> bytes:
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "backend")])
    builder = x509.CertificateBuilder(
        issuer_name=name,
        subject_name=name,
        public_key=key.public_key(),
        serial_number=1,
        not_valid_before=BEGIN,
        not_valid_after=BEGIN + timedelta(days=365),
    )
    digest = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return builder.sign(key, digest).public_bytes(Encoding.PEM)


EC_PEM, RSA_PEM = certificate_of(P256), certificate_of(RSA)


def url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def thumbprint(pem: bytes) -> str:
    return url(hashlib.sha256(x509.load_pem_x509_certificate(pem).public_bytes(Encoding.DER)).digest())


def flattened(
    payload: bytes,
    algorithm: str = "ES256",
    *,
    action: str = "SetChargingProfile",
    kind: object = 2,
    **header: Any,
) -> dict[str, str]:
    print_of = thumbprint(EC_PEM if algorithm == "ES256" else RSA_PEM)
    members = {
        "alg": algorithm,
        "OCPPAction": action,
        "OCPPMessageTypedId": kind,
        "x5t#S256": print_of,
        **header,
    }
    protected = url(compact(members))
    text = f"{protected}.{url(payload)}".encode()
    if algorithm == "ES256":
        r, s = utils.decode_dss_signature(P256.sign(text, ec.ECDSA(hashes.SHA256())))
        signature = r.to_bytes(32, "big") + s.to_bytes(32, "big")
    else:
        digest = hashes.SHA384() if algorithm == "RS384" else hashes.SHA256()
        signature = RSA.sign(text, padding.PKCS1v15(), digest)
    return {"protected": protected, "payload": url(payload), "signature": url(signature)}


KNOWN = (read_jws_certificate(EC_PEM), read_jws_certificate(RSA_PEM))
VERIFIER = JwsVerifier(KNOWN)
ACTION = "SetChargingProfile-Signed"


def wrong(message: dict[str, Any], verifier: JwsVerifier = VERIFIER) -> str | None:
    examined, _ = verifier.verify(compact(message), ACTION, MessageKind.REQUEST)
    (checked,) = examined.signatures
    return checked.wrong


@pytest.mark.parametrize("algorithm", ["ES256", "RS256", "RS384"])
def test_jws_of_each_algorithm_is_verified(algorithm: str) -> None:
    examined, inner = VERIFIER.verify(
        compact(flattened(b'{"evseId":1}', algorithm)), ACTION, MessageKind.REQUEST
    )
    assert inner == b'{"evseId":1}'
    assert examined.keys == {KNOWN[0 if algorithm == "ES256" else 1].key}


def test_jws_of_unknown_certificate_proves_nothing() -> None:
    assert wrong(flattened(b"{}"), JwsVerifier()) == "its certificate is unknown"
    assert wrong(flattened(b"{}", **{"x5t#S256": None})) == "its certificate is unknown"


def altered(**changes: str) -> dict[str, str]:
    return {**flattened(b'{"evseId":1}'), **changes}


@pytest.mark.parametrize(
    ("message", "what"),
    [
        (altered(payload=url(b'{"evseId":2}')), "not that certificate's"),
        (altered(signature=url(bytes(64))), "not that certificate's"),
        (altered(signature=""), "not that certificate's"),
        (altered(protected=flattened(b"{}", iat=7)["protected"]), "not that certificate's"),
        (flattened(b"{}", **{"x5t#S256": thumbprint(RSA_PEM)}), "not that certificate's"),
        (flattened(b"{}", alg="none"), "not that certificate's"),
        (flattened(b"{}", alg="HS256"), "not that certificate's"),
        (flattened(b"{}", crit=["exp"]), "not that certificate's"),
        (flattened(b"{}", action="ClearChargingProfile"), "another action"),
        (flattened(b"{}", kind=3), "another type"),
    ],
)
def test_altered_jws_proves_nothing(message: dict[str, Any], what: str) -> None:
    assert what in str(wrong(message))


def test_jws_fingerprint_of_rsa_key_is_that_of_der() -> None:
    der = RSA.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert signing_keys.fingerprint(KNOWN[1].key) == hashlib.sha256(der).hexdigest()


@pytest.mark.parametrize("kind", [2, "2"])
@pytest.mark.parametrize("action", ["SetChargingProfile", "SetChargingProfile-Signed"])
def test_jws_header_forms_are_read(kind: object, action: str) -> None:
    assert wrong(flattened(b"{}", kind=kind, action=action)) is None


@pytest.mark.parametrize(
    "message",
    [
        {},
        {"payload": "", "protected": "", "signature": ""},
        altered(protected="*"),
        altered(payload="*"),
        altered(protected=url(b'{"alg":"ES256","alg":"RS256"}')),
        altered(protected=url(b"[]")),
        flattened(b"no JSON"),
        flattened(b'{"a":1,"a":2}'),
    ],
)
def test_malformed_jws_is_rejected(message: dict[str, Any]) -> None:
    with pytest.raises(SignedTextError):
        VERIFIER.verify(compact(message), ACTION, MessageKind.REQUEST)


@pytest.mark.parametrize(
    ("pem", "what"),
    [
        (b"", "not a certificate"),
        (EC_PEM[:100], "not a certificate"),
        (certificate_of(rsa.generate_private_key(65537, 1024)), "RSA of 2048 bits"),
        (certificate_of(ed25519.Ed25519PrivateKey.generate()), "neither on a curve"),
    ],
    ids=["empty", "truncated", "short-rsa", "ed25519"],
)
def test_unusable_certificate_is_rejected(pem: bytes, what: str) -> None:
    with pytest.raises(CurveKeyError, match=what):
        read_jws_certificate(pem)


def enforcer_of(
    *verify: VerificationRule, known: tuple[JwsCertificate, ...] = KNOWN, roles: bool = True
) -> PolicyEnforcer:
    ring = Keyring(KnownKey(id=each.key, holder="olga", not_after=each.not_after) for each in known)
    policy = SignaturePolicy(
        keyring=ring, roles=ROLES if roles else (), verify=verify, sign=[SigningRule(id="too", passing=True)]
    )
    return PolicyEnforcer(policy, jws=JwsVerifier(known))


def test_jws_without_rule_passes_untouched() -> None:
    assert decide(enforcer_of(known=(), roles=False), compact(flattened(b"{}")), action=ACTION) is FORWARD


def test_jws_fulfils_rule_that_needs_signature() -> None:
    payload = compact(flattened(compact(limit())))
    assert (
        describe_decision(decide(enforcer_of(), payload, action=ACTION))
        == "pass safe-profiles: signed by olga"
    )
    assert describe_decision(decide(enforcer_of(), payload, action=ACTION, version=Version.V21)).startswith(
        "pass"
    )
    again = enforcer_of()
    assert [describe_decision(decide(again, payload, action=ACTION))[:6] for _ in range(2)] == [
        "pass s",
        "refuse",
    ]


def test_jws_signed_action_does_not_bypass_policy() -> None:
    assert describe_decision(
        decide(enforcer_of(known=()), compact(flattened(compact(limit()))), action=ACTION)
    ) == ("refuse safe-profiles: it has no valid signature: its certificate is unknown")
    assert "not a flattened JWS" in describe_decision(decide(enforcer_of(), compact(limit()), action=ACTION))


def test_jws_certificate_counts_within_validity() -> None:
    rule = VerificationRule(id="any", require=VerificationMode.ANY)
    end = KNOWN[0].not_after
    assert end == (BEGIN + timedelta(days=365)).timestamp()
    payload = compact(flattened(compact(limit())))
    assert (
        describe_decision(decide(enforcer_of(rule), payload, action=ACTION, utc=NOW))
        == "pass any: signed by olga"
    )
    assert "is not valid at" in describe_decision(decide(enforcer_of(rule), payload, action=ACTION, utc=end))
