"""What a simulated station tells of its outlets: built now, said when its turn comes."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime

from controller.demo.demo_frames import Payload
from controller.demo.site_physics import PhysicalOutlet
from controller.demo.station_messages import (
    MeteredSession,
    Sample,
    StationDialect,
    StationDialect2,
    StationDialect16,
    StationMessage,
)
from controller.demo.station_outbox import Outgoing, StationOutbox
from controller.demo.station_plan import StationPlan


class StationReporter:
    """Puts the station's messages into its outbox. `utc` is the world's clock (POSIX s)."""

    def __init__(
        self, plan: StationPlan, outbox: StationOutbox, utc: Callable[[], float] = time.time
    ) -> None:
        self.talk: StationDialect = StationDialect16() if plan.version == "ocpp1.6" else StationDialect2()
        self.states = {outlet.key[1]: "Available" for outlet in plan.outlets}
        """The state that each outlet was last said to be in."""
        self._plan, self._outbox, self._world_utc = plan, outbox, utc

    def utc(self) -> float:
        """The station's own clock (POSIX s)."""
        return self._world_utc() - self._plan.slow_s

    def when(self) -> str:
        """A timestamp on the station's own clock."""
        return datetime.fromtimestamp(self.utc(), UTC).isoformat(timespec="milliseconds")

    def heartbeat(self) -> None:
        """A sign of life."""
        self._outbox.post(lambda: StationMessage("Heartbeat", {}), kept=False)

    def state(self, evse: int, state: str) -> None:
        """An outlet's state, outside a transaction."""
        self.states[evse] = state
        when = self.when()
        self._outbox.post(lambda: self.talk.status(evse, state, when), kept=False)

    def authorize(self, tag: str) -> Outgoing:
        """Ask whether a driver may charge."""
        return self._outbox.post(lambda: self.talk.authorize(tag), kept=False)

    def started(self, session: MeteredSession, outlet: PhysicalOutlet) -> None:
        """A transaction begins. The answer may give it a number."""
        sample, when = _sample(outlet), self.when()

        def take_number(result: Payload) -> None:
            session.number = result.get("transactionId")

        self._outbox.post(lambda: self.talk.started(session, sample, when), kept=True, then=take_number)

    def charging_state(self, session: MeteredSession, state: str) -> None:
        """A running transaction changes its state."""
        self.states[session.evse] = state
        when = self.when()
        kept = self._plan.version != "ocpp1.6"  # there it is a status of the outlet, not of the transaction
        self._outbox.post(lambda: self.talk.charging_state(session, state, when), kept=kept)

    def metered(self, session: MeteredSession, outlet: PhysicalOutlet) -> None:
        """What the outlet's meter shows. Left out while the outbox is crowded: it must not grow for ever."""
        if self._outbox.crowded:
            return
        sample, when = _sample(outlet), self.when()
        self._outbox.post(lambda: self.talk.metered(self._plan.make, session, sample, when), kept=True)

    def stopped(self, session: MeteredSession, outlet: PhysicalOutlet) -> None:
        """A transaction is over."""
        sample, when = _sample(outlet), self.when()
        self._outbox.post(lambda: self.talk.stopped(session, sample, when), kept=True)


def _sample(outlet: PhysicalOutlet) -> Sample:
    return Sample(outlet.station_phases_a(), outlet.energy_wh, len(outlet.plan.phases))
