"""Rules between the tables of a configuration: ids, addresses, times; the others by topic."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import unquote

from controller.config.backend_rules import check_backends
from controller.config.circuit_rules import check_circuits
from controller.config.dimming_rules import check_dimming
from controller.config.eebus_rules import check_eebus
from controller.config.energy_rules import check_energy
from controller.config.local_csms_rules import check_cards
from controller.config.meter_rules import check_meters
from controller.config.overlay_rules import check_overlay
from controller.config.schema import Config
from controller.config.value_rules import check_values
from controller.model.deadlines import RENEW_AT
from controller.tomlcheck.diagnostics import Problem, defined_already
from drivers.coded_text import coded, decimal


def check_tables(config: Config) -> list[Problem]:
    """Return every problem but those of the files that the configuration names."""
    twice = list(_ids(config))
    found = _check_tables(config)
    return twice + [each for each in found if not _follows(each, found, twice)]


def _follows(problem: Problem, found: list[Problem], twice: list[Problem]) -> bool:
    """Return whether a problem follows from an id that is used twice, where another was meant.

    What else is wrong in the second table is wrong because it is a copy. References to the missing id lead
    nowhere, unless more ids are missing than used twice. Circuits feed each other in a loop, or there is no
    root.
    """
    if any(problem.path[: len(each.path) - 1] == each.path[:-1] for each in twice):
        return True
    kind = problem.refers_to
    missing = {each.what for each in found if each.refers_to == kind}
    if kind and len(missing) <= sum(each.path[0] == kind for each in twice):
        return True
    is_tree = problem.path == ("circuit",) or problem.path[::2] == ("circuit", "parent")
    return is_tree and not kind and any(each.path[0] == "circuit" for each in twice)


def _check_tables(config: Config) -> list[Problem]:
    return [
        *_site(config),
        *_listen(config),
        *check_backends(config),
        *check_cards(config),
        *_stations(config),
        *_times(config),
        *check_meters(config),
        *check_circuits(config),
        *check_dimming(config),
        *check_eebus(config),
        *check_overlay(config),
        *check_energy(config),
        *check_values(config),
    ]


def _ids(config: Config) -> Iterator[Problem]:
    for name in ("backend", "circuit", "meter", "station", "group", "priority_class"):
        seen: dict[str, int] = {}
        for index, each in enumerate(getattr(config, name)):
            # Ids that are equal in a URL cannot be two stations.
            key = unquote(each.id) if name == "station" else each.id
            if key in seen:
                yield _twice(name, config, seen[key], index)
            seen.setdefault(key, index)
    for name in () if config.dimming is None else ("source", "module"):
        ids: set[str] = set()
        for index, each in enumerate(getattr(config.dimming, name)):
            if each.id in ids:
                yield defined_already(("dimming", name, index, "id"), each.id)
            ids.add(each.id)


def _twice(name: str, config: Config, first: int, second: int) -> Problem:
    """Describe an id that is used twice, and the remedy."""
    there, path = getattr(config, name)[first].id, (name, second, "id")
    if name == "station":
        one, other = config.station[first].circuit, config.station[second].circuit
        if one != other:
            what = coded(
                '"{there}" is on two circuits, "{one}" and "{other}"', there=there, one=one, other=other
            )
            return Problem(
                path,
                what,
                coded("keep one of the two; EVSEs on several circuits name theirs in [[station.evse]]"),
            )
    return defined_already(path, there)


def _site(config: Config) -> Iterator[Problem]:
    if config.site.backend is not None and config.site.id in {station.id for station in config.station}:
        yield Problem(("site", "id"), coded("is also the id of a station"), coded("give the site another id"))


def _listen(config: Config) -> Iterator[Problem]:
    listen = config.listen
    if (listen.certificate is None) != (listen.key is None):
        there, missing = ("certificate", "key") if listen.certificate else ("key", "certificate")
        yield Problem(
            ("listen", there),
            coded("needs a {missing}", missing=missing),
            coded("add {missing}, or remove {there}", missing=missing, there=there),
            depends_on=("listen", missing),
        )
    if listen.client_ca is not None and listen.certificate is None and listen.key is None:
        yield Problem(
            ("listen", "client_ca"),
            coded("needs certificate and key: client certificates exist over TLS only"),
            coded("add both, or remove client_ca"),
            depends_on=("listen", "certificate"),
        )


def _stations(config: Config) -> Iterator[Problem]:
    for index, station in enumerate(config.station):
        if ":" in station.id:
            yield Problem(
                ("station", index, "id"),
                coded('contains ":", which Basic authentication cannot carry'),
                coded('did you mean "{meant}"?', meant=station.id.rpartition("/")[2])
                if "://" in station.id
                else coded("rename the station"),
            )


def _times(config: Config) -> Iterator[Problem]:
    chosen = config.load_management
    if RENEW_AT * chosen.lease_s + chosen.tick_s >= chosen.lease_s:
        yield Problem(
            ("load_management", "lease_s"),
            coded(
                "{lease_s} s may end before a tick of {tick_s} s renews it",
                lease_s=decimal(chosen.lease_s),
                tick_s=decimal(chosen.tick_s),
            ),
            coded("set lease_s to more than three times tick_s"),
        )
