"""Hints: what is odd in a valid configuration, or has no effect."""

from __future__ import annotations

from collections.abc import Iterator

from controller.config.address_rules import find_address_hints
from controller.config.clock_rules import find_clock_hints
from controller.config.dimming_rules import find_module_hints
from controller.config.energy_rules import find_energy_hints
from controller.config.local_csms_rules import find_local_csms_hints
from controller.config.meter_rules import find_meter_hints
from controller.config.schema import Config
from controller.config.timing_rules import find_timing_hints
from controller.config.value_rules import find_value_hints
from controller.tomlcheck.coded_text import TextCode, coded
from controller.tomlcheck.diagnostics import Problem
from controller.tomlcheck.positions import DataPath

TWO_YEARS_DAYS = 730

SHORT_LEASE_S, LONG_LEASE_S = 60.0, 3600.0
"""Leases are renewed at half their life (s)."""

CONTROLLABLE_ABOVE_W = 4200.0
"""Power above which a device is controllable under section 14a EnWG (BNetzA BK6-22-300)."""


def find_hints(config: Config) -> list[Problem]:
    """Return the hints of a configuration."""
    return [
        *_backends(config),
        *_stations(config),
        *_signing(config),
        *_dimming(config),
        *_circuits(config),
        *_leases(config),
        *find_clock_hints(config),
        *find_address_hints(config),
        *find_value_hints(config),
        *find_meter_hints(config),
        *find_module_hints(config),
        *find_local_csms_hints(config),
        *find_energy_hints(config),
        *find_timing_hints(config),
    ]


def _backends(config: Config) -> Iterator[Problem]:
    for index, backend in enumerate(config.backend):
        if backend.priority and backend.group is None:
            yield Problem(
                ("backend", index, "priority"),
                "has no effect: the backend has one endpoint",
                "give the endpoints of one backend the same group",
            )


def _stations(config: Config) -> Iterator[Problem]:
    if not config.station:
        yield Problem(
            ("station",),
            "is missing: no station may connect",
            "those that try are listed by `local-controller station list --unknown`; adopt them, or add a "
            "[[station]]",
        )
    passwords: dict[str, str] = {}
    for index, station in enumerate(config.station):
        first = passwords.setdefault(station.password_file or station.id, station.id)
        if first != station.id and station.password_file is not None:
            yield Problem(
                ("station", index, "password_file"),
                f'is also that of "{first}": whoever has one password can connect as both',
                'give each station its own, e.g. "credentials/{station}"',
            )
        is_served_offline = station.owner is not None and station.when_backend_away == "autonomous"
        if is_served_offline and station.password_file is None and config.listen.client_ca is None:
            yield Problem(
                ("station", index, "when_backend_away"),
                coded(TextCode.OWNER_UNVERIFIED),
                coded(TextCode.PASSWORD_OR_CA),
            )
        for number, evse in enumerate(station.evse):
            if number and evse.id > max(each.id for each in station.evse[:number]) + 1:
                yield Problem(
                    ("station", index, "evse", number, "id"),
                    f"EVSE {evse.id - 1} is missing: stations number their EVSEs from 1 without gaps",
                    "compare the numbers with the station, or add its other EVSEs: what they draw is unknown",
                )
            if evse.is_controllable and config.dimming is None:
                yield Problem(
                    ("station", index, "evse", number, "steuve"),
                    "no limit source can dim it",
                    "add [dimming] with a [[dimming.source]]",
                )
            watts = evse.max_a * len(evse.phases) * config.site.voltage
            if evse.is_controllable and evse.max_kw is None and watts <= CONTROLLABLE_ABOVE_W:
                yield Problem(
                    ("station", index, "evse", number, "steuve"),
                    f"draws at most {watts / 1000:.1f} kW, and section 14a begins above 4.2 kW",
                    "compare max_a and phases with the station, or leave out steuve",
                )


def _leases(config: Config) -> Iterator[Problem]:
    """Find leases that outlive the controller for long, and those that wear out the stations' memory."""
    lease_s = config.load_management.lease_s
    if lease_s > LONG_LEASE_S:
        yield Problem(
            ("load_management", "lease_s"),
            f"stations keep their last limit for {lease_s / 3600:.3g} h without the controller",
            "write some minutes, e.g. 180 (s); fallback_a then applies",
        )
    elif lease_s < SHORT_LEASE_S:
        yield Problem(
            ("load_management", "lease_s"),
            f"each station stores a new limit every {lease_s / 2:g} s, which wears out its flash memory",
            "write some minutes, e.g. 180 (s)",
        )


def _signing(config: Config) -> Iterator[Problem]:
    # A key alone signs the evidence of dimming, and nothing else.
    signing = config.signing
    if signing is not None and signing.policy is None and config.dimming is None:
        yield Problem(
            ("signing",),
            "without a policy nothing is verified or signed",
            'name one: policy = "signing.toml"',
        )


def _dimming(config: Config) -> Iterator[Problem]:
    if config.dimming is not None and config.dimming.retention_days < TWO_YEARS_DAYS:
        yield Problem(
            ("dimming", "retention_days"),
            f"evidence is removed after {config.dimming.retention_days} days; the grid operator keeps its "
            "own for two years",
            f"set retention_days to {TWO_YEARS_DAYS} or more",
        )
    keys_known = config.signing is not None and config.signing.policy is not None
    for index, source in enumerate(() if config.dimming is None else config.dimming.source):
        path: DataPath = ("dimming", "source", index)
        if source.kind == "signed" and source.signed and not keys_known:
            yield Problem(
                (*path, "signed"),
                "no key has its role: all its commands are rejected",
                "name a policy with the key and the role: [signing] policy",
                depends_on=(*path, "kind"),
            )
        if source.kind == "signed" and config.site.backend is None:
            yield Problem(
                (*path, "kind"),
                "its commands have no way in",
                "set site.backend: they arrive over the site's own link",
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
                f'no station is connected to "{circuit.id}", and no circuit below it is configured',
                f'write circuit = "{circuit.id}" in its stations, or remove it',
            )


def _circuits(config: Config) -> Iterator[Problem]:
    limits = {circuit.id: circuit.limits_a for circuit in config.circuit}
    yield from _unused_circuits(config)
    for index, circuit in enumerate(config.circuit):
        above = limits.get(circuit.parent or "")
        if above and any(own > up for own, up in zip(circuit.limits_a, above, strict=True)):
            yield Problem(
                ("circuit", index, "limit_a"),
                f'is above the limit of "{circuit.parent}", which feeds it',
                "the lower limit applies",
            )
        if circuit.generation_a is not None and circuit.generation_a > max(circuit.limits_a):
            yield Problem(
                ("circuit", index, "generation_a"),
                f"{circuit.generation_a:g} A is more than the circuit carries ({max(circuit.limits_a):g} A)",
                "write the rated current of the generation per phase",
            )
        if circuit.parent is None and circuit.meter is not None and circuit.base_load_a is None:
            yield Problem(
                ("circuit", index, "base_load_a"),
                coded(TextCode.BASE_LOAD_UNSET),
                coded(TextCode.ADD_BASE_LOAD),
            )
