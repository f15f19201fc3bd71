"""Our device as data: entities, features and functions, and the values that partners read.

entity [0] DeviceInformation   0 NodeManagement, 1 DeviceClassification
entity [1] CEM                 1 LoadControl, 2 DeviceConfiguration, 3 ElectricalConnection,
                               4 DeviceDiagnosis (server), 5 DeviceDiagnosis (client), 6 Measurement
"""

from __future__ import annotations

from typing import Literal

import msgspec

from drivers.eebus.spine_types import (
    VERSION,
    DestinationData,
    DestinationListData,
    DetailedDiscovery,
    DeviceAddress,
    DeviceDescription,
    DeviceInformation,
    Element,
    Empty,
    EntityDescription,
    EntityInformation,
    FeatureAddress,
    FeatureDescription,
    FeatureInformation,
    PossibleOperation,
    PossibleOperations,
    SpecificationVersions,
    SupportedFunction,
    UseCaseData,
    UseCaseInformation,
    UseCaseSupport,
)

Key = tuple[tuple[int, ...], int]
"""Entity and number of a feature."""

NODE_MANAGEMENT: Key = ((0,), 0)
CLASSIFICATION: Key = ((0,), 1)
LOAD_CONTROL: Key = ((1,), 1)
CONFIGURATION: Key = ((1,), 2)
ELECTRICAL_CONNECTION: Key = ((1,), 3)
DIAGNOSIS: Key = ((1,), 4)
DIAGNOSIS_CLIENT: Key = ((1,), 5)
MEASUREMENT: Key = ((1,), 6)

LIMITS = "loadControlLimitListData"
LIMIT_DESCRIPTIONS = "loadControlLimitDescriptionListData"
KEY_VALUES = "deviceConfigurationKeyValueListData"
KEY_DESCRIPTIONS = "deviceConfigurationKeyValueDescriptionListData"
HEARTBEAT = "deviceDiagnosisHeartbeatData"
CHARACTERISTICS = "electricalConnectionCharacteristicListData"
CONNECTION_DESCRIPTIONS = "electricalConnectionDescriptionListData"
PARAMETER_DESCRIPTIONS = "electricalConnectionParameterDescriptionListData"
MEASUREMENTS = "measurementListData"
MEASUREMENT_DESCRIPTIONS = "measurementDescriptionListData"
MANUFACTURER = "deviceClassificationManufacturerData"
DISCOVERY = "nodeManagementDetailedDiscoveryData"
USE_CASES = "nodeManagementUseCaseData"
SUBSCRIPTIONS = "nodeManagementSubscriptionData"
BINDINGS = "nodeManagementBindingData"
DESTINATIONS = "nodeManagementDestinationListData"
RESULT = "resultData"

LPC = "limitationOfPowerConsumption"
LPP = "limitationOfPowerProduction"
MPC = "monitoringOfPowerConsumption"


class Feature(msgspec.Struct, frozen=True):
    """Feature of ours: functions that may be read, and those of them that may be written."""

    type: str
    role: Literal["special", "server", "client"]
    functions: tuple[str, ...] = ()
    writable: tuple[str, ...] = ()


FEATURES: dict[Key, Feature] = {
    NODE_MANAGEMENT: Feature(
        "NodeManagement",
        "special",
        (
            DISCOVERY,
            USE_CASES,
            SUBSCRIPTIONS,
            "nodeManagementSubscriptionRequestCall",
            "nodeManagementSubscriptionDeleteCall",
            BINDINGS,
            "nodeManagementBindingRequestCall",
            "nodeManagementBindingDeleteCall",
            DESTINATIONS,
        ),
    ),
    CLASSIFICATION: Feature("DeviceClassification", "server", (MANUFACTURER,)),
    LOAD_CONTROL: Feature("LoadControl", "server", (LIMIT_DESCRIPTIONS, LIMITS), (LIMITS,)),
    CONFIGURATION: Feature("DeviceConfiguration", "server", (KEY_DESCRIPTIONS, KEY_VALUES), (KEY_VALUES,)),
    ELECTRICAL_CONNECTION: Feature(
        "ElectricalConnection", "server", (CHARACTERISTICS, CONNECTION_DESCRIPTIONS, PARAMETER_DESCRIPTIONS)
    ),
    DIAGNOSIS: Feature("DeviceDiagnosis", "server", (HEARTBEAT,)),
    DIAGNOSIS_CLIENT: Feature("DeviceDiagnosis", "client"),
    MEASUREMENT: Feature("Measurement", "server", (MEASUREMENT_DESCRIPTIONS, MEASUREMENTS)),
}

