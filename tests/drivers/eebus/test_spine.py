"""SPINE test cases for the device, on the pure node and a simulated clock, named by their identifiers."""

from __future__ import annotations

import itertools
import re
from typing import Any

import pytest

from drivers.eebus.lpc import State
from tests.drivers.eebus.guard import (
    GUARD_DEVICE,
    OUR_DEVICE,
    ControlledSite,
    Guard,
    commands_of,
    notified,
    result_of,
)

DISCOVERY = "nodeManagementDetailedDiscoveryData"
USE_CASES = "nodeManagementUseCaseData"
VERSION = re.compile(r"[1-9][0-9]*\.[0-9]+\.[0-9]+")


@pytest.fixture
def site() -> ControlledSite:
    return ControlledSite()


@pytest.fixture
def guard(site: ControlledSite) -> Guard:
    """A guard after the SHIP handshake."""
    guard = Guard(site)
    guard.handshake()
    return guard


@pytest.fixture
def bound(site: ControlledSite) -> Guard:
    """A guard that is discovered, subscribed and bound."""
    return Guard(site).connect()


def asked_of(guard: Guard, name: str) -> list[dict[str, Any]]:
    """Return the node's datagrams with a function or call."""
    return [each for each in guard.received if name in commands_of(each)]


def heartbeat_subscriptions(guard: Guard) -> list[list[int]]:
    """Return the entities whose heartbeat the node has subscribed to."""
    calls = asked_of(guard, "nodeManagementSubscriptionRequestCall")
    links = [
        commands_of(each)["nodeManagementSubscriptionRequestCall"]["subscriptionRequest"] for each in calls
    ]
    return [
        list(each["serverAddress"]["entity"])
        for each in links
        if each["serverFeatureType"] == "DeviceDiagnosis"
    ]


# -- compatibility ------------------------------------------------------------------------------------


def test_tc_spine_comp_001_unknown_function_is_error_6(guard: Guard) -> None:
    answers = guard.datagram("read", {"MsUtAFFwNXKnDArbqjwY": []}, version="1.999.999")
    assert result_of(answers) == 6


def test_tc_spine_comp_002_newer_minor_version_is_answered(guard: Guard) -> None:
    [answer] = guard.datagram("read", {DISCOVERY: []}, version="1.999.999")
    assert answer["header"]["cmdClassifier"] == "reply"


def test_tc_spine_comp_003_unknown_elements_in_reply_are_skipped(guard: Guard, site: ControlledSite) -> None:
    discovery = guard.discovery()
    discovery["featureInformation"][0]["description"]["featureType"] = "Qwertz"
    discovery["featureInformation"][0]["description"]["asdf"] = {"nothing": [1, 2]}
    before = len(guard.received)
    guard.version = "1.999.999"
    guard.answer_discovery(discovery)
    assert not [each for each in guard.received[before:] if each["header"]["cmdClassifier"] == "result"]
    assert site.device.sessions["c1"].discovery is not None


def test_tc_spine_comp_004_malformed_reply_is_not_answered(guard: Guard) -> None:
    discovery = guard.discovery()
    discovery["featureInformation"][0]["description"]["featureAddress"]["feature"] = "one"
    answers = guard.datagram("reply", {DISCOVERY: discovery}, reference=1, ack=True)
    assert answers == []
    assert guard.read(USE_CASES)


def test_tc_spine_comp_005_own_versions_have_form(guard: Guard) -> None:
    guard.read(USE_CASES)
    discovery = guard.read(DISCOVERY)
    versions = [each["header"]["specificationVersion"] for each in guard.received]
    versions += discovery["specificationVersionList"]["specificationVersion"]
    for actor in guard.read(USE_CASES)["useCaseInformation"]:
        for case in actor["useCaseSupport"]:
            versions.append(case["useCaseVersion"])
            assert case["useCaseDocumentSubRevision"]
    assert all(VERSION.fullmatch(each) for each in versions)


@pytest.mark.parametrize(
    "version", ["TS1.3.0", "V0.3.0", "v0.3.0", "0.3.0", "2.0.0", "V1.3.0", "v1.3.0", "", "1.3"]
)
def test_tc_spine_comp_006_other_versions_are_refused(guard: Guard, version: str) -> None:
    guard.version = version
    assert result_of(guard.datagram("read", {DISCOVERY: []})) == 1 if version else True


