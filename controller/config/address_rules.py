"""Addresses of a configuration: hosts, URLs, paths and ids that a peer cannot reach or does not send.

Every rule here is a slip that an installer makes and that the type of the key allows.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from urllib.parse import SplitResult, urlsplit

from controller.config.backend_rules import find_backend_hints
from controller.config.port_rules import EVERYWHERE, check_ports, find_port_hints
from controller.config.schema import BackendConfig, Config
from controller.config.station_expansion import find_several_stations
from controller.config.web_rules import LOOPBACK
from controller.tomlcheck.diagnostics import Problem, blank_in_url, name_letters, without_blanks
from controller.tomlcheck.positions import DataPath
from drivers.coded_text import coded

ODD_IN_IDS = " /?#%\\\"'*{}<>"
"""Characters that hardly any station has in its id."""

_SCHEME = re.compile(r"^[a-z][a-z0-9+.-]*://", re.IGNORECASE)
_HOST_NAME = re.compile(
    r"^(?=.{1,253}\.?$)[a-z0-9_]([a-z0-9_-]*[a-z0-9])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9])?)*\.?$", re.I
)
_PORT = re.compile(r"^([^:\[\]]+):(\d+)$|^\[(.+)\]:(\d+)$")
_PLACEHOLDER = re.compile(
    r"\{\{?\s*[\w -]*\s*\}?\}|<[\w -]+>|\([\w -]+\)|\[[\w -]+\]|%s|\$\{?\w+\}?|(?<=/):[a-z]\w*"
    r"|(?<=/)(?:station|charge[_-]?point|charger|cp|evse)[_-]?(?:id)?/?$",
    re.IGNORECASE,
)
"""Ways in which other programs write the place of the station's id."""
_DOCUMENTATION = tuple(
    ipaddress.ip_network(each)
    for each in ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32")
)
"""Networks of examples in documents (RFC 5737, RFC 3849)."""
_RESERVED_NAME = re.compile(
    r"(^|\.)(example|test|invalid|example\.(com|net|org|de))\.?$"
    r"|^(your|my|mein|dein|ihr)[-_.]|^(change-?me|placeholder|todo|xxx+|host(name)?)$",
    re.IGNORECASE,
)
"""Names of examples (RFC 2606), and words that stand for a name."""
_PUBLIC_BROKER = re.compile(
    r"test\.mosquitto\.org|(broker|mqtt|public)\..*(hivemq|emqx|mqttdashboard|eclipseprojects)\.\w+",
    re.IGNORECASE,
)
_INTERFACE = re.compile(r"(eth|en[ops]|wlan|wlp|br|usb)[a-z]?\d[a-z\d]{0,8}|lo|any|all", re.IGNORECASE)
"""Names of network interfaces, and words that stand for all of them."""
_SECRET_IN_QUERY = re.compile(r"[?&](\w*(?:token|key|password|passwd|pwd|secret|auth)\w*)=", re.IGNORECASE)


def check_hosts_and_urls(config: Config) -> Iterator[Problem]:
    """Find hosts, URLs and paths that cannot be meant."""
    yield from _hosts(config)
    yield from check_ports(config)
    for index, backend in enumerate(config.backend):
        yield from _url(config, backend, ("backend", index, "url"))
        yield from _url_host(backend.url, ("backend", index, "url"))
    for index, webhook in enumerate(config.webhook):
        yield from _url_host(webhook.url, ("webhook", index, "url"))
    yield from _listen_path(config.listen.path)


def find_address_hints(config: Config) -> Iterator[Problem]:
    """Find addresses and ids that are possible, but unusual."""
    yield from _listener(config)
    yield from _path_parts(config)
    yield from _path_with_id(config)
    yield from _backend_urls(config)
    yield from _webhooks(config)
    yield from _ids(config)
    yield from _observers(config)
    yield from find_backend_hints(config)
    yield from _placeholders(config)
    yield from _odd_devices(config)
    yield from _broker(config)
    yield from find_port_hints(config)


def is_off_site(url: str) -> bool:
    """Return whether a URL leads out of the private networks; a name without a dot does not."""
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_global
    except ValueError:
        return "." in host and not host.endswith((".local", ".lan", ".internal", ".home.arpa"))


