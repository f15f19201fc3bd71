"""The file of a day: its columns, and errors with line and remedy."""

from __future__ import annotations

import pytest

from controller.load_management.site_tree import CircuitNode, EvseNode, SiteTree
from controller.model.observations import EvseRef
from controller.simulate.day_file import DAY_S, Day, DayFileError, Stay, read_day

HEAD = "time,what,where,l1_a,l2_a,l3_a,kwh,phases,max_a\n"


def evse(station: str, number: int, phases: tuple[int, ...] = (0, 1, 2)) -> EvseNode:
    return EvseNode(
        ref=EvseRef(station, number), circuit="grid", phases=phases, min_a=6.0, max_a=32.0, fallback_a=6.0
    )


SITE = SiteTree(
    circuits=(CircuitNode(id="grid", parent=None, limit_a=(63.0, 63.0, 63.0)),),
    evses=(evse("A", 1), evse("B", 1), evse("B", 2), evse("C/x", 1, phases=(1,))),
)


def read(text: str) -> Day:
    return read_day(HEAD + text, "day.csv", SITE)


def mistakes(text: str, head: str = HEAD) -> list[str]:
    with pytest.raises(DayFileError) as raised:
        read_day(head + text, "day.csv", SITE)
    return str(raised.value).splitlines()


def test_day_file_load_holds_until_next_of_circuit() -> None:
    load = read("12:00,load,grid,5,5,5,,,\n08:00,load,grid,10,-2.5,30,,,\n").loads["grid"]
    assert load(8 * 3600 - 1) == (0.0, 0.0, 0.0)
    assert load(8 * 3600) == (10.0, -2.5, 30.0)
    assert load(12 * 3600 - 1) == (10.0, -2.5, 30.0)
    assert load(DAY_S) == (5.0, 5.0, 5.0)


def test_day_file_stay_with_all_that_can_be_sent() -> None:
    assert read("08:30:30,plug,B/2,,,,22.5,1,16\n17:00,unplug,B/2,,,,,,\n").stays == (
        Stay(ref=EvseRef("B", 2), begin_s=30_630, end_s=61_200, need_wh=22_500, phases=1, max_a=16),
    )


def test_day_file_missing_columns_have_defaults() -> None:
    (stay,) = read("08:00,plug,C/x,,,,10,,\n").stays
    assert stay == Stay(
        ref=EvseRef("C/x", 1), begin_s=28_800, end_s=DAY_S, need_wh=10_000, phases=1, max_a=32
    )


def test_unplug_comes_before_plug_at_one_time_in_any_line_order() -> None:
    day = read("09:00,plug,A,,,,2,,\n09:00,unplug,A,,,,,,\n08:00,plug,A,,,,1,,\n")
    assert [(stay.begin_s, stay.end_s, stay.need_wh) for stay in day.stays] == [
        (28_800, 32_400, 1000),
        (32_400, DAY_S, 2000),
    ]


def test_comments_and_empty_lines_are_counted_and_skipped() -> None:
    text = "# a day\n\n" + HEAD + "\n# morning\n25:00,load,grid,1,1,1,,,\n"
    assert mistakes(text, head="")[0].startswith("day.csv:6: time")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("7:30,load,grid,1,1,1,,,", 'time: "7:30" is none; write it as 07:30'),
        ("24:00,load,grid,1,1,1,,,", "time: 24:00 is not on the clock"),
        ("07:30,lood,grid,1,1,1,,,", 'what: "lood" is none of load, plug, unplug'),
        ("07:30,load,gird,1,1,1,,,", 'where: "gird" is no circuit; there is: grid'),
        ("07:30,load,grid,1,,1,,,", 'l2_a: "" is no number'),
        ("07:30,load,grid,1,nan,1,,,", "l2_a: nan is not between"),
        ("07:30,load,grid,1,1,1,,,,9", "has more than 9 columns"),
        ("07:30,plug,D,,,,10,,", 'where: "D" is no EVSE'),
        ("07:30,plug,B,,,,10,,", "where: B has several EVSEs; write one of B/1, B/2"),
        ("07:30,plug,A,,,,,,", 'kwh: "" is no number'),
        ("07:30,plug,A,,,,0,,", "kwh: 0 is not between"),
        ("07:30,plug,C/x,,,,10,3,", "phases: 3 is not between 1 and 1"),
        ("07:30,plug,A,,,,10,,5", "max_a: 5 is not between 6"),
        ("07:30,unplug,A,,,,,,", "A/1 has no car to unplug"),
        ("07:30,plug,A,,,,10,1.5,", "phases: 1.5 is no whole number"),
    ],
)
def test_day_file_each_error_has_line(line: str, words: str) -> None:
    (mistake,) = mistakes(f"06:00,load,grid,1,1,1,,,\n{line}\n")
    assert mistake.startswith("day.csv:3: ")
    assert words in mistake


def test_day_file_all_errors_are_reported_at_once() -> None:
    found = mistakes(
        "xx,load,grid,1,1,1,,,\n08:00,plug,A,,,,1,,\n09:00,plug,A,,,,1,,\n"
        "07:00,plug,B/1,,,,1,,\n07:00:59,unplug,B/1,,,,,,\n"
    )
    assert [mistake.split(": ", 1)[0] for mistake in found] == ["day.csv:2", "day.csv:6", "day.csv:4"]
    assert "has a car since line 3" in found[2]
    assert "too short" in found[1]


@pytest.mark.parametrize("text", ["", "# nothing\n", "07:30,load,grid,1,1,1,,,\n"])
def test_day_file_without_head_nothing_is_read(text: str) -> None:
    (mistake,) = mistakes(text, head="")
    assert HEAD.strip() in mistake