# -- datagrams ----------------------------------------------------------------------------------------


def test_tc_spine_data_001_004_replies_in_order_with_references(guard: Guard) -> None:
    before = len(guard.received)
    for _ in range(20):
        guard.datagram("read", {DISCOVERY: []})
    headers = [each["header"] for each in guard.received[before:]]
    counters = [each["msgCounter"] for each in headers]
    assert len(counters) == 20
    assert all(later > earlier for earlier, later in itertools.pairwise(counters))
    references = [each["msgCounterReference"] for each in headers]
    assert references == list(range(guard.counter - 19, guard.counter + 1))


@pytest.mark.parametrize("counters", [[21012, 123321], [123456, 1000, 2000], [7, 7]])
def test_tc_spine_data_002_003_any_counter_is_answered(guard: Guard, counters: list[int]) -> None:
    for counter in counters:
        [answer] = guard.datagram("read", {DISCOVERY: []}, counter=counter)
        assert answer["header"]["msgCounterReference"] == counter


def test_tc_spine_data_005_notify_with_ack_request_is_result_0(guard: Guard) -> None:
    entity = {"entityAddress": {"device": GUARD_DEVICE, "entity": [0]}, "lastStateChange": "modified"}
    command = {
        "function": DISCOVERY,
        "filter": [{"cmdControl": {"partial": {}}}],
        DISCOVERY: {"entityInformation": [{"description": entity}]},
    }
    assert result_of(guard.datagram("notify", command, ack=True)) == 0
    assert [
        each for each in guard.datagram("notify", command) if each["header"]["cmdClassifier"] == "result"
    ] == []


def test_tc_spine_data_006_008_results_are_never_answered(guard: Guard) -> None:
    for reference in (1, 77):
        for ack in (None, True):
            result = {"resultData": {"errorNumber": 7}}
            assert guard.datagram("result", result, reference=reference, ack=ack) == []


@pytest.mark.parametrize("ack", [None, True, False])
def test_tc_spine_data_007_read_is_answered_once(guard: Guard, ack: bool | None) -> None:
    [answer] = guard.datagram("read", {DISCOVERY: []}, ack=ack)
    assert answer["header"]["cmdClassifier"] == "reply"


@pytest.mark.parametrize(("entity", "feature"), [([1], 0), ([1], 1), ([0], 1), ([0], 7)])
def test_tc_spine_fc_001_node_management_elsewhere_is_refused(
    guard: Guard, entity: list[int], feature: int
) -> None:
    link = {"clientAddress": guard.address(1), "serverAddress": {"entity": [1], "feature": 1}}
    call = {"nodeManagementSubscriptionRequestCall": {"subscriptionRequest": link}}
    assert result_of(guard.datagram("call", call, destination=(entity, feature))) in (4, 6)


def test_spine_error_of_unknown_address_comes_from_that_address(guard: Guard) -> None:
    [answer] = guard.datagram("read", {DISCOVERY: []}, destination=([9], 9), device=None)
    assert result_of([answer]) == 4
    assert answer["header"]["addressSource"]["entity"] == [9]


def test_read_of_another_device_is_error_4(guard: Guard) -> None:
    assert result_of(guard.datagram("read", {DISCOVERY: []}, device="d:_n:Another")) == 4


def test_spine_destination_without_device_is_own(guard: Guard) -> None:
    [answer] = guard.datagram("read", {DISCOVERY: []}, device=None)
    assert answer["header"]["addressSource"]["device"] == OUR_DEVICE


@pytest.mark.parametrize(
    "commands",
    [
        [],
        [{}, {}],
        [{DISCOVERY: []}, {USE_CASES: []}],
        [{DISCOVERY: [], USE_CASES: []}],
        [{"filter": [], DISCOVERY: []}],
        [{"function": USE_CASES, DISCOVERY: []}],
        [{"function": DISCOVERY, "filter": [{"cmdControl": {"unknown": []}}], DISCOVERY: []}],
        [{"function": DISCOVERY, "filter": [{"newFilter": []}], DISCOVERY: []}],
    ],
)
def test_spine_command_that_is_not_understood_is_error(guard: Guard, commands: list[Any]) -> None:
    assert result_of(guard.datagram("read", commands)) > 0


