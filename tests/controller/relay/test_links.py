"""From the first word to the last: when a station may be commanded, and what is settled when a link goes."""

from __future__ import annotations

import pytest

from controller.model.observations import Booted, EvseState, StateSeen
from controller.ocpp.frames import Version
from controller.relay.call_queue import QUEUE_DEPTH
from controller.relay.downstream import QUIET_S
from controller.relay.station_relay import DRAIN_S
from tests.controller.relay.playbook import TIMEOUT_S, Playbook, call, result

BOOT = call("boot", "BootNotification", '{"chargePointVendor":"ACME","chargePointModel":"One"}')
STATUS = call("s", "StatusNotification", '{"connectorId":1,"errorCode":"NoError","status":"Available"}')


def boot_answer(status: str) -> str:
    return result("boot", f'{{"status":"{status}","currentTime":"2026-03-29T12:00:00Z","interval":60}}')


# -- commandable ----------------------------------------------------------------------------------------


def test_links_boot_that_is_accepted_opens_way() -> None:
    talk = Playbook()
    talk.passes_up(BOOT)
    talk.wait(QUIET_S + 1)
    talk.done()  # not before the answer, however long it takes
    talk.backend(boot_answer("Accepted"))
    talk.station_hears(boot_answer("Accepted"))
    talk.site_learns(Booted("ACME", "One"))
    talk.commands_allowed()
    talk.station_hears(talk.own())


@pytest.mark.parametrize("status", ["Pending", "Rejected"])
def test_links_boot_that_is_not_accepted_does_not(status: str) -> None:
    talk = Playbook()
    talk.passes_up(BOOT)
    talk.passes_down(boot_answer(status))
    talk.wait(10 * QUIET_S)
    own = talk.own()
    talk.done()
    talk.passes_up(BOOT)  # it tries again
    talk.backend(boot_answer("Accepted"))
    talk.station_hears(boot_answer("Accepted"))
    talk.site_learns(Booted("ACME", "One"))
    talk.commands_allowed()
    talk.station_hears(own)


def test_links_boot_waits_for_slow_backend_link() -> None:
    talk = Playbook(up=False)
    talk.station(BOOT)
    talk.wait(10 * QUIET_S)
    talk.done()
    talk.backend_up()
    talk.backend_hears(BOOT)


def test_links_message_beside_the_boot_does_not_make_commandable() -> None:
    """Some send their next CALL before the boot is answered."""
    talk = Playbook()
    talk.passes_up(BOOT)
    talk.station(STATUS)
    talk.site_learns(StateSeen(1, EvseState.AVAILABLE))
    talk.done()
    talk.backend(boot_answer("Accepted"))
    talk.station_hears(boot_answer("Accepted"))
    talk.site_learns(Booted("ACME", "One"))
    talk.commands_allowed()
    talk.backend_hears(STATUS)


def test_links_station_that_goes_on_without_yes_may_be_commanded() -> None:
    """It would charge without a limit otherwise."""
    talk = Playbook()
    talk.passes_up(BOOT)
    talk.passes_down('[4,"boot","InternalError","",{}]')
    talk.station(call("1", "Heartbeat"))
    talk.commands_allowed()
    talk.backend_hears(call("1", "Heartbeat"))


@pytest.mark.parametrize("status", ["Pending", "Rejected"])
def test_links_station_that_is_not_accepted_gets_no_call_of_own(status: str) -> None:
    talk = Playbook()
    talk.passes_up(BOOT)
    talk.passes_down(boot_answer(status))
    talk.passes_up(call("1", "StatusNotification"))
    talk.passes_down(result("1"))
    talk.wait(60)
    talk.own()
    talk.done()


@pytest.mark.parametrize("status", ["Pending", "Rejected"])
def test_station_that_is_not_accepted_gets_no_call_after_reconnect(status: str) -> None:
    talk = Playbook(evses=1)
    talk.passes_up(BOOT)
    talk.passes_down(boot_answer(status))
    again = Playbook(tracker=talk.tracker)
    again.wait(60)
    again.own()
    again.done()
    again.passes_up(BOOT)
    again.backend(boot_answer("Accepted"))
    again.station_hears(boot_answer("Accepted"))
    again.site_learns_any()
    again.commands_allowed()
    again.station_hears_call("SetChargingProfile")


def test_links_station_that_reboots_gets_no_call_of_own_until_accepted() -> None:
    talk = Playbook()
    talk.commandable()
    talk.passes_up(BOOT)
    limit = talk.own(urgent=True)
    talk.done()
    talk.backend(boot_answer("Accepted"))
    talk.station_hears(boot_answer("Accepted"))
    talk.site_learns(Booted("ACME", "One"))
    talk.station_hears(limit)


@pytest.mark.parametrize("text", [call("1", "Heartbeat"), '[6,"1","X",{}]', result("x"), '[5,"1","X","",{}]'])
def test_links_station_that_did_not_boot_anew_may_be_commanded(text: str) -> None:
    talk = Playbook(Version.V21, up=False)
    talk.station(text)
    talk.commands_allowed()
    talk.station_hears(talk.own())  # even before the backend is there


def test_links_station_that_states_nothing_may_be_commanded_after_while() -> None:
    talk = Playbook()
    own = talk.own()
    talk.wait(QUIET_S - 0.001)
    talk.done()
    talk.wait(0.001)
    talk.commands_allowed()
    talk.station_hears(own)
    talk.wait(100)
    talk.own_answered(None, "no answer in time")
    talk.done()


