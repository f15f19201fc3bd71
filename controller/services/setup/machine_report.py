"""Report of what the gateway has: serial ports, GPIO chips, its time zone."""

from __future__ import annotations

import glob
import os
from pathlib import Path


def find_serial_ports(root: str = "/") -> tuple[str, ...]:
    """Return the serial ports of adapters, by their stable names where they have one."""
    stable = sorted(glob.glob(os.path.join(root, "dev/serial/by-id/*")))
    taken = {os.path.realpath(each) for each in stable}
    plain = [
        each
        for pattern in ("ttyUSB*", "ttyACM*", "ttyAMA*")
        for each in sorted(glob.glob(os.path.join(root, "dev", pattern)))
        if os.path.realpath(each) not in taken
    ]
    return (*stable, *plain)


def find_gpio_chips() -> tuple[str, ...]:
    """Return the GPIO chips of the machine."""
    return tuple(sorted(glob.glob("/dev/gpiochip*")))


def find_timezone(root: Path = Path("/etc")) -> str:
    """Return the time zone of the machine; UTC where it has none by name."""
    try:
        return (root / "timezone").read_text().strip() or "UTC"
    except OSError:
        place = os.path.realpath(root / "localtime")
        return place.partition("zoneinfo/")[2] or "UTC"
