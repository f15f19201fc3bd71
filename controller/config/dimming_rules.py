"""Rules of [dimming]: limit sources, their keys, contacts and modules, and controllable EVSEs."""

from __future__ import annotations

import re
from collections.abc import Iterator

from controller.config.meter_rules import (
    SERIAL_PORT,
    check_serial_port,
    check_serial_unit,
    check_transport_keys,
    find_unit_hints,
    is_serial_port,
    not_a_device_path,
    serial_settings,
)
from controller.config.schema import (
    Config,
    DimmingConfig,
    DimmingModuleConfig,
    DimmingSourceConfig,
    MeterConfig,
)
from controller.model.section_14a import DEVICE_W
from controller.tomlcheck.diagnostics import Problem, defined_already, unknown_name
from controller.tomlcheck.positions import DataPath
from drivers.coded_text import coded, decimal, join_or
from drivers.input_modules import list_input_modules, load_input_module
from drivers.meter_model import list_models
from drivers.settings import default_port

SLOW_INPUTS_S = 5.0
"""Inputs that are read less often show a limit late (s)."""
LONG_BOUNCE_S = 2.0
"""No contact bounces for longer (s)."""
SHORT_LOSS_S, LONG_LOSS_S = 2.0, 300.0
"""Times after which a module counts as lost by one late reading, and after which nobody relies on it (s)."""
TWO_YEARS_DAYS = 730
MELO_LENGTH, MALO_LENGTH = 33, 11
"""Characters of the ids of a metering location and a market location (BDEW)."""
MANY_INPUTS = 32
"""Inputs of the largest terminal blocks that control boxes are wired to."""
MOST_CONTACTS = 4
"""Contacts of one source: control boxes and ripple-control receivers have no more."""

_KINDS = {
    "role": {"signed"},
    "signed": {"signed"},
    "lost_after_s": {"signed", "ocpp", "contact"},
    "module": {"contact"},
    "pattern": {"contact"},
    "settle_s": {"contact"},
}
"""Keys that only some kinds of source have."""

_TRANSPORTS = {
    "driver": {"tcp", "rtu", "rtu-over-tcp"},
    "host": {"tcp", "rtu-over-tcp"},
    "port": {"tcp", "rtu-over-tcp"},
    "device": {"rtu", "gpio"},
    "baud": {"rtu"},
    "parity": {"rtu"},
    "stopbits": {"rtu"},
}
"""Keys that only some transports have."""

_NEEDS = {
    "tcp": {"driver": "wago-750", "host": "192.0.2.30"},
    "rtu-over-tcp": {"driver": "wago-750", "host": "192.0.2.30"},
    "rtu": {"driver": "wago-750", "device": SERIAL_PORT},
    "gpio": {"device": "/dev/gpiochip0"},
}
"""Keys that each transport needs, with examples."""


def check_dimming(config: Config) -> Iterator[Problem]:
    """Find limit sources without effect, and contradictions between sources, contacts and modules."""
    dimming = config.dimming
    if dimming is None:
        return
    yield from _whole(config, dimming)
    roles: dict[str, str] = {}
    for index, source in enumerate(dimming.source):
        path: DataPath = ("dimming", "source", index)
        yield from _source(config, source, path)
        other = roles.setdefault(source.role or source.id, source.id)
        if other != source.id and source.role:
            yield Problem(
                (*path, "role"),
                coded('is also the role of "{other}"', other=other),
                coded("give each source its own role"),
            )
        if source.kind == "contact":
            yield from _contacts(dimming, source, path)
    yield from _shared(dimming)
    yield from _wiring(dimming)
    yield from _inputs(dimming)
    meters = {meter.device: meter for meter in config.meter if meter.device is not None}
    for index, module in enumerate(dimming.module):
        path = ("dimming", "module", index)
        yield from _module(module, path)
        if module.transport == "rtu" and module.device in meters:
            yield from _bus_with_meter(config, module, meters[module.device], path)
        elif module.host is not None:
            yield from _unit_of_meter(config, module, path)


