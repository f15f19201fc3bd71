"""Datagrams and node management of SPINE 1.3.0, the elements that are used, in the order of the schema.

Members that are not listed are skipped when they are received. Numbers are bounded; an identifier is an
unsigned 32-bit number there.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

VERSION = "1.3.0"

Id = Annotated[int, msgspec.Meta(ge=0, le=2**32 - 1)]
Counter = Annotated[int, msgspec.Meta(ge=0)]
"""Number of a message; `decode_datagram` bounds it, as msgspec cannot bound by more than 2**63."""
HIGHEST_COUNTER = 2**64 - 1
Name = Annotated[str, msgspec.Meta(max_length=256)]
Lines = Annotated[str, msgspec.Meta(max_length=4096)]


class Element(msgspec.Struct, rename="camel", kw_only=True, frozen=True):
    """Base of all elements."""


class Empty(Element, kw_only=True, frozen=True):
    """Element whose presence is its value."""


class FeatureAddress(Element, kw_only=True, frozen=True):
    """Address of a feature, or of an entity or device where the rest is None."""

    device: Name | None = None
    entity: Annotated[tuple[Id, ...], msgspec.Meta(max_length=16)] | None = None
    feature: Id | None = None


# -- datagram ---------------------------------------------------------------------------------------------


class Header(Element, kw_only=True, frozen=True):
    """Header of a datagram."""

    specification_version: Name | None = None
    address_source: FeatureAddress
    address_destination: FeatureAddress
    msg_counter: Counter
    msg_counter_reference: Counter | None = None
    cmd_classifier: Name
    ack_request: bool | None = None


class ResultData(Element, kw_only=True, frozen=True):
    """Answer to a write or call; 0 is success."""

    error_number: Id
    description: Lines | None = None


class CmdControl(Element, forbid_unknown_fields=True, kw_only=True, frozen=True):
    """Kind of a filter."""

    delete: Empty | None = None
    partial: Empty | None = None


class LimitSelectors(Element, forbid_unknown_fields=True, kw_only=True, frozen=True):
    """Selection of limits; None: all."""

    limit_id: Id | None = None


class LimitElements(Element, forbid_unknown_fields=True, kw_only=True, frozen=True):
    """Elements of a limit that are to be deleted."""

    time_period: Empty | None = None


class KeyValueSelectors(Element, forbid_unknown_fields=True, kw_only=True, frozen=True):
    """Selection of configuration values; None: all."""

    key_id: Id | None = None


class Filter(Element, forbid_unknown_fields=True, kw_only=True, frozen=True):
    """Restricted exchange: partial writes and deletions. Another filter than these is refused."""

    filter_id: Id | None = None
    cmd_control: CmdControl
    load_control_limit_list_data_selectors: LimitSelectors | None = None
    load_control_limit_data_elements: LimitElements | None = None
    device_configuration_key_value_list_data_selectors: KeyValueSelectors | None = None


# -- node management --------------------------------------------------------------------------------------


class SpecificationVersions(Element, kw_only=True, frozen=True):
    """Versions of SPINE that a device has."""

    specification_version: tuple[Name, ...]


class DeviceAddress(Element, kw_only=True, frozen=True):
    """Address of a device."""

    device: Name | None = None


class DeviceDescription(Element, kw_only=True, frozen=True):
    """Description of a device."""

    device_address: DeviceAddress | None = None
    device_type: Name | None = None
    network_feature_set: Name | None = None


class DeviceInformation(Element, kw_only=True, frozen=True):
    """Device in a detailed discovery."""

    description: DeviceDescription


class EntityDescription(Element, kw_only=True, frozen=True):
    """Description of an entity."""

    entity_address: FeatureAddress
    entity_type: Name | None = None
    last_state_change: Name | None = None


class EntityInformation(Element, kw_only=True, frozen=True):
    """Entity in a detailed discovery."""

    description: EntityDescription


class PossibleOperation(Element, kw_only=True, frozen=True):
    """Operation of a function, `partial` if restricted exchange is possible."""

    partial: Empty | None = None


class PossibleOperations(Element, kw_only=True, frozen=True):
    """Operations of a function."""

    read: PossibleOperation | None = None
    write: PossibleOperation | None = None


class SupportedFunction(Element, kw_only=True, frozen=True):
    """Function of a feature."""

    function: Name
    possible_operations: PossibleOperations | None = None


class FeatureDescription(Element, kw_only=True, frozen=True):
    """Description of a feature."""

    feature_address: FeatureAddress
    feature_type: Name | None = None
    role: Name | None = None
    supported_function: tuple[SupportedFunction, ...] | None = None


class FeatureInformation(Element, kw_only=True, frozen=True):
    """Feature in a detailed discovery."""

    description: FeatureDescription


class DetailedDiscovery(Element, kw_only=True, frozen=True):
    """Detailed discovery: device, entities and features."""

    specification_version_list: SpecificationVersions | None = None
    device_information: DeviceInformation | None = None
    entity_information: Annotated[tuple[EntityInformation, ...], msgspec.Meta(max_length=256)] = ()
    feature_information: Annotated[tuple[FeatureInformation, ...], msgspec.Meta(max_length=1024)] = ()


class UseCaseSupport(Element, kw_only=True, frozen=True):
    """Use case of an actor."""

    use_case_name: Name
    use_case_version: Name | None = None
    use_case_available: bool | None = None
    scenario_support: tuple[Id, ...] | None = None
    use_case_document_sub_revision: Name | None = None


class UseCaseInformation(Element, kw_only=True, frozen=True):
    """Use cases of an actor at an address."""

    address: FeatureAddress | None = None
    actor: Name
    use_case_support: tuple[UseCaseSupport, ...] = ()


class UseCaseData(Element, kw_only=True, frozen=True):
    """Use cases of a device."""

    use_case_information: Annotated[tuple[UseCaseInformation, ...], msgspec.Meta(max_length=256)] = ()


class Link(Element, kw_only=True, frozen=True):
    """Subscription or binding of a client feature to a server feature."""

    client_address: FeatureAddress
    server_address: FeatureAddress
    server_feature_type: Name | None = None


class SubscriptionRequestCall(Element, kw_only=True, frozen=True):
    """Call for a subscription."""

    subscription_request: Link


class LinkSelection(Element, kw_only=True, frozen=True):
    """Subscriptions or bindings to be deleted."""

    client_address: FeatureAddress | None = None
    server_address: FeatureAddress | None = None


class SubscriptionDeleteCall(Element, kw_only=True, frozen=True):
    """Call for the end of subscriptions."""

    subscription_delete: LinkSelection


class BindingRequestCall(Element, kw_only=True, frozen=True):
    """Call for a binding."""

    binding_request: Link


class BindingDeleteCall(Element, kw_only=True, frozen=True):
    """Call for the end of bindings."""

    binding_delete: LinkSelection


class SubscriptionEntry(Element, kw_only=True, frozen=True):
    """Subscription in the table of subscriptions."""

    subscription_id: Id
    client_address: FeatureAddress
    server_address: FeatureAddress


class SubscriptionData(Element, kw_only=True, frozen=True):
    """Table of subscriptions."""

    subscription_entry: tuple[SubscriptionEntry, ...] = ()


class BindingEntry(Element, kw_only=True, frozen=True):
    """Binding in the table of bindings."""

    binding_id: Id
    client_address: FeatureAddress
    server_address: FeatureAddress


class BindingData(Element, kw_only=True, frozen=True):
    """Table of bindings."""

    binding_entry: tuple[BindingEntry, ...] = ()


class DestinationData(Element, kw_only=True, frozen=True):
    """Device that can be reached."""

    device_description: DeviceDescription


class DestinationListData(Element, kw_only=True, frozen=True):
    """Devices that can be reached."""

    node_management_destination_data: tuple[DestinationData, ...] = ()


class ManufacturerData(Element, kw_only=True, frozen=True):
    """Name of the device and its maker."""

    device_name: Name | None = None
    device_code: Name | None = None
    serial_number: Name | None = None
    software_revision: Name | None = None
    vendor_name: Name | None = None
    brand_name: Name | None = None
