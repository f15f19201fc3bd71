"""Login sessions of the page, and the pauses that slow down guessing of passwords.

Sessions are in memory alone: a restart of the controller ends them. Only hashes of their secrets are held.
Times are monotonic s.
"""

from __future__ import annotations

import msgspec

from controller.access.passwords import generate_secret, hash_secret

IDLE_S = 3600.0
"""A session ends after so long without a request of a person."""
LONGEST_S = 12 * 3600.0
"""A session ends after so long in any case."""
MOST_SESSIONS = 64
"""Sessions at a time; a new one ends the session that was idle for longest."""

FREE_TRIES = 3
"""Wrong passwords of one address without a pause."""
LONGEST_PAUSE_S = 60.0
FORGET_S = 900.0
"""Wrong passwords are no longer counted after so long."""
MOST_ADDRESSES = 1000
ALL_PER_ADDRESS = 10
"""All addresses together have so many times the free tries of one."""


class LoginSession(msgspec.Struct):
    """One login: its user, and when it began and was used last."""

    user: str
    began: float
    used: float


class LoginSessions:
    """All open login sessions, by the hash of their secret."""

    def __init__(self) -> None:
        self._sessions: dict[str, LoginSession] = {}

    def open(self, user: str, now: float) -> str:
        """Begin a session; return its secret, which is given out once."""
        self._remove_ended(now)
        while len(self._sessions) >= MOST_SESSIONS:
            del self._sessions[min(self._sessions, key=lambda each: self._sessions[each].used)]
        secret = generate_secret()
        self._sessions[hash_secret(secret)] = LoginSession(user, now, now)
        return secret

    def find_user(self, secret: str, now: float, *, touch: bool = True) -> str | None:
        """Return the user of a session, None if it has ended. `touch`: a person has made the request."""
        key = hash_secret(secret)
        session = self._sessions.get(key)
        if session is None:
            return None
        if _has_ended(session, now):
            del self._sessions[key]
            return None
        if touch:
            session.used = now
        return session.user

    def close(self, secret: str) -> None:
        """End a session."""
        self._sessions.pop(hash_secret(secret), None)

    def close_all(self, user: str) -> None:
        """End all sessions of a user: the password was changed, or the user removed."""
        self._sessions = {key: each for key, each in self._sessions.items() if each.user != user}

    def _remove_ended(self, now: float) -> None:
        self._sessions = {key: each for key, each in self._sessions.items() if not _has_ended(each, now)}


def _has_ended(session: LoginSession, now: float) -> bool:
    return now - session.used > IDLE_S or now - session.began > LONGEST_S


class _Tries(msgspec.Struct):
    count: int
    last: float


class LoginThrottle:
    """Growing pauses after wrong passwords, per address and for all together.

    A right password of a user is delayed by the pause of its address at most: no user is locked out.
    """

    def __init__(self) -> None:
        self._addresses: dict[str, _Tries] = {}
        self._all = _Tries(0, 0.0)

    def wait_s(self, address: str, now: float) -> float:
        """Return the s until an address may try again; 0 for now."""
        tries = self._addresses.get(address)
        own = 0.0 if tries is None else _pause_s(tries, FREE_TRIES, now)
        return max(own, min(_pause_s(self._all, FREE_TRIES * ALL_PER_ADDRESS, now), LONGEST_PAUSE_S / 4))

    def on_failure(self, address: str, now: float) -> None:
        """Count a wrong password."""
        for key, tries in list(self._addresses.items()):
            if now - tries.last > FORGET_S:
                del self._addresses[key]
        if address not in self._addresses and len(self._addresses) >= MOST_ADDRESSES:
            del self._addresses[min(self._addresses, key=lambda each: self._addresses[each].last)]
        for tries in (self._addresses.setdefault(address, _Tries(0, now)), self._all):
            tries.count = 1 if now - tries.last > FORGET_S else tries.count + 1
            tries.last = now

    def on_success(self, address: str) -> None:
        """Reset the count of wrong passwords of an address."""
        self._addresses.pop(address, None)


def _pause_s(tries: _Tries, free: int, now: float) -> float:
    """Return what is left of the pause: 2 s after the free tries, doubled with each further one."""
    if tries.count < free or now - tries.last > FORGET_S:
        return 0.0
    pause_s = min(LONGEST_PAUSE_S, 2.0 ** (1 + min(10, tries.count - free)))
    return max(0.0, tries.last + pause_s - now)
