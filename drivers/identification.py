"""Identification of the meter behind a unit number, from its answers to reads. Sans-IO.

First the registers that identify a model are read: a code or a name there is proof. Then each model is
tried by what its registers would hold: line-to-neutral voltages, a mains frequency, powers that fit the
currents and add up. Models share register maps, so several may fit; the scores and reasons show which.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import msgspec

from drivers.decoding import decode_values
from drivers.meter_model import MeterModel
from drivers.read_plan import Field, ReadPlan, ReadRange, RegisterImage, fields_of

VOLTS = (80.0, 290.0)
"""Between line and neutral, at 110 to 240 V."""
HERTZ = ((49.0, 51.0), (59.0, 61.0))
PROOF, VOLTAGE, FREQUENCY, POWER, TOTAL = 10, 3, 2, 2, 1
"""Points of the evidence."""
WORKING_AMPS = 0.1
FIRST_QUANTITIES = ("voltage", "frequency")


class Candidate(msgspec.Struct, frozen=True):
    """A model that may be the one, with its points and the evidence in words."""

    name: str
    score: int
    reasons: tuple[str, ...]
    serial_number: str = ""


class ModelTrial:
    """Trial of one model: take `next_range` until None, hand in each answer, then read `candidate`.

    `known` are the registers that trials of other models have read already.
    """

    def __init__(
        self, name: str, model: MeterModel, known: Mapping[ReadRange, tuple[int, ...] | None]
    ) -> None:
        self._name = name
        self._model = model
        self._known = known
        self._image = RegisterImage()
        self._reasons: list[str] = []
        self._score = 0
        self._serial_number = ""
        self._steps = self._run()
        self._answer: tuple[int, ...] | None = None
        self._range: ReadRange | None = None
        self._advance()

    @property
    def next_range(self) -> ReadRange | None:
        """The registers to read next; None at the end of the trial."""
        return self._range

    def answer(self, words: tuple[int, ...] | None) -> None:
        """Hand in the registers; None if the device refused them."""
        self._answer = words
        self._advance()

    @property
    def candidate(self) -> Candidate | None:
        """The result; None if nothing indicates the model."""
        if self._score <= 0:
            return None
        return Candidate(self._name, self._score, tuple(self._reasons), self._serial_number)

    def _advance(self) -> None:
        self._range = next(self._steps, None)
        while self._range is not None and self._range in self._known:
            self._answer = self._known[self._range]
            self._range = next(self._steps, None)

    def _run(self) -> Iterator[ReadRange]:
        yield from self._probe()
        fields = [*self._fields(FIRST_QUANTITIES)]
        if not fields:
            return
        yield from self._read(fields)
        if not self._judge_mains():
            return
        yield from self._read(_optional(fields_of(self._model)))
        self._judge_powers()
        yield from self._read_serial_number()

    def _probe(self) -> Iterator[ReadRange]:
        """Read the registers that identify the model."""
        for probe in self._model.identify.probe:
            yield ReadRange(probe.function, probe.address, probe.words)
            if self._answer is not None and probe.matches(self._answer):
                self._add(PROOF, f"register {probe.address} holds {probe.decode(self._answer)}")
            elif self._answer is not None:
                self._add(-PROOF, f"register {probe.address} holds another value")

    def _read_serial_number(self) -> Iterator[ReadRange]:
        place = self._model.identify.serial_number
        if place is None:
            return
        yield ReadRange(place.function, place.address, place.words)
        if self._answer is not None:
            self._serial_number = str(place.decode(self._answer))

    def _read(self, fields: Iterable[Field]) -> Iterator[ReadRange]:
        limits = self._model.read
        plan = ReadPlan(fields, limits.max_registers, bridge_gaps=limits.bridge_gaps)
        plan.begin(0.0)
        while (read_range := plan.next_range()) is not None:
            yield read_range
            if self._answer is None:
                plan.refuse()  # a gap, or a quantity that the device lacks: the rest is read without it
            else:
                self._image.store(read_range, self._answer)
                plan.store(self._answer)

    def _fields(self, quantities: tuple[str, ...]) -> Iterator[Field]:
        for quantity, register in self._model.by_quantity.items():
            if quantity.startswith(quantities):
                yield Field(register.function, register.address, register.words)

    def _judge_mains(self) -> bool:
        """Judge voltages and frequency; return whether the trial is worth going on."""
        values = decode_values(self._model, self._image)
        volts = [values.get(f"voltage_l{phase}") for phase in range(1, self._model.phases + 1)]
        measured = [value for value in volts if value is not None]
        if measured and all(VOLTS[0] <= value <= VOLTS[1] for value in measured):
            shown = ", ".join(f"{value:.1f}" for value in measured)
            self._add(VOLTAGE + len(measured), f"voltages {shown} V")
        elif measured and any(value > VOLTS[1] or 0 < value < 1 for value in measured):
            return False
        hertz = values.get("frequency")
        if hertz is not None and any(low <= hertz <= high for low, high in HERTZ):
            self._add(FREQUENCY, f"frequency {hertz:.2f} Hz")
        return self._score > 0

    def _judge_powers(self) -> None:
        values = decode_values(self._model, self._image)
        total = 0.0
        fitting = count = 0
        for phase in range(1, self._model.phases + 1):
            amps, volts, watts = (
                values.get(f"{quantity}_l{phase}") for quantity in ("current", "voltage", "power_active")
            )
            if watts is not None:
                total += watts
                count += 1
            if amps is None or volts is None or watts is None or abs(amps) < WORKING_AMPS:
                continue
            fitting += 1 if abs(watts) <= 1.1 * abs(amps * volts) + 20 else -1
        if fitting > 0:
            self._add(POWER + fitting, "powers fit currents and voltages")
        elif fitting < 0:
            self._add(-POWER, "powers contradict currents and voltages")
        shown = values.get("power_active_total")
        if count > 1 and shown is not None and abs(total) > 1:
            fits = abs(total - shown) <= 0.05 * abs(total) + 20
            self._add(TOTAL if fits else -TOTAL, f"total {shown:.0f} W, sum of phases {total:.0f} W")

    def _add(self, points: int, reason: str) -> None:
        self._score += points
        self._reasons.append(reason)


def _optional(fields: Iterable[Field]) -> list[Field]:
    """Return the fields so that a refused one does not end the trial."""
    return [Field(field.function, field.address, field.words) for field in fields]
