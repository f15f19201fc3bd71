"""Rules of backends: groups of endpoints, permitted actions, owners and observers of stations.

Tables with one `group` are the endpoints of one backend, which has the name of the group; a table without a
group is a backend of its own. A station names owner and observers by that name, or by an endpoint's id.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping
from pathlib import PurePath
from urllib.parse import urlsplit

from controller.config.schema import DEFAULT_NODE, LOCAL_CSMS, BackendConfig, Config, StationConfig
from controller.ocpp.actions import COMMANDS, OBSERVED, REPORTS, SHARED, commands
from controller.tomlcheck.diagnostics import Problem, blank_in_url, unknown_name
from controller.tomlcheck.meant_values import ALL_WORDS
from controller.tomlcheck.positions import DataPath
from drivers.coded_text import CodedText, coded

_NO_OWNER = frozenset({"-", "local", "no", "none", LOCAL_CSMS})
"""Names that people write for a station without a backend."""
_BARE_IPV6 = re.compile(r"(?=.*:.*:)[0-9A-Fa-f:.]+")
_COMMANDABLE = {**COMMANDS, **SHARED}


def endpoints_by_backend(config: Config) -> dict[str, tuple[BackendConfig, ...]]:
    """Return the endpoints of each backend by its name, in the order of their priority."""
    found: dict[str, list[BackendConfig]] = {}
    for backend in sorted(config.backend, key=lambda each: each.priority):
        found.setdefault(backend.name, []).append(backend)
    return {name: tuple(uplinks) for name, uplinks in found.items()}


def backend_names(config: Config) -> dict[str, str]:
    """Return the backend's name for each name and id by which the file may refer to it."""
    names = {backend.name: backend.name for backend in config.backend}
    return {backend.id: backend.name for backend in config.backend} | names


def owner_names(config: Config) -> dict[str, str]:
    """Return the name of each station's owner; LOCAL_CSMS for a station without backend."""
    names = backend_names(config)
    return {
        station.id: LOCAL_CSMS if station.owner is None else names[station.owner]
        for station in config.station
    }


def permitted_commands(backend: BackendConfig, *, owner: bool) -> frozenset[str] | None:
    """Return the actions that a backend may command as owner or observer; None: all."""
    if backend.commands is None:
        return None if owner else frozenset()
    return commands(backend.commands)


def check_backends(config: Config) -> Iterator[Problem]:
    """Check URLs, groups, lists of actions, and owners and observers of stations."""
    yield from _addresses(config)
    for index, backend in enumerate(config.backend):
        yield from _listed(("backend", index, "observe"), backend.observe, REPORTS, _COMMANDABLE)
        yield from _listed(("backend", index, "commands"), backend.commands or (), _COMMANDABLE, REPORTS)
    yield from _groups(config)
    yield from _renewal(config)
    for index, backend in enumerate(config.backend):
        if LOCAL_CSMS in (backend.id, backend.group):
            key = "id" if backend.id == LOCAL_CSMS else "group"
            yield Problem(
                ("backend", index, key),
                coded('"{local_csms}" stands for the controller itself', local_csms=LOCAL_CSMS),
                coded("give the backend another name"),
            )
    names = backend_names(config)
    if config.site.backend is not None and config.site.backend not in names:
        yield _unknown_backend(("site", "backend"), config.site.backend, config, names)
    firsts = {name: uplinks[0] for name, uplinks in endpoints_by_backend(config).items()}
    for index, station in enumerate(config.station):
        yield from _served(("station", index), station, config, names)
        yield from _exclusive(("station", index, "observers"), station, names, firsts)


