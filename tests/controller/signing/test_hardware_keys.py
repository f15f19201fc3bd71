"""Keys in a hardware module by PKCS#11: SoftHSM in the place of one."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization

from controller.cli.main import main
from controller.ocpp.frames import Version
from controller.signing import curves, hardware_keys
from controller.signing.hardware_keys import HardwareKeyError, HardwarePrivateKey, parse_uri
from controller.signing.message_signer import sign_message
from controller.signing.payload_signatures import key_id
from controller.signing.rule_set import RuleKey
from controller.signing.signature_format import Direction, MessageKind
from controller.signing.signing_keys import (
    KeyFileError,
    KnownKey,
    OwnKey,
    new_private_key,
    parse_private_key,
    read_key_files,
)

MODULES = ("/usr/lib/softhsm/libsofthsm2.so", "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so")
PIN = "1234"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with a token, in it a key on secp384r1; the module reads its settings once a process."""
    assert shutil.which("softhsm2-util"), "softhsm2-util is missing: apt install softhsm2"
    folder = tmp_path_factory.mktemp("softhsm")
    (folder / "tokens").mkdir()
    (folder / "softhsm2.conf").write_text(f"directories.tokendir = {folder}/tokens\nlog.level = ERROR\n")
    key = parse_private_key(new_private_key("secp384r1", "lc", 0.0, 4e9)).private
    (folder / "key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    run = ["softhsm2-util", "--init-token", "--free", "--label", "site", "--pin", PIN, "--so-pin", "5678"]
    load = ["softhsm2-util", "--import", str(folder / "key.pem"), "--token", "site", "--label", "lc"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOFTHSM2_CONF", str(folder / "softhsm2.conf"))
        for command in (run, [*load, "--id", "01", "--pin", PIN]):
            subprocess.run(command, check=True, capture_output=True, env=os.environ)
        yield folder


@pytest.fixture
def token(folder: Path) -> str:
    """The URI of the key."""
    (folder / "pin").write_text(f"{PIN}\n")
    module = next(path for path in MODULES if Path(path).exists())
    return f"pkcs11:token=site;object=lc?module-path={module}&pin-source={folder}/pin"


def test_hardware_key_signs_as_key_in_file(tmp_path: Path, token: str) -> None:
    assert main(["keys", "new", str(tmp_path / "keys"), "--holder", "lc", "--pkcs11", token]) == 0
    ((file, own),) = read_key_files(tmp_path / "keys").items()
    assert file.suffix == ".pkcs11"
    assert (own.known.holder, own.known.id.curve) == ("lc", "secp384r1")
    assert PIN not in file.read_text()
    assert len(read_key_files(tmp_path / "keys")) == 1  # a second session, as after a change of the policy
    signature = curves.sign_text(own.private, b"a message")
    curve = curves.CURVES["secp384r1"]
    public = curves.decode_point(curve, own.known.id.point)
    assert curves.is_valid_signature(curve, public, signature, b"a message")
    assert not curves.is_valid_signature(curve, public, signature, b"another one")
    with pytest.raises(UnsupportedAlgorithm):
        own.private.private_numbers()


class HeldKey:
    """A key in a module that signs once it is released."""

    def __init__(self, key: Any) -> None:
        self.is_released = threading.Event()
        self._key = key

    def sign(self, data: bytes, **options: object) -> bytes:
        self.is_released.wait(30)
        return bytes(self._key.sign(data, **options))


def test_hardware_key_that_is_too_slow_does_not_block(
    tmp_path: Path, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hardware_keys, "WAIT_S", 0.01)
    monkeypatch.setattr(hardware_keys, "RETRY_AFTER_S", 0.0)
    (tmp_path / "lc.pkcs11").write_text(f"Holder: lc\n{token}\n")
    (tmp_path / "lc.pkcs11").chmod(0o600)
    ((_, own),) = read_key_files(tmp_path).items()
    assert isinstance(own.private, HardwarePrivateKey)
    held = HeldKey(own.private._key)
    monkeypatch.setattr(own.private, "_key", held)
    with pytest.raises(HardwareKeyError, match="takes longer than"):
        curves.sign_text(own.private, b"a message")
    with pytest.raises(HardwareKeyError, match="an earlier signature took longer"):
        curves.sign_text(own.private, b"another message")
    held.is_released.set()
    assert own.private._free.acquire(timeout=30), "free once the late signature has come"
    own.private._free.release()
    monkeypatch.setattr(hardware_keys, "WAIT_S", 30.0)
    signature = curves.sign_text(own.private, b"a message")
    public = curves.decode_point(curves.CURVES["secp384r1"], own.known.id.point)
    assert curves.is_valid_signature(curves.CURVES["secp384r1"], public, signature, b"a message")


def test_hardware_key_too_slow_pauses_before_next_signature(
    tmp_path: Path, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hardware_keys, "WAIT_S", 0.01)
    monkeypatch.setattr(hardware_keys, "RETRY_AFTER_S", 600.0)
    key = HardwarePrivateKey(parse_uri(token))
    held = HeldKey(key._key)
    monkeypatch.setattr(key, "_key", held)
    with pytest.raises(HardwareKeyError, match="takes longer than"):
        curves.sign_text(key, b"a message")
    held.is_released.set()
    with pytest.raises(HardwareKeyError, match="an earlier signature took longer"):
        curves.sign_text(key, b"another message")


def test_hardware_key_too_slow_leaves_message_unsigned_with_reason(
    token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hardware_keys, "WAIT_S", 0.01)
    key = HardwarePrivateKey(parse_uri(token))
    monkeypatch.setattr(key, "_key", HeldKey(key._key))
    own = OwnKey(KnownKey(id=key_id(key.public_key()), holder="lc"), key)
    reset = RuleKey.of_message(Version.V201, "Reset", Direction.DOWN, MessageKind.REQUEST, "CS01")
    signed = sign_message(reset, b'{"type":"Immediate"}', [own], "lc", 1.8e9, is_own=True)
    assert signed.payload == b'{"type":"Immediate"}'
    assert "too slow" in signed.unsigned_reason


@pytest.mark.parametrize(("old", "new"), [("object=lc", "object=other"), ("token=site", "token=other")])
def test_hardware_key_missing_is_error(tmp_path: Path, token: str, old: str, new: str) -> None:
    file = tmp_path / "lc.pkcs11"
    file.write_text(f"Holder: lc\n{token.replace(old, new)}\n")
    file.chmod(0o600)
    with pytest.raises(KeyFileError, match="cannot be used"):
        read_key_files(file)


@pytest.mark.slow
def test_hardware_key_with_wrong_pin_is_error(folder: Path, token: str) -> None:
    (folder / "pin").write_text("0000")
    file = folder / "lc.pkcs11"
    file.write_text(f"Holder: lc\n{token}\n")
    file.chmod(0o600)
    # In a process of its own: within one, a login holds for all sessions.
    command = [str(Path(sys.executable).parent / "local-controller"), "keys", "list", str(file)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=os.environ)
    assert done.returncode != 0
    assert "PinIncorrect; check the URI and the PIN" in done.stderr


@pytest.mark.parametrize("missing", ["token=site;", "object=lc", "module-path"])
def test_hardware_uri_without_member_is_error(missing: str) -> None:
    uri = "pkcs11:token=site;object=lc?module-path=/x.so".replace(missing, "")
    with pytest.raises(HardwareKeyError, match="RFC 7512"):
        parse_uri(uri)


def test_hardware_key_without_extra_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(hardware_keys.importlib, "import_module", fail)
    with pytest.raises(HardwareKeyError, match=r"\[pkcs11\]"):
        HardwarePrivateKey(parse_uri("pkcs11:token=site;object=lc?module-path=/x.so"))
