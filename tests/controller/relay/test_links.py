"""From the first word to the last: when a station may be commanded, and what is settled when a link goes."""

from __future__ import annotations

import logging

import pytest

from controller.model.observations import Booted, EvseState, StateSeen
from controller.ocpp.frames import Version
from controller.relay.call_queue import QUEUE_DEPTH
from controller.relay.downstream import QUIET_S
from controller.relay.station_relay import DRAIN_S
from tests.scenario.frames import call, result
from tests.scenario.relay_harness import TIMEOUT_S, RelayHarness

BOOT = call("boot", "BootNotification", '{"chargePointVendor":"ACME","chargePointModel":"One"}')
STATUS = call("s", "StatusNotification", '{"connectorId":1,"errorCode":"NoError","status":"Available"}')


def boot_answer(status: str) -> str:
    return result("boot", f'{{"status":"{status}","currentTime":"2026-03-29T12:00:00Z","interval":60}}')


# -- commandable ----------------------------------------------------------------------------------------


def test_links_accepted_boot_makes_commandable() -> None:
    scenario = RelayHarness()
    scenario.forward_up(BOOT)
    scenario.wait(QUIET_S + 1)
    scenario.expect_nothing()  # not before the answer, however long it takes
    scenario.csms.send(boot_answer("Accepted"))
    scenario.station.receive(boot_answer("Accepted"))
    scenario.expect_observation(Booted("ACME", "One"))
    scenario.expect_commandable()
    scenario.station.receive(scenario.send_own_call())


@pytest.mark.parametrize("status", ["Pending", "Rejected"])
def test_links_rejected_boot_does_not_make_commandable(status: str) -> None:
    scenario = RelayHarness()
    scenario.forward_up(BOOT)
    scenario.forward_down(boot_answer(status))
    scenario.wait(10 * QUIET_S)
    own = scenario.send_own_call()
    scenario.expect_nothing()
    scenario.forward_up(BOOT)  # it tries again
    scenario.csms.send(boot_answer("Accepted"))
    scenario.station.receive(boot_answer("Accepted"))
    scenario.expect_observation(Booted("ACME", "One"))
    scenario.expect_commandable()
    scenario.station.receive(own)


def test_links_boot_waits_for_slow_backend_link() -> None:
    scenario = RelayHarness(up=False)
    scenario.station.send(BOOT)
    scenario.wait(10 * QUIET_S)
    scenario.expect_nothing()
    scenario.csms.connect()
    scenario.csms.receive(BOOT)


def test_links_message_beside_the_boot_does_not_make_commandable() -> None:
    """Some send their next CALL before the boot is answered."""
    scenario = RelayHarness()
    scenario.forward_up(BOOT)
    scenario.station.send(STATUS)
    scenario.expect_observation(StateSeen(1, EvseState.AVAILABLE))
    scenario.expect_nothing()
    scenario.csms.send(boot_answer("Accepted"))
    scenario.station.receive(boot_answer("Accepted"))
    scenario.expect_observation(Booted("ACME", "One"))
    scenario.expect_commandable()
    scenario.csms.receive(STATUS)


def test_links_station_that_continues_unaccepted_is_commandable() -> None:
    """It would charge without a limit otherwise."""
    scenario = RelayHarness()
    scenario.forward_up(BOOT)
    scenario.forward_down('[4,"boot","InternalError","",{}]')
    scenario.station.send(call("1", "Heartbeat"))
    scenario.expect_commandable()
    scenario.csms.receive(call("1", "Heartbeat"))


@pytest.mark.parametrize("status", ["Pending", "Rejected"])
def test_links_station_that_is_not_accepted_gets_no_call_of_own(status: str) -> None:
    scenario = RelayHarness()
    scenario.forward_up(BOOT)
    scenario.forward_down(boot_answer(status))
    scenario.forward_up(call("1", "StatusNotification"))
    scenario.forward_down(result("1"))
    scenario.wait(60)
    scenario.send_own_call()
    scenario.expect_nothing()


@pytest.mark.parametrize("status", ["Pending", "Rejected"])
def test_station_that_is_not_accepted_gets_no_call_after_reconnect(status: str) -> None:
    scenario = RelayHarness(evses=1)
    scenario.forward_up(BOOT)
    scenario.forward_down(boot_answer(status))
    again = RelayHarness(tracker=scenario.tracker)
    again.wait(60)
    again.send_own_call()
    again.expect_nothing()
    again.forward_up(BOOT)
    again.csms.send(boot_answer("Accepted"))
    again.station.receive(boot_answer("Accepted"))
    again.take_observation()
    again.expect_commandable()
    again.station.receive_call("SetChargingProfile")


