"""The charging profiles that one station's backend has set, and the limits that follow from them.

*Absorbed* profiles have a purpose that the controller uses in the station itself: they are not sent there,
and our own limits are capped by what they allow. *Forwarded* profiles are in the station; they are recorded
to answer for composite schedules.

Both outlive the station's link, as profiles outlive it in a station. Times of callers are monotonic s;
schedules are in UTC, `utc_of` converts.

Limits are A per phase, or W of all phases for a station that accepts W only (`set_in_watts`): a backend's
limit in W goes to such a station, to load management and back to the backend as the same W.

Why the caps are here and not in load management: load management shares current and has no schedules, and a
limit that is sent stays in the station while the schedule goes on. Each limit is therefore capped by the
lowest that is allowed as long as it may hold: a lease for its length, a fallback for ever. Load management
gets the same figure (`BackendLimit`), so that others get the rest of the current.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping

import msgspec

from controller.model.deadlines import earliest
from controller.model.observations import (
    BackendLimit,
    EvseState,
    Observation,
    ProfilesTouched,
    StateSeen,
    TransactionSeen,
)
from controller.ocpp.frames import Version
from controller.profiles.limit_profiles import CLOCK_SLACK, LimitKind
from controller.profiles.profile_messages import (
    BackendProfile,
    ClearingCriteria,
    ProfileCommand,
    ProfileError,
)
from controller.profiles.schedule import (
    DAY_S,
    MOST_STEPS,
    CompositeLimits,
    LimitProfile,
    LimitSpan,
    ProfilePurpose,
    ScheduleContext,
    changes_after,
    composite,
    limit_at,
    lowest,
    lowest_to_come,
    lowest_within,
)
from controller.profiles.station_clock import ClockSteps

CLOCK_CHECK_S = 60.0
"""Interval of checks of the gateway's clock while a backend's profile limits (s)."""
MOST_ABSORBED = 20
"""Absorbed profiles of a station; stations hold about ten."""
MOST_FORWARDED = 60
"""Forwarded profiles that are recorded; a further one replaces the oldest."""
MOST_PERIODS_OF_ALL = 2048
"""Periods of all absorbed profiles of a station, and of all forwarded ones: it bounds each evaluation."""
HORIZON_S = 2 * DAY_S
"""Time ahead in which the next change of a limit is searched."""
ROUNDING_S = 0.001
"""A change is evaluated so much after its moment, never just before it by a rounding."""
NOISE = 0.05
"""Limits in A have one decimal: a smaller difference counts as none, also one of W."""
STORE_FORWARDED_S = 60.0
"""A change of forwarded profiles alone is stored so late: backends may set one every few seconds."""


class EvseWiring(msgspec.Struct, frozen=True, kw_only=True):
    """An EVSE's number of phases, its maximum and its fallback (A per phase)."""

    phases: int
    max_a: float
    fallback_a: float


class _SentLimit(msgspec.Struct, frozen=True):
    evse: int
    kind: LimitKind
    limit: float
    until: float


