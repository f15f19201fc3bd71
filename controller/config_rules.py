"""What must hold between the parts of a configuration that has the right shape."""

from __future__ import annotations

import difflib
import zoneinfo
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path as FilePath

import msgspec

from controller.config import Config, Evse, Meter, Station
from controller.toml_lines import Path
from drivers.registers import list_maps

_PHASES = ("L1", "L2", "L3")


class Finding(msgspec.Struct, frozen=True):
    """A mistake or a note: where in the data, what, and how to mend it."""

    path: Path
    what: str
    mend: str


def mistakes(config: Config, *, look_at_files: bool) -> list[Finding]:
    """All that is wrong; the files that the configuration names are looked at where that is wanted."""
    found = [
        *_ids(config), *_site(config), *_listen(config), *_backends(config), *_circuits(config),
        *_meters(config), *_stations(config),
    ]  # fmt: skip
    if not found:  # sums over a tree that is none would only confuse
        found += _fallbacks(config)
    if look_at_files:
        found += _files(config)
    return found


def notes(config: Config) -> list[Finding]:
    """What this version reads but does not act on yet, and what looks odd."""
    return [*_not_yet(config), *_odd(config)]


def _ids(config: Config) -> Iterator[Finding]:
    for name in ("backend", "circuit", "meter", "station"):
        seen: dict[str, int] = {}
        for index, each in enumerate(getattr(config, name)):
            if each.id in seen:
                yield Finding((name, index, "id"), *_twice(name, config, seen[each.id], index))
            seen.setdefault(each.id, index)


def _twice(name: str, config: Config, first: int, second: int) -> tuple[str, str]:
    """What to say of an id that is there twice, and the mend."""
    if name == "station":
        one, other = config.station[first].circuit, config.station[second].circuit
        if one != other:
            what = f'"{config.station[first].id}" hangs on two circuits, "{one}" and "{other}"'
            return what, "keep one of the two; EVSEs on several circuits name theirs in [[station.evse]]"
    return f'"{getattr(config, name)[first].id}" is there already', "give each its own id"


def _site(config: Config) -> Iterator[Finding]:
    try:
        zoneinfo.ZoneInfo(config.site.timezone)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        near = difflib.get_close_matches(config.site.timezone, zoneinfo.available_timezones(), 1)
        mend = f'did you mean "{near[0]}"?' if near else 'use a name like "Europe/Berlin"'
        yield Finding(("site", "timezone"), f'"{config.site.timezone}" is no time zone', mend)


def _listen(config: Config) -> Iterator[Finding]:
    listen = config.listen
    if (listen.certificate is None) != (listen.key is None):
        there, missing = ("certificate", "key") if listen.certificate else ("key", "certificate")
        yield Finding(("listen", there), f"stands without {missing}", f"add {missing}, or remove {there}")
    if listen.client_ca is not None:
        yield Finding(
            ("listen", "client_ca"),
            "stations' certificates are not checked in this version",
            "remove it, and give each station a password_file instead",
        )


def _backends(config: Config) -> Iterator[Finding]:
    for index, backend in enumerate(config.backend):
        path: Path = ("backend", index)
        if "{station}" not in backend.url:
            yield Finding((*path, "url"), "has no {station}", 'end it like "/ocpp/{station}"')
        if backend.url.startswith("ws://") and (backend.ca or backend.certificate):
            yield Finding((*path, "url"), "is ws://, which no certificate protects", "use wss://")
        if backend.key and not backend.certificate:
            yield Finding((*path, "key"), "stands without certificate", "add certificate, or remove key")


def _circuits(config: Config) -> Iterator[Finding]:
    parents = {circuit.id: circuit.parent for circuit in config.circuit}
    roots = [index for index, circuit in enumerate(config.circuit) if circuit.parent is None]
    for index in roots[1:]:
        first = config.circuit[roots[0]].id
        yield Finding(
            ("circuit", index, "parent"),
            f'is missing: "{first}" is the grid connection already',
            f'name the circuit that feeds it, e.g. parent = "{first}"',
        )
    if not roots:
        yield Finding(("circuit",), "there is no grid connection", "leave out parent at exactly one circuit")
    for index, circuit in enumerate(config.circuit):
        path: Path = ("circuit", index, "parent")
        if circuit.parent is not None and circuit.parent not in parents:
            yield _unknown(path, circuit.parent, parents, "circuit")
        elif _circles(circuit.id, parents):
            yield Finding(path, "leads back to the circuit itself", "name the circuit that feeds it")
        if circuit.meter is not None:
            meters = [meter.id for meter in config.meter]
            if circuit.meter not in meters:
                yield _unknown(("circuit", index, "meter"), circuit.meter, meters, "meter")


