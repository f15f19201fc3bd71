from __future__ import annotations

from controller.access.login_sessions import (
    FREE_TRIES,
    IDLE_S,
    LONGEST_PAUSE_S,
    LONGEST_S,
    MOST_SESSIONS,
    LoginSessions,
    LoginThrottle,
)


def test_login_sessions_session_is_found_by_secret_alone() -> None:
    sessions = LoginSessions()
    secret = sessions.open("anna", 0.0)
    assert sessions.find_user(secret, 1.0) == "anna"
    assert sessions.find_user(secret[:-1], 1.0) is None


def test_login_sessions_idle_one_ends_and_used_one_stays() -> None:
    sessions = LoginSessions()
    secret = sessions.open("anna", 0.0)
    assert sessions.find_user(secret, IDLE_S) == "anna"
    assert sessions.find_user(secret, 2 * IDLE_S) == "anna"
    assert sessions.find_user(secret, 3 * IDLE_S + 1) is None
    assert sessions.find_user(secret, 3 * IDLE_S) is None, "it has ended for good"


def test_login_sessions_live_stream_does_not_keep_session_open() -> None:
    sessions = LoginSessions()
    secret = sessions.open("anna", 0.0)
    assert sessions.find_user(secret, IDLE_S, touch=False) == "anna"
    assert sessions.find_user(secret, IDLE_S + 1) is None


def test_login_sessions_session_ends_after_longest_time() -> None:
    sessions = LoginSessions()
    secret = sessions.open("anna", 0.0)
    now = 0.0
    while now + IDLE_S <= LONGEST_S:
        now += IDLE_S
        assert sessions.find_user(secret, now) == "anna"
    assert sessions.find_user(secret, now + 1) is None


def test_closed_sessions_are_gone() -> None:
    sessions = LoginSessions()
    first, second, other = (sessions.open(user, 0.0) for user in ("anna", "anna", "ben"))
    sessions.close(first)
    assert sessions.find_user(first, 1.0) is None
    sessions.close_all("anna")
    assert sessions.find_user(second, 1.0) is None
    assert sessions.find_user(other, 1.0) == "ben"


def test_most_sessions_are_kept_by_ending_idlest() -> None:
    sessions = LoginSessions()
    secrets = [sessions.open("anna", float(n)) for n in range(MOST_SESSIONS)]
    sessions.find_user(secrets[0], 1000.0)
    sessions.open("ben", 1001.0)
    assert sessions.find_user(secrets[0], 1002.0) == "anna"
    assert sessions.find_user(secrets[1], 1002.0) is None


def test_guessing_is_slowed_down_with_growing_pauses() -> None:
    throttle, now, waits = LoginThrottle(), 0.0, []
    for _ in range(FREE_TRIES + 8):
        throttle.on_failure("192.0.2.1", now)
        waits.append(throttle.wait_s("192.0.2.1", now))
        now += waits[-1]
    assert waits[: FREE_TRIES - 1] == [0.0] * (FREE_TRIES - 1)
    assert waits[FREE_TRIES - 1] == 2.0
    assert waits[-1] == LONGEST_PAUSE_S
    assert sorted(waits) == waits


def test_guessing_of_one_address_does_not_lock_out_another() -> None:
    throttle = LoginThrottle()
    for _ in range(20):
        throttle.on_failure("192.0.2.1", 0.0)
    assert throttle.wait_s("192.0.2.2", 0.0) == 0.0


def test_guessing_from_many_addresses_pauses_all_for_bounded_time() -> None:
    throttle = LoginThrottle()
    for number in range(2000):
        throttle.on_failure(f"192.0.2.{number}", 0.0)
    assert 0.0 < throttle.wait_s("198.51.100.1", 0.0) <= LONGEST_PAUSE_S / 4


def test_login_sessions_right_password_and_time_end_pauses() -> None:
    throttle = LoginThrottle()
    for _ in range(6):
        throttle.on_failure("192.0.2.1", 0.0)
    assert throttle.wait_s("192.0.2.1", 10_000.0) == 0.0
    throttle.on_success("192.0.2.1")
    assert throttle.wait_s("192.0.2.1", 0.0) == 0.0