def find_backend_hints(config: Config) -> Iterator[Problem]:
    """Find backends without stations, names of groups that are alike, and keys of backends without effect."""
    names = backend_names(config)
    owners = {names.get(each.owner or "") for each in config.station}
    observers = {names.get(each) for station in config.station for each in station.observers}
    named = {config.site.backend, *(each.owner for each in config.station)}
    named |= {each for station in config.station for each in station.observers}
    is_complete = config.station and named - {None} <= names.keys()
    unused = set(names.values()) - owners - observers - {names.get(config.site.backend or "")}
    groups: dict[str, str] = {}
    for index, backend in enumerate(config.backend):
        if is_complete and backend.name in unused and backend.observe and backend.mode == "standard":
            yield Problem(
                ("backend", index, "id"),
                coded('no station names backend "{name}" as its owner or as an observer', name=backend.name),
                coded('write observers = ["{name}"] or owner = "{name}", or remove it', name=backend.name),
                depends_on=("station",),
            )
        first = groups.setdefault(backend.name.strip().casefold(), backend.name)
        if backend.group is not None and first != backend.name:
            yield Problem(
                ("backend", index, "group"),
                coded('"{group}" and "{other}" are two backends', group=backend.group, other=first),
                coded("did you mean {meant}?", meant=f'"{first}"'),
            )
        if backend.mode == "standard" and backend.node != DEFAULT_NODE:
            yield Problem(
                ("backend", index, "node"),
                coded('has no effect with mode = "{mode}"', mode=backend.mode),
                coded('remove it, or write mode = "{mode}"', mode="overlay"),
            )
        if backend.commands == () and backend.name in owners:
            yield Problem(
                ("backend", index, "commands"),
                coded("is empty: the owner of stations may command nothing, not even a remote start"),
                coded("leave it out in an owner, or list what it may command"),
            )
        if backend.observe not in (OBSERVED, ()) and backend.name in owners - observers:
            yield Problem(
                ("backend", index, "observe"),
                coded("has no effect: an owner receives everything"),
                coded("remove it, or name the backend in the observers of stations"),
            )
        if backend.priority and backend.group is None:
            yield Problem(
                ("backend", index, "priority"),
                coded("has no effect: the backend has one endpoint"),
                coded("give the endpoints of one backend the same group"),
            )


def _addresses(config: Config) -> Iterator[Problem]:
    """Find URLs that are none, and keys without a certificate."""
    for index, backend in enumerate(config.backend):
        path: DataPath = ("backend", index)
        yield from _url(backend, (*path, "url"))
        if backend.est_url is not None:
            yield from _est_url(backend.est_url, (*path, "est_url"))
        if backend.key and not backend.certificate:
            yield Problem(
                (*path, "key"),
                coded("needs a certificate"),
                coded("add certificate, or remove key"),
                depends_on=(*path, "certificate"),
            )


def _url(backend: BackendConfig, path: DataPath) -> Iterator[Problem]:
    try:
        parts = urlsplit(backend.url)
        host, user = parts.hostname, parts.username
        _ = parts.port
    except ValueError as error:
        yield _unparsed(backend.url, str(error), path, "wss://csms.example/ocpp/{station}")
        return
    if "#" in backend.url and "{station}" not in backend.url.partition("#")[2]:
        yield Problem(path, coded("has a part after #, which no WebSocket URL has"), coded("remove it"))
    if not host:
        yield Problem(
            path,
            coded("names no host"),
            coded('write it like "wss://csms.example/ocpp/{place}"', place="{station}"),
        )
    if user is not None:
        yield Problem(
            path, coded("contains a user name"), coded("remove it; put the password into a password_file")
        )
    if parts.scheme == "ws" and (backend.ca or backend.certificate):
        yield Problem(path, coded("is ws://, where certificates are not used"), coded("use wss://"))


def _unparsed(url: str, error: str, path: DataPath, example: str) -> Problem:
    """Return the problem of a URL that cannot be split into its parts."""
    host = url.partition("://")[2].partition("/")[0]
    if _BARE_IPV6.fullmatch(host):
        what = coded("has an IPv6 address without brackets")
        return Problem(path, what, coded('write it like "{form}"', form=url.replace(host, f"[{host}]", 1)))
    is_port = error.startswith("Port ")
    what = coded("is not a URL: its port is no number up to 65535") if is_port else coded("is not a URL")
    return Problem(path, what, coded('write it like "{form}"', form=example))


