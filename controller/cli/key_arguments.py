"""Keys and other files that subcommands are given by path."""

from __future__ import annotations

import re
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from controller.cli.arguments import UNREADABLE, CommandError, file_error
from controller.signing.curves import CurveKeyError, curve_of

_PUBLIC_KEY = re.compile(rb"-----BEGIN PUBLIC KEY-----.*?-----END PUBLIC KEY-----", re.DOTALL)


def read_bytes(path: Path) -> bytes:
    """Read a file. Raises CommandError if it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise file_error(error, path) from error


def read_public_keys(path: Path) -> list[ec.EllipticCurvePublicKey]:
    """Read all public keys in PEM of a file, which may follow each other. Raises CommandError without one."""
    text = read_bytes(path)
    try:
        return [_load_public_key(block) for block in _PUBLIC_KEY.findall(text) or [text]]
    except CurveKeyError as error:
        raise CommandError(f"{path}: is not a public key of a controller: {error}", UNREADABLE) from error
    except ValueError as error:
        raise CommandError(
            f"{path}: is not a public key in PEM; `local-controller keys export --pem` writes one",
            UNREADABLE,
        ) from error


def _load_public_key(block: bytes) -> ec.EllipticCurvePublicKey:
    """Load a public key in PEM. Raises ValueError, and a CurveKeyError for a key of another kind."""
    key = load_pem_public_key(block)
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise CurveKeyError("it is not an elliptic-curve key")
    curve_of(key)
    return key
