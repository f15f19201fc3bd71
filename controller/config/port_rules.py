"""Ports of a configuration: taken ones, those of another service or scheme, and those with a wrong digit."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

import msgspec

from controller.config.schema import Config, EebusConfig, ListenConfig, WebConfig
from controller.tomlcheck.diagnostics import Problem
from controller.tomlcheck.positions import DataPath
from drivers.coded_text import coded
from drivers.settings import MODBUS_PORT, SECURE_PORT

EVERYWHERE = frozenset({"0.0.0.0", "::", ""})
"""Hosts that stand for all addresses of this machine: to listen at, not to connect to."""
MQTT_PORT = 1883
MQTT_TLS_PORT = 8883
"""Registered for MQTT without and over TLS (IANA)."""

EEBUS_PORT = EebusConfig().port
STATIONS_PORT = ListenConfig().port
"""Port to which stations are set."""

_WEB = "the web"
_SERVICES = {
    21: "FTP",
    22: "SSH",
    23: "Telnet",
    25: "mail",
    53: "DNS",
    80: _WEB,
    123: "NTP",
    443: _WEB,
    MODBUS_PORT: "Modbus TCP",
    SECURE_PORT: "Modbus over TLS",
    MQTT_PORT: "MQTT",
    EEBUS_PORT: "EEBUS",
    MQTT_TLS_PORT: "MQTT over TLS",
    8080: _WEB,
    8443: _WEB,
}
"""Ports and the services that are found there (IANA, and what is usual beside it)."""
_MQTT_OVER_WEBSOCKET = (8083, 8084, 9001)
_WEB_PAGES = (80, 443, 8080)
_PORTS_OF_SCHEME = {
    "ws": (80, 8080),
    "wss": (443, 4443, 8443, 9443),
    "http": (80, 8080),
    "https": (443, 4443, 8443, 9443),
}
_OTHER_SCHEME = {"ws": "wss", "wss": "ws", "http": "https", "https": "http"}
_SLIPS_IN_URLS = {433: 443, 8433: 8443}
_KNOWN_FOR_MODBUS = frozenset({1502})
"""Ports that only look like a slip: inverters of SolarEdge serve Modbus there."""


class _ClientPort(msgspec.Struct, frozen=True):
    """A port that the controller connects to. `usual`: where such a server listens, the likeliest first.

    `service`: its name in _SERVICES. `is_fixed`: hardly anybody moves it, so that one other digit is a slip.
    """

    path: DataPath
    port: int
    service: str
    usual: tuple[int, ...]
    is_fixed: bool = False


class _Listener(msgspec.Struct, frozen=True):
    """A port that the controller listens at. `name`: its table in the file."""

    path: DataPath
    host: str
    port: int
    name: str


def check_ports(config: Config) -> Iterator[Problem]:
    """Find listeners at one port, and a backend's URL with port 0."""
    taken: list[_Listener] = []
    for listener in _listeners(config):
        # Two hosts may be two addresses of this machine, with the same port free on both.
        other = next((each for each in taken if _is_same_place(each, listener)), None)
        if other is not None and listener.port != 0:
            yield Problem(
                listener.path,
                coded("{port} is taken by {other}", port=f"{listener.port}", other=other.name),
                coded("choose another port"),
            )
        taken.append(listener)
    for path, url in _urls(config):
        if _port_of(url) == 0:
            yield Problem(
                path, coded("has the port 0, where nobody listens"), coded("write its port, or leave out :0")
            )


def find_port_hints(config: Config) -> Iterator[Problem]:
    """Find ports of other services and schemes, and those that differ in a digit from the usual one."""
    yield from _schemes(config)
    yield from _own_listeners(config)
    for client in _client_ports(config):
        yield from _client_port(client)


