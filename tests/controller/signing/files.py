"""A policy as a file: Olga may everything, Tom, a technician, limits of up to 16 A."""

from __future__ import annotations

import base64
from pathlib import Path

from tests.controller.signing.authors import Author
from tests.controller.signing.policy_examples import OLGA, TOM

ROLES = """
[[role]]
id = "operator"
holders = ["olga"]
[[role.may]]
actions = ["*"]
[[role]]
id = "technician"
holders = ["tom"]
[[role.may]]
actions = ["SetChargingProfile"]
max_a = 16
"""


def key_table(holder: str, author: Author) -> str:
    public = base64.b64encode(author.point).decode()
    return f'[[key]]\nholder = "{holder}"\npublic = "{public}"\ncurve = "{author.curve}"\n'


def write_policy(folder: Path, more: str = "") -> Path:
    file = folder / "signing.toml"
    file.write_text(f"version = 1\n{key_table('olga', OLGA)}{key_table('tom', TOM)}{ROLES}{more}")
    return file
