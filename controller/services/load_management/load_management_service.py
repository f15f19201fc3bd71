"""Load management service: passes events and the time to `SiteControl`, and queues the limits that follow.

`SiteControl` is sans-IO and has no OCPP. `StationLimits` is the side of the stations: it reports what they
send and sends the limits.
"""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

import trio

from controller.chargers.quirks import Quirk
from controller.config import Config
from controller.load_management.energy.energy_planner import EnergyPlanner
from controller.load_management.events import (
    ControlTick,
    GroupLimit,
    LimitAnswered,
    QuirkSelected,
    SetLimit,
    SiteEvent,
)
from controller.load_management.site_builder import build_site, site_settings
from controller.load_management.site_control import SiteControl
from controller.load_management.site_view import EvseDraws, EvseView, SiteView, SiteViewParts
from controller.model.observations import EvseRef
from controller.services.load_management.limit_queue import LimitQueue
from controller.services.machine.wall_clock import find_time_of_day
from controller.store.state_store import StateStore
from controller.transport.deadline_timer import DeadlineTimer

log = logging.getLogger("controller")


class LoadManagementService:
    """Runs the control of a site. `quirks`: those of stations that have booted before this start.

    Limits are sent while `run` runs.
    """

    def __init__(self, config: Config, store: StateStore, quirks: Mapping[str, Quirk]) -> None:
        self.site = build_site(config)
        self._control = SiteControl(self.site, site_settings(config), trio.current_time())
        self._timer = DeadlineTimer(lambda: self._control.due_at)
        self._queue = LimitQueue(store)
        self._pending: dict[int, EvseRef] = {}
        """EVSE of each limit that is not answered yet, by its token."""
        for station, quirk in quirks.items():
            self._control.handle(QuirkSelected(station, quirk), trio.current_time())
        self._control.restore(self._queue.load_memories(), trio.current_time())
        if (time_of_day := find_time_of_day()) is not None:
            self._control.energy.set_clock(time_of_day, trio.current_time())
        for part in (self._control.energy, self._control.metering):
            part.restore(each for kind in part.record_types for each in store.load(kind))

    @property
    def energy(self) -> EnergyPlanner:
        """Return the energy plan of the site."""
        return self._control.energy

    @property
    def stored_evses(self) -> Iterable[EvseRef]:
        """EVSEs that have been sent a limit by this controller, before this start included."""
        return self._queue.stored_evses

    def view(self) -> SiteView:
        """Return the state of the site for people and monitoring."""
        return self._control.snapshots.take_view(trio.current_time())

    def view_parts(self) -> SiteViewParts:
        """Return the state of the site, read in parts."""
        return self._control.snapshots.take_parts(trio.current_time())

    def read_draws(self, refs: Iterable[EvseRef]) -> EvseDraws:
        """Return what EVSEs of the site draw."""
        return self._control.snapshots.draws(refs, trio.current_time())

    def view_evses(self, refs: Iterable[EvseRef]) -> list[EvseView]:
        """Return the state of EVSEs of the site."""
        return self._control.snapshots.view_evses(refs, trio.current_time())

    def booked_a(self, ref: EvseRef) -> float:
        """Return the most that an EVSE may draw by its limits (A per phase)."""
        return self._control.booked_a(ref, trio.current_time())

    def find_silent_evses(self) -> list[EvseRef]:
        """Return the EVSEs of which no recent report shows the draw, as `SiteControl.silent_evses` does."""
        return self._control.silent_evses(trio.current_time())

    def find_seldom_evses(self) -> list[EvseRef]:
        """Return the EVSEs that are to report more often, as `SiteControl.seldom_evses` does."""
        return self._control.seldom_evses(trio.current_time())

    def replace_site(
        self, config: Config, quirks: Mapping[str, Quirk], other_meters: Collection[str] = ()
    ) -> None:
        """Apply the circuits, meters and stations of another configuration.

        `quirks`: those of stations that have booted before. `other_meters`: those whose values mean something
        else than before. Raises ValueError if its grid connection is another one, or the number of phases of
        EVSEs that stay.
        """
        site, now = build_site(config), trio.current_time()
        added = {evse.ref for evse in site.evses} - self.site.evse_by_ref.keys()
        limits = self._control.replace_site(site, site_settings(config), now, other_meters)
        self.site = site
        for station in sorted({ref.station for ref in added} & quirks.keys()):
            self._control.handle(QuirkSelected(station, quirks[station]), now)
        memories = self._queue.load_memories() if added else {}
        self._control.restore({ref: memory for ref, memory in memories.items() if ref in added}, now)
        if limits:
            self._queue_limits(limits, set(), now)
        self.share_current()

    def handle_event(self, event: SiteEvent) -> None:
        """Pass an event to the site's control and queue the limits that follow."""
        control, now = self._control, trio.current_time()
        limits = control.handle(event, now)
        for line in control.take_log():
            log.log(logging.WARNING if line.warning else logging.INFO, "%s", line)
        concerned = set(control.unsaved_evses)
        if isinstance(event, LimitAnswered) and (ref := self._pending.pop(event.token, None)):
            concerned.add(ref)
        if limits or concerned:
            self._queue_limits(limits, concerned, now)
        if control.energy.records:
            self._queue.add_records(control.energy.take_records())
        if control.metering.unsaved:
            self._queue.add_records(control.metering.take_records())
        self._timer.update()

    def _queue_limits(self, limits: Sequence[SetLimit], concerned: set[EvseRef], now: float) -> None:
        """Queue limits with the records of their EVSEs, and of the others that are concerned."""
        for limit in limits:
            concerned.add(limit.ref)
            self._pending[limit.token] = limit.ref
        self._queue.add(limits, self._control.delivery_records(concerned, now))

    def share_current(self) -> None:
        """Let the site's control make a pass at the present time of day."""
        self.handle_event(ControlTick(find_time_of_day()))

    def set_site_limit(self, limit_a: float | None) -> None:
        """Apply the backend's limit of the whole site (A per phase); None: no limit."""
        self.handle_event(GroupLimit(limit_a))

    async def run(self, send_limit: Callable[[SetLimit], None]) -> None:
        """Send limits, and let the site decide again when it is due; until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._queue.run, send_limit, self.handle_event)
            while True:
                await self._timer.wait_due()
                self.share_current()
                # Tuples that take the memory of former ones count for no run of the collector: one would come
                # by chance, and hold the loop for those of many slices.
                gc.collect(0)
