"""Architecture rules: which package may import which, where IO may be, and the rules of naming.

The rules are the tables below. The checker is a function from sources to findings, and is itself tested
on small bad sources.
"""

from __future__ import annotations

import ast
import builtins
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

MAY_IMPORT: dict[str, set[str]] = {
    # layer 0
    "drivers": set(),
    # layer 1: data, rules and keys; sans-IO
    "model": {"drivers"},
    "tomlcheck": {"drivers"},
    "ocpp": {"model"},
    "access": {"drivers", "model"},
    "history": {"model"},
    "commands": {"access", "model", "ocpp"},
    "chargers": {"drivers", "model", "ocpp", "tomlcheck"},
    "pki": {"drivers", "model", "ocpp"},
    "timekeeping": {"drivers"},
    "signing": {"drivers", "model", "ocpp", "tomlcheck"},
    "config": {"access", "drivers", "model", "ocpp", "tomlcheck"},
    "site_setup": {"drivers"},
    # layer 2: pure cores
    "profiles": {"chargers", "model", "ocpp", "signing"},
    "offline": {"model", "ocpp", "profiles", "signing"},
    "session_ledger": {"model", "ocpp"},
    "local_csms": {"commands", "model", "ocpp", "offline"},
    "relay": {"chargers", "model", "ocpp", "offline", "profiles", "signing"},
    "site_identity": {"model", "ocpp", "profiles", "relay", "signing"},
    "load_management": {"chargers", "config", "drivers", "model", "profiles"},
    "dimming": {"config", "drivers", "model", "ocpp", "signing"},
    "overlay": {"model", "ocpp", "signing"},
    # layer 3: connections, durable state, and what people see
    "transport": {"drivers", "model"},
    "backends": {"model", "transport"},
    "stations": {
        "backends",
        "chargers",
        "config",
        "local_csms",
        "model",
        "ocpp",
        "offline",
        "overlay",
        "profiles",
        "relay",
        "transport",
    },
    "store": {
        "access",
        "commands",
        "history",
        "dimming",
        "drivers",
        "load_management",
        "local_csms",
        "model",
        "ocpp",
        "offline",
        "session_ledger",
        "signing",
    },
    "web": {
        "access",
        "commands",
        "drivers",
        "load_management",
        "model",
        "ocpp",
        "session_ledger",
        "signing",
        "site_setup",
    },
    "publishing": {"load_management", "web"},
    # layer 4: services compose the cores
    "services": {
        "access",
        "backends",
        "chargers",
        "commands",
        "config",
        "dimming",
        "drivers",
        "history",
        "load_management",
        "local_csms",
        "model",
        "ocpp",
        "offline",
        "overlay",
        "pki",
        "profiles",
        "publishing",
        "relay",
        "session_ledger",
        "signing",
        "site_identity",
        "site_setup",
        "stations",
        "store",
        "timekeeping",
        "tomlcheck",
        "transport",
        "web",
    },
    # layer 5: programs
    "demo": {"config", "dimming", "drivers", "services", "signing", "store", "web"},
    "simulate": {"config", "demo", "drivers", "load_management", "model", "profiles"},
    "cli": {
        "chargers",
        "access",
        "commands",
        "config",
        "demo",
        "dimming",
        "drivers",
        "load_management",
        "model",
        "ocpp",
        "offline",
        "pki",
        "services",
        "session_ledger",
        "signing",
        "simulate",
        "site_setup",
        "stations",
        "store",
        "tomlcheck",
        "transport",
        "web",
    },
}
"""The packages of `controller`, and `drivers` below all; imports run downwards only."""

SERVICES = (
    "machine",
    "configuration",
    "access",
    "certificates",
    "backends",
    "session_ledger",
    "load_management",
    "signing",
    "site_identity",
    "overlay",
    "stations",
    "dimming",
    "eebus",
    "status",
    "publishing",
    "setup",
    "web",
)
"""The packages of `controller/services`, from the lowest: each imports those below it. None imports `app` or
`setup_mode`, which compose them."""

