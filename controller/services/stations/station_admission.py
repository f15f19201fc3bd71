"""Admission of stations: by the configuration, by password, and by their owners where these confirm them."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import msgspec
import trio

from controller.config import Config, StationConfig
from controller.config.password_files import StationSecret
from controller.ocpp.frames import Version
from controller.overlay.overlay_wire import NetworkingMode
from controller.services.backends.backend_pools import BackendPools
from controller.services.stations.station_capabilities import StationCapabilities
from controller.stations.admission import AdmissionRules, HandshakeQuirks, handshake_quirks
from controller.stations.credential_memory import CredentialMemory
from controller.stations.owner_confirmation import OwnerConfirmation, OwnerRules

_MODES = {"standard": NetworkingMode.STANDARD, "overlay": NetworkingMode.OVERLAY}


class StationAdmission:
    """Admission of the stations of a configuration.

    `owners` asks the owners. `rotated`: hashes of the passwords that backends have set.
    """

    def __init__(
        self,
        config: Config,
        pools: BackendPools,
        capabilities: StationCapabilities,
        owners: OwnerConfirmation,
        rotated: CredentialMemory,
    ) -> None:
        self.owners = owners
        self.passwords: dict[str, StationSecret | None] = {}
        """Of the stations that may connect; see `AdmissionRules`."""
        self._config = config
        self._stations: dict[str, StationConfig] = {}
        self._pools = pools
        self._capabilities = capabilities
        self._rotated = rotated
        self._nursery: trio.Nursery | None = None

    def make_rules(self) -> AdmissionRules:
        """Return the rules for upgrade requests; stations that are added to the passwords may connect."""
        listen = self._config.listen
        return AdmissionRules(
            listen.path,
            self.passwords,
            [Version(name) for name in listen.protocols],
            self.find_quirks,
            self._rotated.find,
            lambda: self._config.listen.unknown_stations == "pending",
        )

    def remove_stations(self, removed: Collection[str]) -> None:
        """Admit these stations no more."""
        for station in removed:
            self.passwords.pop(station, None)

    def set_stations(self, config: Config, passwords: Mapping[str, StationSecret | None]) -> None:
        """Admit these stations of a configuration, and ask its owners from now on."""
        self._config = config
        self._stations = {station.id: station for station in config.station}
        self.owners.set_owners(_make_owner_rules(config, self._pools))
        self.passwords.update(passwords)

    def find_quirks(self, station: str) -> HandshakeQuirks:
        """Return what a station needs at its handshake and on its connection."""
        configured, usual_s = self._stations[station], self._config.listen.ping_s
        quirk = self._capabilities.find_quirk(station)
        quirks = handshake_quirks(configured.protocol, configured.ping_s, usual_s, quirk)
        return msgspec.structs.replace(quirks, mode=_MODES[configured.mode])

    def on_password_command(self, station: str, action: str, payload: bytes, result: bytes) -> None:
        """Store the hash of a password that a station has accepted from its owner."""
        assert self._nursery is not None, "a session runs while the service does"
        self._nursery.start_soon(self._rotated.record_rotated, station, action, payload, result)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Store hashes of passwords until cancelled."""
        async with trio.open_nursery() as self._nursery:
            task_status.started()
            await trio.sleep_forever()


def _make_owner_rules(config: Config, pools: BackendPools) -> dict[str, OwnerRules]:
    """Return the owner of each station of a configuration."""
    return {
        station.id: OwnerRules(
            None if station.owner is None else pools.find(station.owner),
            station.when_backend_away == "strict",
        )
        for station in config.station
    }
