"""GPIO lines of the machine, read through the kernel's character device.

Each line is an input with its internal pull-up: a contact that closes it to ground makes it low, and a
broken wire reads as an open contact. Source: Linux uapi `gpio.h`, version 2 of the interface (5.10).
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from drivers.coded_text import coded
from drivers.errors import InputError

CONSUMER = b"local-controller"
"""Consumer of the lines, as `gpioinfo` shows it."""

_GET_CHIP_INFO = 0x8044B401
"""GPIO_GET_CHIPINFO_IOCTL: _IOR(0xB4, 0x01, struct gpiochip_info)."""
_GET_LINE_INFO = 0xC100B405
"""GPIO_V2_GET_LINEINFO_IOCTL: _IOWR(0xB4, 0x05, struct gpio_v2_line_info)."""
_GET_LINE = 0xC250B407
"""GPIO_V2_GET_LINE_IOCTL: _IOWR(0xB4, 0x07, struct gpio_v2_line_request)."""
_GET_VALUES = 0xC010B40E
"""GPIO_V2_LINE_GET_VALUES_IOCTL: _IOWR(0xB4, 0x0E, struct gpio_v2_line_values)."""
_INPUT, _PULL_UP = 1 << 2, 1 << 8
_USED = 1 << 0
_MOST_LINES = 64

_CHIP_INFO = struct.Struct("=32s 32s I")
"""Name, label, number of lines."""
_LINE_INFO = struct.Struct("=32s 32s I I Q 160x 16x")
"""Name, consumer, offset, number of attributes, flags."""
_REQUEST = struct.Struct(f"={_MOST_LINES}I 32s Q I 20x 240x I I 20x i")
"""Offsets, consumer, flags, attributes (none), lines, event buffer, file descriptor."""
_VALUES = struct.Struct("=QQ")


def check_lines(chip: str, offsets: Sequence[int]) -> None:
    """Check that lines exist and that no other program uses them, without requesting them.

    Raises InputError, whose text names the line and its consumer.
    """
    with _opened(chip) as device:
        _check_lines(device, chip, offsets)


class GpioLines:
    """Lines of one chip, held until closed. Raises InputError if they cannot be requested."""

    def __init__(self, chip: str, offsets: Sequence[int]) -> None:
        self._chip = chip
        self._count = len(offsets)
        padded = [*offsets, *[0] * (_MOST_LINES - len(offsets))]
        request = bytearray(_REQUEST.pack(*padded, CONSUMER, _INPUT | _PULL_UP, 0, self._count, 0, 0))
        with _opened(chip) as device:
            try:
                fcntl.ioctl(device, _GET_LINE, request)
            except OSError:
                # The kernel answers busy or invalid for the whole request: find the line that is the reason.
                _check_lines(device, chip, offsets)
                raise
        self._lines: int = _REQUEST.unpack(request)[-1]

    def read_closed(self) -> tuple[bool, ...]:
        """Read for each line if its contact is closed. Raises InputError."""
        values = bytearray(_VALUES.pack(0, (1 << self._count) - 1))
        try:
            fcntl.ioctl(self._lines, _GET_VALUES, values)
        except OSError as error:
            raise InputError(_describe(self._chip, error)) from error
        bits: int = _VALUES.unpack(values)[0]
        return tuple(not bits >> line & 1 for line in range(self._count))

    def close(self) -> None:
        """Release the lines."""
        os.close(self._lines)


@contextmanager
def _opened(chip: str) -> Iterator[int]:
    """Open a chip; any OSError about it becomes an InputError."""
    try:
        device = os.open(chip, os.O_RDONLY | os.O_CLOEXEC)
        try:
            yield device
        finally:
            os.close(device)
    except OSError as error:
        raise InputError(_describe(chip, error)) from error


def _check_lines(device: int, chip: str, offsets: Sequence[int]) -> None:
    """Check lines of an open chip. Raises InputError and OSError."""
    described = bytearray(_CHIP_INFO.size)
    fcntl.ioctl(device, _GET_CHIP_INFO, described)
    count: int = _CHIP_INFO.unpack(described)[2]
    for offset in offsets:
        if offset >= count:
            raise InputError(
                coded(
                    "line {line} of {chip} does not exist (its lines are 0 to {last}): correct the input of "
                    "the contact; `gpioinfo` lists chips and lines",
                    line=offset,
                    chip=chip,
                    last=count - 1,
                )
            )
        info = bytearray(_LINE_INFO.pack(b"", b"", offset, 0, 0))
        fcntl.ioctl(device, _GET_LINE_INFO, info)
        _, used_by, _, _, flags = _LINE_INFO.unpack(info)
        consumer = used_by.rstrip(b"\0")
        if flags & _USED and consumer != CONSUMER:
            # Any program may have written this name: repr() leaves no line break of it in a log.
            name = repr(consumer.decode(errors="replace")) if consumer else coded("the kernel")
            raise InputError(
                coded(
                    "line {line} of {chip} is used by {name}: stop it, or wire the contact to another line; "
                    "`gpioinfo` lists chips and lines",
                    line=offset,
                    chip=chip,
                    name=name,
                )
            )


def _describe(chip: str, error: OSError) -> str:
    """Return what is wrong with a chip, and the remedy."""
    match error.errno:
        case errno.ENOENT | errno.ENODEV | errno.ENXIO:
            return coded(
                "{chip} does not exist: connect its adapter, or write a chip that `gpioinfo` lists", chip=chip
            )
        case errno.EACCES | errno.EPERM:
            return coded(
                "{chip} may not be opened by the controller's user: `sudo local-controller doctor` names the "
                "group that it needs",
                chip=chip,
            )
        case errno.ENOTTY:
            return coded("{chip} is not a GPIO chip: write a chip that `gpioinfo` lists", chip=chip)
        case errno.EBUSY:
            return coded("lines of {chip} are used by another local-controller: stop it", chip=chip)
        case _:
            return coded(
                "{chip} cannot be read ({reason}): connect it again, or restart the gateway",
                chip=chip,
                reason=error.strerror,
            )
