"""Local control of a running controller: a Unix socket in the store's directory, for its owner alone.

A request is one line of JSON, `{"command": "eebus.status", ...}`; its answer is one line as well,
`{"result": ...}` or `{"error": "..."}`.
"""

from __future__ import annotations

import json
import logging
import os
import socket
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import trio

from controller.services.service_error import ServiceError

log = logging.getLogger("controller")

FILE = "control.sock"
LONGEST_LINE = 65_536
PATIENCE_S = 5.0
MOST_CLIENTS = 4

Command = Callable[[Mapping[str, Any]], object]
"""Return the result of a request. Raises ControlError."""


class ControlError(ServiceError):
    """Request that cannot be done. Its text states why and what to do."""


async def serve_commands(directory: Path, commands: Mapping[str, Command]) -> None:
    """Answer requests until cancelled. Without the socket the controller runs all the same."""
    path = directory / FILE
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        path.unlink(missing_ok=True)
        mask = os.umask(0o177)
        try:
            bound.bind(str(path))
        finally:
            os.umask(mask)
        bound.listen(MOST_CLIENTS)
    except OSError as error:
        bound.close()
        log.warning("no control socket path=%s reason=%s; commands like `eebus pair` will fail", path, error)
        return
    listening = trio.socket.from_stdlib_socket(bound)
    try:
        room = trio.CapacityLimiter(MOST_CLIENTS)
        async with trio.open_nursery() as nursery:
            while True:
                client, _ = await listening.accept()
                nursery.start_soon(_serve, trio.SocketStream(client), commands, room)
    finally:
        listening.close()
        with suppress(OSError):
            path.unlink()


async def _serve(
    stream: trio.SocketStream, commands: Mapping[str, Command], room: trio.CapacityLimiter
) -> None:
    async with stream, room:
        try:
            with trio.move_on_after(PATIENCE_S):
                line = b""
                while not line.endswith(b"\n") and len(line) < LONGEST_LINE:
                    chunk = await stream.receive_some(4096)
                    if not chunk:
                        return
                    line += chunk
                await stream.send_all(answer_line(line, commands))
        except (trio.BrokenResourceError, OSError):
            log.debug("control client is gone")


def answer_line(line: bytes, commands: Mapping[str, Command]) -> bytes:
    """Return the answer to one request."""
    try:
        request = msgspec.json.decode(line, type=dict[str, Any])
        command = commands.get(str(request.get("command")))
        if command is None:
            raise ControlError(f"unknown command; there is: {', '.join(sorted(commands))}")
        return msgspec.json.encode({"result": command(request)}) + b"\n"
    except (ControlError, msgspec.DecodeError) as error:
        return msgspec.json.encode({"error": str(error)}) + b"\n"
    except Exception:
        log.exception("control request failed")
        return msgspec.json.encode({"error": "failed: the controller's log says why"}) + b"\n"


def send_command(directory: Path, command: str, **arguments: object) -> Any:
    """Send a request to the controller that runs in a store's directory; return its result.

    Raises ControlError.
    """
    path = directory / FILE
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            client.settimeout(PATIENCE_S)
            client.connect(str(path))
            client.sendall(json.dumps({"command": command, **arguments}).encode() + b"\n")
            with client.makefile("rb") as file:
                answer = msgspec.json.decode(file.readline() or b"{}", type=dict[str, Any])
    except (OSError, msgspec.DecodeError) as error:
        raise ControlError(
            f"no controller answers at {path}: {error}; is it running, with this store.directory, "
            "and may you read there?"
        ) from error
    if "result" not in answer:
        raise ControlError(str(answer.get("error", "the controller gave no answer")))
    return answer["result"]
