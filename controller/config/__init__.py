"""The TOML file: as typed data (`tables`), and as a person wrote it, with all its mistakes (`reading`)."""

from controller.config.tables import (
    Backend,
    Circuit,
    Config,
    Evse,
    Listen,
    LoadManagement,
    Meter,
    Station,
)

__all__ = ["Backend", "Circuit", "Config", "Evse", "Listen", "LoadManagement", "Meter", "Station"]