def _circles(circuit: str, parents: dict[str, str | None]) -> bool:
    seen = {circuit}
    current = parents.get(circuit)
    while current is not None and current in parents:
        if current in seen:
            return current == circuit
        seen.add(current)
        current = parents[current]
    return False


def _meters(config: Config) -> Iterator[Finding]:
    known, used = list_maps(), Counter(circuit.meter for circuit in config.circuit)
    units: dict[tuple[str, ...], str] = {}
    lines: dict[tuple[str, ...], Meter] = {}
    for index, meter in enumerate(config.meter):
        path: Path = ("meter", index)
        if used[meter.id] == 0:
            yield Finding(
                (*path, "id"),
                f'no circuit uses meter "{meter.id}"',
                f'set meter = "{meter.id}" at the circuit that it measures, or remove it',
            )
        if used[meter.id] > 1:
            yield Finding(
                (*path, "id"),
                f'"{meter.id}" measures {used[meter.id]} circuits',
                "let each circuit have its own meter",
            )
        if meter.driver not in known:
            yield _unknown((*path, "driver"), meter.driver, known, "driver")
        wanted = "device" if meter.transport == "rtu" else "host"
        if getattr(meter, wanted) is None:
            yield Finding((*path, "transport"), f'"{meter.transport}" needs a {wanted}', f"add {wanted}")
            continue
        place = (*meter.line, str(meter.unit))
        if place in units:
            yield Finding(
                (*path, "unit"),
                f'{meter.unit} on this line is meter "{units[place]}" already',
                "set each meter to its own unit",
            )
        units.setdefault(place, meter.id)
        first = lines.setdefault(meter.line, meter)
        if meter.transport == "rtu" and (meter.baud, meter.parity, meter.stopbits) != (
            first.baud,
            first.parity,
            first.stopbits,
        ):
            yield Finding(
                (*path, "device"),
                f'speaks otherwise than meter "{first.id}" on the same line',
                "give both the same baud, parity and stopbits",
            )


def _stations(config: Config) -> Iterator[Finding]:
    backends = [backend.id for backend in config.backend]
    circuits = [circuit.id for circuit in config.circuit]
    for index, station in enumerate(config.station):
        path: Path = ("station", index)
        if ":" in station.id:
            yield Finding(
                (*path, "id"), 'has a ":", which Basic authentication cannot carry', "rename the station"
            )
        if station.owner not in backends:
            yield _unknown((*path, "owner"), station.owner, backends, "backend")
        for observer in station.observers:
            if observer not in backends:
                yield _unknown((*path, "observers"), observer, backends, "backend")
        if station.circuit is not None and station.circuit not in circuits:
            yield _unknown((*path, "circuit"), station.circuit, circuits, "circuit")
        for number, evse in enumerate(station.evse):
            yield from _evse(config, station, evse, (*path, "evse", number), circuits)
        for evse_id, count in Counter(evse.id for evse in station.evse).items():
            if count > 1:
                yield Finding((*path, "evse"), f"has EVSE {evse_id} {count} times", "give each its own id")


def _evse(config: Config, station: Station, evse: Evse, path: Path, circuits: list[str]) -> Iterator[Finding]:
    if evse.circuit is not None and evse.circuit not in circuits:
        yield _unknown((*path, "circuit"), evse.circuit, circuits, "circuit")
    if config.circuit_of(station, evse) is None:
        yield Finding(path[:2], "hangs on no circuit", 'add circuit = "..."')
    if len(set(evse.phases)) < len(evse.phases):
        yield Finding((*path, "phases"), "names a phase twice", "name each phase once")
    if evse.min_a > evse.max_a:
        yield Finding(
            (*path, "min_a"),
            f"{evse.min_a:g} A is above max_a, {evse.max_a:g} A",
            "lower min_a or raise max_a",
        )
    yield from _fallback(config, evse, path)


def _fallback(config: Config, evse: Evse, path: Path) -> Iterator[Finding]:
    fallback = config.fallback_a(evse)
    own = evse.fallback_a is not None
    if fallback > evse.max_a:
        yield Finding(
            (*path, "fallback_a" if own else "max_a"),
            f"fallback_a is {fallback:g} A, above max_a of {evse.max_a:g} A",
            "lower fallback_a here" if own else "set a lower fallback_a here",
        )
    elif 0 < fallback < evse.min_a:
        yield Finding(
            (*path, "fallback_a" if own else "min_a"),
            f"fallback_a is {fallback:g} A, below min_a of {evse.min_a:g} A: it could not charge with that",
            "set fallback_a to min_a at least, or to 0",
        )


