"""[overlay]: ids that mean something else there, ways that lead nowhere, and groups that are none."""

from __future__ import annotations

from collections.abc import Iterator

from controller.config.schema import Config, OverlayConfig
from controller.tomlcheck.findings import Finding, unknown
from controller.tomlcheck.positions import Path

RESERVED = frozenset({"CSMS", "*", "0"})
"""Destinations of the overlay network that are nobody's id."""


def overlay_mistakes(config: Config) -> Iterator[Finding]:
    """What is wrong with the overlay network, where the file has one."""
    yield from _modes(config)
    overlaid = [(name, each) for name in ("station", "backend") for each in getattr(config, name)]
    if config.overlay is None:
        for name in ("station", "backend"):
            for index, each in enumerate(getattr(config, name)):
                if each.mode == "overlay":
                    yield Finding(
                        (name, index, "mode"), "is overlay, and there is no [overlay]", "add [overlay]"
                    )
        return
    yield from _ids(config)
    links = {each.id for _, each in overlaid if each.mode == "overlay"}
    yield from _routes(config.overlay, links)
    yield from _groups(config, config.overlay)


def _modes(config: Config) -> Iterator[Finding]:
    modes: dict[str, str] = {}
    for index, backend in enumerate(config.backend):
        if modes.setdefault(backend.name, backend.mode) != backend.mode:
            yield Finding(
                ("backend", index, "mode"),
                f'is another than that of the other uplinks of "{backend.name}"',
                "give all uplinks of a group one mode",
            )


def _ids(config: Config) -> Iterator[Finding]:
    mend = "give it another id, or remove [overlay]"
    if config.site.id in RESERVED:
        yield Finding(("site", "id"), f'"{config.site.id}" means something else in an overlay network', mend)
    uplinks = {name for backend in config.backend for name in (backend.id, backend.name)}
    for index, station in enumerate(config.station):
        if station.id in RESERVED:
            what = f'"{station.id}" means something else in an overlay network'
            yield Finding(("station", index, "id"), what, mend)
        elif station.id in uplinks:
            what = f'"{station.id}" is a backend\'s id, too: a route could mean either'
            yield Finding(("station", index, "id"), what, "give each its own id")


def _routes(overlay: OverlayConfig, links: set[str]) -> Iterator[Finding]:
    seen: set[tuple[str, str]] = set()
    for index, route in enumerate(overlay.route):
        path: Path = ("overlay", "route", index)
        if route.via not in links:
            yield unknown((*path, "via"), route.via, links, 'station or backend with mode = "overlay"')
        if (route.destination, route.via) in seen:
            what = f'"{route.destination}" has a route via "{route.via}" already'
            yield Finding((*path, "destination"), what, "keep one of the two")
        if route.destination in RESERVED - {"CSMS"}:
            what = f'"{route.destination}" is nobody\'s id'
            yield Finding((*path, "destination"), what, "name a node")
        seen.add((route.destination, route.via))


def _groups(config: Config, overlay: OverlayConfig) -> Iterator[Finding]:
    groups = {group.id for group in overlay.group}
    taken = RESERVED | {config.site.id} | {station.id for station in config.station}
    seen: set[str] = set()
    for index, group in enumerate(overlay.group):
        path: Path = ("overlay", "group", index)
        if group.id in taken or group.id in seen:
            yield Finding((*path, "id"), f'"{group.id}" is there already', "give the group an id of its own")
        seen.add(group.id)
        for place, member in enumerate(group.members):
            if member in groups | RESERVED:
                what = f'"{member}" is no single node'
                yield Finding((*path, "members", place), what, "list each node of it")