def test_spine_unknown_classifier_is_error(guard: Guard) -> None:
    assert result_of(guard.datagram("execute", {DISCOVERY: []})) == 6


def test_device_classification_is_readable(guard: Guard) -> None:
    function = "deviceClassificationManufacturerData"
    [answer] = guard.datagram("read", {function: []}, destination=([0], 1))
    assert commands_of(answer)[function]["brandName"] == "Vendor"


def test_spine_destination_list_names_own_device(guard: Guard) -> None:
    [entry] = guard.read("nodeManagementDestinationListData")["nodeManagementDestinationData"]
    assert entry["deviceDescription"]["deviceAddress"]["device"] == OUR_DEVICE


# -- discovery ----------------------------------------------------------------------------------------


def test_tc_spine_ddisc_001_new_partner_is_discovered(guard: Guard) -> None:
    assert len(asked_of(guard, DISCOVERY)) == 1
    guard.answer_discovery()
    assert len(asked_of(guard, USE_CASES)) == 1
    assert len(asked_of(guard, "nodeManagementSubscriptionRequestCall")) == 1


def test_changes_without_end_are_read_once(guard: Guard) -> None:
    guard.answer_discovery()
    for _ in range(50):
        guard.datagram("notify", {DISCOVERY: {}})
        guard.datagram("notify", {USE_CASES: {}})
    assert len(asked_of(guard, DISCOVERY)) == 2
    assert len(asked_of(guard, USE_CASES)) == 1


def test_tc_spine_ddisc_002_silent_partner_is_asked_again(guard: Guard) -> None:
    guard.wait(32)
    assert len(asked_of(guard, DISCOVERY)) == 2
    guard.wait(600)
    assert len(asked_of(guard, DISCOVERY)) == 5


# -- bindings and subscriptions -----------------------------------------------------------------------


def test_tc_spine_bind_001_node_management_is_not_bound(guard: Guard) -> None:
    assert guard.link("Binding", 0, 0) == 7
    assert guard.read("nodeManagementBindingData") == []


def test_tc_spine_bind_002_write_after_binding_delete_is_error_9(bound: Guard) -> None:
    bound.beat()
    assert bound.link("Binding", 1, 1, call="Delete") == 0
    [entry] = bound.read("nodeManagementBindingData")["bindingEntry"]
    assert entry["clientAddress"]["feature"] == 2
    assert bound.write_limit(5000, active=True) == 9


def test_tc_spine_subs_001_subscription_of_undiscovered_client_is_listed(guard: Guard) -> None:
    assert guard.link("Subscription", 0, 0, entity=[0]) == 0
    [entry] = guard.read("nodeManagementSubscriptionData")["subscriptionEntry"]
    assert entry["clientAddress"] == {"device": GUARD_DEVICE, "entity": [0], "feature": 0}


def test_tc_spine_subs_001_client_without_device_gets_source_device(guard: Guard) -> None:
    link = {
        "clientAddress": {"entity": [1], "feature": 1},
        "serverAddress": {"entity": [1], "feature": 1},
        "serverFeatureType": "LoadControl",
    }
    call = {"nodeManagementSubscriptionRequestCall": {"subscriptionRequest": link}}
    assert result_of(guard.datagram("call", call, ack=True)) == 0
    [entry] = guard.read("nodeManagementSubscriptionData")["subscriptionEntry"]
    assert entry["clientAddress"]["device"] == GUARD_DEVICE


def test_tc_spine_subs_002_deleted_twice_leaves_no_entry(guard: Guard) -> None:
    guard.link("Subscription", 0, 0, entity=[0])
    assert guard.link("Subscription", 0, 0, call="Delete", entity=[0]) == 0
    assert guard.link("Subscription", 0, 0, call="Delete", entity=[0]) == 7
    assert guard.read("nodeManagementSubscriptionData") == []


def test_subscription_requested_twice_is_one_entry(guard: Guard) -> None:
    for _ in range(3):
        assert guard.link("Subscription", 1, 1) == 0
    assert len(guard.read("nodeManagementSubscriptionData")["subscriptionEntry"]) == 1


