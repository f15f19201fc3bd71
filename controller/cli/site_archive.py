"""Backup archive of a site: configuration, state and evidence in one ZIP file with a manifest.

    manifest.json      format, version of the program and of the store, digest of each other member
    config/...         the configuration file and the files that it names, relative to its directory
    state.jsonl        the store as JSON lines, without secrets
    evidence/...       the files of the evidence log
    secrets.bin        an inner ZIP of the same form with keys, passwords and their hashes, encrypted;
                       those of the store in state.jsonl and store/

The secrets are encrypted by AES-256-GCM with a key that scrypt (RFC 7914) derives from a passphrase.
"""

from __future__ import annotations

import hashlib
import io
import os
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, Literal

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from controller.cli.arguments import CommandError, file_error
from controller.store.sqlite_journal import SCHEMA_VERSION
from controller.store.state_journal import StoreError

FORMAT = "local-controller backup"
VERSION = 1
MANIFEST = "manifest.json"
CONFIG = "config/"
EVIDENCE = "evidence/"
STATE = "state.jsonl"
STORE = "store/"
SECRETS = "secrets.bin"
MAX_MEMBER_BYTES = 1 << 28
"""Longest member that is read, unpacked."""
MAX_MEMBERS = 10_000

_SALT_BYTES = 16
_NONCE_BYTES = 12
_LOG_N = 16
"""Cost of scrypt: 64 MB and some 0.2 s."""


class ArchiveError(CommandError):
    """A backup cannot be read or made."""


@contextmanager
def report_errors(subject: str, status: int) -> Iterator[None]:
    """Report errors of the block as CommandError; `subject`: where a configuration is invalid.

    `status`: exit status for an invalid configuration.
    """
    try:
        yield
    except StoreError as error:
        raise CommandError(str(error)) from error
    except OSError as error:
        raise file_error(error) from error
    except ValueError as error:
        raise CommandError(f"{subject}: {error}", status) from error


class Manifest(msgspec.Struct, frozen=True):
    """Description of a backup.

    `schema`: of the store. `config`: the member that is the configuration file. `left_out`: files and members
    of secrets that a person has to bring back.
    """

    format: str
    version: int
    program: str
    schema: int
    site: str
    config: str
    created: str
    digests: dict[str, str]
    secrets: Literal["encrypted", "left out"]
    left_out: tuple[str, ...] = ()


class SiteArchive(msgspec.Struct, frozen=True):
    """A backup that was read and verified: its manifest, members, and secret members (empty: left out)."""

    manifest: Manifest
    members: dict[str, bytes]
    secrets: dict[str, bytes]


def write_archive(
    file: IO[bytes],
    members: Mapping[str, bytes],
    secrets: Mapping[str, bytes],
    passphrase: str | None,
    *,
    program: str,
    site: str,
    config: str,
    created: str,
    left_out: tuple[str, ...],
) -> Manifest:
    """Write a backup; without a passphrase `secrets` are left out and named in the manifest."""
    content = dict(members)
    if passphrase is not None:
        content[SECRETS] = encrypt(_pack(secrets), passphrase)
    else:
        left_out = (*left_out, *sorted(secrets))
    digests = {name: hashlib.sha256(data).hexdigest() for name, data in content.items()}
    manifest = Manifest(
        format=FORMAT,
        version=VERSION,
        program=program,
        schema=SCHEMA_VERSION,
        site=site,
        config=config,
        created=created,
        digests=digests,
        secrets="left out" if passphrase is None else "encrypted",
        left_out=left_out,
    )
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(MANIFEST, msgspec.json.format(msgspec.json.encode(manifest), indent=2))
        for name, data in content.items():
            archive.writestr(name, data)
    return manifest


_NO_BACKUP = "the file is not one that `local-controller backup` has made"


