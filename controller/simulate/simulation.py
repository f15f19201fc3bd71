"""Simulation of a day: physics, meters and stations around the real SiteControl, on virtual time.

Every meter is good and every station obeys: the result is what the site and its limits yield, not what
faults cost. In each step cars come and go, stations apply what they were sent, current flows, meters and
stations report, and the control shares the current. Beside it an omniscient allocator shows what was possible
under the same limits, margins and quarter-hour targets: in each quarter hour it spends what the building,
whose load it has in advance, leaves of the target.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence

from msgspec.structs import replace

from controller.config import Config
from controller.load_management.energy.price_series import PriceSeries
from controller.load_management.events import (
    ControlTick,
    LimitAnswered,
    MeterUpdated,
    SetLimit,
    SiteEvent,
    StationObserved,
    StationUp,
)
from controller.load_management.site_builder import build_site, find_refs, site_settings
from controller.load_management.site_control import SiteControl
from controller.load_management.site_tree import ZERO, PhaseAmps
from controller.simulate.day_clock import MINUTE_S, QUARTER_S, DayClock
from controller.simulate.day_file import Day, Stay
from controller.simulate.day_record import DayRecord, SimulatedCircuit, SimulatedEvseRecord
from controller.simulate.omniscient_allocator import QuarterAllowance, max_min_shares
from controller.simulate.simulated_evse import SimulatedEvse
from drivers.reading import MeterState, Quality, Reading

STEP_S = 2.0
SAMPLE_S = 10.0
"""Interval at which the cars' draw is compared with what was possible."""

TAKEN_A = 0.5
"""A car whose draw is below its need by no more than this takes all it can."""


def simulate(
    config: Config,
    day: Day,
    date: str = "2026-01-15",
    prices: PriceSeries | None = None,
    departures: str | None = None,
) -> DayRecord:
    """Simulate what the circuits and EVSEs of a configuration get on this day of the site's calendar.

    `date`: the day ("2026-11-27") whose weekday and time zone the calendar and departures see. `prices`: of
    energy. `departures`: text of a CSV file of departures. Times of `day` are those of the site's clock, also
    where it is changed. Raises EnergyFileError for departures that cannot be used.
    """
    record = _Simulation(config, day, date, prices, departures).run()
    record.has_prices = prices is not None and record.clock.has_any(prices.price_at)
    record.uncounted = _find_uncounted(config, has_prices=record.has_prices)
    return record


def _find_uncounted(config: Config, *, has_prices: bool) -> tuple[str, ...]:
    """Return the settings that bound the cars of the day, but not the omniscient allocator."""
    modes = {evse.mode for station in config.station for evse in station.evse}
    modes |= {entry.mode for entry in config.calendar if entry.mode is not None}
    are_set = {
        "unbalance_a": any(circuit.unbalance_a is not None for circuit in config.circuit),
        "surplus mode": "surplus" in modes,
        "quotas": any(group.quota_kwh is not None for group in config.group),
        "prices": has_prices,
    }
    return tuple(name for name, is_set in are_set.items() if is_set)


