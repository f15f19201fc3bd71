"""The house stands as designed: imports run downwards, and only the rooms that may know IO know it.

The rules are the tables here; the checker is a function from sources to findings, and it is tested
itself on small bad sources: a rule that cannot fail holds nothing.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

FLOORS = {
    "cli": 4, "commands": 4, "daemon": 4, "desks": 4, "demo": 4, "simulate": 4,
    "terminal": 4, "watch": 4,
    "links": 3, "web": 3, "store": 3, "notify": 3, "clock": 3,
    "relay": 2, "site": 2, "dimming": 2, "overlay": 2,
    "signing": 1, "pki": 1, "ocpp": 1, "config": 1, "groups": 1,
    "drivers": 0,
}  # fmt: skip
"""The rooms: packages and modules of `controller`, and `drivers` below all."""

SEPARATE_FLOOR = 2
"""The rooms of this floor do not know each other: a higher one composes them."""

SANS_IO_FLOORS = {1, 2}
IO = {"trio", "socket", "ssl", "select", "time", "serial"}
PURE_DRIVERS = {
    "drivers/decoding.py",
    "drivers/eebus_lpc.py",
    "drivers/health.py",
    "drivers/input_maps.py",
    "drivers/modbus/framing.py",
    "drivers/reading.py",
    "drivers/registers.py",
    "drivers/settings.py",
    "drivers/sunspec.py",
}

WEBSOCKET_ROOMS = {"websockets": "links", "trio_websocket": "demo", "wsproto": None}
"""Who knows which engine: a simulated peer has another than the controller, or they would share mistakes."""

NOWHERE = {"asyncio", "anyio", "aiohttp"}

COMPOSES_THE_DEMO = {"controller/demo/demo.py", "controller/demo/table.py"}
"""All others in there are strangers to the controller: they know the protocols, and not its code."""

MOST_LINES = 400


def findings(sources: Mapping[str, str]) -> list[str]:
    """What stands against the rules in files given as {path: text}."""
    return [finding for path, text in sorted(sources.items()) for finding in _of_file(path, text)]


def _of_file(path: str, text: str) -> Iterator[str]:
    lines = len(text.splitlines())
    if lines > MOST_LINES:
        yield f"{path}: {lines} lines, {MOST_LINES} at most"
    room = _room(path.removesuffix(".py").replace("/", "."))
    if room is not None and room not in FLOORS:
        yield f"{path}: room {room} stands on no floor"
        return
    for line, name in _imports(text):
        for rule in _against(path, room, name):
            yield f"{path}:{line}: imports {name}: {rule}"


def _against(path: str, room: str | None, name: str) -> Iterator[str]:
    """The rules that an import breaks."""
    package = name.partition(".")[0]
    if package == "":
        yield "imports name their room in full"
    if package in NOWHERE:
        yield "everything here runs on trio"
    if package in WEBSOCKET_ROOMS and room != WEBSOCKET_ROOMS[package]:
        yield f"WebSockets by {package} are known to {WEBSOCKET_ROOMS[package]} alone"
    if package in IO and (path in PURE_DRIVERS or (room is not None and FLOORS[room] in SANS_IO_FLOORS)):
        yield "there is neither IO nor a clock in here"
    if package == "controller" and room == "drivers":
        yield "drivers know nothing of the controller"
        return
    if package not in ("controller", "drivers") or room is None:
        return
    other = _room(name)
    if other is None or other == room:
        return
    if other not in FLOORS:
        yield f"room {other} stands on no floor"
    elif FLOORS[other] > FLOORS[room]:
        yield f"{other} (floor {FLOORS[other]}) is above {room} (floor {FLOORS[room]})"
    elif FLOORS[other] == FLOORS[room] == SEPARATE_FLOOR:
        yield f"{other} and {room} are separate rooms of one floor"
    if room == "demo" and path not in COMPOSES_THE_DEMO and other != "drivers":
        yield "a simulated peer is a stranger to the controller"


def _room(name: str) -> str | None:
    """The room of a dotted name: `controller.site.tree` is in `site`; None for `controller` itself."""
    package, _, rest = name.partition(".")
    if package == "drivers":
        return "drivers"
    first = rest.partition(".")[0]
    return None if first in ("", "__init__") else first


def _imports(text: str) -> Iterator[tuple[int, str]]:
    """Line and full dotted name of everything imported, wherever it stands in the file."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            for alias in node.names:
                yield node.lineno, f"{module}.{alias.name}"


