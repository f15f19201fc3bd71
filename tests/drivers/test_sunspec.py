"""Walking a SunSpec device's chain of models."""

from __future__ import annotations

import pytest

from drivers.decoding import Block
from drivers.registers import load_map
from drivers.sunspec import SunSpecMissing, SunSpecWalk

SUNS = (0x5375, 0x6E53)


def walk_203() -> SunSpecWalk:
    model = load_map("sunspec-203").sunspec
    assert model is not None
    return SunSpecWalk(model, 3)


def test_the_model_is_found_behind_others() -> None:
    walk = walk_203()
    for asked, answer in [
        (40000, SUNS),
        (40002, (1, 66)),
        (40070, (103, 50)),
        (40122, (203, 105)),
    ]:
        assert walk.next_read() == Block(3, asked, 2)
        assert walk.base is None
        walk.take(answer)
    assert walk.base == 40122


def test_each_base_is_tried() -> None:
    walk = walk_203()
    for asked, answer in [(40000, None), (50000, (0, 0)), (0, SUNS), (2, (204, 105))]:
        assert walk.next_read().address == asked
        walk.take(answer)
    assert walk.base == 2


def test_a_device_without_the_mark_is_none() -> None:
    walk = walk_203()
    walk.take(None)
    walk.take(None)
    with pytest.raises(SunSpecMissing, match='no "SunS" at 40000, 50000, 0'):
        walk.take((1, 2))


@pytest.mark.parametrize("last", [(0xFFFF, 0), None])
def test_a_device_without_the_model_says_which_it_has(last: tuple[int, int] | None) -> None:
    walk = walk_203()
    for answer in (SUNS, (1, 66), (103, 50)):
        walk.take(answer)
    with pytest.raises(SunSpecMissing, match="it has 1, 103"):
        walk.take(last)


@pytest.mark.parametrize("length", [0, 60_000])
def test_a_chain_without_an_end_ends(length: int) -> None:
    walk = walk_203()
    walk.take(SUNS)

    def go_on() -> None:
        for _ in range(100):
            walk.take((7, length))

    with pytest.raises(SunSpecMissing):
        go_on()
