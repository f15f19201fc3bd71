"""Limits in one EVSE's station, and what to send next.

Two limits are stored there. The *fallback* is permanent. The *lease* stands above it and ends by itself, so
that a station which loses us comes down (or up) to its fallback. Nothing counts that was not answered: until
then, and after anything that may have removed a limit (new link, boot, a foreign command), the EVSE is *in
doubt* and may be taking its maximum.

A lower target is sent at once where its room is needed, else with the renewal. A higher one waits for the
last answer, for `RAMP_S` since the last rise, and for `STEP_A` to gain, unless the lease is renewed anyway.
A station that refuses is asked again after `RETRY`. From its second refusal in a row on it is offered its
fallback at most: what may be in force in spite of a refusal then ends, and its room is free for others.

A station with a quirk gets what it can do: limits in its steps, and where it holds one profile only,
a lease that contains the fallback.
"""

from __future__ import annotations

import enum
import math
from collections import deque
from collections.abc import Iterator

import msgspec

from controller.chargers.quirks import DAY_S, NO_QUIRK, LeaseForm, Quirk
from controller.load_management.events import SetLimit
from controller.load_management.evse.departure_goal import GoalMemory
from controller.load_management.evse.learned_values import REACTION_S, LearnedResponse
from controller.load_management.site_tree import EvseNode
from controller.model.deadlines import RENEW_AT, first_after
from controller.model.rate_limits import Backoff
from controller.model.statements import Statement, StatementCode
from controller.profiles.limit_profiles import LimitKind

RAMP_S = 10.0
"""At least this long between two rises."""
REST_AFTER_CUT_S = 5.0
"""At least this long between a cut of a car that goes on and its rise: its cause is over then, or lasts."""
STEP_A = 3.0
"""Smallest rise that is sent right after the last lease; it falls to nothing until the renewal."""
SMALL_CUT_A = 2.0
"""Cuts below this wait for the renewal where no EVSE needs their room (`CutTiming.IF_LARGE`)."""
LOW_LEASE_S = 900.0
"""Length of a lease that is not above the fallback: its end allows no less, so it may be long."""
NOISE_A = 0.05
"""Limits have one decimal: smaller differences are none."""
NOISE_W = 1.0
"""Limits in W have no decimals."""
RETRY = Backoff(first_s=60.0, longest_s=300.0)
"""Time that a rejection counts."""
LATE_S = 10.0
"""A cut that is not answered by then may never be."""
ANSWER_S = 60.0
"""Longest wait for an answer (s); the link reports an end earlier, unless the answer was lost."""
DOUBT_S = 5.0
"""Time (s) after a reconnection or another's command for which other EVSEs are not cut."""
CLOCK_SLACK_S = 60.0
"""Delay (s) of the end of a lease: by so much our schedules start in the past."""
BOOT_LOOP_S = 60.0
"""Boots that follow each other faster are a loop: limits are written later each time."""
BOOT_BACKOFF = Backoff(first_s=5.0, longest_s=60.0)
UP_S = 600.0
"""A station that boots again within this time (s) is likely to do so once more."""
REPORTED_S = 10.0
"""Time (s) after the begin of a link within which a station that has booted reports that."""
USUAL_BOOTS = 2
"""So many boots in a row are usual: of an update, or by a person."""
MOST_PENDING = 4
"""Unanswered leases at once; a station that answers none of these needs no fifth."""
OFFLINE = Statement(code=StatementCode.OFFLINE)
UNCONFIRMED = Statement(code=StatementCode.LIMITS_UNCONFIRMED)


class CutTiming(enum.Enum):
    """Time at which a lower target is sent. One below the minimum, a stop, is always sent at once."""

    AT_ONCE = "at once"
    IF_LARGE = "at once if it is large"
    AT_RENEWAL = "with the renewal"


def choose_timing(*, is_needed: bool, may_wait: bool) -> CutTiming:
    """Return when a lower target is sent. `is_needed`: others need the room, or a person ordered it."""
    if is_needed:
        return CutTiming.AT_ONCE
    return CutTiming.AT_RENEWAL if may_wait else CutTiming.IF_LARGE


class _Pending(msgspec.Struct, frozen=True, gc=False):
    kind: LimitKind
    limit_a: float
    limit_w: float
    sent_at: float
    duration_s: float = 0.0


