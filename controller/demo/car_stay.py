"""A car's stay at an outlet, from plug to plug."""

from __future__ import annotations

import random
import uuid

import trio

from controller.demo.car_visits import Visit, visits
from controller.demo.command_responder import CommandResponder
from controller.demo.simulated_car import PAUSE_BELOW_A, Car
from controller.demo.site_physics import PhysicalOutlet
from controller.demo.station_messages import MeteredSession
from controller.demo.station_reports import StationReporter

LOOK_S = 0.5
"""How often the station looks at its contactor and its car."""


async def receive_cars(
    seed: str, outlet: PhysicalOutlet, voice: StationReporter, desk: CommandResponder, meter_s: float
) -> None:
    """One car after the other, until cancelled. The meter's values are told every `meter_s`."""
    dice = random.Random(seed)
    phases = min(len(outlet.plan.phases), dice.choice((1, 2, 3, 3)))
    for visit in visits(seed, phases, dice.uniform(1, 12)):
        await trio.sleep(visit.gap_s)
        await _receive(visit, outlet, voice, desk, meter_s)


async def _receive(
    visit: Visit, outlet: PhysicalOutlet, voice: StationReporter, desk: CommandResponder, meter_s: float
) -> None:
    evse = outlet.plan.key[1]
    outlet.car = car = Car(visit.car)
    voice.state(evse, "Preparing")
    await trio.sleep(visit.fumble_s)
    # Without a link there is no answer: then the driver is on the station's own list.
    await voice.authorize(visit.tag).done.wait()
    session = MeteredSession(
        evse=evse,
        transaction=str(uuid.uuid4()),
        tag=visit.tag,
        since=voice.utc(),
        phases=len(outlet.used_phases),
    )
    desk.begin(session)
    voice.started(session, outlet)
    outlet.enabled = True
    await _charge(session, outlet, car, voice, meter_s)
    await trio.sleep(visit.linger_s)
    outlet.enabled = False
    outlet.car = None
    desk.end(session)
    voice.stopped(session, outlet)
    voice.state(evse, "Finishing")
    voice.state(evse, "Available")


async def _charge(
    session: MeteredSession, outlet: PhysicalOutlet, car: Car, voice: StationReporter, meter_s: float
) -> None:
    """Until the car is full: tell each change of state, and the meter's values now and then."""
    told = ""
    metered_at = trio.current_time()
    while not car.full:
        state = "Charging" if outlet.offered_a >= PAUSE_BELOW_A else "SuspendedEVSE"
        if state != told:
            voice.charging_state(session, state)
            told = state
        if trio.current_time() - metered_at >= meter_s:
            metered_at = trio.current_time()
            voice.metered(session, outlet)
        await trio.sleep(LOOK_S)
    voice.charging_state(session, "SuspendedEV")
    voice.metered(session, outlet)