def test_links_backends_commands_do_not_wait_for_that() -> None:
    """A pending station is configured by its backend before it is accepted."""
    talk = Playbook()
    talk.passes_up(BOOT)
    talk.passes_down(call("b", "GetConfiguration"))
    talk.passes_down(boot_answer("Pending"))


def test_links_station_becomes_commandable_once() -> None:
    talk = Playbook()
    talk.commandable()
    talk.passes_up(BOOT)
    talk.backend(boot_answer("Accepted"))
    talk.station_hears(boot_answer("Accepted"))
    talk.site_learns(Booted("ACME", "One"))
    talk.done()


# -- the backend is lost --------------------------------------------------------------------------------


def test_links_without_word_to_state_station_is_closed_at_once() -> None:
    talk = Playbook()
    talk.commandable()
    talk.passes_up(call("1", "StopTransaction"))
    talk.passes_down(call("b"))
    talk.backend_lost("the other side closed")
    talk.closes("backend cpo is away")
    talk.noted("backend lost backend=cpo station=CS01 reason='the other side closed")


def test_links_own_limits_still_reach_station_and_then_it_is_closed() -> None:
    talk = Playbook()
    talk.commandable()
    first = talk.own()
    talk.station_hears(first)
    second = talk.own()
    talk.backend_lost()
    talk.station(result(first[4:40]))
    talk.own_answered(b"{}", token=1)
    talk.station_hears(second)
    talk.station(result(second[4:40]))
    talk.own_answered(b"{}", token=2)
    talk.closes("backend cpo is away")


def test_links_station_without_boot_gets_limits_before_close() -> None:
    talk = Playbook(up=False)
    talk.backend_lost("HTTP status 403")
    talk.commands_allowed()
    own = talk.own()  # the site answers to that in the same moment
    talk.station_hears(own)
    talk.station(result(own[4:40]))
    talk.own_answered(b"{}")
    talk.closes("backend cpo is away")


def test_links_farewell_to_which_site_states_nothing_ends_at_once() -> None:
    talk = Playbook(up=False)
    talk.backend_lost()
    talk.commands_allowed()
    talk.wait(0)
    talk.closes("backend cpo is away")


def test_links_farewell_waits_for_no_station_that_is_silent() -> None:
    talk = Playbook()
    talk.commandable()
    talk.station_hears(talk.own())
    talk.backend_lost()
    talk.wait(DRAIN_S - 0.001)
    talk.done()
    talk.wait(0.001)
    talk.own_answered(None, "backend cpo is away")
    talk.closes("backend cpo is away")


def test_links_farewell_is_not_stretched_by_what_was_waited_for() -> None:
    talk = Playbook()
    talk.commandable()
    talk.passes_up(call("1", "StopTransaction"))
    talk.wait(TIMEOUT_S - 1)
    talk.station_hears(talk.own())
    talk.backend_lost()
    talk.wait(DRAIN_S)
    talk.own_answered(None, "backend cpo is away")
    talk.closes("backend cpo is away")
    talk.noted("backend lost backend=cpo station=CS01")


def test_nothing_goes_between_station_and_backend_after_farewell_began() -> None:
    talk = Playbook(Version.V21)
    talk.commandable()
    talk.passes_down(call("b"))
    own = talk.own()
    talk.backend_lost()
    talk.done()  # one outstanding: ours waits for the answer to the backend's
    talk.station(call("2"))
    talk.station('[6,"3","X",{}]')
    talk.station('[5,"3","X","",{}]')
    talk.done()
    talk.station(result("b"))
    talk.station_hears(own)
    talk.station(result(own[4:40]))
    talk.own_answered(b"{}")
    talk.closes("backend cpo is away")


def test_links_full_line_does_not_keep_farewell_from_answers() -> None:
    talk = Playbook()
    talk.commandable()
    talk.passes_up(call("0"))
    for number in range(1, QUEUE_DEPTH + 1):
        talk.station(call(f"{number}"))
    talk.station_hears(talk.own())
    assert not talk.relay.accepts_messages
    talk.backend_lost()
    assert talk.relay.accepts_messages


# -- the station is lost --------------------------------------------------------------------------------


def test_links_station_that_is_lost_leaves_nothing_open() -> None:
    talk = Playbook()
    talk.commandable()
    talk.passes_up(call("1"))
    talk.passes_down(call("b0"))
    talk.backend(call("b1"))
    talk.own()
    talk.station_lost()
    talk.backend_hears_error("b0", "GenericError", "station CS01 is gone")
    talk.own_answered(None, "station CS01 is gone")
    talk.backend_hears_error("b1", "GenericError", "station CS01 is gone")
    talk.closes("station CS01 is gone")


@pytest.mark.parametrize("up", [True, False])
def test_links_nothing_happens_after_end_but_own_own_calls_are_answered(up: bool) -> None:
    talk = Playbook(up=up)
    talk.station_lost()
    talk.closes("station CS01 is gone")
    talk.station(call("1"))
    talk.backend(call("b"))
    talk.backend_up()
    talk.backend_lost()
    talk.station_lost()
    talk.wait(1000)
    talk.done()
    talk.own()
    talk.own_answered(None, "closed")
    talk.done()
