"""What must hold between the parts of a configuration: names, who is who, and what hangs together."""

from __future__ import annotations

import difflib
import zoneinfo
from collections.abc import Iterator
from urllib.parse import unquote, urlsplit

from controller.config.backend_rules import backend_mistakes
from controller.config.current_rules import current_mistakes
from controller.config.dimming_rules import dimming_mistakes
from controller.config.meter_rules import meter_mistakes
from controller.config.overlay_rules import overlay_mistakes
from controller.config.schema import BackendConfig, Config
from controller.tomlcheck.findings import Finding
from controller.tomlcheck.positions import Path


def mistakes(config: Config) -> list[Finding]:
    """All that is wrong, the files apart that the configuration names."""
    return [
        *_ids(config),
        *_site(config),
        *_listen(config),
        *_ports(config),
        *_backends(config),
        *backend_mistakes(config),
        *_stations(config),
        *_times(config),
        *meter_mistakes(config),
        *current_mistakes(config),
        *dimming_mistakes(config),
        *overlay_mistakes(config),
    ]


def _ids(config: Config) -> Iterator[Finding]:
    for name in ("backend", "circuit", "meter", "station"):
        seen: dict[str, int] = {}
        for index, each in enumerate(getattr(config, name)):
            # A station's id comes in a URL: what is the same there must not be two stations here.
            key = unquote(each.id) if name == "station" else each.id
            if key in seen:
                yield Finding((name, index, "id"), *_twice(name, config, seen[key], index))
            seen.setdefault(key, index)


def _twice(name: str, config: Config, first: int, second: int) -> tuple[str, str]:
    """What to say of an id that is there twice, and the mend."""
    there = getattr(config, name)[first].id
    if name == "station":
        one, other = config.station[first].circuit, config.station[second].circuit
        if one != other:
            what = f'"{there}" hangs on two circuits, "{one}" and "{other}"'
            return what, "keep one of the two; EVSEs on several circuits name theirs in [[station.evse]]"
    return f'"{there}" is there already', "give each its own id"


def _site(config: Config) -> Iterator[Finding]:
    try:
        zoneinfo.ZoneInfo(config.site.timezone)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        near = difflib.get_close_matches(config.site.timezone, zoneinfo.available_timezones(), 1)
        mend = f'did you mean "{near[0]}"?' if near else 'use a name like "Europe/Berlin"'
        yield Finding(("site", "timezone"), f'"{config.site.timezone}" is no time zone', mend)
    if config.site.backend is not None and config.site.id in {station.id for station in config.station}:
        yield Finding(("site", "id"), "is a station's id, too", "give the site an id of its own")


def _listen(config: Config) -> Iterator[Finding]:
    listen = config.listen
    if (listen.certificate is None) != (listen.key is None):
        there, missing = ("certificate", "key") if listen.certificate else ("key", "certificate")
        yield Finding(("listen", there), f"stands without {missing}", f"add {missing}, or remove {there}")
    if listen.client_ca is not None and listen.certificate is None and listen.key is None:
        yield Finding(
            ("listen", "client_ca"),
            "stands without certificate and key: stations show theirs over TLS only",
            "add both, or remove client_ca",
        )


def _ports(config: Config) -> Iterator[Finding]:
    """Two hosts may be two addresses of this machine, with the same port free on both."""
    web, listen = config.web, config.listen
    everywhere = {"0.0.0.0", "::", ""}
    shared = web is not None and (web.host == listen.host or everywhere & {web.host, listen.host})
    if web is not None and shared and web.port == listen.port != 0:
        yield Finding(("web", "port"), "is the stations' port, too", "give the page a port of its own")


def _backends(config: Config) -> Iterator[Finding]:
    for index, backend in enumerate(config.backend):
        path: Path = ("backend", index)
        yield from _url(backend, (*path, "url"))
        if backend.key and not backend.certificate:
            yield Finding((*path, "key"), "stands without certificate", "add certificate, or remove key")


def _url(backend: BackendConfig, path: Path) -> Iterator[Finding]:
    try:
        parts = urlsplit(backend.url)
        host, user = parts.hostname, parts.username
        _ = parts.port
    except ValueError as error:
        yield Finding(path, f"is no URL: {error}", 'write it like "wss://csms.example/ocpp/{station}"')
        return
    if not host:
        yield Finding(path, "names no host", 'write it like "wss://csms.example/ocpp/{station}"')
    if user is not None:
        yield Finding(path, "has a user in it", "remove it; the password belongs into a password_file")
    if "{station}" not in backend.url:
        yield Finding(path, "has no {station}", 'end it like "/ocpp/{station}"')
    if parts.scheme == "ws" and (backend.ca or backend.certificate):
        yield Finding(path, "is ws://, which no certificate protects", "use wss://")


def _stations(config: Config) -> Iterator[Finding]:
    for index, station in enumerate(config.station):
        if ":" in station.id:
            yield Finding(
                ("station", index, "id"),
                'has a ":", which Basic authentication cannot carry',
                "rename the station",
            )


def _times(config: Config) -> Iterator[Finding]:
    chosen = config.load_management
    if chosen.lease_s <= 2 * chosen.tick_s:  # leases are renewed at half their life, by a tick
        yield Finding(
            ("load_management", "lease_s"),
            f"{chosen.lease_s:g} s may be over before a tick of {chosen.tick_s:g} s renews it",
            "set lease_s to more than twice tick_s",
        )
