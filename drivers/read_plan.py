"""Plan of the requests that read a meter, adapted to what the meter and its gateway accept. Sans-IO.

    ranges of one poll       the fewest requests that read all fields: a small gap is cheaper than a request
    exception 1 to 4         the range is split at its gaps, then halved, down to single fields
    a single field refused   an optional one is left out for RETRY_REFUSED_S, a necessary one fails the poll
    the poll succeeds        what was learned is kept for the next polls, else it is discarded

So a gateway that passes only 32 registers, a meter that refuses gaps and one that lacks its export counter
are read after one poll with a few more requests. Discarding what a failed poll learned keeps a device
that answers every request with an exception for a while (right after a connect, during its restart) from
being read register by register for ever.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from drivers.meter_model import MeterModel

MAX_GAP = 40
"""Unused registers (16 bits) that are read rather than skipped; at 9600 baud they take about one request."""
RETRY_REFUSED_S = 600.0
MAX_REQUESTS = 60
"""Requests of one poll at most, splits included."""


class ReadRange(msgspec.Struct, frozen=True):
    """One read request: `count` registers (or discrete inputs) from `address` with function 2, 3 or 4."""

    function: int
    address: int
    count: int

    def covers(self, address: int, count: int) -> bool:
        """Return True if the registers lie inside."""
        return self.address <= address and address + count <= self.address + self.count


class Field(msgspec.Struct, frozen=True, order=True):
    """Registers that make sense only together."""

    function: int
    address: int
    words: int
    required: bool = False

    @property
    def end(self) -> int:
        """Address behind the last register."""
        return self.address + self.words


_NOT_READ: Mapping[int, int] = {}


class RegisterImage:
    """Contents of the registers that one poll has read."""

    def __init__(self) -> None:
        self._words: dict[int, dict[int, int]] = {}

    def store(self, read_range: ReadRange, values: Iterable[int]) -> None:
        """Store the answer to a request."""
        start, count = read_range.address, read_range.count
        self._words.setdefault(read_range.function, {}).update(
            zip(range(start, start + count), values, strict=True)
        )

    def get(self, function: int, address: int, count: int) -> list[int] | None:
        """Get registers; None if one of them was not read."""
        return self.get_all([(function, address, count)])[0]

    def get_all(self, places: Iterable[tuple[int, int, int]]) -> list[list[int] | None]:
        """Get the registers at each place: function, address and number; None if one of them was not read."""
        found: list[list[int] | None] = []
        for function, address, count in places:
            words = self._words.get(function, _NOT_READ)
            read = [*map(words.get, range(address, address + count))]
            found.append(None if None in read else read)  # type: ignore[arg-type]
        return found


class ReadPlan:
    """Requests of one meter, poll by poll.

    `begin` a poll, then take `next_range` until it is None, handing each answer to `store` or `refuse`;
    `finish` a poll whose requests were all answered. `fields` are what is read.
    """

    def __init__(self, fields: Iterable[Field], max_registers: int, *, bridge_gaps: bool = True) -> None:
        self._fields = merge_fields(fields)
        self._max_registers = max_registers
        self._max_gap = MAX_GAP if bridge_gaps else 0
        self._ranges = self._plan(self._fields)
        self._refused: dict[Field, float] = {}
        self._newly_refused: list[Field] = []
        self._pending: deque[ReadRange] = deque()
        self._done: list[ReadRange] = []
        self._current: ReadRange | None = None
        self._requests = 0
        self.image = RegisterImage()

    @property
    def ranges(self) -> tuple[ReadRange, ...]:
        """The requests of the next poll, as far as is known now."""
        return tuple(self._ranges)

    def begin(self, now: float) -> None:
        """Begin a poll at the monotonic time `now` (s)."""
        expired = [field for field, since in self._refused.items() if now - since >= RETRY_REFUSED_S]
        for field in expired:
            del self._refused[field]
            self._ranges.append(_range_of([field]))
        self.image = RegisterImage()
        self._pending = deque(self._ranges)
        self._done, self._newly_refused = [], []
        self._requests = 0

    def next_range(self) -> ReadRange | None:
        """Take the next request; None if the poll is complete."""
        if not self._pending or self._requests >= MAX_REQUESTS:
            return None
        self._requests += 1
        self._current = self._pending.popleft()
        return self._current

    def store(self, values: Sequence[int]) -> None:
        """Store the answer to the last request."""
        assert self._current is not None
        self.image.store(self._current, values)
        self._done.append(self._current)

    def refuse(self) -> Field | None:
        """Split the last request, which the device refused; return the necessary field that it refused.

        None: go on with `next_range`.
        """
        assert self._current is not None
        inside = [
            field
            for field in self._fields
            if field.function == self._current.function and self._current.covers(field.address, field.words)
        ]
        if len(inside) == 1:
            if inside[0].required:
                return inside[0]
            self._newly_refused.append(inside[0])
            return None
        runs = self._plan(inside, max_gap=0)
        if len(runs) == 1:
            middle = self._current.address + self._current.count / 2
            cut = next((at for at, field in enumerate(inside) if field.address >= middle), len(inside) - 1)
            cut = max(1, cut)
            runs = [_range_of(inside[:cut]), _range_of(inside[cut:])]
        self._pending.extendleft(reversed(runs))
        return None

    def finish(self, now: float) -> RegisterImage:
        """End a poll that went through: keep what was learned, return the registers."""
        self._refused.update(dict.fromkeys(self._newly_refused, now))
        self._ranges = [*self._done, *self._pending]
        return self.image

    def _plan(self, fields: Iterable[Field], max_gap: int | None = None) -> list[ReadRange]:
        """Join fields to ranges as long as the gap and the length allow it."""
        widest = self._max_gap if max_gap is None else max_gap
        groups: list[list[Field]] = []
        for field in fields:
            last = groups[-1] if groups else None
            if (
                last is not None
                and last[0].function == field.function
                and field.address - last[-1].end <= widest
                and field.end - last[0].address <= self._max_registers
            ):
                last.append(field)
            else:
                groups.append([field])
        return [_range_of(group) for group in groups]


def merge_fields(fields: Iterable[Field]) -> list[Field]:
    """Sort fields and merge those that are the same or overlap."""
    merged: list[Field] = []
    for field in sorted(fields):
        last = merged[-1] if merged else None
        if last is not None and last.function == field.function and field.address < last.end:
            words = max(last.end, field.end) - last.address
            merged[-1] = Field(last.function, last.address, words, last.required or field.required)
        else:
            merged.append(field)
    return merged


def _range_of(fields: Sequence[Field]) -> ReadRange:
    first = fields[0]
    return ReadRange(first.function, first.address, fields[-1].end - first.address)


READING_QUANTITIES = (
    "voltage_l", "current_l", "power_active", "power_import", "power_export", "frequency",
    "energy_import_total", "energy_export_total",
)  # fmt: skip
"""Beginnings of the quantities that make a `Reading`."""


def fields_of(
    model: MeterModel, base: int = 0, phases: int | None = None, *, every_quantity: bool = False
) -> list[Field]:
    """List the fields to read for a `Reading`, or for `every_quantity` of the model.

    `base` is the address of a SunSpec model's id, which is read along with its length: a device whose
    models have moved is noticed. `phases`: how many must have a value, by default the model's.
    """
    necessary = _necessary(model, phases or model.phases)
    fields: list[Field] = []
    if model.sunspec is not None:
        fields.append(Field(3, base, 2, required=True))
    for quantity, register in model.by_quantity.items():
        if not every_quantity and not quantity.startswith(READING_QUANTITIES):
            continue
        required = quantity in necessary
        fields.append(Field(register.function, base + register.address, register.words, required))
        if register.scale_register is not None:
            fields.append(Field(register.function, base + register.scale_register, 1, required))
    return fields


def _necessary(model: MeterModel, phases: int) -> set[str]:
    """List the quantities without which there is no reading: each phase's current, else its power."""
    found: set[str] = set()
    for phase in range(1, phases + 1):
        if f"current_l{phase}" in model.by_quantity:
            found.add(f"current_l{phase}")
        elif f"power_active_l{phase}" in model.by_quantity:
            found.add(f"power_active_l{phase}")
        else:
            found |= {f"power_import_l{phase}", f"power_export_l{phase}"}
    return found