def _hosts(config: Config) -> Iterator[Problem]:
    hosts: list[tuple[DataPath, str]] = [(("listen", "host"), config.listen.host)]
    if config.web is not None:
        hosts.append((("web", "host"), config.web.host))
        hosts += [(("web", "names", index), name) for index, name in enumerate(config.web.names)]
    if config.mqtt is not None:
        hosts.append((("mqtt", "host"), config.mqtt.host))
    if config.eebus is not None:
        hosts.append((("eebus", "host"), config.eebus.host))
    for index, meter in enumerate(config.meter):
        hosts += [
            (("meter", index, "share", number, "host"), each.host) for number, each in enumerate(meter.share)
        ]
    for path, host in [*hosts, *_devices(config), *_partners(config), *_time_servers(config)]:
        yield from _host(path, host)


def _devices(config: Config) -> Iterator[tuple[DataPath, str]]:
    """Return the hosts of meters and modules, with their places."""
    for index, meter in enumerate(config.meter):
        if meter.host is not None:
            yield ("meter", index, "host"), meter.host
    for index, module in enumerate(() if config.dimming is None else config.dimming.module):
        if module.host is not None:
            yield ("dimming", "module", index, "host"), module.host


def _partners(config: Config) -> Iterator[tuple[DataPath, str]]:
    """Return the hosts of EEBUS partners, with their places."""
    for index, partner in enumerate(() if config.eebus is None else config.eebus.partner):
        if partner.host is not None:
            yield ("eebus", "partner", index, "host"), partner.host


def _time_servers(config: Config) -> Iterator[tuple[DataPath, str]]:
    """Return the hosts of time servers, which may have a port, with their places."""
    for index, server in enumerate(config.time.nts_servers):
        match = _PORT.match(server)
        yield ("time", "nts_servers", index), server if match is None else match[1] or match[3]


def _host(path: DataPath, host: str) -> Iterator[Problem]:
    listens = path in (("listen", "host"), ("web", "host"), ("eebus", "host")) or "share" in path
    has_port = path[-1] == "host"
    if _SCHEME.match(host):
        name, port = _address_of_url(host)
        if has_port and port:
            remedy: str = coded('write host = "{host}" and port = {port}', host=name, port=port)
        elif path[0] == "time" and port:
            remedy = coded("write the address alone: {form}", form=f'"{name}:{port}"')
        else:
            form = f'{"host = " if has_port else ""}"{name}"'
            remedy = coded("write the address alone: {form}", form=form)
        yield Problem(path, coded('"{value}" is a URL', value=host), remedy)
    elif match := _PORT.match(host):
        name, port = _host_and_port(match)
        remedy = (
            coded('write host = "{host}" and port = {port}', host=name, port=port)
            if has_port
            else coded('write "{name}" alone', name=name)
        )
        yield Problem(path, coded('"{host}" contains a port', host=host), remedy)
    elif listens and not host.strip():
        yield Problem(path, coded("is empty"), coded('write an address, or "0.0.0.0" for all'))
    elif host in EVERYWHERE and listens:
        return
    elif host in EVERYWHERE - {""}:
        yield Problem(
            path,
            coded("{host} stands for all addresses of this machine", host=host),
            coded("write the address of the other device"),
        )
    elif not is_host(host):
        meant = "0.0.0.0" if listens and host.strip() in ("*", "+") else _meant_host(host)
        remedy = (
            coded("write the address of one machine, without the mask of its network")
            if _is_network(host)
            else coded("write a host name or an IP address")
            if meant is None
            else coded("did you mean {meant}?", meant=f'"{meant}"')
        )
        yield Problem(path, coded('"{host}" is not an address', host=host), remedy)
    elif listens and _INTERFACE.fullmatch(host):
        yield Problem(
            path,
            coded('"{host}" is the name of a network interface', host=host),
            coded('write its address, or "0.0.0.0" for all'),
        )
    elif (address := _ip_address(host)) is not None and (address.is_multicast or host == "255.255.255.255"):
        yield Problem(
            path,
            coded("{host} is the address of a group of devices", host=host),
            coded("write the address of the device"),
        )


def _address_of_url(url: str) -> tuple[str, str]:
    """Return host and port of a URL that stands in place of a host; the port is empty where it has none."""
    address = _SCHEME.sub("", url).partition("/")[0].rpartition("@")[2]
    match = _PORT.match(address)
    if match is None:
        return address.strip("[]"), ""
    return _host_and_port(match)


def _host_and_port(match: re.Match[str]) -> tuple[str, str]:
    """Return host and port of a match of `_PORT`."""
    return (match[1], match[2]) if match[1] else (match[3], match[4])


