"""Finding a SunSpec model in a device: the mark "SunS", then a chain of models, each with its length.

Source: SunSpec Information Model specification, section 6. Pure: it says what to read next.
"""

from __future__ import annotations

from collections.abc import Sequence

from drivers.decoding import Block
from drivers.registers import SunSpecModel

_MARK = (0x5375, 0x6E53)
_END = 0xFFFF
_LONGEST_CHAIN = 64
"""Models in one device at most: a chain that goes on is none."""


class SunSpecMissing(Exception):
    """The device does not have the model. Its text is a person's sentence."""


class SunSpecWalk:
    """Ask `next_read`, hand the registers (None: the device refused) to `take`, until `base` is set."""

    def __init__(self, model: SunSpecModel, function: int) -> None:
        self._model = model
        self._function = function
        self._bases = list(model.bases)
        self._at: int | None = None
        self._seen: list[int] = []
        self.base: int | None = None

    def next_read(self) -> Block:
        """What to read now: the mark at a possible base, or a model's id and length."""
        address = self._bases[0] if self._at is None else self._at
        return Block(self._function, address, 2)

    def take(self, words: Sequence[int] | None) -> None:
        """The two registers asked for. Raises SunSpecMissing where the search has ended in nothing."""
        if self._at is None:
            base = self._bases.pop(0)
            if words is not None and tuple(words) == _MARK:
                self._at = base + 2
            elif not self._bases:
                raise SunSpecMissing(
                    f'no "SunS" at {", ".join(map(str, self._model.bases))}: it is no SunSpec device'
                )
            return
        if words is None or words[0] == _END or len(self._seen) >= _LONGEST_CHAIN:
            seen = ", ".join(map(str, self._seen)) or "none"
            wanted = ", ".join(map(str, self._model.models))
            raise SunSpecMissing(f"it has none of the SunSpec models {wanted}; it has {seen}")
        if words[0] in self._model.models:
            self.base = self._at
            return
        self._seen.append(words[0])
        self._at += 2 + words[1]
        if self._at > _END - 2:
            raise SunSpecMissing("its chain of SunSpec models runs beyond the last register")