def _whole(config: Config, dimming: DimmingConfig) -> Iterator[Problem]:
    if not dimming.source:
        yield Problem(
            ("dimming",),
            coded("has no limit source"),
            coded("add a [[dimming.source]]"),
            depends_on=("dimming", "source"),
        )
    if config.signing is None or config.signing.key is None:
        yield Problem(
            ("dimming",),
            coded("needs a key of the controller, which signs evidence and acknowledgements"),
            coded('make one with `local-controller keys new`, and name it: [signing] key = "..."'),
            depends_on=("signing",),
        )
    if not any(evse.is_controllable for station in config.station for evse in station.evse):
        yield Problem(
            ("dimming",),
            coded("has no controllable EVSE"),
            coded("remove exempt where steuve = true: an exempt EVSE is never dimmed")
            if any(evse.steuve for station in config.station for evse in station.evse)
            else coded("set steuve = true in each controllable EVSE"),
            depends_on=("station",),
        )


def _source(config: Config, source: DimmingSourceConfig, path: DataPath) -> Iterator[Problem]:
    kind: DataPath = (*path, "kind")
    if source.kind == "signed" and source.role is None:
        yield Problem(
            (*path, "role"), coded("is missing"), coded("add the role whose keys may sign"), depends_on=kind
        )
    if source.kind == "ocpp" and config.site.backend is None:
        yield Problem(kind, coded("no backend sets a limit for the site"), coded("set site.backend"))
    if source.kind == "contact" and source.module is None:
        yield Problem(
            (*path, "module"),
            coded("is missing"),
            coded("add the id of its [[dimming.module]]"),
            depends_on=kind,
        )
    default = DimmingSourceConfig(id="?", kind="signed")
    for key, kinds in _KINDS.items():
        if source.kind not in kinds and getattr(source, key) != getattr(default, key):
            yield Problem(
                (*path, key),
                coded('has no meaning with kind "{kind}"', kind=source.kind),
                coded("remove it, or set kind to {kinds}", kinds=join_or(sorted(kinds))),
                depends_on=kind,
            )


def _contacts(dimming: DimmingConfig, source: DimmingSourceConfig, path: DataPath) -> Iterator[Problem]:
    own = [contact for contact in dimming.contact if contact.source == source.id]
    if not 1 <= len(own) <= MOST_CONTACTS:
        # A contact whose source is a wrong one most likely means this one, and is reported itself.
        if own or not _has_stray_contact(dimming):
            yield Problem(
                (*path, "id"),
                coded("{own} contacts have it as their source", own=len(own)),
                coded("let 1 to {most_contacts} [[dimming.contact]] name it", most_contacts=MOST_CONTACTS),
                depends_on=("dimming", "contact"),
            )
    elif all(contact.limit_w is None for contact in own):
        yield Problem(
            (*path, "id"),
            coded("none of its contacts has a limit"),
            coded("give one of them a limit_w"),
            depends_on=("dimming", "contact"),
        )
    if source.pattern == "one-of" and len(own) == 1:
        yield Problem((*path, "pattern"), coded("is for several contacts"), coded('set pattern = "each"'))
    modules = [module.id for module in dimming.module]
    if source.module is not None and source.module not in modules:
        yield unknown_name((*path, "module"), source.module, modules, "dimming.module")


def _has_stray_contact(dimming: DimmingConfig) -> bool:
    """Return whether a contact names a source that does not exist or has no contacts, which is an error."""
    sources = {source.id for source in dimming.source if source.kind == "contact"}
    return any(contact.source not in sources for contact in dimming.contact)