def read_manifest(file: IO[bytes]) -> Manifest:
    """Return the manifest of a backup. Raises ArchiveError, also for one of a newer version."""
    try:
        with zipfile.ZipFile(file) as archive:
            manifest = msgspec.json.decode(_read_member(archive, MANIFEST), type=Manifest)
    except (zipfile.BadZipFile, msgspec.DecodeError, UnicodeDecodeError, KeyError) as error:
        raise ArchiveError(f"{_NO_BACKUP}: {error}") from error
    if manifest.format != FORMAT:
        raise ArchiveError(_NO_BACKUP)
    if manifest.version > VERSION or manifest.schema > SCHEMA_VERSION:
        raise ArchiveError(
            f"the backup was made by version {manifest.program}, which is newer than this one: "
            "install that version, then restore"
        )
    return manifest


def read_archive(file: IO[bytes], passphrase: str | None) -> SiteArchive:
    """Read a backup and verify all of it. Raises ArchiveError.

    Without a passphrase encrypted secrets are left out.
    """
    manifest = read_manifest(file)
    members = {}
    try:
        with zipfile.ZipFile(file) as archive:
            if len(archive.namelist()) > MAX_MEMBERS:
                raise ArchiveError("the backup has too many members")
            for name, digest in manifest.digests.items():
                members[name] = data = _read_member(archive, check_name(name))
                if hashlib.sha256(data).hexdigest() != digest:
                    raise ArchiveError(f"{name} in the backup is not as it was written: its digest is wrong")
    except (zipfile.BadZipFile, KeyError, EOFError) as error:
        raise ArchiveError(f"the backup is damaged: {error}") from error
    encrypted = members.pop(SECRETS, None)
    secrets = {}
    if encrypted is not None and passphrase is not None:
        with zipfile.ZipFile(io.BytesIO(decrypt(encrypted, passphrase))) as inner:
            secrets = {check_name(name): _read_member(inner, name) for name in inner.namelist()}
    return SiteArchive(manifest, members, secrets)


def read_passphrase(file: Path | None) -> str | None:
    """Return the passphrase in a file; None without a file. Raises ArchiveError and OSError."""
    if file is None:
        return None
    passphrase = file.read_text().rstrip("\n")
    if not passphrase:
        raise ArchiveError(f"{file} is empty; write the passphrase into it")
    return passphrase


def print_left_out(names: Iterable[str]) -> None:
    """Print which files a backup does not contain, for the user who has to restore them."""
    meanings = (
        "passwords and keys in the store"
        if name == STATE or name.startswith(STORE)
        else name.removeprefix(CONFIG)
        for name in names
    )
    for meaning in dict.fromkeys(meanings):
        print(f"not in the backup: {meaning}")


def check_name(name: str) -> str:
    """Return the name of a member. Raises ArchiveError if it leads out of its directory."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or not path.parts:
        raise ArchiveError(f"the backup has a member {name!r}, which leads out of its directory")
    return name


def encrypt(data: bytes, passphrase: str) -> bytes:
    """Return salt, nonce and ciphertext of `data`."""
    salt, nonce = os.urandom(_SALT_BYTES), os.urandom(_NONCE_BYTES)
    return salt + nonce + AESGCM(_derive_key(passphrase, salt)).encrypt(nonce, data, FORMAT.encode())


def decrypt(data: bytes, passphrase: str) -> bytes:
    """Return what was encrypted. Raises ArchiveError for another passphrase or changed bytes."""
    salt, nonce = data[:_SALT_BYTES], data[_SALT_BYTES : _SALT_BYTES + _NONCE_BYTES]
    try:
        key = _derive_key(passphrase, salt)
        return AESGCM(key).decrypt(nonce, data[_SALT_BYTES + _NONCE_BYTES :], FORMAT.encode())
    except (InvalidTag, ValueError):
        raise ArchiveError("the passphrase is wrong, or the backup was changed") from None


def _derive_key(passphrase: str, salt: bytes) -> bytes:
    return Scrypt(salt=salt, length=32, n=1 << _LOG_N, r=8, p=1).derive(passphrase.encode())


def _pack(members: Mapping[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return packed.getvalue()


def _read_member(archive: zipfile.ZipFile, name: str) -> bytes:
    if archive.getinfo(name).file_size > MAX_MEMBER_BYTES:
        raise ArchiveError(f"{name} in the backup is too long")
    return archive.read(name)
