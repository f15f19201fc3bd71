"""Plausible times and rates: those that keep stations, meters or messages from what they are for."""

from __future__ import annotations

from collections.abc import Iterator

from controller.config.clock_rules import find_clock_hints
from controller.config.schema import Config, StationConfig
from controller.model.deadlines import RENEW_AT
from controller.tomlcheck.diagnostics import Problem
from controller.tomlcheck.positions import DataPath
from drivers.coded_text import coded, decimal, literal

OFTEN_PING_S = 5.0
SELDOM_PING_S = 600.0
"""Intervals of pings that cost data, and that leave a lost connection unnoticed (s)."""
SHORT_ANSWER_S = 5.0
"""Stations and backends on mobile networks take longer for an answer (s)."""
LONG_GRACE_S = 600.0
"""A station that gets no answer for longer restarts or closes its connection (s)."""
LEAST_MESSAGE_BYTES = 65_536
"""A stop with its meter values, or a certificate, may have this size (bytes)."""
LONG_STALE_S = 60.0
"""A meter that is lost for longer leaves an overload to the fuse (s)."""
FAST_READING_S = 0.1
"""Hardly any meter has new values more often (s)."""
SHORT_TIMEOUT_S = 0.2
"""Time that meters and gateways take for an answer (s)."""

LONG_FROZEN_S = 300.0
"""Readings of a meter that hangs are used for that long (s)."""
MISSED_READINGS = 2.0
"""Intervals that a reading must stay valid, so that one lost answer does not make the meter stale."""
SELDOM_PUBLISHED_S = 300.0
"""Hardly anybody reads states that old (s)."""
OFTEN_REPORTED_S, SELDOM_REPORTED_S = 5.0, 300.0
"""Intervals of meter values that stations cannot keep, and after which a car's draw is unknown (s)."""

SHORT_LEASE_S, LONG_LEASE_S = 60.0, 3600.0
"""Leases that wear out the stations' memory, and that outlive the controller for long (s)."""

_FOR_ABSENCE = {"grace_s": "grace", "authorise_when_away": "autonomous", "stop_unauthorised": "autonomous"}
"""Keys that only one value of `when_backend_away` uses."""


def find_timing_hints(config: Config) -> Iterator[Problem]:
    """Find times and rates that are possible, but unusual, or that nothing uses."""
    yield from _ping(("listen", "ping_s"), config.listen.ping_s)
    yield from _listener(config)
    yield from _leases(config)
    for index, station in enumerate(config.station):
        path: DataPath = ("station", index)
        if station.ping_s is not None:
            yield from _ping((*path, "ping_s"), station.ping_s)
        yield from _absence(path, station)
    yield from _meters(config)
    yield from _reports(config)
    yield from find_clock_hints(config)


def _leases(config: Config) -> Iterator[Problem]:
    """Find leases that outlive the controller for long, and those that wear out the stations' memory."""
    lease_s = config.load_management.lease_s
    if lease_s > LONG_LEASE_S:
        yield Problem(
            ("load_management", "lease_s"),
            coded(
                "stations keep their last limit for {lease_s} h without the controller",
                lease_s=decimal(lease_s / 3600, ".3g"),
            ),
            coded("write some minutes, e.g. 300 (s); fallback_a then applies"),
        )
    elif lease_s < SHORT_LEASE_S:
        yield Problem(
            ("load_management", "lease_s"),
            coded(
                "each station stores a new limit every {lease_s} s, which wears out its flash memory",
                lease_s=decimal(RENEW_AT * lease_s, ".3g"),
            ),
            coded("write some minutes, e.g. 300 (s)"),
        )


def _reports(config: Config) -> Iterator[Problem]:
    """Find intervals of meter values and of MQTT that nobody can use."""
    report_s = config.local_csms.meter_values_s
    if 0 < report_s < OFTEN_REPORTED_S or report_s > SELDOM_REPORTED_S:
        yield Problem(
            ("local_csms", "meter_values_s"),
            coded("hardly any station keeps an interval of {report_s} s", report_s=decimal(report_s))
            if report_s < OFTEN_REPORTED_S
            else coded(
                "what a car draws is unknown for {report_s} s, and its current stays booked",
                report_s=decimal(report_s),
            ),
            coded("write 10 to 60 (s)"),
        )
    if config.mqtt is not None and config.mqtt.interval_s > SELDOM_PUBLISHED_S:
        yield Problem(
            ("mqtt", "interval_s"),
            coded(
                "changes are published up to {interval_s} s late", interval_s=decimal(config.mqtt.interval_s)
            ),
            coded("write some seconds, e.g. 5 (s)"),
        )


def _ping(path: DataPath, ping_s: float) -> Iterator[Problem]:
    if ping_s == 0:
        what = coded("never is too seldom: a lost connection stays unnoticed, and the station unreachable")
    elif ping_s > SELDOM_PING_S:
        what = coded(
            "every {ping_s} s is too seldom: a lost connection stays unnoticed, and the station unreachable",
            ping_s=decimal(ping_s),
        )
    elif ping_s < OFTEN_PING_S:
        what = coded("a ping every {ping_s} s costs data on mobile networks", ping_s=decimal(ping_s))
    else:
        return
    yield Problem(path, what, coded("write some tens of seconds, e.g. 30 (s)"))


