"""Addresses of a configuration: hosts, URLs, paths and ids that a peer cannot reach or does not send.

Every rule here is a slip that an installer makes and that the type of the key allows.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from urllib.parse import SplitResult, urlsplit

from controller.config.schema import BackendConfig, Config
from controller.config.web_rules import LOOPBACK
from controller.tomlcheck.diagnostics import Problem, name_letters
from controller.tomlcheck.positions import DataPath

EVERYWHERE = frozenset({"0.0.0.0", "::", ""})
"""Hosts that stand for all addresses of this machine: to listen at, not to connect to."""
ODD_IN_IDS = " /?#%\\\"'*{}<>"
"""Characters that hardly any station has in its id."""

_SCHEME = re.compile(r"^[a-z][a-z0-9+.-]*://", re.IGNORECASE)
_HOST_NAME = re.compile(
    r"^(?=.{1,253}\.?$)[a-z0-9_]([a-z0-9_-]*[a-z0-9])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9])?)*\.?$", re.I
)
_PORT = re.compile(r"^([^:\[\]]+):(\d+)$|^\[(.+)\]:(\d+)$")
_PLACEHOLDER = re.compile(r"\{\{?\s*[\w -]*\s*\}?\}|<[\w -]+>|%s|\$\{?\w+\}?", re.IGNORECASE)
"""Ways in which other programs write the place of the station's id."""
_USUAL_PORTS = {"ws": 80, "wss": 443}


def check_hosts_and_urls(config: Config) -> Iterator[Problem]:
    """Find hosts, URLs and paths that cannot be meant."""
    yield from _hosts(config)
    yield from _ports(config)
    for index, backend in enumerate(config.backend):
        yield from _url(config, backend, ("backend", index, "url"))
    yield from _listen_path(config.listen.path)


def find_address_hints(config: Config) -> Iterator[Problem]:
    """Find addresses and ids that are possible, but unusual."""
    yield from _listener(config)
    yield from _backend_urls(config)
    yield from _webhooks(config)
    yield from _ids(config)
    yield from _observers(config)


def is_off_site(url: str) -> bool:
    """Return whether a URL leads out of the private networks; a name without a dot does not."""
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_global
    except ValueError:
        return "." in host and not host.endswith((".local", ".lan", ".internal", ".home.arpa"))


def _hosts(config: Config) -> Iterator[Problem]:
    hosts: list[tuple[DataPath, str | None]] = [(("listen", "host"), config.listen.host)]
    if config.web is not None:
        hosts.append((("web", "host"), config.web.host))
        hosts += [(("web", "names", index), name) for index, name in enumerate(config.web.names)]
    if config.mqtt is not None:
        hosts.append((("mqtt", "host"), config.mqtt.host))
    hosts += [(("meter", index, "host"), meter.host) for index, meter in enumerate(config.meter)]
    if config.dimming is not None:
        hosts += [
            (("dimming", "module", index, "host"), module.host)
            for index, module in enumerate(config.dimming.module)
        ]
    for path, host in hosts:
        if host is not None:
            yield from _host(path, host)


def _ports(config: Config) -> Iterator[Problem]:
    # Two hosts may be two addresses of this machine, with the same port free on both.
    web, listen = config.web, config.listen
    shared = web is not None and (web.host == listen.host or EVERYWHERE & {web.host, listen.host})
    if web is not None and shared and web.port == listen.port != 0:
        yield Problem(("web", "port"), "is also the port of the stations", "give the page another port")


def _host(path: DataPath, host: str) -> Iterator[Problem]:
    listens = path in (("listen", "host"), ("web", "host"))
    has_port = path[-1] == "host"
    if _SCHEME.match(host):
        name = _SCHEME.sub("", host).partition("/")[0]
        remedy = f'write the address alone: {"host = " if has_port else ""}"{name}"'
        yield Problem(path, f'"{host}" is a URL', remedy)
    elif match := _PORT.match(host):
        name, port = (match[1], match[2]) if match[1] else (match[3], match[4])
        remedy = f'write host = "{name}" and port = {port}' if has_port else f'write "{name}" alone'
        yield Problem(path, f'"{host}" contains a port', remedy)
    elif host in EVERYWHERE and listens:
        return
    elif host in EVERYWHERE - {""}:
        yield Problem(
            path, f"{host} stands for all addresses of this machine", "write the address of the other device"
        )
    elif not is_host(host):
        meant = _meant_host(host)
        remedy = "write a host name or an IP address" if meant is None else f'did you mean "{meant}"?'
        yield Problem(path, f'"{host}" is not an address', remedy)


def is_host(host: str) -> bool:
    """Return whether a text is an IP address or a host name (RFC 1123, section 2.1)."""
    try:
        ipaddress.ip_address(host.split("%", 1)[0])
    except ValueError:
        return _HOST_NAME.match(host) is not None and not host.rpartition(".")[2].isdigit()
    return True


def _meant_host(text: str) -> str | None:
    """Return the address that a text with blanks, commas, a mask or leading zeros means; None if unclear."""
    words = text.strip().partition("/")[0].replace(",", ".").split(".")
    if len(words) == 4 and all(word.isdigit() for word in words):
        words = [str(int(word)) for word in words]
    host = ".".join(words)
    return host if is_host(host) else None


