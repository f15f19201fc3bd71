"""`local-controller meter`: list and check models, find meters on a bus, read and record their values.

Exit status: 0 success; 1 mistakes in a model file, no meter found, or a meter that cannot be read; 2 a file
that cannot be read. `--json` prints the same as JSON and changes no status; `read` without `--once` then
prints one object a line, for each state as it is read.
"""

from __future__ import annotations

import argparse
import csv
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, TextIO

import msgspec
import trio
from rich.console import Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from controller.cli.arguments import (
    FAILED,
    OK,
    UNREADABLE,
    USUAL_CONFIG,
    CommandError,
    Subcommands,
    add_json,
    count_of,
    file_error,
    new_file,
    number,
    print_json,
    printed_diagnostic,
    read_configuration,
    seconds,
    whole_number,
)
from controller.cli.tables import make_console
from controller.config.model_files import check_model_file
from controller.tomlcheck.diagnostics import (
    FileUnreadableError,
    read_text,
    render_diagnostics,
)
from drivers import identify_service, meter_model, meter_service
from drivers.errors import DriverError
from drivers.meter_model import MeterModel
from drivers.read_plan import ReadPlan, fields_of
from drivers.reading import MeterState, Quality, Reading
from drivers.settings import BusSettings, MeterSettings, Transport, default_port

_GROUPS = ("voltage", "current", "power_active", "power_reactive", "power_factor", "frequency", "energy")
READ_WAIT_S = 15.0
"""Time that `read --once` waits for a good reading."""


def add_parser(commands: Subcommands) -> None:
    """Add the subcommand and its actions."""
    parser = commands.add_parser("meter", help="list models, find meters on a bus, read and record them")
    actions = parser.add_subparsers(required=True, metavar="ACTION")

    listing = actions.add_parser("list", help="list all meter models")
    _add_models_of(listing)
    add_json(listing)
    listing.set_defaults(run=_list)

    show = actions.add_parser("show", help="show the registers of a model, their sources and its notes")
    show.add_argument("model", metavar="MODEL")
    _add_models_of(show)
    add_json(show)
    show.set_defaults(run=_show)

    check = actions.add_parser("check", help="find every mistake in a model file")
    check.add_argument("file", type=Path, metavar="FILE")
    add_json(check)
    check.set_defaults(run=_check)

    identify = actions.add_parser("identify", help="search a bus for meters, and name their models")
    _add_bus(identify, required=True)
    identify.add_argument(
        "--units", type=_units, metavar="N-M", help="unit numbers to try, e.g. 1-20 (default: the usual ones)"
    )
    add_json(identify)
    identify.set_defaults(run=_identify)

    read = actions.add_parser("read", help="show the values of meters as they are read")
    read.add_argument("--once", action="store_true", help="end after one good reading of each meter")
    add_json(read)
    read.set_defaults(run=_read)
    watch = actions.add_parser("watch", help="record the values of meters in a file")
    watch.add_argument("--csv", type=new_file, required=True, metavar="FILE", help="file to write")
    watch.add_argument("--duration", type=seconds, metavar="SECONDS", help="default: until Ctrl-C")
    watch.set_defaults(run=_watch)
    for action in (read, watch):
        action.add_argument("meters", nargs="*", metavar="METER", help="meters of the configuration")
        action.add_argument(
            "-c",
            "--config",
            type=Path,
            metavar="FILE",
            help=f"configuration with the meters; default without --driver: {USUAL_CONFIG}",
        )
        action.add_argument("--driver", metavar="MODEL", help="model of a meter without configuration")
        action.add_argument("--unit", type=whole_number, default=1, metavar="N")
        action.add_argument("--interval", type=number, default=1.0, metavar="SECONDS")
        _add_bus(action, required=False)


def _add_models_of(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-c",
        "--config",
        type=Path,
        default=USUAL_CONFIG,
        metavar="FILE",
        help="configuration whose own models are included, default: %(default)s",
    )


def _add_bus(parser: argparse.ArgumentParser, *, required: bool) -> None:
    where = parser.add_mutually_exclusive_group(required=required)
    where.add_argument("--device", metavar="PORT", help="serial port, e.g. /dev/serial/by-id/...")
    where.add_argument("--host", metavar="HOST", help="address of a meter or gateway")
    parser.add_argument("--port", type=whole_number, metavar="N", help="default: 502, with TLS 802")
    parser.add_argument(
        "--transport", choices=("tcp", "tls", "rtu-over-tcp", "udp"), default="tcp", help="with --host"
    )
    parser.add_argument(
        "--baud", type=whole_number, metavar="N", help="with --device; default: of the model, or all"
    )
    parser.add_argument("--parity", choices=("N", "E", "O"), help="with --device")
    for name in ("ca", "certificate", "key"):
        parser.add_argument(f"--{name}", metavar="FILE", help="with --transport tls")