STILL_IMPORTED: dict[str, set[str]] = {}
"""Imports against the rule that are still to be cut. An entry that is no longer needed is a finding."""

PURE = {
    "model",
    "tomlcheck",
    "ocpp",
    "access",
    "history",
    "commands",
    "chargers",
    "pki",
    "timekeeping",
    "signing",
    "config",
    "site_setup",
    "profiles",
    "offline",
    "session_ledger",
    "local_csms",
    "relay",
    "site_identity",
    "load_management",
    "dimming",
    "overlay",
}
IO = {"trio", "socket", "ssl", "select", "time", "serial"}
DRIVERS_WITH_IO = {
    "drivers/gpio.py",
    "drivers/identify_service.py",
    "drivers/input_service.py",
    "drivers/meter_reader.py",
    "drivers/meter_service.py",
    "drivers/meter_share.py",
    "drivers/modbus/bus.py",
    "drivers/modbus/modbus_tls.py",
    "drivers/modbus/serial_bus.py",
    "drivers/modbus/tcp_bus.py",
    "drivers/simulated.py",
    "drivers/tls_profile.py",
}
"""Files of `drivers` that own sockets, serial ports and clocks; all others there are pure."""

WEBSOCKET_PACKAGES = {"websockets": "transport", "trio_websocket": "demo", "wsproto": None}
"""Which package may use which WebSocket library: simulated peers use another one than the controller."""

FORBIDDEN = {"asyncio", "anyio", "aiohttp"}

COMPOSES_THE_DEMO = {"controller/demo/demo_run.py", "controller/demo/live_table.py"}
"""All other files of `demo` are independent of the controller: they implement the protocols anew."""

MOST_IMPORTED_MODULES = 12
MAY_IMPORT_MORE = {"controller/services/app.py"}
"""The composition root: it may import more modules of the project than others."""

SHARED_MODULE_NAMES = {"__init__", "__main__", "service", "events"}


def findings(sources: Mapping[str, str]) -> list[str]:
    """Return what breaks the rules in files given as {path: text}."""
    return [finding for path, text in sorted(sources.items()) for finding in _check_file(path, text)]


def _check_file(path: str, text: str) -> Iterator[str]:
    package = _package(path.removesuffix(".py").replace("/", "."))
    if package is not None and package not in MAY_IMPORT:
        yield f"{path}: package {package} is not in the table"
        return
    for line, name in _imports(text):
        for rule in _broken_rules(path, package, name):
            yield f"{path}:{line}: imports {name}: {rule}"


def _broken_rules(path: str, package: str | None, name: str) -> Iterator[str]:
    root = name.partition(".")[0]
    if root == "":
        yield "imports name their package in full"
    if root in FORBIDDEN:
        yield "the product runs on trio"
    if root in WEBSOCKET_PACKAGES and package != WEBSOCKET_PACKAGES[root]:
        yield f"{root} belongs to {WEBSOCKET_PACKAGES[root]} alone"
    if root in IO and (package in PURE or (package == "drivers" and path not in DRIVERS_WITH_IO)):
        yield "this file is sans-IO"
    if root == "controller" and package == "drivers":
        yield "drivers are below the controller"
        return
    if root not in ("controller", "drivers") or package is None:
        return
    other = _package(name)
    if other == package == "services":
        yield from _broken_service_rules(path, name)
    if other is None or other == package:
        return
    if other not in MAY_IMPORT:
        yield f"package {other} is not in the table"
    elif other not in MAY_IMPORT[package] | STILL_IMPORTED.get(package, set()):
        yield f"{package} may not import {other}"
    if package == "demo" and path not in COMPOSES_THE_DEMO and other != "drivers":
        yield "simulated peers are independent of the controller"


def _broken_service_rules(path: str, name: str) -> Iterator[str]:
    importing, _, module = path.removeprefix("controller/services/").partition("/")
    imported = name.split(".")[2]
    if not module or imported == "ServiceError":
        return
    if importing not in SERVICES:
        yield f"package services/{importing} is not in the table"
    elif imported not in SERVICES[: SERVICES.index(importing) + 1]:
        yield f"services/{importing} may not import services.{imported}"


