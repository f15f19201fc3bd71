"""Private keys in a hardware module, by PKCS#11: they sign there and never leave it.

A key is named by a URI (RFC 7512) in a file `NAME.pkcs11` beside the other keys, with the same lines in
front:

    Holder: lc
    Not-Before: 2026-11-27T00:00:00Z
    pkcs11:token=site;object=lc?module-path=/usr/lib/softhsm/libsofthsm2.so&pin-source=/etc/lc/pin

Needs the extra `pkcs11`. A signature takes as long as the module takes, usually 1 to 100 ms. It is made in a
thread of its own, and its caller waits `WAIT_S` at most: a module that hangs stops nothing. Then no signature
is tried until that one has come and `RETRY_AFTER_S` are over: a slow module delays its callers rarely.
"""

from __future__ import annotations

import importlib
import threading
from concurrent.futures import Future
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn
from urllib.parse import parse_qs, unquote

import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, encode_dss_signature

from controller.signing import SigningError

SCHEME = "pkcs11:"
WAIT_S = 0.25
"""Longest wait of a caller for a signature (s)."""
RETRY_AFTER_S = 10.0
"""Pause after a signature that came too late."""


class HardwareKeyError(SigningError):
    """A key in a hardware module cannot be used. The text follows the name of its file."""


class HardwareKeyUri(msgspec.Struct, frozen=True, kw_only=True):
    """Place of a key (RFC 7512): token and object by label, the module's library, and the file of its PIN."""

    token: str
    object: str
    module_path: str
    pin_source: str | None = None


def parse_uri(uri: str) -> HardwareKeyUri:
    """Parse a URI. Raises HardwareKeyError."""
    path, _, query = uri.strip().removeprefix(SCHEME).partition("?")
    members = dict(each.partition("=")[::2] for each in path.split(";"))
    options = {name: values[-1] for name, values in parse_qs(query).items()}
    try:
        return HardwareKeyUri(
            token=unquote(members["token"]),
            object=unquote(members["object"]),
            module_path=options["module-path"],
            pin_source=options.get("pin-source"),
        )
    except KeyError as error:
        raise HardwareKeyError(f"has a URI without {error.args[0]}; see RFC 7512") from None


