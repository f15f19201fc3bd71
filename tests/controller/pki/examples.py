"""Keys, requests and a site CA for the tests of this package."""

from __future__ import annotations

from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from controller.pki.ca_folder import CaFolder, CaSettings
from controller.pki.certificate_profiles import Purpose
from controller.pki.certificate_requests import PrivateKey, RequestContent, build_request
from controller.pki.issuance import Applicant
from controller.pki.object_ids import ObjectIds

NOW = 1_796_000_000.0
"""29 November 2026."""
DAY_S = 86_400.0
IDS = ObjectIds()


def common_name(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def new_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def request_pem(
    name: str = "CS01",
    content: RequestContent | None = None,
    key: PrivateKey | None = None,
    ids: ObjectIds = IDS,
) -> bytes:
    return build_request(key or new_key(), common_name(name), content or RequestContent(), ids)


def station(name: str = "CS01", **members: object) -> Applicant:
    return Applicant(id=name, purpose=Purpose.STATION, **members)  # type: ignore[arg-type]


def site_ca(folder: Path, passphrase: bytes | None = None, **members: object) -> CaFolder:
    settings = CaSettings(name="depot", **members)  # type: ignore[arg-type]
    return CaFolder.create(folder / "ca", settings, passphrase, NOW)
