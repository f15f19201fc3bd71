"""The calls of the kernel's character device for GPIO lines, on files that stand in for chips."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path

import pytest
import trio

from drivers import gpio

LINES = 54


class GpioKernel:
    """One chip of 54 lines, `chip`, which the driver opens until the end of the test.

    `high` has a bit for each requested line that is high, in the order of the request; `used` has the
    consumers of lines that are in use; `error` is the number with which each call fails.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
        chip = folder / "gpiochip0"
        chip.touch()
        self.chip = str(chip)
        self.high = 0
        self.error = 0
        self.used: dict[int, bytes] = {}
        self.failed = trio.Event()
        self.requests: list[tuple[int, ...]] = []

        monkeypatch.setattr(fcntl, "ioctl", self.ioctl)

    def ioctl(self, file: int, code: int, data: bytearray) -> int:
        """Answer a call as the kernel does (drivers/gpio/gpiolib-cdev.c)."""
        if self.error:
            self.failed.set()
            raise OSError(self.error, os.strerror(self.error))
        if code == 0x8044B401:
            data[:] = gpio._CHIP_INFO.pack(b"gpiochip0", b"pinctrl", LINES)
        elif code == 0xC100B405:
            assert len(data) == 256
            offset = gpio._LINE_INFO.unpack(data)[2]
            used = offset in self.used
            data[:] = gpio._LINE_INFO.pack(b"", self.used.get(offset, b""), offset, 0, int(used))
        elif code == 0xC250B407:
            self._request(data)
        else:
            assert code == 0xC010B40E
            mask = int.from_bytes(data[8:], "little")
            data[:8] = (self.high & mask).to_bytes(8, "little")
        return 0

    def _request(self, data: bytearray) -> None:
        assert len(data) == 592
        fields = list(gpio._REQUEST.unpack(data))
        lines = tuple(fields[: fields[67]])
        if any(line >= LINES for line in lines):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        if any(line in self.used for line in lines):
            raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))
        assert fields[64].rstrip(b"\0") == b"local-controller"
        assert fields[65] == 1 << 2 | 1 << 8  # an input, pulled up
        self.requests.append(lines)
        fields[-1] = os.open(os.devnull, os.O_RDONLY)
        data[:] = gpio._REQUEST.pack(*fields)
