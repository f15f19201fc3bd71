"""Rules of [overlay]: reserved ids, routes and groups."""

from __future__ import annotations

import re
from collections.abc import Iterator

from controller.config.schema import Config, OverlayConfig
from controller.tomlcheck.diagnostics import Problem
from controller.tomlcheck.positions import DataPath
from drivers.coded_text import coded

RESERVED = frozenset({"CSMS", "*", "0"})
"""Destinations of the overlay network that are not the id of a node."""


def check_overlay(config: Config) -> Iterator[Problem]:
    """Find contradictions of the overlay network."""
    yield from _modes(config)
    links = _find_links(config)
    if config.overlay is None:
        for path in links.values():
            yield Problem(
                (*path, "mode"), coded("is overlay, and there is no [overlay]"), coded("add [overlay]")
            )
        return
    yield from _ids(config)
    yield from _routes(config.overlay, set(links))
    yield from _groups(config, config.overlay)


def find_overlay_hints(config: Config) -> Iterator[Problem]:
    """Find an overlay network without a link, nodes to which none leads, and topology that none can sign."""
    overlay = config.overlay
    if overlay is None:
        return
    links = _find_links(config)
    if not links:
        yield Problem(
            ("overlay",),
            coded("has no effect: no link is in overlay mode"),
            coded('set mode = "overlay" in the stations and backends that take part, or remove it'),
        )
        return
    if overlay.learn == "signed" and (config.signing is None or config.signing.policy is None):
        yield Problem(
            ("overlay", "learn"),
            coded(
                "no report of a neighbor is accepted, as [signing] has no policy with its key: "
                "the nodes behind it are not reached"
            ),
            coded(
                'name a policy with the [[key]] of each neighbor, or write "all" if all are trusted, '
                'else "none"'
            ),
        )
    ends = {backend.node for backend in config.backend if backend.id in links}
    routed = {route.destination for route in overlay.route}
    for index, route in enumerate(overlay.route):
        path: DataPath = ("overlay", "route", index, "destination")
        if near := _nearest_node(route.destination, {*links, *ends}):
            yield _unknown_node(path, route.destination, near)
    for index, group in enumerate(overlay.group):
        for place, member in enumerate(group.members):
            path = ("overlay", "group", index, "members", place)
            if near := _nearest_node(member, {*links, *ends, *routed}):
                yield _unknown_node(path, member, near)
            elif overlay.learn == "none" and member not in {*links, *ends, *routed, config.site.id}:
                yield Problem(
                    path,
                    coded('no route leads to "{node}", and with learn = "none" none is learned', node=member),
                    coded("add an [[overlay.route]] to it, or remove it"),
                )


def _find_links(config: Config) -> dict[str, DataPath]:
    """Return the ids of the links in overlay mode, each with the place of its table."""
    return {
        each.id: (name, index)
        for name in ("station", "backend")
        for index, each in enumerate(getattr(config, name))
        if each.mode == "overlay"
    }


def _nearest_node(name: str, known: set[str]) -> str | None:
    """Return the node whose id differs in case, separators or leading zeros alone; None without one."""
    alike = (each for each in sorted(known) if _essence(each) == _essence(name))
    return None if name in known else next(alike, None)


def _essence(name: str) -> str:
    """Return the letters and numbers of an id."""
    return re.sub(r"(?<!\d)0+(?=\d)|[^a-z0-9]", "", name.lower())


def _unknown_node(path: DataPath, name: str, near: str) -> Problem:
    return Problem(
        path,
        coded('no node "{name}" is known here', name=name),
        coded("did you mean {meant}?", meant=f'"{near}"'),
    )


def _modes(config: Config) -> Iterator[Problem]:
    modes: dict[str, str] = {}
    for index, backend in enumerate(config.backend):
        if modes.setdefault(backend.name, backend.mode) != backend.mode:
            yield Problem(
                ("backend", index, "mode"),
                coded('differs from that of the other endpoints of "{name}"', name=backend.name),
                coded("give all endpoints of a group the same mode"),
            )


def _ids(config: Config) -> Iterator[Problem]:
    remedy = coded("give it another id, or remove [overlay]")
    if config.site.id in RESERVED:
        yield Problem(
            ("site", "id"), coded('"{id}" is a reserved id in an overlay network', id=config.site.id), remedy
        )
    for index, backend in enumerate(config.backend):
        if backend.mode == "overlay" and backend.node == config.site.id:
            yield Problem(
                ("backend", index, "node"),
                coded('"{id}" is this controller itself', id=config.site.id),
                coded("write the id of the other end, or remove it where that is a backend"),
            )
    uplinks = {name for backend in config.backend for name in (backend.id, backend.name)}
    for index, station in enumerate(config.station):
        if station.id in RESERVED:
            what = coded('"{id}" is a reserved id in an overlay network', id=station.id)
            yield Problem(("station", index, "id"), what, remedy)
        elif station.id in uplinks:
            what = coded('"{id}" is also the id of a backend: a route could mean either', id=station.id)
            yield Problem(("station", index, "id"), what, coded("give each its own id"))


def _routes(overlay: OverlayConfig, links: set[str]) -> Iterator[Problem]:
    seen: set[tuple[str, str]] = set()
    for index, route in enumerate(overlay.route):
        path: DataPath = ("overlay", "route", index)
        if route.via not in links:
            yield Problem(
                (*path, "via"),
                coded('"{via}" is no link in overlay mode', via=route.via),
                coded("name one of {links}", links=", ".join(sorted(links)))
                if links
                else coded('set mode = "overlay" in the backend or station that it leads through'),
                refers_to="backend.mode",
            )
        if (route.destination, route.via) in seen:
            what = coded(
                '"{destination}" already has a route via "{via}"',
                destination=route.destination,
                via=route.via,
            )
            yield Problem((*path, "destination"), what, coded("keep one of the two"))
        if route.destination in RESERVED - {"CSMS"}:
            what = coded('"{destination}" is not the id of a node', destination=route.destination)
            yield Problem((*path, "destination"), what, coded("name a node"))
        seen.add((route.destination, route.via))


def _groups(config: Config, overlay: OverlayConfig) -> Iterator[Problem]:
    groups = {group.id for group in overlay.group}
    taken = RESERVED | {config.site.id} | {station.id for station in config.station}
    seen: set[str] = set()
    for index, group in enumerate(overlay.group):
        path: DataPath = ("overlay", "group", index)
        if group.id in taken or group.id in seen:
            yield Problem(
                (*path, "id"),
                coded('"{name}" is already defined', name=group.id),
                coded("give the group another id"),
            )
        seen.add(group.id)
        for place, member in enumerate(group.members):
            if member in groups | RESERVED:
                what = coded('"{member}" is not a single node', member=member)
                yield Problem((*path, "members", place), what, coded("list each node of it"))
