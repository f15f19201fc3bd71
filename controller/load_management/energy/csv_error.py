"""Error of files that the energy plan is read from."""

from __future__ import annotations


class EnergyFileError(Exception):
    """Mistakes in a file of prices or departures: lines of text, each with its place and the remedy."""

    def __init__(self, mistakes: list[str]) -> None:
        super().__init__("; ".join(mistakes))
        self.mistakes = mistakes
