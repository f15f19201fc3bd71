"""Which uplink of a backend is dialled next, and when: pure, one for all stations of the backend.

    UP         dialled by whoever needs a link; the lowest priority number first
    SUSPECT    a link over it was lost: the next one to dial tries it, all others use another meanwhile
    DOWN       a dial failed: nobody tries before its time, and then one alone

A dial that fails counts once, however many stations were dialling at that moment. Between two tries lies
an exponential back-off with full jitter, or what the backend said itself (Retry-After). A better uplink
that was down takes new links only when it has answered probes for a while, unless there is no other.

What a backend says of one station (401, 403, 404, another version) says nothing of the uplink: it is
kept for that station alone. Times are s of any clock that only goes forward.
"""

from __future__ import annotations

import math
import random
from collections.abc import Collection, Iterable

import msgspec

FIRST_WAIT_S = 1.0
LONGEST_WAIT_S = 60.0
"""The back-off: doubled with each failure; a wait is anything from 0 to it (full jitter)."""

DENIED_WAIT_S = 60.0
"""How long a station leaves an uplink alone where the backend does not want it, spread by half."""

MOST_PATIENCE_S = 3600.0
"""A backend that says to come back later than that is asked all the same."""

FAILBACK_S = 60.0
"""How long a better uplink has to answer before links go back to it."""

PROBE_S = 10.0
"""Between two probes of an uplink that answers again."""

LASTING_S = 10.0
"""A link that its backend ends sooner was none: the next try of this station waits."""


class _Way(msgspec.Struct):
    """One uplink. `until`: not to be tried before; `answers_since`: it answers probes again since."""

    id: str
    priority: int
    is_up: bool = True
    up_since: float = -math.inf
    failures: int = 0
    failed_at: float = -math.inf
    until: float = -math.inf
    answers_since: float | None = None
    on_trial: bool = False

    @property
    def is_suspect(self) -> bool:
        return not self.is_up and self.failures == 0


class _Hold(msgspec.Struct):
    """What keeps one station from one uplink."""

    until: float
    failures: int = 0
    denied: bool = False