def test_subscriptions_without_end_are_overload(guard: Guard) -> None:
    results = [guard.link("Subscription", number, 1) for number in range(100)]
    assert results[63:65] == [0, 3]


@pytest.mark.parametrize(
    ("client", "server", "result"), [(1, 99, 4), (5, 5, 7)], ids=["no feature", "client feature"]
)
def test_binding_to_no_server_is_refused(guard: Guard, client: int, server: int, result: int) -> None:
    assert guard.link("Binding", client, server) == result


def test_binding_with_another_feature_type_is_refused(guard: Guard) -> None:
    link = {
        "clientAddress": guard.address(1),
        "serverAddress": {"device": OUR_DEVICE, "entity": [1], "feature": 1},
        "serverFeatureType": "Measurement",
    }
    call = {"nodeManagementBindingRequestCall": {"bindingRequest": link}}
    assert result_of(guard.datagram("call", call, ack=True)) == 7


def test_spine_bindings_and_subscriptions_end_with_connection(site: ControlledSite, bound: Guard) -> None:
    site.node.lost("c1")
    again = Guard(site, "c2")
    again.handshake()
    again.beat()
    assert again.write_limit(5000, active=True) == 9
    assert again.read("nodeManagementSubscriptionData") == []


# -- relations to the guard ---------------------------------------------------------------------------


def test_tc_spine_entity_002_guard_on_another_entity_is_found(site: ControlledSite, bound: Guard) -> None:
    bound.beat()
    assert bound.write_limit(5000, active=True) == 0
    removed = {"entityAddress": {"device": GUARD_DEVICE, "entity": [1]}, "lastStateChange": "removed"}
    bound.datagram("notify", {DISCOVERY: {"entityInformation": [{"description": removed}]}})
    assert bound.read("nodeManagementBindingData") == []
    bound.entity = [3]
    bound.answer_discovery()
    for number in (1, 2):
        assert bound.link("Binding", number, number) == 0
    assert heartbeat_subscriptions(bound)[-1] == [3]
    bound.beat()
    assert bound.write_limit(6000, active=True) == 0
    assert site.lpc.limit_w == 6000


def test_tc_spine_rts_001_client_features_of_another_type(site: ControlledSite) -> None:
    guard = Guard(site)
    guard.types = dict.fromkeys(guard.types, "Generic")
    guard.connect()
    guard.beat()
    assert guard.write_limit(5000, active=True) == 0
    assert site.state is State.LIMITED


def test_tc_spine_rts_002_client_features_of_unknown_type(site: ControlledSite) -> None:
    guard = Guard(site)
    guard.types = dict.fromkeys(guard.types, "Qwertz")
    guard.version = "1.999.999"
    guard.connect()
    guard.beat()
    assert guard.write_limit(5000, active=True) == 0
    assert site.state is State.LIMITED


def test_tc_spine_rts_003_heartbeat_of_client_that_bound(site: ControlledSite) -> None:
    guard = Guard(site)
    guard.handshake()
    discovery = guard.discovery()
    for entity in ([2], [3]):
        other = {
            "featureAddress": guard.address(9, entity),
            "featureType": "DeviceDiagnosis",
            "role": "server",
        }
        discovery["featureInformation"].insert(0, {"description": other})
    guard.answer_discovery(discovery)
    for number in (1, 2):
        assert guard.link("Binding", number, number) == 0
    assert heartbeat_subscriptions(guard) == [[1]]
    guard.entity = [2]
    guard.beat()
    assert site.lpc.heartbeat_at is None
    guard.entity = [1]
    guard.beat()
    assert site.lpc.heartbeat_at == site.now


def test_tc_spine_rts_004_unknown_element_in_write_is_skipped(site: ControlledSite, bound: Guard) -> None:
    bound.beat()
    more = {"qwertzuiopasdfg": "testData"}
    assert bound.write_limit(3300, active=True, more=more, version="1.999.999") == 0
    assert site.lpc.limit_w == 3300


