"""The demo: a simulated site around the real controller, shown live and measured for a report."""

from __future__ import annotations

import logging
import math
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import trio
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from msgspec.structs import replace
from rich.console import Console
from rich.live import Live

from controller.demo import demo_configuration, live_table
from controller.demo.demo_meters import open_meters
from controller.demo.demo_report import DemoReport, EvidenceReport, site_report
from controller.demo.demo_world import DemoWorld
from controller.dimming.evidence_audit import audit
from controller.services import app
from controller.services.configuration.configuration import load_configuration
from controller.signing.signing_keys import new_private_key, read_key_files
from controller.store.evidence_files import evidence_files
from controller.store.store_files import FOLDER

HOUR_S, YEAR_S = 3600.0, 365 * 86_400.0
REDRAW_S = 0.5
SUMMARY_S = 5.0
"""Interval of the summary lines without a terminal."""


async def run_demo(
    *, duration_s: float | None = None, seed: int = 1, report: Path | None = None, live: bool | None = None
) -> DemoReport:
    """Run the demo for `duration_s`, or until SIGINT or SIGTERM; the report, also written to `report`.

    `live` shows the table; None: where stdout is a terminal. The controller runs as `run` runs it, from a
    configuration file in a temporary folder. A few seconds more pass in the end: the last frames must
    arrive before they are counted.
    """
    live = sys.stdout.isatty() if live is None else live
    with TemporaryDirectory(prefix="local-controller-demo-") as folder, _log_tail(live) as log:
        result = await _run(Path(folder), seed, duration_s, live, log)
    print(result)
    if report is not None:
        await trio.Path(report).write_bytes(result.json())
    return result


async def _run(
    folder: Path, seed: int, duration_s: float | None, live: bool, log: live_table.LogTail
) -> DemoReport:
    """Run the demo once; the controller ends before its peers, which receive its last messages."""
    async with open_meters() as meters, trio.open_nursery() as peers:
        world = DemoWorld(seed, {circuit: meter.registers for circuit, meter in meters.items()})
        public = _new_key(folder)
        path = folder / "controller.toml"
        demo_configuration.write_configuration(
            path,
            list(world.site.circuits.values()),
            world.plans,
            {circuit: meter.settings for circuit, meter in meters.items()},
            await peers.start(world.backend.serve),
            world.grid_operator.signer.public,
        )
        config, _ = load_configuration(path)
        async with trio.open_nursery() as nursery:
            controller: app.App = await nursery.start(app.run, config)
            print(f"the controller's page: http://127.0.0.1:{controller.web_port}/", flush=True)
            peers.start_soon(world.run, f"ws://127.0.0.1:{controller.port}/ocpp")
            nursery.start_soon(_show_live if live else _show_lines, world, controller, log)
            await _wait_until_end(duration_s)
            seen = site_report(world.site)
            await world.drain()
            nursery.cancel_scope.cancel()
        peers.cancel_scope.cancel()
    return replace(world.report(seen), evidence=_evidence(folder, public))


def _new_key(folder: Path) -> EllipticCurvePublicKey:
    """Write the controller's own key; returns its public half."""
    file = folder / demo_configuration.KEY
    now = time.time()
    file.touch(0o600)
    file.write_bytes(new_private_key("secp256r1", "lc-demo", now - HOUR_S, now + YEAR_S))
    [own] = read_key_files(file).values()
    return own.private.public_key()


def _evidence(folder: Path, public: EllipticCurvePublicKey) -> EvidenceReport:
    """Audit the evidence with the public key alone."""
    files = [(path.name, path.read_bytes()) for path in evidence_files(folder / FOLDER)]
    found = audit(files, [public])
    return EvidenceReport(records=found.records, findings=tuple(map(str, found.findings)))


async def _wait_until_end(duration_s: float | None) -> None:
    """Wait until the end of `duration_s`, SIGINT or SIGTERM."""
    with (
        trio.move_on_after(math.inf if duration_s is None else duration_s),
        trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals,
    ):
        async for _ in signals:
            return


async def _show_live(world: DemoWorld, controller: app.App, log: live_table.LogTail) -> None:
    with Live(console=Console(), auto_refresh=False) as picture:
        while True:
            frames = world.ledger.frames
            picture.update(
                live_table.render(world.site, controller.status(), frames, log.lines), refresh=True
            )
            await trio.sleep(REDRAW_S)


async def _show_lines(world: DemoWorld, controller: app.App, log: live_table.LogTail) -> None:
    while True:
        await trio.sleep(SUMMARY_S)
        print(live_table.summary(world.site, controller.status(), world.ledger.frames), flush=True)


@contextmanager
def _log_tail(live: bool) -> Iterator[live_table.LogTail]:
    """Show the controller's log below the table; without a table, its warnings on stderr."""
    tail = live_table.LogTail()
    handlers: list[logging.Handler] = [tail]
    if not live:
        warnings = logging.StreamHandler(sys.stderr)
        warnings.setLevel(logging.WARNING)
        handlers.append(warnings)
    loggers = [logging.getLogger(name) for name in ("controller", "drivers")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.INFO)
        for handler in handlers:
            logger.addHandler(handler)
    try:
        yield tail
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
            for handler in handlers:
                logger.removeHandler(handler)
