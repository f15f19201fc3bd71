"""A Go that builds the third-party programs: the system's, or a newer one where that is too old.

Debian 12 has Go 1.19. It cannot build modules that need 1.22, but fetches a newer toolchain as a module,
which the Go checksum database verifies.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path

OLDEST = (1, 22)
"""What `go.mod` of `controlbox` asks for."""
TOOLCHAIN = "1.24.5"
FETCH_S = 300.0


def find_go(folder: Path, environment: Mapping[str, str] = os.environ) -> str:
    """Return a `go` that is new enough; `folder` is empty, for the module that fetches one.

    Raises CalledProcessError or OSError where there is no Go at all, or the newer one is not reached.
    """
    found = _run(["go", "env", "GOVERSION", "GOARCH"], environment).split()
    if _version(found[0]) >= OLDEST:
        return "go"
    (folder / "go.mod").write_text("module toolchain\n\ngo 1.19\n")
    module = f"golang.org/toolchain@v0.0.1-go{TOOLCHAIN}.linux-{found[1]}"
    fetched = json.loads(_run(["go", "mod", "download", "-json", module], environment, folder))
    place = Path(fetched["Dir"])
    for program in (*place.glob("bin/*"), *place.glob("pkg/tool/*/*")):
        program.chmod(0o755)  # modules are stored without the right to execute
    return str(place / "bin" / "go")


def _run(command: list[str], environment: Mapping[str, str], folder: Path | None = None) -> str:
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=True, timeout=FETCH_S
    )
    return done.stdout


def _version(text: str) -> tuple[int, ...]:
    """Parse e.g. "go1.19.8" or "go1.24rc1"."""
    return tuple(int(number) for number in re.findall(r"\d+", text)[:2])