def _shared(dimming: DimmingConfig) -> Iterator[Problem]:
    users: dict[str, str] = {}
    for index, source in enumerate(dimming.source):
        other = users.setdefault(source.module or source.id, source.id)
        if source.module is not None and other != source.id:
            yield Problem(
                ("dimming", "source", index, "module"),
                coded('is polled for source "{other}" already', other=other),
                coded("give all its contacts one source, or use two modules"),
            )


def _wiring(dimming: DimmingConfig) -> Iterator[Problem]:
    modules = {source.id: source.module for source in dimming.source if source.kind == "contact"}
    wired: dict[tuple[str | None, int], str] = {}
    names: set[tuple[str, str]] = set()
    for index, contact in enumerate(dimming.contact):
        path: DataPath = ("dimming", "contact", index)
        if contact.source not in modules:
            if any(source.id == contact.source for source in dimming.source):
                yield Problem(
                    (*path, "source"),
                    coded('"{source}" is no source of contacts', source=contact.source),
                    coded('set kind = "contact" in it, or name another'),
                    depends_on=("dimming", "source"),
                )
            else:
                yield unknown_name((*path, "source"), contact.source, modules, "dimming.source")
            continue
        if (contact.source, contact.name) in names:
            yield defined_already((*path, "name"), contact.name)
            continue
        names.add((contact.source, contact.name))
        wire = (modules[contact.source], contact.input)
        other = wired.get(wire)
        wired.setdefault(wire, contact.name)
        if other is not None:
            yield Problem(
                (*path, "input"),
                coded(
                    '{input} of this module is contact "{other}" already', input=contact.input, other=other
                ),
                coded("give each contact its own input"),
            )


def _inputs(dimming: DimmingConfig) -> Iterator[Problem]:
    """Find inputs that their module does not have."""
    modules = {source.id: source.module for source in dimming.source}
    drivers = {module.id: module.driver for module in dimming.module}
    for index, contact in enumerate(dimming.contact):
        driver = drivers.get(modules.get(contact.source) or "")
        if driver is None or driver not in list_input_modules():
            continue
        inputs = load_input_module(driver).inputs
        if contact.input >= inputs:
            yield Problem(
                ("dimming", "contact", index, "input"),
                coded(
                    '{input} is not an input of "{driver}", which has {inputs}, counted from 0',
                    input=contact.input,
                    driver=driver,
                    inputs=inputs,
                ),
                coded("write 0 to {inputs}", inputs=inputs - 1),
            )


def _unit_of_meter(config: Config, module: DimmingModuleConfig, path: DataPath) -> Iterator[Problem]:
    """Find a meter with the address and the unit of a module."""
    port = module.port or default_port(module.transport)
    for meter in config.meter:
        if meter.bus == f"{module.host}:{port}" and meter.unit == module.unit:
            yield Problem(
                (*path, "unit"),
                coded(
                    '{unit} at {bus} is meter "{id}" already', unit=module.unit, bus=meter.bus, id=meter.id
                ),
                coded("set the module to its own unit, or write its own host"),
            )


def _bus_with_meter(
    config: Config, module: DimmingModuleConfig, meter: MeterConfig, path: DataPath
) -> Iterator[Problem]:
    """Find what keeps a module from sharing a serial port with meters: other settings, or the same unit."""
    taken = {each.unit: each.id for each in config.meter if each.device == module.device}
    if module.unit in taken:
        yield Problem(
            (*path, "unit"),
            coded('{unit} on this bus is meter "{id}" already', unit=module.unit, id=taken[module.unit]),
            coded("set the module to its own unit"),
        )
    if module.driver in list_input_modules() and meter.driver in list_models():
        delivered = load_input_module(module.driver).serial
        baud, parity = module.baud or delivered.baud, module.parity or delivered.parity
        here = f"{baud} 8{parity}{module.stopbits or delivered.stopbits}"
        there = serial_settings(meter)
        if here != there:
            yield Problem(
                (*path, "device"),
                coded(
                    'uses {here}, but meter "{id}" on the same bus {there}',
                    here=here,
                    id=meter.id,
                    there=there,
                ),
                coded("set module and meter, and both here, to the same baud, parity and stopbits"),
            )


