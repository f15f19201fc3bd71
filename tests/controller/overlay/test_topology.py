"""Reports of neighbors: applied when they are theirs, new and in force, else ignored."""

from __future__ import annotations

import json

import pytest

from controller.overlay import topology
from controller.overlay.routes import Hop
from controller.overlay.topology import (
    MAX_ROUTES,
    SKEW_S,
    VALID_S,
    TopologyReceived,
    TopologyRejectedError,
    write_topology,
)

UTC_S = 1_795_000_000.0
NOW = 500.0


def everything(node: str, payload: bytes, is_call: bool) -> str | None:
    return None


def received_from(verify: topology.Verifier = everything) -> TopologyReceived:
    return TopologyReceived("LC01", verify, lambda destination, link: destination != "CS01")


def payload(begins: float = UTC_S, **changes: object) -> bytes:
    information = (
        json.loads(write_topology("LC02", {"CS09": 0}, begins))["networkTopologyInformation"] | changes
    )
    return json.dumps({"networkTopologyInformation": information, "signatures": []}).encode()


def taken(
    received_from: TopologyReceived, payload: bytes, utc: float = UTC_S, link: str = "a"
) -> dict[str, Hop]:
    return received_from.on_report(link, "LC02", payload, NOW, utc, is_call=False)


def test_is_written_as_wwcp_reads_it() -> None:
    assert json.loads(write_topology("LC01", {"CS01": 0, "LC01": 0, "CSMS": 3, "far": 16}, UTC_S)) == {
        "networkTopologyInformation": {
            "routingNode": "LC01",
            "routes": [
                {"destinationId": "CS01", "uplink": {}, "downlink": {}, "priority": 1, "weight": 1},
                {"destinationId": "CSMS", "uplink": {}, "downlink": {}, "priority": 4, "weight": 1},
            ],
            "notBefore": "2026-11-18T11:06:40.000Z",
            "notAfter": "2026-11-18T11:16:40.000Z",
        }
    }


def test_topology_report_is_bounded() -> None:
    many = write_topology("LC02", {f"CS{number}": 0 for number in range(MAX_ROUTES + 1)}, UTC_S)
    assert len(taken(received_from(), many)) == MAX_ROUTES


def test_topology_report_becomes_hops_with_end() -> None:
    assert taken(received_from(), payload()) == {"CS09": Hop("a", 1, 1, NOW + VALID_S)}
    soon = payload(notAfter="2026-11-18T11:06:50+00:00")
    assert taken(received_from(), soon) == {"CS09": Hop("a", 1, 1, NOW + 10)}
    assert taken(received_from(), payload(notAfter=None), UTC_S + 100) == {
        "CS09": Hop("a", 1, 1, NOW + VALID_S - 100)
    }


def test_topology_with_unknown_members_is_read() -> None:
    route = {"destinationId": "CS09", "uplink": {"distance": 3, "packetLoss": 0.1}, "timeout": 5}
    assert taken(received_from(), payload(routes=[route], priority=3)) == {
        "CS09": Hop("a", 1, 1, NOW + VALID_S)
    }


@pytest.mark.parametrize("destination", ["LC01", "CS01", "*", "0", "", "x" * 65])
def test_topology_of_foreign_nodes_is_left_out(destination: str) -> None:
    routes = [{"destinationId": destination}, {"destinationId": "CS09", "priority": 2, "weight": 7}]
    assert taken(received_from(), payload(routes=routes)) == {"CS09": Hop("a", 2, 7, NOW + VALID_S)}


REFUSED = [
    (b"", "cannot be read"),
    (b'{"networkTopologyInformation":[]}', "cannot be read"),
    (b"\xff", "cannot be read"),
    (payload(routes=7), "cannot be read"),
    (payload(routes=[{"destinationId": 7}]), "cannot be read"),
    (payload(routes=[{"destinationId": "x", "weight": 10**400}]), "cannot be read"),
    (payload(routes=[{"destinationId": "x", "priority": -1}]), "cannot be read"),
    (payload(routes=[{"destinationId": "x"}] * (MAX_ROUTES + 1)), "more than 1000"),
    (payload(notBefore="yesterday"), "cannot be read"),
    (payload(notBefore="2026-11-18T11:06:40"), "no time zone"),
    (payload(notAfter="2026-11-18T11:16:40"), "no time zone"),
    (payload(notBefore="0001-01-01T00:00:00+14:00"), "is over"),
    (payload(notBefore="9999-12-31T23:59:59-14:00"), "in the future"),
    (payload(notAfter="0001-01-01T00:00:00Z"), "is over"),
    (payload(UTC_S + SKEW_S + 1), "in the future"),
    (payload(UTC_S - VALID_S), "is over"),
    (payload(routingNode="LC03"), "routes of 'LC03'"),
]


@pytest.mark.parametrize(("message", "reason"), REFUSED)
def test_invalid_topology_is_rejected(message: bytes, reason: str) -> None:
    receiver = received_from()
    with pytest.raises(TopologyRejectedError, match=reason):
        taken(receiver, message)
    assert taken(receiver, payload()), "it has changed nothing"


def test_topology_replay_is_rejected_after_reconnect() -> None:
    receiver = received_from()
    taken(receiver, payload(UTC_S + 1))
    for begins in (UTC_S + 1, UTC_S):
        with pytest.raises(TopologyRejectedError, match="not newer"):
            taken(receiver, payload(begins))
    assert taken(receiver, payload(UTC_S), link="b"), "another link has its own order"
    assert taken(receiver, payload(UTC_S + 2))


def test_forged_topology_does_not_move_time() -> None:
    seen: list[tuple[str, bytes, bool]] = []

    def verify(node: str, payload: bytes, is_call: bool) -> str | None:
        seen.append((node, payload, is_call))
        return "nobody known has signed it" if b"forged" in payload else None

    receiver = received_from(verify)
    with pytest.raises(TopologyRejectedError, match="nobody known has signed it") as refused:
        taken(receiver, payload(UTC_S + 50, customData="forged"))
    assert refused.value.forged
    assert taken(receiver, payload())
    assert seen[1] == ("LC02", payload(), False)