class _Lease(msgspec.Struct, frozen=True, gc=False):
    limit_a: float
    limit_w: float
    sent_at: float
    answered_at: float
    duration_s: float
    ends_at: float


class LimitStanding(msgspec.Struct, frozen=True, gc=False):
    """State of an EVSE's limits at a moment. Currents in A per phase.

    `offered_a`: the limit that its station was sent last, or fell back to. `held_a`: the highest current that
    the limits in the station may allow; `booked_a`: the same, where a fresh doubt counts as what was held
    before it; `late_a`: how much above its offer it may draw as its answer is late. `problem` states why it
    cannot be commanded, None if it can.
    """

    offered_a: float
    held_a: float
    booked_a: float
    late_a: float
    problem: Statement | None


class DeliveryMemory(msgspec.Struct, frozen=True):
    """Record of an EVSE for a restart. Currents in A per phase, `until` in s, monotonic.

    The station may be taking `held_a` until then, and after it `fallback_a` if that was confirmed. Where its
    lease is below that, it takes `lease_a` first, until `lease_until` at the earliest (s, monotonic; 0: there
    is no such lease). `written`: when it was written to (s, monotonic), where its memory bears only so much
    in a day. `phases`: those of its station that its car uses; empty: unknown.
    """

    has_fallback: bool
    fallback_a: float
    held_a: float
    until: float
    lease_a: float = 0.0
    lease_until: float = 0.0
    written: tuple[float, ...] = ()
    goal: GoalMemory | None = None
    learned: LearnedResponse = LearnedResponse()
    phases: tuple[bool, ...] = ()

    def is_running(self, now: float) -> bool:
        """Return True if a limit other than the fallback may be in the station."""
        return now < max(self.until, self.lease_until)


