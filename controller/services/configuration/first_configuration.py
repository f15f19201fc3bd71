"""Files of a new site, as the setup writes them: configuration, key of the evidence, first administrator."""

from __future__ import annotations

import hashlib
import os
import pwd
import time
import tomllib
from pathlib import Path

from controller.access.access_records import UserStored
from controller.access.passwords import generate_password, hash_user_password
from controller.access.permissions import ADMINISTRATOR
from controller.config.schema import ListenConfig, StoreConfig, WebConfig
from controller.services import ServiceError
from controller.signing.signing_keys import KeyFileError, new_private_key, write_key_file
from controller.site_setup.setup_document import SitePlaces
from controller.store.record_rules import changes_of, kind_of_type, read_entry
from controller.store.sqlite_journal import FILE, SqliteJournal
from controller.store.state_journal import StoreError
from controller.store.store_transfer import open_store_file

SERVICE_USER = "local-controller"
KEY_DAYS = 3650.0
"""Validity of the key that signs the evidence: it is replaced with `local-controller keys rotate`."""


class FirstConfigurationError(ServiceError):
    """A file of the site cannot be written. Its text names the file and the remedy."""


def version_of(text: str) -> str:
    """Return the version of a text: its SHA-256."""
    return hashlib.sha256(text.encode()).hexdigest()


def write_configuration_file(path: Path, text: str) -> None:
    """Write a configuration file in one step, with the rights of the one before.

    A new one is readable by its group, and belongs to the service's user if root writes it. Raises OSError.
    """
    mode, owner = 0o640, _service_owner()
    if path.exists():
        status = path.stat()
        mode, owner = status.st_mode & 0o777, (status.st_uid, status.st_gid)
    partial = path.with_name(f".{path.name}.new")
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(text.encode())
        file.flush()
        os.fchmod(file.fileno(), mode)
        if os.geteuid() == 0 and owner is not None:
            os.fchown(file.fileno(), *owner)
        os.fsync(file.fileno())
    partial.replace(path)


def ensure_signing_key(text: str, directory: Path) -> Path | None:
    """Make the key that a configuration names where its directory has none yet; return its file.

    None where nothing had to be made. Raises FirstConfigurationError.
    """
    name = tomllib.loads(text).get("signing", {}).get("key")
    holder = str(tomllib.loads(text).get("site", {}).get("id", "site"))
    if not isinstance(name, str) or name.endswith(".pem") or Path(name).is_absolute():
        return None
    folder = directory / name
    if folder.is_dir() and any(folder.iterdir()):
        return None
    now = time.time()
    data = new_private_key("secp256r1", holder, now, now + KEY_DAYS * 86_400)
    try:
        file = write_key_file(folder, f"{holder}-{time.strftime('%Y-%m-%d', time.gmtime(now))}", data)
    except KeyFileError as error:
        raise FirstConfigurationError(str(error)) from error
    _give_to_service(folder, file)
    return file


def usual_store_directory() -> str:
    """Return the directory of a new site's store: systemd's StateDirectory=, else the schema's default."""
    return os.environ.get("STATE_DIRECTORY", "").partition(":")[0] or StoreConfig().directory


def store_directory_of(text: str, directory: Path) -> Path:
    """Return the directory of the store that a configuration names; an empty text is a new site's."""
    if not text:
        return Path(usual_store_directory())
    named = tomllib.loads(text).get("store", {}).get("directory")
    return directory / (named if isinstance(named, str) else StoreConfig().directory)


def has_users(store: Path) -> bool:
    """Return True if anybody can log in at the page of the site whose store this is."""
    try:
        journal = open_store_file(store)
    except StoreError:
        return False
    try:
        records = map(read_entry, journal.load(kind_of_type(UserStored)))
        return any(isinstance(each, UserStored) and each.is_active for each in records)
    finally:
        journal.close()


def add_administrator(store: Path, name: str) -> str:
    """Store an administrator with a generated password, and return that. Raises FirstConfigurationError."""
    password = generate_password()
    try:
        is_new = not store.exists()
        store.mkdir(mode=0o700, parents=True, exist_ok=True)
        journal = SqliteJournal(store / FILE, migrates=True)
        try:
            record = UserStored(name, ADMINISTRATOR, hash_user_password(password))
            journal.commit(changes_of([record]), journal.token)
        finally:
            journal.close()
        if is_new:
            _give_to_service(store)
        owner = store.stat()
        if os.geteuid() == 0:
            for file in store.glob(f"{FILE}*"):
                os.chown(file, owner.st_uid, owner.st_gid)
    except (StoreError, OSError) as error:
        raise FirstConfigurationError(f"the administrator cannot be stored: {error}") from error
    return password


def write_site(path: Path, text: str, user: str) -> str:
    """Write a first configuration and its administrator; return the password, empty without one.

    Raises FirstConfigurationError.
    """
    if path.exists():
        raise FirstConfigurationError(f"{path} was written meanwhile; begin again")
    password = add_administrator(store_directory_of(text, path.parent), user) if user else ""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o750)
        write_configuration_file(path, text)
    except OSError as error:
        raise FirstConfigurationError(
            f"{path} cannot be written: {error.strerror}; let the controller's user write there"
        ) from error
    return password


def write_or_replace_site(path: Path, text: str, base: str, user: str) -> str:
    """Write the configuration where no controller runs, made from the version `base` of a present one.

    Returns the password of a new administrator, empty without one. Raises FirstConfigurationError.
    """
    if not path.exists():
        return write_site(path, text, user)
    if version_of(path.read_text("utf-8-sig")) != base:
        raise FirstConfigurationError(f"{path} was changed meanwhile; begin again")
    try:
        write_configuration_file(path, text)
    except OSError as error:
        raise FirstConfigurationError(
            f"{path} cannot be written: {error.strerror}; run it as root"
        ) from error
    return add_administrator(store_directory_of(text, path.parent), user) if user else ""


def _service_owner() -> tuple[int, int] | None:
    """Return user and group of the packaged service; None on a machine without it."""
    try:
        entry = pwd.getpwnam(SERVICE_USER)
    except KeyError:
        return None
    return entry.pw_uid, entry.pw_gid


def _give_to_service(*paths: Path) -> None:
    """Give what root has made to the service's user."""
    owner = _service_owner()
    if os.geteuid() == 0 and owner is not None:
        for path in paths:
            os.chown(path, *owner)


def find_site_places(
    host: str = ListenConfig().host, port: int = ListenConfig().port, web_port: int = WebConfig().port
) -> SitePlaces:
    """Return where a new site has its state and its listeners; None for what is the default.

    `host`, `port`: where stations connect.
    """
    store = usual_store_directory()
    return SitePlaces(
        store=None if store == StoreConfig().directory else store,
        host=None if host == ListenConfig().host else host,
        port=None if port == ListenConfig().port else port,
        web_port=None if web_port == WebConfig().port else web_port,
    )
