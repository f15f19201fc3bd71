"""A restart of the controller with all its stations at once: how long until each is back, and what it costs.

The controller is the installed program; its stations and their backend are in this process. A restart is
a SIGTERM, and a start at once; stations try again all the time, as ours are impatient ones.
"""

from __future__ import annotations

import secrets
import signal
import subprocess
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import trio

from controller.config.password_files import SALT_BYTES, hash_password
from controller.transport.http_upgrade import basic_authorization
from tests.bench.station_storm import StationStorm, StormCsms, find_peak_rate
from tests.controller.transport.certificates import LOOPBACK, Authority
from tests.interop.programs import CONTROLLER, free_port

PASSWORD = b"a password of 26 letters.."
LONGEST_S = 240.0

LIMIT_A = 10_000
PLENTY_A, SCARCE_A = 8, 32
"""Of 1000 stations under that limit; where it is scarce, each that comes back changes what others may."""

SHAPES = [
    (250, "plain", "", PLENTY_A),
    (1000, "plain", "", PLENTY_A),
    (1000, "TLS", "", PLENTY_A),
    (1000, "TLS", "password, hashed", PLENTY_A),
    (1000, "plain", "", SCARCE_A),
]
"""Stations, what they connect over, what they show, and what each may draw (A)."""


def bench(shapes: Sequence[tuple[int, str, str, int]] = SHAPES) -> list[dict[str, object]]:
    """One row a restart."""
    return [trio.run(_storm, *shape) for shape in shapes]


async def _storm(count: int, over: str, shows: str, max_a: int) -> dict[str, object]:
    names = [f"CS{number:04}" for number in range(count)]
    with tempfile.TemporaryDirectory() as directory:
        folder, port, backend = Path(directory), free_port(), StormCsms()
        authority = Authority(folder)
        async with trio.open_nursery() as nursery:
            await nursery.start(backend.run)
            config = _config(
                folder,
                names,
                port,
                backend.port,
                max_a,
                authority if over == "TLS" else None,
                proved=bool(shows),
            )
            scheme = "wss" if over == "TLS" else "ws"
            tls = authority.client() if over == "TLS" else None
            fleet = StationStorm(
                f"{scheme}://127.0.0.1:{port}/ocpp/{{station}}",
                {
                    name: [(b"Authorization", basic_authorization(name, PASSWORD))] if shows else []
                    for name in names
                },
                tls,
            )
            with trio.fail_after(LONGEST_S):
                async with _controller(config):
                    nursery.start_soon(fleet.run)
                    await fleet.wait_all_served()
                await fleet.wait_none_served()
                row = await _restart(config, backend, fleet)
            nursery.cancel_scope.cancel()
    scarce = "current is scarce" if count * max_a > LIMIT_A else ""
    return {"what": ", ".join(filter(None, (f"{count} stations", over, shows, scarce))), **row}


async def _restart(config: Path, backend: StormCsms, fleet: StationStorm) -> dict[str, object]:
    backend.links.clear()
    backend.boots.clear()
    fleet.refused.clear()
    start = trio.current_time()
    async with _controller(config) as process:
        await fleet.wait_all_served()
        back = trio.current_time()
        used = _used(process.pid)
        failed = sum(times for kind, times in fleet.refused.items() if kind != "HandshakeError")
    first = min(backend.links)
    return {
        "first link s": round(first - start, 2),
        "all back s": round(back - start, 2),
        "links in one s": find_peak_rate(backend.links),
        "boots in one s": find_peak_rate(backend.boots),
        "tries that failed": failed,  # those before its port was open are not
        **used,
    }


@asynccontextmanager
async def _controller(config: Path) -> AsyncIterator[trio.Process]:
    async with trio.open_nursery() as nursery:
        command = [str(CONTROLLER), "run", "-c", str(config)]
        run = partial(trio.run_process, command, stderr=subprocess.DEVNULL, check=False)
        process: trio.Process = await nursery.start(run)
        yield process
        process.send_signal(signal.SIGTERM)


def _used(pid: int) -> dict[str, object]:
    """What a process has used since its start."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    memory = next(
        int(line.split()[1])
        for line in Path(f"/proc/{pid}/status").read_text().splitlines()
        if line.startswith("VmHWM:")
    )
    files = len(list(Path(f"/proc/{pid}/fd").iterdir()))
    return {
        "CPU s": round((int(fields[11]) + int(fields[12])) / 100, 1),
        "most MB": round(memory / 1024),
        "files": files,
    }


def _config(
    folder: Path,
    names: list[str],
    port: int,
    backend_port: int,
    max_a: int,
    authority: Authority | None,
    *,
    proved: bool,
) -> Path:
    listen = f'host = "127.0.0.1"\nport = {port}\n'
    if authority is not None:
        server = authority.issue("server", "lc", LOOPBACK)
        Path(server.key).chmod(0o600)
        listen += f'certificate = "{server.certificate}"\nkey = "{server.key}"\n'
    password = ""
    if proved:
        kept = folder / "password"
        kept.write_text(hash_password(PASSWORD, secrets.token_bytes(SALT_BYTES)).line())
        kept.chmod(0o600)
        password = f'password_file = "{kept}"\n'
    station = (
        f'circuit = "grid"\nowner = "cpo"\n{password}[[station.evse]]\nfallback_a = 0\nmax_a = {max_a}\n'
    )
    stations = "".join(f'[[station]]\nid = "{name}"\n{station}' for name in names)
    path = folder / "controller.toml"
    path.write_text(
        f'[site]\nid = "lc"\n[store]\ndirectory = "{folder}"\n[listen]\n{listen}'
        f'[[backend]]\nid = "cpo"\nurl = "ws://127.0.0.1:{backend_port}/csms/{{station}}"\n'
        f'[[circuit]]\nid = "grid"\nlimit_a = {LIMIT_A}\n{stations}'
    )
    return path