def _module(module: DimmingModuleConfig, path: DataPath) -> Iterator[Problem]:
    known = list_input_modules()
    yield from check_transport_keys(module, module.transport, _NEEDS[module.transport], _TRANSPORTS, path)
    yield from check_serial_unit((*path, "unit"), module.transport, module.unit)
    if module.device is not None and module.transport in ("gpio", "rtu"):
        yield from _device(module.device, module.transport, path)
    if module.driver is not None and module.driver not in known:
        yield unknown_name((*path, "driver"), module.driver, known, "driver")


def _ways_in(config: Config) -> Iterator[Problem]:
    """Find evidence that is removed early, and signed commands that cannot come in or are all rejected."""
    if config.dimming is not None and config.dimming.retention_days < TWO_YEARS_DAYS:
        yield Problem(
            ("dimming", "retention_days"),
            coded(
                "evidence is removed after {retention_days} days; the grid operator keeps its own for two "
                "years",
                retention_days=config.dimming.retention_days,
            ),
            coded("set retention_days to {two_years_days} or more", two_years_days=TWO_YEARS_DAYS),
        )
    keys_known = config.signing is not None and config.signing.policy is not None
    for index, source in enumerate(() if config.dimming is None else config.dimming.source):
        path: DataPath = ("dimming", "source", index)
        if source.kind == "signed" and source.signed and not keys_known:
            yield Problem(
                (*path, "signed"),
                coded("no key has its role: all its commands are rejected"),
                coded("name a policy with the key and the role: [signing] policy"),
                depends_on=(*path, "kind"),
            )
        if source.kind == "signed" and config.site.backend is None:
            yield Problem(
                (*path, "kind"),
                coded("its commands have no way in"),
                coded("set site.backend: they arrive over the site's own link"),
            )


def find_dimming_hints(config: Config) -> Iterator[Problem]:
    """Find settings with which a command is lost, noticed late, or a fault taken for one."""
    yield from _ways_in(config)
    yield from _controllable_evses(config)
    dimming = config.dimming
    if dimming is None:
        return
    yield from _connection_point(dimming)
    yield from _high_inputs(dimming)
    for index, module in enumerate(dimming.module):
        path: DataPath = ("dimming", "module", index)
        yield from find_unit_hints((*path, "unit"), module.transport, module.unit)
        if module.interval_s > SLOW_INPUTS_S:
            yield Problem(
                (*path, "interval_s"),
                coded(
                    "a limit of the grid operator is noticed up to {interval_s} s late",
                    interval_s=decimal(module.interval_s),
                ),
                coded("write 1 (s) or less"),
            )
    for index, source in enumerate(dimming.source):
        path = ("dimming", "source", index)
        if source.settle_s > LONG_BOUNCE_S:
            yield Problem(
                (*path, "settle_s"),
                coded(
                    "no contact bounces for {settle_s} s, and each limit is late by it",
                    settle_s=decimal(source.settle_s),
                ),
                coded("write some tenths of a second, e.g. 0.3 (s)"),
            )
        if source.kind == "contact" and 0 < source.lost_after_s < SHORT_LOSS_S:
            yield Problem(
                (*path, "lost_after_s"),
                coded(
                    "after {lost_after_s} s a single late reading already limits the site",
                    lost_after_s=decimal(source.lost_after_s),
                ),
                coded("write a few intervals of its module, e.g. 5 (s)"),
            )
        elif source.kind == "contact" and source.lost_after_s > LONG_LOSS_S:
            yield Problem(
                (*path, "lost_after_s"),
                coded(
                    "a dead module goes unnoticed for {lost_after_s} s, and a limit with it",
                    lost_after_s=decimal(source.lost_after_s),
                ),
                coded("write a few intervals of its module, e.g. 5 (s)"),
            )


