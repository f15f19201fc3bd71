"""One EVSE under control: what is known of it and what it was told, put together."""

from __future__ import annotations

import math
from collections.abc import Iterator

from msgspec.structs import replace

from controller.chargers.quirks import Quirk
from controller.load_management.allocation.allocator import Allocation, Demand
from controller.load_management.allocation.constraints import PhaseFlags
from controller.load_management.allocation.headroom import Headroom
from controller.load_management.decision_log import DecisionLog, LoggedDecision
from controller.load_management.events import LimitAnswered, SetLimit
from controller.load_management.evse.charger_response import ChargerResponse
from controller.load_management.evse.consumption import OfferCredit
from controller.load_management.evse.departure_goal import NO_NEED
from controller.load_management.evse.evse_model import EvseModel, EvseObservation
from controller.load_management.evse.limit_delivery import NOISE_A, DeliveryMemory, LimitDelivery
from controller.load_management.site_tree import EvseNode
from controller.load_management.site_view import EvseView
from controller.model.observations import DrawSeen, EvseState, NeedsSeen, TransactionSeen


class EvseController:
    """Joins an EVSE's model and its delivery. `reason` says in words why it has what it has."""

    def __init__(self, evse: EvseNode, lease_s: float, tokens: Iterator[int], now: float) -> None:
        self.evse = evse
        self.model = EvseModel(evse, now)
        self.delivery = LimitDelivery(evse, lease_s, tokens)
        self.manners = ChargerResponse()
        self.to_remember = False
        """Whether there is news for `memory`, beside what its limits are."""
        self.reason = "not yet planned"
        self.backend_a: float | None = None
        """What its backend's own profiles allow it (A per phase); None: all."""
        self._need = NO_NEED
        self.adapt_phases(None)
        self._news = DecisionLog()

    def observed(self, observation: EvseObservation, now: float) -> bool:
        """Its station told something of it; whether the sharing has to be thought over."""
        before_a = self.model.draw.defiant_a
        changed = self.model.handle(observation, self.delivery.offered_a(now), now)
        if isinstance(observation, DrawSeen):
            self.model.draw.judge(self.delivery.booked_a(now))
            self._learn(now)
        elif isinstance(observation, TransactionSeen):
            self.manners.another_car()
        self.to_remember |= isinstance(observation, NeedsSeen)
        return changed or self.model.draw.defiant_a > before_a

    def _learn(self, now: float) -> None:
        before = self.manners.habits
        drawn_a = self.model.draw.most_loaded_a
        self.manners.drew(drawn_a, now)
        if self.model.draw.settled and self.model.state is EvseState.CHARGING:
            self.manners.settled(self.delivery.offered_a(now), drawn_a)
        self._adapt_to_habits()
        self.to_remember |= self.manners.habits != before

    def _adapt_to_habits(self) -> None:
        self.delivery.learnt_s = self.manners.habits.reaction_s
        self.model.draw.reaction_s = self.delivery.reaction_s

    def answered(self, answer: LimitAnswered, now: float) -> bool:
        """The end of one of its limits; whether it was waited for."""
        known = self.delivery.answered(answer.token, answer.accepted, answer.detail, now)
        if known and answer.accepted:
            self.manners.limited(self.delivery.offered_a(now), now)
        return known

    def memory(self, now: float) -> DeliveryMemory:
        """What the next of us should know if we were gone now."""
        self.to_remember = False
        known = self.delivery.memory(now)
        return replace(known, goal=self.model.goal.memory(), habits=self.manners.habits)

    def recall(self, memory: DeliveryMemory) -> None:
        """Take over what the last of us knew."""
        self.delivery.recall(memory)
        self.manners.recall(memory.habits)
        self._adapt_to_habits()
        if memory.goal is not None:
            self.model.goal.recall(memory.goal)

    def down(self, now: float) -> None:
        """Its station cannot be commanded any more."""
        self.model.down(now)
        self.delivery.down(now)

    def adapt(self, quirk: Quirk, now: float) -> None:
        """Its station is one with this quirk."""
        self.delivery.adapt(quirk, now)
        self._adapt_to_habits()
        self.adapt_phases(quirk.phase_switching)

    def adapt_phases(self, says: bool | None) -> None:
        """What the station says of switching phases counts where the site's owner has not said it."""
        wanted = says if self.evse.phase_switching is None else self.evse.phase_switching
        bears = not self.delivery.never_pauses and not self.delivery.in_watts
        self.model.switch.able = bool(wanted) and bears and len(self.evse.phases) == 3

    @property
    def all_phases(self) -> PhaseFlags:
        """The site's phases that it is wired to."""
        return _flags(self.evse.phases)

    @property
    def one_phase(self) -> PhaseFlags:
        """The site's phase that it uses when it is told to use one: its own L1."""
        return _flags(self.evse.phases[:1])

    def look_at_car(self, voltage: float, now: float) -> None:
        """A limit in W is told for the phases that the car uses: for one until it has shown more.

        What its goal needs depends on them too, and on the time that is left.
        """
        if self.model.switch.changing and self._booked_a(now) <= NOISE_A:
            self.model.holds_nothing(now)
        self.delivery.number_phases = 1 if self.model.switch.single else None
        self._need = self.model.goal.need(voltage, sum(self.model.phases), now)
        self.delivery.spread(sum(self.model.phases) if self.model.phases_known else 1)

    @property
    def may_draw(self) -> bool:
        """Whether current has to be kept for it: while a station is away, a car may come unseen."""
        return self.model.wants or not self.delivery.connected

    def credit(self, now: float) -> OfferCredit:
        """What it draws on the site's phases now."""
        return self.model.draw.credit(now, has_car=self.may_draw)

    def book(self, ledger: Headroom, now: float) -> None:
        """Book the most that it may be taking now."""
        if self.may_draw:
            ledger.book(self.evse, self._phases_at_risk(now), self._booked_a(now))

    def book_overdraw(self, ledger: Headroom, now: float, *, steered: bool) -> None:
        """Book what it draws beyond its offer: nobody's share, and gone all the same.

        `steered`: the grid operator limits it. Then there is no meter that shows who has not heard of a cut:
        what is not answered in time counts as not obeyed.
        """
        late_a = self.delivery.late_a(now) if steered and self.evse.steerable else 0.0
        ledger.book(self.evse, self.model.phases, max(self.model.draw.overdraw_a, late_a))

    def demand(
        self,
        rank: float,
        trouble: str,
        *,
        metered: bool,
        unbalance_a: float | None = None,
        dimmed: tuple[float, str] | None = None,
    ) -> Demand:
        """What it could take now.

        `unbalance_a`: the least unbalance (A) that a circuit above it allows, if one limits it.
        `trouble` says why EVSEs on its circuit keep to their fallback, if they must. `metered`: a meter
        above it shows its draw, so that an EVSE which does not report would be counted as base load.
        `dimmed`: the most that the grid operator leaves it (A per phase), and why.
        """
        caps = [(self.evse.max_a, "all it can take"), (self.model.need_a, "all that its car takes")]
        if self.backend_a is not None:
            caps.append((self.backend_a, f"its backend allows {self.backend_a:g} A"))
        if trouble:
            caps.append((self.evse.fallback_a, f"{trouble}: held at its fallback"))
        if metered and self.model.draw.blind:
            caps.append((self.evse.fallback_a, "does not report what it draws: held at its fallback"))
        if unbalance_a is not None and not self.model.phases_known:
            # Three phases in step or one alone: it starts small enough to be borne either way.
            caps.append((max(self.evse.min_a, unbalance_a), "its car may draw on one phase alone"))
        max_a, cap = min(caps, key=lambda pair: pair[0])
        min_a = self.evse.min_a
        if self.delivery.in_watts and not self.model.phases_known:
            # Enough W for the minimum on all phases, which one phase alone may take together.
            min_a = min(len(self.evse.phases) * min_a, self.evse.max_a)
            max_a = max(max_a, min_a) if not trouble else max_a
        if dimmed is not None and dimmed[0] < max_a:
            max_a, cap = dimmed
        return Demand(
            ref=self.evse.ref,
            phases=self.phases_to_come,
            min_a=min_a,
            max_a=max_a,
            needs_a=self._need.needs_a,
            why=self._need.why,
            priority=self.evse.priority,
            rank=rank,
            cap=cap,
        )

    def bring(
        self, allocation: Allocation | None, ledger: Headroom, now: float, *, urgent: bool
    ) -> list[SetLimit]:
        """What to send so that it comes to its allocation (None: it gets none, its floor will do).

        A rise goes only into room that is left in `ledger`, where everybody is booked, and is booked there.
        """
        if allocation is not None and self.model.switch.changing:
            allocation = Allocation(self.evse.ref, 0.0, self._changes())
        target_a = self.evse.fallback_a if allocation is None else allocation.limit_a
        booked_a = self._booked_a(now)
        problem = self.delivery.problem(now)
        commands = self.delivery.commands(
            target_a,
            self._ceiling_a(booked_a, ledger),
            now,
            urgent=urgent,
            idle=allocation is None and not problem and not self.delivery.holds,
        )
        offered_a = self.delivery.offered_a(now)
        self.model.draw.offer(offered_a, now)
        if self.may_draw:
            ledger.book(self.evse, self.model.phases, max(0.0, offered_a - booked_a))
        self.reason = self._why(allocation, problem, offered_a, booked_a)
        return commands

    def news(self, now: float) -> LoggedDecision | None:
        """Its limit and the reason, when it is time to tell people of a change."""
        told = LoggedDecision(self.evse.ref, self.delivery.offered_a(now), self.reason)
        return told if self._news.worth_telling(told, now) else None

    def view(self, now: float) -> EvseView:
        """How it looks to people."""
        return EvseView(
            ref=self.evse.ref,
            connected=self.delivery.connected,
            state=self.model.state,
            offered_a=self.delivery.offered_a(now),
            drawn_a=self.model.draw.drawn,
            reason=self.reason,
            habits=self.manners.habits,
            single_phase=self.model.switch.single,
            draw_unknown=self.model.draw.unknown,
        )

    def _phases_at_risk(self, now: float) -> PhaseFlags:
        """Where it may draw: on all phases where it is in doubt that it knows it is to use one."""
        in_doubt = self.model.switch.single and self.delivery.problem(now)
        return self.all_phases if in_doubt else self.model.phases

    @property
    def phases_to_come(self) -> PhaseFlags:
        """Where it is to draw, once a change that was decided is made."""
        switch = self.model.switch
        if not switch.changing:
            return self.model.phases
        return self.one_phase if switch.to_single else self.all_phases

    def _changes(self) -> str:
        return f"pauses, to charge on {'one phase' if self.model.switch.to_single else 'all phases'} then"

    def _booked_a(self, now: float) -> float:
        """The most that it may be taking now (A per phase), by its limits and by what it does."""
        return max(self.delivery.booked_a(now), self.model.draw.defiant_a)

    def _ceiling_a(self, booked_a: float, ledger: Headroom) -> float:
        """The highest that it may rise to by now: in whole tenths, nothing below its minimum."""
        ceiling_a = booked_a + max(0.0, ledger.room(self.evse, self.model.phases))
        ceiling_a = math.floor(ceiling_a * 10 + 1e-6) / 10
        return ceiling_a if ceiling_a >= self.evse.min_a else 0.0

    def _why(self, allocation: Allocation | None, problem: str, offered_a: float, booked_a: float) -> str:
        if problem:
            return f"{problem}: {booked_a:g} A kept free for it" if self.may_draw else problem
        if self.model.draw.overdraw_a:
            return f"draws {self.model.draw.defiant_a:g} A, though it may take {offered_a:g} A"
        if allocation is None:
            return "no car"
        if offered_a < allocation.limit_a - NOISE_A:
            return f"rising to {allocation.limit_a:g} A step by step, as others come down"
        return f"on one phase: {allocation.reason}" if self.model.switch.single else allocation.reason


def _flags(used: tuple[int, ...]) -> PhaseFlags:
    return (0 in used, 1 in used, 2 in used)
