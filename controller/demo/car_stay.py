"""A car's stay at an EVSE, from plug to plug."""

from __future__ import annotations

import random
import uuid

import trio

from controller.demo.car_visits import Visit, generate_visits
from controller.demo.command_responder import CommandResponder
from controller.demo.simulated_car import PAUSE_BELOW_A, Car
from controller.demo.site_physics import PhysicalEvse
from controller.demo.station_messages import MeteredSession
from controller.demo.station_reports import StationReporter

POLL_S = 0.5
"""Interval in which the station polls its contactor and its car."""


async def receive_cars(
    seed: str, evse: PhysicalEvse, reporter: StationReporter, responder: CommandResponder, meter_s: float
) -> None:
    """Receive one car after the other until cancelled; meter values are reported every `meter_s`."""
    dice = random.Random(seed)
    phases = min(len(evse.plan.phases), dice.choice((1, 2, 3, 3)))
    for visit in generate_visits(seed, phases, dice.uniform(1, 12)):
        await trio.sleep(visit.gap_s)
        await _receive(visit, evse, reporter, responder, meter_s)


async def _receive(
    visit: Visit,
    evse: PhysicalEvse,
    reporter: StationReporter,
    responder: CommandResponder,
    meter_s: float,
) -> None:
    number = evse.plan.key[1]
    evse.car = car = Car(visit.car)
    reporter.state(number, "Preparing")
    await trio.sleep(visit.card_delay_s)
    # Without a link there is no answer; the driver is then on the station's local list.
    await reporter.authorize(visit.tag).done.wait()
    session = MeteredSession(
        evse=number,
        transaction=str(uuid.uuid4()),
        tag=visit.tag,
        since=reporter.utc(),
        phases=len(evse.used_phases),
    )
    responder.begin(session)
    reporter.started(session, evse)
    evse.enabled = True
    await _charge(session, evse, car, reporter, meter_s)
    await trio.sleep(visit.linger_s)
    evse.enabled = False
    evse.car = None
    responder.end(session)
    reporter.stopped(session, evse)
    reporter.state(number, "Finishing")
    reporter.state(number, "Available")


async def _charge(
    session: MeteredSession, evse: PhysicalEvse, car: Car, reporter: StationReporter, meter_s: float
) -> None:
    """Report changes of state and meter values until the car is full."""
    reported = ""
    metered_at = trio.current_time()
    while not car.full:
        state = "Charging" if evse.offered_a >= PAUSE_BELOW_A else "SuspendedEVSE"
        if state != reported:
            reporter.charging_state(session, state)
            reported = state
        if trio.current_time() - metered_at >= meter_s:
            metered_at = trio.current_time()
            reporter.metered(session, evse)
        await trio.sleep(POLL_S)
    reporter.charging_state(session, "SuspendedEV")
    reporter.metered(session, evse)
