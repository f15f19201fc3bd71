"""Identity of the EEBUS node, its trusted partners, and failsafe values of production."""

from __future__ import annotations

from controller.store.eebus_records import (
    EebusIdentityStored,
    EebusPartnerRemoved,
    EebusPartnerStored,
    ProductionFailsafeStored,
)
from controller.store.state_store import StateStore


class EebusStore:
    """The EEBUS node's part of the store. Identity and partners are durable on return; else StoreError.

    Without an identity in the store, the node makes a new one, and all partners have to be paired again.
    """

    def __init__(self, store: StateStore) -> None:
        self._store = store

    def load_identity(self) -> tuple[bytes, bytes] | None:
        """Return key and certificate (PEM); None before the first start."""
        stored = self._store.load(EebusIdentityStored)
        return (stored[-1].key, stored[-1].certificate) if stored else None

    def save_identity(self, key: bytes, certificate: bytes) -> None:
        """Store key and certificate (PEM)."""
        self._store.persist_now([EebusIdentityStored(key, certificate)])

    def load_partners(self) -> dict[str, str]:
        """Return the SHIP id of each trusted SKI; empty where it is not known yet."""
        return {each.ski: each.ship_id for each in self._store.load(EebusPartnerStored)}

    def save_partner(self, ski: str, ship_id: str) -> None:
        """Store a trusted partner."""
        self._store.persist_now([EebusPartnerStored(ski, ship_id)])

    def remove_partner(self, ski: str) -> None:
        """Remove a partner."""
        self._store.persist_now([EebusPartnerRemoved(ski)])

    def load_production_failsafe(self) -> tuple[float, float] | None:
        """Return failsafe value (W) and duration (s) of production; None: never written."""
        stored = self._store.load(ProductionFailsafeStored)
        return (stored[-1].watts, stored[-1].duration_s) if stored else None

    def save_production_failsafe(self, watts: float, duration_s: float) -> None:
        """Store failsafe value (W) and duration (s) of production with the next commit."""
        self._store.persist_soon([ProductionFailsafeStored(watts, duration_s)])
