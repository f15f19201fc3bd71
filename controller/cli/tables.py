"""Console for tables: as wide as the terminal, or one line a row in pipes and files."""

from __future__ import annotations

from rich.console import Console

WIDTH_OF_PIPE = 1000
"""Columns in which each row of any table fits on one line."""


def make_console() -> Console:
    """Return a console that folds long cells in a terminal, and none where another program reads."""
    console = Console()
    return console if console.is_terminal else Console(width=WIDTH_OF_PIPE)
