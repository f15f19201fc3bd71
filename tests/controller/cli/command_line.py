"""The installed command as a person types it, and a small valid configuration."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
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


WITHOUT_OVERRIDES = "-dac_override,-dac_read_search"
"""Capabilities by which root passes modes of files."""


def run_command(*arguments: str | Path, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return run_process(COMMAND, *arguments, stdin=stdin)


def run_unprivileged(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run the command where modes of files hold, for tests that run as root, too."""
    # Both sets: root gets what is in either of them when it executes a program.
    drop = ["--inh-caps", WITHOUT_OVERRIDES, "--bounding-set", WITHOUT_OVERRIDES]
    return run_process(*(["setpriv", *drop] if os.geteuid() == 0 else []), COMMAND, *arguments)


def run_process(*command: str | Path, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=30, check=False)


@contextmanager
def closed_folder(path: Path) -> Iterator[Path]:
    """Make a folder that its owner may not enter, and open it at the end."""
    path.mkdir(mode=0o000)
    yield path
    path.chmod(0o700)


def write_config(folder: Path, text: str = CONFIG, port: int = 8887) -> Path:
    path = folder / "controller.toml"
    path.write_text(text.format(folder=folder, port=port))
    return path