class EndpointSelector:
    """The knowledge about all uplinks of one backend, given as (id, priority)."""

    def __init__(self, uplinks: Iterable[tuple[str, int]], chance: random.Random) -> None:
        self._ways = [_Way(name, priority) for name, priority in sorted(uplinks, key=lambda each: each[1])]
        self._by_id = {way.id: way for way in self._ways}
        self._holds: dict[tuple[str, str], _Hold] = {}
        self._chance = chance

    # -- which --------------------------------------------------------------------------------------

    def next(self, station: str, now: float, tried: Collection[str] = ()) -> str | None:
        """The uplink that this station should dial now; None: none, before `ready_at`."""
        open_ways = [
            way for way in self._ways if way.id not in tried and now >= self._held_until(station, way)
        ]
        for way in open_ways:
            if way.is_up or (way.is_suspect and not way.on_trial):
                return way.id
        for way in open_ways:
            if now >= way.until and not way.on_trial:
                return way.id
        return None

    def is_trying(self, station: str, now: float, tried: Collection[str] = ()) -> bool:
        """Whether somebody is trying an uplink just now that this station could use as well."""
        return any(
            way.on_trial and way.id not in tried and now >= self._held_until(station, way)
            for way in self._ways
        )

    def ready_at(self, station: str) -> float:
        """When the station should ask for an uplink again, as far as is known now."""
        times = (max(way.until, self._held_until(station, way)) for way in self._ways if not way.on_trial)
        return min(times, default=math.inf)

    def outdone_at(self, station: str, uplink: str) -> float:
        """When this station's link should move to a better uplink, as far as is known now.

        Not to one that has refused the station: a link that works is not given up for a try.
        """
        priority = self._by_id[uplink].priority
        better = (way for way in self._ways if way.is_up and way.priority < priority)
        return min((self._may_take_over(station, way) for way in better), default=math.inf)

    # -- what became of a dial ----------------------------------------------------------------------

    def is_up(self, uplink: str) -> bool:
        """Whether whoever needs a link may dial it."""
        return self._by_id[uplink].is_up

    def dialling(self, uplink: str) -> None:
        """A dial begins. It ends with one of `answered`, `failed`, `denied` and `abandoned`."""
        way = self._by_id[uplink]
        way.on_trial = not way.is_up

    def answered(self, station: str, uplink: str, now: float) -> bool:
        """The link stands. Whether the uplink had been down."""
        if (hold := self._holds.get((station, uplink))) is not None:
            hold.denied = False
        return self._recover(self._by_id[uplink], now)

    def failed(self, uplink: str, began: float, now: float, retry_after_s: float | None = None) -> bool:
        """A dial that began at `began`, or a probe, got nowhere, or was told to come back later.

        Whether that is news.
        """
        way = self._by_id[uplink]
        way.on_trial = False
        way.answers_since = None
        if began < way.failed_at:
            return False  # it is known already: this dial was under way then
        is_news = way.failures == 0
        way.is_up = False
        way.failures += 1
        way.failed_at = now
        wait_s = self._back_off_s(way.failures) if retry_after_s is None else retry_after_s
        way.until = now + min(wait_s, MOST_PATIENCE_S)
        return is_news

    def denied(self, station: str, uplink: str, now: float) -> bool:
        """The backend answered, and does not want this station. Whether that is news."""
        self._recover(self._by_id[uplink], now)
        before = self._holds.get((station, uplink))
        until = now + DENIED_WAIT_S * self._chance.uniform(0.5, 1.5)
        self._holds[station, uplink] = _Hold(until, denied=True)
        return before is None or not before.denied

    def abandoned(self, uplink: str) -> None:
        """A dial was cut short by the one who dialled: nothing is known."""
        self._by_id[uplink].on_trial = False

    def lost(self, station: str, uplink: str, lasted_s: float, now: float, *, clean: bool) -> None:
        """The backend, or the way to it, has ended a link."""
        if not clean:
            self._suspect(uplink, now)
        if lasted_s >= LASTING_S:
            self._holds.pop((station, uplink), None)
        else:
            self._hold(station, uplink, now)

    def unanswered(self, station: str, uplink: str, now: float) -> None:
        """A link stands, but what is asked over it has no answer: this station tries another first."""
        self._suspect(uplink, now)
        self._hold(station, uplink, now)

    # -- probes -------------------------------------------------------------------------------------

    def probe_at(self) -> float | None:
        """When an uplink should be probed next: one that is down while another is up."""
        return min((way.until for way in self._probed()), default=None)

    def to_probe(self, now: float) -> list[str]:
        """The uplinks to be probed now."""
        return [way.id for way in self._probed() if now >= way.until]

    def probe_answered(self, uplink: str, now: float) -> bool:
        """An uplink that was down answers a probe. Whether it has done so for FAILBACK_S, and is up again."""
        way = self._by_id[uplink]
        if way.is_up:
            return False
        since = way.answers_since = now if way.answers_since is None else way.answers_since
        if now - since < FAILBACK_S:
            way.until = now + PROBE_S
            return False
        self._recover(way, now)
        way.up_since = since
        return True

    def _probed(self) -> list[_Way]:
        if not any(way.is_up for way in self._ways):
            return []  # a dial is the better probe
        return [way for way in self._ways if not way.is_up and not way.on_trial]

    # -- what follows -------------------------------------------------------------------------------

    def _recover(self, way: _Way, now: float) -> bool:
        was_down = way.failures > 0
        way.on_trial = False
        way.failures = 0
        way.answers_since = None
        if not way.is_up:
            way.is_up, way.up_since = True, now
        return was_down

    def _may_take_over(self, station: str, way: _Way) -> float:
        hold = self._holds.get((station, way.id))
        if hold is not None and hold.denied:
            return math.inf
        return max(way.up_since + FAILBACK_S, self._held_until(station, way))

    def _suspect(self, uplink: str, now: float) -> None:
        way = self._by_id[uplink]
        if way.is_up:
            way.is_up = False
            way.until = now

    def _hold(self, station: str, uplink: str, now: float) -> None:
        hold = self._holds.get((station, uplink))
        failures = 1 if hold is None else hold.failures + 1
        self._holds[station, uplink] = _Hold(now + self._back_off_s(failures), failures)

    def _held_until(self, station: str, way: _Way) -> float:
        hold = self._holds.get((station, way.id))
        return -math.inf if hold is None else hold.until

    def _back_off_s(self, failures: int) -> float:
        exponent = min(failures - 1, 16)  # far above the longest wait: 2 to a large power is no float
        return self._chance.uniform(0.0, min(LONGEST_WAIT_S, FIRST_WAIT_S * 2.0**exponent))
