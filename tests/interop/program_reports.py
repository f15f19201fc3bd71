"""Reports of the programs that stand for stations and backends: a JSON line each, on stdout.

The programs are run by path, so their folder is where they import this from.
"""

import json
import logging
from datetime import UTC, datetime


def report(**event: object) -> None:
    """Print a report; the packages read decimals as `Decimal`."""
    print(json.dumps(event, default=float), flush=True)


def now() -> str:
    """Return the time as OCPP has it."""
    return datetime.now(UTC).isoformat()


class FailureReports(logging.Handler):
    """Report what a package logs about a message that it has rejected."""

    def emit(self, record: logging.LogRecord) -> None:
        report(complaint=record.getMessage())