def _units(text: str) -> list[int]:
    """Parse e.g. "1-5,11"."""
    try:
        units = [
            unit
            for part in text.split(",")
            for unit in range(int(part.partition("-")[0]), int(part.rpartition("-")[2]) + 1)
        ]
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no list of unit numbers; write e.g. 1-5,11") from None
    if not units or not all(0 <= unit <= 255 for unit in units):
        raise argparse.ArgumentTypeError("unit numbers are 0 to 255")
    return units


# -- models ------------------------------------------------------------------------------------------


def _load_user_models(options: argparse.Namespace) -> None:
    models, errors = meter_model.read_user_models(options.config.parent / meter_model.USER_FOLDER)
    meter_model.set_user_models(models)
    for error in errors.values():
        print(error, file=sys.stderr)


def _list(options: argparse.Namespace) -> int:
    _load_user_models(options)
    if options.json:
        print_json([_described_model(name) for name in meter_model.list_models()])
        return OK
    table = Table("model", "vendor", "name", "phases", "transports", "quantities", "confirmed", box=None)
    for name in meter_model.list_models():
        model = meter_model.load_model(name)
        table.add_row(
            name,
            model.vendor,
            model.model,
            str(model.phases),
            " ".join(model.transports),
            _quantities(model),
            "yes" if model.confirmed else "no",
        )
    make_console().print(table)
    return OK


def _described_model(name: str) -> dict[str, object]:
    """Return the members that `list --json` has of a model."""
    model = meter_model.load_model(name)
    return {
        "model": name,
        "vendor": model.vendor,
        "name": model.model,
        "phases": model.phases,
        "transports": list(model.transports),
        "quantities": sorted(model.by_quantity),
        "confirmed": model.confirmed,
    }


def _quantities(model: MeterModel) -> str:
    """Summarize what a model measures; "(total)" where it has no value for each phase."""
    if model.sunspec is not None and model.sunspec.layouts:
        return "of its SunSpec model"
    words = []
    for group in _GROUPS:
        found = [quantity for quantity in model.by_quantity if quantity.startswith(group)]
        if group == "power_active" and not found and model.has_power("total"):
            found = ["power_active_l1" if model.has_power("l1") else "power_active_total"]
        if found:
            whole = any(quantity.endswith("_l1") for quantity in found) or group == "frequency"
            words.append(group.removesuffix("_active") + ("" if whole else " (total)"))
    return ", ".join(words)


def _show(options: argparse.Namespace) -> int:
    _load_user_models(options)
    model = _load(options.model)
    if options.json:
        print_json(_described_registers(options.model))
        return OK
    console = make_console()
    console.print(Text(f"{model.vendor} {model.model}", style="bold"))
    for label, value in _facts(model):
        console.print(Text(f"{label:<12} {value}"))
    table = Table(
        "quantity", "unit", "function", "address", "type", "scale", "confirmed", "sources", box=None
    )
    for register in model.register:
        scale = f"{register.scale:g}"
        if register.scale_register is not None:
            scale = f"10^[{register.scale_register}]"
        table.add_row(
            register.quantity + (" (not read)" if register.alternative else ""),
            register.unit,
            str(register.function),
            str(register.address),
            register.type + (", low word first" if register.word_order == "little" else ""),
            scale,
            "yes" if register.confirmed else "no",
            ", ".join(register.sources),
        )
    if model.register:
        console.print(table)
        console.print(Text(f"one poll reads {_described_plan(model)}"))
    for key, source in model.sources.items():
        console.print(Text(f"source {key}: {source}"))
    for note in model.notes:
        console.print(Text(f"note: {note}"))
    return OK


def _described_registers(name: str) -> dict[str, object]:
    """Return the members that `show --json` has of a model: those of `list`, facts, registers, sources."""
    model = meter_model.load_model(name)
    return {
        **_described_model(name),
        "facts": dict(_facts(model)),
        "registers": [
            {
                "quantity": register.quantity,
                "unit": register.unit,
                "function": register.function,
                "address": register.address,
                "type": register.type,
                "word_order": register.word_order,
                "scale": register.scale,
                "scale_register": register.scale_register,
                "is_read": not register.alternative,
                "confirmed": register.confirmed,
                "sources": list(register.sources),
            }
            for register in model.register
        ],
        "sources": dict(model.sources),
        "notes": list(model.notes),
    }


