"""Selection of a backend's next endpoint and its time: state machine of one backend, sans-IO.

    UP         any station dials it; the lowest priority number first
    SUSPECT    a link was lost: the next station to dial tries it, all others use another one meanwhile
    DOWN       it cannot be reached: not dialled before its time, then by one station alone (the trial)

A failure belongs to its station first. An endpoint is DOWN when TCP or TLS fails, or when the upgrades of
two different stations fail with none in between that succeeds; a station whose upgrade fails while others
succeed no longer counts. After a failed upgrade the trial is another station's turn.

A dial that fails counts once, however many stations were dialling at that moment. Between two tries lies a
back-off with full jitter, or the backend's own Retry-After. A better endpoint that was DOWN takes new links
only after it has answered probes for a while, unless there is no other.

A backend's verdict on a station (401, 403, 404, no common version) is held against what the station has
shown (`claim`: its id, credentials and versions), not against its id. Times are s of a monotonic clock.
"""

from __future__ import annotations

import enum
import math
import random
from collections.abc import Collection, Iterable, Iterator

import msgspec

from controller.model.rate_limits import Backoff

BACKOFF = Backoff(first_s=1.0, longest_s=60.0, jitter=1.0)

REFUSED_WAIT_S = 60.0
"""Time for which a refused station does not dial the endpoint again, spread by half."""

LONGEST_WAIT_S = 3600.0
"""Bound on a backend's Retry-After."""

FAILBACK_S = 60.0
"""Time for which a better endpoint has to answer before links move back to it."""

PROBE_INTERVAL_S = 10.0
"""Time between two probes of an endpoint that answers again."""

LASTING_S = 10.0
"""A link that the backend ends sooner counts as a failure of its station."""

STATIONS_TO_BE_DOWN = 2
"""Different stations whose upgrades must fail until the endpoint is DOWN."""

WAITING_S = 120.0
"""Time for which the only endpoint is probed after a station was turned away because it is DOWN."""

MOST_HOLDS = 4096
"""Bound on holds: above it the expired ones are dropped, then the oldest."""


class EndpointState(enum.Enum):
    """Reachability of one endpoint: see the module."""

    UP = "up"
    SUSPECT = "suspect"
    DOWN = "down"


class _Endpoint(msgspec.Struct):
    """One endpoint. `until`: not dialled before; `answers_since`: it answers probes again since then.

    `failing`: stations whose upgrade failed since the last success; `exempt`: those that fail while others
    succeed.
    """

    id: str
    priority: int
    state: EndpointState = EndpointState.UP
    up_since: float = -math.inf
    failures: int = 0
    failed_at: float = -math.inf
    until: float = -math.inf
    reason: str = ""
    answers_since: float | None = None
    has_trial: bool = False
    failing: set[str] = msgspec.field(default_factory=set)
    exempt: set[str] = msgspec.field(default_factory=set)

    @property
    def is_up(self) -> bool:
        return self.state is EndpointState.UP


class BackendVerdict(msgspec.Struct, frozen=True):
    """A backend's rejection of a station; `status`: of its HTTP answer, `is_version`: no common version."""

    reason: str
    status: int | None = None
    is_version: bool = False


class _Hold(msgspec.Struct):
    """A reason for one claim not to dial one endpoint before `until`."""

    until: float
    reason: str
    failures: int = 0
    verdict: BackendVerdict | None = None