def test_links_station_that_reboots_gets_no_call_of_own_until_accepted() -> None:
    scenario = RelayHarness()
    scenario.make_commandable()
    scenario.forward_up(BOOT)
    limit = scenario.send_own_call(urgent=True)
    scenario.expect_nothing()
    scenario.csms.send(boot_answer("Accepted"))
    scenario.station.receive(boot_answer("Accepted"))
    scenario.expect_observation(Booted("ACME", "One"))
    scenario.station.receive(limit)


@pytest.mark.parametrize("text", [call("1", "Heartbeat"), '[6,"1","X",{}]', result("x"), '[5,"1","X","",{}]'])
def test_links_station_that_did_not_boot_anew_may_be_commanded(text: str) -> None:
    scenario = RelayHarness(Version.V21, up=False)
    scenario.station.send(text)
    scenario.expect_commandable()
    scenario.station.receive(scenario.send_own_call())  # even before the backend is there


def test_links_silent_station_becomes_commandable_after_wait() -> None:
    scenario = RelayHarness()
    own = scenario.send_own_call()
    scenario.wait(QUIET_S - 0.001)
    scenario.expect_nothing()
    scenario.wait(0.001)
    scenario.expect_commandable()
    scenario.station.receive(own)
    scenario.wait(100)
    scenario.expect_own_result(None, "no answer in time")
    scenario.expect_nothing()


def test_links_backend_commands_do_not_wait_for_boot() -> None:
    """A pending station is configured by its backend before it is accepted."""
    scenario = RelayHarness()
    scenario.forward_up(BOOT)
    scenario.forward_down(call("b", "GetConfiguration"))
    scenario.forward_down(boot_answer("Pending"))


def test_links_station_becomes_commandable_once() -> None:
    scenario = RelayHarness()
    scenario.make_commandable()
    scenario.forward_up(BOOT)
    scenario.csms.send(boot_answer("Accepted"))
    scenario.station.receive(boot_answer("Accepted"))
    scenario.expect_observation(Booted("ACME", "One"))
    scenario.expect_nothing()


# -- the backend is lost --------------------------------------------------------------------------------


def test_links_without_limit_to_send_station_is_closed_at_once() -> None:
    scenario = RelayHarness()
    scenario.make_commandable()
    scenario.forward_up(call("1", "StopTransaction"))
    scenario.forward_down(call("b"))
    scenario.csms.disconnect("the other side closed")
    scenario.expect_close("backend cpo is away")
    scenario.expect_log("backend lost backend=cpo station=CS01 reason='the other side closed")


@pytest.mark.parametrize("grace_s", [0.0, 30.0])
def test_links_owner_that_cannot_be_reached_is_no_warning_again(grace_s: float) -> None:
    """The pool warns of it, once an outage: each attempt of a strict station would repeat that."""
    scenario = RelayHarness(up=False, grace_s=grace_s)
    scenario.csms.disconnect("Connection refused; next try in 0.3 s")
    scenario.drop_effects()
    scenario.wait(grace_s)
    scenario.drop_effects()
    lost = [entry for entry in scenario.log if entry.text.startswith("backend lost")]
    assert lost
    assert {entry.level for entry in lost} == {logging.INFO}


@pytest.mark.parametrize("grace_s", [0.0, 30.0])
def test_links_open_link_that_is_lost_is_one_warning(grace_s: float) -> None:
    scenario = RelayHarness(grace_s=grace_s)
    scenario.make_commandable()
    scenario.csms.disconnect("the other side closed")
    scenario.drop_effects()
    scenario.wait(grace_s)
    scenario.drop_effects()
    levels = [entry.level for entry in scenario.log if entry.text.startswith("backend lost")]
    assert levels.count(logging.WARNING) == 1
    assert levels[0] == logging.WARNING


def test_links_drain_sends_own_limits_then_closes_station() -> None:
    scenario = RelayHarness()
    scenario.make_commandable()
    first = scenario.send_own_call()
    scenario.station.receive(first)
    second = scenario.send_own_call()
    scenario.csms.disconnect()
    scenario.station.send(result(first[4:40]))
    scenario.expect_own_result(b"{}", token=1)
    scenario.station.receive(second)
    scenario.station.send(result(second[4:40]))
    scenario.expect_own_result(b"{}", token=2)
    scenario.expect_close("backend cpo is away")


