"""The charging profiles of one station's backend, and what they allow.

Two kinds are known here. *Kept*: in a purpose that is ours in the station; it never goes there, and our
own limits are capped by what it allows. *Passed*: it went to the station; we remember it only to tell the
truth about composite schedules.

It outlives the station's link, as profiles outlive it in a station. Times of callers are monotonic s;
schedules are in UTC, `utc_of` turns the one into the other.

Why the caps are here and not in the site: the site shares current and knows no schedules, and a limit
that is sent lives on in the station while the schedule runs on. Each limit is therefore capped by the
lowest that is allowed as long as it may hold: a lease by its length, a floor for ever. The site is told the
same figure (`BackendLimit`), so that it gives the room to somebody who may use it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping

import msgspec

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
from controller.profiles.profile_messages import ClearingCriteria, HeldProfile, ProfileError
from controller.profiles.schedule import (
    DAY_S,
    LimitSpan,
    ProfilePurpose,
    ScheduleContext,
    composite,
    limit_at,
    lowest,
    lowest_to_come,
)

MOST_KEPT = 20
"""Profiles that a backend may have with us per station; stations hold about ten."""
MOST_PASSED = 60
"""Passed ones that are remembered; the oldest is forgotten."""
HORIZON_S = 2 * DAY_S
"""How far ahead changes are looked for at a time."""
BORDER_S = 0.001
"""So much after a border of a schedule it is looked at again: never just before it by a rounding."""


class EvseWiring(msgspec.Struct, frozen=True, kw_only=True):
    """What has to be known of an EVSE: its phases, its maximum and its floor (A per phase)."""

    phases: int
    max_a: float
    fallback_a: float


class _Lease(msgspec.Struct, frozen=True):
    limit_a: float
    until: float


class AbsorbedProfiles:
    """One station's. `evses` by number; `ahead_s` is the length of our leases."""

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
        self._utc_of = utc_of
        self._kept: dict[int, HeldProfile] = {}
        self._passed: dict[int, HeldProfile] = {}
        self._since: dict[int, float | None] = {}
        """UTC of the start of each EVSE's transaction; None: there is none; no entry: nothing is known."""
        self._transactions: dict[int, str | None] = {}
        """The id of the last one to begin; None: it has none yet."""
        self._leases: dict[int, _Lease] = {}
        self._told: dict[int, float | None] = {}
        self._floors = {number: evse.fallback_a for number, evse in evses.items()}
        self._awaiting: set[int] = set()
        """Profiles that came with a remote start whose transaction is not here yet."""
        self._saved: list[HeldProfile] = []
        self._look_at: float | None = None
        self._version: Version | None = None

    def speaks(self, version: Version) -> None:
        """The station has connected with this version: what its backend set in another is given up."""
        if self._version not in (None, version):
            self._kept.clear()
            self._passed.clear()
            self._stir()
        self._version = version

    def recall(self, version: Version, kept: Iterable[HeldProfile]) -> None:
        """Take over what was kept before a restart of ours, all written in this version."""
        self._version = version
        self._kept = {held.profile.id: held for held in kept}
        self._saved = list(self._kept.values())
        self._look_at = -math.inf

    def to_save(self) -> list[HeldProfile] | None:
        """All that is kept, once after each change of it; None: nothing has changed."""
        kept = list(self._kept.values())
        if kept == self._saved:
            return None
        self._saved = kept
        return kept

    # -- what the backend sets ----------------------------------------------------------------------

    def check(self, held: HeldProfile) -> None:
        """Raise ProfileWrong where the station has no such EVSE, or there are too many profiles."""
        evse = held.profile.evse
        if evse != 0 and evse not in self.evses:
            raise ProfileError("UnknownEvse", f"there is no EVSE {evse}")
        others = [other for other in self._kept.values() if not _same_place(other, held)]
        if len(others) >= MOST_KEPT:
            raise ProfileError("TooManyElements", f"{MOST_KEPT} profiles are kept already")

    def check_running(self, held: HeldProfile) -> None:
        """Raise ProfileWrong where the transaction of a profile does not run. After a restart of ours it may.

        In 1.6 it is known by its EVSE alone until it has a number; where that is another at the backend, the
        profile comes with the station's.
        """
        evse = held.profile.evse
        if self._since.get(evse, 0.0) is None:
            raise ProfileError("TxNotFound", f"no transaction runs at EVSE {evse}")
        running = self._transactions.get(evse)
        if None not in (running, held.transaction) and held.transaction != running:
            raise ProfileError("TxNotFound", f"transaction {held.transaction} does not run at EVSE {evse}")

    def keep(self, held: HeldProfile, *, awaits_transaction: bool = False) -> None:
        """Take a profile; it replaces what has its id or its place."""
        self._forget(held)
        self._kept[held.profile.id] = held
        if awaits_transaction:
            self._awaiting.add(held.profile.id)
        self._stir()

    def passed(self, held: HeldProfile) -> None:
        """A profile went to the station, which has accepted it."""
        self._forget(held)
        if len(self._passed) >= MOST_PASSED:
            self._passed.pop(next(iter(self._passed)))
        self._passed[held.profile.id] = held

    def clear(self, criteria: ClearingCriteria) -> bool:
        """Give up the profiles that fit; whether a kept one was among them."""
        cleared = self.kept(criteria)
        for held in cleared:
            del self._kept[held.profile.id]
        for number in [number for number, held in self._passed.items() if criteria.fit(held)]:
            del self._passed[number]
        if cleared:
            self._stir()
        return bool(cleared)

    def kept(self, criteria: ClearingCriteria) -> list[HeldProfile]:
        """The kept profiles that fit."""
        return [held for held in self._kept.values() if criteria.fit(held)]

    def saw(self, seen: Observation, now: float) -> None:
        """A transaction's own profiles end with it, and relative ones begin with it."""
        if isinstance(seen, TransactionSeen):
            self._transactions[seen.evse] = seen.transaction
            self._turn(seen.evse, self._utc_of(now) if seen.running else None)
        elif isinstance(seen, StateSeen) and seen.state is EvseState.AVAILABLE:
            self._turn(seen.evse, None)  # its end may have passed unseen

    def numbered(self, evse: int, transaction: str) -> None:
        """The transaction that has begun at an EVSE has got this number (1.6)."""
        self._transactions[evse] = transaction

    def _turn(self, evse: int, since: float | None) -> None:
        """A transaction has begun or ended: what belongs to another one goes."""
        self._since[evse] = since
        for book in (self._kept, self._passed):
            for number in [number for number, held in book.items() if _of_transaction(held, evse)]:
                if number not in self._awaiting:
                    del book[number]
                elif since is not None:
                    self._awaiting.discard(number)
        self._stir()

    def _stir(self) -> None:
        self._awaiting &= self._kept.keys()
        self._look_at = -math.inf

    # -- what that means ----------------------------------------------------------------------------

    def give(self, evse: int, kind: LimitKind, limit_a: float, duration_s: float | None, now: float) -> float:
        """The limit to send for one that the site wants (A per phase): as far as the backend allows it."""
        if kind is LimitKind.FALLBACK:
            return min(limit_a, self._floor_a(evse, now))
        capped = lowest(limit_a, self._allowed_a(evse, now))
        given = limit_a if capped is None else capped
        self._leases[evse] = _Lease(given, now + (duration_s or 0.0))
        return given

    def news(self, now: float) -> list[Observation]:
        """What the site has to know since it was last told."""
        if self._look_at is None or now < self._look_at:
            return []
        news: list[Observation] = []
        floors = {number: self._floor_a(number, now) for number in self.evses}
        for number in self.evses:
            limit = self._allowed_a(number, now)
            if limit != self._told.get(number):
                self._told[number] = limit
                news.append(BackendLimit(number, limit))
        if floors != self._floors:
            self._floors = floors
            news.append(ProfilesTouched("a backend's profile"))
        self._look_at = self._next_change(now)
        return news

    @property
    def deadline(self) -> float | None:
        """When `news` should be asked for next (s, monotonic)."""
        return self._look_at

    def schedule(self, evse: int, duration_s: float, now: float) -> tuple[LimitSpan, ...] | None:
        """What the EVSE may take by its backend's profiles, and by our lease while that lasts.

        None where none is kept for it: then the station itself knows.
        """
        if not any(held.profile.evse in (0, evse) for held in self._kept.values()):
            return None
        start = self._utc_of(now)
        profiles = [held.profile for book in (self._kept, self._passed) for held in book.values()]
        spans = composite(profiles, start, duration_s, self._context(evse))
        lease = self._leases.get(evse)
        if lease is None or lease.until <= now:
            return self._capped(spans, evse)
        return self._capped(_under(spans, lease.limit_a, start + lease.until - now, start + duration_s), evse)

    def held_back_a(self, evse: int, now: float) -> float | None:
        """Our limit, where it keeps a running transaction below what its backend allows (A per phase)."""
        lease = self._leases.get(evse)
        if lease is None or lease.until <= now or self._since.get(evse) is None:
            return None
        allowed = limit_at(
            [held.profile for held in self._kept.values()], self._utc_of(now), self._context(evse)
        )
        free = lowest(self.evses[evse].max_a, allowed)
        return lease.limit_a if free is not None and lease.limit_a < free else None

    def watts_per_amp(self, evse: int) -> float:
        """What 1 A per phase is at an EVSE in W."""
        return self._voltage * self.evses[evse].phases

    def _forget(self, newcomer: HeldProfile) -> None:
        for book in (self._kept, self._passed):
            for number in [number for number, held in book.items() if _same_place(held, newcomer)]:
                del book[number]

    def _context(self, evse: int) -> ScheduleContext:
        return ScheduleContext(
            evse=evse,
            phases=self.evses[evse].phases,
            voltage=self._voltage,
            since=self._since.get(evse),
        )

    def _allowed_a(self, evse: int, now: float) -> float | None:
        spans = self._spans(evse, self._utc_of(now), self._ahead_s)
        limit = lowest(*(span.limit_a for span in spans))
        return None if limit is None else _tenths_down(limit)

    def _floor_a(self, evse: int, now: float) -> float:
        profiles = [held.profile for held in self._kept.values()]
        limit = lowest_to_come(profiles, self._utc_of(now), self._context(evse))
        fallback_a = self.evses[evse].fallback_a
        return fallback_a if limit is None else min(fallback_a, _tenths_down(limit))

    def _spans(self, evse: int, start: float, duration_s: float) -> tuple[LimitSpan, ...]:
        profiles = [held.profile for held in self._kept.values()]
        return composite(profiles, start, duration_s, self._context(evse))

    def _capped(self, spans: tuple[LimitSpan, ...], evse: int) -> tuple[LimitSpan, ...]:
        most = self.evses[evse].max_a
        return tuple(LimitSpan(span.start, lowest(span.limit_a, most)) for span in spans)

    def _next_change(self, now: float) -> float | None:
        if not self._kept:
            return None
        utc = self._utc_of(now)
        borders = (span.start for evse in self.evses for span in self._spans(evse, utc, HORIZON_S))
        moments = [
            moment for border in borders for moment in (border - self._ahead_s, border) if moment > utc
        ]
        return now + min(moments, default=utc + HORIZON_S / 2) - utc + BORDER_S


def _under(spans: tuple[LimitSpan, ...], limit_a: float, until: float, end: float) -> tuple[LimitSpan, ...]:
    """The spans, no higher than a limit that holds until then."""
    return tuple(_split(spans, limit_a, until, end))


def _split(spans: tuple[LimitSpan, ...], limit_a: float, until: float, end: float) -> Iterator[LimitSpan]:
    for index, span in enumerate(spans):
        over = spans[index + 1].start if index + 1 < len(spans) else end
        if span.start < until:
            yield LimitSpan(span.start, lowest(span.limit_a, limit_a))
            if until < over:
                yield LimitSpan(until, span.limit_a)
        else:
            yield span


def _same_place(one: HeldProfile, other: HeldProfile) -> bool:
    a, b = one.profile, other.profile
    return a.id == b.id or (a.purpose, a.evse, a.stack_level) == (b.purpose, b.evse, b.stack_level)


def _of_transaction(held: HeldProfile, evse: int) -> bool:
    return held.profile.purpose is ProfilePurpose.TRANSACTION and held.profile.evse == evse


def _tenths_down(amps: float) -> float:
    """OCPP 1.6 allows a limit one decimal; what the dust of binary fractions took is given back."""
    return math.floor(amps * 10 + 1e-6) / 10
