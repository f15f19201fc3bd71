"""Which way is taken: the lowest priority that lives, by weight, and the next one where that fails."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from controller.overlay.routes import MAX_LEARNED, Hop, Routes

ALL = frozenset({"a", "b", "c"})


def table(**configured: list[Hop]) -> Routes:
    return Routes(configured, {"both": ("CS01", "CS02")}, random.Random(7))


def up(routes: Routes, **links: Hop) -> Routes:
    for peer, hop in links.items():
        routes.link_up(hop, peer)
    return routes


def chosen(routes: Routes, destination: str, usable: frozenset[str] = ALL, now: float = 0.0) -> str | None:
    hop = routes.choose(destination, now, usable.__contains__)
    return None if hop is None else hop.link


def test_routes_neighbor_is_reached_while_link_is_open() -> None:
    routes = up(table(), CS01=Hop("a"))
    assert chosen(routes, "CS01") == "a"
    routes.link_down("a")
    assert chosen(routes, "CS01") is None


def test_routes_configured_route_is_valid_while_link_is_open() -> None:
    routes = table(CS09=[Hop("a", 0), Hop("b", 1)])
    assert chosen(routes, "CS09") is None
    up(routes, LC02=Hop("b"))
    assert chosen(routes, "CS09") == "b"
    up(routes, LC01=Hop("a"))
    assert chosen(routes, "CS09") == "a"


def test_routes_next_priority_is_taken_when_link_fails() -> None:
    routes = up(table(), X=Hop("c", 5))
    routes.link_up(Hop("a", 0), "CSMS")
    routes.link_up(Hop("b", 3), "CSMS")
    assert chosen(routes, "CSMS") == "a"
    assert chosen(routes, "CSMS", ALL - {"a"}) == "b"
    assert chosen(routes, "CSMS", ALL - {"a", "b"}) is None


def test_weights_count_within_one_priority() -> None:
    routes = table()
    for link, hop in {"a": Hop("a", 1, 3), "b": Hop("b", 1, 1), "c": Hop("c", 2, 1000)}.items():
        routes.link_up(hop, "CSMS")
        assert link == hop.link
    drawn = Counter(chosen(routes, "CSMS") for _ in range(4000))
    assert drawn["a"] + drawn["b"] == 4000
    assert 2.5 < drawn["a"] / drawn["b"] < 3.5


def test_routes_same_seed_chooses_same_routes() -> None:
    def drawn() -> list[str | None]:
        routes = table()
        routes.link_up(Hop("a"), "CSMS")
        routes.link_up(Hop("b"), "CSMS")
        return [chosen(routes, "CSMS") for _ in range(20)]

    assert drawn() == drawn()
    assert set(drawn()) == {"a", "b"}


def test_routes_learned_route_ends_with_link() -> None:
    routes = up(table(), LC02=Hop("a"))
    assert routes.learn("a", {"CS09": Hop("a", 1, 1, until=100.0)})
    assert routes.next_end == 100.0
    assert chosen(routes, "CS09", now=99.0) == "a"
    assert chosen(routes, "CS09", now=100.0) is None
    assert not routes.drop_old(99.0)
    assert routes.drop_old(100.0)
    assert routes.next_end == float("inf")
    assert routes.learn("a", {"CS09": Hop("a")})
    routes.link_down("a")
    up(routes, LC02=Hop("a"))
    assert chosen(routes, "CS09") is None


def test_learned_routes_replace_earlier_ones() -> None:
    routes = up(table(), LC02=Hop("a"))
    routes.learn("a", {"CS08": Hop("a"), "CS09": Hop("a")})
    routes.learn("a", {"CS09": Hop("a")})
    assert (chosen(routes, "CS08"), chosen(routes, "CS09")) == (None, "a")


def test_learned_routes_are_bounded() -> None:
    routes = up(table(), LC02=Hop("a"), LC03=Hop("b"))
    many = {f"CS{number}": Hop("a") for number in range(MAX_LEARNED)}
    assert routes.learn("a", many)
    assert not routes.learn("b", {"CS1": Hop("b")})
    assert routes.learn("a", many), "its own are exchanged, not added"


@pytest.mark.parametrize(
    ("neighbor", "report"),
    [
        (None, {"CS01": 0, "CS02": 0, "CS09": 1, "CSMS": 2, "LC02": 0}),
        ("b", {"CS01": 0, "CS09": 4, "CSMS": 2}),
        ("c", {"CS01": 0, "CS02": 0, "CS09": 1, "LC02": 0}),
    ],
)
def test_routes_neighbor_is_reported_no_route_over_itself(
    neighbor: str | None, report: dict[str, int]
) -> None:
    routes = up(table(CS09=[Hop("a", 4)], CS10=[Hop("gone")]), CS01=Hop("a"), LC02=Hop("b"), CSMS=Hop("c", 2))
    routes.learn("b", {"CS09": Hop("b", 1)})
    up(routes, CS02=Hop("leg", only="c"))
    assert routes.reachable(0.0, neighbor) == report


def test_routes_members_of_group_are_found() -> None:
    assert list(table().members("both")) == ["CS01", "CS02"]
    assert list(table().members("CS01")) == []


def test_routes_are_listed_by_link_with_best_priority() -> None:
    routes = table(CS09=[Hop("LC02", 4)])
    routes.link_up(Hop("LC02", 1), "LC02")
    routes.link_up(Hop("leg", 0, only="above"), "CS01")
    routes.link_up(Hop("above", 2), "LC00", "CSMS")
    routes.learn("LC02", {"CS09": Hop("LC02", 2), "CS08": Hop("LC02", 3, until=5.0)})
    assert routes.neighbors(0.0) == {
        "LC02": {"LC02": 1, "CS09": 2, "CS08": 3},
        "above": {"LC00": 2, "CSMS": 2},
    }
    assert routes.neighbors(5.0)["LC02"] == {"LC02": 1, "CS09": 2}