def _ip_address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Return the address that a host is; None for a name."""
    try:
        return ipaddress.ip_address(host.split("%", 1)[0])
    except ValueError:
        return None


def is_host(host: str) -> bool:
    """Return whether a text is an IP address or a host name (RFC 1123, section 2.1)."""
    if _ip_address(host) is not None:
        return True
    return _HOST_NAME.match(host) is not None and not host.rpartition(".")[2].isdigit()


def _meant_host(text: str) -> str | None:
    """Return the address that a text with blanks, commas, a mask, brackets or leading zeros means.

    None if it is unclear, or a whole network.
    """
    if _is_network(text):
        return None
    text = text.strip("[]")
    words = text.strip().partition("/")[0].replace(",", ".").split(".")
    if len(words) == 4 and all(word.isdigit() for word in words):
        words = [str(int(word)) for word in words]
    host = ".".join(words)
    return host if is_host(host) else None


def _is_network(text: str) -> bool:
    """Return whether a text is the address of a network with its mask."""
    try:
        return "/" in text and ipaddress.ip_network(text.strip()).num_addresses > 1
    except ValueError:
        return False


def _url(config: Config, backend: BackendConfig, path: DataPath) -> Iterator[Problem]:
    """Find what keeps a backend's URL from leading to it; its syntax is checked with the cross rules."""
    url = backend.url
    if "{{station}}" in url:
        yield Problem(
            path,
            coded("has {braces} with two braces", braces="{{station}}"),
            coded("write {form}", form="{station}"),
        )
    elif "{station}" not in url:
        place = _PLACEHOLDER.search(url, url.find("://") + 3) or _station_id_in(url, config)
        remedy: str = coded('end it like "/ocpp/{place}"', place="{station}")
        if place is not None:
            meant = f'"{without_blanks(f"{url[: place.start()]}{{station}}{url[place.end() :]}")}"'
            remedy = coded("did you mean {meant}?", meant=meant)
        yield Problem(path, coded("has no {place}", place="{station}"), remedy)
    elif any(letter.isspace() for letter in url):
        yield blank_in_url(path, url)
    elif "\\" in url:
        meant = url.replace("\\", "/")
        yield Problem(
            path, coded("contains \\, which no URL has"), coded('did you mean "{meant}"?', meant=meant)
        )
    elif url.count("{station}") > 1:
        yield Problem(
            path,
            coded("has {place} twice", place="{station}"),
            coded("write it once, where the backend reads the id"),
        )
    elif "{station}" in url.partition("#")[2]:
        yield Problem(
            path, coded("has {place} behind #, which is never sent", place="{station}"), coded("remove the #")
        )
    parts = _split(url)
    if parts is None or parts.port is None:
        return
    own = {*LOOPBACK, config.listen.host} - EVERYWHERE  # a listener on port 0 gets any free one
    if parts.port == config.listen.port != 0 and parts.hostname in own:
        yield Problem(
            path,
            coded("is the address at which this controller listens for stations"),
            coded("write the URL of the backend; its operator has it"),
        )


def _station_id_in(url: str, config: Config) -> re.Match[str] | None:
    """Return where a URL ends with the id of a station."""
    ids = "|".join(re.escape(station.id) for station in config.station)
    return re.search(rf"(?<=/)(?:{ids})/?$", url) if ids else None


def _url_host(url: str, path: DataPath) -> Iterator[Problem]:
    """Find a host that cannot be one; that there is one is checked elsewhere for backends."""
    scheme, _, rest = url.partition("://")
    if second := _SCHEME.match(rest):
        yield Problem(
            path,
            coded("has two schemes, {scheme}:// and {second}", scheme=scheme, second=second[0]),
            coded('did you mean "{meant}"?', meant=rest),
        )
        return
    parts = _split(url)
    if parts is None:
        if path[0] == "webhook":
            yield Problem(
                path,
                coded('"{url}" is no URL', url=url),
                coded("write the port as a number up to 65535, or leave it out"),
            )
        return
    host = parts.hostname
    if host and "\\" not in host and not any(letter.isspace() for letter in host):
        yield from _host(path, host)
    if path[0] == "webhook" and not host and url.startswith(("http://", "https://")):
        yield Problem(path, coded("names no host"), coded('write it like "{form}"', form="https://HOST/PATH"))
    if path[0] == "webhook" and parts.username is not None:
        yield Problem(
            path, coded("contains a user name"), coded("remove it; secret_file signs what is posted")
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
            coded("contains {odd}", odd=place[0]),
            coded("remove it: the station appends its id to this path"),
        )
    elif odd := [letter for letter in path if letter in "?#*\\" or letter.isspace()]:
        yield Problem(
            ("listen", "path"),
            coded("contains {odd}, which no station's path has", odd=name_letters(odd)),
            coded('write the path alone, e.g. "/ocpp"'),
        )


