"""Service that asks stations for meter values, or sets what they report, where they report too seldom."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from typing import Literal

import trio

from controller.config import Config
from controller.load_management.evse.report_requests import ReportRequests
from controller.local_csms.csms_settings import CsmsSettings
from controller.local_csms.station_setup import StationSetup
from controller.model.observations import EvseRef
from controller.ocpp.payloads import is_accepted
from controller.ocpp.trigger_messages import trigger_meter_values
from controller.stations.registry import SessionRegistry
from controller.stations.session import StationSession

log = logging.getLogger("controller.services.load_management.meter_values_service")

MeterValuesMode = Literal["request", "configure", "off"]

CHECK_S = 15.0
"""Interval of the check for EVSEs that do not report."""
CONFIGURED_S = 30
"""Interval of meter values that stations are set to (s)."""
REMEDY = {
    "off": 'set meter_values = "request" or "configure" of [load_management]',
    "request": 'it does not answer requests either: set meter_values = "configure"',
    "configure": "check its firmware and the interval of its meter values",
}


def meter_values_modes(config: Config) -> dict[str, MeterValuesMode]:
    """Return the mode of each station of a configuration."""
    return dict.fromkeys((station.id for station in config.station), config.load_management.meter_values)


class MeterValuesService:
    """Asks the stations in `modes` for their meter values, each by its mode.

    `find_silent` returns the EVSEs that may draw and have not reported how much for too long, `find_seldom`
    those that report, but too seldom for what depends on it.
    """

    def __init__(
        self,
        modes: dict[str, MeterValuesMode],
        registry: SessionRegistry,
        find_silent: Callable[[], Collection[EvseRef]],
        find_seldom: Callable[[], Collection[EvseRef]],
    ) -> None:
        self._modes = modes
        self._registry = registry
        self._find_silent = find_silent
        self._find_seldom = find_seldom
        self._requests = ReportRequests()
        self._sessions: dict[str, StationSession] = {}

    def set_modes(self, modes: dict[str, MeterValuesMode]) -> None:
        """Ask the stations in `modes` from now on."""
        self._modes = modes

    async def run(self) -> None:
        """Check all stations from time to time; until cancelled."""
        while True:
            async with trio.open_nursery() as nursery:  # the next check waits for the answers of this one
                self._check(nursery)
            await trio.sleep(CHECK_S)

    def _check(self, nursery: trio.Nursery) -> None:
        for station, mode in self._modes.items():
            session = self._registry.find_session(station)
            if session is None or not session.is_open or self._sessions.get(station) is session:
                continue
            self._sessions[station] = session
            self._requests.on_connected(station)
            if mode == "configure":
                nursery.start_soon(self._configure, station, session)
        now = trio.current_time()
        begun, ended = self._requests.set_unreported(set(self._find_silent()), now)
        for ref in begun:
            log.warning(
                "station reports too seldom evse=%s: its draw counts as its whole offer; %s",
                ref,
                REMEDY[self._modes[ref.station]],
            )
        for ref in ended:
            log.info("station reports again evse=%s", ref)
        for ref in self._requests.take_due(now, self._find_seldom()):
            session = self._registry.find_session(ref.station)
            if session is not None and session.is_open and self._modes[ref.station] != "off":
                nursery.start_soon(self._request, ref, session)

    async def _request(self, ref: EvseRef, session: StationSession) -> None:
        payload = trigger_meter_values(session.version, ref.evse)
        answer = await session.request("TriggerMessage", payload)
        self._requests.on_answer(
            ref.station, accepted=answer.result is not None and is_accepted(answer.result)
        )

    async def _configure(self, station: str, session: StationSession) -> None:
        """Set interval and measurands as far as the station accepts changes of them."""
        settings = CsmsSettings(meter_values_s=CONFIGURED_S, keeps_shorter=True, sends_local_list=False)
        setup = StationSetup(session.version, settings, None)
        while (call := setup.next_call()) is not None:
            answer = await session.request(call.action, call.payload)
            setup.on_answer(answer.result)
        if setup.skipped:
            log.warning(
                "meter values not configured station=%s rejected=%s: set their interval at the station",
                station,
                ",".join(setup.skipped),
            )