def _fallbacks(config: Config) -> Iterator[Finding]:
    """With the controller gone, all that hangs from a circuit takes its fallback at once."""
    parents = {circuit.id: circuit.parent for circuit in config.circuit}
    sums: dict[str, list[float]] = {circuit.id: [0.0, 0.0, 0.0] for circuit in config.circuit}
    for station in config.station:
        for evse in station.evse:
            current = config.circuit_of(station, evse)
            while current is not None:
                for phase in evse.phases:
                    sums[current][_PHASES.index(phase)] += config.fallback_a(evse)
                current = parents[current]
    for index, circuit in enumerate(config.circuit):
        worst = max(range(3), key=lambda phase: sums[circuit.id][phase] - circuit.limits_a[phase])
        total, limit = sums[circuit.id][worst], circuit.limits_a[worst]
        if total > limit:
            yield Finding(
                ("circuit", index, "limit_a"),
                f'with the controller gone, the stations below "{circuit.id}" take {total:g} A on '
                f"{_PHASES[worst]}, its limit is {limit:g} A",
                "lower fallback_a (0 lets them pause), or hang fewer stations there",
            )


def _files(config: Config) -> Iterator[Finding]:
    named: list[tuple[Path, str | None, bool]] = [
        (("listen", "certificate"), config.listen.certificate, False),
        (("listen", "key"), config.listen.key, True),
    ]
    for index, backend in enumerate(config.backend):
        named += [
            (("backend", index, key), getattr(backend, key), key in ("key", "password_file"))
            for key in ("ca", "certificate", "key", "password_file")
        ]
    for index, meter in enumerate(config.meter):
        named += [
            (("meter", index, key), getattr(meter, key), key == "key") for key in ("ca", "certificate", "key")
        ]
    named += [
        (("station", index, "password_file"), station.password_file, True)
        for index, station in enumerate(config.station)
    ]
    for path, name, secret in named:
        if name is not None:
            yield from _file(path, FilePath(name), secret=secret)


def _file(path: Path, file: FilePath, *, secret: bool) -> Iterator[Finding]:
    try:
        with file.open("rb") as opened:
            opened.read(1)
        mode = file.stat().st_mode
    except OSError as error:
        yield Finding(
            path, f"{file} cannot be read: {error.strerror}", "create it, readable by the controller's user"
        )
        return
    if secret and mode & 0o007:
        yield Finding(path, f"{file} can be read by everybody on this machine", f"chmod o= {file}")


def _not_yet(config: Config) -> Iterator[Finding]:
    later = "it is read, and not acted on in this version"
    for index, backend in enumerate(config.backend):
        if backend.observe:
            yield Finding(("backend", index, "observe"), "observing backends are not served yet", later)
        if backend.priority or backend.group:
            key = "group" if backend.group else "priority"
            yield Finding(("backend", index, key), "several uplinks of one backend are not used yet", later)
    for index, station in enumerate(config.station):
        if station.observers:
            yield Finding(("station", index, "observers"), "only the owner is served yet", later)
        if station.when_backend_away != "strict":
            yield Finding(
                ("station", index, "when_backend_away"),
                f"{station.when_backend_away} is not there yet: strict is followed",
                later,
            )
    for index, circuit in enumerate(config.circuit):
        if circuit.unbalance_a is not None:
            yield Finding(("circuit", index, "unbalance_a"), "unbalance is not limited yet", later)
    for name, what in (
        ("web", "the page is not served yet"),
        ("dimming", "dimming commands are not obeyed yet"),
        ("signing", "signatures are neither verified nor made yet"),
    ):
        if getattr(config, name) is not None:
            yield Finding((name,), what, later)


def _odd(config: Config) -> Iterator[Finding]:
    limits = {circuit.id: circuit.limits_a for circuit in config.circuit}
    for index, circuit in enumerate(config.circuit):
        above = limits.get(circuit.parent or "")
        if above and any(own > up for own, up in zip(circuit.limits_a, above, strict=True)):
            yield Finding(
                ("circuit", index, "limit_a"),
                f'is above that of "{circuit.parent}", which feeds it',
                "the lower one holds",
            )


def _unknown(path: Path, name: str, known: Iterable[str], kind: str) -> Finding:
    names = sorted(known)
    near = difflib.get_close_matches(name, names, 1)
    if near:
        mend = f'did you mean "{near[0]}"?'
    else:
        mend = f"known are {', '.join(names)}" if names else f"add a [[{kind}]]"
    return Finding(path, f'"{name}" is no {kind} that is known here', mend)
