"""The book of those who wait: bounded, and rid of who is gone."""

from __future__ import annotations

from controller.overlay.overlay_frames import RoutedFrame
from controller.overlay.overlay_wire import OverlayMessageKind
from controller.overlay.pending_requests import (
    MAX_ANSWERED,
    MAX_CARRIED,
    MAX_PENDING,
    CarriedPaths,
    ForwardedRequest,
    PendingRequests,
)


def book() -> PendingRequests:
    return PendingRequests(60.0, lambda: "new")


def frame(came: str, number: int) -> RoutedFrame:
    return RoutedFrame(OverlayMessageKind.CALL, str(number), (b"{}",), ("CSMS",), (came,), "Heartbeat")


def ask(pending: PendingRequests, came: str, number: int, out: str = "up") -> ForwardedRequest:
    asked = pending.add_request(came, frame(came, number), out, 0.0)
    assert asked is not None
    return asked


def test_answered_request_is_removed() -> None:
    pending = book()
    for number in range(2 * MAX_PENDING):
        asked = ask(pending, "CS01", number)
        assert pending.take_request("up", asked.out_id) == asked
    assert pending.take_request("up", "0") is None


def test_requests_of_lost_link_are_removed() -> None:
    pending = book()
    for number in range(MAX_PENDING):
        ask(pending, "CS01", number)
    assert pending.remove_link("CS01") == []
    assert pending.take_request("up", "0") is None
    ask(pending, "CS01", 0)


def test_requests_to_lost_link_are_returned() -> None:
    pending = book()
    first, second = ask(pending, "CS01", 1), ask(pending, "CS02", 2, out="down")
    assert pending.remove_link("up") == [first]
    assert pending.take_request("down", "2") == second


def test_objection_is_possible_once_while_links_are_open() -> None:
    pending = book()
    asked = ask(pending, "CS01", 1)
    for gone in ("", "CS01", "up"):
        pending.keep_answered(asked, ("csms01",))
        pending.remove_link(gone)
        found = pending.take_objected("CS01", "1", ("CS01", "LC02"))
        assert found == ((asked, ("csms01",)) if gone == "" else None)
    assert pending.take_objected("CS01", "1", ("CS01",)) is None


def test_recorded_answers_are_bounded() -> None:
    pending = book()
    for number in range(MAX_ANSWERED + 1):
        pending.keep_answered(ask(pending, f"CS{number}", number), ())
    assert pending.take_objected("CS0", "0", ("CS0",)) is None
    assert pending.take_objected("CS1", "1", ("CS1",)) is not None


def test_carried_path_is_restored_once() -> None:
    carried = CarriedPaths()
    frame = RoutedFrame(OverlayMessageKind.CALL, "1", (), path=("csms01",))
    carried.record_frame("LC02", frame)
    assert carried.restore("LC03", frame) is None
    assert carried.restore("LC02", frame) == ("csms01",)
    assert carried.restore("LC02", frame) is None


def test_pending_requests_carried_paths_of_request_and_answer_are_apart() -> None:
    carried = CarriedPaths()
    carried.record_frame("LC02", RoutedFrame(OverlayMessageKind.CALL, "1", (), path=("csms01",)))
    assert carried.restore("LC02", RoutedFrame(OverlayMessageKind.RESULT, "1", ())) is None


def test_carried_paths_are_bounded() -> None:
    carried = CarriedPaths()
    for number in range(MAX_CARRIED + 1):
        carried.record_frame("LC02", RoutedFrame(OverlayMessageKind.SEND, str(number), (), path=("a",)))
    assert carried.restore("LC02", RoutedFrame(OverlayMessageKind.SEND, "0", ())) is None
    assert carried.restore("LC02", RoutedFrame(OverlayMessageKind.SEND, "1", ())) == ("a",)