class _Simulation:
    def __init__(
        self, config: Config, day: Day, date: str, prices: PriceSeries | None, departures: str | None
    ) -> None:
        self._site = build_site(config)
        settings = site_settings(config)
        self._voltage_v, self._tick_s = settings.voltage_v, settings.tick_s
        self._clock = DayClock(date, settings.energy.zone)
        self._loads = day.loads
        self._battery = settings.energy.battery
        self._control = SiteControl(self._site, settings, 0.0)
        self._control.energy.set_clock(self._clock.begin_utc, 0.0)
        if prices is not None:
            self._control.energy.evses.prices.set_prices(prices)
        if departures is not None:
            plan = self._control.energy.evses.departures
            plan.read_file(departures, lambda name: find_refs(config, name))
        self._evses = {evse.ref: SimulatedEvse(evse) for evse in self._site.evses}
        stays = _elapsed(day.stays, self._clock)
        self._coming = deque(stays)
        self._leaving = deque(sorted(stays, key=lambda stay: stay.end_s))
        self._sent: list[SetLimit] = []
        self._now = 0.0
        self._ticked_at = self._sampled_at = 0.0
        self._registers_wh = {circuit.id: 0.0 for circuit in self._site.circuits}
        self._allowances: dict[str, QuarterAllowance] = {}
        """Energy that quarter-hour targets leave the omniscient allocator, by circuit."""
        self._quarter = -1
        self._paths = {c.id: [each.id for each in self._site.path(c.id)] for c in self._site.circuits}
        self._record = DayRecord(
            [SimulatedCircuit(circuit, self._clock) for circuit in self._site.circuits],
            {evse.ref: SimulatedEvseRecord(evse.ref, evse.max_a, self._clock) for evse in self._site.evses},
            self._clock,
        )
        self._circuits = {record.circuit.id: record for record in self._record.circuits}
        for stay in stays:
            self._record.evses[stay.ref].asked_wh += stay.need_wh

    def run(self) -> DayRecord:
        for station in dict.fromkeys(ref.station for ref in self._evses):
            self._handle(StationUp(station))
        for ref, evse in self._evses.items():
            self._handle(StationObserved(ref.station, evse.report_state()))
        for step in range(1, int(self._clock.length_s / STEP_S) + 1):
            self._now = step * STEP_S
            self._plug_and_unplug()
            self._apply_limits()
            self._charge()
            self._flow()
            self._report()
            if self._now - self._ticked_at >= self._tick_s:
                self._ticked_at = self._now
                self._handle(ControlTick(self._clock.begin_utc + self._now))
            if self._now - self._sampled_at >= SAMPLE_S:
                self._sampled_at = self._now
                self._compare()
            if self._now % MINUTE_S < STEP_S:
                self._record_minute()
        return self._record

    def _handle(self, event: SiteEvent) -> None:
        limits = self._control.handle(event, self._now)
        self._sent += limits
        for limit in limits:
            self._record.evses[limit.ref].writes += self._evses[limit.ref].physical.car is not None

    def _plug_and_unplug(self) -> None:
        """Let cars leave before others come: the next may come to the same EVSE in the same moment."""
        while self._leaving and self._leaving[0].end_s <= self._now:
            ref = self._leaving.popleft().ref
            for observation in self._evses[ref].unplug():
                self._handle(StationObserved(ref.station, observation))
        while self._coming and self._coming[0].begin_s <= self._now:
            stay = self._coming.popleft()
            for circuit in self._paths[self._evses[stay.ref].evse.circuit]:
                self._circuits[circuit].causes.add_arrival(self._now)
            for observation in self._evses[stay.ref].plug(stay):
                self._handle(StationObserved(stay.ref.station, observation))

    def _apply_limits(self) -> None:
        sent, self._sent = self._sent, []
        for limit in sent:
            self._record.evses[limit.ref].stops += self._evses[limit.ref].apply_limit(limit, self._now)
            self._handle(LimitAnswered(limit.token, True))

    def _charge(self) -> None:
        for ref, evse in self._evses.items():
            energy_wh = evse.advance(self._now, STEP_S, self._voltage_v)
            if evse.physical.car is not None:
                self._record.evses[ref].add(evse.physical.drawn_a, energy_wh, STEP_S)

    def _flow(self) -> None:
        building = self._building(self._now)
        flows = self._sum_up(self._own_loads(self._now), with_cars=True)
        minute = self._minute()
        if self._battery is not None:
            self._show(self._battery.meter, ZERO, 0.0)
        for record in self._record.circuits:
            circuit, amps = record.circuit, flows[record.circuit.id]
            watts = sum(amps) * self._voltage_v
            record.add(amps, minute, STEP_S)
            record.add_power(watts, minute, STEP_S)
            record.causes.add(amps, building[circuit.id], circuit.limit_a, self._now, STEP_S)
            if circuit.meter is not None:
                shown_a = building[circuit.id] if circuit.measures_building else amps
                shown_w = sum(shown_a) * self._voltage_v
                self._registers_wh[circuit.id] += max(0.0, shown_w) * STEP_S / 3600
                self._show(circuit.meter, shown_a, shown_w, self._registers_wh[circuit.id])

    def _show(self, meter: str, amps: PhaseAmps, watts: float, import_wh: float | None = None) -> None:
        """Let a meter be read."""
        reading = Reading(
            time=self._now,
            current_a=amps,
            voltage_v=(self._voltage_v,) * 3,
            power_total_w=watts,
            energy_import_wh=import_wh,
        )
        self._handle(MeterUpdated(MeterState(meter=meter, quality=Quality.GOOD, reading=reading)))

    def _sum_up(self, loads: Mapping[str, PhaseAmps], *, with_cars: bool = False) -> dict[str, PhaseAmps]:
        """Return the A per phase through each circuit: its own load, all below it, and the cars."""
        sums = {circuit.id: list(loads.get(circuit.id, ZERO)) for circuit in self._site.circuits}
        for evse in self._evses.values() if with_cars else ():
            for phase in evse.physical.used_phases:
                sums[evse.evse.circuit][phase] += evse.physical.drawn_a
        for circuit in reversed(self._site.circuits):  # children first
            if circuit.parent is not None:
                for phase in range(3):
                    sums[circuit.parent][phase] += sums[circuit.id][phase]
        return {circuit: (a, b, c) for circuit, (a, b, c) in sums.items()}

    def _compare(self) -> None:
        """Add what the cars draw, and what an omniscient allocator would give under the same margins.

        Rows of the problem are the phases of all circuits, and all phases together where power is limited.
        """
        building = self._building(self._now)
        self._begin_quarter()
        room: list[float] = []
        rows: dict[str, int] = {}
        sums: dict[str, int] = {}
        calendar = self._control.energy.calendar
        for circuit in self._site.circuits:
            margin_a = self._control.metering.margin_a(circuit)
            rows[circuit.id] = len(room)
            limits_a = calendar.limit_a(circuit)
            own_a = building[circuit.id]
            room += [limit_a - margin_a - amps for limit_a, amps in zip(limits_a, own_a, strict=True)]
            limit_w = calendar.limit_w(circuit)
            bounds_a = [] if limit_w is None else [limit_w / self._voltage_v - sum(own_a) - 3 * margin_a]
            if (allowance := self._allowances.get(circuit.id)) is not None:
                bounds_a.append(allowance.left_a(self._now - SAMPLE_S))
            if bounds_a:
                sums[circuit.id] = len(room)
                room.append(min(bounds_a))
        cars = [evse for evse in self._evses.values() if evse.physical.car is not None]
        loads = [self._rows_of(evse, rows, sums) for evse in cars]
        order = sorted(range(len(cars)), key=lambda i: (-cars[i].evse.priority, cars[i].evse.ref))
        maxima = [evse.physical.wanted_a for evse in cars]
        shares = max_min_shares(loads, room, [evse.evse.min_a for evse in cars], maxima, order)
        for evse, share in zip(cars, shares, strict=True):
            for circuit_id in self._paths[evse.evse.circuit]:
                if circuit_id in self._allowances:
                    self._allowances[circuit_id].use(share * len(evse.physical.used_phases), SAMPLE_S)
        self._record.add_sample(
            sum(evse.physical.drawn_a * len(evse.physical.used_phases) for evse in cars),
            sum(share * len(evse.physical.used_phases) for evse, share in zip(cars, shares, strict=True)),
            self._minute(),
            SAMPLE_S,
            self._voltage_v,
        )

    def _begin_quarter(self) -> None:
        """Give the omniscient allocator the energy of a new quarter hour, and record the targets."""
        quarter = int((self._now - SAMPLE_S) // QUARTER_S)
        if quarter == self._quarter:
            return
        self._quarter = quarter
        begin, end = quarter * QUARTER_S, (quarter + 1) * QUARTER_S
        peaks = self._control.energy.view(self._now).peaks
        samples = range(int(begin), int(end), int(SAMPLE_S))
        buildings = [self._building(float(second)) for second in samples] if peaks else []
        self._allowances = {}
        for peak in peaks:
            self._circuits[peak.circuit].targets_w[quarter] = peak.target_w
            building_as = SAMPLE_S * sum(sum(amps[peak.circuit]) for amps in buildings)
            left_as = peak.target_w / self._voltage_v * QUARTER_S - building_as
            self._allowances[peak.circuit] = QuarterAllowance(left_as, end)

    def _building(self, now: float) -> dict[str, PhaseAmps]:
        """Return what flows through each circuit without cars (A per phase)."""
        return self._sum_up(self._own_loads(now))

    def _own_loads(self, now: float) -> dict[str, PhaseAmps]:
        """Return what each circuit carries beside the EVSEs and the circuits below (A per phase)."""
        wall_s = self._clock.wall_s(now)
        return {circuit: load(wall_s) for circuit, load in self._loads.items()}

    def _rows_of(self, evse: SimulatedEvse, rows: Mapping[str, int], sums: Mapping[str, int]) -> list[int]:
        used = evse.physical.used_phases
        path = self._paths[evse.evse.circuit]
        return [rows[circuit] + phase for circuit in path for phase in used] + [
            sums[circuit] for circuit in path if circuit in sums for _ in used
        ]

    def _report(self) -> None:
        for ref, evse in self._evses.items():
            for observation in evse.report(self._now):
                self._handle(StationObserved(ref.station, observation))

    def _record_minute(self) -> None:
        """Record at the end of a minute what each EVSE with a car draws, and the reason."""
        for view in self._control.snapshots.take_view(self._now).evses:
            physical = self._evses[view.ref].physical
            if physical.car is not None:
                takes_all = physical.drawn_a >= physical.wanted_a - TAKEN_A
                reason = "" if takes_all else view.statement.kind
                self._record.evses[view.ref].minute(self._minute(), physical.drawn_a, reason)

    def _minute(self) -> int:
        return min(self._clock.minutes - 1, int((self._now - STEP_S) / MINUTE_S))


def _elapsed(stays: Sequence[Stay], clock: DayClock) -> list[Stay]:
    """Return the stays by the time since the day's begin; those in an hour that is left out are not there."""
    found = [
        replace(stay, begin_s=clock.elapsed_s(stay.begin_s), end_s=clock.elapsed_s(stay.end_s))
        for stay in stays
    ]
    return [stay for stay in found if stay.begin_s < stay.end_s]
