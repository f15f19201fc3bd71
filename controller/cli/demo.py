"""`local-controller demo`: a simulated site around the real controller."""

from __future__ import annotations

import argparse
import contextlib
from functools import partial

import trio

from controller.cli.arguments import (
    OK,
    CommandError,
    Subcommands,
    new_file,
    seconds,
    whole_number,
)
from controller.demo.demo_run import run_demo


def add_parser(commands: Subcommands) -> None:
    """Add the subcommand."""
    parser = commands.add_parser("demo", help="run a simulated site around the real controller")
    parser.add_argument("--duration", type=seconds, metavar="SECONDS", help="default: until Ctrl-C")
    parser.add_argument(
        "--seed", type=whole_number, default=1, metavar="N", help="selects cars and building load"
    )
    parser.add_argument("--report", type=new_file, metavar="FILE", help="write the measurements as JSON")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the demo. Raises CommandError with each criterion that was not met."""
    failures: tuple[str, ...] = ()
    with contextlib.suppress(KeyboardInterrupt):
        demo = partial(run_demo, duration_s=options.duration, seed=options.seed, report=options.report)
        failures = tuple(trio.run(demo).failures)
    if failures:
        raise CommandError("\n".join(failures))
    return OK
