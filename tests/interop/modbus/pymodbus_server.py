"""A meter by pymodbus' own simulator, on a port of 127.0.0.1, with the registers of an SDM630."""

import asyncio
import struct
import sys

from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

VALUES = {
    0: (230.5, 229.0, 231.5, 12.5, 8.25, 4.0, 2870.0, -1880.0, 920.0),
    52: (1910.0,),
    70: (50.0, 1234.0, 56.0),
}


def words(values: tuple[float, ...]) -> list[int]:
    data = struct.pack(f">{len(values)}f", *values)
    return [int.from_bytes(data[at : at + 2], "big") for at in range(0, len(data), 2)]


async def main() -> None:
    blocks = [
        SimData(address, values=words(values), datatype=DataType.REGISTERS)
        for address, values in VALUES.items()
    ]
    other = [SimData(0, values=0, datatype=DataType.BITS)]
    device = SimDevice(1, simdata=(other, other, [SimData(0, values=0, datatype=DataType.REGISTERS)], blocks))
    server = ModbusTcpServer(device, address=("127.0.0.1", int(sys.argv[1])))
    await server.serve_forever(background=True)
    print("ready", flush=True)
    await asyncio.Event().wait()


asyncio.run(main())
