"""[overlay]: what is a mistake, and what is none."""

from __future__ import annotations

import pytest

from controller.config.loader import check_config
from controller.config.overlay_rules import RESERVED
from controller.overlay import overlay_wire
from tests.controller.config.test_loader import GOOD

CHILD = GOOD.replace("[[station]]", '[[station]]\nmode = "overlay"', 1)
ROUTE = '[[overlay.route]]\ndestination = "CS77"\nvia = "CS01"\n'
GROUP = '[[overlay.group]]\nid = "row"\nmembers = ["CS01", "CS77"]\n'
WHOLE = CHILD + "[overlay]\n" + ROUTE + GROUP


def mistakes(text: str) -> list[str]:
    return [f"{each.key}: {each.what}" for each in check_config(text, "overlay.toml")[1]]


def test_overlay_rules_valid_table_is_accepted() -> None:
    assert mistakes(WHOLE) == []
    assert mistakes(GOOD + "[overlay]\n") == []


@pytest.mark.parametrize("learn", ["signed", "all", "none"])
def test_overlay_rules_signed_topology_needs_a_policy(learn: str) -> None:
    table = f'[overlay]\nlearn = "{learn}"\n'
    for signing, expected in (
        ("", ["overlay.learn"] if learn == "signed" else []),
        ('[signing]\npolicy = "signing.toml"\n', []),
    ):
        _, errors, hints = check_config(CHILD + table + signing, "overlay.toml")
        assert errors == []
        assert [hint.key for hint in hints if hint.key.startswith("overlay")] == expected


def test_overlay_rules_reserved_ids_are_those_of_network() -> None:
    assert {overlay_wire.CSMS, overlay_wire.BROADCAST, overlay_wire.NO_DESTINATION} == RESERVED


WRONG = [
    (CHILD, 'station "CS01" mode: is overlay, and there is no [overlay]'),
    (
        WHOLE.replace('via = "CS01"', 'via = "CS02"'),
        'overlay.route[0].via: "CS02" is no link in overlay mode',
    ),
    (GOOD + "[overlay]\n" + ROUTE, 'overlay.route[0].via: "CS01" is no link in overlay mode'),
    (WHOLE + ROUTE, 'overlay.route[1].destination: "CS77" already has a route via "CS01"'),
    (WHOLE.replace('destination = "CS77"', 'destination = "*"'), '"*" is not the id of a node'),
    (WHOLE.replace('id = "row"', 'id = "CSMS"'), 'overlay.group "CSMS" id: "CSMS" is already defined'),
    (WHOLE + GROUP, 'overlay.group "row" id: "row" is already defined'),
    (
        WHOLE.replace('"CS01", "CS77"', '"CS01", "row"'),
        'overlay.group "row" members[1]: "row" is not a single node',
    ),
    (WHOLE.replace('"CS01", "CS77"', ""), 'overlay.group "row" members: '),
    (WHOLE + "[[overlay.route]]\ndestination = 'CS78'\n", "overlay.route[1].via: is missing"),
    (WHOLE.replace('members = ["CS01", "CS77"]', ""), 'overlay.group "row" members: is missing'),
    (WHOLE.replace(ROUTE, ROUTE + "priority = 300\n"), "priority"),
    (
        WHOLE.replace("[[backend]]", '[[backend]]\nmode = "overlay"\nnode = "SITE"', 1).replace(
            "SITE",
            check_config(GOOD, "good.toml")[0].site.id,  # type: ignore[union-attr]
        ),
        "is this controller itself",
    ),
]


@pytest.mark.parametrize(("text", "what"), WRONG)
def test_overlay_rules_error_is_found(text: str, what: str) -> None:
    found = mistakes(text)
    assert len(found) == 1
    assert what in found[0]


def test_overlay_rules_ids_that_mean_something_else_in_network() -> None:
    assert mistakes(GOOD.replace('"CS01"', '"0"') + "[overlay]\n") == [
        'station "0" id: "0" is a reserved id in an overlay network'
    ]
    assert mistakes(GOOD.replace('"CS01"', '"0"')) == []


def test_links_have_names_of_their_own() -> None:
    text = GOOD.replace('"CS01"', '"up"') + "[overlay]\n"
    for named in ('id = "up"', 'id = "other"\ngroup = "up"'):
        backend = f'[[backend]]\n{named}\nurl = "wss://h/{{station}}"\n'
        assert mistakes(text + backend) == [
            'station "up" id: "up" is also the id of a backend: a route could mean either'
        ]


def test_overlay_rules_endpoints_of_group_have_one_mode() -> None:
    backend = '[[backend]]\nid = "{}"\nurl = "wss://h/{{station}}"\ngroup = "g"\n{}'
    text = GOOD + backend.format("a", 'mode = "overlay"\n') + backend.format("b", "") + "[overlay]\n"
    assert any("differs from that of the other endpoints" in each for each in mistakes(text))