def _listeners(config: Config) -> Iterator[_Listener]:
    yield _Listener(("listen", "port"), config.listen.host, config.listen.port, "[listen]")
    if config.web is not None:
        yield _Listener(("web", "port"), config.web.host, config.web.port, "[web]")
    if config.eebus is not None:
        yield _Listener(("eebus", "port"), config.eebus.host, config.eebus.port, "[eebus]")
    for index, meter in enumerate(config.meter):
        for number, share in enumerate(meter.share):
            path = ("meter", index, "share", number, "port")
            yield _Listener(path, share.host, share.port, f'meter "{meter.id}"')


def _is_same_place(one: _Listener, other: _Listener) -> bool:
    return one.port == other.port and (
        one.host == other.host or not EVERYWHERE.isdisjoint({one.host, other.host})
    )


def _urls(config: Config) -> Iterator[tuple[DataPath, str]]:
    for index, backend in enumerate(config.backend):
        yield ("backend", index, "url"), backend.url
    for index, webhook in enumerate(config.webhook):
        yield ("webhook", index, "url"), webhook.url


def _port_of(url: str) -> int | None:
    """Return the port that a URL names; None without one, and where it is no URL."""
    try:
        return urlsplit(url).port
    except ValueError:
        return None


def _schemes(config: Config) -> Iterator[Problem]:
    """Find URLs with the port of the scheme with or without TLS."""
    for path, url in _urls(config):
        scheme = url.partition("://")[0]
        other = _OTHER_SCHEME.get(scheme)
        port = _port_of(url)
        if other is not None and port in _PORTS_OF_SCHEME[other]:
            yield Problem(
                path,
                coded("{port} is the port of {service}", port=f"{port}", service=f"{other}://"),
                coded("remove :{port}, or begin the URL with {scheme}://", port=f"{port}", scheme=other),
            )


def _own_listeners(config: Config) -> Iterator[Problem]:
    """Find listeners at the port of another service, and with that of the web with or without TLS."""
    listen, web = config.listen, config.web
    yield from _own_listener(
        ("listen", "port"),
        listen.port,
        listen.certificate,
        coded("the port of the stations' URL, e.g. {port}", port=STATIONS_PORT),
    )
    if config.eebus is not None and config.eebus.port != EEBUS_PORT:
        yield from _own_listener(
            ("eebus", "port"),
            config.eebus.port,
            None,
            coded("the port of EEBUS, usually {port}", port=EEBUS_PORT),
        )
    if web is not None:
        yield from _own_listener(
            ("web", "port"),
            web.port,
            web.certificate,
            coded("the port of the page, e.g. {port}", port=WebConfig().port),
        )


def _own_listener(path: DataPath, port: int, certificate: str | None, better: str) -> Iterator[Problem]:
    service = _SERVICES.get(port)
    if service is not None and service != _WEB:
        yield Problem(
            path,
            coded("{port} is the port of {service}", port=port, service=service),
            coded("write {form}", form=better),
        )
    elif port in (443, 8443) and certificate is None:
        yield Problem(
            path,
            coded("{port} is a port of TLS, and there is no certificate", port=f"{port}"),
            coded("name certificate and key, or write {better}", better=better),
        )
    elif port == 80 and certificate is not None:
        yield Problem(
            path,
            coded("80 is the port without TLS, and there is a certificate"),
            coded("write 443, or remove certificate and key"),
        )


def _client_ports(config: Config) -> Iterator[_ClientPort]:
    for index, meter in enumerate(config.meter):
        if meter.port is not None:
            yield _modbus_port(("meter", index, "port"), meter.port, is_tls=meter.transport == "tls")
    for index, module in enumerate(() if config.dimming is None else config.dimming.module):
        if module.port is not None:
            yield _modbus_port(("dimming", "module", index, "port"), module.port, is_tls=False)
    mqtt = config.mqtt
    if mqtt is not None and mqtt.port is not None:
        usual = MQTT_TLS_PORT if mqtt.tls else MQTT_PORT
        yield _ClientPort(("mqtt", "port"), mqtt.port, _SERVICES[usual], (usual,), is_fixed=True)
    for path, url in _urls(config):
        port, ports = _port_of(url), _PORTS_OF_SCHEME.get(url.partition("://")[0])
        if port is not None and ports is not None:
            yield _ClientPort(path, port, _WEB, ports)
    for index, partner in enumerate(() if config.eebus is None else config.eebus.partner):
        yield _ClientPort(("eebus", "partner", index, "port"), partner.port, "EEBUS", (EEBUS_PORT,))


