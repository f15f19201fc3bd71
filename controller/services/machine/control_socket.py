"""Local control of a running controller: a Unix socket in the store's directory, for its owner alone.

A request is one line of JSON, `{"command": "eebus.status", ...}`; its answer is one line as well,
`{"result": ...}` or `{"error": "..."}`. Queries return what is there; all else are typed commands.
"""

from __future__ import annotations

import json
import logging
import os
import socket
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

import msgspec
import trio

from controller.access.permissions import LOCAL_ACTOR, Actor
from controller.commands.site_command import CommandFormatError, SiteCommand, convert_command
from controller.services import ServiceError

log = logging.getLogger("controller")

FILE = "control.sock"
LONGEST_LINE = 1_500_000
"""Bytes of a request: some have a whole configuration file."""
PATIENCE_S = 5.0
ANSWER_TIMEOUT_S = 60.0
"""Longest wait for the result of a command: a station may take its time to answer."""
MOST_CLIENTS = 4
RETRY_S = 10.0
"""Interval of attempts to open the socket where the directory cannot be written."""

Command = Callable[[Mapping[str, Any]], object]
"""Returns the result of a query. Raises ServiceError."""


class CommandExecutor(Protocol):
    """Executor of typed commands: the CommandService."""

    async def execute(self, command: SiteCommand, actor: Actor) -> object:
        """Execute a command and return its result. Raises ServiceError."""


class ControlError(ServiceError):
    """A request that cannot be done, or is not answered. Its text states why and what to do."""


async def serve_commands(
    directory: Path,
    queries: Mapping[str, Command],
    executor: CommandExecutor,
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Answer requests until cancelled; started once the socket is open, or could not be opened.

    Without the socket the controller runs all the same, and opens it once the directory can be written.
    """
    path = directory / FILE
    try:
        bound = _open_socket(path)
    except OSError as error:
        log.warning(
            "control socket not opened path=%s reason=%s remedy=let the controller write to store.directory: "
            "commands like `station pause` need the socket",
            path,
            error,
        )
        task_status.started()
        bound = await _reopen_socket(path)
    else:
        task_status.started()
    listening = trio.socket.from_stdlib_socket(bound)
    try:
        room = trio.CapacityLimiter(MOST_CLIENTS)
        async with trio.open_nursery() as nursery:
            while True:
                client, _ = await listening.accept()
                nursery.start_soon(_serve, trio.SocketStream(client), queries, executor, room)
    finally:
        listening.close()
        with suppress(OSError):
            path.unlink()


def _open_socket(path: Path) -> socket.socket:
    """Listen at a path, for the own user alone. Raises OSError."""
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        path.unlink(missing_ok=True)
        mask = os.umask(0o177)
        try:
            bound.bind(str(path))
        finally:
            os.umask(mask)
        bound.listen(MOST_CLIENTS)
    except OSError:
        bound.close()
        raise
    return bound


async def _reopen_socket(path: Path) -> socket.socket:
    """Return the socket once it can be opened."""
    while True:
        await trio.sleep(RETRY_S)
        try:
            opened = _open_socket(path)
        except OSError:
            continue
        log.info("control socket opened path=%s", path)
        return opened


async def _serve(
    stream: trio.SocketStream,
    queries: Mapping[str, Command],
    executor: CommandExecutor,
    room: trio.CapacityLimiter,
) -> None:
    async with stream, room:
        try:
            line = bytearray()
            with trio.move_on_after(PATIENCE_S):
                while not line.endswith(b"\n") and len(line) < LONGEST_LINE:
                    chunk = await stream.receive_some(4096)
                    if not chunk:
                        return
                    line += chunk
            if line.endswith(b"\n"):
                with trio.move_on_after(ANSWER_TIMEOUT_S):
                    await stream.send_all(await answer_line(bytes(line), queries, executor))
        except (trio.BrokenResourceError, OSError):
            log.debug("control client disconnected")


async def answer_line(line: bytes, queries: Mapping[str, Command], executor: CommandExecutor) -> bytes:
    """Return the answer to one request."""
    try:
        request = msgspec.json.decode(line, type=dict[str, Any])
        query = queries.get(str(request.get("command")))
        if query is not None:
            result = query(request)
        else:
            result = await executor.execute(convert_command(request), LOCAL_ACTOR)
        return msgspec.json.encode({"result": result}) + b"\n"
    except (ServiceError, CommandFormatError, msgspec.DecodeError) as error:
        return msgspec.json.encode({"error": str(error)}) + b"\n"
    except Exception:
        log.exception("control request failed")
        return msgspec.json.encode({"error": "failed: the controller's log has the reason"}) + b"\n"


def send_command(directory: Path, command: str, **arguments: object) -> Any:
    """Send a request to the controller that runs in a store's directory; return its result.

    Raises ControlError.
    """
    path = directory / FILE
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            client.settimeout(ANSWER_TIMEOUT_S)
            client.connect(str(path))
            client.sendall(json.dumps({"command": command, **arguments}).encode() + b"\n")
            with client.makefile("rb") as file:
                answer = msgspec.json.decode(file.readline() or b"{}", type=dict[str, Any])
    except (OSError, msgspec.DecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise ControlError(
            f"no controller answers at {path}: {reason}; is it running, with this store.directory, "
            "and may you read there?"
        ) from error
    if "result" not in answer:
        raise ControlError(str(answer.get("error", "the controller gave no answer")))
    return answer["result"]
