from __future__ import annotations

import pytest

from controller.access.passwords import (
    PasswordError,
    check_password,
    generate_password,
    generate_secret,
    hash_secret,
    hash_user_password,
    verify_user_password,
)


def test_passwords_password_is_verified_against_argon2id_hash() -> None:
    phc = hash_user_password("correct horse")
    assert phc.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert verify_user_password("correct horse", phc)
    assert not verify_user_password("correct horsf", phc)
    assert "correct" not in phc


def test_same_password_has_another_hash_each_time() -> None:
    assert hash_user_password("correct horse") != hash_user_password("correct horse")


@pytest.mark.parametrize("password", ["short", "a" * 20, "x" * 129, "ababababab"])
def test_weak_password_is_rejected(password: str) -> None:
    with pytest.raises(PasswordError, match="characters"):
        check_password(password)


def test_generated_password_is_accepted_and_new_each_time() -> None:
    passwords = {generate_password() for _ in range(20)}
    assert len(passwords) == 20
    for password in passwords:
        check_password(password)
        assert not set(password) & set("0O1lI")


def test_secret_is_stored_as_hash_alone() -> None:
    secret = generate_secret("lc_")
    assert secret.startswith("lc_")
    assert len(secret) > 40
    assert secret not in hash_secret(secret)
    assert hash_secret(secret) == hash_secret(secret)