def _modbus_port(path: DataPath, port: int, *, is_tls: bool) -> _ClientPort:
    usual = SECURE_PORT if is_tls else MODBUS_PORT
    return _ClientPort(path, port, _SERVICES[usual], (usual,), is_fixed=True)


def _client_port(client: _ClientPort) -> Iterator[Problem]:
    port, usual = client.port, client.usual[0]
    service = _SERVICES.get(port)
    is_url = client.path[-1] == "url"
    if port in client.usual or port in _KNOWN_FOR_MODBUS:
        return
    if client.path[0] == "mqtt" and (found := _broker_port(client.path, port, usual)) is not None:
        yield found
    elif port in _WEB_PAGES and client.service in ("Modbus TCP", "Modbus over TLS"):
        yield Problem(
            client.path,
            coded("{port} is the port of a web page", port=f"{port}"),
            coded("write the port of its Modbus server, usually {port}", port=f"{usual}"),
        )
    elif service is not None and service != client.service:
        yield Problem(
            client.path,
            coded("{port} is the port of {service}", port=f"{port}", service=service),
            coded("name the port of its server, usually {port}", port=usual)
            if is_url
            else coded("write the port of its server, usually {port}", port=usual),
        )
    elif meant := _meant_port(client):
        yield Problem(
            client.path,
            coded("{port} is hardly any server's port", port=f"{port}"),
            coded("did you mean {meant}?", meant=f"{meant}"),
        )


def _broker_port(path: DataPath, port: int, usual: int) -> Problem | None:
    """Describe a port of a broker that is meant for TLS, for none, or for WebSocket; None for any other."""
    if port == MQTT_TLS_PORT:
        return Problem(path, coded("{port} is the port of MQTT over TLS", port=port), coded("set tls = true"))
    if port == MQTT_PORT:
        return Problem(
            path, coded("{port} is the port without TLS", port=port), coded("write {form}", form=usual)
        )
    if port in _MQTT_OVER_WEBSOCKET:
        what = coded("{port} is usually the port of MQTT over WebSocket, which is not used here", port=port)
        return Problem(path, what, coded("write the port of MQTT itself, usually {usual}", usual=usual))
    if usual == MQTT_PORT and _differ_in_one(str(port), str(MQTT_TLS_PORT)):
        remedy = coded("did you mean {mqtt_tls_port}, with tls = true?", mqtt_tls_port=MQTT_TLS_PORT)
        return Problem(path, coded("{port} is hardly any server's port", port=port), remedy)
    return None


def _meant_port(client: _ClientPort) -> int | None:
    """Return the usual port whose digits a port has in another order, or all but one; None if none."""
    if client.service == _WEB and client.port in _SLIPS_IN_URLS:
        return _SLIPS_IN_URLS[client.port]
    for usual in client.usual:
        written, right = str(client.port), str(usual)
        if sorted(written) == sorted(right) or (client.is_fixed and _differ_in_one(written, right)):
            return usual
    return None


def _differ_in_one(one: str, other: str) -> bool:
    """Return whether one digit was replaced, added or left out."""
    if len(one) == len(other):
        return sum(here != there for here, there in zip(one, other, strict=True)) == 1
    longer, shorter = sorted((one, other), key=len, reverse=True)
    return len(longer) == len(shorter) + 1 and any(
        longer[:place] + longer[place + 1 :] == shorter for place in range(len(longer))
    )
