"""Discovery of the SunSpec meters of a device. Sans-IO: it names the next registers to read.

The identifier "SunS" stands at one of three base addresses; behind it a chain of models follows, each with
its id and the number of its registers, up to id 0xFFFF (SunSpec Information Model specification, 6). The
whole chain is read, so all meters of the device are known. The length that a model announces decides: a
device whose model has another length than the standard's has another layout, and is refused.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from drivers.coded_text import coded
from drivers.errors import Cause, SunSpecError
from drivers.meter_model import SUNSPEC_BASES
from drivers.read_plan import ReadRange
from drivers.reading import MeterIdentity

_MARK = (0x5375, 0x6E53)
_END = 0xFFFF
_COMMON = 1
_COMMON_READ = 64
"""Texts of the common model: manufacturer 16 registers, model 16, options 8, version 8, serial number 16."""
_COMMON_PIECE = 16
"""Registers of it that a gateway with a lower limit is asked for at a time."""
MAX_MODELS = 64
FUNCTION = 3

PHASES = {201: 1, 202: 2, 203: 3, 204: 3, 211: 1, 212: 2, 213: 3, 214: 3}
"""Phases by the id of a meter model: single, split, wye and delta (SunSpec models 201 to 204, 211 to 214)."""


class SunSpecMeter(msgspec.Struct, frozen=True):
    """One meter of a device. `instance` counts its meters from 1; `role`: from the common model before.

    `identity`: the texts of that common model.
    """

    instance: int
    model: int
    base: int
    length: int
    role: str = ""
    identity: MeterIdentity = MeterIdentity()

    def __str__(self) -> str:
        role = f' ("{self.role}")' if self.role else ""
        return f"{self.instance}: model {self.model} at {self.base}{role}"


class Selection(msgspec.Struct, frozen=True):
    """Choice of one meter of a device. None: any."""

    instance: int | None = None
    model: int | None = None
    role: str | None = None

    def matches(self, meter: SunSpecMeter) -> bool:
        """Return True if the configuration names the meter."""
        return (
            (self.instance is None or self.instance == meter.instance)
            and (self.model is None or self.model == meter.model)
            and (self.role is None or self.role.lower() in meter.role.lower())
        )


class SunSpecDiscovery:
    """Chain of one device: read `next_range`, hand the answer to `store` or `refuse`, until it is None.

    `meters` are complete then. Raises SunSpecError where the device has no chain.
    """

    def __init__(self) -> None:
        self._bases = list(SUNSPEC_BASES)
        self._at: int | None = None
        self._common: list[ReadRange] = []
        """Reads of the common model's texts that are still to be made."""
        self._common_words = [0] * _COMMON_READ
        self._refusals: list[str] = []
        self._role = ""
        self._identity = MeterIdentity()
        self._common_base = 0
        self._complete = False
        self._models: list[int] = []
        self.meters: list[SunSpecMeter] = []

    @property
    def models(self) -> tuple[int, ...]:
        """Ids of all models of the chain."""
        return tuple(self._models)

    def next_range(self) -> ReadRange | None:
        """Return the registers to read next; None once the chain is complete."""
        if self._complete:
            return None
        if self._common:
            return self._common[0]
        return ReadRange(FUNCTION, self._bases[0] if self._at is None else self._at, 2)

    def store(self, words: Sequence[int]) -> None:
        """Store the registers asked for."""
        if self._common:
            read_range = self._common.pop(0)
            offset = read_range.address - self._common_base
            self._common_words[offset : offset + read_range.count] = words
            self._take_common_texts()
        elif self._at is None:
            base = self._bases.pop(0)
            if tuple(words) == _MARK:
                self._at = base + 2
            else:
                self._check_bases_left()
        else:
            self._store_head(words[0], words[1])

    def refuse(self, exception: str) -> None:
        """Take the device's exception, e.g. "exception 2 (illegal data address)"."""
        if self._common:
            self._split_common()
            return
        if self._at is not None:
            raise SunSpecError(
                coded(
                    "it answers {exception} inside its chain of SunSpec models, at {address}",
                    exception=exception,
                    address=self._at,
                ),
                Cause.REFUSED,
            )
        self._refusals.append(f"{self._bases.pop(0)}: {exception}")
        self._check_bases_left()

    def select(self, models: Mapping[int, int], selection: Selection) -> SunSpecMeter:
        """Select the meter that is configured. `models`: the ids that can be decoded, with their lengths.

        Raises SunSpecError: no such meter, several, or a layout that is not the standard's.
        """
        suitable = [meter for meter in self.meters if meter.model in models and selection.matches(meter)]
        if not suitable:
            supported = ", ".join(map(str, sorted(models)))
            found = "; ".join(map(str, self.meters)) or coded(
                "none among its models {models}", models=_listed(self._models)
            )
            raise SunSpecError(
                coded(
                    "it has no meter of SunSpec model {supported}{selection}; its meters: {found}",
                    supported=supported,
                    selection=_described(selection),
                    found=found,
                )
            )
        if len(suitable) > 1:
            raise SunSpecError(
                coded(
                    "it has {count} meters ({meters}); set sunspec_instance, sunspec_model or sunspec_role "
                    "of the meter at the circuit",
                    count=len(suitable),
                    meters="; ".join(map(str, suitable)),
                ),
                Cause.AMBIGUOUS,
            )
        meter = suitable[0]
        if meter.length != models[meter.model]:
            raise SunSpecError(
                coded(
                    "its SunSpec model {model} at {address} announces {length} registers, the standard's has "
                    "{standard}: the layout is unknown; update its firmware, or use a model of its "
                    "manufacturer",
                    model=meter.model,
                    address=meter.base,
                    length=meter.length,
                    standard=models[meter.model],
                )
            )
        return meter

    def _store_head(self, model: int, length: int) -> None:
        assert self._at is not None
        if model == _END:
            self._complete = True
            return
        if len(self._models) >= MAX_MODELS or self._at + 2 + length > _END - 2:
            raise SunSpecError(coded("its chain of SunSpec models has no end"))
        self._models.append(model)
        if model == _COMMON:
            self._role, self._identity = "", MeterIdentity()
            if length >= _COMMON_READ:
                self._common_base, self._common_words = self._at + 2, [0] * _COMMON_READ
                self._common = [ReadRange(FUNCTION, self._common_base, _COMMON_READ)]
        elif model in PHASES:
            instance = len(self.meters) + 1
            meter = SunSpecMeter(instance, model, self._at, length, self._role, self._identity)
            self.meters.append(meter)
        self._at += 2 + length

    def _split_common(self) -> None:
        """Ask in pieces for the common model that was refused; a refused piece stays empty.

        The chain can be read without its texts, so a gateway that passes only 16 registers costs none of it.
        """
        read_range = self._common.pop(0)
        if read_range.count > _COMMON_PIECE:
            self._common = [
                ReadRange(FUNCTION, address, _COMMON_PIECE)
                for address in range(read_range.address, read_range.address + read_range.count, _COMMON_PIECE)
            ]
        else:
            self._take_common_texts()

    def _take_common_texts(self) -> None:
        """Take the texts of the common model for the meters behind it."""
        data = b"".join(word.to_bytes(2, "big") for word in self._common_words)
        manufacturer, model, options, version, serial_number = (
            _text(data[first:end]) for first, end in ((0, 32), (32, 64), (64, 80), (80, 96), (96, 128))
        )
        self._role = " ".join(part for part in (model, options) if part)
        self._identity = MeterIdentity(
            manufacturer=manufacturer, model=model, serial_number=serial_number, firmware=version
        )

    def _check_bases_left(self) -> None:
        if self._bases:
            return
        if self._refusals:
            raise SunSpecError(
                coded(
                    "it answers where the SunSpec identifier may stand with {refusals}; check its unit "
                    "number, and that SunSpec is switched on in it",
                    refusals=", ".join(self._refusals),
                ),
                Cause.REFUSED,
            )
        raise SunSpecError(
            coded(
                'it has no "SunS" at {addresses}: it is no SunSpec device, or SunSpec is switched off in it',
                addresses=", ".join(map(str, SUNSPEC_BASES)),
            )
        )


def _text(data: bytes) -> str:
    text = data.split(b"\0")[0].decode("ascii", "replace").strip()
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def _listed(models: Sequence[int]) -> str:
    return ", ".join(map(str, models)) or coded("(empty chain)")


def _described(selection: Selection) -> str:
    parts = [
        f" {name} {value}"
        for name, value in (
            ("instance", selection.instance),
            ("model", selection.model),
            ("role", selection.role),
        )
        if value is not None
    ]
    return coded(" with{parts}", parts=" and".join(parts)) if parts else ""
