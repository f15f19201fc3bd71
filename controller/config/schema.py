"""The configuration file as typed data: a table of the file is a Struct, a key is a field.

Currents in A per phase, powers in W, times in s, voltages in V between line and neutral. Paths are relative
to the directory of the file; `read_config` makes them absolute. The texts below the fields are rendered into
`docs/configuration.md`.
"""

from __future__ import annotations

import math
from datetime import date
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from controller.model.section_14a import DEVICE_W
from controller.ocpp.actions import OBSERVED
from controller.ocpp.frames import Version
from drivers.coded_text import coded
from drivers.settings import MeterSettings, ShareSettings, default_port

Name = Annotated[str, Meta(min_length=1, max_length=48)]
Amps = Annotated[float, Meta(ge=0, le=10_000, extra={"unit": "A"})]
LimitAmps = Annotated[float, Meta(ge=1, le=10_000, extra={"unit": "A"})]
Seconds = Annotated[float, Meta(gt=0, le=86_400, extra={"unit": "s"})]
Priority = Annotated[int, Meta(ge=-1000, le=1000)]
Port = Annotated[int, Meta(ge=0, le=65_535)]
PerPhaseAmps = Annotated[tuple[LimitAmps, ...], Meta(min_length=3, max_length=3)]
"""Not a tuple of fixed length: msgspec 0.22 crashes on one in a union with a bounded float."""
PhaseName = Literal["L1", "L2", "L3"]
DayName = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
EVERY_DAY: tuple[DayName, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
ClockTime = Annotated[
    str, Meta(pattern=r"^([01]\d|2[0-3]):[0-5]\d$|^24:00$", extra={"form": coded('like "06:30"')})
]
Kilowatts = Annotated[float, Meta(gt=0, le=100_000, extra={"unit": "kW"})]


DEFAULT_NODE = "CSMS"
"""Id of the other end of a link in overlay mode, where it is a backend."""
LOCAL_CSMS = "local-csms"
"""Name that stands for the controller itself as the owner of a station without backend."""


class _Table(msgspec.Struct, frozen=True, kw_only=True):
    pass


class SiteConfig(_Table, frozen=True, kw_only=True):
    """The site as a whole."""

    id: Name
    """OCPP identity of the controller."""
    backend: str | None = None
    """Backend to which the controller connects under its own identity and which may limit the whole site.
    Example: "cpo"."""
    protocol: Version = Version.V201
    """OCPP version of that connection."""
    timezone: str = "UTC"
    """Time zone of the site. Example: "Europe/Berlin"."""
    voltage: Annotated[float, Meta(gt=0, le=1000, extra={"unit": "V"})] = 230.0
    """Nominal voltage between line and neutral (V)."""
    quirks_file: str | None = None
    """TOML file with charger quirks of this site, which come before the controller's own. Example:
    "quirks.toml"."""


class StoreConfig(_Table, frozen=True, kw_only=True):
    """Storage of what must survive a restart."""

    directory: str = "/var/lib/local-controller"
    """Directory of the state database and the evidence, relative to the file."""


class ListenConfig(_Table, frozen=True, kw_only=True):
    """Listener for stations: ws(s)://HOST:PORT/PATH/STATION."""

    host: str = "0.0.0.0"
    """Address to listen at."""
    port: Port = 8887
    """TCP port."""
    path: Annotated[str, Meta(pattern="^/", extra={"form": coded('that begins with "/"')})] = "/ocpp"
    """Path in front of the station's id."""
    certificate: str | None = None
    """Server certificate (PEM); with `key` stations connect by wss. Newer files are used for new
    connections. Example: "server.pem"."""
    key: str | None = None
    """Private key of the certificate (PEM). Example: "server.key"."""
    client_ca: str | None = None
    """Authority of the certificates that stations must show, each for its own id (security profile 3).
    Example: "stations-ca.pem"."""
    protocols: Annotated[tuple[Version, ...], Meta(min_length=1)] = (Version.V21, Version.V201, Version.V16)
    """OCPP versions, preferred first."""
    max_message_bytes: Annotated[int, Meta(ge=1024, le=100_000_000)] = 2_097_152
    """Longest message; a longer one ends the connection. The stop of a long session with signed meter values
    may have more than a megabyte."""
    ping_s: Annotated[float, Meta(ge=0, le=3600, extra={"unit": "s"})] = 30.0
    """Interval of WebSocket pings on a silent connection; 0: never."""
    call_timeout_s: Annotated[float, Meta(ge=0.2, le=600, extra={"unit": "s"})] = 60.0
    """Time that an answer may take before the controller answers in its place."""
    connections_per_address: Annotated[int, Meta(ge=0, le=1_000_000)] | None = None
    """Connections from one address at a time; 0: no limit. Default: twice the number of stations, at least
    64."""
    handshakes_per_second: Annotated[float, Meta(ge=0, le=100_000)] = 200.0
    """Handshakes per second; more wait for their turn. 0: no limit."""
    messages_per_second: Annotated[float, Meta(ge=0, le=100_000)] = 100.0
    """Messages per second of one station, and ten times that at once; more wait in its socket. 0: no
    limit."""
    compression: bool = True
    """Accept permessage-deflate."""
    unknown_stations: Literal["reject", "pending"] = "reject"
    """Stations that are not in the configuration. "reject": they are listed with id and address. "pending":
    their BootNotification is answered with Pending, so that vendor and model are listed as well, and nothing
    else of them is accepted."""


class LogConfig(_Table, frozen=True, kw_only=True):
    """The log of the controller."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """Least level that is logged; `run --verbose` logs everything."""


class WebRoleConfig(_Table, frozen=True, kw_only=True):
    """A role for users of the page, beside viewer, operator and administrator."""

    name: Annotated[str, Meta(min_length=1, max_length=48)]
    """Name of the role."""
    permissions: Annotated[tuple[str, ...], Meta(min_length=1)]
    """Permissions of the role: RESOURCE:VERB with the verbs read, run and edit; * stands for all. Example:
    ["stations:*", "sessions:read"]."""


class WebConfig(_Table, frozen=True, kw_only=True):
    """Listener for page, REST API, metrics and health; without this table there is none."""

    host: str = "127.0.0.1"
    """Address to listen at. 0.0.0.0: reachable from other machines."""
    port: Port = 8080
    """TCP port."""
    names: tuple[str, ...] = ()
    """Host names under which the page is reached, beside the machine's own.
    Example: ["lc.example.org"]."""
    certificate: str | None = None
    """Server certificate (PEM); with `key` the page is served by https. Newer files are used for new
    connections. Example: "page.pem"."""
    key: str | None = None
    """Private key of the certificate (PEM). Example: "page.key"."""
    open_status: bool | None = None
    """The status may be read without a login; default: while `host` is the machine itself. /metrics and
    /healthz are always open. Example: false."""
    role: tuple[WebRoleConfig, ...] = ()
    """Further roles."""


class MqttConfig(_Table, frozen=True, kw_only=True):
    """The broker that readings, states, limits and alarms are published to."""

    host: Annotated[str, Meta(min_length=1, max_length=253)]
    """Address of the broker. Example: "192.0.2.50"."""
    port: Annotated[int, Meta(ge=1, le=65_535)] | None = None
    """TCP port; default: 1883, with tls 8883. Example: 8883."""
    tls: bool = False
    """Connect by TLS; the broker's certificate must be for `host`."""
    ca: str | None = None
    """Authority of the broker's certificate (PEM); default: those of the operating system. Example:
    "broker-ca.pem"."""
    certificate: str | None = None
    """Client certificate. Example: "client.pem"."""
    key: str | None = None
    """Private key of the client certificate. Example: "client.key"."""
    username: str | None = None
    """User at the broker. Example: "lc"."""
    password_file: str | None = None
    """File with the user's password. Example: "credentials/mqtt"."""
    root: (
        Annotated[
            str,
            Meta(
                pattern="^[^+#/]+(/[^+#/]+)*$",
                max_length=100,
                extra={"form": coded('without +, # and / at its ends, like "site/depot"')},
            ),
        ]
        | None
    ) = None
    """First levels of all topics; default: local-controller/ and the site's id. Example: "site/depot"."""
    interval_s: Annotated[float, Meta(ge=1, le=3600, extra={"unit": "s"})] = 5.0
    """Interval at which changes are published."""
    home_assistant: bool = True
    """Announce the site and its stations to Home Assistant."""
    discovery_prefix: Annotated[
        str,
        Meta(
            pattern="^[^+#/]+(/[^+#/]+)*$",
            max_length=100,
            extra={"form": coded("without +, # and / at its ends")},
        ),
    ] = "homeassistant"
    """Prefix of Home Assistant's discovery topics."""
    permissions: tuple[str, ...] = ()
    """Commands that are accepted by MQTT; default: none. Example: ["stations:run"]."""


class WebhookConfig(_Table, frozen=True, kw_only=True):
    """A URL to which alarms are posted when they begin and end."""

    url: Annotated[str, Meta(min_length=1, max_length=1000)]
    """The URL. Example: "https://alarms.example/lc"."""
    secret_file: str | None = None
    """File with the secret that signs the body (HMAC-SHA256, header X-Signature-256). Example:
    "credentials/webhook"."""
    severity: Literal["info", "warning", "critical"] = "warning"
    """Least severity of the alarms that are posted."""


class BackendConfig(_Table, frozen=True, kw_only=True):
    """A backend (CSMS), or one endpoint of it: tables with the same `group` are one backend."""

    id: Name
    """Name of the backend, or of this endpoint."""
    url: Annotated[
        str, Meta(pattern="^wss?://", extra={"form": coded('that begins with "wss://" or "ws://"')})
    ]
    """URL; {station} stands for the station's id. Example: "wss://csms.example/ocpp/{station}"."""
    ca: str | None = None
    """Authority of the backend's certificate (PEM); default: those of the operating system. Example:
    "csms-ca.pem"."""
    certificate: str | None = None
    """Client certificate that is shown to the backend. Example: "client.pem"."""
    key: str | None = None
    """Private key of the client certificate. Example: "client.key"."""
    password_file: str | None = None
    """File with the password that is shown for every station (Basic authentication); default: the
    station's own is passed on. Example: "credentials/cpo"."""
    connect_timeout_s: Annotated[float, Meta(ge=0.2, le=120, extra={"unit": "s"})] = 10.0
    """Time that TCP, TLS and upgrade may take together."""
    compression: bool = True
    """Offer permessage-deflate."""
    observe: tuple[str, ...] = OBSERVED
    """As an observer: the actions of stations, or classes of them, that it receives."""
    commands: tuple[str, ...] | None = None
    """Actions, or classes of them, that it may command; default: everything as owner, nothing as observer.
    Example: ["profiles", "transactions", "reads"]."""
    priority: Priority = 0
    """Order of the endpoints of a group: the lowest is connected first."""
    group: Name | None = None
    """Name of the backend whose endpoint this is. Example: "csms"."""
    mode: Literal["standard", "overlay"] = "standard"
    """overlay: one connection for all stations, in overlay mode; {station} in the URL is then the site's
    id."""
    est_url: str | None = None
    """EST server (RFC 7030) that renews `certificate`, which is then an identity of [pki]. Example:
    "https://csms.example/.well-known/est"."""
    renew_by_ocpp: bool = False
    """Renew `certificate`, an identity of [pki], over OCPP: for the backend of the site's own identity."""
    node: Name = DEFAULT_NODE
    """In overlay mode the id of the other end; another controller's id, where it is one."""

    @property
    def name(self) -> str:
        """Return the name of the backend: its group, else its id."""
        return self.group or self.id


class LocalCsmsConfig(_Table, frozen=True, kw_only=True):
    """The controller as the CSMS of the stations without `owner`."""

    authorization: Literal["cards", "free"] = "cards"
    """Drivers who may charge there: those with a listed card, or all."""
    cards_file: str | None = None
    """CSV file with more cards: a header line, then token,label,type,priority_class,valid_until,blocked.
    Example: "cards.csv"."""
    local_list: bool = True
    """Send the cards to the stations, which then accept them without the controller, too."""
    heartbeat_s: Annotated[int, Meta(ge=10, le=86_400, extra={"unit": "s"})] = 300
    """Interval of the stations' heartbeats."""
    meter_values_s: Annotated[int, Meta(ge=0, le=3600, extra={"unit": "s"})] = 60
    """Interval of meter values during a transaction that the stations are set to; 0: as they are set."""


class CardConfig(_Table, frozen=True, kw_only=True):
    """A card (idToken): may charge at stations without `owner`, and is shown by its label everywhere."""

    token: Annotated[str, Meta(min_length=1, max_length=36, extra={"personal": True})]
    """The card's idToken, as the station reads it; case does not count."""
    label: Annotated[str, Meta(max_length=48)] = ""
    """Name of the card in lists and on the page. Example: "Anna"."""
    type: Literal["Central", "eMAID", "ISO14443", "ISO15693", "KeyCode", "Local", "MacAddress"] = "ISO14443"
    """Type of the idToken in OCPP 2.x."""
    priority_class: Annotated[str, Meta(max_length=48)] = ""
    """Class of its sessions in the load management. Example: "vip"."""
    valid_until: date | None = None
    """Last day on which it may charge, in the site's time zone. Example: 2027-12-31."""
    blocked: bool = False
    """The card may not charge, also where charging is free."""

    def __repr__(self) -> str:
        return f"CardConfig({self.label!r})"


class SessionsConfig(_Table, frozen=True, kw_only=True):
    """The ledger of the charging sessions."""

    retention_months: Annotated[int, Meta(ge=1, le=240, extra={"unit": "months"})] = 24
    """Time for which sessions are kept (months)."""


class CircuitConfig(_Table, frozen=True, kw_only=True):
    """A circuit: a fuse or breaker and what it protects. Exactly one has no `parent`."""

    id: Name
    """Name of the circuit."""
    parent: str | None = None
    """Circuit that feeds it. Example: "grid"."""
    limit_a: LimitAmps | PerPhaseAmps
    """Rated current of the fuse or breaker: one value, or one for each phase."""
    fuse: Literal["gG", "B", "C", "plain"] = "plain"
    """Tripping curve; plain: never above the limit, not for a moment."""
    limit_w: Annotated[float, Meta(gt=0, le=1e8, extra={"unit": "W"})] | None = None
    """Limit of all phases together. Example: 150000."""
    meter: str | None = None
    """Meter that measures the circuit. Example: "grid"."""
    margin_a: Amps | Literal["auto"] | None = None
    """Kept free below the limit; auto: as the jumps of its meter's base load need, a quarter of the limit on
    the first day; default: as in [load_management]. Example: 10."""
    unbalance_a: LimitAmps | None = None
    """Largest difference between two phases. Example: 20."""
    base_load_a: Amps | None = None
    """Most current on each phase beside the EVSEs; used while no meter shows it. Example: 80."""
    generation_a: Amps | None = None
    """Most current that generation feeds in on each phase; without it, feed-in above the fuse's rating is
    implausible. Example: 60."""
    limit_kva: Annotated[float, Meta(ge=1, le=20_000, extra={"unit": "kVA"})] | None = None
    """Rated apparent power of the transformer that feeds the circuit: its rated current is a limit of each
    phase, beside limit_a. Example: 630."""
    peak_kw: Kilowatts | None = None
    """Highest mean power of a quarter hour by the clock, as the circuit's meter counts import. Example:
    60."""
    peak_reached_is_free: bool = False
    """The highest quarter hour of the month so far counts as peak_kw where it is higher: it is paid for."""
    measures: Literal["all", "building"] = "all"
    """Flow that the circuit's meter shows: all, or the building alone, with the EVSEs not behind it."""

    @property
    def limits_a(self) -> tuple[float, float, float]:
        """Return the limits of L1, L2 and L3 (A)."""
        if isinstance(self.limit_a, tuple):
            return (self.limit_a[0], self.limit_a[1], self.limit_a[2])
        return (self.limit_a,) * 3

    def transformer_a(self, volts: float) -> float:
        """Return the transformer's rated current (A per phase), in full steps of 0.1 A; inf without one."""
        if self.limit_kva is None:
            return math.inf
        return math.floor(round(self.limit_kva * 10_000 / (3 * volts), 6)) / 10


class MeterShareConfig(_Table, frozen=True, kw_only=True):
    """A read-only Modbus TCP server from which another energy manager reads the registers of a meter."""

    port: Annotated[int, Meta(ge=1, le=65_535)]
    """Port that it listens on."""
    host: str = "0.0.0.0"
    """Address that it listens on."""
    unit: Annotated[int, Meta(ge=0, le=255)] = 1
    """Unit number that it answers to."""
    max_age_s: Annotated[float, Meta(ge=0.5, le=3600, extra={"unit": "s"})] = 10.0
    """Older readings are not given out: requests get exception 11."""
    max_clients: Annotated[int, Meta(ge=1, le=64)] = 4
    """Most clients at a time."""


class MeterConfig(_Table, frozen=True, kw_only=True):
    """An energy meter, its model and the bus that it is connected to."""

    id: Name
    """Name of the meter."""
    driver: str
    """Model of the meter; `local-controller meter list` lists them."""
    transport: Literal["tcp", "rtu", "tls", "rtu-over-tcp", "udp", "virtual"]
    """Transport; virtual: computed from other meters, with `driver = "virtual"`."""
    host: str | None = None
    """Address of the meter or gateway. Example: "192.0.2.20"."""
    port: Annotated[int, Meta(ge=1, le=65_535)] | None = None
    """TCP port; default: 502, with tls 802. Example: 502."""
    device: str | None = None
    """Serial port; use its name in /dev/serial/by-id. Example: "/dev/serial/by-id/usb-
    FTDI_FT232R_USB_UART-if00-port0"."""
    baud: Annotated[int, Meta(ge=300, le=1_000_000)] | None = None
    """Baud rate; default: as the meter leaves the factory. Example: 9600."""
    parity: Literal["N", "E", "O"] | None = None
    """Parity; default: as the meter leaves the factory. Example: "N"."""
    stopbits: Literal[1, 2] | None = None
    """Stop bits; default: as the meter leaves the factory. Example: 1."""
    unit: Annotated[int, Meta(ge=0, le=255)] = 1
    """Modbus unit of the meter."""
    interval_s: Annotated[float, Meta(ge=0.05, le=60, extra={"unit": "s"})] = 1.0
    """Interval of the readings."""
    stale_after_s: Annotated[float, Meta(ge=0.5, le=300, extra={"unit": "s"})] = 5.0
    """Age up to which a reading is used; then the stations below get their fallback."""
    frozen_after_s: Annotated[float, Meta(ge=5, le=3600, extra={"unit": "s"})] = 30.0
    """Time that readings may stay the same to the last bit under load before the meter is stale."""
    timeout_s: Annotated[float, Meta(ge=0.05, le=30, extra={"unit": "s"})] | None = None
    """Time that an answer may take; default: 3 s, on a serial port 1 s. Example: 3."""
    priority: Annotated[int, Meta(ge=-2, le=2)] = 0
    """Order of the readings on a shared bus: the highest first."""
    invert: bool = False
    """The meter is built in backwards: its signs are reversed."""
    ct_ratio: Annotated[float, Meta(ge=0.01, le=10_000)] = 1.0
    """Factor of a meter that shows the secondary side of its current transformers."""
    phase_order: Annotated[tuple[PhaseName, ...], Meta(min_length=3, max_length=3)] = ("L1", "L2", "L3")
    """The site's phases on the meter's phases 1, 2 and 3."""
    sunspec_instance: Annotated[int, Meta(ge=1, le=64)] | None = None
    """Meter of a SunSpec device with several: the n-th. Example: 1."""
    sunspec_model: Annotated[int, Meta(ge=201, le=214)] | None = None
    """Meter of a SunSpec device with several: its model number. Example: 213."""
    sunspec_role: Annotated[str, Meta(min_length=1, max_length=64)] | None = None
    """Meter of a SunSpec device with several: its role. Example: "grid"."""
    ca: str | None = None
    """With tls: authority of the meter's certificate. Example: "meters-ca.pem"."""
    certificate: str | None = None
    """With tls: client certificate. Example: "client.pem"."""
    key: str | None = None
    """With tls: private key of the client certificate. Example: "client.key"."""

    plus: tuple[Name, ...] = ()
    """Meters that a virtual one adds up. Example: ["grid"]."""
    minus: tuple[Name, ...] = ()
    """Meters that a virtual one subtracts. Example: ["building"]."""
    stations: tuple[Name, ...] = ()
    """Stations whose own meter values a virtual meter adds up, as a last resort: every other load is missing
    from it. Set stale_after_s to two of their intervals. Example: ["CS01", "CS02"]."""
    backup: Name | None = None
    """Meter whose values stand in for a virtual one while its own sources fail. Example: "cars"."""
    share: tuple[MeterShareConfig, ...] = ()
    """Servers for its registers."""

    @property
    def bus(self) -> str | None:
        """Return the bus of the meter: the serial port, or host and port; None without."""
        if self.transport == "rtu":
            return self.device
        if self.host is None or self.transport == "virtual":
            return None
        return f"{self.host}:{self._port}"

    def settings(self) -> MeterSettings:
        """Return the settings for the drivers."""
        first, second, third = (int(phase[1]) for phase in self.phase_order)
        changed: dict[str, object] = {
            "port": None if self.transport == "rtu" else self._port,
            "phase_order": (first, second, third),
            "share": tuple(ShareSettings(**msgspec.structs.asdict(share)) for share in self.share),
        }
        return MeterSettings(**(msgspec.structs.asdict(self) | changed))

    @property
    def _port(self) -> int:
        return self.port or default_port(self.transport)


class EvseConfig(_Table, frozen=True, kw_only=True):
    """One EVSE of a station; without this table a station has one with the defaults."""

    id: Annotated[int, Meta(ge=1, le=999)] = 1
    """Number of the EVSE (OCPP 1.6: of the connector)."""
    circuit: str | None = None
    """Circuit that it is connected to; default: the station's. Example: "row-b"."""
    phases: Annotated[tuple[PhaseName, ...], Meta(min_length=1, max_length=3)] = ("L1", "L2", "L3")
    """The site's phases on the station's phases L1, L2, L3; ["L2"]: a single-phase station on L2."""
    max_a: LimitAmps = 32.0
    """Most current that it can draw on a phase."""
    min_a: Annotated[float, Meta(ge=1, le=10_000, extra={"unit": "A"})] = 6.0
    """Least current with which it can charge (IEC 61851-1: 6 A)."""
    fallback_a: Amps | None = None
    """Current without the controller; default: as in [load_management]. Example: 6."""
    priority: Priority = 0
    """The highest is served first."""
    mode: Literal["fair", "surplus"] = "fair"
    """surplus: charge only from what the site would feed into the grid."""
    phase_switching: bool | None = None
    """May be set to use one phase instead of three; default: as the station reports. Example: true."""
    watts_for: Literal["one-phase", "all-phases"] = "one-phase"
    """Of a station that accepts limits in W only: one-phase: its car may draw all of a limit on one phase, so
    that it counts on each until reports show more phases; all-phases: the station divides a limit by its
    phases, whatever its car uses."""
    steuve: bool = False
    """Controllable device under section 14a EnWG."""
    exempt: bool = False
    """Never dimmed, e.g. a public charging point."""
    max_kw: Kilowatts | None = None
    """DC: most power that it can deliver to a car; it replaces max_a. Example: 150."""
    min_kw: Kilowatts = 5.0
    """DC: least power with which it charges; it replaces min_a."""
    efficiency: Annotated[float, Meta(ge=0.5, le=1)] = 0.95
    """DC: part of the power drawn from the grid that reaches the car."""
    power_factor: Annotated[float, Meta(ge=0.5, le=1)] = 0.98
    """DC: active power divided by apparent power at its input."""
    reserve_kw: Annotated[float, Meta(ge=0, le=100_000, extra={"unit": "kW"})] = 0.0
    """DC: power that is kept free while no car is connected, for the session that begins next."""
    reports_on: Literal["station", "grid"] = "station"
    """Phases of its meter values: the station's own L1, L2, L3, or those of the site."""

    @property
    def is_controllable(self) -> bool:
        """Return True if the grid operator may limit it: a device of section 14a EnWG that is not exempt."""
        return self.steuve and not self.exempt

    def dc_watts_per_ampere(self, volts: float) -> float | None:
        """Return what a DC EVSE delivers to a car for each A that it draws on a phase (W); None: it is AC."""
        return None if self.max_kw is None else 3 * volts * self.power_factor * self.efficiency

    def watts_per_phase_ampere(self, volts: float) -> float:
        """Return the power (W) in a limit or a report for each A that it draws on one phase."""
        watts = self.dc_watts_per_ampere(volts)
        return volts if watts is None else watts / 3

    def reserve_a(self, volts: float) -> float:
        """Return the current that is kept free for the next session of a DC EVSE (A per phase)."""
        watts = self.dc_watts_per_ampere(volts)
        return 0.0 if watts is None else self.reserve_kw * 1000 / watts


class StationDefaultsConfig(_Table, frozen=True, kw_only=True):
    """Values of the keys that a [[station]] leaves out."""

    circuit: str | None = None
    """As in [[station]]. Example: "row-a"."""
    owner: str | None = None
    """As in [[station]]. Example: "cpo"."""
    observers: tuple[str, ...] | None = None
    """As in [[station]]. Example: ["fleet"]."""
    when_backend_away: Literal["strict", "grace", "autonomous"] | None = None
    """As in [[station]]. Example: "autonomous"."""
    grace_s: Seconds | None = None
    """As in [[station]]. Example: 30."""
    authorise_when_away: Literal["known", "everyone"] | None = None
    """As in [[station]]. Example: "known"."""
    stop_unauthorised: bool | None = None
    """As in [[station]]. Example: true."""
    password_file: str | None = None
    """As in [[station]]; {station} stands for the id. Example: "credentials/{station}"."""
    protocol: Version | None = None
    """As in [[station]]. Example: "ocpp1.6"."""
    ping_s: Annotated[float, Meta(ge=0, le=3600, extra={"unit": "s"})] | None = None
    """As in [[station]]. Example: 60."""
    evse: tuple[EvseConfig, ...] | None = None
    """EVSEs of each station that has none of its own."""


class StationConfig(_Table, frozen=True, kw_only=True):
    """A charging station. Only stations with a table may connect."""

    id: Name
    """Id at the end of the station's URL. "CS[01-40]" stands for 40 equal stations, CS01 to CS40."""
    label: Annotated[str, Meta(max_length=60)] = ""
    """Name for people, shown on the page. Example: "Bay 12, north"."""
    circuit: str | None = None
    """Circuit that its EVSEs are connected to. Example: "row-a"."""
    owner: str | None = None
    """Backend that answers and commands it; default: none, the controller is its CSMS. Example: "cpo"."""
    observers: tuple[str, ...] = ()
    """Backends that receive copies."""
    when_backend_away: Literal["strict", "grace", "autonomous"] = "strict"
    """Without its owner a station is closed at once (strict), after grace_s (grace), or served by the
    controller (autonomous)."""
    grace_s: Seconds = 30.0
    """With grace: how long the station stays connected."""
    authorise_when_away: Literal["known", "everyone"] = "known"
    """With autonomous: whom the controller authorizes: those whom the owner has accepted before, or
    everyone."""
    stop_unauthorised: bool = True
    """Stop a running transaction that the owner does not accept when it is back."""
    password_file: str | None = None
    """File with the station's password, or with what `local-controller password` makes of it; {station}
    stands for the id. Example: "credentials/CS01"."""
    quirk: str | None = None
    """Row of charger quirks that applies to it, by name; default: by its BootNotification. Example:
    "Garage wallbox"."""
    protocol: Version | None = None
    """The only OCPP version of the station, also where it names none; default: as it offers. Example:
    "ocpp1.6"."""
    ping_s: Annotated[float, Meta(ge=0, le=3600, extra={"unit": "s"})] | None = None
    """As in [listen], for this station. Example: 60."""
    mode: Literal["standard", "overlay"] = "standard"
    """overlay: another controller, with stations of its own."""
    evse: tuple[EvseConfig, ...] = (EvseConfig(),)
    """EVSEs of the station."""

    @property
    def owner_or_local(self) -> str:
        """Return the owner as the file names it; LOCAL_CSMS without one."""
        return LOCAL_CSMS if self.owner is None else self.owner


class LoadManagementConfig(_Table, frozen=True, kw_only=True):
    """Sharing of the site's current."""

    tick_s: Annotated[float, Meta(ge=0.1, le=15, extra={"unit": "s"})] = 5.0
    """Interval at which current is shared while nothing happens."""
    margin_a: Amps | Literal["auto"] = 1.0
    """Kept free below every limit; auto: as each meter's readings show it, 1 A where there is no meter."""
    fallback_a: Amps = 6.0
    """Current of each EVSE and phase without the controller or its meter; 0: it pauses."""
    rotation_s: Annotated[float, Meta(ge=60, le=86_400, extra={"unit": "s"})] = 3600.0
    """Length of a turn while there is not enough for everybody."""
    fairness: Literal["turns", "energy"] = "turns"
    """Order within a priority. turns: cars take turns of rotation_s; energy: who has received the
    least energy in its session."""
    departures: str | None = None
    """CSV file with further departures, read anew when it changes; columns: station, day, ready_by,
    energy_kwh, and if need be card, priority_class. Example: "departures.csv"."""
    lease_s: Annotated[float, Meta(ge=10, le=86_400, extra={"unit": "s"})] = 300.0
    """Time that a limit holds in a station that does not get the next one."""
    meter_values: Literal["request", "configure", "off"] = "request"
    """Request to stations that report their draw too seldom. request: TriggerMessage for MeterValues;
    configure: also, once connected, interval and measurands (ChangeConfiguration, SetVariables); off:
    nothing."""
    writes_per_day: Annotated[int, Meta(ge=24, le=10_000)] | None = None
    """Most profile writes to a station in a day, for flash memory that wears; leases become longer and rises
    fewer, cuts are always sent. A lower bound of the station's quirk wins. Example: 500."""


class CalendarConfig(_Table, frozen=True, kw_only=True):
    """Settings that hold at some times of the week, by the site's clock. Limits are only lowered by it."""

    name: Name
    """Name of the entry, as shown with the reason of a limit."""
    days: Annotated[tuple[DayName, ...], Meta(min_length=1)] = EVERY_DAY
    """Days on which it begins. Example: ["mon", "tue", "wed", "thu", "fri"]."""
    begin: ClockTime = "00:00"
    """Time at which it begins."""
    end: ClockTime = "24:00"
    """Time at which it ends; not after `begin`: on the next day."""
    circuit: str | None = None
    """Circuit for limit_a, limit_w and peak_kw. Example: "grid"."""
    limit_a: LimitAmps | None = None
    """Limit of each phase of the circuit. Example: 63."""
    limit_w: Annotated[float, Meta(gt=0, le=1e8, extra={"unit": "W"})] | None = None
    """Limit of all phases of the circuit together. Example: 30000."""
    peak_kw: Kilowatts | None = None
    """Highest mean power of a quarter hour at the circuit, in place of its own peak_kw. Example: 90."""
    stations: tuple[str, ...] = ()
    """Stations, or single EVSEs, for priority and mode. Example: ["CS01", "CS02/1"]."""
    group: str | None = None
    """Group for priority and mode. Example: "bakery"."""
    priority: Priority | None = None
    """Priority in place of the configured one. Example: 5."""
    mode: Literal["fair", "surplus"] | None = None
    """Mode in place of the configured one. Example: "surplus"."""


class GroupConfig(_Table, frozen=True, kw_only=True):
    """EVSEs of a tenant."""

    id: Name
    """Name of the group."""
    stations: Annotated[tuple[str, ...], Meta(min_length=1)]
    """Stations, or single EVSEs, of the group. Example: ["CS01", "CS02/1"]."""
    guaranteed_a: Amps | None = None
    """Current on each phase that its cars together receive before all others. Example: 32."""
    quota_kwh: Annotated[float, Meta(gt=0, le=1_000_000, extra={"unit": "kWh"})] | None = None
    """Most energy of its cars in a day of the site's clock. Example: 80."""


class PriorityClassConfig(_Table, frozen=True, kw_only=True):
    """Class of cards with a priority of its own."""

    id: Name
    """Name of the class, as in [[card]] priority_class."""
    priority: Priority
    """Priority of an EVSE while a card of the class charges there."""


class DepartureConfig(_Table, frozen=True, kw_only=True):
    """Departure plan: by when the cars of a station, or of a card, must have how much energy."""

    stations: tuple[str, ...] = ()
    """Stations, or single EVSEs; may be left out with `cards` or `priority_classes`: any. Example: ["CS01",
    "CS02/1"]."""
    cards: tuple[Annotated[str, Meta(min_length=1, max_length=48, extra={"personal": True})], ...] = ()
    """Only for these cards, by label or idToken; they hold before classes, and these before stations alone.
    Example: ["Anna"]."""
    priority_classes: tuple[str, ...] = ()
    """Only for cards of these classes. Example: ["vip"]."""
    days: Annotated[tuple[DayName, ...], Meta(min_length=1)] = EVERY_DAY
    """Days of the departure. Example: ["mon", "tue", "wed", "thu", "fri"]."""
    ready_by: ClockTime
    """Time of the departure, by the site's clock. Example: "06:30"."""
    energy_kwh: Annotated[float, Meta(gt=0, le=1000, extra={"unit": "kWh"})]
    """Energy that a car needs until then, counted from the begin of its session. Example: 30."""


class PricesConfig(_Table, frozen=True, kw_only=True):
    """Prices of energy: cars with a departure charge in the cheapest quarter hours before it."""

    file: str | None = None
    """CSV file with the columns begin (RFC 3339 time) and price (of a kWh), read anew when it changes;
    default: prices are set by the command energy.prices. Example: "prices.csv"."""
    pause_above: Annotated[float, Meta(ge=-100, le=100)] | None = None
    """Price above which cars without a departure wait. Example: 0.35."""


class BatteryConfig(_Table, frozen=True, kw_only=True):
    """A stationary battery behind the grid connection, known by its meter alone (positive: it charges)."""

    meter: str
    """Meter of the battery. Example: "battery"."""
    use_battery: bool = False
    """Cars may be charged from the battery: what it delivers counts as available."""
    cars_first: bool = False
    """Power that the battery takes in counts as surplus for cars."""


class DimmingSourceConfig(_Table, frozen=True, kw_only=True):
    """A limit source: it may dim the controllable EVSEs."""

    id: Name
    """Name of the source."""
    kind: Literal["signed", "ocpp", "contact", "eebus"]
    """signed: signed commands; ocpp: the limit of the site's backend; contact: contacts of a control box;
    eebus: LPC over EEBUS."""
    role: Name | None = None
    """With signed: role of the keys in the policy. Example: "grid-operator"."""
    signed: bool = True
    """With signed: false accepts unsigned commands, too."""
    rank: Annotated[int, Meta(ge=0, le=1000)] = 0
    """A lift of this source is rejected while one of a higher rank limits and this one does not."""
    minimum: bool = True
    """The source cannot go below what the law leaves the devices."""
    lost_after_s: Annotated[float, Meta(ge=0, le=86_400, extra={"unit": "s"})] = 0.0
    """Time that the source may be away before its failsafe holds; 0: never, with contact 5 s."""
    module: str | None = None
    """With contact: the module that its contacts are wired to. Example: "io"."""
    pattern: Literal["each", "one-of"] = "each"
    """With contact: each contact has its limit, or exactly one of several is on."""
    settle_s: Annotated[float, Meta(ge=0, le=10, extra={"unit": "s"})] = 0.3
    """With contact: how long contacts bounce."""


class DimmingContactConfig(_Table, frozen=True, kw_only=True):
    """A contact of a control box, on an input of a module."""

    name: Name
    """Name of the contact."""
    source: str
    """Source that it belongs to."""
    input: Annotated[int, Meta(ge=0, le=511)]
    """Input of the module, from 0."""
    limit_w: Annotated[float, Meta(ge=0, le=1e8, extra={"unit": "W"})] | None = None
    """Limit of all controllable EVSEs together while it is on; default: none. Example: 4200."""
    on_when: Literal["open", "closed"] = "open"
    """State of the input in which it is on. open: a broken wire dims."""


class DimmingModuleConfig(_Table, frozen=True, kw_only=True):
    """Module that contacts are wired to: a Modbus module, or GPIO lines of this machine."""

    id: Name
    """Name of the module."""
    transport: Literal["tcp", "rtu", "rtu-over-tcp", "gpio"]
    """Transport."""
    driver: str | None = None
    """Model of a Modbus module. Example: "wago-750"."""
    host: str | None = None
    """Address. Example: "192.0.2.30"."""
    port: Annotated[int, Meta(ge=1, le=65_535)] | None = None
    """TCP port; default: 502. Example: 502."""
    device: str | None = None
    """Serial port, or GPIO chip. Example: "/dev/gpiochip0"."""
    baud: Annotated[int, Meta(ge=300, le=1_000_000)] | None = None
    """Baud rate; default: the module's. Example: 9600."""
    parity: Literal["N", "E", "O"] | None = None
    """Parity; default: the module's. Example: "N"."""
    stopbits: Literal[1, 2] | None = None
    """Stop bits; default: the module's. Example: 1."""
    unit: Annotated[int, Meta(ge=0, le=255)] = 1
    """Modbus unit of the module."""
    interval_s: Annotated[float, Meta(ge=0.05, le=60, extra={"unit": "s"})] = 1.0
    """Interval of the readings."""
    timeout_s: Annotated[float, Meta(ge=0.05, le=30, extra={"unit": "s"})] = 1.0
    """Time that an answer may take."""


class DimmingConfig(_Table, frozen=True, kw_only=True):
    """Dimming under section 14a EnWG."""

    connection_point: Annotated[str, Meta(min_length=1, max_length=128)] | None = None
    """Name of the grid connection in commands; default: the site's id.
    Example: "DE0001234567800000000000000000001"."""
    count: Literal["evse", "circuit", "one"] = "evse"
    """Unit that counts as one device for the grid operator: each EVSE, those of a circuit, or all."""
    failsafe_w: Annotated[float, Meta(ge=0, le=1e8, extra={"unit": "W"})] = DEVICE_W
    """Limit when a source is lost."""
    failsafe_duration_s: Annotated[float, Meta(ge=7200, le=86_400, extra={"unit": "s"})] = 7200.0
    """Duration of the failsafe value."""
    retention_days: Annotated[int, Meta(ge=1, le=36_525, extra={"unit": "days"})] = 732
    """Retention of evidence."""
    clock: Literal["synchronised", "believed"] = "synchronised"
    """Signed commands need a clock that is synchronised; believed: any clock."""
    displays: bool = False
    """Stations show drivers that the site is limited."""
    language: Literal["de", "en"] = "de"
    """Language of what they show."""
    source: tuple[DimmingSourceConfig, ...] = ()
    """Limit sources."""
    contact: tuple[DimmingContactConfig, ...] = ()
    """Contacts."""
    module: tuple[DimmingModuleConfig, ...] = ()
    """Modules."""


class SigningConfig(_Table, frozen=True, kw_only=True):
    """The controller's own key and the policy of signatures."""

    key: str | None = None
    """Private key, a systemd credential, or a directory of keys, whose newest valid one signs. Example:
    "keys"."""
    policy: str | None = None
    """Policy file, like etc/signing.example.toml. Example: "signing.toml"."""


class PkiConfig(_Table, frozen=True, kw_only=True):
    """The site's own certificate authority, made by `local-controller pki init`."""

    folder: str
    """Directory of the CA. Certificates of stations that it has issued are checked against its ledger.
    Example: "pki"."""
    station_certificates: Literal["owner", "site-ca"] = "owner"
    """Issuer that answers the certificate requests of stations (SignCertificate): their owner, or this CA,
    which then also renews them. Never both."""
    passphrase_file: str | None = None
    """File with the passphrase of the CA's keys, for "site-ca"; default: the systemd credential
    `pki-passphrase`, if there is one. Example: "credentials/pki"."""


class TimeConfig(_Table, frozen=True, kw_only=True):
    """Conditions under which the gateway's clock is legal time. The time daemon is asked, nothing is set."""

    legal_authority: str | None = None
    """Authority behind the time servers; without one the clock is never legal time. Example: "PTB"."""
    servers_agree: Annotated[int, Meta(ge=1, le=16)] = 2
    """Servers with NTS (RFC 8915) that must agree."""
    max_error_s: Annotated[float, Meta(gt=0, le=3600, extra={"unit": "s"})] = 1.0
    """Largest error of the clock."""
    max_check_age_s: Annotated[float, Meta(ge=64, le=86_400, extra={"unit": "s"})] = 1024.0
    """Largest age of the last check, and of the last sample of a server."""
    chrony_socket: str = "/run/chrony/chronyd.sock"
    """Command socket of chronyd, asked if the unit local-controller-chrony has left no report."""
    nts_servers: tuple[str, ...] = ()
    """Servers (HOST or HOST:PORT) whose certificates are watched. Example: ["ptbtime1.ptb.de"]."""


class EebusPartnerConfig(_Table, frozen=True, kw_only=True):
    """A trusted EEBUS partner."""

    ski: str
    """Subject key identifier of the partner's certificate, 40 hexadecimal digits."""
    host: str | None = None
    """Address of the partner; default: as found by mDNS. Example: "192.0.2.40"."""
    port: Annotated[int, Meta(ge=1, le=65_535)] = 4712
    """TCP port of the partner."""
    path: Annotated[str, Meta(pattern="^/", max_length=32)] = "/ship/"
    """Path of the partner's SHIP server."""


class EebusConfig(_Table, frozen=True, kw_only=True):
    """The controller as an EEBUS device, which receives the limits of the grid operator's control box."""

    host: str = "0.0.0.0"
    """Address to listen at."""
    port: Port = 4712
    """TCP port."""
    discovery: bool = True
    """Announce the controller and find its partners by mDNS."""
    brand: Annotated[str, Meta(min_length=1, max_length=32)] = "local-controller"
    """Brand in the announcement."""
    model: Annotated[str, Meta(min_length=1, max_length=32)] = "EMS"
    """Model in the announcement."""
    consumption_w: Annotated[float, Meta(gt=0, le=1e9, extra={"unit": "W"})] | None = None
    """Contractual maximum of the grid connection; default: the limit of its circuit. Example: 69000."""
    production_w: Annotated[float, Meta(ge=0, le=1e9, extra={"unit": "W"})] | None = None
    """Contractual maximum of production; with it limits of production are received and reported, not
    enforced. Example: 30000."""
    below_minimum: Literal["raise", "refuse"] = "raise"
    """A limit below what the law leaves the devices is raised to that, or refused."""
    double_connection: Literal["initiator", "newest"] = "initiator"
    """Choice between two connections with a partner: the one that the larger SKI opened, or the newest."""
    partner: tuple[EebusPartnerConfig, ...] = ()
    """Trusted partners."""


class OverlayRouteConfig(_Table, frozen=True, kw_only=True):
    """A static route to a node of the overlay network."""

    destination: Name
    """Id of the node."""
    via: Name
    """Station or backend in overlay mode."""
    priority: Annotated[int, Meta(ge=0, le=255)] = 0
    """The lowest is used first."""
    weight: Annotated[int, Meta(ge=1, le=255)] = 1
    """Share among routes of one priority."""


class OverlayGroupConfig(_Table, frozen=True, kw_only=True):
    """Nodes behind one id: a SEND goes to each of them, a CALL to a reachable one."""

    id: Name
    """Id of the group."""
    members: Annotated[tuple[Name, ...], Meta(min_length=1)]
    """Ids of its nodes."""


class OverlayConfig(_Table, frozen=True, kw_only=True):
    """The overlay network, in which the controller has the id of the site."""

    learn: Literal["signed", "all", "none"] = "signed"
    """Topology that is accepted: signed by a key of the policy, of all neighbors, or none."""
    route: tuple[OverlayRouteConfig, ...] = ()
    """Static routes."""
    group: tuple[OverlayGroupConfig, ...] = ()
    """Groups."""


class Config(_Table, frozen=True, kw_only=True):
    """The whole file."""

    site: SiteConfig
    store: StoreConfig = StoreConfig()
    listen: ListenConfig = ListenConfig()
    log: LogConfig = LogConfig()
    web: WebConfig | None = None
    mqtt: MqttConfig | None = None
    webhook: tuple[WebhookConfig, ...] = ()
    backend: tuple[BackendConfig, ...] = ()
    local_csms: LocalCsmsConfig = LocalCsmsConfig()
    card: tuple[CardConfig, ...] = ()
    sessions: SessionsConfig = SessionsConfig()
    circuit: tuple[CircuitConfig, ...]
    meter: tuple[MeterConfig, ...] = ()
    station_defaults: StationDefaultsConfig = StationDefaultsConfig()
    station: tuple[StationConfig, ...] = ()
    load_management: LoadManagementConfig = LoadManagementConfig()
    calendar: tuple[CalendarConfig, ...] = ()
    group: tuple[GroupConfig, ...] = ()
    priority_class: tuple[PriorityClassConfig, ...] = ()
    departure: tuple[DepartureConfig, ...] = ()
    prices: PricesConfig | None = None
    battery: BatteryConfig | None = None
    dimming: DimmingConfig | None = None
    signing: SigningConfig | None = None
    pki: PkiConfig | None = None
    time: TimeConfig = TimeConfig()
    eebus: EebusConfig | None = None
    overlay: OverlayConfig | None = None

    def fallback_a(self, evse: EvseConfig) -> float:
        """Return the current of an EVSE without the controller (A): its own value, else the site's."""
        return self.load_management.fallback_a if evse.fallback_a is None else evse.fallback_a

    def margin_a(self, circuit: CircuitConfig) -> float | Literal["auto"]:
        """Return what is kept free below a circuit's limit (A): its own value, else the site's."""
        return self.load_management.margin_a if circuit.margin_a is None else circuit.margin_a

    @property
    def evse_ids(self) -> dict[str, list[int]]:
        """The numbers of each station's EVSEs, in the order of the configuration."""
        return {station.id: [evse.id for evse in station.evse] for station in self.station}

    def circuit_of(self, station: StationConfig, evse: EvseConfig) -> str | None:
        """Return the circuit of an EVSE: its own, else its station's."""
        return evse.circuit or station.circuit
