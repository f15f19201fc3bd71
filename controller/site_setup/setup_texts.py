"""Texts of the setup in English and German: the data file `setup_texts.toml`."""

from __future__ import annotations

import tomllib
from importlib import resources
from typing import Literal

Language = Literal["en", "de"]

_TEXTS: dict[str, dict[str, str]] = tomllib.loads(
    resources.files(__package__).joinpath("setup_texts.toml").read_text("utf-8")
)


def setup_text(language: Language, key: str, **values: object) -> str:
    """Return a text with its values; a {name} without a value stays as it is."""
    text = _TEXTS[key][language]
    for name, value in values.items():
        text = text.replace(f"{{{name}}}", str(value))
    return text


def has_setup_text(key: str) -> bool:
    """Return True if there is a text of this key."""
    return key in _TEXTS
