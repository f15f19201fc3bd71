"""Valid configurations of tests, from TOML."""

from __future__ import annotations

from pathlib import Path

from controller.config import Config
from controller.config.loader import check_config


def read_valid_config(text: str, name: str = "test.toml", folder: Path | None = None) -> Config:
    """Return the configuration in a text without errors; files in it are relative to `folder`."""
    config, errors, _ = check_config(text, name) if folder is None else check_config(text, name, folder)
    assert errors == [], errors
    assert config is not None
    return config