class HardwarePrivateKey(ec.EllipticCurvePrivateKey):
    """A private key on an elliptic curve whose operations run in the module. Raises HardwareKeyError."""

    def __init__(self, uri: HardwareKeyUri) -> None:
        self._uri = uri
        self._free = threading.Lock()
        """Held while a signature is made, and during the pause after one that came too late."""
        self._pkcs11 = _load_library()
        try:
            self._key = self._open()
            public = self._session.get_key(object_class=self._pkcs11.ObjectClass.PUBLIC_KEY, label=uri.object)
            encoded = importlib.import_module("pkcs11.util.ec").encode_ec_public_key(public)
            self._public = serialization.load_der_public_key(encoded)
        except (self._pkcs11.PKCS11Error, OSError, RuntimeError, ValueError) as error:
            raise HardwareKeyError(
                f"cannot be used: token {uri.token}, object {uri.object}: "
                f"{str(error) or type(error).__name__}; check the URI and the PIN"
            ) from error
        if not isinstance(self._public, ec.EllipticCurvePublicKey):
            raise HardwareKeyError("is not an ECC key")

    def _open(self) -> Any:
        """Open a session with the token and return the key in it."""
        pin = None if self._uri.pin_source is None else Path(self._uri.pin_source).read_text().strip()
        token = self._pkcs11.lib(self._uri.module_path).get_token(token_label=self._uri.token)
        try:
            self._session = token.open(user_pin=pin)
        except self._pkcs11.UserAlreadyLoggedIn:  # another key of this token: a login holds for the process
            self._session = token.open()
        return self._session.get_key(
            object_class=self._pkcs11.ObjectClass.PRIVATE_KEY, label=self._uri.object
        )

    def sign(self, data: bytes, signature_algorithm: ec.EllipticCurveSignatureAlgorithm) -> bytes:  # type: ignore[override]
        """Sign `data` in the module; returns DER. Raises HardwareKeyError, also if it takes too long."""
        algorithm = signature_algorithm.algorithm
        if isinstance(algorithm, Prehashed):
            raise UnsupportedAlgorithm("signs messages only, no hashes")
        digest = hashes.Hash(algorithm)
        digest.update(data)
        raw = self._sign_in_thread(digest.finalize()[: (self.key_size + 7) // 8])
        half = len(raw) // 2
        return encode_dss_signature(int.from_bytes(raw[:half], "big"), int.from_bytes(raw[half:], "big"))

    def _sign_in_thread(self, hashed: bytes) -> bytes:
        """Sign a hash in the module, and wait for it no longer than WAIT_S."""
        if not self._free.acquire(blocking=False):
            raise HardwareKeyError(
                f"hardware key {self._uri.object} is too slow: an earlier signature took longer than "
                f"{WAIT_S:g} s"
            )
        signature: Future[bytes] = Future()
        is_late = threading.Event()

        def run() -> None:
            try:
                signature.set_result(self._sign_in_module(hashed))
            except HardwareKeyError as error:
                signature.set_exception(error)
            if is_late.is_set():
                threading.Event().wait(RETRY_AFTER_S)
            self._free.release()

        # A daemon thread: a module that never answers does not keep the process from ending.
        threading.Thread(target=run, name="hardware key", daemon=True).start()
        try:
            return signature.result(WAIT_S)
        except TimeoutError:
            is_late.set()
            raise HardwareKeyError(
                f"hardware key {self._uri.object} is too slow: it takes longer than {WAIT_S:g} s"
            ) from None

    def _sign_in_module(self, hashed: bytes) -> bytes:
        """Sign a hash; returns r and s. A lost session is opened again once. Raises HardwareKeyError."""
        mechanism = self._pkcs11.Mechanism.ECDSA
        try:
            return bytes(self._key.sign(hashed, mechanism=mechanism))
        except self._pkcs11.PKCS11Error:
            try:
                self._key = self._open()
                return bytes(self._key.sign(hashed, mechanism=mechanism))
            except (self._pkcs11.PKCS11Error, OSError, RuntimeError) as error:
                reason = str(error) or type(error).__name__
                raise HardwareKeyError(f"hardware key {self._uri.object} does not sign: {reason}") from error

    def public_key(self) -> ec.EllipticCurvePublicKey:
        """Return the public half."""
        assert isinstance(self._public, ec.EllipticCurvePublicKey)
        return self._public

    @property
    def curve(self) -> ec.EllipticCurve:
        """Curve of the key."""
        return self.public_key().curve

    @property
    def key_size(self) -> int:
        """Size of the curve in bits."""
        return self.public_key().key_size

    def exchange(self, algorithm: ec.ECDH, peer_public_key: ec.EllipticCurvePublicKey) -> NoReturn:
        """Refuse: the key signs only."""
        raise UnsupportedAlgorithm("a hardware key signs only")

    def private_numbers(self) -> NoReturn:
        """Refuse: the key does not leave the module."""
        raise UnsupportedAlgorithm("a hardware key does not leave its module")

    def private_bytes(self, *args: object, **options: object) -> NoReturn:
        """Refuse: the key does not leave the module."""
        raise UnsupportedAlgorithm("a hardware key does not leave its module")

    def __copy__(self) -> HardwarePrivateKey:
        return self

    def __deepcopy__(self, memo: dict[int, object]) -> HardwarePrivateKey:
        return self


def _load_library() -> ModuleType:
    try:
        return importlib.import_module("pkcs11")
    except ImportError:
        raise HardwareKeyError(
            "needs PKCS#11: install the extra, `pip install ocpp-local-controller[pkcs11]`"
        ) from None
