"""EVSEs that the next pass updates, after an event or from a moment on."""

from controller.load_management.evse.due_evses import DueEvses, DueQueues
from controller.model.observations import EvseRef

ONE, TWO, THREE = (EvseRef(f"S{number}", 1) for number in range(3))


def test_awake_evses_due_at_one_moment_are_taken_together() -> None:
    due = DueEvses()
    for ref in (TWO, ONE, THREE):
        due.set_due(ref, 10.0)
    assert due.take_due(9.9) == []
    assert due.take_due(10.0) == [TWO, ONE, THREE]
    assert due.take_due(11.0) == []


def test_awake_evses_later_moment_replaces_the_first() -> None:
    due = DueEvses()
    due.set_due(ONE, 10.0)
    due.set_due(TWO, 10.0)
    due.set_due(ONE, 20.0)
    assert due.take_due(10.0) == [TWO]
    assert due.take_due(20.0) == [ONE]


def test_awake_evses_moment_set_back_and_again_is_taken_once() -> None:
    due = DueEvses()
    for at in (10.0, 20.0, 10.0):
        due.set_due(ONE, at)
    assert due.take_due(30.0) == [ONE]


def test_awake_evses_added_one_is_taken_at_once() -> None:
    due = DueEvses()
    due.set_due(TWO, 5.0)
    due.add(ONE)
    assert due.take_due(0.0) == [ONE]


def test_awake_evses_beyond_the_most_are_left_to_the_next_call() -> None:
    due = DueEvses()
    for ref in (TWO, ONE, THREE):
        due.set_due(ref, 10.0)
    assert due.take_due(10.0, most=2) == [TWO, ONE]
    assert due.take_due(10.0, most=2) == [THREE]
    assert due.take_due(10.0, most=2) == []


def test_due_queues_evses_changed_by_event_moment_or_booking_are_found() -> None:
    due = DueQueues()
    due.updates.add(ONE)
    due.bookings.set_due(TWO, 5.0)
    due.renewals.add(THREE)
    assert [*due.have_changed((ONE, TWO, THREE), 4.0)] == [ONE]
    assert [*due.have_changed((ONE, TWO, THREE), 5.0)] == [ONE, TWO]
    assert due.updates.take_due(5.0) == [ONE]  # the next pass over the whole site looks at them, too