def test_links_station_without_boot_gets_limits_before_close() -> None:
    scenario = RelayHarness(up=False)
    scenario.csms.disconnect("HTTP status 403")
    scenario.expect_commandable()
    own = scenario.send_own_call()  # the site answers to that in the same moment
    scenario.station.receive(own)
    scenario.station.send(result(own[4:40]))
    scenario.expect_own_result(b"{}")
    scenario.expect_close("backend cpo is away")


def test_links_drain_without_limit_to_send_ends_at_once() -> None:
    scenario = RelayHarness(up=False)
    scenario.csms.disconnect()
    scenario.expect_commandable()
    scenario.wait(0)
    scenario.expect_close("backend cpo is away")


def test_links_drain_does_not_wait_for_silent_station() -> None:
    scenario = RelayHarness()
    scenario.make_commandable()
    scenario.station.receive(scenario.send_own_call())
    scenario.csms.disconnect()
    scenario.wait(DRAIN_S - 0.001)
    scenario.expect_nothing()
    scenario.wait(0.001)
    scenario.expect_own_result(None, "backend cpo is away")
    scenario.expect_close("backend cpo is away")


def test_links_drain_is_not_prolonged_by_earlier_wait() -> None:
    scenario = RelayHarness()
    scenario.make_commandable()
    scenario.forward_up(call("1", "StopTransaction"))
    scenario.wait(TIMEOUT_S - 1)
    scenario.station.receive(scenario.send_own_call())
    scenario.csms.disconnect()
    scenario.wait(DRAIN_S)
    scenario.expect_own_result(None, "backend cpo is away")
    scenario.expect_close("backend cpo is away")
    scenario.expect_log("backend lost backend=cpo station=CS01")


def test_drain_forwards_nothing_between_station_and_backend() -> None:
    scenario = RelayHarness(Version.V21)
    scenario.make_commandable()
    scenario.forward_down(call("b"))
    own = scenario.send_own_call()
    scenario.csms.disconnect()
    scenario.expect_nothing()  # one outstanding: ours waits for the answer to the backend's
    scenario.station.send(call("2"))
    scenario.station.send('[6,"3","X",{}]')
    scenario.station.send('[5,"3","X","",{}]')
    scenario.expect_nothing()
    scenario.station.send(result("b"))
    scenario.station.receive(own)
    scenario.station.send(result(own[4:40]))
    scenario.expect_own_result(b"{}")
    scenario.expect_close("backend cpo is away")


def test_links_full_queue_does_not_delay_answers_of_drain() -> None:
    scenario = RelayHarness()
    scenario.make_commandable()
    scenario.forward_up(call("0"))
    for number in range(1, QUEUE_DEPTH + 1):
        scenario.station.send(call(f"{number}"))
    scenario.station.receive(scenario.send_own_call())
    assert not scenario.relay.accepts_messages
    scenario.csms.disconnect()
    assert scenario.relay.accepts_messages


# -- the station is lost --------------------------------------------------------------------------------


def test_links_lost_station_leaves_no_open_call() -> None:
    scenario = RelayHarness()
    scenario.make_commandable()
    scenario.forward_up(call("1"))
    scenario.forward_down(call("b0"))
    scenario.csms.send(call("b1"))
    scenario.send_own_call()
    scenario.station.disconnect()
    scenario.csms.receive_error("b0", "GenericError", "station CS01 is gone")
    scenario.expect_own_result(None, "station CS01 is gone")
    scenario.csms.receive_error("b1", "GenericError", "station CS01 is gone")
    scenario.expect_close("station CS01 is gone")


@pytest.mark.parametrize("up", [True, False])
def test_links_after_end_only_own_calls_get_result(up: bool) -> None:
    scenario = RelayHarness(up=up)
    scenario.station.disconnect()
    scenario.expect_close("station CS01 is gone")
    scenario.station.send(call("1"))
    scenario.csms.send(call("b"))
    scenario.csms.connect()
    scenario.csms.disconnect()
    scenario.station.disconnect()
    scenario.wait(1000)
    scenario.expect_nothing()
    scenario.send_own_call()
    scenario.expect_own_result(None, "closed")
    scenario.expect_nothing()
