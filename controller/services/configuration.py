"""The configuration as the daemon starts with it: the file, its keys and policy, and the machine."""

from __future__ import annotations

from pathlib import Path

from controller.config.loader import read_config
from controller.config.schema import Config
from controller.services.machine_rules import check_addresses, find_port_hints
from controller.services.signing_rules import check_signing, find_signing_hints
from controller.tomlcheck.diagnostics import HintDiagnostic


def load_configuration(path: Path) -> tuple[Config, list[HintDiagnostic]]:
    """Read and check a configuration file with everything that it names.

    Raises FileUnreadableError if there is no text to read, InvalidConfigError if it has errors.
    """
    return read_config(path, (check_signing, check_addresses), (find_signing_hints, find_port_hints))