def test_tc_spine_rts_005_number_without_scale_keeps_scale(site: ControlledSite, bound: Guard) -> None:
    bound.beat()
    assert bound.write_limit(42, scale=2, active=True) == 0
    assert bound.write_limit(3300, scale=None, active=True) == 0
    assert bound.read_limit()["value"] == {"number": 3300, "scale": 2}
    assert site.lpc.limit_w == 330_000


def test_spine_discovery_after_binding_subscribes_heartbeat(site: ControlledSite) -> None:
    guard = Guard(site)
    guard.handshake()
    assert guard.link("Binding", 1, 1) == 0
    assert heartbeat_subscriptions(guard) == []
    guard.answer_discovery()
    assert heartbeat_subscriptions(guard) == [[1]]


def test_lost_heartbeat_subscription_is_renewed(site: ControlledSite, bound: Guard) -> None:
    bound.beat()
    for _ in range(300):
        bound.wait(1)
    assert len(heartbeat_subscriptions(bound)) == 4
    assert heartbeat_subscriptions(bound) == [[1]] * 4


def test_refused_heartbeat_subscription_is_retried(site: ControlledSite) -> None:
    bound = Guard(site)
    bound.answers_calls = False
    bound.connect()
    [call] = [
        each
        for each in asked_of(bound, "nodeManagementSubscriptionRequestCall")
        if "DeviceDiagnosis" in str(each)
    ]
    counter = call["header"]["msgCounter"]
    bound.datagram("result", {"resultData": {"errorNumber": 7}}, reference=counter)
    bound.wait(31)
    assert len(heartbeat_subscriptions(bound)) == 2


def test_spine_second_guard_is_not_bound_while_first_is(site: ControlledSite, bound: Guard) -> None:
    site.node.trust("c" * 40, site.now)
    second = Guard(site, "c2", "c" * 40, device="d:_n:Guard-2")
    second.handshake()
    second.answer_discovery()
    assert second.link("Binding", 1, 1) == 7
    second.beat()
    assert site.lpc.heartbeat_at is None
    assert second.write_limit(0, active=True) == 9
    site.node.lost("c1")
    assert second.link("Binding", 1, 1) == 0


def test_spine_deleted_heartbeat_source_is_removed_with_binding(bound: Guard, site: ControlledSite) -> None:
    bound.beat()
    bound.link("Binding", 1, 1, call="Delete")
    site.advance(1)
    before = site.lpc.heartbeat_at
    bound.beat()
    assert site.lpc.heartbeat_at == before


def test_spine_new_subscriber_gets_own_heartbeat_at_once(guard: Guard) -> None:
    guard.link("Subscription", 4, 4)
    [beat] = notified(guard.received, "deviceDiagnosisHeartbeatData")
    assert beat["heartbeatTimeout"] == "PT1M"


def heartbeat_read(guard: Guard) -> int:
    """Return the counter of the node's read of the heartbeat."""
    [read] = [
        each
        for each in asked_of(guard, "deviceDiagnosisHeartbeatData")
        if each["header"]["cmdClassifier"] == "read"
    ]
    return int(read["header"]["msgCounter"])


@pytest.mark.parametrize(
    ("data", "counts"),
    [
        ({"timestamp": "2026-11-18T11:06:40.1234567Z", "heartbeatCounter": 0}, True),
        ({"timestamp": "2026-11-18T11:05:41Z", "heartbeatCounter": 9}, True),
        ({"timestamp": "2026-11-18T11:05:30Z", "heartbeatCounter": 9}, False),
        ({"timestamp": "2026-11-18T11:10:00Z", "heartbeatCounter": 9}, False),
        ({"timestamp": "now", "heartbeatCounter": 9}, False),
        ({"timestamp": "2026-11-18T11:06:40Z"}, False),
        ([], False),
    ],
)
def test_heartbeat_read_after_subscription_counts_if_fresh(
    site: ControlledSite, bound: Guard, data: Any, counts: bool
) -> None:
    bound.datagram(
        "reply",
        {"deviceDiagnosisHeartbeatData": data},
        source=([1], 5),
        destination=([1], 5),
        reference=heartbeat_read(bound),
    )
    assert (site.lpc.heartbeat_at is not None) is counts
    assert (bound.write_limit(5000, active=True) == 0) is counts
