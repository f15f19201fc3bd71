"""Subscriptions and bindings of one partner to our features (SPINE 1.3.0, 7.3 and 7.4), sans-IO.

Any feature of ours that has data may be subscribed to. Only server features may be bound, and the features
that command power by one partner at a time.
"""

from __future__ import annotations

from drivers.eebus.spine_datagrams import Command, ErrorNumber, SpineError
from drivers.eebus.spine_features import CONFIGURATION, FEATURES, LOAD_CONTROL, Key, LocalDevice
from drivers.eebus.spine_types import (
    BindingData,
    BindingDeleteCall,
    BindingEntry,
    BindingRequestCall,
    FeatureAddress,
    Link,
    LinkSelection,
    SubscriptionData,
    SubscriptionDeleteCall,
    SubscriptionEntry,
    SubscriptionRequestCall,
)

MOST_LINKS = 64
"""Subscriptions, and bindings, of one partner."""

EXCLUSIVE = (LOAD_CONTROL, CONFIGURATION)
"""Features that one partner at a time may be bound to."""


class _Links:
    """Links from client features of a partner to features of ours, by identifier."""

    def __init__(self, local: LocalDevice) -> None:
        self._local = local
        self._links: dict[int, tuple[FeatureAddress, Key]] = {}
        self._last = 0

    def clients_of(self, key: Key) -> list[FeatureAddress]:
        """Return the clients that are linked to a feature."""
        return [client for client, server in self._links.values() if server == key]

    def remove_entity(self, entity: tuple[int, ...] | None) -> None:
        """Remove the links of an entity that the partner has removed."""
        self._links = {key: link for key, link in self._links.items() if link[0].entity != entity}

    def _find(self, link: Link, device: str | None) -> tuple[FeatureAddress, Key]:
        """Return client and feature of a requested link. Raises SpineError."""
        key = self._local.feature(link.server_address)
        if key is None:
            raise SpineError(ErrorNumber.DESTINATION_UNKNOWN, "no such server feature")
        feature = FEATURES[key]
        if feature.role == "client":
            raise SpineError(ErrorNumber.REJECTED, "a client feature is not a server")
        if link.server_feature_type not in (None, feature.type):
            raise SpineError(ErrorNumber.REJECTED, f"the feature is of type {feature.type}")
        client = link.client_address
        if client.entity is None or client.feature is None:
            raise SpineError(ErrorNumber.REJECTED, "a client without entity and feature")
        return FeatureAddress(
            device=client.device or device, entity=client.entity, feature=client.feature
        ), key

    def _add(self, client: FeatureAddress, key: Key) -> None:
        if (client, key) in self._links.values():
            return
        if len(self._links) >= MOST_LINKS:
            raise SpineError(ErrorNumber.OVERLOAD, f"more than {MOST_LINKS} links")
        self._last += 1
        self._links[self._last] = (client, key)

    def _delete(self, selection: LinkSelection) -> None:
        chosen = [key for key, link in self._links.items() if self._is_selected(selection, *link)]
        if not chosen:
            raise SpineError(ErrorNumber.REJECTED, "no such entry")
        for each in chosen:
            del self._links[each]

    def _is_selected(self, selection: LinkSelection, client: FeatureAddress, key: Key) -> bool:
        pairs = (
            (selection.client_address, client),
            (selection.server_address, self._local.address_of(key)),
        )
        return all(asked is None or _covers(asked, address) for asked, address in pairs)

    def _entries(self) -> list[tuple[int, FeatureAddress, FeatureAddress]]:
        return [
            (number, client, self._local.address_of(key)) for number, (client, key) in self._links.items()
        ]


class Subscriptions(_Links):
    """Subscriptions of one partner."""

    def add(self, command: Command, device: str | None) -> Key:
        """Add a subscription and return its feature. Raises SpineError."""
        client, key = self._find(command.convert(SubscriptionRequestCall).subscription_request, device)
        self._add(client, key)
        return key

    def delete(self, command: Command) -> None:
        """Delete subscriptions. Raises SpineError if there is none of this kind."""
        self._delete(command.convert(SubscriptionDeleteCall).subscription_delete)

    def table(self) -> SubscriptionData:
        """Return the table of subscriptions."""
        return SubscriptionData(
            subscription_entry=tuple(
                SubscriptionEntry(subscription_id=number, client_address=client, server_address=server)
                for number, client, server in self._entries()
            )
        )


class Bindings(_Links):
    """Bindings of one partner, whose session is named `holder`."""

    def __init__(self, local: LocalDevice, holder: str) -> None:
        super().__init__(local)
        self._holder = holder

    def add(self, command: Command, device: str | None) -> None:
        """Add a binding. Raises SpineError."""
        client, key = self._find(command.convert(BindingRequestCall).binding_request, device)
        if FEATURES[key].role != "server":
            raise SpineError(ErrorNumber.REJECTED, "node management cannot be bound")
        if key in EXCLUSIVE and self._local.bound.get(key, self._holder) != self._holder:
            raise SpineError(ErrorNumber.REJECTED, "another energy guard is bound to this feature")
        self._add(client, key)
        if key in EXCLUSIVE:
            self._local.bound[key] = self._holder

    def delete(self, command: Command) -> None:
        """Delete bindings. Raises SpineError if there is none of this kind."""
        self._delete(command.convert(BindingDeleteCall).binding_delete)
        self._release_unbound()

    def remove_entity(self, entity: tuple[int, ...] | None) -> None:
        """Remove the bindings of an entity that the partner has removed."""
        super().remove_entity(entity)
        self._release_unbound()

    def release(self) -> None:
        """Remove all bindings."""
        self._links.clear()
        self._release_unbound()

    def has(self, client: FeatureAddress, key: Key) -> bool:
        """Return True if a client is bound to a feature."""
        return any(_covers(client, bound) for bound in self.clients_of(key))

    def client_of(self, key: Key) -> FeatureAddress | None:
        """Return the client that was bound last to a feature; None: there is none."""
        return next(iter(reversed(self.clients_of(key))), None)

    def table(self) -> BindingData:
        """Return the table of bindings."""
        return BindingData(
            binding_entry=tuple(
                BindingEntry(binding_id=number, client_address=client, server_address=server)
                for number, client, server in self._entries()
            )
        )

    def _release_unbound(self) -> None:
        bound = {key for _, key in self._links.values()}
        for key, holder in list(self._local.bound.items()):
            if holder == self._holder and key not in bound:
                del self._local.bound[key]


def _covers(asked: FeatureAddress, address: FeatureAddress) -> bool:
    """Return True if an address is the one that was asked for, or lies within it."""
    return all(
        expected is None or expected == found
        for expected, found in (
            (asked.device, address.device),
            (asked.entity, address.entity),
            (asked.feature, address.feature),
        )
    )
