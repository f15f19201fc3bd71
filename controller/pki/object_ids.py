"""Object identifiers of the attributes in requests and of the extensions in certificates.

OCPI v3.0 uses placeholders below 1.2.3.4.5.6.7, which is assigned to another organization. They are read in
requests, and written only if an installation configures that arc on purpose. Our own default is made of
a GUID below the arc that Microsoft gives everybody for that purpose. It is not 2.25 followed by a UUID as one
number: GnuTLS, and with it chronyd, rejects every certificate with an arc of more than 64 bits.
"""

from __future__ import annotations

import re

import msgspec

from controller.pki import PkiError

OWN_ARC = "1.2.840.113556.1.8000.2554.51005.39477.20680.19450.42153.884044.1728341"
"""GUID c73d9a35-50c8-4bfa-a4a9-0d7d4c1a5f55, generated for this project."""

PLACEHOLDER_ARC = "1.2.3.4.5.6.7"

KEY_SERIAL = "2.5.4.5"
"""Attribute `serialNumber` (X.520), here of the key."""
EXTENSION_REQUEST = "1.2.840.113549.1.9.14"
MODBUS_ROLE = "1.3.6.1.4.1.50316.802.1"
"""Role in a client's certificate (MODBUS/TCP Security, R-21)."""

KEY_USAGE = "2.5.29.15"
SUBJECT_ALTERNATIVE_NAME = "2.5.29.17"
BASIC_CONSTRAINTS = "2.5.29.19"
EXTENDED_KEY_USAGE = "2.5.29.37"
SUBJECT_KEY_IDENTIFIER = "2.5.29.14"

_ARC = re.compile(r"(?:[01]\.(?:[0-9]|[1-3][0-9])|2\.(?:0|[1-9]\d{0,9}))(?:\.(?:0|[1-9]\d{0,17})){1,14}")


class ObjectIds(msgspec.Struct, frozen=True):
    """The OIDs below one arc."""

    arc: str = OWN_ARC

    def __post_init__(self) -> None:
        if not _ARC.fullmatch(self.arc):
            raise PkiError(f'OID arc "{self.arc}" is invalid: write numbers with dots, e.g. "{OWN_ARC}"')

    @property
    def key_group(self) -> str:
        """Key group id: a UTF8String."""
        return f"{self.arc}.6.1"

    @property
    def not_before(self) -> str:
        """Begin of the requested validity: a UTCTime or GeneralizedTime."""
        return f"{self.arc}.7.1"

    @property
    def not_after(self) -> str:
        """End of the requested validity: a UTCTime or GeneralizedTime."""
        return f"{self.arc}.7.2"

    @property
    def party_ids(self) -> str:
        """Party ids: several UTF8String."""
        return f"{self.arc}.8.1"

    @property
    def sub_cpo_ids(self) -> str:
        """Ids of sub-CPOs: several UTF8String."""
        return f"{self.arc}.8.2"

    @property
    def sub_emsp_ids(self) -> str:
        """Ids of sub-eMSPs: several UTF8String."""
        return f"{self.arc}.8.3"

    @property
    def station_id(self) -> str:
        """OCPP identity of the station that a certificate is for: one string (certificates only)."""
        return f"{self.arc}.9.1"

    @property
    def evse_ids(self) -> str:
        """EVSEs that a holder may act for: several strings (certificates only)."""
        return f"{self.arc}.9.2"

    @property
    def connection_points(self) -> str:
        """Grid connection points that a holder may limit: several strings (certificates only)."""
        return f"{self.arc}.9.3"


PLACEHOLDERS = ObjectIds(PLACEHOLDER_ARC)
