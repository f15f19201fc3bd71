"""Trust of dimming: the keys and roles of the policy, and the clock."""

from __future__ import annotations

import logging
import operator
from collections.abc import Sequence
from pathlib import Path

import trio
from cryptography.hazmat.primitives.asymmetric import ec

from controller.config import Config
from controller.config.schema import DimmingConfig
from controller.dimming.verification import KeyProofs
from controller.services.machine.clock_state import is_synchronised
from controller.services.machine.wall_clock import utc_now
from controller.services.signing.policy_service import PolicyService
from controller.signing.payload_signatures import KeyId
from controller.signing.signing_keys import (
    KeyFileError,
    Keyring,
    OwnKey,
    key_file_stamps,
    read_key_files,
    select_signing_key,
)

log = logging.getLogger("controller.dimming")

WATCH_S = 5.0
"""Interval at which the files of the own keys are compared with those that are in use (s)."""


class DimmingTrust:
    """Keys and clock of one site. `signatures` verifies commands and signs answers.

    `policy_service` has keys and roles, None: no keys. Raises KeyFileError where the own key cannot be used.
    """

    def __init__(self, config: Config, dimming: DimmingConfig, policy_service: PolicyService | None) -> None:
        self._policy_service = policy_service
        self._accepts_any_clock = dimming.clock == "believed"
        assert config.signing is not None  # the check has made sure of it, and of the key
        assert config.signing.key is not None
        self._key_path = Path(config.signing.key)
        self._stamps = key_file_stamps(self._key_path)
        self._in_force: tuple[object, object] = (None, None)
        self._own: Sequence[OwnKey] = ()
        self._earlier: dict[KeyId, OwnKey] = {}
        """All keys since the start: what they have signed is verified with them."""
        self._take_own(list(read_key_files(self._key_path).values()))
        self._was_trusted: bool | None = None
        self.signatures = KeyProofs(Keyring(), (), self._own)
        self.update_keys()

    def evidence_key(self) -> OwnKey:
        """Return the key that signs the evidence: the newest, even if the clock is wrong."""
        utc = utc_now().timestamp()
        return select_signing_key(self._own, utc) or max(self._own, key=lambda each: each.known.not_before)

    def public_keys(self) -> list[ec.EllipticCurvePublicKey]:
        """Return the public keys that the evidence may be signed with, those of earlier times, too."""
        return [each.private.public_key() for each in self._earlier.values()]

    def update_keys(self) -> None:
        """Take the keys and roles of the policy that is in force, and the own keys with it."""
        if self._policy_service is None:
            return
        policy, own = in_force = self._policy_service.in_force
        if all(map(operator.is_, in_force, self._in_force)):
            return
        self._in_force = in_force
        self._take_own(own or self._own)
        self.signatures.replace_keys(Keyring(policy.keys), policy.file.role, own)

    async def watch_own_keys(self) -> None:
        """Read the own keys again when their files change, where no policy does so, until cancelled."""
        while self._policy_service is None:
            await trio.sleep(WATCH_S)
            if (stamps := key_file_stamps(self._key_path)) == self._stamps:
                continue
            self._stamps = stamps
            try:
                # In a thread: a hardware module takes its time to open a key.
                own = await trio.to_thread.run_sync(read_key_files, self._key_path)
            except KeyFileError as failed:
                log.error("signing keys not reloaded, the previous ones stay in use reason=%s", failed)
                continue
            self._take_own(list(own.values()))
            self.signatures.replace_keys(Keyring(), (), self._own)
            log.info("signing keys reloaded own_keys=%d", len(self._own))

    def _take_own(self, own: Sequence[OwnKey]) -> None:
        self._own = own
        self._earlier |= {each.known.id: each for each in own}

    def is_clock_trusted(self) -> bool:
        """Return True while the clock is synchronised or configured as trusted; log each change."""
        trusted = self._accepts_any_clock or is_synchronised()
        if trusted is not self._was_trusted:
            if trusted:
                log.info("clock trusted")
            else:
                log.warning("clock not synchronised: signed commands are refused until it is; check NTP")
        self._was_trusted = trusted
        return trusted