def _controllable_evses(config: Config) -> Iterator[Problem]:
    """Find controllable EVSEs that nothing can dim, or that the law does not know as such."""
    for index, station in enumerate(config.station):
        for number, evse in enumerate(station.evse):
            if not evse.is_controllable:
                continue
            path: DataPath = ("station", index, "evse", number, "steuve")
            if config.dimming is None:
                yield Problem(
                    path,
                    coded("no limit source can dim it"),
                    coded("add [dimming] with a [[dimming.source]]"),
                )
            watts = evse.max_a * len(evse.phases) * config.site.voltage
            if evse.max_kw is None and watts <= DEVICE_W:
                yield Problem(
                    path,
                    coded(
                        "draws at most {watts} kW, and section 14a begins above 4.2 kW",
                        watts=decimal(watts / 1000, ".1f"),
                    ),
                    coded("compare max_a and phases with the station, or leave out steuve"),
                    depends_on=("station", index, "evse", number, "max_a"),
                )


def _connection_point(dimming: DimmingConfig) -> Iterator[Problem]:
    """Find mistyped ids of metering locations (MeLo) and market locations (MaLo) of the German market."""
    point = dimming.connection_point or ""
    path: DataPath = ("dimming", "connection_point")
    letters = point.replace(" ", "").replace("-", "")
    remedy = coded("copy it from the grid operator's letter, or from the meter's papers")
    if re.fullmatch(r"DE\d[0-9A-Za-z]*", letters) and len(point) != MELO_LENGTH:
        yield Problem(
            path,
            coded(
                "has {count} characters, the id of a metering location (MeLo) has {length}",
                count=len(point),
                length=MELO_LENGTH,
            ),
            remedy,
        )
    elif re.fullmatch(r"\d{9,13}", letters) and (len(point) != MALO_LENGTH or not _is_market_location(point)):
        yield Problem(
            path,
            coded(
                "is not the id of a market location (MaLo): {length} digits, the last one a check digit",
                length=MALO_LENGTH,
            ),
            remedy,
        )


def _is_market_location(digits: str) -> bool:
    """Return whether the last digit checks the others (BDEW: every second one counts twice)."""
    values = [int(each) for each in digits]
    return (sum(values[0:-1:2]) + 2 * sum(values[1:-1:2]) + values[-1]) % 10 == 0


def _high_inputs(dimming: DimmingConfig) -> Iterator[Problem]:
    """Find inputs that few modules have; a GPIO line is numbered within its chip, and may be high."""
    modules = {source.id: source.module for source in dimming.source}
    on_bus = {module.id for module in dimming.module if module.transport != "gpio"}
    for index, contact in enumerate(dimming.contact):
        if contact.input >= MANY_INPUTS and modules.get(contact.source) in on_bus:
            yield Problem(
                ("dimming", "contact", index, "input"),
                coded("{input} is the number of an input, and few modules have so many", input=contact.input),
                coded("count the inputs from 0; the address of the module is unit or host"),
            )


def _device(device: str, transport: str, path: DataPath) -> Iterator[Problem]:
    """Find names that are not the whole path of a serial port or a GPIO chip."""
    if transport == "gpio":
        if device.startswith("/dev/") and not is_serial_port(device):
            return
        named = "chip" in device and not device.startswith("/")
        chip = f"/dev/{device.removeprefix('dev/')}" if named else "/dev/gpiochip0"
        yield Problem(
            (*path, "device"),
            coded('"{device}" is not a GPIO chip', device=device),
            coded(
                'did you mean "{chip}"? The line is the input of the contact: `gpioinfo` lists chips and '
                "lines",
                chip=chip,
            ),
        )
    elif not device.startswith("/dev/"):
        yield not_a_device_path((*path, "device"), device)
    else:
        yield from check_serial_port((*path, "device"), device)
