"""The TOML file as typed data. One table of the file is one Struct; keys are attributes.

Currents in A per phase, powers in W, times in s, voltages in V line to neutral. Paths of secrets and
certificates are relative to the configuration file's folder; `read_config` makes them absolute.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from controller.ocpp.actions import OBSERVED
from controller.ocpp.frames import Version
from drivers.settings import MeterSettings, default_port

Name = Annotated[str, Meta(min_length=1, max_length=48)]
Amps = Annotated[float, Meta(ge=0, le=10_000)]
LimitAmps = Annotated[float, Meta(gt=0, le=10_000)]
Seconds = Annotated[float, Meta(gt=0, le=86_400)]
Port = Annotated[int, Meta(ge=0, le=65_535)]
PerPhaseAmps = Annotated[tuple[LimitAmps, ...], Meta(min_length=3, max_length=3)]
"""Not a tuple of fixed length: msgspec 0.22 crashes on one in a union with a bounded float."""
PhaseName = Literal["L1", "L2", "L3"]


class _Table(msgspec.Struct, frozen=True, kw_only=True):
    pass


class SiteConfig(_Table, frozen=True, kw_only=True):
    """The site as a whole. `id` is the controller's own OCPP identity.

    With `backend`, the controller connects there under its own identity, with OCPP `protocol`, and takes
    the limit that the backend sets for the site as a whole.
    """

    id: Name
    backend: str | None = None
    protocol: Version = Version.V201
    timezone: str = "UTC"
    voltage: Annotated[float, Meta(gt=50, lt=500)] = 230.0


class StoreConfig(_Table, frozen=True, kw_only=True):
    """Where the controller keeps what must survive a restart."""

    directory: str = "/var/lib/local-controller"


class ListenConfig(_Table, frozen=True, kw_only=True):
    """Where stations connect: ws(s)://HOST:PORT/PATH/STATION.

    `ping_s`: how often a silent link is asked for a sign of life, 0 for never. `call_timeout_s`: how
    long an answer may take before the controller answers in its place. `client_ca`: who must have signed
    the certificates that stations show, each for its own id. Of the last three, 0 is no limit;
    `connections_per_address` is by default twice the stations that there are, 64 at least.
    `compression`: permessage-deflate, for stations that offer it.
    """

    host: str = "0.0.0.0"
    port: Port = 8887
    path: Annotated[str, Meta(pattern="^/", description='begin it with "/"')] = "/ocpp"
    certificate: str | None = None
    key: str | None = None
    client_ca: str | None = None
    protocols: Annotated[tuple[Version, ...], Meta(min_length=1)] = (Version.V21, Version.V201, Version.V16)
    max_message_bytes: Annotated[int, Meta(ge=1024, le=100_000_000)] = 1_048_576
    ping_s: Annotated[float, Meta(ge=0, le=3600)] = 30.0
    call_timeout_s: Seconds = 60.0
    connections_per_address: Annotated[int, Meta(ge=0, le=1_000_000)] | None = None
    handshakes_per_second: Annotated[float, Meta(ge=0, le=100_000)] = 200.0
    messages_per_second: Annotated[float, Meta(ge=0, le=100_000)] = 100.0
    compression: bool = True


class WebConfig(_Table, frozen=True, kw_only=True):
    """Where the page is served."""

    host: str = "127.0.0.1"
    port: Port = 8080


class BackendConfig(_Table, frozen=True, kw_only=True):
    """A CSMS. `{station}` in `url` stands for the station's id, percent-encoded.

    With `password_file`, stations are presented to it with that password (Basic authentication).
    `compression`: permessage-deflate is offered to it.

    Tables with the same `group` are uplinks of one backend, which `owner` and `observers` name by its
    group; the lowest `priority` is dialled first. `observe`: what it sees of the stations that it
    observes; `commands`: what it may command, by default everything where it is the owner and nothing
    where it observes. Both list actions of OCPP, or classes of them (`controller.ocpp.actions`).

    `mode` "overlay": one link for all, in overlay mode; `{station}` in its `url` is the site's id, and `node`
    what the other end calls itself: another controller's id, where it is one.
    """

    id: Name
    url: Annotated[str, Meta(pattern="^wss?://", description='begin it with "wss://" or "ws://"')]
    ca: str | None = None
    certificate: str | None = None
    key: str | None = None
    password_file: str | None = None
    connect_timeout_s: Seconds = 10.0
    compression: bool = True
    observe: tuple[str, ...] = OBSERVED
    commands: tuple[str, ...] | None = None
    priority: int = 0
    group: Name | None = None
    mode: Literal["standard", "overlay"] = "standard"
    node: Name = "CSMS"

    @property
    def name(self) -> str:
        """What the backend is called, of which this is the only uplink or one of several."""
        return self.group or self.id


class CircuitConfig(_Table, frozen=True, kw_only=True):
    """A fuse and what hangs from it. `limit_a` is one value for all phases or one for each.

    `fuse`: what protects it, with `limit_a` as its rated current; "plain" must never carry more.
    `margin_a`: kept free under the limit, where it is another than the site's. `limit_w` holds for all
    phases together. `unbalance_a`: how far a phase may be above another. `base_load_a`: the most that draws
    on each phase beside the stations (circuits below declare theirs), for when nobody measures it.
    """

    id: Name
    parent: str | None = None
    limit_a: LimitAmps | PerPhaseAmps
    fuse: Literal["gG", "B", "C", "plain"] = "plain"
    limit_w: Annotated[float, Meta(gt=0)] | None = None
    meter: str | None = None
    margin_a: Amps | None = None
    unbalance_a: LimitAmps | None = None
    base_load_a: Amps | None = None

    @property
    def limits_a(self) -> tuple[float, float, float]:
        """The limit of L1, L2, L3."""
        if isinstance(self.limit_a, tuple):
            return (self.limit_a[0], self.limit_a[1], self.limit_a[2])
        return (self.limit_a,) * 3


class MeterConfig(_Table, frozen=True, kw_only=True):
    """An energy meter, its model (`driver`) and the bus that it is connected to.

    `frozen_after_s`: stale after so long with the same readings to the last bit, under load. `timeout_s`:
    default 3 s, on a serial port 1 s. HIGHER `priority` is read first where meters share a bus.
    `ct_ratio`: factor for a meter that shows the secondary side of its transformers. `phase_order[k]`: the
    site's phase on the meter's phase k + 1. `sunspec_*`: which meter of a SunSpec device with several.
    """

    id: Name
    driver: str
    transport: Literal["tcp", "rtu", "tls", "rtu-over-tcp", "udp"]
    host: str | None = None
    port: Annotated[int, Meta(ge=1, le=65_535)] | None = None
    device: str | None = None
    baud: Annotated[int, Meta(ge=300, le=1_000_000)] | None = None
    parity: Literal["N", "E", "O"] | None = None
    stopbits: Literal[1, 2] | None = None
    unit: Annotated[int, Meta(ge=0, le=255)] = 1
    interval_s: Seconds = 1.0
    stale_after_s: Seconds = 5.0
    frozen_after_s: Seconds = 30.0
    timeout_s: Seconds | None = None
    priority: Annotated[int, Meta(ge=-2, le=2)] = 0
    invert: bool = False
    ct_ratio: Annotated[float, Meta(gt=0, le=10_000)] = 1.0
    phase_order: Annotated[tuple[PhaseName, ...], Meta(min_length=3, max_length=3)] = ("L1", "L2", "L3")
    sunspec_instance: Annotated[int, Meta(ge=1, le=64)] | None = None
    sunspec_model: Annotated[int, Meta(ge=201, le=214)] | None = None
    sunspec_role: Annotated[str, Meta(min_length=1, max_length=64)] | None = None
    ca: str | None = None
    certificate: str | None = None
    key: str | None = None

    @property
    def bus(self) -> str | None:
        """The bus that it shares with other meters: the serial port, or host and port; None without."""
        if self.transport == "rtu":
            return self.device
        return None if self.host is None else f"{self.host}:{self._port}"

    def settings(self) -> MeterSettings:
        """Return the settings for the drivers."""
        first, second, third = (int(phase[1]) for phase in self.phase_order)
        changed: dict[str, object] = {
            "port": None if self.transport == "rtu" else self._port,
            "phase_order": (first, second, third),
        }
        return MeterSettings(**(msgspec.structs.asdict(self) | changed))

    @property
    def _port(self) -> int:
        return self.port or default_port(self.transport)


class EvseConfig(_Table, frozen=True, kw_only=True):
    """One EVSE. `phases[k]` is the site's phase that the station's phase k + 1 sits on.

    HIGHER `priority` is served first. `mode` "surplus": it charges from what the site would feed into the
    grid, and from nothing else. `phase_switching`: it can be told to use one phase instead of three, by
    default as its station says. `steuve`: a steerable device under section 14a EnWG.
    """

    id: Annotated[int, Meta(ge=1, le=999)] = 1
    circuit: str | None = None
    phases: Annotated[tuple[PhaseName, ...], Meta(min_length=1, max_length=3)] = ("L1", "L2", "L3")
    max_a: LimitAmps = 32.0
    min_a: Annotated[float, Meta(ge=1, le=10_000)] = 6.0
    fallback_a: Amps | None = None
    priority: int = 0
    mode: Literal["fair", "surplus"] = "fair"
    phase_switching: bool | None = None
    steuve: bool = False
    exempt: bool = False


class StationConfig(_Table, frozen=True, kw_only=True):
    """A charging station. `owner` is the backend that answers and commands it; `observers` get copies.

    `when_backend_away` is for the owner: the station's link is closed at once ("strict"), after
    `grace_s`, or never ("autonomous": the controller answers in its place). Then `authorise_when_away`
    lets those charge of whom the backend has said so before ("known"), or "everyone"; where the backend,
    once it is back, does not accept a transaction that still runs, `stop_unauthorised` ends it.

    `mode` "overlay": another controller, whose link may carry what is for and from stations behind it.
    """

    id: Name
    circuit: str | None = None
    owner: str
    observers: tuple[str, ...] = ()
    when_backend_away: Literal["strict", "grace", "autonomous"] = "strict"
    grace_s: Seconds = 30.0
    authorise_when_away: Literal["known", "everyone"] = "known"
    stop_unauthorised: bool = True
    password_file: str | None = None
    protocol: Version | None = None
    ping_s: Annotated[float, Meta(ge=0, le=3600)] | None = None
    mode: Literal["standard", "overlay"] = "standard"
    evse: tuple[EvseConfig, ...] = (EvseConfig(),)


class LoadManagementConfig(_Table, frozen=True, kw_only=True):
    """How current is shared. `fallback_a`: per EVSE and phase, when the controller or its meter is lost.

    `lease_s`: how long a limit holds in a station after the controller's last word.
    """

    tick_s: Annotated[float, Meta(ge=0.1, le=15)] = 5.0  # each tick feeds the unit's watchdog of 30 s
    margin_a: Amps = 1.0
    fallback_a: Amps = 6.0
    rotation_s: Seconds = 900.0
    lease_s: Annotated[float, Meta(ge=10, le=86_400)] = 120.0


class DimmingSourceConfig(_Table, frozen=True, kw_only=True):
    """Who may dim the site. HIGHER `rank` is the higher role, whose limits no lower one lifts.

    "signed": commands signed for `role`; `signed` false believes unsigned ones, too. "ocpp": the limit that
    the site's backend sets. "contact": the contacts on `module` that name it; `pattern` says whether each has
    its own limit, or exactly one of them is on; they bounce for less than `settle_s`. `minimum`: it cannot
    go below what the law leaves the devices. `lost_after_s`: so long without a way to it, and its failsafe
    holds; 0: never. A contact source is lost when its module has not answered for so long (0: 5 s).
    """

    id: Name
    kind: Literal["signed", "ocpp", "contact", "eebus"]
    role: Name | None = None
    signed: bool = True
    rank: Annotated[int, Meta(ge=0, le=1000)] = 0
    minimum: bool = True
    lost_after_s: Annotated[float, Meta(ge=0, le=86_400)] = 0.0
    module: str | None = None
    pattern: Literal["each", "one-of"] = "each"
    settle_s: Annotated[float, Meta(ge=0, le=10)] = 0.3


class DimmingContactConfig(_Table, frozen=True, kw_only=True):
    """A contact of a control box. `input`: which one of the module's, from 0.

    `limit_w`: for all steerable devices together, while it is on; without: none. `on_when` "open": a broken
    wire dims.
    """

    name: Name
    source: str
    input: Annotated[int, Meta(ge=0, le=511)]
    limit_w: Annotated[float, Meta(ge=0)] | None = None
    on_when: Literal["open", "closed"] = "open"


class DimmingModuleConfig(_Table, frozen=True, kw_only=True):
    """Where contacts are wired to: a Modbus module with the map `driver`, or lines of this machine (gpio)."""

    id: Name
    transport: Literal["tcp", "rtu", "rtu-over-tcp", "gpio"]
    driver: str | None = None
    host: str | None = None
    port: Annotated[int, Meta(ge=1, le=65_535)] | None = None
    device: str | None = None
    baud: Annotated[int, Meta(ge=300, le=1_000_000)] | None = None
    parity: Literal["N", "E", "O"] | None = None
    stopbits: Literal[1, 2] | None = None
    unit: Annotated[int, Meta(ge=0, le=255)] = 1
    interval_s: Annotated[float, Meta(ge=0.05, le=60)] = 1.0
    timeout_s: Seconds = 1.0


class DimmingConfig(_Table, frozen=True, kw_only=True):
    """Section 14a EnWG: who may dim the steerable devices, and what holds when a source is lost.

    `connection_point`: how commands name the grid connection; default: the site's id. `count`: what the grid
    operator counts as one device: each EVSE, those of a circuit, or all as one. `retention_days`: how long
    evidence is kept. `clock`: commands are obeyed where the machine's clock is "synchronised" (NTP says so),
    or where it is "believed" whatever it shows. `displays`: stations are told what to show, in `language`.
    """

    connection_point: Annotated[str, Meta(min_length=1, max_length=128)] | None = None
    count: Literal["evse", "circuit", "one"] = "evse"
    failsafe_w: Annotated[float, Meta(ge=0)] = 4200.0
    failsafe_duration_s: Annotated[float, Meta(ge=7200, le=86_400)] = 7200.0
    retention_days: Annotated[int, Meta(ge=1, le=36_525)] = 732
    clock: Literal["synchronised", "believed"] = "synchronised"
    displays: bool = False
    language: Literal["de", "en"] = "de"
    source: tuple[DimmingSourceConfig, ...] = ()
    contact: tuple[DimmingContactConfig, ...] = ()
    module: tuple[DimmingModuleConfig, ...] = ()


class SigningConfig(_Table, frozen=True, kw_only=True):
    """The controller's own key, and the policy of signatures.

    `key` is a PEM file, a systemd credential, or a folder with several: the newest that counts signs.
    `policy` is a file like etc/signing.example.toml.
    """

    key: str | None = None
    policy: str | None = None


class EebusPartnerConfig(_Table, frozen=True, kw_only=True):
    """Trusted EEBUS partner. With `host` it is dialed there, else where mDNS finds it."""

    ski: str
    host: str | None = None
    port: Port = 4712
    path: Annotated[str, Meta(pattern="^/", max_length=32)] = "/ship/"


class EebusConfig(_Table, frozen=True, kw_only=True):
    """The controller as an EEBUS device, whose limits come from the control box of the grid operator.

    `discovery`: it is announced and finds its partners by mDNS. `consumption_w`: contractual maximum of the
    grid connection; default: the limit of the grid connection's circuit. `production_w`: that of production;
    with it, limits of production are taken and reported, and not enforced. `below_minimum`: a limit below
    what the law leaves the devices is raised to that, or refused. `double_connection`: of two connections
    with a partner, the one that the larger SKI opened is kept ("initiator"), or the newest.
    """

    host: str = "0.0.0.0"
    port: Port = 4712
    discovery: bool = True
    brand: Annotated[str, Meta(min_length=1, max_length=32)] = "local-controller"
    model: Annotated[str, Meta(min_length=1, max_length=32)] = "EMS"
    consumption_w: Annotated[float, Meta(gt=0, le=1e9)] | None = None
    production_w: Annotated[float, Meta(ge=0, le=1e9)] | None = None
    below_minimum: Literal["raise", "refuse"] = "raise"
    double_connection: Literal["initiator", "newest"] = "initiator"
    partner: tuple[EebusPartnerConfig, ...] = ()


class OverlayRouteConfig(_Table, frozen=True, kw_only=True):
    """A way to a node: over the link of `via`, a station or backend in overlay mode.

    The LOWEST `priority` is taken first; `weight` shares what ways of one priority carry.
    """

    destination: Name
    via: Name
    priority: Annotated[int, Meta(ge=0, le=255)] = 0
    weight: Annotated[int, Meta(ge=1, le=255)] = 1


class OverlayGroupConfig(_Table, frozen=True, kw_only=True):
    """Nodes behind one id: a SEND goes to each of them, a CALL to one that can be reached."""

    id: Name
    members: Annotated[tuple[Name, ...], Meta(min_length=1)]


class OverlayConfig(_Table, frozen=True, kw_only=True):
    """The overlay network, in which the controller's id is that of the site.

    `learn`: which neighbours are believed when they tell what is behind them: those whose message is
    signed with a key that the policy of [signing] has for them, "all", or "none".
    """

    learn: Literal["signed", "all", "none"] = "signed"
    route: tuple[OverlayRouteConfig, ...] = ()
    group: tuple[OverlayGroupConfig, ...] = ()


class Config(_Table, frozen=True, kw_only=True):
    """The whole file."""

    site: SiteConfig
    store: StoreConfig = StoreConfig()
    listen: ListenConfig = ListenConfig()
    web: WebConfig | None = None
    backend: tuple[BackendConfig, ...]
    circuit: tuple[CircuitConfig, ...]
    meter: tuple[MeterConfig, ...] = ()
    station: tuple[StationConfig, ...]
    load_management: LoadManagementConfig = LoadManagementConfig()
    dimming: DimmingConfig | None = None
    signing: SigningConfig | None = None
    eebus: EebusConfig | None = None
    overlay: OverlayConfig | None = None

    def fallback_a(self, evse: EvseConfig) -> float:
        """What an EVSE takes by itself when the controller is gone: its own value, else the site's."""
        return self.load_management.fallback_a if evse.fallback_a is None else evse.fallback_a

    def circuit_of(self, station: StationConfig, evse: EvseConfig) -> str | None:
        """The circuit that an EVSE hangs on: its own, else its station's."""
        return evse.circuit or station.circuit
