"""Trust of dimming: the keys and roles of the policy, and the clock."""

from __future__ import annotations

import logging
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec

from controller.config import Config
from controller.config.schema import DimmingConfig
from controller.dimming.verification import KeyProofs
from controller.services.machine.clock_state import is_synchronised
from controller.services.machine.wall_clock import utc_now
from controller.services.signing.policy_service import PolicyService
from controller.signing.signing_keys import Keyring, OwnKey, read_key_files, select_signing_key

log = logging.getLogger("controller.dimming")


class DimmingTrust:
    """Keys and clock of one site. `signatures` verifies commands and signs answers.

    `policy_service` has keys and roles, None: no keys. Raises KeyFileError where the own key cannot be used.
    """

    def __init__(self, config: Config, dimming: DimmingConfig, policy_service: PolicyService | None) -> None:
        self._policy_service = policy_service
        self._accepts_any_clock = dimming.clock == "believed"
        self._own = _read_own_keys(config)
        self._was_trusted: bool | None = None
        self.signatures = KeyProofs(Keyring(), (), self._own)
        self.update_keys()

    def evidence_key(self) -> OwnKey:
        """Return the key that signs the evidence: the newest, even if the clock is wrong."""
        utc = utc_now().timestamp()
        return select_signing_key(self._own, utc) or max(self._own, key=lambda each: each.known.not_before)

    def public_keys(self) -> list[ec.EllipticCurvePublicKey]:
        """Return the public keys that the evidence may be signed with, those of earlier times, too."""
        return [each.private.public_key() for each in self._own]

    def update_keys(self) -> None:
        """Take the keys and roles of the policy that is in force."""
        if self._policy_service is not None:
            policy, own = self._policy_service.in_force
            self.signatures.replace_keys(Keyring(policy.keys), policy.file.role, own)

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


def _read_own_keys(config: Config) -> list[OwnKey]:
    assert config.signing is not None  # the check has made sure of it, and of the key
    assert config.signing.key is not None
    return list(read_key_files(Path(config.signing.key)).values())
