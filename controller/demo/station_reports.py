"""Reports of a simulated station: built now, sent when their turn comes."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime

from controller.demo.demo_frames import Payload
from controller.demo.site_physics import PhysicalEvse
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
    """Writer of the station's messages into its outbox. `utc` is the true clock (POSIX s)."""

    def __init__(
        self, plan: StationPlan, outbox: StationOutbox, utc: Callable[[], float] = time.time
    ) -> None:
        self.dialect: StationDialect = StationDialect16() if plan.version == "ocpp1.6" else StationDialect2()
        self.states = {evse.key[1]: "Available" for evse in plan.evses}
        """Last reported state of each EVSE."""
        self._plan, self._outbox, self._world_utc = plan, outbox, utc

    def utc(self) -> float:
        """Return the time of the station's own clock (POSIX s)."""
        return self._world_utc() - self._plan.slow_s

    def when(self) -> str:
        """Return a timestamp of the station's own clock."""
        return datetime.fromtimestamp(self.utc(), UTC).isoformat(timespec="milliseconds")

    def heartbeat(self) -> None:
        """Queue a Heartbeat."""
        self._outbox.post(lambda: StationMessage("Heartbeat", {}), kept=False)

    def state(self, evse: int, state: str) -> None:
        """Queue the state of an EVSE outside a transaction."""
        self.states[evse] = state
        when = self.when()
        self._outbox.post(lambda: self.dialect.status(evse, state, when), kept=False)

    def authorize(self, tag: str) -> Outgoing:
        """Queue the Authorize of a driver."""
        return self._outbox.post(lambda: self.dialect.authorize(tag), kept=False)

    def started(self, session: MeteredSession, evse: PhysicalEvse) -> None:
        """Queue the start of a transaction, whose answer may have its number."""
        sample, when = _sample(evse), self.when()

        def take_number(result: Payload) -> None:
            session.number = result.get("transactionId")

        self._outbox.post(lambda: self.dialect.started(session, sample, when), kept=True, then=take_number)

    def charging_state(self, session: MeteredSession, state: str) -> None:
        """Queue a changed state of a running transaction."""
        self.states[session.evse] = state
        when = self.when()
        kept = self._plan.version != "ocpp1.6"  # there it is a status of the EVSE, not of the transaction
        self._outbox.post(lambda: self.dialect.charging_state(session, state, when), kept=kept)

    def metered(self, session: MeteredSession, evse: PhysicalEvse) -> None:
        """Queue meter values, unless the outbox is crowded."""
        if self._outbox.is_crowded:
            return
        sample, when = _sample(evse), self.when()
        self._outbox.post(lambda: self.dialect.metered(self._plan.identity, session, sample, when), kept=True)

    def stopped(self, session: MeteredSession, evse: PhysicalEvse) -> None:
        """Queue the end of a transaction."""
        sample, when = _sample(evse), self.when()
        self._outbox.post(lambda: self.dialect.stopped(session, sample, when), kept=True)


def _sample(evse: PhysicalEvse) -> Sample:
    return Sample(evse.station_phases_a(), evse.energy_wh, len(evse.plan.phases))