def _facts(model: MeterModel) -> list[tuple[str, str]]:
    serial, tcp = model.serial, model.tcp
    facts = [("phases", str(model.phases)), ("transports", ", ".join(model.transports))]
    if model.aliases:
        facts.append(("also sold as", ", ".join(model.aliases)))
    if model.oem_of:
        facts.append(("same map as", model.oem_of))
    if "rtu" in model.transports:
        doubt = "" if serial.confirmed else " (unconfirmed)"
        facts.append(
            ("serial", f"{serial.baud} 8{serial.parity}{serial.stopbits}, unit {serial.unit}{doubt}")
        )
    if {"tcp", "udp"} & {*model.transports}:
        doubt = "" if tcp.confirmed else " (unconfirmed)"
        facts.append(("network", f"port {tcp.port}, unit {tcp.unit}{doubt}"))
    directions = {
        "signed": "the currents carry their direction",
        "magnitude": "the currents are magnitudes; the power of the phase gives the direction",
        "unknown": "not known; the power of the phase gives the direction",
    }
    facts.append(("direction", directions[model.current_sign]))
    return facts


def _described_plan(model: MeterModel) -> str:
    plan = ReadPlan(fields_of(model), model.read.max_registers, bridge_gaps=model.read.bridge_gaps)
    ranges = ", ".join(f"{each.count} from {each.address}" for each in plan.ranges)
    return f"{count_of(len(plan.ranges), 'range')} of registers: {ranges}"


def _load(name: str) -> MeterModel:
    try:
        return meter_model.load_model(name)
    except DriverError as error:
        raise CommandError(str(error)) from error


def _check(options: argparse.Namespace) -> int:
    try:
        text = read_text(options.file)
    except FileUnreadableError as error:
        raise CommandError(str(error), UNREADABLE) from error
    found, odd = check_model_file(text, str(options.file))
    if options.json:
        diagnostics = list(map(printed_diagnostic, [*found, *odd]))
        print_json({"file": str(options.file), "valid": not found, "diagnostics": diagnostics})
        return FAILED if found else OK
    if found:
        raise CommandError(render_diagnostics(found, []))
    model = meter_model.parse_model(text, options.file.name)
    print(f"{options.file}: {model.vendor} {model.model}, {len(model.register)} registers; no mistakes")
    if odd:
        print(render_diagnostics([], odd))
    if model.register:
        print(f"one poll reads {_described_plan(model)}")
    if not model.measures_each_phase:
        print("it measures neither current nor power of each phase: no circuit can be guarded with it")
    return OK


# -- buses -------------------------------------------------------------------------------------------


def _identify(options: argparse.Namespace) -> int:
    if options.device is not None:
        settings = identify_service.serial_settings_to_try(options.device, options.baud, options.parity)
        units: Sequence[int] = options.units or identify_service.SERIAL_UNITS
    else:
        settings = [meter_service.bus_settings_of(_meter_of(options, "sunspec"))]
        units = options.units or identify_service.TCP_UNITS
    report = partial(print, file=sys.stderr) if options.json else print
    try:
        found = trio.run(identify_service.identify_meters, settings, units, report)
    except DriverError as error:
        raise CommandError(str(error)) from error
    except KeyboardInterrupt:
        return FAILED
    if options.json:
        print_json([_found_members(each) for each in found])
    if not found:
        raise CommandError(
            "no unit answers; check wiring (A and B swapped?), power and termination, and try --units 1-247"
        )
    if not options.json:
        for each in found:
            print(_described_find(each))
    return OK


def _found_members(found: identify_service.FoundMeter) -> dict[str, object]:
    """Return the members that `identify --json` has of a device; the best candidate is the first."""
    settings: BusSettings = found.settings
    if settings.transport == "rtu":
        bus: dict[str, object] = {
            "device": settings.device,
            "baud": settings.baud,
            "parity": settings.parity,
            "stopbits": settings.stopbits,
        }
    else:
        bus = {"host": settings.host, "port": settings.port}
    return {
        "transport": settings.transport,
        **bus,
        "unit": found.unit,
        "candidates": [msgspec.to_builtins(each) for each in found.candidates],
        "sunspec": [
            {"driver": "sunspec", "sunspec_instance": meter.instance, "role": meter.role}
            | msgspec.to_builtins(meter.identity)
            for meter in found.sunspec
        ],
    }


