"""`make bench`: what is measured, never asserted. `--json FILE` keeps the figures."""

from __future__ import annotations

import argparse
import json
import sys
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.bench import (
    allocator,
    crash,
    dimming,
    eebus,
    modbus,
    overlay,
    path,
    quarter_peak,
    relay,
    signing,
    site,
    soak,
    storm,
)

FILE_COLUMNS = 400
"""Columns for a table that goes to a file or a pipe: more than any needs."""

BENCHES = {
    "allocator": allocator.bench,
    "site": site.bench,
    "relay": relay.bench,
    "signing": signing.bench,
    "storm": storm.bench,
    "dimming": dimming.bench,
    "eebus": eebus.bench,
    "overlay": overlay.bench,
    "modbus": modbus.bench,
    "path": path.bench,
    "quarter-peak": quarter_peak.bench,
    "crash": partial(crash.bench, 25),
    "soak": partial(soak.bench, 50, 60.0),
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="make bench")
    parser.add_argument("which", nargs="*", metavar="BENCH", help=f"of {', '.join(BENCHES)}; default all")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--quick", action="store_true", help="less of what has a small form: the relay")
    parser.add_argument("--kills", type=int, default=25, help="of the crash test")
    parser.add_argument("--seconds", type=float, default=60.0, help="length of the soak")
    parser.add_argument("--stations", type=int, default=50, help="stations of the soak")
    options = parser.parse_args()
    results = {}
    benches = BENCHES | {
        "relay": partial(relay.bench, quick=options.quick),
        "crash": partial(crash.bench, options.kills),
        "soak": partial(soak.bench, options.stations, options.seconds),
    }
    for name in options.which or benches:
        results[name] = benches[name]()
        _show(name, results[name])
    if options.json:
        options.json.write_text(json.dumps(results, indent=2) + "\n")


def _show(name: str, rows: list[dict[str, object]]) -> None:
    table = Table(title=name, title_justify="left")
    columns = list(dict.fromkeys(key for row in rows for key in row))
    for column in columns:
        table.add_column(column, justify="left" if column == "what" else "right")
    for row in rows:
        table.add_row(*(str(row.get(column, "")) for column in columns))
    Console(width=None if sys.stdout.isatty() else FILE_COLUMNS).print(table)


main()
