"""A site and users in memory, for tests of the routes and the server."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from controller.access.permissions import BUILT_IN_ROLES, Actor, UserRole, read_permissions
from controller.commands.site_command import COMMANDS, SiteCommand
from controller.web.http_messages import ProblemError, Response, StreamResponse, WebRequest
from controller.web.site_interface import (
    CheckFinding,
    ConfigurationText,
    ConfigurationVersion,
    EventEntry,
    EvidenceVerification,
    HistorySeries,
    MessageEntry,
    RoleEntry,
    SessionEntry,
    SetAsideMessage,
    TokenEntry,
    UserEntry,
)
from controller.web.status_model import ControllerStatus
from controller.web.web_routes import WebRoutes
from tests.controller.web.examples import STATUS
from tests.controller.web.fake_setup import FakeSetup

VERSION = "a" * 64


class FakeEvidence:
    """Evidence of twelve records."""

    async def export(self, since: float, until: float) -> bytes:
        return b'{"number": 0}\n'

    async def verify(self) -> EvidenceVerification:
        return EvidenceVerification(
            good=True,
            records=12,
            first=0,
            last=11,
            head="ab" * 32,
            findings=[],
            finding_count=0,
            finds_cut_end=True,
        )


class FakeSite:
    """A site whose commands are recorded."""

    def __init__(self, read: Callable[[], ControllerStatus] = lambda: STATUS) -> None:
        self._read = read
        self.executed: list[tuple[SiteCommand, Actor]] = []
        self.setup = FakeSetup()
        self.evidence: FakeEvidence | None = FakeEvidence()

    def status(self) -> ControllerStatus:
        return self._read()

    def commands(self) -> Sequence[str]:
        return list(COMMANDS)

    async def execute(self, command: SiteCommand, actor: Actor) -> Mapping[str, Any]:
        if not actor.allows(command.permission):
            raise ProblemError(403, "missing permission")
        self.executed.append((command, actor))
        return {"done": command.name}

    def set_aside(self) -> Sequence[SetAsideMessage]:
        return [
            SetAsideMessage(
                station="CS01",
                backend="cpo",
                number=7,
                action="StopTransaction",
                received="2026-11-21T12:00:00+00:00",
                reason="GenericError: unknown transaction",
            )
        ]

    def station_messages(self, station: str, *, show_identities: bool) -> Sequence[MessageEntry]:
        if station != "CS01":
            raise ProblemError(404, "unknown station")
        token = "04AABBCC" if show_identities else "***"
        request = {"connectorId": 1, "idTag": token, "meterStart": 1200, "timestamp": "2026-11-21T12:00:00Z"}
        return [
            MessageEntry(
                time="2026-11-21T12:00:00.250+00:00",
                direction="to-station",
                kind="result",
                id="71",
                action="StartTransaction",
                payload={"idTagInfo": {"status": "Accepted"}, "transactionId": 9},
                length=74,
                cut=False,
            ),
            MessageEntry(
                time="2026-11-21T12:00:00.125+00:00",
                direction="from-station",
                kind="call",
                id="71",
                action="StartTransaction",
                payload=request,
                length=118,
                cut=False,
            ),
        ]

    def events(self, most: int) -> Sequence[EventEntry]:
        return [EventEntry(time="2026-11-21T12:00:00+00:00", severity="warning", text="meter lost")][:most]

    async def sessions(self, first: str, last: str) -> Sequence[SessionEntry]:
        return [
            SessionEntry(
                station="CS01",
                evse=1,
                transaction="t1",
                started=f"{first}-01T00:00:00Z",
                ended=f"{last}-01T01:00:00Z",
                energy_wh=1000.0,
                card="=1+1",
                reason="EVDisconnected",
                clock_synchronised=False,
            )
        ]

    async def history(self, channels: Sequence[str], start: int, end: int) -> Sequence[HistorySeries]:
        return [
            HistorySeries(
                channel="power/grid",
                unit="W",
                interval_s=60,
                times=[start],
                low=[0.0],
                mean=[1.0],
                high=[2.0],
            )
        ]

    async def configuration(self) -> ConfigurationText:
        return ConfigurationText(text="[site]\n", version=VERSION, path="/etc/controller.toml")

    async def configuration_versions(self) -> Sequence[ConfigurationVersion]:
        return [ConfigurationVersion(version=VERSION, time="2026-11-21T12:00:00+00:00", actor="anna")]

    async def configuration_version(self, version: str) -> ConfigurationText:
        if version != VERSION:
            raise ProblemError(404, "unknown version")
        return await self.configuration()

    async def check_configuration(self, text: str) -> Sequence[CheckFinding]:
        return [CheckFinding(severity="error", line=1, text="site.id: is missing")]


class FakeAccess:
    """Users whose password is their name and whose session is their name, too; tokens named `lc_...`."""

    def __init__(self) -> None:
        self.logged_in: set[str] = set()
        self.tokens_valid: dict[str, Actor] = {}
        self.passwords: list[tuple[str, str, str]] = []

    @property
    def has_users(self) -> bool:
        return True

    def find_login(self, secret: str, *, touch: bool = True) -> Actor | None:
        name = secret.removeprefix("session-")
        if name not in self.logged_in:
            return None
        return Actor(name, "page", BUILT_IN_ROLES[name].permissions)

    def find_token(self, secret: str) -> Actor | None:
        return self.tokens_valid.get(secret)

    async def login(self, name: str, password: str, peer: str) -> str:
        if password != name or name not in BUILT_IN_ROLES:
            raise ProblemError(401, "name or password is wrong")
        self.logged_in.add(name)
        return f"session-{name}"

    def logout(self, secret: str) -> None:
        self.logged_in.discard(secret.removeprefix("session-"))

    async def change_password(self, actor: Actor, old: str, new: str, peer: str) -> None:
        self.passwords.append((actor.name, old, new))

    def users(self) -> Sequence[UserEntry]:
        return [UserEntry(name="administrator", role="administrator")]

    def roles(self) -> Sequence[RoleEntry]:
        roles = (*BUILT_IN_ROLES.values(), UserRole("meter-reader", read_permissions(["status:read"])))
        return [RoleEntry(name=each.name, permissions=sorted(map(str, each.permissions))) for each in roles]

    def tokens(self) -> Sequence[TokenEntry]:
        return [TokenEntry(name="grafana", scopes=["status:read"], created=0.0, expires=None)]


class WebClient:
    """Client of the routes, without a socket: keeps a cookie like a browser of the page."""

    def __init__(self, site: FakeSite | None = None, *, open_status: bool = False, **more: Any) -> None:
        self.site = site or FakeSite()
        self.access = FakeAccess()
        self.routes = WebRoutes(self.site, self.access, open_status=open_status, **more)
        self.headers: dict[str, str] = {"host": "localhost"}
        self.now = 0.0

    async def request(self, method: str, target: str, body: bytes = b"", **headers: str) -> Response:
        response = await self.open(method, target, body, **headers)
        assert isinstance(response, Response)
        return response

    async def open(
        self, method: str, target: str, body: bytes = b"", **headers: str
    ) -> Response | StreamResponse:
        path, _, query = target.partition("?")
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        request = WebRequest(
            method=method,
            path=path,
            query=dict(part.split("=") for part in query.split("&") if part),
            headers={**self.headers, **given},
            body=body,
            peer="192.0.2.9",
            now=self.now,
        )
        try:
            return await self.routes.respond(request)
        except ProblemError as problem:
            return problem.response()

    async def get(self, target: str, **headers: str) -> Response:
        return await self.request("GET", target, **headers)

    async def post(self, target: str, body: bytes = b"{}", **headers: str) -> Response:
        own = {"content_type": "application/json", "sec_fetch_site": "same-origin"}
        return await self.request("POST", target, body, **{**own, **headers})

    async def login(self, name: str) -> Response:
        body = f'{{"name": "{name}", "password": "{name}"}}'
        response = await self.post("/api/v1/login", body.encode())
        if response.status == 200:
            cookie = dict(response.headers)["Set-Cookie"]
            self.headers["cookie"] = cookie.partition(";")[0]
        return response