def _described_find(found: identify_service.FoundMeter) -> str:
    settings: BusSettings = found.settings
    where = f"{settings.baud} 8{settings.parity}{settings.stopbits}, " if settings.transport == "rtu" else ""
    lines = [f"{where}unit {found.unit}:"]
    lines += [
        f'  SunSpec meter {meter}: driver = "sunspec", sunspec_instance = {meter.instance}'
        for meter in found.sunspec
    ]
    for candidate in found.candidates[:5]:
        serial = f", serial number {candidate.serial_number}" if candidate.serial_number else ""
        lines.append(f"  {candidate.name} ({candidate.score} points{serial}): {'; '.join(candidate.reasons)}")
    if not found.candidates and not found.sunspec:
        lines.append("  no known model fits: a meter of another make, or another device")
    return "\n".join(lines)


def _meter_of(options: argparse.Namespace, driver: str) -> MeterSettings:
    """Return the settings of the meter that the options describe."""
    transport: Transport = "rtu" if options.device is not None else options.transport
    return MeterSettings(
        id=driver,
        driver=driver,
        transport=transport,
        host=options.host,
        port=options.port or default_port(transport),
        device=options.device,
        baud=options.baud,
        parity=options.parity,
        unit=getattr(options, "unit", 1),
        interval_s=getattr(options, "interval", 1.0),
        ca=options.ca,
        certificate=options.certificate,
        key=options.key,
    )


def _meters_of(options: argparse.Namespace) -> list[MeterSettings]:
    """Return the meters of the configuration, or the meter that the options describe."""
    path: Path = options.config or USUAL_CONFIG
    is_described = any((options.driver, options.device, options.host))
    if options.config is None and (is_described or not path.exists()):
        if options.driver is None or (options.device is None and options.host is None):
            raise CommandError("name meters with -c FILE, or one with --driver and --device or --host")
        _load(options.driver)
        return [_meter_of(options, options.driver)]
    config = read_configuration(path)
    meters = {meter.id: meter.settings() for meter in config.meter}
    reported = [name for name in options.meters if name in meters and meters[name].stations]
    if reported:
        raise CommandError(
            f"{path}: {', '.join(reported)} is made of what stations report to the controller; "
            "see `local-controller status`"
        )
    meters = {name: meter for name, meter in meters.items() if not meter.stations}
    unknown = [name for name in options.meters if name not in meters]
    if not meters:
        raise CommandError(
            f"{path}: has no meter to read; add [[meter]], or name one with --driver and --host"
        )
    if unknown:
        known = ", ".join(meters)
        raise CommandError(f"{path}: no meter {', '.join(unknown)}; its meters: {known}")
    return [meters[name] for name in options.meters or meters]


# -- values ------------------------------------------------------------------------------------------


def _read(options: argparse.Namespace) -> int:
    meters = _meters_of(options)
    show = _print_states if options.json else _show_states
    with _ends_at_interrupt():
        complete = trio.run(show, meters, options.once)
        return OK if complete else FAILED
    return OK


@contextmanager
def _ends_at_interrupt() -> Iterator[None]:
    """End the block at Ctrl-C: the command shows or records until then, so that is its success."""
    try:
        yield
    except KeyboardInterrupt:
        return
    except BaseExceptionGroup as error:
        if error.subgroup(KeyboardInterrupt) is None:
            raise


States = dict[str, MeterState]
"""Newest states of meters, by their ids."""


async def _show_states(meters: Sequence[MeterSettings], once: bool) -> bool:
    """Show the newest states as a table; with `once` until all are good. Return True if they are."""
    console = make_console()
    with Live(console=console, auto_refresh=False, transient=once) as live:

        def show(states: States, _: MeterState) -> None:
            live.update(_table_of(states, trio.current_time()), refresh=not once)

        states = await _follow_states(meters, once, show)
        if once:
            console.print(_table_of(states, trio.current_time()))
    return _all_good(states)


async def _print_states(meters: Sequence[MeterSettings], once: bool) -> bool:
    """Print states as JSON: with `once` all in one array, else each on a line.

    Return True if all are good.
    """

    def show(_: States, state: MeterState) -> None:
        if not once:
            line = msgspec.json.encode(_state_members(state, trio.current_time()))
            print(line.decode(), flush=True)

    states = await _follow_states(meters, once, show)
    if once:
        now = trio.current_time()
        print_json([_state_members(state, now) for state in states.values()])
    return _all_good(states)


