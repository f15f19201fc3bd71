"""GPIO lines of the machine, read through the kernel's character device.

Each line is an input with its internal pull-up: a contact that closes it to ground makes it low, and a
broken wire reads as an open contact. Source: Linux uapi `gpio.h`, version 2 of the interface (5.10).
"""

from __future__ import annotations

import fcntl
import os
import struct
from collections.abc import Sequence

from drivers.errors import InputError

CONSUMER = b"local-controller"
"""Consumer of the lines, as `gpioinfo` shows it."""

_GET_LINE = 0xC250B407
"""GPIO_V2_GET_LINE_IOCTL: _IOWR(0xB4, 0x07, struct gpio_v2_line_request)."""
_GET_VALUES = 0xC010B40E
"""GPIO_V2_LINE_GET_VALUES_IOCTL: _IOWR(0xB4, 0x0E, struct gpio_v2_line_values)."""
_INPUT, _PULL_UP = 1 << 2, 1 << 8
_MOST_LINES = 64

_REQUEST = struct.Struct(f"={_MOST_LINES}I 32s Q I 20x 240x I I 20x i")
"""Offsets, consumer, flags, attributes (none), lines, event buffer, file descriptor."""
_VALUES = struct.Struct("=QQ")


class GpioLines:
    """Lines of one chip, held until closed. Raises InputError if they cannot be requested."""

    def __init__(self, chip: str, offsets: Sequence[int]) -> None:
        self._chip = chip
        self._count = len(offsets)
        padded = [*offsets, *[0] * (_MOST_LINES - len(offsets))]
        request = bytearray(_REQUEST.pack(*padded, CONSUMER, _INPUT | _PULL_UP, 0, self._count, 0, 0))
        try:
            device = os.open(chip, os.O_RDONLY | os.O_CLOEXEC)
            try:
                fcntl.ioctl(device, _GET_LINE, request)
            finally:
                os.close(device)
        except OSError as error:
            raise self._failed(error) from error
        self._lines: int = _REQUEST.unpack(request)[-1]

    def read_closed(self) -> tuple[bool, ...]:
        """Read for each line if its contact is closed. Raises InputError."""
        values = bytearray(_VALUES.pack(0, (1 << self._count) - 1))
        try:
            fcntl.ioctl(self._lines, _GET_VALUES, values)
        except OSError as error:
            raise self._failed(error) from error
        bits: int = _VALUES.unpack(values)[0]
        return tuple(not bits >> line & 1 for line in range(self._count))

    def close(self) -> None:
        """Release the lines."""
        os.close(self._lines)

    def _failed(self, error: OSError) -> InputError:
        return InputError(
            f"{self._chip} cannot be read ({error.strerror}); give the controller's user access to it, "
            "and stop other programs that use its lines"
        )
