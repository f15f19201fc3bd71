"""The tables of actions hold all that the official schemas have, each once."""

from __future__ import annotations

from collections import Counter
from importlib import resources

import pytest

from controller.ocpp.actions import COMMANDS, OBSERVED, REPORTS, SHARED, commands, plain, reports

IN_SCHEMAS = {
    file.name.removesuffix(".json").removesuffix("Request").removesuffix("Response")
    for version in ("v16", "v201", "v21")
    for file in (resources.files("ocpp") / version / "schemas").iterdir()
    if file.name.endswith(".json")
}


def test_actions_each_action_of_schemas_has_one_class() -> None:
    down = Counter(action for actions in (*COMMANDS.values(), *SHARED.values()) for action in actions)
    up = Counter(action for actions in REPORTS.values() for action in actions)
    assert set(down.values()) == set(up.values()) == {1}
    assert down.keys() & up.keys() == {"DataTransfer"}
    assert down.keys() | up.keys() | {"Heartbeat"} == IN_SCHEMAS


def test_list_means_actions_and_those_of_classes() -> None:
    assert commands(["reset", "GetLog"]) == {"Reset", "GetLog"}
    assert commands(["vendor", "DataTransfer"]) == {"DataTransfer"}
    assert reports(["transactions"]) == {
        "StartTransaction",
        "StopTransaction",
        "TransactionEvent",
        "MeterValues",
    }
    assert reports(OBSERVED) == {*OBSERVED}
    assert commands([]) == frozenset()


@pytest.mark.parametrize(
    ("action", "meant"), [("Reset-Signed", "Reset"), ("Reset", "Reset"), ("Signed", "Signed")]
)
def test_actions_signed_action_is_read_as_inner_action(action: str, meant: str) -> None:
    assert plain(action) == meant