def _est_url(url: str, path: DataPath) -> Iterator[Problem]:
    """Find what in the URL of an EST server is not that of its service (RFC 7030, 3.2.2)."""
    example = "https://csms.example/.well-known/est"
    remedy = coded('write it like "{form}"', form=example)
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as error:
        yield _unparsed(url, str(error), path, example)
        return
    operation = parts.path.rstrip("/").rpartition("/")[2]
    if parts.scheme != "https":
        yield Problem(
            path, coded("is not an https URL"), coded('begin it with "{scheme}://"', scheme="https")
        )
    elif not parts.hostname:
        yield Problem(path, coded("names no host"), remedy)
    elif any(each.isspace() for each in url):
        yield blank_in_url(path, url)
    elif "{" in url or parts.query or parts.fragment or parts.username is not None:
        yield Problem(path, coded("has more than a host and a path"), remedy)
    elif operation in ("simpleenroll", "simplereenroll", "cacerts", "csrattrs"):
        what = coded("ends with {operation}, which the controller appends itself", operation=operation)
        yield Problem(path, what, coded("remove it"))


def _renewal(config: Config) -> Iterator[Problem]:
    """Find backends whose client certificate cannot be renewed as it is configured."""
    identities = None if config.pki is None else PurePath(config.pki.folder) / "identities"
    for index, backend in enumerate(config.backend):
        place = ("backend", index)
        if backend.est_url is None and not backend.renew_by_ocpp:
            continue
        file = backend.certificate
        if backend.est_url is not None and backend.renew_by_ocpp:
            yield Problem(
                (*place, "renew_by_ocpp"),
                coded("is beside est_url, and the certificate is renewed in one way"),
                coded("remove one of the two"),
            )
        elif backend.renew_by_ocpp and config.site.backend not in (backend.id, backend.name):
            yield Problem(
                (*place, "renew_by_ocpp"),
                coded("needs the link of the site's own identity"),
                coded('set backend = "{name}" in [site], or use est_url', name=backend.name),
            )
        elif file is None or PurePath(file).parent != identities or backend.key != file:
            yield Problem(
                (*place, "certificate"),
                coded("cannot be renewed: it is not an identity of [pki]"),
                coded("make one with `local-controller pki renew`, and name its file in certificate and key"),
                depends_on=(*place, "est_url"),
            )


def _listed(
    path: DataPath,
    listed: tuple[str, ...],
    classes: Mapping[str, frozenset[str]],
    others: Mapping[str, frozenset[str]],
) -> Iterator[Problem]:
    """Find entries that are neither a class nor an action of this direction."""
    known = classes.keys() | _actions(classes)
    for index, name in enumerate(listed):
        place = (*path, index)
        if name == "Heartbeat":
            yield Problem(
                place, coded("is not copied: each backend has its own heartbeat"), coded("remove it")
            )
        elif name in _actions(others) - known:
            sender = coded("backends") if others is _COMMANDABLE else coded("stations")
            yield Problem(
                place, coded('"{name}" is sent by {sender}', name=name, sender=sender), coded("remove it")
            )
        elif name.lower() in ALL_WORDS and name not in known:
            remedy = coded(
                "leave commands out in the owner, or list classes: {classes}", classes=", ".join(classes)
            )
            if path[-1] == "observe":
                remedy = coded(
                    "leave observe out: states, transactions and meter values are copied by default"
                )
            yield Problem(place, coded('"{name}" is neither an action nor a class', name=name), remedy)
        elif name not in known:
            yield unknown_name(place, name, known, "action or class")


def _actions(classes: Mapping[str, frozenset[str]]) -> frozenset[str]:
    return frozenset().union(*classes.values())


