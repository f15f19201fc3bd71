"""Settings of connections, made of a configuration: the stations' port, backends, certificates, passwords."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import msgspec

from controller.backends.pool import BackendPool, Endpoint, Endpoints
from controller.config import BackendConfig, Config, ListenConfig
from controller.config.backend_rules import endpoints_by_backend
from controller.config.password_files import StationSecret, parse_password_file
from controller.config.schema import DEFAULT_NODE, WebConfig
from controller.overlay.overlay_wire import MODE_HEADER, NetworkingMode
from controller.services.certificates.certificate_service import CertificateService, make_server_check
from controller.stations.credential_memory import CredentialMemory
from controller.stations.listener import ListenSettings
from controller.store.credential_store import CredentialOrigin, OriginHashes
from controller.store.state_store import StateStore
from controller.transport.tls import RenewedContext, TlsError, client_tls, server_tls

LEAST_PER_ADDRESS = 64
"""Connections that any address may open by default."""


def unusable_certificates(config: Config) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Yield an error for each set of certificate files with which a start would fail, and its table.

    The table is a path in the configuration, e.g. ("backend", 0).
    """
    loaders: list[tuple[tuple[str | int, ...], Callable[[], object]]] = [
        (("listen",), partial(load_listen_tls, config.listen)),
        *(() if config.web is None else ((("web",), partial(load_web_tls, config.web)),)),
        *((("backend", index), partial(load_backend_tls, each)) for index, each in enumerate(config.backend)),
    ]
    for table, load in loaders:
        try:
            load()
        except TlsError as failed:
            yield table, str(failed)


def load_listen_tls(listen: ListenConfig) -> RenewedContext | None:
    """Load the certificate of the stations' port; None for plain ws://. Raises TlsError."""
    if not (listen.certificate and listen.key):
        return None
    return server_tls(listen.certificate, listen.key, listen.client_ca)


def load_web_tls(web: WebConfig) -> RenewedContext | None:
    """Load the page's certificate; None for plain http. Raises TlsError."""
    if not (web.certificate and web.key):
        return None
    return server_tls(web.certificate, web.key, None)


def load_backend_tls(backend: BackendConfig) -> RenewedContext | None:
    """Load the certificates for a backend; None for plain ws://. Raises TlsError."""
    if not backend.url.startswith("wss://"):
        return None
    return client_tls(backend.id, backend.ca, backend.certificate, backend.key)


def evse_names(config: Config) -> dict[str, tuple[str, ...]]:
    """Return the EVSEs of each station as certificates name them."""
    return {each.id: tuple(str(evse.id) for evse in each.evse) for each in config.station}


def make_station_check(config: Config) -> CertificateService | None:
    """Return the check of the stations' certificates, None without [pki]. Raises ServiceError."""
    if config.pki is None:
        return None
    point = None if config.dimming is None else config.dimming.connection_point
    points = frozenset({point or config.site.id})
    return CertificateService(Path(config.pki.folder), evse_names(config), points)


def make_listen_settings(config: Config, certificates: CertificateService | None) -> ListenSettings:
    """Make the settings of the stations' port, where `certificates` checks those of stations.

    Raises TlsError. Behind a router all stations connect from one address, each perhaps with an old
    connection that is still half open.
    """
    listen = config.listen
    limit = listen.connections_per_address
    return ListenSettings(
        listen.host,
        listen.port,
        load_listen_tls(listen),
        listen.max_message_bytes,
        max(LEAST_PER_ADDRESS, 2 * len(config.station)) if limit is None else limit,
        listen.handshakes_per_second,
        listen.compression,
        listen.messages_per_second,
        None if certificates is None else certificates.find_objection,
    )


class EndpointFactory:
    """Makes the endpoints of backends; one whose settings and password are the same is made once.

    Raises ServiceError for the site CA.
    """

    def __init__(self, config: Config) -> None:
        self._listen = config.listen
        self._find_objection = make_server_check(config)
        self._made: dict[str, tuple[BackendConfig, bytes | None, Endpoint]] = {}

    def make_endpoints(self, config: Config) -> Endpoints:
        """Return the endpoints of a configuration. Raises TlsError, and OSError for a password file."""
        made = {backend.id: self._make_entry(backend) for backend in config.backend}
        self._made = made
        return {
            name: {each.id: (each.priority, made[each.id][2]) for each in tables}
            for name, tables in endpoints_by_backend(config).items()
        }

    def _make_entry(self, backend: BackendConfig) -> tuple[BackendConfig, bytes | None, Endpoint]:
        # The keys about messages, order and renewal are not the endpoint's.
        settings = msgspec.structs.replace(
            backend,
            observe=(),
            commands=None,
            priority=0,
            group=None,
            node=DEFAULT_NODE,
            est_url=None,
            renew_by_ocpp=False,
        )
        password = _read_password(backend.password_file)
        before = self._made.get(backend.id)
        if before is not None and before[:2] == (settings, password):
            return before
        return settings, password, _make_endpoint(backend, password, self._listen, self._find_objection)


def make_pools(endpoints: Endpoints) -> dict[str, BackendPool]:
    """Make the pools of all backends, by name."""
    return {name: BackendPool(name, tables, random.Random()) for name, tables in endpoints.items()}


def _make_endpoint(
    backend: BackendConfig,
    password: bytes | None,
    listen: ListenConfig,
    find_objection: Callable[[bytes], str | None] | None,
) -> Endpoint:
    return Endpoint(
        backend.url,
        load_backend_tls(backend),
        password,
        listen.max_message_bytes,
        backend.connect_timeout_s,
        compression=backend.compression,
        headers=((MODE_HEADER, NetworkingMode.OVERLAY.value),) if backend.mode == "overlay" else (),
        find_objection=find_objection,
    )


def _read_password(file: str | None) -> bytes | None:
    """Read a password without the line end that editors add."""
    return None if file is None else Path(file).read_bytes().rstrip(b"\r\n")


def read_station_secrets(config: Config) -> dict[str, StationSecret | None]:
    """Read each station's password or its hash; None for a station without a password file."""
    return {
        station.id: (
            None
            if station.password_file is None
            else parse_password_file(Path(station.password_file).read_bytes())
        )
        for station in config.station
    }


def open_credentials(store: StateStore) -> tuple[CredentialMemory, CredentialMemory]:
    """Return the stored hashes of accepted and of rotated passwords. Raises StoreError."""
    return (
        CredentialMemory(OriginHashes(store, CredentialOrigin.ACCEPTED)),
        CredentialMemory(OriginHashes(store, CredentialOrigin.ROTATED)),
    )