def _path_parts(config: Config) -> Iterator[Problem]:
    if "//" in config.listen.path:
        yield Problem(
            ("listen", "path"),
            coded("has //, an empty part, which no station's URL has"),
            coded("write one /"),
        )


def _path_with_id(config: Config) -> Iterator[Problem]:
    last = config.listen.path.rstrip("/").rpartition("/")[2]
    if any(station.id == last for station in config.station):
        yield Problem(
            ("listen", "path"),
            coded('ends with "{last}", the id of a station, which the station appends itself', last=last),
            coded(
                'write "{value}"', value=config.listen.path.rstrip("/").removesuffix(last).rstrip("/") or "/"
            ),
        )


def _listener(config: Config) -> Iterator[Problem]:
    if config.listen.host in LOOPBACK:
        yield Problem(
            ("listen", "host"),
            coded(
                "only this machine reaches {host}; stations in the network cannot connect",
                host=config.listen.host,
            ),
            coded('set host = "0.0.0.0", unless a proxy on this machine passes them on'),
        )
    if config.listen.port == 0:
        yield Problem(
            ("listen", "port"),
            coded("0 is another port at each start; stations cannot be set to it"),
            coded("write the port of the stations' URL, e.g. 8887"),
        )


def _backend_urls(config: Config) -> Iterator[Problem]:
    """Find URLs in the clear, with a secret, with an empty or joined id, or of another backend."""
    names: dict[str, str] = {}
    for index, backend in enumerate(config.backend):
        path: DataPath = ("backend", index, "url")
        if backend.url.startswith("ws://") and is_off_site(backend.url):
            yield Problem(
                path,
                coded("passwords, cards and meter values pass in the clear"),
                coded('begin it with "{scheme}://"', scheme="wss"),
            )
        parts = _split(backend.url)
        if parts is not None and "//" in parts.path and backend.url.count("://") == 1:
            yield Problem(path, coded("has // in its path, an empty part"), coded("write one /"))
        if secret := _SECRET_IN_QUERY.search(backend.url):
            yield Problem(
                path,
                coded("has a secret in it, {secret}: URLs are written into logs", secret=secret[1]),
                coded("put it into a password_file, if the backend takes Basic authentication"),
            )
        if _is_address_without_ca(backend):
            yield Problem(
                path,
                coded(
                    "{hostname} is an address, and public certificates are for names",
                    hostname=urlsplit(backend.url).hostname,
                ),
                coded("write the name that is in the backend's certificate, or name its authority in ca"),
            )
        before = backend.url.partition("{station}")[0]
        if parts is not None and "{station}" in parts.query:
            yield Problem(
                path,
                coded(
                    "has {place} behind ?: OCPP-J has the id as the last part of the path", place="{station}"
                ),
                coded(
                    'end it like "/ocpp/{place}", unless the backend\'s operator writes it so',
                    place="{station}",
                ),
            )
        elif parts is not None and "{station}" in parts.path and before[-1] not in "/{ ":
            yield Problem(
                path,
                coded("joins the id to the word before it"),
                coded('did you mean "{before}/{place}"?', before=before, place="{station}"),
            )
        if backend.url.endswith("{station}/"):
            yield Problem(
                path,
                coded("ends with / after the id: some backends then read an empty id"),
                coded("remove the last /, unless the backend's operator writes it"),
            )
        first = names.setdefault(backend.url, backend.name)
        if first != backend.name:
            yield Problem(
                path,
                coded('is also the URL of "{first}", which receives everything twice', first=first),
                coded("write another URL, or remove one of the two"),
            )


def _is_address_without_ca(backend: BackendConfig) -> bool:
    """Return whether a backend is connected by TLS under an IP address and with the public authorities."""
    parts = _split(backend.url)
    return (
        backend.url.startswith("wss://")
        and backend.ca is None
        and parts is not None
        and _ip_address(parts.hostname or "") is not None
    )


def _webhooks(config: Config) -> Iterator[Problem]:
    for index, webhook in enumerate(config.webhook):
        if webhook.url.startswith("http://") and is_off_site(webhook.url):
            yield Problem(
                ("webhook", index, "url"),
                coded("alarms pass in the clear"),
                coded('begin it with "{scheme}://"', scheme="https"),
            )


