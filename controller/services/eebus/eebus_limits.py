"""State machines behind the EEBUS node: consumption in the dimming service, production here.

A limit of consumption goes to the dimming service, which applies it at once; it is answered after
`wait_stored`, with its state and evidence durable. Limits of production are reported, and not enforced.
"""

from __future__ import annotations

import logging

import trio

from controller.dimming.events import EebusAction, EebusProof, EebusReported, ProductionAnswered
from controller.services.dimming.dimming_service import DimmingService
from controller.store.eebus_store import EebusStore
from drivers.eebus.limitation import PowerDirection
from drivers.eebus.lpc import (
    Answered,
    ControllableSystem,
    Event,
    Failsafe,
    Heartbeat,
    LpcView,
    Moved,
    ObedienceChanged,
    SaveFailsafe,
    Tick,
)
from drivers.eebus.spine_device import LimitRequested

log = logging.getLogger("controller.eebus")

LOG_EVERY_S = 5.0
"""Least time between two refusals that are logged as warnings; all are counted."""


class EebusLimits:
    """Machines of all directions. `source`: the id of the energy guard among the sources of limits."""

    def __init__(
        self, source: str, dimming: DimmingService, store: EebusStore, production_w: float | None
    ) -> None:
        self.accepted = 0
        self.refused = 0
        self._refusal_logged_at = float("-inf")
        self._source = source
        self._dimming = dimming
        self._store = store
        self._production: ControllableSystem | None = None
        if production_w is not None:
            stored = store.load_production_failsafe()
            consumption = dimming.eebus_view(source).failsafe
            failsafe = Failsafe(*stored) if stored else Failsafe(production_w, consumption.duration_s)
            self._production = ControllableSystem(failsafe, 0.0, trio.current_time())

    @property
    def views(self) -> dict[PowerDirection, LpcView]:
        """State of each direction that is offered."""
        views = {PowerDirection.CONSUME: self._dimming.eebus_view(self._source)}
        if self._production is not None:
            views[PowerDirection.PRODUCE] = self._production.view
        return views

    @property
    def deadline(self) -> float | None:
        """Time of the next transition by time alone (s, monotonic)."""
        times = [view.deadline for view in self.views.values() if view.deadline is not None]
        return min(times, default=None)

    def decide(self, request: LimitRequested, ski: str) -> Answered:
        """Answer a write."""
        if request.direction is PowerDirection.CONSUME:
            answered = self._decide_consumption(request, ski)
        else:
            answered = self._decide_production(request, ski)
        self.accepted += answered.accepted
        self.refused += not answered.accepted
        self._log_answer(request, ski, answered)
        return answered

    async def wait_stored(self) -> None:
        """Wait until what was decided is stored, or kept in memory."""
        await self._dimming.evidence.wait_stored()

    def on_heartbeat(self) -> None:
        """Process a heartbeat of the energy guard."""
        self._report(Heartbeat())
        self._on_production(Heartbeat())

    def set_obstacle(self, obstacle: str) -> None:
        """Refuse active limits of consumption for a reason; empty: obey them again."""
        self._report(ObedienceChanged(obstacle))

    def on_tick(self) -> None:
        """Process the passing of time."""
        self._report(Tick())
        self._on_production(Tick())

    def _report(self, event: Event, proof: EebusProof | None = None) -> Answered:
        """Pass an event of the energy guard to dimming; return the answer to a write."""
        actions = self._dimming.handle_event(EebusReported(self._source, event, proof))
        answers = [each.action for each in actions if isinstance(each, EebusAction)]
        return answers[-1] if answers else Answered(False, "no answer")

    def _log_answer(self, request: LimitRequested, ski: str, answered: Answered) -> None:
        """Log a write and its answer; of refusals without end, one every LOG_EVERY_S."""
        now = trio.current_time()
        level = logging.INFO
        if not answered.accepted:
            level = logging.WARNING if now >= self._refusal_logged_at + LOG_EVERY_S else logging.DEBUG
            self._refusal_logged_at = now if level == logging.WARNING else self._refusal_logged_at
        log.log(
            level,
            "EEBUS write %s direction=%s ski=%s event=%s reason=%s",
            "accepted" if answered.accepted else "refused",
            request.direction.value,
            ski,
            request.event,
            answered.reason or "-",
        )

    def _proof(self, request: LimitRequested, ski: str) -> EebusProof:
        heartbeat_at = self._dimming.eebus_view(self._source).heartbeat_at
        age_s = None if heartbeat_at is None else trio.current_time() - heartbeat_at
        # The first byte is the type of the SHIP message; what follows is the datagram as it was received.
        return EebusProof(ski, request.received[1:], age_s)

    def _decide_consumption(self, request: LimitRequested, ski: str) -> Answered:
        proof = self._proof(request, ski)
        answered = self._report(request.event, proof)
        if self._production is not None:
            # The duration is shared: what consumption holds now, holds for production as well.
            self._production.share_duration(self._dimming.eebus_view(self._source).failsafe.duration_s)
        return answered

    def _decide_production(self, request: LimitRequested, ski: str) -> Answered:
        proof = self._proof(request, ski)
        answered = self._on_production(request.event)
        if self._production is not None:
            state = self._production.view.state
            written = EebusReported(self._source, request.event, proof)
            self._dimming.handle_event(ProductionAnswered(written, answered, state))
        return answered

    def _on_production(self, event: Event) -> Answered:
        answered = Answered(False, "production is not limited here")
        if self._production is None:
            return answered
        for action in self._production.handle(event, trio.current_time()):
            match action:
                case Answered():
                    answered = action
                case Moved(origin=origin, state=state, number=number):
                    log.info(
                        "LPP state changed from=%s to=%s transition=%d", origin.value, state.value, number
                    )
                case SaveFailsafe(failsafe=failsafe):
                    self._store.save_production_failsafe(failsafe.watts, failsafe.duration_s)
        return answered
