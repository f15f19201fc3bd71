"""EVSEs that the next pass updates, after an event or from a moment on."""

from controller.load_management.evse.awake_evses import AwakeEvses
from controller.model.observations import EvseRef

ONE, TWO, THREE = (EvseRef(f"S{number}", 1) for number in range(3))


def test_awake_evses_due_at_one_moment_are_taken_together() -> None:
    awake = AwakeEvses()
    for ref in (TWO, ONE, THREE):
        awake.set_due(ref, 10.0)
    assert awake.take(9.9) == []
    assert awake.take(10.0) == [TWO, ONE, THREE]
    assert awake.take(11.0) == []


def test_awake_evses_later_moment_replaces_the_first() -> None:
    awake = AwakeEvses()
    awake.set_due(ONE, 10.0)
    awake.set_due(TWO, 10.0)
    awake.set_due(ONE, 20.0)
    assert awake.take(10.0) == [TWO]
    assert awake.take(20.0) == [ONE]


def test_awake_evses_moment_set_back_and_again_is_taken_once() -> None:
    awake = AwakeEvses()
    for at in (10.0, 20.0, 10.0):
        awake.set_due(ONE, at)
    assert awake.take(30.0) == [ONE]


def test_awake_evses_added_one_is_taken_at_once() -> None:
    awake = AwakeEvses()
    awake.set_due(TWO, 5.0)
    awake.add(ONE)
    assert awake.take(0.0) == [ONE]
