"""Records of the EEBUS node: its identity, its trusted partners, and failsafe values of production."""

from __future__ import annotations

from controller.model.journal import Record


class EebusIdentityStored(Record, frozen=True):
    """Key and certificate (PEM) of the node; partners trust its fingerprint."""

    key: bytes
    certificate: bytes


class EebusPartnerStored(Record, frozen=True):
    """A trusted partner; `ship_id` is empty while it is not known."""

    ski: str
    ship_id: str


class EebusPartnerRemoved(Record, frozen=True):
    """The partner is trusted no longer."""

    ski: str


class ProductionFailsafeStored(Record, frozen=True):
    """Failsafe value (W) and duration (s) of production."""

    watts: float
    duration_s: float