def _product() -> dict[str, str]:
    return {
        file.relative_to(ROOT).as_posix(): file.read_text()
        for package in ("controller", "drivers")
        for file in (ROOT / package).rglob("*.py")
    }


def test_the_house_stands_as_designed() -> None:
    assert findings(_product()) == []


def test_the_tables_speak_of_files_that_exist() -> None:
    product = _product()
    assert product.keys() >= (PURE_DRIVERS | COMPOSES_THE_DEMO)
    assert len(product) > 50


GOOD = [
    ("controller/daemon.py", "import trio, ssl, time\nfrom controller.links.engine import Link"),
    ("controller/daemon.py", "from controller import demo, notify"),
    ("controller/links/engine.py", "import websockets.frames\nfrom controller.relay import station"),
    ("controller/relay/station.py", "import logging\nfrom controller.relay.line import CallLine"),
    ("controller/site/tree.py", "from datetime import datetime\nfrom drivers.reading import Reading"),
    ("controller/ocpp/v16.py", "from controller.config import Config"),
    ("controller/demo/station.py", "import time, trio, trio_websocket\nfrom controller.demo.car import Car"),
    ("controller/demo/meters.py", "from drivers.simulated import SimulatedMeter"),
    ("controller/demo/demo.py", "from controller import daemon\nfrom controller.config import Config"),
    ("controller/__init__.py", '"""The controller."""'),
    ("drivers/meter.py", "import trio, ssl\nfrom drivers.modbus.line import Line"),
    ("drivers/registers.py", "import trio_like_name\n" + "\n" * (MOST_LINES - 1)),
]


@pytest.mark.parametrize(("path", "text"), GOOD)
def test_what_is_allowed_is_not_found(path: str, text: str) -> None:
    assert findings({path: text}) == []


BAD = [
    ("controller/relay/line.py", "from controller.links.engine import Link", "above relay"),
    ("controller/links/engine.py", "from controller import daemon", "above links"),
    ("controller/ocpp/frames.py", "import controller.site.tree", "above ocpp"),
    ("controller/relay/line.py", "from controller.site import tree", "separate rooms"),
    ("controller/site/tree.py", "import controller.relay", "separate rooms"),
    ("controller/daemon.py", "from trio_websocket import serve_websocket", "WebSockets"),
    ("controller/links/engine.py", "import trio_websocket", "WebSockets"),
    ("controller/demo/station.py", "from websockets.frames import Frame", "WebSockets"),
    ("controller/relay/line.py", "def f():\n    import wsproto.events", "WebSockets"),
    ("controller/site/tree.py", "import trio", "neither IO nor a clock"),
    ("controller/config/rules.py", "import controller.relay.line", "above config"),
    ("controller/ocpp/frames.py", "from time import monotonic", "neither IO nor a clock"),
    ("controller/config/tables.py", "import socket", "neither IO nor a clock"),
    ("controller/config/lines.py", "import trio.lowlevel", "neither IO nor a clock"),
    ("drivers/modbus/framing.py", "import socket as s", "neither IO nor a clock"),
    ("drivers/registers.py", "import time", "neither IO nor a clock"),
    ("drivers/meter.py", "from controller.config import Meter", "drivers know nothing"),
    ("drivers/meter.py", "import controller", "drivers know nothing"),
    ("controller/demo/station.py", "from controller.ocpp import v16", "a stranger"),
    ("controller/demo/world.py", "from controller.config import Config", "a stranger"),
    ("controller/daemon.py", "import asyncio", "trio"),
    ("drivers/meter.py", "if True:\n    from asyncio.streams import StreamReader", "trio"),
    ("controller/relay/line.py", "from . import events", "in full"),
    ("controller/relay/line.py", "from ..site import tree", "in full"),
    ("controller/cellar/wine.py", "", "no floor"),
    ("controller/daemon.py", "import controller.cellar", "no floor"),
    ("controller/site/tree.py", "\n" * (MOST_LINES + 1), "401 lines"),
]


@pytest.mark.parametrize(("path", "text", "finding"), BAD)
def test_what_is_forbidden_is_found(path: str, text: str, finding: str) -> None:
    found = findings({path: text})
    assert len(found) == 1
    assert finding in found[0]
    assert found[0].startswith(path)
