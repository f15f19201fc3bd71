"""Hints: what is odd in a valid configuration, or has no effect."""

from __future__ import annotations

from collections.abc import Iterator

from controller.config.address_rules import find_address_hints
from controller.config.circuit_rules import path_to_root
from controller.config.dimming_rules import find_dimming_hints
from controller.config.energy_rules import find_energy_hints
from controller.config.list_rules import find_repeated_names
from controller.config.local_csms_rules import find_local_csms_hints
from controller.config.meter_rules import find_meter_hints
from controller.config.overlay_rules import find_overlay_hints
from controller.config.schema import Config
from controller.config.timing_rules import find_timing_hints
from controller.config.value_rules import find_value_hints
from controller.tomlcheck.diagnostics import Problem
from drivers.coded_text import coded, decimal


def find_hints(config: Config) -> list[Problem]:
    """Return the hints of a configuration."""
    return [
        *_stations(config),
        *_signing(config),
        *_circuits(config),
        *find_address_hints(config),
        *find_value_hints(config),
        *find_meter_hints(config),
        *find_dimming_hints(config),
        *find_local_csms_hints(config),
        *find_energy_hints(config),
        *find_overlay_hints(config),
        *find_timing_hints(config),
        *find_repeated_names(config),
    ]


def _stations(config: Config) -> Iterator[Problem]:
    if not config.station:
        yield Problem(
            ("station",),
            coded("is missing: no station may connect"),
            coded(
                "those that try are listed by `local-controller station list --unknown`; adopt them, or add "
                "a [[station]]"
            ),
        )
    passwords: dict[str, str] = {}
    for index, station in enumerate(config.station):
        first = passwords.setdefault(station.password_file or station.id, station.id)
        if first != station.id and station.password_file is not None:
            yield Problem(
                ("station", index, "password_file"),
                coded('is also that of "{first}": whoever has one password can connect as both', first=first),
                coded('give each station its own, e.g. "credentials/{place}"', place="{station}"),
            )
        is_served_offline = station.owner is not None and station.when_backend_away == "autonomous"
        if is_served_offline and station.password_file is None and config.listen.client_ca is None:
            yield Problem(
                ("station", index, "when_backend_away"),
                coded(
                    "the controller cannot verify who connects while the owner is away: any station "
                    "that shows what the owner accepted last is served, without a password if the "
                    "station showed none"
                ),
                coded("add password_file, or set listen.client_ca"),
            )
        for number, evse in enumerate(station.evse):
            if evse.id > max((each.id for each in station.evse if each.id < evse.id), default=0) + 1:
                yield Problem(
                    ("station", index, "evse", number, "id"),
                    coded(
                        "EVSE {id} is missing: stations number their EVSEs from 1 without gaps",
                        id=evse.id - 1,
                    ),
                    coded(
                        "compare the numbers with the station, or add its other EVSEs: what they draw is "
                        "unknown"
                    ),
                )


def _signing(config: Config) -> Iterator[Problem]:
    # A key alone signs the evidence of dimming, and nothing else.
    signing = config.signing
    if signing is not None and signing.policy is None and config.dimming is None:
        yield Problem(
            ("signing",),
            coded("without a policy nothing is verified or signed"),
            coded('name one: policy = "signing.toml"'),
        )


def _unused_circuits(config: Config) -> Iterator[Problem]:
    """Find circuits from which nothing is fed, once there are stations at all."""
    used = {circuit.parent for circuit in config.circuit}
    for station in config.station:
        used |= {config.circuit_of(station, evse) for evse in station.evse}
    for index, circuit in enumerate(config.circuit):
        if config.station and circuit.id not in used and circuit.meter is None:
            yield Problem(
                ("circuit", index, "id"),
                coded(
                    'no station is connected to "{id}", and no circuit below it is configured', id=circuit.id
                ),
                coded('write circuit = "{id}" in its stations, or remove it', id=circuit.id),
            )


def _circuits(config: Config) -> Iterator[Problem]:
    limits = {circuit.id: circuit.limits_a for circuit in config.circuit}
    parents = {circuit.id: circuit.parent for circuit in config.circuit}
    measured = {circuit.id for circuit in config.circuit if circuit.meter is not None}
    yield from _unused_circuits(config)
    for index, circuit in enumerate(config.circuit):
        above = limits.get(circuit.parent or "")
        if above and any(own > up for own, up in zip(circuit.limits_a, above, strict=True)):
            yield Problem(
                ("circuit", index, "limit_a"),
                coded('is above the limit of "{parent}", which feeds it', parent=circuit.parent),
                coded("the lower limit applies"),
            )
        if circuit.measures == "building" and circuit.meter is None:
            yield Problem(
                ("circuit", index, "measures"),
                coded("has no effect: the circuit has no meter"),
                coded('name the circuit\'s meter: meter = "..."'),
            )
        if circuit.generation_a is not None and not measured.intersection(path_to_root(circuit.id, parents)):
            yield Problem(
                ("circuit", index, "generation_a"),
                coded("has no effect: neither the circuit nor one above it has a meter"),
                coded('name the circuit\'s meter: meter = "..."'),
            )
        elif circuit.generation_a is not None and circuit.generation_a > max(circuit.limits_a):
            yield Problem(
                ("circuit", index, "generation_a"),
                coded(
                    "{generation_a} A is more than the circuit carries ({limits_a} A)",
                    generation_a=decimal(circuit.generation_a),
                    limits_a=decimal(max(circuit.limits_a)),
                ),
                coded("write the rated current of the generation per phase"),
            )
        if circuit.parent is None and circuit.meter is not None and circuit.base_load_a is None:
            yield Problem(
                ("circuit", index, "base_load_a"),
                coded(
                    "is not set: that all fallbacks fit without the controller or the meter is checked for "
                    "the stations alone"
                ),
                coded("add the most that draws there beside them (A on each phase), or 0 for nothing"),
            )