def _package(name: str) -> str | None:
    """Return the package of a dotted name; None for `controller` itself and for what is outside."""
    root, _, rest = name.partition(".")
    if root == "drivers":
        return "drivers"
    first = rest.partition(".")[0]
    return first if root == "controller" and first not in ("", "__init__") else None


def _imports(text: str) -> Iterator[tuple[int, str]]:
    """Yield line and full dotted name of everything imported, wherever it stands in the file."""
    for node in _nodes(text):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            for alias in node.names:
                yield node.lineno, f"{module}.{alias.name}"


@cache
def _parse(text: str) -> ast.Module:
    return ast.parse(text)


@cache
def _nodes(text: str) -> tuple[ast.AST, ...]:
    return tuple(ast.walk(_parse(text)))


@cache
def _product() -> dict[str, str]:
    return {
        file.relative_to(ROOT).as_posix(): file.read_text()
        for package in ("controller", "drivers")
        for file in (ROOT / package).rglob("*.py")
    }


def _tests() -> dict[str, str]:
    """Return the texts of the tests and benchmarks, without the packages of npm beside them."""
    files = (file.relative_to(ROOT) for file in (ROOT / "tests").rglob("*.py"))
    return {file.as_posix(): (ROOT / file).read_text() for file in files if "node_modules" not in file.parts}


def _public_classes(texts: Mapping[str, str]) -> Iterator[tuple[str, ast.ClassDef]]:
    for path, text in sorted(texts.items()):
        for node in _parse(text).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                yield path, node


def test_imports_run_downwards() -> None:
    assert findings(_product()) == []


def test_import_exceptions_are_all_needed() -> None:
    needed: dict[str, set[str]] = defaultdict(set)
    for path, text in _product().items():
        package = _package(path.removesuffix(".py").replace("/", "."))
        for _, name in _imports(text):
            if package is not None and (other := _package(name)) not in (None, package):
                needed[package].add(str(other))
    unused = {package: others - needed[package] for package, others in STILL_IMPORTED.items()}
    assert {package: others for package, others in unused.items() if others} == {}


def test_import_table_has_no_circle() -> None:
    seen: set[str] = set()
    for package, others in MAY_IMPORT.items():
        assert others <= seen, package
        seen.add(package)


def test_table_files_exist() -> None:
    product = _product()
    assert product.keys() >= (DRIVERS_WITH_IO | COMPOSES_THE_DEMO | MAY_IMPORT_MORE)
    assert len(product) > 50


@pytest.mark.parametrize("texts", [_product, _tests])
def test_public_class_names_are_unique(texts: Callable[[], dict[str, str]]) -> None:
    places: dict[str, list[str]] = defaultdict(list)
    for path, node in _public_classes(texts()):
        places[node.name].append(path)
    assert {name: paths for name, paths in places.items() if len(paths) > 1} == {}


def test_module_names_are_unique() -> None:
    places: dict[str, list[str]] = defaultdict(list)
    for path in sorted(_product()):
        name = Path(path).stem
        if name not in SHARED_MODULE_NAMES:
            places[name].append(path)
    assert {name: paths for name, paths in places.items() if len(paths) > 1} == {}


@cache
def _exceptions() -> dict[str, dict[str, list[str]]]:
    """Return {package: {class: bases}} of all exceptions, public and private."""
    classes: dict[str, tuple[str, list[str]]] = {}
    for path, text in _product().items():
        package = _package(path.removesuffix(".py").replace("/", ".")) or "controller"
        for node in _nodes(text):
            if isinstance(node, ast.ClassDef):
                bases = [base.id for base in node.bases if isinstance(base, ast.Name)]
                classes[node.name] = (package, bases)

    def is_exception(name: str) -> bool:
        if name in classes:
            return any(is_exception(base) for base in classes[name][1])
        found = getattr(builtins, name, None)
        return isinstance(found, type) and issubclass(found, BaseException)

    by_package: dict[str, dict[str, list[str]]] = defaultdict(dict)
    for name, (package, bases) in classes.items():
        if is_exception(name):
            by_package[package][name] = bases
    return by_package


