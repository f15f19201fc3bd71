"""Rules of [overlay]: reserved ids, routes and groups."""

from __future__ import annotations

from collections.abc import Iterator

from controller.config.schema import Config, OverlayConfig
from controller.tomlcheck.diagnostics import Problem
from controller.tomlcheck.positions import DataPath

RESERVED = frozenset({"CSMS", "*", "0"})
"""Destinations of the overlay network that are not the id of a node."""


def check_overlay(config: Config) -> Iterator[Problem]:
    """Find contradictions of the overlay network."""
    yield from _modes(config)
    overlaid = [(name, each) for name in ("station", "backend") for each in getattr(config, name)]
    if config.overlay is None:
        for name in ("station", "backend"):
            for index, each in enumerate(getattr(config, name)):
                if each.mode == "overlay":
                    yield Problem(
                        (name, index, "mode"), "is overlay, and there is no [overlay]", "add [overlay]"
                    )
        return
    yield from _ids(config)
    links = {each.id for _, each in overlaid if each.mode == "overlay"}
    yield from _routes(config.overlay, links)
    yield from _groups(config, config.overlay)


def _modes(config: Config) -> Iterator[Problem]:
    modes: dict[str, str] = {}
    for index, backend in enumerate(config.backend):
        if modes.setdefault(backend.name, backend.mode) != backend.mode:
            yield Problem(
                ("backend", index, "mode"),
                f'differs from that of the other endpoints of "{backend.name}"',
                "give all endpoints of a group the same mode",
            )


def _ids(config: Config) -> Iterator[Problem]:
    remedy = "give it another id, or remove [overlay]"
    if config.site.id in RESERVED:
        yield Problem(("site", "id"), f'"{config.site.id}" is a reserved id in an overlay network', remedy)
    uplinks = {name for backend in config.backend for name in (backend.id, backend.name)}
    for index, station in enumerate(config.station):
        if station.id in RESERVED:
            what = f'"{station.id}" is a reserved id in an overlay network'
            yield Problem(("station", index, "id"), what, remedy)
        elif station.id in uplinks:
            what = f'"{station.id}" is also the id of a backend: a route could mean either'
            yield Problem(("station", index, "id"), what, "give each its own id")


def _routes(overlay: OverlayConfig, links: set[str]) -> Iterator[Problem]:
    seen: set[tuple[str, str]] = set()
    for index, route in enumerate(overlay.route):
        path: DataPath = ("overlay", "route", index)
        if route.via not in links:
            yield Problem(
                (*path, "via"),
                f'"{route.via}" is no link in overlay mode',
                f"name one of {', '.join(sorted(links))}"
                if links
                else 'set mode = "overlay" in the backend or station that it leads through',
            )
        if (route.destination, route.via) in seen:
            what = f'"{route.destination}" already has a route via "{route.via}"'
            yield Problem((*path, "destination"), what, "keep one of the two")
        if route.destination in RESERVED - {"CSMS"}:
            what = f'"{route.destination}" is not the id of a node'
            yield Problem((*path, "destination"), what, "name a node")
        seen.add((route.destination, route.via))


def _groups(config: Config, overlay: OverlayConfig) -> Iterator[Problem]:
    groups = {group.id for group in overlay.group}
    taken = RESERVED | {config.site.id} | {station.id for station in config.station}
    seen: set[str] = set()
    for index, group in enumerate(overlay.group):
        path: DataPath = ("overlay", "group", index)
        if group.id in taken or group.id in seen:
            yield Problem((*path, "id"), f'"{group.id}" is already defined', "give the group another id")
        seen.add(group.id)
        for place, member in enumerate(group.members):
            if member in groups | RESERVED:
                what = f'"{member}" is not a single node'
                yield Problem((*path, "members", place), what, "list each node of it")
