"""Rules for the meters of a configuration, and for the buses that they share."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence, Set
from pathlib import Path as FilePath
from typing import Any

from msgspec.structs import replace

from controller.config.model_files import check_model_file
from controller.config.schema import Config, MeterConfig
from controller.tomlcheck.diagnostics import (
    NotTextError,
    Problem,
    decode_text,
    in_other_file,
    read_text,
    unknown_name,
)
from controller.tomlcheck.positions import DataPath
from drivers.coded_text import coded, decimal, join_or, literal
from drivers.errors import ModelFileError
from drivers.meter_model import (
    FILE_PREFIX,
    USER_FOLDER,
    list_models,
    load_model,
    read_user_model,
    read_user_models,
    set_user_models,
)
from drivers.virtual_meter import find_source_mistakes

_OVER_TCP = frozenset({"tcp", "tls", "rtu-over-tcp", "udp"})
_BELONGS = {
    "host": _OVER_TCP,
    "port": _OVER_TCP,
    "device": {"rtu"},
    "baud": {"rtu"},
    "parity": {"rtu"},
    "stopbits": {"rtu"},
    "ca": {"tls"},
    "certificate": {"tls"},
    "key": {"tls"},
}
"""Keys that only some transports have."""
SERIAL_PORT = "/dev/serial/by-id/..."
"""Serial port that a remedy shows."""
LAST_UNIT, UNIT_OF_DEVICE = 247, 255
"""The highest unit of a device, and the one by which a device on TCP is addressed itself."""
BAUD_RATES = (1200, 2400, 4800, 9600, 19200, 38400, 57600, 115200)
MOST_RATIO_OF_LIMIT = 5.0
"""Largest factor of current transformers, as a multiple of the limit in A, that anybody builds."""
SERIAL_READING_S = 0.05
"""Time that one reading takes at 9600 baud: a request of 8 bytes and an answer of some 30."""
_NUMBERED_ADAPTER = re.compile(r"/dev/tty(USB|ACM)\d+")
_PORT_FOLDERS = frozenset({"/dev", "/dev/serial", "/dev/serial/by-id", "/dev/serial/by-path"})
_IP_ADDRESS = re.compile(r"\d{1,3}(\.\d{1,3}){3}(:\d+)?$")
_COM_PORT = re.compile(r"COM\d+", re.IGNORECASE)
STATIONS_REPORT_S = 10.0
"""No station reports its meter values more often than that."""


def load_user_models(data: dict[str, Any], folder: FilePath) -> tuple[list[Problem], list[Problem]]:
    """Load the user's models beside the configuration; return mistakes in those that meters name, and hints.

    A driver is the name of a file in the directory of models, or `file:PATH`, relative to the configuration.
    """
    models, errors = read_user_models(folder / USER_FOLDER)
    files = {driver: folder / USER_FOLDER / f"{driver}.toml" for driver in errors}
    meters = data.get("meter", [])
    drivers = [
        (index, driver)
        for index, meter in enumerate(meters if isinstance(meters, list) else [])
        if isinstance(meter, dict) and isinstance(driver := meter.get("driver"), str)
    ]
    for _, driver in drivers:
        if driver.startswith(FILE_PREFIX) and driver not in files and driver not in models:
            files[driver] = folder / driver.removeprefix(FILE_PREFIX)
            try:
                models[driver] = read_user_model(files[driver])
            except ModelFileError as error:
                errors[driver] = error
    set_user_models(models)
    mistakes: list[Problem] = []
    hints: list[Problem] = []
    for index, driver in drivers:
        path: DataPath = ("meter", index, "driver")
        if driver in errors:
            mistakes += _unusable_model(path, files[driver])
        elif driver in models:
            file = files.get(driver, folder / USER_FOLDER / f"{driver}.toml")
            hints += [in_other_file(path, each) for each in check_model_file(read_text(file), str(file))[1]]
    return mistakes, hints


def _unusable_model(path: DataPath, file: FilePath) -> Iterator[Problem]:
    """Return each mistake of a model file, or that it cannot be read."""
    if not file.is_file():
        what = coded("the file {file} does not exist", file=file)
        if file.is_dir():
            what = coded("{file} is a directory", file=file)
        elif file.name != file.name.strip():
            yield Problem(path, what, coded("remove the blank before the name of the file"))
            return
        yield Problem(
            path,
            what,
            coded(
                "write its path relative to this file, or name a delivered model: `local-controller meter "
                "list`"
            ),
        )
        return
    try:
        mistakes = check_model_file(decode_text(file.read_bytes()), str(file))[0]
    except OSError as error:
        what = coded("{file} cannot be read: {reason}", file=file, reason=error.strerror or "")
        yield Problem(path, what, coded("create it, readable by the controller's user"))
    except NotTextError as error:
        what = coded("{file}:{line}: {problem}", file=file, line=error.line, problem=error.what)
        yield Problem(path, what, error.remedy)
    else:
        for mistake in mistakes:
            yield in_other_file(path, mistake)


def check_meters(config: Config) -> Iterator[Problem]:
    """Find meters that nothing uses, that cannot be reached, or that cannot share their bus."""
    known = list_models()
    used = Counter(meter for _, meter in {(each.id, each.meter) for each in config.circuit})
    sources = {source for meter in config.meter for source in (*meter.plus, *meter.minus, *_backups(meter))}
    if config.battery is not None:
        sources.add(config.battery.meter)
    names = {meter.id for meter in config.meter}
    missing = (sources | {name for name in used if name is not None}) - names
    is_meant = len([name for name in names if name not in sources and not used[name]]) <= len(missing)
    for index, meter in enumerate(config.meter):
        path: DataPath = ("meter", index)
        # A name that leads to no meter most likely means the one that nothing uses, and is reported itself.
        is_source = meter.id in sources or is_meant
        yield from _use(meter, used[meter.id], path, is_source=is_source)
        if meter.transport == "virtual":
            yield from _virtual(meter, path)
            yield from _stations(config, meter, path)
            continue
        if meter.driver not in known:
            problem = unknown_name((*path, "driver"), meter.driver, known, "driver")
            if meter.driver.endswith(".toml"):
                name = re.sub(rf"^\s*{FILE_PREFIX}\s*", "", meter.driver, flags=re.IGNORECASE)
                meant = f'"{FILE_PREFIX}{name}"'
                problem = replace(problem, remedy=coded("did you mean {meant}?", meant=meant))
            elif meter.driver == "virtual":
                problem = replace(problem, remedy=coded('set transport = "virtual", too'))
            elif problem.remedy.startswith("known are"):  # 46 names would hide the mistake
                remedy = coded("`local-controller meter list` lists the known ones")
                problem = replace(problem, remedy=remedy)
            yield problem
        else:
            yield from _model(meter, path)
        yield from _transport(meter, path)
        if meter.stale_after_s <= meter.interval_s:
            yield Problem(
                (*path, "stale_after_s"),
                coded(
                    "{stale_after_s} s end before the next reading, after {interval_s} s",
                    stale_after_s=decimal(meter.stale_after_s),
                    interval_s=decimal(meter.interval_s),
                ),
                coded("set stale_after_s to several times interval_s"),
            )
    yield from _buses(config, known)
    yield from _sources(config)


def _virtual(meter: MeterConfig, path: DataPath) -> Iterator[Problem]:
    """Check the keys of a virtual meter."""
    if meter.driver != "virtual" and not (meter.plus or meter.minus or meter.stations):
        yield Problem(
            (*path, "transport"),
            coded('"virtual" is for a meter that is computed from others'),
            coded('write how the device is connected, e.g. "tcp", or set driver = "virtual" and add plus'),
        )
        return
    if meter.driver != "virtual":
        yield Problem(
            (*path, "driver"), coded("is not that of a virtual meter"), coded('set driver = "virtual"')
        )
    if not meter.plus and not meter.stations:
        yield Problem(
            (*path, "transport"),
            coded('"virtual" needs plus or stations'),
            coded("name the meters, or the stations, that it adds up"),
        )
    yield from check_transport_keys(meter, meter.transport, {}, _BELONGS, path)
    if meter.share:
        yield Problem(
            (*path, "share"), coded("a virtual meter has no registers to share"), coded("remove it")
        )


def _backups(meter: MeterConfig) -> tuple[str, ...]:
    return () if meter.backup is None else (meter.backup,)


def _stations(config: Config, meter: MeterConfig, path: DataPath) -> Iterator[Problem]:
    """Check a meter that is made of what stations report, and the circuits that it can be used for."""
    known = [station.id for station in config.station]
    for place, station in enumerate(meter.stations):
        if station not in known:
            yield unknown_name((*path, "stations", place), station, known, "station")
    if meter.stations:
        for key in ("plus", "minus", "backup"):
            if getattr(meter, key):
                yield Problem(
                    (*path, key),
                    coded("stands beside stations"),
                    coded("make two meters, one of them with stations"),
                )
        if meter.stale_after_s < STATIONS_REPORT_S:
            yield Problem(
                (*path, "stale_after_s"),
                coded(
                    "{stale_after_s} s are shorter than the interval in which stations report",
                    stale_after_s=decimal(meter.stale_after_s),
                ),
                coded(
                    "set stale_after_s to two of their intervals, at least {stations_report_s}",
                    stations_report_s=literal(STATIONS_REPORT_S),
                ),
            )
    stations = _stations_alone(config, meter.id)
    if stations is None:
        return
    for circuit in config.circuit:
        missing = _stations_below(config, circuit.id) - stations if circuit.meter == meter.id else set()
        if missing:
            yield Problem(
                (*path, "backup" if meter.backup else "stations"),
                coded(
                    'does not show {missing} of circuit "{id}"',
                    missing=", ".join(sorted(missing)),
                    id=circuit.id,
                ),
                coded("name every station at and below the circuit"),
            )


def _stations_alone(config: Config, name: str) -> set[str] | None:
    """Return the stations whose values make up a meter or its backup; None: of none."""
    meters = {meter.id: meter for meter in config.meter}
    seen: set[str] = set()
    while name in meters and name not in seen:
        seen.add(name)
        meter = meters[name]
        if meter.stations:
            return {*meter.stations}
        name = meter.backup or ""
    return None


def _stations_below(config: Config, circuit: str) -> set[str]:
    """Return the stations with an EVSE at the circuit or below it."""
    parents = {each.id: each.parent for each in config.circuit}

    def is_below(place: str | None) -> bool:
        seen: set[str] = set()
        while place is not None and place not in seen:
            if place == circuit:
                return True
            seen.add(place)
            place = parents.get(place)
        return False

    return {
        station.id
        for station in config.station
        for evse in station.evse
        if is_below(evse.circuit or station.circuit)
    }


def _sources(config: Config) -> Iterator[Problem]:
    """Check the meters that virtual ones are computed from."""
    places = {meter.id: index for index, meter in enumerate(config.meter)}
    virtual = {meter.id for meter in config.meter if meter.transport == "virtual"}
    for mistake in find_source_mistakes([meter.settings() for meter in config.meter]):
        if mistake.meter in virtual:
            yield Problem(("meter", places[mistake.meter], mistake.key), mistake.text, mistake.remedy)
    for index, meter in enumerate(config.meter):
        for key in ("plus", "minus", "stations", "backup"):
            if meter.id not in virtual and getattr(meter, key):
                yield Problem(
                    ("meter", index, key),
                    coded("is for virtual meters"),
                    coded('remove it, or set transport = "virtual"'),
                )


def _use(meter: MeterConfig, count: int, path: DataPath, *, is_source: bool) -> Iterator[Problem]:
    if count == 0 and not is_source and not meter.share:
        yield Problem(
            (*path, "id"),
            coded('no circuit uses meter "{name}"', name=meter.id),
            coded('set meter = "{name}" in the circuit that it measures, or remove it', name=meter.id),
            refers_to="circuit.meter",
        )
    if count > 1:
        yield Problem(
            (*path, "id"),
            coded('"{id}" measures {count} circuits', id=meter.id, count=count),
            coded("give each circuit its own meter"),
        )


def _transport(meter: MeterConfig, path: DataPath) -> Iterator[Problem]:
    needs = {"device": SERIAL_PORT} if meter.transport == "rtu" else {"host": "192.0.2.20"}
    yield from check_transport_keys(meter, meter.transport, needs, _BELONGS, path)
    yield from check_serial_unit((*path, "unit"), meter.transport, meter.unit)
    if meter.transport == "rtu" and meter.device is not None:
        yield from _serial_device(meter.device, (*path, "device"))
    if meter.transport == "tls" and meter.key and not meter.certificate:
        yield Problem(
            (*path, "key"),
            coded("needs a certificate"),
            coded("add certificate, or remove key"),
            depends_on=(*path, "certificate"),
        )


def _serial_device(device: str, path: DataPath) -> Iterator[Problem]:
    """Find what is not the whole path of a serial port of this machine."""
    if _COM_PORT.fullmatch(device):
        yield Problem(
            path,
            coded('"{device}" is a serial port of Windows', device=device),
            coded("write its name on this machine: `ls -l /dev/serial/by-id`"),
        )
    elif not device.startswith("/"):
        yield not_a_device_path(path, device)
    else:
        yield from check_serial_port(path, device)


def check_transport_keys(
    table: object,
    transport: str,
    needs: Mapping[str, str],
    belongs: Mapping[str, Set[str]],
    path: DataPath,
) -> Iterator[Problem]:
    """Find the keys of a table that its transport has not, and those that it needs and that are missing.

    Keys of another transport are one problem, as they came together; so is what is missing beside them, if it
    is one key.
    `needs`: the keys that the transport needs, with examples. `belongs`: the transports that have each key.
    """
    depends_on = (*path, "transport")
    missing = [key for key in needs if getattr(table, key) is None]
    keys = [key for key, has in belongs.items() if transport not in has and getattr(table, key) is not None]
    if keys and len(missing) == 1:
        (needed,) = missing
        value, fitting = needs[needed], _name_fitting(keys, belongs)
        what = coded(
            'has no meaning with transport "{transport}", which needs {needed}',
            transport=transport,
            needed=needed,
        )
        remedy = coded('write {needed} = "{value}" in its place', needed=needed, value=value)
        if fitting:
            remedy = coded(
                'write {needed} = "{value}" in its place, or set transport to {transports}',
                needed=needed,
                value=value,
                transports=fitting,
            )
        yield Problem((*path, keys[0]), what, remedy, depends_on=depends_on)
        return
    for key in missing:
        yield Problem(
            (*path, key),
            coded('is missing: transport "{transport}" needs it', transport=transport),
            coded('add {required} = "{value}"', required=key, value=needs[key]),
            depends_on=depends_on,
        )
    if keys:
        yield _foreign(keys, transport, belongs, path)


def _name_fitting(keys: Sequence[str], belongs: Mapping[str, Set[str]]) -> str:
    """Return the transports that have all of the keys, as alternatives; empty where none has."""
    fitting = frozenset.intersection(*(frozenset(belongs[key]) for key in keys))
    return join_or(sorted(fitting)) if fitting else ""


def _foreign(keys: Sequence[str], transport: str, belongs: Mapping[str, Set[str]], path: DataPath) -> Problem:
    """Describe keys that a transport has not, and the transports that have all of them."""
    what = coded('has no meaning with transport "{transport}"', transport=transport)
    fitting = _name_fitting(keys, belongs)
    remedy = coded("remove it, or set transport to {transports}", transports=fitting)
    if len(keys) > 1:
        others = ", ".join(keys[1:])
        what = coded(
            'has no meaning with transport "{transport}", nor {others}', transport=transport, others=others
        )
        remedy = coded("remove them, or set transport to {transports}", transports=fitting)
    if not fitting:
        remedy = coded("keep the keys of one transport")
    return Problem((*path, keys[0]), what, remedy, depends_on=(*path, "transport"))


def check_serial_unit(path: DataPath, transport: str, unit: int) -> Iterator[Problem]:
    """Find a unit that no device on a serial bus has (Modbus over Serial Line V1.02, 2.2)."""
    if transport == "rtu" and not 1 <= unit <= LAST_UNIT:
        yield Problem(
            path,
            coded("is not a unit of a serial bus: {unit}", unit=f"{unit}"),
            coded("use 1 to {most}", most=f"{LAST_UNIT}"),
        )


def is_serial_port(device: str) -> bool:
    """Return whether a path is that of a serial port, by its name."""
    return device.startswith(("/dev/tty", "/dev/serial/"))


def check_serial_port(path: DataPath, device: str) -> Iterator[Problem]:
    """Find the whole path of what is no serial port: a GPIO chip, or a directory of ports."""
    remedy = coded("write its name on this machine: `ls -l /dev/serial/by-id`")
    if device.startswith("/dev/gpio"):
        yield Problem(path, coded('"{device}" is not a serial port', device=device), remedy)
    elif device.rstrip("/") in _PORT_FOLDERS:
        yield Problem(path, coded("{file} is a directory", file=device), remedy)


def not_a_device_path(path: DataPath, device: str) -> Problem:
    """Return the problem of a name, e.g. "ttyUSB0", that is not the whole path of a serial port."""
    if _IP_ADDRESS.match(device):
        return Problem(
            path,
            coded('"{device}" is an address', device=device),
            coded('write it in host, with transport = "tcp" or "rtu-over-tcp"'),
        )
    if device.startswith(("usb-", "pci-", "platform-")):
        folder = "by-id" if device.startswith("usb-") else "by-path"
        return Problem(
            path,
            coded('"{device}" is not the whole path of a serial port', device=device),
            coded("did you mean {meant}?", meant=f'"/dev/serial/{folder}/{device}"'),
        )
    return Problem(
        path,
        coded('"{device}" is not the whole path of a serial port', device=device),
        coded(
            'did you mean "/dev/{value}"? better is its name in /dev/serial/by-id',
            value=device.removeprefix("dev/"),
        ),
    )


def _buses(config: Config, known: list[str]) -> Iterator[Problem]:
    """Meters that cannot share their bus: the same unit twice, other serial settings, other TLS files."""
    units: dict[tuple[object, ...], MeterConfig] = {}
    buses: dict[str, MeterConfig] = {}
    for index, meter in enumerate(config.meter):
        if meter.bus is None:
            continue
        path: DataPath = ("meter", index)
        place = (meter.bus, meter.unit, meter.sunspec_instance, meter.sunspec_model, meter.sunspec_role)
        other = units.setdefault(place, meter)
        if other is not meter:
            yield Problem(
                (*path, "unit"),
                coded('{unit} on this bus is meter "{id}" already', unit=meter.unit, id=other.id),
                coded("set each meter to its own unit, or name its meter of a SunSpec device"),
            )
        first = buses.setdefault(meter.bus, meter)
        if meter.transport == "rtu" and {meter.driver, first.driver} <= set(known):
            here, there = serial_settings(meter), serial_settings(first)
            if here != there:
                yield Problem(
                    (*path, "device"),
                    coded(
                        'uses {here}, but meter "{id}" on the same bus {there}',
                        here=here,
                        id=first.id,
                        there=there,
                    ),
                    coded("set both meters, and both here, to the same baud, parity and stopbits"),
                    depends_on=("meter",),  # a value that is not valid there, or here
                )
        if meter.transport != first.transport:
            yield Problem(
                (*path, "transport"),
                coded(
                    'is {transport}, but meter "{id}" at the same address is {transport_2}',
                    transport=meter.transport,
                    id=first.id,
                    transport_2=first.transport,
                ),
                coded("set both to the transport of their gateway"),
            )
        elif (meter.ca, meter.certificate, meter.key) != (first.ca, first.certificate, first.key):
            yield Problem(
                (*path, "ca"),
                coded(
                    'its TLS files are others than those of meter "{id}" at the same address; one '
                    "connection serves both",
                    id=first.id,
                ),
                coded("set ca, certificate and key of both to the same files"),
            )


def find_meter_hints(config: Config) -> Iterator[Problem]:
    """Find settings of meters that are possible, but unusual."""
    yield from _adapter_hints(config)
    yield from _transformer_hints(config)
    yield from _bus_hints(config)
    for index, meter in enumerate(config.meter):
        path: DataPath = ("meter", index)
        if meter.baud is not None and meter.baud not in BAUD_RATES:
            yield Problem(
                (*path, "baud"),
                coded("{baud} is no usual baud rate", baud=meter.baud),
                coded(
                    "compare it with the display of the meter: {rates}", rates=", ".join(map(str, BAUD_RATES))
                ),
            )
        if meter.ct_ratio < 1:
            yield Problem(
                (*path, "ct_ratio"),
                coded("{ct_ratio} makes readings smaller", ct_ratio=decimal(meter.ct_ratio)),
                coded(
                    "write primary divided by secondary current, {value}, unless the meter shows too much",
                    value=literal(1 / meter.ct_ratio, ".4g"),
                ),
            )
        yield from find_unit_hints((*path, "unit"), meter.transport, meter.unit)


def find_unit_hints(path: DataPath, transport: str, unit: int) -> Iterator[Problem]:
    """Find units that hardly any device on TCP has (Modbus Messaging on TCP/IP V1.0b, 4.4.2.1)."""
    if transport == "rtu-over-tcp" and unit == 0:
        yield Problem(
            path,
            coded("0 addresses all units of a serial bus, and none of them answers"),
            coded("write the unit of the meter, 1 to 247"),
        )
    elif transport in _OVER_TCP and (unit == 0 or LAST_UNIT < unit < UNIT_OF_DEVICE):
        yield Problem(
            path,
            coded("{unit} is a unit to which hardly any device answers", unit=f"{unit}"),
            coded(
                "write the unit in the device's settings, usually 1; {own} where it has none",
                own=f"{UNIT_OF_DEVICE}",
            ),
        )


def _adapter_hints(config: Config) -> Iterator[Problem]:
    """Find several USB adapters by the order in which they were plugged in: two may change places."""
    named = {meter.device: index for index, meter in enumerate(config.meter) if meter.device is not None}
    in_order = {device: index for device, index in named.items() if _NUMBERED_ADAPTER.fullmatch(device)}
    for device, index in in_order.items():
        if len(in_order) > 1:
            yield Problem(
                ("meter", index, "device"),
                coded("{device} may be another adapter after the next start", device=device),
                coded("write its name in /dev/serial/by-id or /dev/rs485"),
            )


def _transformer_hints(config: Config) -> Iterator[Problem]:
    """Find factors of current transformers that are far larger than what they are built around."""
    indexes = {meter.id: index for index, meter in enumerate(config.meter)}
    for circuit in config.circuit:
        index = indexes.get(circuit.meter or "")
        ratio = 1.0 if index is None else config.meter[index].ct_ratio
        if index is not None and ratio > MOST_RATIO_OF_LIMIT * max(circuit.limits_a):
            yield Problem(
                ("meter", index, "ct_ratio"),
                coded(
                    "transformers of {ratio} A at least, around a fuse of {limits_a} A",
                    ratio=decimal(ratio),
                    limits_a=decimal(max(circuit.limits_a)),
                ),
                coded("write primary divided by secondary current: 200/5 A is 40"),
            )


def _bus_hints(config: Config) -> Iterator[Problem]:
    """Find serial buses on which more readings are due than one of them takes."""
    loads: dict[str, float] = {}
    for index, meter in enumerate(config.meter):
        if meter.transport != "rtu" or meter.device is None:
            continue
        before = loads.get(meter.device, 0.0)
        loads[meter.device] = before + SERIAL_READING_S / meter.interval_s
        if before <= 1 < loads[meter.device]:
            yield Problem(
                ("meter", index, "interval_s"),
                coded(
                    "all readings that are due on {device} take longer than their intervals",
                    device=meter.device,
                ),
                coded(
                    "give its meters longer intervals, e.g. {before} s; a reading takes about "
                    "{serial_reading_s} s",
                    before=max(1, round(before + 1)),
                    serial_reading_s=decimal(SERIAL_READING_S),
                ),
            )


def serial_settings(meter: MeterConfig) -> str:
    """Return the serial settings, e.g. "9600 8N1": as configured, else as the model is delivered."""
    default = load_model(meter.driver).serial
    baud, parity = meter.baud or default.baud, meter.parity or default.parity
    return f"{baud} 8{parity}{meter.stopbits or default.stopbits}"


def _model(meter: MeterConfig, path: DataPath) -> Iterator[Problem]:
    """Find settings that the model does not allow."""
    model = load_model(meter.driver)
    if not model.measures_each_phase:
        yield Problem(
            (*path, "driver"),
            coded('"{driver}" measures neither the current nor the power of each phase', driver=meter.driver),
            coded("use a meter that measures each phase: no circuit can be guarded with this one"),
        )
    if meter.timeout_s is not None and meter.timeout_s >= meter.stale_after_s:
        yield Problem(
            (*path, "timeout_s"),
            coded(
                "{timeout_s} s are longer than a reading stays valid, {stale_after_s} s",
                timeout_s=decimal(meter.timeout_s),
                stale_after_s=decimal(meter.stale_after_s),
            ),
            coded("set stale_after_s to several times timeout_s"),
        )
    if sorted(meter.phase_order) != ["L1", "L2", "L3"]:
        yield Problem(
            (*path, "phase_order"),
            coded("does not name each phase once"),
            coded('write e.g. ["L2", "L3", "L1"]'),
        )
    for key in ("sunspec_instance", "sunspec_model", "sunspec_role"):
        if getattr(meter, key) is not None and model.sunspec is None:
            yield Problem(
                (*path, key),
                coded('has no meaning with driver "{driver}"', driver=meter.driver),
                coded("remove it"),
            )