ENTITY_TYPES = {(0,): "DeviceInformation", (1,): "CEM"}

DEVICE_TYPE = "EnergyManagementSystem"


class UseCase(msgspec.Struct, frozen=True):
    """Use case that we offer."""

    actor: str
    name: str
    scenarios: tuple[int, ...]


class LocalDevice:
    """Our device: its address, use cases, and the data of its features.

    `bound`: the partner that holds the bindings of a feature, which one partner at a time may have.
    """

    def __init__(self, address: str, use_cases: tuple[UseCase, ...]) -> None:
        self.address = address
        self.bound: dict[Key, str] = {}
        self._data: dict[tuple[Key, str], Element] = {
            (NODE_MANAGEMENT, DISCOVERY): self._discovery(),
            (NODE_MANAGEMENT, DESTINATIONS): self._destinations(),
        }
        self.set_use_cases(use_cases)

    def feature(self, address: FeatureAddress) -> Key | None:
        """Return the key of one of our features; None if there is none at the address."""
        if address.device not in (None, self.address) or address.entity is None or address.feature is None:
            return None
        key = (address.entity, address.feature)
        return key if key in FEATURES else None

    def address_of(self, key: Key) -> FeatureAddress:
        """Return the full address of one of our features."""
        return FeatureAddress(device=self.address, entity=key[0], feature=key[1])

    def data(self, key: Key, function: str) -> Element | None:
        """Return the data of a function; None if it has none."""
        return self._data.get((key, function))

    def set_data(self, key: Key, function: str, data: Element) -> bool:
        """Store the data of a function; False if it is what it was."""
        if self._data.get((key, function)) == data:
            return False
        self._data[key, function] = data
        return True

    @property
    def description(self) -> DeviceDescription:
        """Description of the device."""
        return DeviceDescription(
            device_address=DeviceAddress(device=self.address),
            device_type=DEVICE_TYPE,
            network_feature_set="smart",
        )

    def set_use_cases(self, use_cases: tuple[UseCase, ...]) -> bool:
        """Store what is offered; False if it is what it was."""
        return self.set_data(NODE_MANAGEMENT, USE_CASES, self._use_case_data(use_cases))

    def _destinations(self) -> DestinationListData:
        return DestinationListData(
            node_management_destination_data=(DestinationData(device_description=self.description),)
        )

    def _discovery(self) -> DetailedDiscovery:
        return DetailedDiscovery(
            specification_version_list=SpecificationVersions(specification_version=(VERSION,)),
            device_information=DeviceInformation(description=self.description),
            entity_information=tuple(
                EntityInformation(
                    description=EntityDescription(
                        entity_address=FeatureAddress(device=self.address, entity=entity),
                        entity_type=type_,
                    )
                )
                for entity, type_ in ENTITY_TYPES.items()
            ),
            feature_information=tuple(
                FeatureInformation(
                    description=FeatureDescription(
                        feature_address=self.address_of(key),
                        feature_type=feature.type,
                        role=feature.role,
                        supported_function=tuple(_supported(feature, each) for each in feature.functions),
                    )
                )
                for key, feature in FEATURES.items()
            ),
        )

    def _use_case_data(self, use_cases: tuple[UseCase, ...]) -> UseCaseData:
        actors = dict.fromkeys(each.actor for each in use_cases)
        return UseCaseData(
            use_case_information=tuple(
                UseCaseInformation(
                    address=FeatureAddress(device=self.address, entity=(1,)),
                    actor=actor,
                    use_case_support=tuple(
                        UseCaseSupport(
                            use_case_name=each.name,
                            use_case_version="1.0.0",
                            use_case_available=True,
                            scenario_support=each.scenarios,
                            use_case_document_sub_revision="release",
                        )
                        for each in use_cases
                        if each.actor == actor
                    ),
                )
                for actor in actors
            )
        )


def _supported(feature: Feature, function: str) -> SupportedFunction:
    writable = function in feature.writable
    partial = PossibleOperation(partial=Empty()) if writable else PossibleOperation()
    return SupportedFunction(
        function=function,
        possible_operations=PossibleOperations(read=PossibleOperation(), write=partial if writable else None),
    )
