"""The controller's own private keys on disk: one file, or a folder of them."""

from __future__ import annotations

import os
from pathlib import Path

from controller.signing.keyring import KeyFormatError, OwnKey, read_private

SUFFIX = ".pem"
_OTHERS = 0o007
"""Not the group: systemd lets a unit's user read its credentials through an access list, shown as that."""


class KeyFileError(Exception):
    """A file or folder of keys cannot be used. The text names it and the mend."""


def read_keys(path: Path) -> dict[Path, OwnKey]:
    """The private keys of a file, or of a folder's files *.pem, in the order of their names.

    Raises KeyFileWrong: also where there is none.
    """
    try:
        # Not glob(): it finds nothing where it may not look.
        files = sorted(file for file in path.iterdir() if file.suffix == SUFFIX) if path.is_dir() else [path]
    except OSError as error:
        raise KeyFileError(f"{path} cannot be read: {error.strerror}") from None
    if not files:
        raise KeyFileError(f"{path} has no file *{SUFFIX}; make a key with `local-controller keys new`")
    return {file: _read(file) for file in files}


def write_new(folder: Path, name: str, data: bytes) -> Path:
    """Keep a new private key in a folder, for its owner's eyes alone, over no other file.

    Raises KeyFileWrong.
    """
    file = folder / f"{name}{SUFFIX}"
    try:
        if not folder.is_dir():
            folder.mkdir(mode=0o700, parents=True)
    except OSError as error:
        raise KeyFileError(f"{folder} cannot be made: {error.strerror}") from None
    try:
        with open(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as opened:
            opened.write(data)
            opened.flush()
            os.fsync(opened.fileno())
    except FileExistsError:
        raise KeyFileError(f"{file} is there already; name another folder, or move it away") from None
    except OSError as error:
        raise KeyFileError(f"{file} cannot be written: {error.strerror}") from None
    return file


def _read(file: Path) -> OwnKey:
    try:
        data = file.read_bytes()
        mode = file.stat().st_mode
    except OSError as error:
        raise KeyFileError(f"{file} cannot be read: {error.strerror}") from None
    if mode & _OTHERS:
        raise KeyFileError(f"{file} is open to everybody on this machine; chmod o= {file}")
    try:
        return read_private(data)
    except KeyFormatError as wrong:
        raise KeyFileError(f"{file} {wrong}") from None
