"""Rules of energy over hours: peaks, calendars, groups, departures, prices, DC stations, the battery."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence

from msgspec.structs import replace

from controller.config.circuit_rules import path_to_root
from controller.config.local_csms_rules import find_unlisted_cards
from controller.config.schema import CalendarConfig, CircuitConfig, Config
from controller.config.value_rules import LEAST_CHARGING_A, LEAST_W
from controller.tomlcheck.diagnostics import Problem, unknown_name
from controller.tomlcheck.positions import DataPath
from drivers.coded_text import coded, decimal, join_or, literal

MOST_KW = 5_000.0
"""A higher target or power of a station in kilowatts is most likely one in watts."""
LEAST_KW = 1.0
"""A lower target or power of a station in kilowatts is most likely one in megawatts."""
MOST_CAR_KWH = 200.0
"""Hardly any car has a larger battery; trucks have some 600 kWh."""
LEAST_CAR_KWH = 1.0
"""A lower energy of a car is most likely one in megawatt hours."""
QUARTER_MINUTES = 15
USUAL_PRICES = (0.01, 2.0)
"""Lowest and highest price of a kWh in euros at which cars are made to wait."""


def check_energy(config: Config) -> Iterator[Problem]:
    """Find what contradicts the circuits, meters and stations, and quantities in another unit."""
    yield from _peaks(config)
    yield from _calendar(config)
    yield from _groups(config)
    yield from _departures(config)
    yield from _dc(config)
    yield from _battery(config)


def find_energy_hints(config: Config) -> Iterator[Problem]:
    """Find quantities of energy in another unit, and those without effect."""
    yield from _small_powers(config)
    yield from _group_hints(config)
    yield from _car_energy(config)
    yield from _departure_hints(config)
    yield from _contradicting_entries(config)
    yield from _bounds_without_effect(config)
    yield from _entries_without_effect(config)
    yield from _limits_below_base_load(config)
    yield from _reserves_above_limits(config)
    yield from _peaks_within_quarters(config)
    yield from _unmeasured_feed_in(config)
    yield from _classes_without_card(config)
    least_w = LEAST_CHARGING_A * config.site.voltage
    for index, entry in enumerate(config.calendar):
        bounds = (
            ("limit_a", entry.limit_a, LEAST_CHARGING_A, "A"),
            ("limit_w", entry.limit_w, least_w, "W"),
            ("peak_kw", entry.peak_kw, least_w / 1000, "kW"),
        )
        for key, bound, least, unit in bounds:
            is_other_unit = key == "peak_kw" and bound is not None and bound < LEAST_KW
            if bound is not None and bound < least and not is_other_unit:
                yield Problem(
                    ("calendar", index, key),
                    coded(
                        "{bound} {unit} is below {least} {unit}: no car charges meanwhile",
                        bound=decimal(bound),
                        least=decimal(least),
                        unit=unit,
                    ),
                    coded("keep it if that is meant, else write what the circuit may carry"),
                )
    price = None if config.prices is None else config.prices.pause_above
    if price is not None and not USUAL_PRICES[0] <= abs(price) <= USUAL_PRICES[1] and price:
        meant = price / 100 if price > USUAL_PRICES[1] else price * 100
        yield Problem(
            ("prices", "pause_above"),
            coded("{price} is no usual price of a kWh in euros", price=decimal(price)),
            coded("did you mean {meant}? Keep it if the prices are in another unit", meant=literal(meant)),
        )


def _unmeasured_feed_in(config: Config) -> Iterator[Problem]:
    """Find what depends on the feed-in of a site whose grid connection has no meter."""
    grid = next((circuit for circuit in config.circuit if circuit.parent is None), None)
    if grid is None or grid.meter is not None:
        return
    modes: list[tuple[DataPath, str | None]] = [
        (("station", index, "evse", number, "mode"), evse.mode)
        for index, station in enumerate(config.station)
        for number, evse in enumerate(station.evse)
    ]
    modes += [(("calendar", index, "mode"), entry.mode) for index, entry in enumerate(config.calendar)]
    remedy = coded('name the meter of the grid connection: meter = "..." of circuit "{id}"', id=grid.id)
    for path, mode in modes:
        if mode == "surplus":
            yield Problem(
                path, coded('no car charges by it: no meter shows the feed-in of "{id}"', id=grid.id), remedy
            )
    if config.battery is not None:
        yield Problem(
            ("battery", "meter"),
            coded('has no effect: no meter shows the feed-in of "{id}"', id=grid.id),
            remedy,
        )


def _classes_without_card(config: Config) -> Iterator[Problem]:
    """Find classes of cards that no card has."""
    if config.local_csms.cards_file is not None:
        return
    used = {card.priority_class for card in config.card}
    for name, index in {each.id: index for index, each in enumerate(config.priority_class)}.items():
        if name not in used:
            path: DataPath = ("priority_class", index, "id")
            yield Problem(
                path,
                coded("has no effect: no card is of this class"),
                coded('set priority_class = "{id}" in a [[card]], or remove it', id=name),
                depends_on=path,
            )


def _small_powers(config: Config) -> Iterator[Problem]:
    powers: list[tuple[DataPath, float | None]] = [
        (("circuit", index, "peak_kw"), circuit.peak_kw) for index, circuit in enumerate(config.circuit)
    ]
    powers += [(("calendar", index, "peak_kw"), entry.peak_kw) for index, entry in enumerate(config.calendar)]
    for index, station in enumerate(config.station):
        powers += [
            (("station", index, "evse", number, "max_kw"), evse.max_kw)
            for number, evse in enumerate(station.evse)
        ]
    for path, power in powers:
        if power is not None and power < LEAST_KW:
            yield Problem(
                path,
                coded("{power} kW is too little for any car", power=decimal(power)),
                coded("did you mean {meant} (kW)?", meant=literal(power * 1000)),
            )


def _group_hints(config: Config) -> Iterator[Problem]:
    """Find groups without effect, guarantees that charge no car, and quotas too high or of no use."""
    limits = {circuit.id: sum(circuit.limits_a) for circuit in config.circuit}
    in_calendar = {entry.group for entry in config.calendar}
    for index, group in enumerate(config.group):
        path: DataPath = ("group", index)
        if not group.guaranteed_a and group.quota_kwh is None and group.id not in in_calendar:
            yield Problem(
                (*path, "id"),
                coded("has no effect: it has no guaranteed_a, no quota_kwh and no [[calendar]] entry"),
                coded("add one of them, or remove the group"),
                depends_on=path,
            )
        if group.guaranteed_a and group.guaranteed_a < LEAST_CHARGING_A:
            yield Problem(
                (*path, "guaranteed_a"),
                coded("{guaranteed_a} A is too little for any car", guaranteed_a=decimal(group.guaranteed_a)),
                coded("write {least_charging_a} or more, or 0", least_charging_a=literal(LEAST_CHARGING_A)),
            )
        if group.quota_kwh is None:
            continue
        day_kwh = max(limits.values(), default=0.0) * config.site.voltage / 1000 * 24
        if group.quota_kwh > day_kwh:
            yield Problem(
                (*path, "quota_kwh"),
                coded(
                    "{quota_kwh} kWh have no effect: the site carries {day_kwh} kWh a day",
                    quota_kwh=decimal(group.quota_kwh),
                    day_kwh=f"{day_kwh:.0f}",
                ),
                coded("did you mean {meant} (kWh)?", meant=literal(group.quota_kwh / 1000)),
            )
        elif group.quota_kwh < LEAST_CAR_KWH:
            yield Problem(
                (*path, "quota_kwh"),
                coded("{quota_kwh} kWh are used up in minutes", quota_kwh=decimal(group.quota_kwh)),
                coded("did you mean {meant} (kWh)?", meant=literal(group.quota_kwh * 1000)),
            )


def _limits_below_base_load(config: Config) -> Iterator[Problem]:
    """Find limits and peaks at or below what the building alone draws at worst."""
    circuits = {circuit.id: circuit for circuit in config.circuit}
    least_w = LEAST_CHARGING_A * config.site.voltage
    bounds: list[tuple[DataPath, CircuitConfig | None, float | None, float]] = [
        (("circuit", index, "peak_kw"), circuit, circuit.peak_kw, LEAST_KW)
        for index, circuit in enumerate(config.circuit)
    ]
    for index, entry in enumerate(config.calendar):
        named = circuits.get(entry.circuit or "")
        bounds.append((("calendar", index, "limit_a"), named, entry.limit_a, LEAST_CHARGING_A))
        bounds.append((("calendar", index, "limit_w"), named, entry.limit_w, least_w))
        bounds.append((("calendar", index, "peak_kw"), named, entry.peak_kw, least_w / 1000))
    for path, circuit, bound, least in bounds:
        if circuit is None or bound is None or circuit.base_load_a is None:
            continue
        base_w = 3 * circuit.base_load_a * config.site.voltage
        amps = decimal(circuit.base_load_a)
        base, drawn = {
            "limit_a": (circuit.base_load_a, coded("{amps} A", amps=amps)),
            "limit_w": (base_w, coded("{amps} A ({power} W)", amps=amps, power=decimal(base_w, ".0f"))),
            "peak_kw": (
                base_w / 1000,
                coded("{amps} A ({power} kW)", amps=amps, power=decimal(base_w / 1000, ".3g")),
            ),
        }[str(path[-1])]
        if least <= bound <= base:
            yield Problem(
                path,
                coded(
                    'is at or below base_load_a of "{id}", {base_load_a}: while the building draws that, '
                    "no car charges",
                    id=circuit.id,
                    base_load_a=drawn,
                ),
                coded("write the limit of the whole circuit, with the building"),
            )


def _reserves_above_limits(config: Config) -> Iterator[Problem]:
    """Find circuits that cannot supply all that is reserved for sessions at the DC stations below them."""
    parents = {circuit.id: circuit.parent for circuit in config.circuit}
    reserved_a = dict.fromkeys(parents, 0.0)
    for station in config.station:
        for evse in station.evse:
            for circuit_id in path_to_root(config.circuit_of(station, evse), parents):
                reserved_a[circuit_id] += evse.reserve_a(config.site.voltage)
    for index, circuit in enumerate(config.circuit):
        margin_a = config.margin_a(circuit)
        supplied_a = min(circuit.limits_a) - (0.0 if margin_a == "auto" else margin_a)
        if reserved_a[circuit.id] > supplied_a:
            yield Problem(
                ("circuit", index, "limit_a"),
                coded(
                    "the DC stations below reserve {reserved_a} A on each phase, of {supplied_a} A: what one "
                    "of them reserves is kept free at a time",
                    reserved_a=f"{reserved_a[circuit.id]:.0f}",
                    supplied_a=decimal(supplied_a),
                ),
                coded("keep it if that is meant, else lower their reserve_kw"),
                depends_on=("circuit", index),
            )


def _peaks_within_quarters(config: Config) -> Iterator[Problem]:
    """Find entries with a quarter-hour peak that begin or end within a quarter hour."""
    for index, entry in enumerate(config.calendar):
        for key in ("begin", "end") if entry.peak_kw is not None else ():
            time = getattr(entry, key)
            hours, minutes = time.split(":")
            if int(minutes) % QUARTER_MINUTES:
                whole = 60 * int(hours) + int(minutes) // QUARTER_MINUTES * QUARTER_MINUTES
                whole += QUARTER_MINUTES if key == "end" else 0
                yield Problem(
                    ("calendar", index, key),
                    coded("{time} is within a quarter hour, for all of which peak_kw holds", time=time),
                    coded(
                        'keep it if that is meant, else write "{meant}"',
                        meant=f"{whole // 60:02}:{whole % 60:02}",
                    ),
                )


def _contradicting_entries(config: Config) -> Iterator[Problem]:
    """Find entries that always override the priority or mode of an earlier one for the same EVSEs."""
    groups = {group.id: group.stations for group in config.group}
    seen: list[tuple[CalendarConfig, set[tuple[str, int]]]] = []
    for index, entry in enumerate(config.calendar):
        names = (*entry.stations, *groups.get(entry.group or "", ()))
        evses = {evse for name in names for evse in find_evses(config, name)}
        for before, others in seen:
            for key in ("priority", "mode"):
                own, other = getattr(entry, key), getattr(before, key)
                if None in (own, other) or own == other or not evses & others:
                    continue
                if _is_at_the_same_times(entry, before):
                    yield Problem(
                        ("calendar", index, key),
                        coded(
                            'overrides that of "{name}" for the same stations at all times', name=before.name
                        ),
                        coded("remove one of the two, or write other times"),
                    )
        seen.append((entry, evses))


def _bounds_without_effect(config: Config) -> Iterator[Problem]:
    """Find limits and peaks of the calendar at or above what the circuit always carries at most."""
    most_w = {
        circuit.id: min(sum(circuit.limits_a) * config.site.voltage, circuit.limit_w or math.inf)
        for circuit in config.circuit
    }
    most_a = {circuit.id: max(circuit.limits_a) for circuit in config.circuit}
    peaks = {circuit.id: circuit.peak_kw for circuit in config.circuit}
    bounds: list[tuple[DataPath, float | None, float, str]] = []
    for index, entry in enumerate(config.calendar):
        if entry.circuit is None or entry.circuit not in most_w:
            continue
        path: DataPath = ("calendar", index)
        bounds.append(((*path, "limit_a"), entry.limit_a, most_a[entry.circuit], "A"))
        bounds.append(((*path, "limit_w"), entry.limit_w, most_w[entry.circuit], "W"))
        if peaks[entry.circuit] is None:  # otherwise a high one lifts that of the circuit
            bounds.append(((*path, "peak_kw"), entry.peak_kw, most_w[entry.circuit] / 1000, "kW"))
    for path, bound, most, unit in bounds:
        if bound is not None and bound >= most:
            yield Problem(
                path,
                coded(
                    "{bound} {unit} has no effect: the circuit never carries more than {most} {unit}",
                    bound=decimal(bound),
                    most=decimal(most),
                    unit=unit,
                ),
                coded("write a lower limit, or remove it"),
            )


def _entries_without_effect(config: Config) -> Iterator[Problem]:
    """Find priorities and modes of the calendar that its EVSEs have anyway."""
    configured = {(station.id, evse.id): evse for station in config.station for evse in station.evse}
    groups = {group.id: group.stations for group in config.group}
    evses_of = [
        {
            evse
            for name in (*entry.stations, *groups.get(entry.group or "", ()))
            for evse in find_evses(config, name)
        }
        for entry in config.calendar
    ]
    for index, (entry, evses) in enumerate(zip(config.calendar, evses_of, strict=True)):
        for key in ("priority", "mode"):
            value = getattr(entry, key)
            overrides = any(
                getattr(other, key) is not None and evses & others
                for other, others in zip(config.calendar, evses_of, strict=True)
                if other is not entry
            )
            has_it = all(getattr(configured[evse], key) == value for evse in evses)
            if value is not None and evses and has_it and not overrides:
                yield Problem(
                    ("calendar", index, key),
                    coded("has no effect: these stations have it at all times"),
                    coded("write another one, or remove it"),
                )


def _is_at_the_same_times(entry: CalendarConfig, before: CalendarConfig) -> bool:
    """Return True if an entry holds whenever the earlier one does, by days and times of day."""
    if not set(before.days) <= set(entry.days):
        return False
    if (entry.begin, entry.end) in ((before.begin, before.end), ("00:00", "24:00")):
        return True
    return entry.begin <= before.begin < before.end <= entry.end


def _car_energy(config: Config) -> Iterator[Problem]:
    for index, departure in enumerate(config.departure):
        path: DataPath = ("departure", index, "energy_kwh")
        if departure.energy_kwh < LEAST_CAR_KWH:
            yield Problem(
                path,
                coded(
                    "{energy_kwh} kWh is too little for any trip", energy_kwh=decimal(departure.energy_kwh)
                ),
                coded("did you mean {meant} (kWh)?", meant=literal(departure.energy_kwh * 1000)),
            )
        elif departure.energy_kwh > MOST_CAR_KWH:
            yield Problem(
                path,
                coded(
                    "{energy_kwh} kWh is more than the battery of a car holds",
                    energy_kwh=decimal(departure.energy_kwh),
                ),
                coded("keep it for a truck or a bus, else write what the car needs, e.g. 30 (kWh)"),
            )


def _departure_hints(config: Config) -> Iterator[Problem]:
    """Find departures at midnight, and those for cards that are not listed."""
    if config.local_csms.cards_file is None:
        yield from find_unlisted_cards(config, config.card)
    for index, departure in enumerate(config.departure):
        path: DataPath = ("departure", index)
        if departure.ready_by in ("00:00", "24:00"):
            yield Problem(
                (*path, "ready_by"),
                coded("is the midnight at which a day begins")
                if departure.ready_by == "00:00"
                else coded("is the midnight at which a day ends"),
                coded('keep it if that is meant, else write the time of the departure, e.g. "06:30"'),
            )


def find_evses(config: Config, name: str) -> list[tuple[str, int]]:
    """Return the EVSEs (station, number) of a name: all of a STATION, or the one in STATION/EVSE."""
    station_id, _, number = name.rpartition("/")
    return [
        (station.id, evse.id)
        for station in config.station
        for evse in station.evse
        if station.id == name or (station.id == station_id and str(evse.id) == number)
    ]


def _unknown_evses(config: Config, names: Sequence[str], path: DataPath) -> Iterator[Problem]:
    for index, name in enumerate(names):
        if not find_evses(config, name):
            known = [station.id for station in config.station]
            problem = unknown_name((*path, index), name, known, "station")
            if "*" in name or "[" in name:
                remedy = coded("list each station by its id: patterns are not known here")
                problem = replace(problem, remedy=remedy)
            elif match := _EVSE_NAME.fullmatch(name):
                evses = [f'"{station}/{number}"' for station, number in find_evses(config, match[1])]
                if f'"{match[1]}/{match[2]}"' in evses:
                    evses = [f'"{match[1]}/{match[2]}"']
                    problem = replace(problem, remedy=coded("did you mean {meant}?", meant=evses[0]))
                elif evses:
                    problem = Problem(
                        (*path, index),
                        coded('station "{station}" has no EVSE {number}', station=match[1], number=match[2]),
                        coded("did you mean {meant}?", meant=join_or(evses)),
                        "station",
                    )
            yield problem


_EVSE_NAME = re.compile(r"(.+)[/:.,#_ -](\d{1,3})")
"""One EVSE of a station, also with another separator than /."""


def _peaks(config: Config) -> Iterator[Problem]:
    for index, circuit in enumerate(config.circuit):
        path: DataPath = ("circuit", index)
        if circuit.peak_kw is not None:
            yield from _kilowatts(circuit.peak_kw, (*path, "peak_kw"))
            yield from _peak_meter(circuit, (*path, "peak_kw"))
        elif circuit.peak_reached_is_free and not any(
            entry.circuit == circuit.id and entry.peak_kw is not None for entry in config.calendar
        ):
            yield Problem(
                (*path, "peak_reached_is_free"),
                coded("has no effect without peak_kw"),
                coded("set peak_kw, or remove it"),
                depends_on=(*path, "peak_kw"),
            )


def _peak_meter(circuit: CircuitConfig, path: DataPath) -> Iterator[Problem]:
    if circuit.meter is None:
        yield Problem(
            path,
            coded('needs a meter: without one the mean power of "{id}" is unknown', id=circuit.id),
            coded('name the circuit\'s meter: meter = "..."'),
        )
    elif circuit.measures == "building":
        yield Problem(
            path,
            coded("needs a meter of the whole circuit: its meter shows the building alone"),
            coded("install the meter where it measures the stations, too"),
        )
    elif circuit.base_load_a is None:
        yield Problem(
            path,
            coded("needs base_load_a: that is what the building counts while the meter is lost"),
            coded("add the most that the building draws on a phase: base_load_a = ... (A)"),
            depends_on=(*path[:-1], "base_load_a"),
        )


def _kilowatts(value: float, path: DataPath) -> Iterator[Problem]:
    if value > MOST_KW:
        yield Problem(
            path,
            coded("{value} kW is more than any site draws", value=decimal(value)),
            coded("did you mean {meant} (kW)?", meant=literal(value / 1000)),
        )


def _calendar(config: Config) -> Iterator[Problem]:
    circuits = {circuit.id: circuit for circuit in config.circuit}
    names: set[str] = set()
    for index, entry in enumerate(config.calendar):
        path: DataPath = ("calendar", index)
        if entry.name in names:
            yield Problem(
                (*path, "name"),
                coded('"{name}" is already defined', name=entry.name),
                coded("give each its own name"),
            )
        names.add(entry.name)
        for number, day in enumerate(entry.days):
            if day in entry.days[:number]:
                yield Problem(
                    (*path, "days", number),
                    coded('"{name}" is listed twice', name=day),
                    coded("write the day that is missing, or remove it"),
                )
        if entry.begin == entry.end:
            yield Problem(
                (*path, "end"),
                coded("is its begin: the entry never holds"),
                coded('for whole days, write "00:00" and "24:00"'),
            )
        if entry.begin == "24:00":
            yield Problem(
                (*path, "begin"), coded("24:00 is the end of a day"), coded('write begin = "00:00"')
            )
        if entry.group is not None and entry.group not in {group.id for group in config.group}:
            yield unknown_name((*path, "group"), entry.group, [group.id for group in config.group], "group")
        yield from _unknown_evses(config, entry.stations, (*path, "stations"))
        yield from _calendar_settings(entry, path)
        if entry.circuit is None:
            continue
        circuit = circuits.get(entry.circuit)
        if circuit is None:
            yield unknown_name((*path, "circuit"), entry.circuit, circuits, "circuit")
            continue
        yield from _calendar_limits(entry, circuit, path)


def _calendar_settings(entry: CalendarConfig, path: DataPath) -> Iterator[Problem]:
    """Find settings without what they are for, and entries that set nothing."""
    for_circuit = [key for key in ("limit_a", "limit_w", "peak_kw") if getattr(entry, key) is not None]
    for_evses = [key for key in ("priority", "mode") if getattr(entry, key) is not None]
    if for_circuit and entry.circuit is None:
        yield Problem(
            (*path, for_circuit[0]),
            coded("needs a circuit"),
            coded('add circuit = "..."'),
            depends_on=(*path, "circuit"),
        )
    if for_evses and entry.group is None and not entry.stations:
        yield Problem(
            (*path, for_evses[0]),
            coded("needs stations or a group"),
            coded('add stations = ["..."] or group = "..."'),
        )
    if not for_circuit and not for_evses:
        yield Problem(
            (*path, "name"),
            coded("sets nothing"),
            coded("add limit_a, limit_w or peak_kw of a circuit, priority or mode"),
            depends_on=path,
        )


def _calendar_limits(entry: CalendarConfig, circuit: CircuitConfig, path: DataPath) -> Iterator[Problem]:
    if entry.limit_a is not None and entry.limit_a > max(circuit.limits_a):
        yield Problem(
            (*path, "limit_a"),
            coded(
                '{limit_a} A is above the limit of "{id}", {limits_a} A, which always holds',
                limit_a=decimal(entry.limit_a),
                id=circuit.id,
                limits_a=decimal(max(circuit.limits_a)),
            ),
            coded("write a lower limit, or remove it"),
        )
    if entry.limit_w is not None and entry.limit_w < LEAST_W:
        yield Problem(
            (*path, "limit_w"),
            coded("{power} W is less than any device draws", power=decimal(entry.limit_w)),
            coded("did you mean {meant} (W)?", meant=literal(entry.limit_w * 1000)),
        )
    if entry.peak_kw is not None:
        yield from _kilowatts(entry.peak_kw, (*path, "peak_kw"))
        yield from _peak_meter(circuit, (*path, "peak_kw"))


def _groups(config: Config) -> Iterator[Problem]:
    group_of: dict[tuple[str, int], str] = {}
    for index, group in enumerate(config.group):
        path: DataPath = ("group", index)
        yield from _unknown_evses(config, group.stations, (*path, "stations"))
        for number, name in enumerate(group.stations):
            for ref in dict.fromkeys(find_evses(config, name)):
                if ref in group_of:
                    yield Problem(
                        (*path, "stations", number),
                        coded('"{name}" is in group "{group_of}" already', name=name, group_of=group_of[ref]),
                        coded("remove it") if group_of[ref] == group.id else coded("keep it in one group"),
                    )
                group_of.setdefault(ref, group.id)
    yield from _guarantees(config, group_of)


def _guarantees(config: Config, group_of: dict[tuple[str, int], str]) -> Iterator[Problem]:
    """Find circuits that cannot carry the guaranteed currents of the groups that lie wholly below them."""
    parents = {circuit.id: circuit.parent for circuit in config.circuit}
    above: dict[str, set[str]] = {}
    for station in config.station:
        for evse in station.evse:
            group = group_of.get((station.id, evse.id))
            if group is None:
                continue
            ancestors = set(path_to_root(config.circuit_of(station, evse), parents))
            above[group] = above[group] & ancestors if group in above else ancestors
    guaranteed_a = {group.id: group.guaranteed_a or 0.0 for group in config.group}
    for circuit in config.circuit:
        below = [
            group for group, ancestors in above.items() if circuit.id in ancestors and guaranteed_a[group]
        ]
        total_a = sum(guaranteed_a[group] for group in below) + (circuit.base_load_a or 0.0)
        if not below or total_a <= min(circuit.limits_a):
            continue
        index = next(i for i, group in enumerate(config.group) if group.id == below[-1])
        yield Problem(
            ("group", index, "guaranteed_a"),
            coded(
                'circuit "{id}" carries {limits_a} A, the groups below it are guaranteed {total_a} A with '
                "its declared base load",
                id=circuit.id,
                limits_a=decimal(min(circuit.limits_a)),
                total_a=decimal(total_a),
            ),
            coded("lower guaranteed_a"),
        )


def _departures(config: Config) -> Iterator[Problem]:
    classes = [each.id for each in config.priority_class]
    for index, departure in enumerate(config.departure):
        path: DataPath = ("departure", index)
        if departure in config.departure[:index]:
            yield Problem(
                path,
                coded("is another one again"),
                coded("change what differs, e.g. ready_by, or remove it"),
                depends_on=path,
            )
        yield from _unknown_evses(config, departure.stations, (*path, "stations"))
        if not departure.stations and not departure.cards and not departure.priority_classes:
            yield Problem(
                path,
                coded("is for no car"),
                coded('add stations = ["..."], cards = ["..."] or priority_classes = ["..."]'),
                depends_on=path,
            )
        for number, name in enumerate(departure.priority_classes):
            if name not in classes:
                yield unknown_name((*path, "priority_classes", number), name, classes, "priority_class")


def _dc(config: Config) -> Iterator[Problem]:
    for index, station in enumerate(config.station):
        for number, evse in enumerate(station.evse):
            path: DataPath = ("station", index, "evse", number)
            if evse.max_kw is None:
                continue
            yield from _kilowatts(evse.max_kw, (*path, "max_kw"))
            if evse.min_kw > evse.max_kw:
                yield Problem(
                    (*path, "min_kw"),
                    coded(
                        "{power} kW is above max_kw, {max_kw} kW",
                        power=decimal(evse.min_kw),
                        max_kw=decimal(evse.max_kw),
                    ),
                    coded("lower min_kw or raise max_kw"),
                )
            if evse.reserve_kw > evse.max_kw:
                yield Problem(
                    (*path, "reserve_kw"),
                    coded(
                        "{power} kW is above max_kw, {max_kw} kW",
                        power=decimal(evse.reserve_kw),
                        max_kw=decimal(evse.max_kw),
                    ),
                    coded("lower reserve_kw"),
                )
            if len(evse.phases) != 3:
                yield Problem(
                    (*path, "phases"),
                    coded("a DC station has three phases"),
                    coded("name three, or remove max_kw"),
                )


def _battery(config: Config) -> Iterator[Problem]:
    if config.battery is None:
        return
    meters = [meter.id for meter in config.meter]
    if config.battery.meter not in meters:
        yield unknown_name(("battery", "meter"), config.battery.meter, meters, "meter")
    for circuit in config.circuit:
        if circuit.meter == config.battery.meter:
            yield Problem(
                ("battery", "meter"),
                coded('"{meter}" measures circuit "{id}"', meter=config.battery.meter, id=circuit.id),
                coded("name the meter that measures the battery alone"),
            )