def _ids(config: Config) -> Iterator[Problem]:
    """Find ids that hardly any URL has, and stations that differ in upper and lower case alone."""
    ids: list[tuple[DataPath, str, str]] = [
        (("station", index, "id"), station.id, coded("the settings of the station"))
        for index, station in enumerate(config.station)
    ]
    if config.site.backend is not None:
        ids.append((("site", "id"), config.site.id, coded("what its backend's operator has registered")))
    seen: dict[str, str] = {}
    for path, name, source in ids:
        if path[0] == "station" and (several := find_several_stations(path, name)):
            yield several
        elif odd := [letter for letter in name if letter in ODD_IN_IDS]:
            yield Problem(
                path,
                coded("contains {odd}", odd=name_letters(odd)),
                coded("compare it with {source}; few write such an id in a URL", source=source),
            )
        other = seen.setdefault(name.lower(), name)
        if other != name:
            yield Problem(
                path,
                coded('differs from "{other}" in upper and lower case alone', other=other),
                coded("compare both with {source}; case counts", source=source),
            )


def _placeholders(config: Config) -> Iterator[Problem]:
    """Find hosts of examples."""
    hosts: list[tuple[DataPath, str, str]] = []
    for name, remedy in (
        ("backend", coded("write the URL that the backend's operator has given")),
        ("webhook", coded("write your own URL")),
    ):
        for index, each in enumerate(getattr(config, name)):
            if (parts := _split(each.url)) is not None:
                hosts.append(((name, index, "url"), parts.hostname or "", remedy))
    if config.mqtt is not None:
        hosts.append((("mqtt", "host"), config.mqtt.host, coded("write the address of your broker")))
    hosts += [(path, host, coded("write the address of the device")) for path, host in _devices(config)]
    hosts += [(path, host, coded("write the address of the partner")) for path, host in _partners(config)]
    for path, host, correction in hosts:
        address = _ip_address(host)
        is_example = address is not None and any(address in network for network in _DOCUMENTATION)
        if is_example or _RESERVED_NAME.search(host):
            yield Problem(path, coded("{host} is a placeholder of an example", host=host), correction)


def _odd_devices(config: Config) -> Iterator[Problem]:
    """Find devices outside the site's network, on this machine, and addresses that no device keeps."""
    for path, host in _devices(config):
        address = _ip_address(host)
        if address is not None and address.is_global:
            yield Problem(
                path,
                coded("{host} is on the internet, and Modbus has no protection there", host=host),
                coded("write its address in the site's network"),
            )
        elif host in {*LOOPBACK, config.listen.host}:
            yield Problem(
                path,
                coded("{host} is this machine", host=host),
                coded(
                    "write the address of the device, unless a program on this machine passes its values on"
                ),
            )
        elif address is not None and address.is_link_local:
            yield Problem(
                path,
                coded(
                    "{host} is an address that a device gives itself without DHCP, each time another",
                    host=host,
                ),
                coded("give the device a fixed address, and write that"),
            )
        elif isinstance(address, ipaddress.IPv4Address) and address.packed[-1] in (0, 255):
            yield Problem(
                path,
                coded("{host} is the address of a whole network in most", host=host),
                coded("compare it with the device's display"),
            )


def _broker(config: Config) -> Iterator[Problem]:
    """Find an MQTT broker whose messages others read."""
    mqtt = config.mqtt
    if mqtt is None:
        return
    if _PUBLIC_BROKER.fullmatch(mqtt.host):
        yield Problem(
            ("mqtt", "host"),
            coded("{host} is a public test broker: everybody reads what is published there", host=mqtt.host),
            coded("write the address of your broker"),
        )
    elif not mqtt.tls and is_off_site(f"mqtt://{mqtt.host}") and not _RESERVED_NAME.search(mqtt.host):
        yield Problem(
            ("mqtt", "tls"),
            coded("is false, and readings and states pass through the internet"),
            coded("set tls = true"),
        )


def _observers(config: Config) -> Iterator[Problem]:
    owners = {station.owner for station in config.station} | {config.site.backend}
    for index, backend in enumerate(config.backend):
        names = {backend.id, backend.name}
        if not backend.observe and not backend.commands and not names & owners:
            yield Problem(
                ("backend", index, "observe"),
                coded("the backend receives nothing and commands nothing"),
                coded("list what it observes, or remove it"),
            )