class AbsorbedProfiles:
    """The profiles of one station. `evses` by number; `ahead_s` is the length of our leases."""

    def __init__(
        self,
        evses: Mapping[int, EvseWiring],
        voltage: float,
        ahead_s: float,
        utc_of: Callable[[float], float],
    ) -> None:
        self.evses = evses
        self._voltage = voltage
        self._ahead_s = ahead_s + 2 * CLOCK_SLACK.total_seconds()  # a lease may end so much later
        self.utc_of = utc_of
        self._steps = max(1, MOST_STEPS // max(1, len(evses)))  # all EVSEs are evaluated in one turn
        self._absorbed: dict[int, BackendProfile] = {}
        self._forwarded: dict[int, BackendProfile] = {}
        self._since: dict[int, float | None] = {}
        """UTC of the start of each EVSE's transaction; None: there is none; no entry: unknown."""
        self._transactions: dict[int, str | None] = {}
        """The id of the last transaction; None: it has none yet."""
        self._sent: dict[int, _SentLimit] = {}
        """Limits without an answer, by token."""
        self._leases: dict[int, _SentLimit] = {}
        self._fallbacks: dict[int, _SentLimit] = {}
        """Limits that the station has accepted, by EVSE."""
        self._refused: set[int] = set()
        """EVSEs whose last limit was refused."""
        self._in_watts = False
        self._reported: dict[int, BackendLimit] = {}
        self._reported_fallbacks = {number: evse.fallback_a for number, evse in evses.items()}
        self._awaiting_start: set[int] = set()
        """Absorbed profiles of a remote start whose transaction has not begun yet."""
        self._stored: tuple[list[BackendProfile], list[BackendProfile]] = ([], [])
        """Absorbed and forwarded profiles as they were stored."""
        self._store_at: float | None = None
        self._evaluate_at: float | None = None
        """Time of the next evaluation, or of the next check of the clock before it (s, monotonic)."""
        self._changes_at = -math.inf
        """Time of the next evaluation (s, monotonic); inf: not before a profile is set."""
        self._clock_steps = ClockSteps()
        """Steps of the gateway's clock, by which `_since` is dated and limits are evaluated."""
        self._version: Version | None = None
        self.revision = 0
        """Rises with every change of profiles, transactions and limits in force."""

    def set_wiring(self, evses: Mapping[int, EvseWiring]) -> None:
        """Use other phases and currents of the same EVSEs."""
        if evses == self.evses:
            return
        self.evses = evses
        self._reported_fallbacks = {
            number: self.in_unit(number, evse.fallback_a) for number, evse in evses.items()
        }
        self._mark_changed()

    def set_version(self, version: Version) -> None:
        """Take the version of a new link: profiles that were set in another version are dropped."""
        if self._version not in (None, version):
            self._absorbed.clear()
            self._forwarded.clear()
            self._mark_changed()
        self._version = version

    def restore(self, version: Version, owned: Iterable[str], profiles: Iterable[BackendProfile]) -> None:
        """Take over the stored profiles, all in this version; those of the `owned` purposes are absorbed."""
        self._version = version
        purposes = set(owned)
        for each in profiles:
            book = self._absorbed if each.purpose in purposes else self._forwarded
            book[each.profile.id] = each
        self._stored = (list(self._absorbed.values()), list(self._forwarded.values()))
        self._evaluate_at = self._changes_at = -math.inf

    def changed_profiles(self, now: float) -> list[BackendProfile] | None:
        """Return all profiles to store, once after a change; None: there is nothing to store."""
        absorbed, forwarded = list(self._absorbed.values()), list(self._forwarded.values())
        if absorbed == self._stored[0]:
            if forwarded == self._stored[1]:
                self._store_at = None
                return None
            if self._store_at is None:
                self._store_at = now + STORE_FORWARDED_S
            if now < self._store_at:
                return None
        self._stored, self._store_at = (absorbed, forwarded), None
        return absorbed + forwarded

    # -- the backend's commands -----------------------------------------------------------------------

    def check(self, added: BackendProfile) -> None:
        """Raise ProfileError where the station has no such EVSE, or there are too many profiles."""
        evse = added.profile.evse
        if evse != 0 and evse not in self.evses:
            raise ProfileError("UnknownEvse", f"EVSE {evse} does not exist")
        others = [other for other in self._absorbed.values() if not is_replaced(other, added)]
        if len(others) >= MOST_ABSORBED:
            raise ProfileError("TooManyElements", f"{MOST_ABSORBED} profiles are set already")
        if sum(each.period_count for each in others) + added.period_count > MOST_PERIODS_OF_ALL:
            raise ProfileError(
                "TooManyElements", f"{MOST_PERIODS_OF_ALL} periods is the most of all profiles"
            )

    def check_transaction(self, added: BackendProfile) -> None:
        """Raise ProfileError where the transaction of a profile does not run; an unknown one may run.

        In 1.6 it is known by its EVSE alone until it has a number; where the backend's number is another, the
        profile has the station's.
        """
        evse = added.profile.evse
        if self._since.get(evse, 0.0) is None:
            raise ProfileError("TxNotFound", f"no transaction runs at EVSE {evse}")
        running = self._transactions.get(evse)
        if None not in (running, added.transaction) and added.transaction != running:
            raise ProfileError("TxNotFound", f"transaction {added.transaction} does not run at EVSE {evse}")

    def absorb(self, added: BackendProfile, *, awaits_start: bool = False) -> list[BackendProfile]:
        """Add a profile; return those of the same id or the same place, which it replaces."""
        replaced = [each for each in self._absorbed.values() if is_replaced(each, added)]
        self._remove_replaced(added)
        self._absorbed[added.profile.id] = added
        if awaits_start:
            self._awaiting_start.add(added.profile.id)
        self._mark_changed()
        return replaced

    def withdraw(self, added: BackendProfile, replaced: Iterable[BackendProfile]) -> None:
        """Remove a profile that the station did not accept, and restore what it had replaced."""
        if self._absorbed.get(added.profile.id) is added:
            del self._absorbed[added.profile.id]
            self._absorbed |= {each.profile.id: each for each in replaced}
        self._mark_changed()

    def record_forwarded(self, added: BackendProfile) -> None:
        """Keep a profile that the station has accepted."""
        self._remove_replaced(added)
        self._forwarded[added.profile.id] = added
        while len(self._forwarded) > MOST_FORWARDED or self._forwarded_periods > MOST_PERIODS_OF_ALL:
            self._forwarded.pop(next(iter(self._forwarded)))
        self._mark_changed()

    def forget_forwarded(self, added: ProfileCommand) -> None:
        """Remove what a profile replaces that the station has accepted, and that is no arithmetic here."""
        place = (added.purpose, added.evse, added.content.stack_level)
        for number, each in list(self._forwarded.items()):
            if number == added.number or (each.purpose, each.profile.evse, each.profile.stack_level) == place:
                del self._forwarded[number]
        self._mark_changed()

    @property
    def _forwarded_periods(self) -> int:
        return sum(each.period_count for each in self._forwarded.values())

    def clear(self, criteria: ClearingCriteria) -> bool:
        """Remove the profiles that match; return True if an absorbed one was among them."""
        cleared = self.matching(criteria)
        for each in cleared:
            del self._absorbed[each.profile.id]
        for number in [number for number, each in self._forwarded.items() if criteria.matches(each)]:
            del self._forwarded[number]
        self._mark_changed()
        return bool(cleared)

    def find(self, number: int) -> tuple[BackendProfile | None, BackendProfile | None]:
        """Return the absorbed and the forwarded profile with this id."""
        return self._absorbed.get(number), self._forwarded.get(number)

    @property
    def pulled(self) -> list[BackendProfile]:
        """Return the absorbed profiles whose updates are asked for."""
        return [each for each in self._absorbed.values() if each.pull_every_s is not None]

    def matching(self, criteria: ClearingCriteria) -> list[BackendProfile]:
        """Return the absorbed profiles that match."""
        return [each for each in self._absorbed.values() if criteria.matches(each)]

    # -- the station --------------------------------------------------------------------------------

    def on_observation(self, seen: Observation, now: float) -> None:
        """Take a start or an end of a transaction: profiles of its own end with it."""
        if isinstance(seen, TransactionSeen):
            self._follow_clock(now)
            is_known = seen.transaction == self._transactions.get(seen.evse)
            if seen.running and seen.transaction and is_known and self._since.get(seen.evse) is not None:
                return
            self._transactions[seen.evse] = seen.transaction
            self._set_transaction(seen.evse, self.utc_of(now) if seen.running else None)
        elif isinstance(seen, StateSeen) and seen.state is EvseState.AVAILABLE:
            self._set_transaction(seen.evse, None)  # its end may have been missed

    def set_transaction_id(self, evse: int, transaction: str) -> None:
        """Take the number that the backend gave the transaction at an EVSE (1.6)."""
        self._transactions[evse] = transaction

    def _set_transaction(self, evse: int, since: float | None) -> None:
        if evse in self._since and self._since[evse] is None and since is None:
            return
        self._since[evse] = since
        for book in (self._absorbed, self._forwarded):
            for number in [number for number, each in book.items() if _of_transaction(each, evse)]:
                if number not in self._awaiting_start:
                    del book[number]
                elif since is not None:
                    self._awaiting_start.discard(number)
        self._mark_changed()

    def _mark_changed(self) -> None:
        self._awaiting_start &= self._absorbed.keys()
        self._evaluate_at = self._changes_at = -math.inf
        self.revision += 1

    def _follow_clock(self, now: float) -> None:
        """Evaluate all limits anew if the gateway's clock was set; transactions began when they did."""
        step_s = self._clock_steps.take_step(now, self.utc_of(now))
        if not step_s:
            return
        self._since = {
            evse: since if since is None else since + step_s for evse, since in self._since.items()
        }
        self._mark_changed()

    # -- our limits -----------------------------------------------------------------------------------

    def set_in_watts(self, in_watts: bool) -> None:
        """Set whether the station accepts limits in W only; limits in the other unit no longer count."""
        if self._in_watts is in_watts:
            return
        self._in_watts = in_watts
        self._sent.clear()
        self._leases.clear()
        self._fallbacks.clear()
        self._reported_fallbacks = {
            number: self.in_unit(number, evse.fallback_a) for number, evse in self.evses.items()
        }
        self._mark_changed()

    def cap_limit(
        self,
        evse: int,
        kind: LimitKind,
        limit: float,
        duration_s: float | None,
        now: float,
        token: int | None = None,
    ) -> float:
        """Return `limit` (in the station's unit), or less as far as the backend allows less.

        With a `token` the limit is sent, and `on_limit_result` takes the station's response. A backend cannot
        limit an EVSE that the configuration does not name.
        """
        if evse not in self.evses:
            return limit
        allows = self._lowest_to_come if kind is LimitKind.FALLBACK else self._allowed
        allowed = allows(evse, now)
        capped = limit if allowed is None else min(limit, allowed)
        if token is not None:
            self._sent[token] = _SentLimit(evse, kind, capped, now + (duration_s or math.inf))
        return capped

    def on_limit_result(self, token: int, *, accepted: bool | None) -> None:
        """Take the station's response to a limit; None: there is none."""
        sent = self._sent.pop(token, None)
        if sent is None:
            return
        if accepted:
            self._refused.discard(sent.evse)
            (self._leases if sent.kind is LimitKind.LEASE else self._fallbacks)[sent.evse] = sent
        elif accepted is False:
            self._refused.add(sent.evse)
        self.revision += 1

    def limit_in_force_a(self, evse: int, now: float) -> float | None:
        """Return the limit that the station has accepted for an EVSE (A per phase); None: there is none.

        A limit in W may be used on one phase.
        """
        held = self._lease(evse, now) or self._fallbacks.get(evse)
        if held is None or evse in self._refused:
            return None
        return held.limit / self._voltage if self._in_watts else held.limit

    def refuses_limits(self, evse: int) -> bool:
        """Return True if the station has refused our last limit for an EVSE."""
        return evse in self._refused

    def is_in_force(self, added: BackendProfile, now: float) -> bool:
        """Return True if the limits in the station are not above what a profile allows.

        An EVSE that was sent no limit yet gets its first one with this profile: it counts as in force.
        """
        evse = added.profile.evse
        return all(self._obeys_backend(each, now) for each in self.evses if evse in (0, each))

    def _obeys_backend(self, evse: int, now: float) -> bool:
        allowed = limit_at(self._profiles(self._absorbed), self.utc_of(now), self._context(evse))
        if allowed is None:
            return True
        held = self._lease(evse, now) or self._fallbacks.get(evse)
        if held is None:
            return not any(sent.evse == evse for sent in self._sent.values())
        return held.limit <= allowed + NOISE

    def _lease(self, evse: int, now: float) -> _SentLimit | None:
        lease = self._leases.get(evse)
        return lease if lease is not None and now < lease.until else None

    # -- what follows -------------------------------------------------------------------------------

    def observations(self, now: float) -> list[Observation]:
        """Return what has changed for load management since the last call."""
        if self._evaluate_at is None or now < self._evaluate_at:
            return []
        self._follow_clock(now)
        found = self._evaluate(now) if now >= self._changes_at else []
        has_profiles = self._changes_at < math.inf
        self._evaluate_at = min(self._changes_at, now + CLOCK_CHECK_S) if has_profiles else None
        return found

    def _evaluate(self, now: float) -> list[Observation]:
        """Evaluate the limits of all EVSEs; return what has changed for load management."""
        found: list[Observation] = []
        fallbacks = {number: self._lowest_fallback(number, now) for number in self.evses}
        for number in self.evses:
            allowed = self._allowed(number, now)
            limit = BackendLimit(number, None, allowed) if self._in_watts else BackendLimit(number, allowed)
            if limit != self._reported.get(number, BackendLimit(number, None)):
                self._reported[number] = limit
                found.append(limit)
        if fallbacks != self._reported_fallbacks:
            self._reported_fallbacks = fallbacks
            found.append(ProfilesTouched("a backend's profile"))
        self._changes_at = self._next_change(now)
        self.revision += 1
        return found

    @property
    def deadline(self) -> float | None:
        """Time of the next call of `observations` or `changed_profiles` (s, monotonic)."""
        return earliest(self._evaluate_at, self._store_at)

    def composite_limits(self, evse: int, duration_s: float, now: float) -> CompositeLimits | None:
        """Return the limits of an EVSE by its backend's profiles, and by our lease while a car is there.

        None where the station refuses our limits: then what is in force is known to the station alone.
        """
        if evse in self._refused:
            return None
        start = self.utc_of(now)
        profiles = self._profiles(self._absorbed) + self._profiles(self._forwarded)
        found = composite(profiles, start, duration_s, self._context(evse))
        spans: Iterable[LimitSpan] = found.spans
        lease = self._lease(evse, now)
        if lease is not None and self._since.get(evse, 0.0) is not None:
            spans = _under(found, lease.limit, start + lease.until - now)
        most = self.in_unit(evse, self.evses[evse].max_a)
        merged: list[LimitSpan] = []
        for span in spans:
            limit = lowest(span.limit, most)
            if not merged or merged[-1].limit != limit:
                merged.append(LimitSpan(span.start, limit))
        return CompositeLimits(tuple(merged), found.end)

    def held_back(self, evse: int, now: float) -> float | None:
        """Return our lease (in the station's unit) where it keeps a transaction below its backend's limit."""
        lease = self._lease(evse, now)
        if lease is None or self._since.get(evse) is None or evse in self._refused:
            return None
        allowed = limit_at(self._profiles(self._absorbed), self.utc_of(now), self._context(evse))
        free = lowest(self.in_unit(evse, self.evses[evse].max_a), allowed)
        noise = self.in_unit(evse, NOISE)
        return lease.limit if free is not None and lease.limit < free - noise else None

    def next_lease_end(self, now: float) -> float | None:
        """Return when the first lease in force ends (s, monotonic)."""
        return min((each.until for each in self._leases.values() if now < each.until), default=None)

    @property
    def in_watts(self) -> bool:
        """True if the station accepts limits in W only."""
        return self._in_watts

    def watts_per_amp(self, evse: int) -> float:
        """Return what 1 A on each phase of an EVSE is in W."""
        return self._voltage * self.evses[evse].phases

    def in_unit(self, evse: int, limit_a: float) -> float:
        """Return a current on each phase of an EVSE in the station's unit."""
        return limit_a * self.watts_per_amp(evse) if self._in_watts else limit_a

    def _remove_replaced(self, added: BackendProfile) -> None:
        for book in (self._absorbed, self._forwarded):
            for number in [number for number, each in book.items() if is_replaced(each, added)]:
                del book[number]

    def _context(self, evse: int) -> ScheduleContext:
        return ScheduleContext(
            evse=evse,
            phases=self.evses[evse].phases,
            voltage=self._voltage,
            since=self._since.get(evse),
            in_watts=self._in_watts,
        )

    def _allowed(self, evse: int, now: float) -> float | None:
        """Return the lowest that the backend allows as long as a lease of now may hold."""
        profiles = self._capping_profiles()
        if not profiles:
            return None
        context = self._context(evse)
        limit = lowest_within(profiles, self.utc_of(now), self._ahead_s, context, self._steps)
        return None if limit is None else self._rounded(limit)

    def _lowest_to_come(self, evse: int, now: float) -> float | None:
        """Return the lowest that the backend allows from now on and for ever."""
        if not self._absorbed:
            return None
        limit = lowest_to_come(self._profiles(self._absorbed), self.utc_of(now), self._context(evse))
        return None if limit is None else self._rounded(limit)

    def _lowest_fallback(self, evse: int, now: float) -> float:
        fallback = self.in_unit(evse, self.evses[evse].fallback_a)
        lowest = self._lowest_to_come(evse, now)
        return fallback if lowest is None else min(fallback, lowest)

    def _rounded(self, limit: float) -> float:
        """Round down to one decimal of A; a limit in W stays exact, it is rounded as it is written."""
        return limit if self._in_watts else math.floor(limit * 10 + 1e-6) / 10

    def _profiles(self, book: Mapping[int, BackendProfile]) -> list[LimitProfile]:
        return [each.profile for each in book.values()]

    def _capping_profiles(self) -> list[LimitProfile]:
        """Return the absorbed profiles, and the forwarded ones of the whole station.

        The station obeys the latter itself, for the sum of its EVSEs: none of them draws more than that, and
        the rest of the current is for others.
        """
        if not self._absorbed and not self._forwarded:
            return []
        whole = [p for p in self._profiles(self._forwarded) if p.purpose is ProfilePurpose.STATION]
        return self._profiles(self._absorbed) + whole

    def _next_change(self, now: float) -> float:
        """Return when a limit changes next, or comes within a lease's length (s, monotonic); inf: never."""
        profiles = self._capping_profiles()
        if not profiles:
            return math.inf
        utc = self.utc_of(now)
        moments: list[float] = []
        for evse in self.evses:
            context = self._context(evse)
            changes = changes_after(
                profiles, utc, [utc, utc + self._ahead_s], context, HORIZON_S, self._steps
            )
            # The first change is evaluated when it is there, the one after a lease's length so long before.
            moments += [changes[0], changes[-1] - self._ahead_s]
        return now + min(moment for moment in moments if moment > utc) - utc + ROUNDING_S


def _under(found: CompositeLimits, limit: float, until: float) -> Iterator[LimitSpan]:
    """Yield the spans, not above a limit that holds until a moment."""
    ends = [*(span.start for span in found.spans[1:]), found.end]
    for span, end in zip(found.spans, ends, strict=True):
        if span.start < until:
            yield LimitSpan(span.start, lowest(span.limit, limit))
            if until < end:
                yield LimitSpan(until, span.limit)
        else:
            yield span


def is_replaced(old: BackendProfile, new: BackendProfile) -> bool:
    """Return True if a new profile has an old one's id, or its purpose, EVSE and stack level."""
    a, b = old.profile, new.profile
    return a.id == b.id or (a.purpose, a.evse, a.stack_level) == (b.purpose, b.evse, b.stack_level)


def _of_transaction(each: BackendProfile, evse: int) -> bool:
    return each.profile.purpose is ProfilePurpose.TRANSACTION and each.profile.evse == evse
