"""Identity of our EEBUS device: key and certificate from the store, names from the configuration."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

import msgspec
from cryptography import x509

from controller.config.schema import CircuitConfig, Config, EebusConfig
from controller.store.eebus_store import EebusStore
from drivers.eebus.announcement import Announcement, shorten
from drivers.eebus.certificates import make_identity, ski_of
from drivers.eebus.eebus_node import DoubleConnection, EebusNode
from drivers.eebus.limitation import PowerDirection
from drivers.eebus.lpc import LpcView
from drivers.eebus.spine_device import DeviceSettings, SpineDevice


class EebusIdentity(msgspec.Struct, frozen=True):
    """Key and certificate (PEM), the SKI, and what is announced."""

    key: bytes
    certificate: bytes
    announcement: Announcement


def load_identity(config: Config, eebus: EebusConfig, store: EebusStore, utc: float) -> EebusIdentity:
    """Return the stored identity; it is made at the first start. Raises StoreError."""
    stored = store.load_identity()
    if stored is None:
        stored = make_identity(f"{eebus.brand} {config.site.id}", datetime.fromtimestamp(utc, UTC))
        store.save_identity(*stored)
    key, certificate = stored
    ski = ski_of(x509.load_pem_x509_certificate(certificate))
    announcement = Announcement(
        ski=ski,
        # The unique end must survive: an id has 63 bytes.
        ship_id=f"{shorten(f'{eebus.brand}-{eebus.model}', 50)}-{ski[:12]}",
        brand=eebus.brand,
        model=eebus.model,
        type="EnergyManagementSystem",
        serial=ski[:12],
    )
    return EebusIdentity(key, certificate, announcement)


def make_node(
    config: Config,
    eebus: EebusConfig,
    announcement: Announcement,
    views: Mapping[PowerDirection, LpcView],
    trusted: Mapping[str, str],
    version: str,
    now: float,
    utc: float,
) -> EebusNode:
    """Return our node with its SPINE device."""
    device = SpineDevice(_device_settings(config, eebus, announcement, version), views, now, utc)
    rule = DoubleConnection(eebus.double_connection)
    return EebusNode(announcement.ski, announcement.ship_id, device, trusted, rule)


def _device_settings(
    config: Config, eebus: EebusConfig, announcement: Announcement, version: str
) -> DeviceSettings:
    nominal_w = {PowerDirection.CONSUME: eebus.consumption_w or _grid_limit_w(config)}
    if eebus.production_w is not None:
        nominal_w[PowerDirection.PRODUCE] = eebus.production_w
    return DeviceSettings(
        address=f"d:_n:{announcement.ship_id}",
        vendor=eebus.brand,
        model=eebus.model,
        serial=announcement.serial,
        software=version,
        nominal_w=nominal_w,
        monitoring=_grid(config).meter is not None,
    )


def grid_meter(config: Config) -> str | None:
    """Return the meter of the grid connection; None: it has none."""
    return _grid(config).meter


def _grid_limit_w(config: Config) -> float:
    grid = _grid(config)
    from_current_w = sum(grid.limits_a) * config.site.voltage
    return from_current_w if grid.limit_w is None else min(grid.limit_w, from_current_w)


def _grid(config: Config) -> CircuitConfig:
    return next(circuit for circuit in config.circuit if circuit.parent is None)
