"""Readings of time daemons, and the state of the clock that follows from them."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.timekeeping import TimekeepingError
from controller.timekeeping.chrony_protocol import ChronyCommand, ChronyError, read_reply
from controller.timekeeping.chrony_session import ChronySession
from controller.timekeeping.clock_status import (
    ClockEventKind,
    ClockMonitor,
    ClockReading,
    ClockRequirements,
    ClockState,
    ServerReading,
)
from controller.timekeeping.timesyncd import TimesyncdError, read_timesyncd

PTB = ClockRequirements(legal_authority="PTB", servers_agree=2, max_error_s=0.1, max_check_age_s=600)


def _server(name: str, *, agrees: bool = True, authenticated: bool = True, age: float = 9) -> ServerReading:
    return ServerReading(name=name, agrees=agrees, authenticated=authenticated, sample_age_s=age)


def _reading(*servers: ServerReading, error: float | None = 0.004, synchronised: bool = True) -> ClockReading:
    return ClockReading(source="chrony", synchronised=synchronised, error_bound_s=error, servers=servers)


GOOD = (_server("ptbtime1"), _server("ptbtime2"))
STATES = {
    "all holds": (_reading(*GOOD), ClockState.LEGAL, ""),
    "one server only": (_reading(GOOD[0]), ClockState.SYNCHRONISED, "1 authenticated servers agree"),
    "one without NTS": (
        _reading(GOOD[0], _server("x", authenticated=False)), ClockState.SYNCHRONISED, "2 are required",
    ),
    "one falseticker": (_reading(GOOD[0], _server("x", agrees=False)), ClockState.SYNCHRONISED, "1 auth"),
    "one silent": (_reading(GOOD[0], _server("x", age=601)), ClockState.SYNCHRONISED, "1 auth"),
    "too far off": (_reading(*GOOD, error=0.2), ClockState.UNVERIFIED, "off by 0.200 s"),
    "error unknown": (_reading(*GOOD, error=None), ClockState.SYNCHRONISED, "does not report"),
    "not disciplined": (_reading(*GOOD, synchronised=False), ClockState.UNVERIFIED, "does not discipline"),
}  # fmt: skip


@pytest.mark.parametrize(("reading", "state", "reason"), STATES.values(), ids=STATES)
def test_clock_state_follows_from_reading(reading: ClockReading, state: ClockState, reason: str) -> None:
    monitor = ClockMonitor(PTB)
    monitor.on_reading(reading, 100.0, 1e9)
    status = monitor.status(100.0)
    assert status.state is state
    assert reason in status.reason
    assert (status.reason == "") == (state is ClockState.LEGAL)


def test_clock_without_authority_is_never_legal() -> None:
    monitor = ClockMonitor(ClockRequirements())
    monitor.on_reading(_reading(*GOOD), 100.0, 1e9)
    assert monitor.status(100.0).state is ClockState.SYNCHRONISED


def test_clock_whose_check_is_too_old_is_unverified() -> None:
    monitor = ClockMonitor(PTB)
    monitor.on_reading(_reading(*GOOD), 100.0, 1e9)
    assert monitor.status(700.0).state is ClockState.LEGAL
    assert "more than 600 s old" in monitor.status(700.1).reason


def test_clock_step_and_lost_quorum_are_events() -> None:
    monitor = ClockMonitor(PTB)
    kinds = [event.kind for event in monitor.on_reading(_reading(*GOOD), 0.0, 1e9)]
    assert kinds == [ClockEventKind.QUORUM_REGAINED, ClockEventKind.STATE]
    assert monitor.on_reading(_reading(*GOOD), 60.0, 1e9 + 60) == []
    (step,) = monitor.on_reading(_reading(*GOOD), 120.0, 1e9 + 3720)
    assert step.text == "the clock was stepped by +3600.000 s"
    lost = monitor.on_reading(_reading(GOOD[0]), 180.0, 1e9 + 3780)
    assert [event.kind for event in lost] == [ClockEventKind.QUORUM_LOST, ClockEventKind.STATE]
    assert lost[1].text == "synchronised reason=1 authenticated servers agree, 2 are required"


def test_timekeeping_time_daemon_that_fails_makes_clock_unverified() -> None:
    monitor = ClockMonitor(PTB)
    monitor.on_reading(_reading(*GOOD), 0.0, 1e9)
    (event,) = monitor.on_failure("chronyd did not answer within 2 s", 60.0)
    assert event.text == "unverified reason=chronyd did not answer within 2 s"


def test_timekeeping_changed_certificate_of_server_is_event() -> None:
    monitor = ClockMonitor(PTB)
    assert monitor.on_server_certificate("ptbtime1:4460", "aa") == []
    assert monitor.on_server_certificate("ptbtime1:4460", "aa") == []
    (event,) = monitor.on_server_certificate("ptbtime1:4460", "bb")
    assert event.text == "server ptbtime1:4460 shows certificate bb, before it was aa"


TIMESYNC = """\
SystemNTPServers=
FallbackNTPServers=ntp.ubuntu.com
ServerName=ptbtime1.ptb.de
ServerAddress=192.53.103.108
RootDistanceMaxUSec=5s
PollIntervalUSec=34min 8s
NTPMessage={ Leap=0, Version=4, Mode=4, Stratum=1, Precision=-21, RootDelay=1ms, RootDispersion=2.5ms, \
Reference=PTB, OriginateTimestamp=Fri 2026-11-27 00:00:00 UTC, Ignored=no, PacketCount=12, Jitter=1.2ms }
Frequency=120
"""


def test_timekeeping_timesyncd_report_is_read_with_error_bound() -> None:
    report = read_timesyncd(TIMESYNC)
    assert (report.server, report.stratum, report.leap_status) == ("ptbtime1.ptb.de", 1, 0)
    assert report.error_bound_s == pytest.approx(0.003)


def test_timekeeping_timesyncd_before_first_answer_has_no_bound() -> None:
    report = read_timesyncd("ServerName=\nServerAddress=\n")
    assert (report.server, report.stratum, report.error_bound_s) == (None, None, None)
    with pytest.raises(TimesyncdError, match="not running"):
        read_timesyncd("Unit dbus-org.freedesktop.timesync1.service not found.\n")


@given(st.text(max_size=300))
def test_any_text_of_timedatectl_is_read_or_rejected(text: str) -> None:
    try:
        read_timesyncd("ServerName=x\nNTPMessage={" + text)
    except TimesyncdError:
        pytest.fail("text after a server's name is read leniently")


@given(st.binary(max_size=120), st.booleans())
def test_any_reply_of_chronyd_is_read_or_rejected(data: bytes, has_head: bool) -> None:
    head = struct.pack(">BBxxHHHxxxxxxIxxxxxxxx", 6, 2, ChronyCommand.TRACKING, 5, 0, 1)
    session = ChronySession()
    session.next_request()
    try:
        session.on_reply(head + data if has_head else data)
    except TimekeepingError:
        return
    assert session.next_request() is not None


def test_reply_to_another_request_is_rejected() -> None:
    head = struct.pack(">BBxxHHHxxxxxxIxxxxxxxx", 6, 2, ChronyCommand.TRACKING, 5, 0, 7)
    with pytest.raises(ChronyError, match="another request"):
        read_reply(ChronyCommand.TRACKING, 8, head)
