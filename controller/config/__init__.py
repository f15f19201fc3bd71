"""The configuration file as typed data (`schema`), its loader and the rules between its tables."""

from controller.config.schema import (
    BackendConfig,
    CircuitConfig,
    Config,
    EvseConfig,
    ListenConfig,
    LoadManagementConfig,
    MeterConfig,
    StationConfig,
)

__all__ = [
    "BackendConfig",
    "CircuitConfig",
    "Config",
    "EvseConfig",
    "ListenConfig",
    "LoadManagementConfig",
    "MeterConfig",
    "StationConfig",
]
