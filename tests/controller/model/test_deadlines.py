"""The first of several times, some of them None."""

from __future__ import annotations

import pytest

from controller.model.deadlines import earliest


@pytest.mark.parametrize(
    ("times", "first"),
    [((), None), ((None, None), None), ((None, 3.0, 2.0, None), 2.0), ((0.0, 1.0), 0.0), ((5.0,), 5.0)],
)
def test_deadlines_first_is_found(times: tuple[float | None, ...], first: float | None) -> None:
    assert earliest(*times) == first
