"""Composition of dimming from a configuration."""

from __future__ import annotations

from pathlib import Path

from controller.config import Config
from controller.config.schema import DimmingConfig
from controller.dimming.dimming_settings import DimmingSettings
from controller.services.dimming.dimming_evidence import DimmingEvidence
from controller.services.dimming.dimming_notifier import DimmingNotifier
from controller.services.dimming.dimming_output import DimmingOutput
from controller.services.dimming.dimming_service import DimmingService, RunInputs
from controller.services.dimming.dimming_trust import DimmingTrust
from controller.services.load_management.load_management_service import LoadManagementService
from controller.services.signing.policy_service import PolicyService
from controller.services.stations.station_profiles import StationProfiles
from controller.store.state_store import StateStore


def make_dimming_service(
    config: Config,
    dimming: DimmingConfig,
    settings: DimmingSettings,
    notifier: DimmingNotifier,
    load_management: LoadManagementService,
    profiles: StationProfiles,
    store: StateStore,
    policy_service: PolicyService | None,
    run_inputs: RunInputs,
) -> DimmingService:
    """Return the service, which applies a stored limit at once.

    `policy_service` has keys and roles, None: no keys.
    Raises StoreError where the store, and a KeyFileError where the key cannot be used.
    """
    trust = DimmingTrust(config, dimming, policy_service)
    directory = Path(config.store.directory)
    evidence = DimmingEvidence(directory, dimming, trust.evidence_key(), trust.public_keys(), store)
    output = DimmingOutput(settings, config.site.voltage, load_management, profiles, notifier)
    return DimmingService(settings, trust, evidence, output, run_inputs)