def test_exception_names_end_in_error() -> None:
    names = [name for found in _exceptions().values() for name in found]
    assert [name for name in names if not name.endswith("Error")] == []


def test_each_package_has_one_exception_base() -> None:
    for package, found in _exceptions().items():
        roots = [name for name, bases in found.items() if not any(base in found for base in bases)]
        assert len(roots) <= 1, (package, roots)


LONGEST_TEST_NAME = 70


def test_test_names_are_short() -> None:
    too_long = [
        f"{path}: {name}"
        for path in (ROOT / "tests").rglob("test_*.py")
        if "node_modules" not in path.parts
        for name in re.findall(r"^ *(?:async )?def (test_\w+)", path.read_text(), re.M)
        if len(name) > LONGEST_TEST_NAME
    ]
    assert too_long == []


@cache
def _is_module(name: str) -> bool:
    return (ROOT / f"{name.replace('.', '/')}.py").exists()


def _imported_modules(text: str) -> set[str]:
    """Return the modules of the project that a file imports, other than for its annotations' sake."""
    found: set[str] = set()
    for node in _nodes(text):
        if isinstance(node, ast.ImportFrom) and node.module is not None:
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                is_module = full.startswith(("controller.", "drivers.")) and _is_module(full)
                found.add(full if is_module else node.module)
        elif isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
    found.discard("drivers.coded_text")  # texts are data: they collaborate in nothing
    return {name for name in found if name.partition(".")[0] in ("controller", "drivers")}


MAY_BLOCK_FOR_DISK = {
    "controller/cli/": "a process without an event loop",
    "controller/services/backends/backend_renames.py": "at the start",
    "controller/services/signing/replay_memory.py": "at the start",
    "controller/services/backends/transaction_handover.py": "at the start",
    "controller/store/evidence_files.py": "what is found when the log is opened",
    "controller/store/eebus_store.py": "the identity at the start, and partners that a person pairs",
    "controller/store/state_store.py": "its definition",
}
"""Modules that call `StateStore.persist_now`, which blocks its thread until the disk has answered."""


def test_event_loop_waits_for_no_disk() -> None:
    calling = {path for path, text in _product().items() if "persist_now(" in text}
    assert [path for path in calling if not path.startswith(tuple(MAY_BLOCK_FOR_DISK))] == []


def test_files_have_few_collaborators() -> None:
    counts = {path: len(_imported_modules(text)) for path, text in _product().items()}
    above = {path: count for path, count in counts.items() if count > MOST_IMPORTED_MODULES}
    assert above.keys() == MAY_IMPORT_MORE


MOST_NAMED_CLASSES = 25
MANY_CLASSES: dict[str, int] = {
    "Config": 30,
    "Node": 33,
    "SecondaryBackend": 27,
    "SiteModel": 29,
    "StationRelay": 52,
    "StationSession": 38,
}
"""Classes that still name more classes of the project than the rule allows, and how many at most."""


def _named_classes(node: ast.ClassDef, classes: set[str]) -> set[str]:
    """Return the classes of the project that a class names, in annotations and patterns, too."""
    names = {each.id for each in ast.walk(node) if isinstance(each, ast.Name)}
    names |= {each.attr for each in ast.walk(node) if isinstance(each, ast.Attribute)}
    return (names & classes) - {node.name}


def test_classes_have_few_collaborators() -> None:
    classes = {
        node.name for text in _product().values() for node in _nodes(text) if isinstance(node, ast.ClassDef)
    }
    counts = {
        node.name: len(_named_classes(node, classes))
        for path, node in _public_classes(_product())
        if path not in MAY_IMPORT_MORE
    }
    most = {name: max(MOST_NAMED_CLASSES, MANY_CLASSES.get(name, 0)) for name in counts}
    assert {name: count for name, count in counts.items() if count > most[name]} == {}
    assert {name for name in MANY_CLASSES if counts.get(name, 0) <= MOST_NAMED_CLASSES} == set()