async def _follow_states(
    meters: Sequence[MeterSettings], once: bool, show: Callable[[States, MeterState], None]
) -> States:
    """Read the meters and show each new state; with `once` until all are good, at most READ_WAIT_S."""
    states: States = {}
    async with trio.open_nursery() as nursery:

        def on_state(state: MeterState) -> None:
            states[state.meter] = state
            show(states, state)
            if once and len(states) == len(meters) and _all_good(states):
                nursery.cancel_scope.cancel()

        if once:
            nursery.cancel_scope.deadline = trio.current_time() + READ_WAIT_S
        await meter_service.run_meters(meters, on_state)
    return states


def _state_members(state: MeterState, now: float) -> dict[str, object]:
    """Return the members that `read --json` has of a state; None for what the meter does not measure."""
    reading = state.reading or Reading(time=now)
    values = msgspec.to_builtins(reading)
    del values["time"]
    return {
        "meter": state.meter,
        "quality": state.quality.value,
        "age_s": None if state.reading is None else round(now - reading.time, 3),
        "problem": str(state.problem),
        "limitation": str(state.limitation),
        **values,
    }


def _all_good(states: States) -> bool:
    return bool(states) and all(state.quality is Quality.GOOD for state in states.values())


def _table_of(states: States, now: float) -> RenderableType:
    table = Table("meter", "quality", "age", "", "L1", "L2", "L3", "total", box=None)
    for name, state in states.items():
        reading = state.reading or Reading(time=now)
        age = "" if state.reading is None else f"{now - reading.time:.1f} s"
        table.add_row(name, Text(state.quality, style=_STYLES[state.quality]), age)
        for label, values, total in (
            ("U (V)", reading.voltage_v, None),
            ("I (A)", reading.current_a, None),
            ("P (W)", reading.power_w, reading.power_total_w),
        ):
            table.add_row("", "", "", label, *(_shown(value) for value in values), _shown(total))
        energies = f"import {_shown(reading.energy_import_wh)}  export {_shown(reading.energy_export_wh)}"
        table.add_row("", "", "", "E (Wh)", energies)
        table.add_row("", "", "", "f (Hz)", _shown(reading.frequency_hz))
    lines = [
        Text(f"{state.meter}: {state.problem or state.limitation}", style=_STYLES[state.quality])
        for state in states.values()
        if state.problem or state.limitation
    ]
    return Group(table, *lines)


_STYLES = {Quality.GOOD: "green", Quality.STALE: "yellow", Quality.DEAD: "red", Quality.IMPLAUSIBLE: "red"}


def _shown(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


_COLUMNS = (
    "time", "meter", "quality", "problem", "age_s",
    "voltage_l1_v", "voltage_l2_v", "voltage_l3_v", "current_l1_a", "current_l2_a", "current_l3_a",
    "power_l1_w", "power_l2_w", "power_l3_w", "power_total_w",
    "energy_import_wh", "energy_export_wh", "frequency_hz",
)  # fmt: skip


def _watch(options: argparse.Namespace) -> int:
    meters = _meters_of(options)
    try:
        with _ends_at_interrupt(), options.csv.open("w", newline="", encoding="utf-8") as file:
            trio.run(_record, meters, file, options.duration)
    except OSError as error:
        raise file_error(error, options.csv) from error
    return OK


async def _record(meters: Sequence[MeterSettings], file: TextIO, duration_s: float | None) -> None:
    writer = csv.writer(file)
    writer.writerow(_COLUMNS)

    def on_state(state: MeterState) -> None:
        writer.writerow(_row(state, trio.current_time()))
        file.flush()

    with trio.move_on_after(duration_s if duration_s is not None else float("inf")):
        await meter_service.run_meters(meters, on_state)


def _row(state: MeterState, now: float) -> list[Any]:
    moment = datetime.fromtimestamp(time.time(), UTC).isoformat(timespec="milliseconds")
    reading = state.reading or Reading(time=now)
    values = (
        *reading.voltage_v, *reading.current_a, *reading.power_w, reading.power_total_w,
        reading.energy_import_wh, reading.energy_export_wh, reading.frequency_hz,
    )  # fmt: skip
    return [
        moment,
        state.meter,
        state.quality.value,
        state.problem or state.limitation,
        "" if state.reading is None else f"{now - reading.time:.2f}",
        *("" if value is None else round(value, 3) for value in values),
    ]
