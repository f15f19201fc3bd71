"""A failed report of the demo names its reason."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from controller.demo.demo_report import DemoReport, EvidenceReport
from controller.demo.grid_operator import DimmingReport
from controller.demo.message_ledger import MessageCounts
from controller.demo.reaction_watch import Reaction

GOOD = DemoReport(
    stations={},
    messages=MessageCounts(relayed=1, own=1, lost=0, duplicated=0, altered=0),
    circuits=(),
    energy_wh=1.0,
    utilisation=None,
    reaction_s=Reaction(None, None),
    dimming=DimmingReport(
        commands=3,
        accepted=1,
        refused={"bad-signature": 1, "replayed": 1},
        time_to_effect_s=1.5,
        grid_w_before=40_000.0,
        grid_w_after=26_900.0,
        limit_w=27_000.0,
    ),
    evidence=EvidenceReport(records=12, findings=()),
)
assert GOOD.dimming is not None


def test_good_run_has_no_failures_and_states_what_came_of_command() -> None:
    assert GOOD.failures == []
    assert "dimmed from 40.0 kW to 27 kW in 1.5 s; 1 command accepted" in str(GOOD)
    assert "12 records, 0 findings" in str(GOOD)
    assert "dimmed" not in str(replace(GOOD, dimming=None)), "it was over before the command"


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (replace(GOOD, dimming=replace(GOOD.dimming, time_to_effect_s=None)), "did not come under its limit"),
        (replace(GOOD, dimming=replace(GOOD.dimming, accepted=2, refused={"replayed": 1})), "not 2"),
        (replace(GOOD, dimming=replace(GOOD.dimming, accepted=0, refused={"no-answer": 3})), "not 0"),
        (replace(GOOD, evidence=EvidenceReport(records=3, findings=("x:2: changed",))), "x:2: changed"),
    ],
)
def test_grid_operator_bad_run_states_what_is_bad(bad: DemoReport, why: str) -> None:
    [failure] = bad.failures
    assert why in failure