GOOD = [
    ("controller/services/app.py", "import trio, ssl, time\nfrom controller.transport.dial import open_link"),
    ("controller/services/app.py", "from controller import store, web"),
    ("controller/transport/poller.py", "import websockets.frames\nfrom controller.model import observations"),
    ("controller/relay/upstream.py", "import logging\nfrom controller.relay.call_queue import CallQueue"),
    ("controller/load_management/site_tree.py", "import math\nfrom drivers.reading import Reading"),
    (
        "controller/demo/simulated_station.py",
        "import time, trio, trio_websocket\nfrom controller.demo import x",
    ),
    ("controller/demo/demo_meters.py", "from drivers.simulated import SimulatedMeter"),
    (
        "controller/demo/demo_run.py",
        "from controller.services import app\nfrom controller.config import Config",
    ),
    ("controller/__init__.py", '"""The controller."""'),
    ("drivers/meter_service.py", "import trio, ssl\nfrom drivers.modbus.bus import Bus"),
    ("drivers/register.py", "import trio_like_name"),
]


@pytest.mark.parametrize(("path", "text"), GOOD)
def test_allowed_import_has_no_finding(path: str, text: str) -> None:
    assert findings({path: text}) == []


BAD = [
    ("controller/relay/call_queue.py", "from controller.transport.dial import x", "may not import transport"),
    ("controller/transport/poller.py", "from controller.services import app", "may not import services"),
    (
        "controller/ocpp/frames.py",
        "import controller.load_management.site_tree",
        "may not import load_management",
    ),
    (
        "controller/relay/call_queue.py",
        "from controller.load_management import x",
        "may not import load_management",
    ),
    ("controller/load_management/site_tree.py", "import controller.relay", "may not import relay"),
    ("controller/services/app.py", "from trio_websocket import serve_websocket", "alone"),
    (
        "controller/services/dimming/x.py",
        "from controller.services.eebus.y import Z",
        "services/dimming may not",
    ),
    ("controller/services/web/x.py", "from controller.services import app", "may not import services.app"),
    ("controller/services/cellar/x.py", "from controller.services.web import y", "is not in the table"),
    ("controller/transport/poller.py", "import trio_websocket", "alone"),
    ("controller/demo/simulated_station.py", "from websockets.frames import Frame", "alone"),
    ("controller/relay/call_queue.py", "def f():\n    import wsproto.events", "alone"),
    ("controller/load_management/site_tree.py", "import trio", "sans-IO"),
    ("controller/config/cross_rules.py", "import controller.relay.call_queue", "may not import relay"),
    ("controller/ocpp/frames.py", "from time import monotonic", "sans-IO"),
    ("controller/config/schema.py", "import socket", "sans-IO"),
    ("controller/tomlcheck/positions.py", "import trio.lowlevel", "sans-IO"),
    ("drivers/modbus/framing.py", "import socket as s", "sans-IO"),
    ("drivers/register.py", "import time", "sans-IO"),
    ("drivers/meter_service.py", "from controller.config import MeterConfig", "below"),
    ("drivers/meter_service.py", "import controller", "below"),
    ("controller/demo/demo_world.py", "from controller.config import Config", "independent"),
    ("controller/services/app.py", "import asyncio", "trio"),
    ("drivers/meter_service.py", "if True:\n    from asyncio.streams import StreamReader", "trio"),
    ("controller/relay/call_queue.py", "from . import events", "in full"),
    ("controller/relay/call_queue.py", "from ..site import tree", "in full"),
    ("controller/cellar/wine.py", "", "not in the table"),
    ("controller/services/app.py", "import controller.cellar", "not in the table"),
]


@pytest.mark.parametrize(("path", "text", "finding"), BAD)
def test_forbidden_import_is_found(path: str, text: str, finding: str) -> None:
    found = findings({path: text})
    assert len(found) == 1
    assert finding in found[0]
    assert found[0].startswith(path)
