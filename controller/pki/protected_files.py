"""Files of keys and certificates: written whole or not at all, keys readable by their owner alone."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from controller.pki import PkiError

KEY_MODE = 0o600
CERTIFICATE_MODE = 0o644


class PkiFileError(PkiError):
    """A file or folder cannot be read or written."""


def read_file(path: Path, max_bytes: int = 1_048_576) -> bytes:
    """Read a file. Raises PkiFileError."""
    try:
        with path.open("rb") as file:
            data = file.read(max_bytes + 1)
    except OSError as error:
        raise PkiFileError(f"{path} cannot be read: {error.strerror}") from None
    if len(data) > max_bytes:
        raise PkiFileError(f"{path} is longer than {max_bytes} bytes")
    return data


def replace_file(path: Path, data: bytes, mode: int) -> None:
    """Replace a file in one step; on an error the old one stays. Raises PkiFileError."""
    temporary = path.with_name(f".{path.name}.new")
    try:
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "wb") as file:
            os.fchmod(file.fileno(), mode)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise PkiFileError(f"{path} cannot be written: {error.strerror}; the old one stays") from None


def append_line(path: Path, line: bytes) -> None:
    """Append a line to a file and wait until it is on disk; a torn last line is cut off before.

    Raises PkiFileError; the line is not there then.
    """
    try:
        with open(os.open(path, os.O_RDWR | os.O_CREAT, KEY_MODE), "r+b") as file:
            whole = file.read()
            end = whole.rfind(b"\n") + 1
            file.truncate(end)
            file.seek(end)
            try:
                file.write(line + b"\n")
                file.flush()
                os.fsync(file.fileno())
            except OSError:
                with contextlib.suppress(OSError):
                    file.truncate(end)
                raise
    except OSError as error:
        raise PkiFileError(f"{path} cannot be written: {error.strerror}") from None


def make_folder(path: Path) -> None:
    """Make a folder for its owner alone. Raises PkiFileError."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise PkiFileError(f"{path} cannot be made: {error.strerror}") from None


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