class LimitDelivery:
    """Limits of one EVSE. `tokens` numbers its calls.

    `writes_per_day`: the most profile writes a day, whatever the station endures; None: any number.
    `in_watts`: the station takes limits in W only. `never_pauses`: it cannot be sent 0 A.
    """

    def __init__(
        self, evse: EvseNode, lease_s: float, tokens: Iterator[int], writes_per_day: int | None = None
    ) -> None:
        self._evse = evse
        self._wanted_lease_s = lease_s
        self._tokens = tokens
        self._writes_per_day = writes_per_day
        self._learned_s = self._shown_s = REACTION_S
        self.written_at = 0.0
        """Time at which its last lease was sent (s); 0 before the first."""
        self._use_quirk(self._with_site_bound(NO_QUIRK))
        self._phases = 1
        self.number_phases: int | None = None
        self.hold_s = 0.0
        """Shortest duration of a lease that is not above the fallback: the grid operator dims it."""
        self._written: deque[float] = deque(maxlen=writes_per_day or 0)  # when, of as many as fit in a day
        self.most_w: float | None = None
        """Limit in W of its backend, for a station that accepts W only; None: no limit."""
        self.connected = False
        self.is_obeyed = True
        """False if its station drew more at its last report than its limits allow: it may have lost them."""
        self.has_fallback = False
        """True if the fallback is in the station, as far as is known."""
        self._lease: _Lease | None = None
        self._pending: dict[int, _Pending] = {}
        self._trail: tuple[float, float] = (0.0, 0.0)  # A that may still be taken, and until when
        self._following: list[tuple[float, float]] = []  # the same of each accepted cut, while it follows
        self._restored: tuple[float, float] = (0.0, 0.0)
        """The offer from before a restart (A), and until when it may last."""
        self._doubt_since: float | None = None
        self._before_doubt_a = evse.max_a
        self._replaced_max_a = 0.0
        """Maximum that the EVSE had before, while its limits by that are not replaced in the station."""
        self._refusal = ""
        self._retry_at = 0.0
        self._refused_leases = 0
        """Leases in a row that were refused or not answered."""
        self._raised_at: float | None = None
        self._cut_at = -math.inf
        self._booted_at = self._connected_at = -math.inf
        self._repeated_boots = self._boots = 0
        self._written_from = self._secures_from = 0.0
        self._standing = self._find_standing(-math.inf)
        self._stands_from, self._stands_until = math.inf, -math.inf
        """Times from which and until which that holds (s, monotonic)."""

    # Restart

    def record(self, now: float) -> DeliveryMemory:
        """Return what must survive a restart, as of now."""
        if (lowered := self._lowered_lease(now)) is not None:
            until, lease_a, lease_until = self._trailing_until, lowered.limit_a, lowered.ends_at
        else:
            until, lease_a, lease_until = self._latest_end(now), 0.0, 0.0
        return DeliveryMemory(
            has_fallback=self.has_fallback,
            fallback_a=self._evse.fallback_a,
            held_a=self.standing(now).held_a,
            until=until,
            lease_a=lease_a,
            lease_until=lease_until,
            written=tuple(self._written),
        )

    def _latest_end(self, now: float) -> float:
        """Return until when it may be taking more than its fallback (s, monotonic)."""
        if self._lease is None and not any(p.kind is LimitKind.LEASE for p in self._pending.values()):
            return self._trailing_until
        longest_s = max([self._lease_s, *(p.duration_s for p in self._pending.values())])
        if self._lease is not None:
            longest_s = max(longest_s, self._lease.ends_at - now)
        return now + longest_s + CLOCK_SLACK_S

    def _lowered_lease(self, now: float) -> _Lease | None:
        """Return the lease if it keeps the EVSE below its fallback, and no other is on its way; else None.

        Where the station stores one profile only, the fallback may replace the lease.
        """
        lease = self._lease
        if lease is None or not self.has_fallback or not self._stacked or now >= lease.ends_at:
            return None
        if lease.limit_a >= self._evse.fallback_a or any(
            pending.kind is LimitKind.LEASE for pending in self._pending.values()
        ):
            return None
        return lease

    def restore(self, memory: DeliveryMemory) -> None:
        """Take over what was recorded before a restart. A fallback above today's does not count."""
        self._has_changed()
        self.has_fallback = memory.has_fallback and memory.fallback_a <= self._evse.fallback_a + NOISE_A
        self._trail = self._restored = (memory.held_a, memory.until)
        if (ends_at := memory.lease_until) > 0:  # its begin counts no more: it is not renewed over this link
            self._lease = _Lease(
                limit_a=memory.lease_a,
                limit_w=self._watts(memory.lease_a, self._phases),
                sent_at=ends_at,
                answered_at=ends_at,
                duration_s=0.0,
                ends_at=ends_at,
            )
        self._written = deque(memory.written, maxlen=max(self._written.maxlen or 0, len(memory.written)))

    # Events

    def on_connected(self, now: float) -> None:
        """Note that the station can be commanded; what is in it is unknown."""
        self.connected = True
        self._connected_at = self._retry_at = now
        self._refusal = ""  # what failed with the last link was no refusal
        self._refused_leases = 0
        self.on_profiles_touched(now)

    def on_boot(self, now: float) -> None:
        """Set both limits again after a boot; a station that boots again and again is written to less often.

        Until its limits are confirmed, it counts at its maximum. Its fallback is set once it stays up: until
        then it counts at its maximum where its lease ends. What it was sent over a link that it reports the
        boot on came after the boot.
        """
        is_sent = self._boots >= USUAL_BOOTS and now <= self._connected_at + REPORTED_S
        if not is_sent:
            self.on_profiles_touched(now)
        self._boots = self._boots + 1 if now < self._booted_at + UP_S else 1
        if self._boots > USUAL_BOOTS:
            self._secures_from = now + UP_S
        is_loop = now < self._booted_at + BOOT_LOOP_S
        self._repeated_boots = self._repeated_boots + 1 if is_loop else 0
        self._booted_at = now
        if self._repeated_boots > 1:
            self._written_from = now + BOOT_BACKOFF.wait_s(self._repeated_boots - 1)

    def on_disconnected(self, now: float) -> None:
        """Note that the station cannot be commanded: it keeps what it has, and calls may have arrived."""
        self._has_changed()
        self.connected = False
        self._doubt_since = None
        for pending in self._pending.values():
            self._may_have_taken(pending, now)
        self._pending.clear()
        self._find_written()

    def apply_quirk(self, quirk: Quirk, now: float) -> bool:
        """Follow the quirk of the station, and return True if it is another one than before.

        What the station was sent before may not be what it applied.
        """
        quirk = self._with_site_bound(quirk)
        if quirk == self._quirk:
            return False
        self._use_quirk(quirk)
        self._written = deque(self._written, maxlen=quirk.writes_per_day or 0)
        if self.connected:  # else that follows when it comes
            self.on_profiles_touched(now)
        return True

    def _use_quirk(self, quirk: Quirk) -> None:
        self._quirk = quirk
        self._lease_s = quirk.lease_s(self._wanted_lease_s)
        self._full_cost_s = RENEW_AT * self._lease_s
        """Time (s) from one renewal to the next, of a lease above the fallback."""
        self._rise_s = quirk.rise_s(RAMP_S)
        self.learn_reaction(self._learned_s, self._shown_s)
        self.in_watts = quirk.in_watts
        self.never_pauses = quirk.zero == "minimum"
        self._stacked = quirk.form is LeaseForm.STACKED

    def learn_reaction(self, learned_s: float, slowest_s: float) -> None:
        """Use how long its station has been seen to take (s), where that is longer than its kind takes.

        `slowest_s`: as long as it may take, where it has shown little yet.
        """
        self._learned_s, self._shown_s = learned_s, slowest_s
        self.reaction_s = max(REACTION_S, self._quirk.reaction_s, learned_s)
        """Time (s) that its station takes from its answer to its current: by kind, or as learned."""
        self.slowest_s = max(self.reaction_s, slowest_s)
        """Time (s) that it may take at the worst: as long as its kind, or as no report has disproved."""

    def replace_evse(self, evse: EvseNode, now: float) -> None:
        """Use other settings of the EVSE: limits that follow from other currents are set again.

        Until the station has accepted these, what it had before counts.
        """
        self._has_changed()
        before = self._evse
        if _currents(evse) != _currents(before):
            if self.connected:
                self.on_profiles_touched(now)
            elif evse.fallback_a < before.fallback_a:
                self.has_fallback = False
            self._replaced_max_a = max(self._replaced_max_a, before.max_a)
        self._evse = evse

    def _with_site_bound(self, quirk: Quirk) -> Quirk:
        """Return the quirk with the lower one of its own and the site's number of writes a day."""
        bounds = [most for most in (quirk.writes_per_day, self._writes_per_day) if most is not None]
        return msgspec.structs.replace(quirk, writes_per_day=min(bounds, default=None))

    def set_phases(self, phases: int) -> None:
        """Share a limit in W among so many phases: where they become fewer, each may carry more.

        Where they become more, the same W is less on each: the next rise does not wait for the last one.
        """
        if phases == self._phases:
            return
        growth = self._phases / phases
        self._phases = phases
        if not self.in_watts:
            return
        self._has_changed()
        replace = msgspec.structs.replace
        self._pending = {
            token: replace(pending, limit_a=self._amps(pending.limit_w))
            for token, pending in self._pending.items()
        }
        if self._lease is not None:
            self._lease = replace(self._lease, limit_a=self._amps(self._lease.limit_w))
        if growth < 1:
            self._raised_at = None
        else:
            self._trail = (self._trail[0] * growth, self._trail[1])
            self._following = [(amps * growth, until) for amps, until in self._following]

    def _amps(self, limit_w: float) -> float:
        """Return the highest current on a phase under a limit in W: never above what the EVSE can give."""
        return min(self._evse.max_a, limit_w / (self._evse.watts_per_a * self._phases))

    def _watts(self, limit_a: float, phases: int) -> float:
        """Return the limit in W that leaves no phase above `limit_a` where so many phases share it.

        The maximum of an EVSE may flow on all of its phases: no car draws more than it on one of them.
        """
        is_full = limit_a >= self._evse.max_a - NOISE_A
        watts = limit_a * self._evse.watts_per_a * (len(self._evse.phases) if is_full else phases)
        return watts if self.most_w is None else min(watts, self.most_w)

    def on_profiles_touched(self, now: float) -> None:
        """Set both limits again, as something may have removed or overridden them."""
        if self._doubt_since is None:
            self._before_doubt_a = self.standing(now).held_a
            self._doubt_since = now
        self._has_changed()
        self.has_fallback = False
        self._lease = None
        self._pending.clear()  # their answers would not show whether they came before or after
        self.written_at = 0.0

    def on_answer(self, token: int, accepted: bool, detail: str, now: float) -> bool:
        """Take in the answer to a call; return True if it was waited for."""
        pending = self._pending.pop(token, None)
        if pending is None:
            return False
        self._has_changed()
        if not accepted:
            self._may_have_taken(pending, now)
            self._refusal = detail or "no reason given"
            self._refused_leases += pending.kind is LimitKind.LEASE
            self._retry_at = now + RETRY.wait_s(self._refused_leases)
        elif pending.kind is LimitKind.FALLBACK:
            self.has_fallback = True
        else:
            self._refused_leases = 0
            if (before_a := self._permitted_a(now)) > pending.limit_a:
                following = [each for each in self._following if each[1] > now]
                self._following = [*following, (before_a, now + self.slowest_s)]
            self._trail = (0.0, 0.0)
            ends_at = pending.sent_at + pending.duration_s
            self._lease = _Lease(
                pending.limit_a, pending.limit_w, pending.sent_at, now, pending.duration_s, ends_at
            )
            self.has_fallback |= not self._stacked
        if self._lease is not None and (self.has_fallback or now < self._secures_from):
            self._doubt_since = None
            self._replaced_max_a = 0.0
            self._refusal = "" if accepted else self._refusal
        self._find_written()
        return True

    def on_followed(self, most_a: float) -> bool:
        """Note the highest limit (A) that its station may follow yet; return True if that is news."""
        is_news = any(amps > most_a for amps, _ in self._following)
        if is_news:
            self._has_changed()
            self._following = [(min(amps, most_a), until) for amps, until in self._following]
        return is_news

    @property
    def _trailing_until(self) -> float:
        """Return until when it may be taking more than its limits (s)."""
        return max([self._trail[1], *[until for _, until in self._following]])

    def _may_have_taken(self, pending: _Pending, now: float) -> None:
        """Count a call that was not accepted: its answer may be lost, and the limit in force.

        A lease that is not above the fallback allows no more than that.
        """
        allows_more = not self.has_fallback or pending.limit_a > self._evse.fallback_a + NOISE_A
        if pending.kind is LimitKind.LEASE and allows_more:
            limit, until = self._trail
            still = limit if now < until else 0.0
            self._trail = (max(still, pending.limit_a), max(until, now + pending.duration_s))

    # State

    def _find_written(self) -> None:
        """Find when the last lease was sent of those that are waited for or were accepted."""
        leases = [pending.sent_at for pending in self._pending.values() if pending.kind is LimitKind.LEASE]
        accepted_at = 0.0 if self._lease is None else self._lease.sent_at
        self.written_at = leases[-1] if leases else accepted_at

    @property
    def leased_a(self) -> float:
        """Return the limit (A per phase) of the last lease that was accepted; 0 without one."""
        return 0.0 if self._lease is None else self._lease.limit_a

    def changes_at(self, now: float) -> float:
        """Return when something here changes next without an event (s, monotonic); inf: never.

        A method that compares another moment with `now` needs it here, or in `_find_change` where it is part
        of the standing: an EVSE is left alone until then. `rises_from` is needed only for a limit in W: who
        waits for room to rise is asked in each pass. What changes its booking alone is not among them, nor is
        the renewal of its lease: see `booking_changes_at`, `renews_at`.
        """
        moments = [*self._moments(), self._sends_from, self._secures_from]
        if self.in_watts:
            moments.append(self.rises_from)
        moments += [pending.sent_at + ANSWER_S for pending in self._pending.values()]
        if self._quirk.writes_per_day is not None and self._written:
            moments.append(self._written[0] + DAY_S)
        return first_after(now, moments)

    def booking_changes_at(self, now: float) -> float:
        """Return when it changes next what is booked of an earlier limit, or what of that it may rise into.

        In s, monotonic; inf: never.
        """
        moments, rises_from = [until for _, until in self._following], self.rises_from
        if self._trailing_until > rises_from:
            moments.append(rises_from)
        return first_after(now, moments)

    def standing(self, now: float) -> LimitStanding:
        """Return the state of its limits now: that found before until an event, or time, changes it."""
        if not self._stands_from <= now < self._stands_until:
            self._standing = self._find_standing(now)
            self._stands_from, self._stands_until = now, self._find_change(now)
        return self._standing

    def _find_standing(self, now: float) -> LimitStanding:
        offered_a = self._offered_a(now)
        booked_a = held_a = self._held_a(now)
        if self._doubt_since is not None and now < self._doubt_since + DOUBT_S:
            booked_a = min(held_a, self._before_doubt_a)
        late_a = 0.0
        for pending in self._pending.values():
            if now >= pending.sent_at + LATE_S:
                late_a = max(0.0, held_a - offered_a)
        return LimitStanding(offered_a, held_a, booked_a, late_a, self._find_problem(now))

    def _find_change(self, now: float) -> float:
        """Return when the state of its limits changes next without an event (s, monotonic); inf: never."""
        return first_after(now, [*self._moments(), *[until for _, until in self._following]])

    def _moments(self) -> list[float]:
        """Return when that changes (s, monotonic) otherwise than by a cut that its station has followed."""
        moments = [self._trail[1], self._restored[1]]
        if self._doubt_since is not None:
            moments.append(self._doubt_since + DOUBT_S)
        if (lease := self._lease) is not None:
            moments += (lease.ends_at, lease.answered_at + lease.duration_s + CLOCK_SLACK_S)
        for pending in self._pending.values():
            moments.append(pending.sent_at + LATE_S)
        return moments

    def _has_changed(self) -> None:
        """Have the state of its limits found anew, as a limit or what is known of it has changed."""
        self._stands_until = -math.inf

    def _offered_a(self, now: float) -> float:
        if self._pending:
            for pending in reversed(self._pending.values()):
                if pending.kind is LimitKind.LEASE:
                    return pending.limit_a
        if self._lease is not None and now < self._lease.ends_at:
            return self._lease.limit_a
        restored_a, until = self._restored
        return max(restored_a, self._without_lease_a) if now < until else self._without_lease_a

    def offered_w(self, now: float) -> float | None:
        """Return its offer in W of all phases; None for a station that accepts A."""
        if not self.in_watts:
            return None
        for pending in reversed(self._pending.values()):
            if pending.kind is LimitKind.LEASE:
                return pending.limit_w
        if self._lease is not None and now < self._lease.ends_at:
            return self._lease.limit_w
        return self._watts(self._without_lease_a, self._fallback_phases)

    @property
    def _fallback_phases(self) -> int:
        """Return the phases that share a fallback in W: it is for any car, on one phase or three."""
        return len(self._evse.phases) if self._evse.is_dc or self._evse.divides_watts else 1

    def _permitted_a(self, now: float) -> float:
        """Return the highest current (A per phase) of the limits in the station, once it follows them."""
        most_a, lease = max(self._evse.max_a, self._replaced_max_a), self._lease
        found_a = self._evse.fallback_a if self.has_fallback else most_a
        if lease is not None and now < lease.answered_at + lease.duration_s + CLOCK_SLACK_S:
            found_a = lease.limit_a if now < lease.ends_at else max(lease.limit_a, found_a)
        for pending in self._pending.values():
            if pending.kind is LimitKind.LEASE and pending.limit_a > found_a:
                found_a = pending.limit_a
        trail_a, until = self._trail
        if now < until and trail_a > found_a:
            found_a = trail_a
        return min(found_a, max(most_a, self._evse.fallback_a))

    def _held_a(self, now: float) -> float:
        held_a = self._permitted_a(now)
        for amps, until in self._following:
            if now < until and amps > held_a:
                held_a = amps
        return held_a

    def _find_problem(self, now: float) -> Statement | None:
        if not self.connected:
            return OFFLINE
        if self._refusal:
            return Statement(code=StatementCode.LIMITS_REFUSED, detail=self._refusal)
        if self._doubt_since is not None and now >= self._doubt_since + DOUBT_S:
            return UNCONFIRMED
        return None

    @property
    def _sends_from(self) -> float:
        """Return when it may be sent something (s): later after a refusal, and in a loop of boots."""
        return max(self._retry_at, self._written_from)

    def is_due(self, now: float) -> bool:
        """Return True if its lease is to be renewed now."""
        return now >= self.renews_at

    @property
    def renews_at(self) -> float:
        """Return when its lease is renewed (s): a long one sooner where the station does not obey it.

        inf: there is none, or the next one is on its way.
        """
        lease = self._lease
        if lease is None:
            return math.inf
        for pending in self._pending.values():
            if pending.kind is LimitKind.LEASE:
                return math.inf
        return lease.sent_at + (RENEW_AT * lease.duration_s if self.is_obeyed else self._full_cost_s)

    @property
    def rises_from(self) -> float:
        """Return when it may be raised before its renewal (s): later after a rise and after a cut."""
        raised = -math.inf if self._raised_at is None else self._raised_at + self._rise_s
        return max(raised, self._cut_at + REST_AFTER_CUT_S)

    @property
    def _without_lease_a(self) -> float:
        """Return what it may take once its lease has ended (A per phase)."""
        return self._evse.fallback_a if self.has_fallback else max(self._evse.max_a, self._replaced_max_a)

    # Commands

    def commands(
        self,
        target_a: float,
        ceiling_a: float,
        now: float,
        *,
        urgent: bool = False,
        idle: bool = False,
        timing: CutTiming = CutTiming.AT_ONCE,
        step_a: float = STEP_A,
    ) -> list[SetLimit]:
        """Return what to send so that the station comes to `target_a` (A per phase).

        `ceiling_a`: what it may take by now, while others have yet to come down. `idle`: no car is
        there, so the fallback will do and a lease is not renewed. `urgent`: reduce only, before all else.
        `timing`: when a cut is sent. `step_a`: smallest rise that is sent right after the last lease; a
        start is sent whatever its size.
        """
        if self._pending:
            self._give_up_waiting(now)
        if self._refused_leases > 1 and self.has_fallback:
            target_a = min(target_a, self._evse.fallback_a)
        target_a, ceiling_a = self.possible_a(target_a), self._quirk.rounded_a(ceiling_a)
        if not self.connected or now < self._sends_from:
            return []
        secures, leases = self._stacked and not self.has_fallback and now >= self._secures_from, 0
        for pending in self._pending.values():
            if pending.kind is LimitKind.LEASE:
                leases += 1
            else:
                secures = False
        offered_a = self.standing(now).offered_a
        is_held = urgent or idle or self._worn(now)
        lease_a = None
        if leases < MOST_PENDING:
            lease_a = self._next_lease(
                target_a, ceiling_a, offered_a, now, timing, step_a, is_held=is_held, is_waiting=leases > 0
            )
        if lease_a is not None:
            if lease_a > offered_a + NOISE_A:
                self._raised_at = now
            elif self._lease is not None and self._evse.min_a <= lease_a < offered_a - NOISE_A:
                self._cut_at = now
            # A cut for which others wait does not wait for the answer to a backend's command.
            urgent |= timing is CutTiming.AT_ONCE and lease_a < offered_a - NOISE_A
        sent: list[SetLimit] = []
        if secures:
            sent.append(self._send(LimitKind.FALLBACK, self._evse.fallback_a, now, urgent))
        if lease_a is not None:
            sent.append(self._send(LimitKind.LEASE, lease_a, now, urgent))
        return sent

    def secure_fallback(self, now: float) -> list[SetLimit]:
        """Return the call with its fallback, where it has none yet and none is on its way.

        A station that stacks no profiles has it in a lease, so it gets one at the same current.
        """
        if self.has_fallback or self._pending or not self.connected or now < self._sends_from:
            return []
        kind = LimitKind.FALLBACK if self._stacked else LimitKind.LEASE
        return [self._send(kind, self._evse.fallback_a, now, urgent=False)]

    def _next_lease(
        self,
        target_a: float,
        ceiling_a: float,
        offered_a: float,
        now: float,
        timing: CutTiming,
        step_a: float,
        *,
        is_held: bool,
        is_waiting: bool,
    ) -> float | None:
        """Return the lease to send now (A per phase), None if there is none to send.

        `is_held`: nothing but a cut or a first lease is sent. `is_waiting`: only a cut is, as the last lease
        is not answered yet.
        """
        if self._lease is None and self._doubt_since is not None:
            target_a = min(target_a, ceiling_a)  # more may be a rise: it may still follow what it was sent
        cut_a = offered_a - target_a
        gains_w = 0.0
        if (offered_w := self.offered_w(now)) is not None:
            if self.most_w is not None and offered_w > self.most_w + NOISE_W:
                return target_a
            gains_w = self._watts(target_a, self._phases) - offered_w
        is_due_cut = timing is CutTiming.AT_ONCE or (timing is CutTiming.IF_LARGE and cut_a >= SMALL_CUT_A)
        if cut_a > NOISE_A and (is_due_cut or target_a < self._evse.min_a):
            return target_a
        if is_waiting:
            return None
        if self._lease is None:
            return target_a
        if is_held:
            return None
        due = self.is_due(now)
        if cut_a > NOISE_A:
            return target_a if due else None
        rises_a = offered_a
        if now >= self.rises_from:
            rises_a = max(offered_a, min(target_a, ceiling_a))
        least_a = max(NOISE_A, self.least_rise_a(now, step_a) - NOISE_A)
        gains = rises_a - offered_a >= least_a or offered_a < self._evse.min_a <= rises_a
        # The same current may be more W once a backend's limit has ended.
        gains |= rises_a >= target_a - NOISE_A and gains_w >= STEP_A * self._evse.watts_per_a
        return rises_a if gains or due else None

    def least_rise_a(self, now: float, step_a: float = STEP_A) -> float:
        """Return the smallest rise (A per phase) that is worth a write now.

        It is `step_a` right after the last lease and none at the renewal: each write renews the lease, so
        the later it is the less it costs.
        """
        if self._lease is None:
            return 0.0
        return step_a * max(0.0, 1 - (now - self._lease.sent_at) / self._full_cost_s)

    def rises_at(self, rise_a: float, step_a: float = STEP_A) -> float:
        """Return when a rise by so much (A per phase) is worth a write (s, monotonic)."""
        if self._lease is None:
            return -math.inf
        return self._lease.sent_at + self._full_cost_s * max(0.0, 1 - rise_a / step_a)

    def possible_a(self, limit_a: float) -> float:
        """Return the limit that the station can do instead: not above it but for its own minimum."""
        rounded_a = self._quirk.rounded_a(limit_a)
        if rounded_a < self._evse.min_a <= limit_a:
            rounded_a = 0.0
        return self._evse.min_a if rounded_a == 0 and self.never_pauses else rounded_a

    @property
    def quirk(self) -> Quirk:
        """Return the quirk that its station has, with the site's bound of writes."""
        return self._quirk

    def _worn(self, now: float) -> bool:
        """Return True if it was written to as often as its memory allows in a day; cuts do not wait."""
        most = self._quirk.writes_per_day
        if most is None or len(self._written) < most:
            return False
        return now < self._written[-most] + DAY_S

    def _send(self, kind: LimitKind, limit_a: float, now: float, urgent: bool) -> SetLimit:
        token = next(self._tokens)
        self._written.append(now)
        lease = kind is LimitKind.LEASE
        duration_s = self._duration_s(limit_a) if lease else 0.0
        if lease:
            self.written_at = now
        limit_w = self._watts(limit_a, self._phases if lease else self._fallback_phases)
        self._pending[token] = _Pending(kind, limit_a, limit_w, now, duration_s)
        self._has_changed()
        return SetLimit(
            token=token,
            ref=self._evse.ref,
            kind=kind,
            limit_a=limit_a,
            duration_s=duration_s if lease else None,
            fallback_a=self._evse.fallback_a,
            limit_w=limit_w,
            fallback_w=self._watts(self._evse.fallback_a, self._fallback_phases),
            number_phases=self.number_phases if lease else None,
            urgent=urgent,
        )

    def _duration_s(self, limit_a: float) -> float:
        """Return how long a lease lasts (s): one that is not above the fallback may last longer."""
        if limit_a > self._evse.fallback_a + NOISE_A:
            return self._lease_s
        return max(self._lease_s, self.hold_s, LOW_LEASE_S)

    def _give_up_waiting(self, now: float) -> None:
        for token, pending in list(self._pending.items()):
            if now >= pending.sent_at + ANSWER_S:
                self.on_answer(token, False, f"no answer in {ANSWER_S:g} s", now)


def _currents(evse: EvseNode) -> tuple[float, float, float, float]:
    """Return what of an EVSE its limits depend on."""
    return evse.min_a, evse.max_a, evse.fallback_a, evse.watts_per_a
