"""The installed command as a person types it, and a small valid configuration."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

COMMAND = Path(sys.executable).with_name("local-controller")

CONFIG = """
[site]
id = "lc"
[store]
directory = "{folder}"
[listen]
host = "127.0.0.1"
port = {port}
[[backend]]
id = "cpo"
url = "ws://127.0.0.1:1/{{station}}"
[[circuit]]
id = "grid"
limit_a = 63
[[station]]
id = "CS01"
circuit = "grid"
owner = "cpo"
"""
NETWORK_CONFIG = CONFIG.replace('host = "127.0.0.1"', 'host = "0.0.0.0"')
"""The same, reached by stations in the network."""


def run_command(*arguments: str | Path, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [COMMAND, *arguments], input=stdin, capture_output=True, text=True, timeout=30, check=False
    )


def write_config(folder: Path, text: str = CONFIG, port: int = 8887) -> Path:
    path = folder / "controller.toml"
    path.write_text(text.format(folder=folder, port=port))
    return path
