"""Keys and other files that subcommands are given by path."""

from __future__ import annotations

from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from controller.cli.arguments import UNREADABLE, CommandError, file_error
from controller.signing.curves import CurveKeyError, curve_of


def read_bytes(path: Path) -> bytes:
    """Read a file. Raises CommandError if it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise file_error(error, path) from error


def read_public_key(path: Path) -> ec.EllipticCurvePublicKey:
    """Read a public key in PEM. Raises CommandError for anything else."""
    try:
        key = load_pem_public_key(read_bytes(path))
        if not isinstance(key, ec.EllipticCurvePublicKey):
            raise CurveKeyError("it is not an elliptic-curve key")
        curve_of(key)
    except CurveKeyError as error:
        raise CommandError(f"{path}: is not a public key of a controller: {error}", UNREADABLE) from error
    except ValueError as error:
        raise CommandError(
            f"{path}: is not a public key in PEM; `local-controller keys export --pem` writes one",
            UNREADABLE,
        ) from error
    return key
