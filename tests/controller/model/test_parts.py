from __future__ import annotations

import pytest

from controller.model.parts import AT_ONCE, Parts, cut_in_parts, finish_parts


@pytest.mark.parametrize("count", [0, 1, AT_ONCE, AT_ONCE + 1, 3 * AT_ONCE])
def test_parts_have_each_item_once_in_order(count: int) -> None:
    parts = list(cut_in_parts(range(count)))
    assert [each for part in parts for each in part] == list(range(count))
    assert all(0 < len(part) <= AT_ONCE for part in parts)


def test_finish_parts_sends_its_time_to_each_and_returns_result() -> None:
    times: list[float] = []

    def parts() -> Parts[str]:
        times.append((yield))
        times.append((yield))
        return "done"

    assert finish_parts(parts(), 7.0) == "done"
    assert times == [7.0, 7.0]
