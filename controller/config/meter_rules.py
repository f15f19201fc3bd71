"""What must hold of the meters of a configuration, and of the lines that they share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from controller.config.schema import Config, MeterConfig
from controller.tomlcheck.diagnostics import Problem, unknown_name
from controller.tomlcheck.positions import DataPath
from drivers.meter_model import list_models, load_model

_OVER_TCP = frozenset({"tcp", "tls", "rtu-over-tcp"})
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


def check_meters(config: Config) -> Iterator[Problem]:
    """Meters that nobody uses, that cannot be reached, or that cannot share their line."""
    known = list_models()
    used = Counter(circuit.meter for circuit in config.circuit)
    for index, meter in enumerate(config.meter):
        path: DataPath = ("meter", index)
        yield from _use(meter, used[meter.id], path)
        if meter.driver not in known:
            yield unknown_name((*path, "driver"), meter.driver, known, "driver")
        yield from _transport(meter, path)
        if meter.stale_after_s <= meter.interval_s:
            yield Problem(
                (*path, "stale_after_s"),
                f"{meter.stale_after_s:g} s end before the next reading, after {meter.interval_s:g} s",
                "set stale_after_s to several times interval_s",
            )
    yield from _lines(config, known)


def _use(meter: MeterConfig, count: int, path: DataPath) -> Iterator[Problem]:
    if count == 0:
        yield Problem(
            (*path, "id"),
            f'no circuit uses meter "{meter.id}"',
            f'set meter = "{meter.id}" in the circuit that it measures, or remove it',
        )
    if count > 1:
        yield Problem(
            (*path, "id"), f'"{meter.id}" measures {count} circuits', "give each circuit its own meter"
        )


def _transport(meter: MeterConfig, path: DataPath) -> Iterator[Problem]:
    wanted = "device" if meter.transport == "rtu" else "host"
    if getattr(meter, wanted) is None:
        yield Problem((*path, "transport"), f'"{meter.transport}" needs a {wanted}', f"add {wanted}")
    for key, transports in _BELONGS.items():
        if meter.transport not in transports and getattr(meter, key) is not None:
            yield Problem(
                (*path, key),
                f'has no meaning with transport "{meter.transport}"',
                f"remove it, or set transport to {' or '.join(sorted(transports))}",
            )
    if meter.transport == "rtu" and not 1 <= meter.unit <= 247:  # Modbus over Serial Line V1.02, 2.2
        yield Problem((*path, "unit"), f"is not a unit of a serial bus: {meter.unit}", "use 1 to 247")
    if meter.key and not meter.certificate:
        yield Problem((*path, "key"), "needs a certificate", "add certificate, or remove key")


def _lines(config: Config, known: list[str]) -> Iterator[Problem]:
    units: dict[tuple[object, ...], MeterConfig] = {}
    lines: dict[str, MeterConfig] = {}
    for index, meter in enumerate(config.meter):
        if meter.line is None:
            continue
        path: DataPath = ("meter", index)
        other = units.setdefault((meter.line, meter.unit), meter)
        if other is not meter:
            yield Problem(
                (*path, "unit"),
                f'{meter.unit} on this bus is already meter "{other.id}" already',
                "give each meter its own unit",
            )
        first = lines.setdefault(meter.line, meter)
        if meter.transport == "rtu" and {meter.driver, first.driver} <= set(known):
            here, there = _serial(meter), _serial(first)
            if here != there:
                yield Problem(
                    (*path, "device"),
                    f'uses {here}, but meter "{first.id}" on the same bus uses {there}',
                    "set both meters, and both here, to the same baud, parity and stopbits",
                )


def _serial(meter: MeterConfig) -> str:
    """How the meter speaks on its line, e.g. "9600 8N1": as it is set, else as it leaves the factory."""
    default = load_model(meter.driver).serial
    baud, parity = meter.baud or default.baud, meter.parity or default.parity
    return f"{baud} 8{parity}{meter.stopbits or default.stopbits}"
