"""The site of a scenario: what is configured, and the verbs that do not belong to one peer."""

from __future__ import annotations

import base64
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path

import msgspec

from controller.config import Config
from controller.ocpp.frames import Version
from controller.signing.signing_keys import new_private_key
from tests.controller.signing.authors import Author
from tests.scenario.configuration import read_valid_config
from tests.scenario.peers import Clock, Csms, GridOperator, Meter, Station

SITE = "lc"
METER = "grid"
OWNER, OBSERVER = "cpo", "fleet"
SIGNER = Author()
"""Whose signature a CSMS's profiles need where the site has a signature policy."""


class SiteSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What is configured: the grid connection (A), the stations, and the features of the scenario.

    `when_away`: "strict", "grace" or "autonomous". `keys`: further lines of each station's table.
    `meter_has_failed`: the meter does not answer from the start.
    """

    limit_a: float = 40.0
    stations: tuple[str, ...] = ("CS01",)
    version: Version = Version.V16
    when_away: str = "autonomous"
    keys: str = ""
    is_observed: bool = False
    has_meter: bool = False
    meter_has_failed: bool = False
    has_grid_operator: bool = False
    has_policy: bool = False
    lease_s: int = 120


def build_config(
    spec: SiteSpec, folder: Path, operator: Author, ports: Mapping[str, int], meter_port: int
) -> Config:
    """Return the configuration; the CSMSs and the meter have these ports on loopback."""
    _write_keys(spec, folder, operator)
    backends = "".join(
        f'[[backend]]\nid = "{name}"\nurl = "ws://127.0.0.1:{port}/csms/{{station}}"\n'
        for name, port in ports.items()
    )
    stations = "".join(_station_table(spec, name) for name in spec.stations)
    meter = (
        f'[[meter]]\nid = "{METER}"\ndriver = "janitza-umg604"\ntransport = "tcp"\nhost = "127.0.0.1"\n'
        f"port = {meter_port}\nunit = 1\ninterval_s = 0.5\n"
    )
    signing = f'[signing]\npolicy = "{folder / "policy.toml"}"\nkey = "{folder / "key.pem"}"\n'
    dimming = '[dimming]\nclock = "believed"\n[[dimming.source]]\nid = "dso"\nkind = "signed"\n'
    dimming += 'role = "grid-operator"\n'
    return read_valid_config(
        f"""
        [site]
        id = "{SITE}"
        {f'backend = "{OWNER}"' if spec.has_grid_operator else ""}
        [store]
        directory = "{folder}"
        [listen]
        host = "127.0.0.1"
        port = 0
        call_timeout_s = 5
        [load_management]
        tick_s = 0.1
        lease_s = {spec.lease_s}
        {signing if spec.has_policy or spec.has_grid_operator else ""}
        {dimming if spec.has_grid_operator else ""}
        {backends}
        {meter if spec.has_meter else ""}
        [[circuit]]
        id = "grid"
        limit_a = {spec.limit_a}
        {f'meter = "{METER}"' if spec.has_meter else ""}
        {stations}
        """,
        "scenario.toml",
        folder,
    )


def _station_table(spec: SiteSpec, name: str) -> str:
    steuve = "[[station.evse]]\nid = 1\nsteuve = true\n" if spec.has_grid_operator else ""
    away = 'authorise_when_away = "everyone"\n' if spec.when_away == "autonomous" else ""
    observers = f'observers = ["{OBSERVER}"]\n' if spec.is_observed else ""
    return (
        f'[[station]]\nid = "{name}"\ncircuit = "grid"\nowner = "{OWNER}"\n{observers}'
        f'when_backend_away = "{spec.when_away}"\n{away}{spec.keys}\n{steuve}'
    )


def _write_keys(spec: SiteSpec, folder: Path, operator: Author) -> None:
    """Write the key of the controller, and the policy with the keys of the others."""
    if not (folder / "key.pem").exists():
        (folder / "key.pem").write_bytes(new_private_key("secp256r1", SITE, 0, 4e9))
        (folder / "key.pem").chmod(0o600)
    tables = "version = 1\n"
    for holder, role, author in (("dso", "grid-operator", operator), ("olga", "operator", SIGNER)):
        public = base64.b64encode(author.point).decode()
        tables += f'[[key]]\nholder = "{holder}"\npublic = "{public}"\n'
        tables += f'[[role]]\nid = "{role}"\nholders = ["{holder}"]\n'
    if spec.has_policy:
        tables = tables.replace(
            'id = "operator"\nholders = ["olga"]\n',
            'id = "operator"\nholders = ["olga"]\n[[role.may]]\nactions = ["*"]\n',
        )
        tables += '[[verify]]\nid = "profiles"\nactions = ["SetChargingProfile"]\nrequire = "verifyAny"\n'
    (folder / "policy.toml").write_text(tables)


class ScenarioSite(ABC):
    """A running controller, its peers, and the verbs of the site."""

    def __init__(self, spec: SiteSpec, clock: Clock) -> None:
        self.spec = spec
        self.clock = clock
        self.csms = Csms(OWNER, clock)
        self.observer = Csms(OBSERVER, clock)
        self.meter = Meter()
        self.meter.has_failed = spec.meter_has_failed
        self.grid_operator = GridOperator(self.csms, clock)
        self._stations = {name: Station(name, spec.version, clock) for name in spec.stations}

    @property
    def stations(self) -> list[Station]:
        """Return all stations, connected or not."""
        return list(self._stations.values())

    @property
    def backends(self) -> list[Csms]:
        """Return the owner, and the observer if there is one."""
        return [self.csms, self.observer] if self.spec.is_observed else [self.csms]

    @property
    def limits_a(self) -> float:
        """Return the sum of the limits in force at all stations (A per phase)."""
        return sum(each.limit_a for each in self.stations)

    @abstractmethod
    async def connect_station(self, name: str = "CS01") -> Station:
        """Connect a station and return it."""

    async def add_station(self, name: str) -> Station:
        """Add a station to the configuration while the controller runs, and return it unconnected."""
        self.spec = msgspec.structs.replace(self.spec, stations=(*self.spec.stations, name))
        self._stations[name] = Station(name, self.spec.version, self.clock)
        self.apply_spec()
        return self._stations[name]

    @abstractmethod
    def apply_spec(self) -> None:
        """Apply the configuration of `spec` while the controller runs."""

    @abstractmethod
    async def restart(self) -> None:
        """Start the controller again; all links are lost, what is stored remains."""

    async def wait_limits(self, limit_a: float) -> None:
        """Wait until the limits in force are at most so much together (A per phase)."""
        await self.clock.wait_until(
            lambda: self.limits_a <= limit_a, f"at most {limit_a} A together, not {self.limits_a} A"
        )