def _groups(config: Config) -> Iterator[Problem]:
    """Find groups whose endpoints differ, or whose name is another backend's."""
    firsts: dict[str, BackendConfig] = {}
    for index, backend in enumerate(config.backend):
        if backend.group is None:
            continue
        first = firsts.setdefault(backend.group, backend)
        for key in ("observe", "commands"):
            if getattr(first, key) != getattr(backend, key):
                yield Problem(
                    ("backend", index, key),
                    coded(
                        'differs from that of "{id}", an endpoint of the same backend "{group}"',
                        id=first.id,
                        group=backend.group,
                    ),
                    coded("write the same {key} at each of them", key=key),
                )
        for other in config.backend:
            if other.id == backend.group and other.group != backend.group and first is backend:
                yield Problem(
                    ("backend", index, "group"),
                    coded('"{group}" is the id of a backend that is not in this group', group=backend.group),
                    coded("give the group another name"),
                )


def _unknown_backend(path: DataPath, name: str, config: Config, names: Mapping[str, str]) -> Problem:
    """Return the problem of a reference to a backend that does not exist, or is named by its URL."""
    if "://" not in name:
        return unknown_name(path, name, names, "backend")
    meant = next((each.name for each in config.backend if each.url == name), None)
    remedy = (
        coded("write the URL into a [[backend]], and the id of that table here")
        if meant is None
        else coded("did you mean {meant}?", meant=f'"{meant}"')
    )
    return Problem(path, coded('"{value}" is a URL', value=name), remedy, "backend")


def _served(
    path: DataPath, station: StationConfig, config: Config, names: Mapping[str, str]
) -> Iterator[Problem]:
    """Find owners and observers that do not exist or are listed twice."""
    if station.owner is not None and station.owner.lower() in _NO_OWNER and station.owner not in names:
        yield Problem(
            (*path, "owner"),
            coded('"{owner}" is no backend', owner=station.owner),
            coded("leave owner out: the controller is its CSMS"),
        )
    elif station.owner is not None and station.owner not in names:
        yield _unknown_backend((*path, "owner"), station.owner, config, names)
    seen: set[str] = set()
    for observer in station.observers:
        name = names.get(observer)
        if name is None:
            yield _unknown_backend((*path, "observers"), observer, config, names)
        elif name == names.get(station.owner or ""):
            yield Problem(
                (*path, "observers"),
                coded('"{observer}" is the owner already', observer=observer),
                coded("remove it"),
            )
        elif name in seen:
            yield Problem(
                (*path, "observers"),
                coded('"{name}" is listed twice', name=observer),
                coded("remove it"),
            )
        seen.add(name or observer)


def _exclusive(
    path: DataPath, station: StationConfig, names: Mapping[str, str], backends: Mapping[str, BackendConfig]
) -> Iterator[Problem]:
    """Find pairs of backends of one station that may issue the same exclusive command."""
    owner = names.get(station.owner or "")
    observers = {names[each]: None for each in station.observers if each in names and names[each] != owner}
    serving = ([owner] if owner is not None else []) + list(observers)
    for one, other in itertools.combinations(serving, 2):
        mine = permitted_commands(backends[one], owner=one == owner)
        theirs = permitted_commands(backends[other], owner=False)
        shared = [name for name, actions in COMMANDS.items() if _both(mine, theirs) & actions]
        if shared:
            yield Problem(
                path,
                coded(
                    '"{one}" and "{other}" may both command {id}: {shared}',
                    one=one,
                    other=other,
                    id=station.id,
                    shared=", ".join(shared),
                ),
                _parting(backends[one], backends[other], everything=mine is None),
            )


def _both(mine: frozenset[str] | None, theirs: frozenset[str] | None) -> frozenset[str]:
    """Return the actions that both backends may command."""
    if mine is None or theirs is None:
        return (theirs if mine is None else mine) or frozenset()
    return mine & theirs


def _parting(one: BackendConfig, other: BackendConfig, *, everything: bool) -> CodedText:
    if everything:
        return coded(
            'an owner without commands may command everything: list in [[backend]] "{id}" commands = [...] '
            'what is not reserved for "{other}"',
            id=one.id,
            other=other.name,
        )
    return coded('remove them from commands in [[backend]] "{id}" or "{other}"', id=one.id, other=other.id)
