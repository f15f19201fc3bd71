"""Passwords and secrets: argon2id hashes of passwords (RFC 9106), generated secrets and their hashes."""

from __future__ import annotations

import hashlib
import secrets
import string

from cryptography.exceptions import InvalidKey
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from controller.access.permissions import AccessError
from drivers.coded_text import coded

MEMORY_KIB, ITERATIONS, LANES = 19_456, 2, 1
"""Cost of one hash: 19 MiB, two passes, one lane (OWASP Password Storage Cheat Sheet); some 50 ms."""

SHORTEST_PASSWORD, LONGEST_PASSWORD = 10, 128
SHORTEST_PASSPHRASE = 12
"""Characters of a passphrase that encrypts a file, which anybody who has it may try at leisure."""
GENERATED_LETTERS = 20
_ALPHABET = "".join(set(string.ascii_letters + string.digits) - set("0O1lI"))


class PasswordError(AccessError):
    """A new password that cannot be used."""


def check_password(password: str) -> None:
    """Check a new password. Raises PasswordError with what to do."""
    if not SHORTEST_PASSWORD <= len(password) <= LONGEST_PASSWORD:
        raise PasswordError(
            coded(
                "a password has {least} to {most} characters",
                least=SHORTEST_PASSWORD,
                most=LONGEST_PASSWORD,
            )
        )
    if len(set(password)) < SHORTEST_PASSWORD // 2:
        raise PasswordError(coded("the password repeats few characters; use at least five different ones"))


def check_passphrase(passphrase: str) -> None:
    """Check a new passphrase of an encrypted file. Raises PasswordError with what to do."""
    if len(passphrase) < SHORTEST_PASSPHRASE:
        raise PasswordError(
            coded(
                "the passphrase has {count} characters; use at least {least}, e.g. four words that do not "
                "belong together",
                count=len(passphrase),
                least=SHORTEST_PASSPHRASE,
            )
        )
    if len(set(passphrase)) < SHORTEST_PASSPHRASE // 2:
        raise PasswordError(coded("the passphrase repeats few characters; use at least six different ones"))


def hash_user_password(password: str) -> str:
    """Return the argon2id hash of a password as a PHC string; takes some 50 ms of CPU."""
    kdf = Argon2id(
        salt=secrets.token_bytes(16), length=32, iterations=ITERATIONS, lanes=LANES, memory_cost=MEMORY_KIB
    )
    return kdf.derive_phc_encoded(password.encode())


def verify_user_password(password: str, phc: str) -> bool:
    """Return True if a password belongs to a hash; takes as long for every password."""
    try:
        Argon2id.verify_phc_encoded(password.encode(), phc)
    except InvalidKey:
        return False
    return True


def generate_password() -> str:
    """Return a password of 116 bits without characters that look alike, in four groups."""
    letters = "".join(secrets.choice(_ALPHABET) for _ in range(GENERATED_LETTERS))
    return "-".join(letters[at : at + 5] for at in range(0, GENERATED_LETTERS, 5))


def generate_secret(prefix: str = "") -> str:
    """Return a random secret of 256 bits, for a session cookie or a bearer token."""
    return prefix + secrets.token_urlsafe(32)


def hash_secret(secret: str) -> str:
    """Return the hash under which a generated secret is stored: it needs no slow hash."""
    return hashlib.sha256(secret.encode()).hexdigest()
