"""Files of a site: the configuration file and the files that it names, with those that are secret."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path

import msgspec

from controller.config.file_rules import SECRETS
from controller.config.schema import StoreConfig

MAX_FILES = 1000
MAX_FILE_BYTES = 16 << 20
PRIVATE_KEY = b"PRIVATE KEY-----"
_SECRET_WORDS = ("password", "secret", "token")
_FILE_PREFIX = "file:"


class SiteFile(msgspec.Struct, frozen=True):
    """A file that belongs to a site's configuration; `name` is relative to the configuration's directory."""

    name: str
    path: Path
    is_secret: bool


class SiteFiles(msgspec.Struct, frozen=True):
    """Files of a configuration: those in its directory, and the paths of those elsewhere."""

    inside: tuple[SiteFile, ...]
    outside: tuple[str, ...]


def find_site_files(config: Path) -> SiteFiles:
    """Return the files of a configuration that exist.

    Every text in the configuration that is the path of a file or directory counts, so that no list of keys
    has to follow the schema; the store's directory does not. Raises OSError, and ValueError for a file that
    is not TOML.
    """
    directory = config.parent.absolute()
    data = tomllib.loads(config.read_text("utf-8-sig"))
    store = data.pop("store", None)
    state = Path(directory, str(store.get("directory", ""))) if isinstance(store, dict) else None
    found: dict[str, SiteFile] = {config.name: SiteFile(config.name, config.absolute(), is_secret=False)}
    outside: set[str] = set()
    for key, text in _texts("", data):
        place = Path(directory, text.removeprefix(_FILE_PREFIX))
        if len(text) > 1024 or "\0" in text or place in (directory, state) or not _exists(place):
            continue
        if not place.is_relative_to(directory) or not place.resolve().is_relative_to(directory.resolve()):
            outside.add(str(place))
            continue
        for file in sorted(place.rglob("*")) if place.is_dir() else [place]:
            if file.is_file() and not file.is_symlink() and len(found) < MAX_FILES:
                name = file.relative_to(directory).as_posix()
                found[name] = SiteFile(name, file, is_secret=_is_secret(key, file))
    return SiteFiles(tuple(found.values()), tuple(sorted(outside)))


def read_site(config: Path) -> str:
    """Return the id of the site; empty where the file has none. Raises OSError and ValueError."""
    site = tomllib.loads(config.read_text("utf-8-sig")).get("site", {})
    return str(site.get("id", "")) if isinstance(site, dict) else ""


def read_store_directory(text: str, config: Path) -> Path:
    """Return the directory of the store that the text of a configuration names. Raises ValueError."""
    store = tomllib.loads(text).get("store", {})
    named = store.get("directory") if isinstance(store, dict) else None
    return config.parent.absolute() / (named if isinstance(named, str) else StoreConfig().directory)


def _texts(key: str, value: object) -> Iterator[tuple[str, str]]:
    """Return all texts in TOML data with their keys."""
    if isinstance(value, str):
        yield key, value
    elif isinstance(value, dict):
        for name, member in value.items():
            yield from _texts(name, member)
    elif isinstance(value, list):
        for member in value:
            yield from _texts(key, member)


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a text too long to be a path
        return False


def _is_secret(key: str, file: Path) -> bool:
    if key in SECRETS or any(word in key for word in _SECRET_WORDS):
        return True
    with file.open("rb") as opened:
        return PRIVATE_KEY in opened.read(MAX_FILE_BYTES)
