"""An energy guard's limit over EEBUS until the last station's profile is on the wire; handshake; memory.

The controller is the installed program, with its files on disk; stations, backend and guard are in this
process, which shares the machine with it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import trio

from controller.signing.signing_keys import new_private_key
from tests.bench.dimming import FULL_A, LONGEST_S, DimmedStations, controller
from tests.interop.programs import free_port
from tests.scenario.eebus_guard import Identity, SocketGuard, open_websocket

COUNTS = (100,)


def bench(counts: Sequence[int] = COUNTS) -> list[dict[str, object]]:
    """One row a site."""
    return [trio.run(_limited, count) for count in counts]


async def _limited(count: int) -> dict[str, object]:
    site, port, eebus_port = (
        DimmedStations([f"CS{number:04}" for number in range(count)]),
        free_port(),
        free_port(),
    )
    with tempfile.TemporaryDirectory() as directory, trio.fail_after(2 * LONGEST_S):
        identity = Identity(Path(directory))
        async with trio.open_nursery() as nursery:
            await nursery.start(site.serve)
            async with controller(_config(Path(directory), site, port, eebus_port, identity.ski)) as process:
                await _wait_port(eebus_port)
                before_kb = _memory_kb(process.pid)
                started = trio.current_time()
                async with open_websocket(eebus_port, identity) as connection:
                    guard = SocketGuard(connection)
                    await guard.handshake()
                    handshake_s = trio.current_time() - started
                    await guard.bind()
                    after_kb = _memory_kb(process.pid)
                    await guard.beat()
                    # The first limit ends the failsafe value of the start; an active one follows.
                    assert await guard.write_limit(4200, active=False) == 0
                    nursery.start_soon(site.run, port)
                    await site.all_charge(own_link=False)
                    await guard.beat()
                    sent = trio.current_time()
                    assert await guard.write_limit(4200) == 0
                    answered_s = trio.current_time() - sent
                    took = sorted(await site.all_lower(sent))
            nursery.cancel_scope.cancel()
    return {
        "what": f"{count} stations",
        "handshake s": round(handshake_s, 3),
        "answered s": round(answered_s, 3),
        "first profile s": round(took[0], 3),
        "last profile s": round(took[-1], 3),
        "memory of a partner kB": after_kb - before_kb,
        "memory of the process MB": round(after_kb / 1024),
    }


async def _wait_port(port: int) -> None:
    """Wait until the controller listens."""
    while True:
        try:
            stream = await trio.open_tcp_stream("127.0.0.1", port)
        except OSError:
            await trio.sleep(0.2)
        else:
            await trio.aclose_forcefully(stream)
            return


def _memory_kb(process: int) -> int:
    text = Path(f"/proc/{process}/status").read_text()
    return next(int(line.split()[1]) for line in text.splitlines() if line.startswith("VmRSS:"))


def _config(folder: Path, site: DimmedStations, port: int, eebus_port: int, ski: str) -> Path:
    own = folder / "key.pem"
    own.touch(0o600)
    own.write_bytes(new_private_key("secp256r1", "lc", 0, 4e9))
    station = f'circuit = "grid"\nowner = "cpo"\n[[station.evse]]\nmax_a = {FULL_A}\nsteuve = true\n'
    stations = "".join(f'[[station]]\nid = "{name}"\n{station}' for name in site.names)
    path = folder / "controller.toml"
    path.write_text(
        f'[site]\nid = "lc"\n[store]\ndirectory = "{folder}"\n'
        f'[listen]\nhost = "127.0.0.1"\nport = {port}\n'
        f'[[backend]]\nid = "cpo"\nurl = "ws://127.0.0.1:{site.backend_port}/csms/{{station}}"\n'
        f'[[circuit]]\nid = "grid"\nlimit_a = {FULL_A * len(site.names) + 100}\n{stations}'
        '[signing]\nkey = "key.pem"\n[dimming]\nclock = "believed"\n'
        '[[dimming.source]]\nid = "box"\nkind = "eebus"\n'
        f'[eebus]\nhost = "127.0.0.1"\nport = {eebus_port}\ndiscovery = false\n'
        f'[[eebus.partner]]\nski = "{ski}"\n'
    )
    return path
