"""Our WebSockets before the judge: `kosoku`, the cases of the Autobahn test suite, on either side.

Without its cases of compression (12 and 13), which kosoku 0.1 itself does not survive: what is compressed
is held against other engines in tests/controller/links/test_wire.py.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import trio

from tests.interop.echo import run_cases, serve
from tests.interop.programs import PATIENCE_S, free_port, listening

KOSOKU = Path(sys.executable).parent / "kosoku"
WITHOUT = ("-x", "12.*", "-x", "13.*")
CASES = 301
GOOD = {"OK", "NON-STRICT", "INFORMATIONAL"}


def judged(folder: Path) -> dict[str, str]:
    """What the judge has found, by case."""
    (agent,) = json.loads((folder / "index.json").read_text()).values()
    return {case: verdict["behavior"] for case, verdict in agent.items()} | {
        f"{case}, closing": verdict["behaviorClose"] for case, verdict in agent.items()
    }


def bad(verdicts: dict[str, str]) -> dict[str, str]:
    return {case: verdict for case, verdict in verdicts.items() if verdict not in GOOD}


async def test_conformance_as_server_controller_keep_to_protocol(tmp_path: Path) -> None:
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(trio.serve_tcp, serve, 0)
        port = listeners[0].socket.getsockname()[1]
        with trio.fail_after(PATIENCE_S):
            await trio.run_process(
                [KOSOKU, *WITHOUT, "-p", "4", "-o", tmp_path, f"127.0.0.1:{port}"],
                capture_stdout=True,
                check=False,
            )
        nursery.cancel_scope.cancel()
    verdicts = judged(tmp_path)
    assert bad(verdicts) == {}
    assert len(verdicts) == 2 * CASES


async def test_conformance_as_client_controller_keep_to_protocol(tmp_path: Path) -> None:
    port = free_port()
    async with trio.open_nursery() as nursery:
        judge = await nursery.start(
            trio.run_process,
            [KOSOKU, "-m", "fuzzingserver", *WITHOUT, "-o", tmp_path, f"127.0.0.1:{port}"],
        )
        await listening(port)
        with trio.fail_after(PATIENCE_S):
            await run_cases(f"ws://127.0.0.1:{port}")
            await judge.wait()
    verdicts = judged(tmp_path)
    assert bad(verdicts) == {}
    assert len(verdicts) == 2 * CASES
