"""The demo's meters: one at the grid on Modbus TCP, one at a row on Modbus RTU over a pseudo-terminal."""

from __future__ import annotations

import os
import tty
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import msgspec
import trio

from drivers.meter_model import load_model
from drivers.simulated import SimulatedMeter, serve_serial, serve_tcp

_TCP_DRIVER, _TCP_UNIT = "janitza-umg604", 1
_RTU_DRIVER, _RTU_UNIT = "eastron-sdm630-v2", 2


class DemoMeter(msgspec.Struct, frozen=True):
    """A meter: its registers, which the physics writes, and its keys in the configuration."""

    registers: SimulatedMeter
    settings: Mapping[str, Any]


@asynccontextmanager
async def open_meters() -> AsyncIterator[Mapping[str, DemoMeter]]:
    """Serve the meters inside the block; each has the id of the circuit that it measures."""
    grid = SimulatedMeter(load_model(_TCP_DRIVER), _TCP_UNIT)
    row = SimulatedMeter(load_model(_RTU_DRIVER), _RTU_UNIT)
    with _pseudo_terminal() as (descriptor, device):
        async with trio.open_nursery() as nursery:
            port = await nursery.start(serve_tcp, grid)
            await nursery.start(serve_serial, descriptor, row)
            yield {
                "grid": DemoMeter(
                    grid,
                    {
                        "driver": _TCP_DRIVER,
                        "transport": "tcp",
                        "host": "127.0.0.1",
                        "port": port,
                        "unit": _TCP_UNIT,
                        "interval_s": 0.5,
                    },
                ),
                "row-a": DemoMeter(
                    row, {"driver": _RTU_DRIVER, "transport": "rtu", "device": device, "unit": _RTU_UNIT}
                ),
            }
            nursery.cancel_scope.cancel()


@contextmanager
def _pseudo_terminal() -> Iterator[tuple[int, str]]:
    """Open a pseudo-terminal; yields the near end's descriptor and the device of the serial line."""
    near, far = os.openpty()
    try:
        tty.setraw(far)  # bytes as they are: no echo, no line ends
        yield near, os.ttyname(far)
    finally:
        os.close(near)
        os.close(far)
