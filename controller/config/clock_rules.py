"""Rules of the clock: the site's time zone, and the time servers of [time]."""

from __future__ import annotations

import difflib
import re
import zoneinfo
from collections.abc import Iterator

from controller.config.schema import Config, SiteConfig
from controller.tomlcheck.diagnostics import Problem
from drivers.coded_text import coded, decimal

LARGE_ERROR_S, SMALL_ERROR_S = 60.0, 0.01
"""Errors of a clock that is of no use as legal time, and that no server in the internet allows (s)."""
NTP_PORT = 123
_WITHOUT_NTS = re.compile(
    r"pool\.ntp\.org$|^ntp\.ubuntu\.com$|^time\.(google|windows|apple|facebook)\.com$|fritz\.box$",
    re.IGNORECASE,
)
"""Well-known time servers that speak plain NTP."""
_SIMILAR = 0.8
"""Least ratio of difflib for a zone that is meant: 0.6 offers San Marino for a wrong word."""
_GERMAN_TIME = re.compile(
    r"|MES?Z|CEST|Europe|(UTC|GMT)? ?\+0?[12](:?00)?|W\. Europe Standard Time|\(?UTC\+01:00\).*"
    r"|.*(D[e\u00e9]utschland|Germany|German|M\u00fcnchen|Muenchen|Munich|Frankfurt|Hamburg|K\u00f6ln|Cologne)",
    re.IGNORECASE,
)
"""Names of the German time that are no time zones, and none at all."""
_NATIVE_NAMES = {
    "austria": "Europe/Vienna",
    "belgien": "Europe/Brussels",
    "d\u00e4nemark": "Europe/Copenhagen",
    "france": "Europe/Paris",
    "frankreich": "Europe/Paris",
    "kopenhagen": "Europe/Copenhagen",
    "luxemburg": "Europe/Luxembourg",
    "mailand": "Europe/Rome",
    "netherlands": "Europe/Amsterdam",
    "niederlande": "Europe/Amsterdam",
    "\u00f6sterreich": "Europe/Vienna",
    "prag": "Europe/Prague",
    "rom": "Europe/Rome",
    "schweiz": "Europe/Zurich",
    "switzerland": "Europe/Zurich",
    "warschau": "Europe/Warsaw",
    "wien": "Europe/Vienna",
    "z\u00fcrich": "Europe/Zurich",
}
"""Cities and countries by the names that installers write, in lower case."""
_UNIVERSAL = re.compile(r"(Etc/)?(UTC|UCT|Universal|Zulu|Greenwich|GMT([+-]?0)?)")
WRITE_ZONE = coded('write the zone of the site, e.g. timezone = "Europe/Berlin"')


def find_time_zone(name: str) -> zoneinfo.ZoneInfo | None:
    """Return the time zone of this name; None where none exists."""
    try:
        return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        return None


def is_universal(name: str) -> bool:
    """Return True for UTC, by any of its names."""
    return _UNIVERSAL.fullmatch(name) is not None


def check_time_zone(config: Config) -> Iterator[Problem]:
    """Find a time zone that does not exist."""
    name = config.site.timezone
    if find_time_zone(name) is None:
        meant = _meant_zone(name)
        remedy = (
            coded('use a name like "Europe/Berlin"')
            if meant is None
            else coded("did you mean {meant}?", meant=f'"{meant}"')
        )
        yield Problem(("site", "timezone"), coded('"{name}" is not a time zone', name=name), remedy)


def _meant_zone(name: str) -> str | None:
    """Return the zone that a name stands for: a city or country, another spelling, a name of Windows."""
    if _GERMAN_TIME.fullmatch(name.strip()):
        return "Europe/Berlin"
    city = name.strip().replace("\\", "/").rpartition("/")[2].replace(" ", "_").lower()
    if native := _NATIVE_NAMES.get(city):
        return native
    zones = sorted(zoneinfo.available_timezones())
    by_city = {zone.rpartition("/")[2].lower(): zone for zone in zones if "/" in zone}
    if near := difflib.get_close_matches(city, by_city, 1, _SIMILAR):
        return by_city[near[0]]
    near = difflib.get_close_matches(name, zones, 1, _SIMILAR)
    return near[0] if near else None


def find_clock_hints(config: Config) -> Iterator[Problem]:
    """Find zones without the site's summer time, and conditions that no clock meets."""
    yield from _zone_hints(config)
    servers, needed = config.time.nts_servers, config.time.servers_agree
    for index, server in enumerate(servers):
        if server.endswith(f":{NTP_PORT}"):
            yield Problem(
                ("time", "nts_servers", index),
                coded("{port} is the port of NTP, and keys of NTS come from another", port=NTP_PORT),
                coded("remove :{port}", port=NTP_PORT),
            )
        elif _WITHOUT_NTS.search(server):
            yield Problem(
                ("time", "nts_servers", index),
                coded("{server} has no NTS: its time cannot be verified", server=server),
                coded('name servers with NTS, e.g. "ptbtime1.ptb.de" or "time.cloudflare.com"'),
            )
    if 0 < len(servers) < needed and not any(map(_WITHOUT_NTS.search, servers)):
        yield Problem(
            ("time", "servers_agree"),
            coded(
                "{needed} servers must agree, and nts_servers lists {servers}",
                needed=needed,
                servers=len(servers),
            ),
            coded("list more servers, or write a lower number"),
            depends_on=("time", "nts_servers"),
        )
    error_s = config.time.max_error_s
    if not SMALL_ERROR_S <= error_s <= LARGE_ERROR_S:
        shown = decimal(error_s)
        what = (
            coded("an error of {error_s} s is less than any time server allows", error_s=shown)
            if error_s < SMALL_ERROR_S
            else coded("an error of {error_s} s makes meter values and commands useless", error_s=shown)
        )
        yield Problem(("time", "max_error_s"), what, coded("write 1 (s)"))
    if not config.time.chrony_socket.startswith("/"):
        yield Problem(
            ("time", "chrony_socket"),
            coded('"{chrony_socket}" is not the path of a socket', chrony_socket=config.time.chrony_socket),
            coded('write the whole path, e.g. "/run/chrony/chronyd.sock"'),
        )


def _zone_hints(config: Config) -> Iterator[Problem]:
    """Find UTC beside times of day, zones with a fixed offset, and abbreviations in place of a zone."""
    zone = config.site.timezone
    by_the_clock = [name for name in ("calendar", "departure") if getattr(config, name)]
    if by_the_clock and is_universal(zone):
        yield Problem(
            ("site", "timezone"),
            coded(
                "is {zone}: the times of day in [[{by_the_clock}]] are not those of a clock on the wall",
                zone="UTC" if zone == SiteConfig(id="?").timezone else zone,
                by_the_clock=by_the_clock[0],
            ),
            WRITE_ZONE,
        )
    elif zone.startswith("Etc/GMT") and not is_universal(zone):
        yield Problem(
            ("site", "timezone"),
            coded("{zone} has no summer time, and its sign is reversed (Etc/GMT-1 is UTC+1)", zone=zone),
            WRITE_ZONE,
        )
    elif zone in ("CET", "MET", "EET", "WET", "EST", "MST", "HST"):
        yield Problem(
            ("site", "timezone"),
            coded(
                "{name} is an abbreviation: the days on which its summer time begins are those of no country",
                name=zone,
            ),
            WRITE_ZONE,
        )