class EndpointSelector:
    """State of all endpoints of one backend, given as (id, priority)."""

    def __init__(self, endpoints: Iterable[tuple[str, int]], chance: random.Random) -> None:
        self._endpoints = [_Endpoint(name, priority) for name, priority in sorted(endpoints, key=_priority)]
        self._by_id = {each.id: each for each in self._endpoints}
        self._holds: dict[tuple[str, str], _Hold] = {}
        self._chance = chance
        self._turned_away_at = -math.inf

    def replace_endpoints(self, endpoints: Iterable[tuple[str, int]], changed: Collection[str]) -> None:
        """Select among other endpoints; of those that stay and are not `changed`, what is known stays."""
        known = {name: each for name, each in self._by_id.items() if name not in changed}
        self._endpoints = [
            known.get(name) or _Endpoint(name, priority)
            for name, priority in sorted(endpoints, key=_priority)
        ]
        self._by_id = {each.id: each for each in self._endpoints}
        for name, priority in endpoints:
            self._by_id[name].priority = priority
        self._holds = {key: each for key, each in self._holds.items() if key[1] in known.keys() & self._by_id}

    # -- selection ------------------------------------------------------------------------------------

    def select(self, claim: str, now: float, tried: Collection[str] = ()) -> str | None:
        """Return the endpoint to dial now; None if there is none before `ready_at`."""
        free = [
            each for each in self._endpoints if each.id not in tried and now >= self._held_until(claim, each)
        ]
        for each in free:
            if each.is_up or (each.state is EndpointState.SUSPECT and not each.has_trial):
                return each.id
        for each in free:
            if now >= each.until and not each.has_trial:
                return each.id
        return None

    def is_trial_running(self, claim: str, now: float, tried: Collection[str] = ()) -> bool:
        """Return True if another station is trying an endpoint that this one could use."""
        return any(
            each.has_trial and each.id not in tried and now >= self._held_until(claim, each)
            for each in self._endpoints
        )

    def ready_at(self, claim: str) -> float:
        """Return the time at which an endpoint can be dialled, as far as is known."""
        times = (
            max(each.until if each.state is EndpointState.DOWN else -math.inf, self._held_until(claim, each))
            for each in self._endpoints
            if not each.has_trial
        )
        return min(times, default=math.inf)

    def find_verdict(self, claim: str, now: float) -> BackendVerdict | None:
        """Return the verdict on this claim that still holds; None if there is none."""
        holds = (self._holds.get((claim, each.id)) for each in self._endpoints)
        verdicts = (each.verdict for each in holds if each is not None and now < each.until)
        return next((each for each in verdicts if each is not None), None)

    def reasons(self, claim: str) -> list[str]:
        """Return the reasons why no endpoint can be dialled, each once."""
        found = []
        for each in self._endpoints:
            hold = self._holds.get((claim, each.id))
            found.append(each.reason if hold is None else hold.reason)
        return list(dict.fromkeys(reason for reason in found if reason))

    @property
    def is_down(self) -> bool:
        """True while every endpoint is DOWN."""
        return all(each.state is EndpointState.DOWN for each in self._endpoints)

    def better_at(self, claim: str, endpoint: str) -> float:
        """Return the time at which this station's link should move to a better endpoint.

        Not to an endpoint that has refused the station: a working link is not closed for a try.
        """
        priority = self._by_id[endpoint].priority
        better = (each for each in self._endpoints if each.is_up and each.priority < priority)
        return min((self._takes_over_at(claim, each) for each in better), default=math.inf)

    def is_up(self, endpoint: str) -> bool:
        """Return True if any station may dial the endpoint."""
        return self._by_id[endpoint].is_up

    # -- results of dials -----------------------------------------------------------------------------

    def on_dial_started(self, endpoint: str) -> None:
        """Start a dial; it ends with one of the calls below, or `on_dial_cancelled`."""
        each = self._by_id[endpoint]
        each.has_trial = not each.is_up

    def on_link_opened(self, claim: str, station: str, endpoint: str, now: float) -> bool:
        """Record an open link; return True if the endpoint had been DOWN."""
        if (hold := self._holds.get((claim, endpoint))) is not None:
            hold.verdict = None
        each = self._by_id[endpoint]
        # Those that failed while this one succeeds fail for a reason of their own.
        each.exempt |= each.failing
        each.exempt.discard(station)
        each.failing.clear()
        return self._recover(each, now)

    def on_unreachable(self, endpoint: str, reason: str, began: float, now: float) -> bool:
        """Record that TCP or TLS failed in a dial or probe begun at `began`; return True if that is new."""
        each = self._by_id[endpoint]
        each.has_trial = False
        each.answers_since = None
        if began < each.failed_at:
            return False  # another dial that ran at the same time has failed already
        return self._set_down(each, reason, now, None)

    def on_upgrade_failed(
        self,
        claim: str,
        station: str,
        endpoint: str,
        reason: str,
        began: float,
        now: float,
        retry_after_s: float | None = None,
    ) -> tuple[bool, bool]:
        """Record that one station's upgrade failed, for a reason that may be the station's alone.

        Returns (True if that is new of the station, True if the endpoint is DOWN by it, which is new).
        """
        each = self._by_id[endpoint]
        each.has_trial = False
        each.answers_since = None
        before = self._holds.get((claim, endpoint))
        self._hold(claim, endpoint, reason, now, retry_after_s)
        is_new = before is None or before.failures == 0
        if station not in each.exempt:
            each.failing.add(station)
        if len(each.failing) < STATIONS_TO_BE_DOWN:
            each.until = now  # the trial is another station's turn at once
            return is_new, False
        if began < each.failed_at:
            return is_new, False
        return is_new, self._set_down(each, reason, now, retry_after_s)

    def on_station_refused(self, claim: str, endpoint: str, verdict: BackendVerdict, now: float) -> bool:
        """Record the backend's verdict on a claim; return True if that is new."""
        self._recover(self._by_id[endpoint], now)
        before = self._holds.get((claim, endpoint))
        until = now + REFUSED_WAIT_S * self._chance.uniform(0.5, 1.5)
        self._add_hold(claim, endpoint, _Hold(until, verdict.reason, verdict=verdict), now)
        return before is None or before.verdict is None

    def on_dial_cancelled(self, endpoint: str) -> None:
        """Record that a dial was cancelled, which shows nothing."""
        self._by_id[endpoint].has_trial = False

    def on_link_lost(
        self, claim: str, endpoint: str, reason: str, lasted_s: float, now: float, *, is_clean: bool
    ) -> None:
        """Record that the backend, or the network, has ended a link."""
        if not is_clean:
            self._suspect(endpoint, now)
        if lasted_s >= LASTING_S:
            self._holds.pop((claim, endpoint), None)
        else:
            self._hold(claim, endpoint, reason, now)

    def on_calls_unanswered(self, claim: str, endpoint: str, now: float) -> None:
        """Record that calls over an open link have no answer: the station tries another endpoint first."""
        self._suspect(endpoint, now)
        self._hold(claim, endpoint, "it does not answer calls", now)

    def on_station_turned_away(self, now: float) -> None:
        """Record that a station was turned away because all endpoints are DOWN: they are probed for it."""
        self._turned_away_at = now

    # -- probes ---------------------------------------------------------------------------------------

    def next_probe_at(self) -> float | None:
        """Return the time of the next probe: of endpoints that are DOWN and that no station dials."""
        return min((each.until for each in self._probed()), default=None)

    def endpoints_to_probe(self, now: float) -> list[str]:
        """Return the endpoints to probe now."""
        return [each.id for each in self._probed() if now >= each.until]

    def on_probe_answered(self, endpoint: str, now: float) -> bool:
        """Record an answer to a probe; return True if the endpoint is UP by it, after FAILBACK_S.

        Without another endpoint that is UP, the next station tries it at once.
        """
        each = self._by_id[endpoint]
        if each.is_up:
            return False
        if not any(other.is_up for other in self._endpoints):
            each.state, each.until = EndpointState.SUSPECT, now
            return False
        since = each.answers_since = now if each.answers_since is None else each.answers_since
        if now - since < FAILBACK_S:
            each.until = now + PROBE_INTERVAL_S
            return False
        self._recover(each, now)
        each.up_since = since
        return True

    def _probed(self) -> Iterator[_Endpoint]:
        if any(each.is_up for each in self._endpoints):
            return (each for each in self._endpoints if not each.is_up and not each.has_trial)
        # None is UP: the next station's dial is the better probe, but for stations that are turned away.
        return (
            each
            for each in self._endpoints
            if each.state is EndpointState.DOWN
            and not each.has_trial
            and each.until <= self._turned_away_at + WAITING_S
        )

    # -- transitions ----------------------------------------------------------------------------------

    def _recover(self, each: _Endpoint, now: float) -> bool:
        was_down = each.failures > 0
        each.has_trial = False
        each.failures = 0
        each.reason = ""
        each.answers_since = None
        if not each.is_up:
            each.state, each.up_since = EndpointState.UP, now
        return was_down

    def _set_down(self, each: _Endpoint, reason: str, now: float, retry_after_s: float | None) -> bool:
        is_new = each.failures == 0
        each.state = EndpointState.DOWN
        each.failures += 1
        each.failed_at = now
        each.reason = reason
        wait_s = BACKOFF.wait_s(each.failures, self._chance) if retry_after_s is None else retry_after_s
        each.until = now + min(wait_s, LONGEST_WAIT_S)
        return is_new

    def _suspect(self, endpoint: str, now: float) -> None:
        each = self._by_id[endpoint]
        if each.is_up:
            each.state, each.until = EndpointState.SUSPECT, now

    def _takes_over_at(self, claim: str, each: _Endpoint) -> float:
        hold = self._holds.get((claim, each.id))
        if hold is not None and hold.verdict is not None:
            return math.inf
        # After a failed upgrade of its own, it has to leave the better endpoint alone for a while longer.
        return max(each.up_since, self._held_until(claim, each)) + FAILBACK_S

    def _hold(
        self, claim: str, endpoint: str, reason: str, now: float, retry_after_s: float | None = None
    ) -> None:
        hold = self._holds.get((claim, endpoint))
        failures = 1 if hold is None else hold.failures + 1
        wait_s = BACKOFF.wait_s(failures, self._chance) if retry_after_s is None else retry_after_s
        self._add_hold(claim, endpoint, _Hold(now + min(wait_s, LONGEST_WAIT_S), reason, failures), now)

    def _add_hold(self, claim: str, endpoint: str, hold: _Hold, now: float) -> None:
        # Anybody can show any password: what that leaves here is bounded.
        if len(self._holds) >= MOST_HOLDS:
            self._holds = {key: each for key, each in self._holds.items() if each.until > now}
        if len(self._holds) >= MOST_HOLDS:
            del self._holds[next(iter(self._holds))]
        self._holds[claim, endpoint] = hold

    def _held_until(self, claim: str, each: _Endpoint) -> float:
        hold = self._holds.get((claim, each.id))
        return -math.inf if hold is None else hold.until


def _priority(endpoint: tuple[str, int]) -> int:
    return endpoint[1]