def _listener(config: Config) -> Iterator[Problem]:
    listen = config.listen
    if listen.call_timeout_s < SHORT_ANSWER_S:
        yield Problem(
            ("listen", "call_timeout_s"),
            coded(
                "{call_timeout_s} s are less than a slow backend takes for an answer",
                call_timeout_s=decimal(listen.call_timeout_s),
            ),
            coded("write 30 to 60 (s)"),
        )
    for key in ("messages_per_second", "handshakes_per_second"):
        rate = getattr(listen, key)
        if 0 < rate < 1:
            yield Problem(
                ("listen", key),
                coded(
                    "{rate} per second keeps stations waiting: a boot alone is some ten messages",
                    rate=decimal(rate),
                ),
                coded("write 10 or more, or 0 for no limit"),
            )
    most = listen.connections_per_address
    if most is not None and 0 < most < len(config.station):
        yield Problem(
            ("listen", "connections_per_address"),
            coded(
                "{most} is less than {station}, the stations: behind a router they have one address",
                most=most,
                station=len(config.station),
            ),
            coded("write twice the number of stations, or leave it out"),
        )
    if listen.max_message_bytes < LEAST_MESSAGE_BYTES:
        yield Problem(
            ("listen", "max_message_bytes"),
            coded(
                "{max_message_bytes} bytes are less than the stop of a long session may have",
                max_message_bytes=listen.max_message_bytes,
            ),
            coded(
                "write {least_message_bytes} or more, or leave it out",
                least_message_bytes=LEAST_MESSAGE_BYTES,
            ),
        )


def _absence(path: DataPath, station: StationConfig) -> Iterator[Problem]:
    """Find settings for another `when_backend_away`, and a grace that no station waits for."""
    default = StationConfig(id=station.id)
    for key, needed in _FOR_ABSENCE.items():
        is_set = getattr(station, key) != getattr(default, key)
        if is_set and station.owner is not None and station.when_backend_away != needed:
            yield Problem(
                (*path, key),
                coded(
                    'has no effect with when_backend_away = "{when_backend_away}"',
                    when_backend_away=station.when_backend_away,
                ),
                coded('remove it, or write when_backend_away = "{needed}"', needed=needed),
            )
    if station.when_backend_away == "grace" and station.grace_s > LONG_GRACE_S:
        yield Problem(
            (*path, "grace_s"),
            coded(
                "hardly any station waits {grace_s} s for an answer: it restarts, or closes",
                grace_s=decimal(station.grace_s),
            ),
            coded('write some tens of seconds, or when_backend_away = "autonomous"'),
        )


def _meters(config: Config) -> Iterator[Problem]:
    for index, meter in enumerate(config.meter):
        path: DataPath = ("meter", index)
        if meter.stale_after_s > LONG_STALE_S and not meter.stations:
            yield Problem(
                (*path, "stale_after_s"),
                coded(
                    "a lost meter goes unnoticed for {stale_after_s} s, and an overload with it",
                    stale_after_s=decimal(meter.stale_after_s),
                ),
                coded("write a few of its intervals, e.g. 5 (s)"),
            )
        elif meter.interval_s < meter.stale_after_s < MISSED_READINGS * meter.interval_s:
            yield Problem(
                (*path, "stale_after_s"),
                coded(
                    "one lost reading makes the meter stale: the next is due after {interval_s} s",
                    interval_s=decimal(meter.interval_s),
                ),
                coded(
                    "write three intervals, {value} (s), or a shorter interval_s",
                    value=literal(3 * meter.interval_s),
                ),
            )
        if meter.frozen_after_s > LONG_FROZEN_S:
            yield Problem(
                (*path, "frozen_after_s"),
                coded(
                    "a meter that hangs goes unnoticed for {frozen_after_s} s",
                    frozen_after_s=decimal(meter.frozen_after_s),
                ),
                coded("write some tens of seconds, e.g. 30 (s)"),
            )
        if meter.interval_s < FAST_READING_S and meter.transport not in ("rtu", "virtual"):
            yield Problem(
                (*path, "interval_s"),
                coded(
                    "hardly any meter has new values every {interval_s} s",
                    interval_s=decimal(meter.interval_s),
                ),
                coded("write the interval of its measurement, usually 0.2 to 1 (s)"),
            )
        if meter.timeout_s is not None and meter.timeout_s < SHORT_TIMEOUT_S:
            yield Problem(
                (*path, "timeout_s"),
                coded(
                    "{timeout_s} s are less than many meters take for an answer",
                    timeout_s=decimal(meter.timeout_s),
                ),
                coded("leave it out, or write 1 to 3 (s)"),
            )