def _url(config: Config, backend: BackendConfig, path: DataPath) -> Iterator[Problem]:
    """Find what keeps a backend's URL from leading to it; its syntax is checked with the cross rules."""
    url = backend.url
    if "{{station}}" in url:
        yield Problem(path, "has {{station}} with two braces", "write {station}")
    elif "{station}" not in url:
        place = _PLACEHOLDER.search(url)
        remedy = 'end it like "/ocpp/{station}"'
        if place is not None:
            remedy = f'did you mean "{url[: place.start()]}{{station}}{url[place.end() :]}"?'
        yield Problem(path, "has no {station}", remedy)
    elif any(letter.isspace() for letter in url):
        yield Problem(path, "contains a blank", "remove it, or write it as %20")
    parts = _split(url)
    if parts is None or parts.port is None:
        return
    own = {*LOOPBACK, config.listen.host} - EVERYWHERE  # a listener on port 0 gets any free one
    if parts.port == config.listen.port != 0 and parts.hostname in own:
        yield Problem(
            path,
            "is the address at which this controller listens for stations",
            "write the URL of the backend; its operator has it",
        )


def _split(url: str) -> SplitResult | None:
    """Return the parts of a URL; None where it is none."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return None
    return parts


def _listen_path(path: str) -> Iterator[Problem]:
    if place := _PLACEHOLDER.search(path):
        yield Problem(
            ("listen", "path"),
            f"contains {place[0]}",
            "remove it: the station appends its id to this path",
        )
    elif odd := [letter for letter in path if letter in "?#" or letter.isspace()]:
        yield Problem(
            ("listen", "path"),
            f"contains {name_letters(odd)}, which no station's path has",
            'write the path alone, e.g. "/ocpp"',
        )


def _listener(config: Config) -> Iterator[Problem]:
    if config.listen.host in LOOPBACK:
        yield Problem(
            ("listen", "host"),
            f"only this machine reaches {config.listen.host}; stations in the network cannot connect",
            'set host = "0.0.0.0", unless a proxy on this machine passes them on',
        )
    if config.listen.port == 0:
        yield Problem(
            ("listen", "port"),
            "0 is another port at each start; stations cannot be set to it",
            "write the port of the stations' URL, e.g. 8887",
        )


def _backend_urls(config: Config) -> Iterator[Problem]:
    """Find URLs in the clear, with the port of another scheme, with an empty id, or of another backend."""
    names: dict[str, str] = {}
    for index, backend in enumerate(config.backend):
        path: DataPath = ("backend", index, "url")
        if backend.url.startswith("ws://") and is_off_site(backend.url):
            yield Problem(
                path, "passwords, cards and meter values pass in the clear", 'begin it with "wss://"'
            )
        parts = _split(backend.url)
        for scheme, port in _USUAL_PORTS.items():
            if parts is not None and parts.port == port and parts.scheme != scheme:
                yield Problem(
                    path,
                    f"{port} is the port of {scheme}://",
                    f"remove :{port}, or begin the URL with {scheme}://",
                )
        if backend.url.endswith("{station}/"):
            yield Problem(
                path,
                "ends with / after the id: some backends then read an empty id",
                "remove the last /, unless the backend's operator writes it",
            )
        first = names.setdefault(backend.url, backend.name)
        if first != backend.name:
            yield Problem(
                path,
                f'is also the URL of "{first}", which receives everything twice',
                "write another URL, or remove one of the two",
            )


def _webhooks(config: Config) -> Iterator[Problem]:
    for index, webhook in enumerate(config.webhook):
        if webhook.url.startswith("http://") and is_off_site(webhook.url):
            yield Problem(("webhook", index, "url"), "alarms pass in the clear", 'begin it with "https://"')


def _ids(config: Config) -> Iterator[Problem]:
    """Find ids that hardly any URL has, and stations that differ in upper and lower case alone."""
    ids: list[tuple[DataPath, str, str]] = [
        (("station", index, "id"), station.id, "the settings of the station")
        for index, station in enumerate(config.station)
    ]
    if config.site.backend is not None:
        ids.append((("site", "id"), config.site.id, "what its backend's operator has registered"))
    seen: dict[str, str] = {}
    for path, name, source in ids:
        if odd := [letter for letter in name if letter in ODD_IN_IDS]:
            yield Problem(
                path,
                f"contains {name_letters(odd)}",
                f"compare it with {source}; few write such an id in a URL",
            )
        other = seen.setdefault(name.lower(), name)
        if other != name:
            yield Problem(
                path,
                f'differs from "{other}" in upper and lower case alone',
                f"compare both with {source}; case counts",
            )


def _observers(config: Config) -> Iterator[Problem]:
    owners = {station.owner for station in config.station} | {config.site.backend}
    for index, backend in enumerate(config.backend):
        names = {backend.id, backend.name}
        if not backend.observe and not backend.commands and not names & owners:
            yield Problem(
                ("backend", index, "observe"),
                "the backend receives nothing and commands nothing",
                "list what it observes, or remove it",
            )
