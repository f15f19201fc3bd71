"""The page and the REST API at work: users, alarms, history and configuration around the web server."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Sequence
from pathlib import Path

import trio

from controller.config.schema import Config, WebConfig
from controller.services.access.access_service import AccessService, make_roles
from controller.services.backends.connection_settings import load_web_tls
from controller.services.publishing.alarm_service import AlarmService
from controller.services.publishing.history_service import HistoryService
from controller.services.web.configuration_editor import ConfigurationEditor, Reloads
from controller.services.web.site_operations import SiteOperations
from controller.services.web.web_adapters import (
    SiteData,
    SiteParts,
    SiteReaders,
    WebUsers,
)
from controller.services.web.web_setup import WebSetup, make_site_setup
from controller.store.state_store import StateStore
from controller.web.web_routes import ReadStatus, WebRoutes
from controller.web.web_server import WebSettings, serve_web

PageTls = Callable[[float], ssl.SSLContext]
"""Returns the context for a handshake at a time (s, monotonic)."""

LOOPBACK = ("127.0.0.1", "::1", "localhost")


class WebService:
    """Services for people and programs, also without [web]: alarms, history, users.

    `path`: the configuration file, None without one; `reloads` reads it again.
    """

    def __init__(
        self,
        config: Config,
        store: StateStore,
        operations: SiteOperations,
        read_status: ReadStatus,
        readers: SiteReaders,
        path: Path | None,
        reloads: Reloads | None,
    ) -> None:
        self._config = config
        self._config_revision = 0
        """Number of configurations that took the place of another one since the start."""
        self._tls: PageTls | None = None
        """Certificate of the page for new connections; None before the start, and for plain http."""
        self._routes: WebRoutes | None = None
        """Routes of the page; None before the start, and without [web]."""
        self._access = AccessService(store, operations.audit, make_roles(config.web))
        self._access.register_handlers(operations.commands)
        reload, plan = (None, None) if reloads is None else (reloads.reload, reloads.plan_from_thread)
        editor = ConfigurationEditor(path, store, config.store.directory, reload, plan)
        editor.register_handlers(operations.commands)
        self._setup = make_site_setup(path, read_status, self._access, operations.commands, plan)
        self.alarms = AlarmService()
        operations.queries["status"] = lambda _: read_status()
        self.history = HistoryService(store, config.site.voltage)
        self._parts = SiteParts(
            operations=operations,
            alarms=self.alarms,
            history=self.history,
            editor=editor,
            setup=WebSetup(self._setup),
            read_status=read_status,
            readers=readers,
        )

    @property
    def configuration_revision(self) -> int:
        """Return a number that rises with each change of the configuration in use, and of its file."""
        return self._config_revision + self._parts.editor.file_revision

    @property
    def access_revision(self) -> int:
        """Return a number that rises with each change of users, tokens and roles."""
        return self._access.revision

    def load_tls(self, config: Config) -> PageTls | None:
        """Load the page's certificate of another configuration, or return the one in use where it stays.

        Raises TlsError.
        """
        if config.web is None or self._tls is None or config.web.certificate is None:
            return self._tls
        before = self._config.web
        is_same = before is not None and before.certificate == config.web.certificate
        if before is not None and is_same and before.key == config.web.key:
            return self._tls
        return _load_tls(config.web)

    def set_config(self, config: Config, tls: PageTls | None) -> None:
        """Use roles, names, open status and certificate (of `load_tls`) of another configuration."""
        self._config, self._tls = config, tls
        self._config_revision += 1
        self._access.set_roles(make_roles(config.web))
        if self._routes is not None and config.web is not None:
            self._routes.set_access(_find_names(config.web), open_status=_has_open_status(config.web))

    async def run(
        self,
        version: str,
        opened: Sequence[trio.SocketListener] | None = None,
        *,
        task_status: trio.TaskStatus[int | None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Serve the page and keep the history until cancelled.

        Starts with the page's bound port, None without [web]. Raises WebServerError, and TlsError for a
        certificate that cannot be used.
        """
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.history.run)
            nursery.start_soon(self._setup.run)
            if self._config.web is None:
                task_status.started(None)
                return
            routes = self._routes = WebRoutes(
                SiteData(self._parts),
                WebUsers(self._access),
                _find_names(self._config.web),
                open_status=_has_open_status(self._config.web),
                version=version,
            )
            self._tls = _load_tls(self._config.web)
            settings = WebSettings(
                self._config.web.host, self._config.web.port, None if self._tls is None else self._current_tls
            )
            port: int = await nursery.start(serve_web, settings, routes, opened)
            task_status.started(port)

    def _current_tls(self, now: float) -> ssl.SSLContext:
        """Return the context of a handshake at `now` (s, monotonic)."""
        assert self._tls is not None  # the page that is served by https stays so
        return self._tls(now)


def _load_tls(web: WebConfig) -> PageTls | None:
    tls = load_web_tls(web)
    return None if tls is None else tls.current


def _find_names(web: WebConfig) -> tuple[str, ...]:
    """Return the host names under which the page is reached."""
    own_name = socket.gethostname()
    return (*web.names, web.host, own_name, f"{own_name}.local")


def _has_open_status(web: WebConfig) -> bool:
    """Return True if the status may be read without a login."""
    return web.open_status if web.open_status is not None else web.host in LOOPBACK
