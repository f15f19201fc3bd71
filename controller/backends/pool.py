"""The connections to one backend: its endpoints, and the pool that dials the best answering endpoint.

`failover` decides which endpoint is dialled and when; this module runs the dials and probes.
"""

from __future__ import annotations

import hashlib
import logging
import math
import random
import re
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Protocol
from urllib.parse import quote, unquote, urlsplit
from weakref import WeakKeyDictionary

import msgspec
import trio

from controller.backends.failover import PROBE_INTERVAL_S, BackendVerdict, EndpointSelector
from controller.model.rate_limits import TokenBucket
from controller.transport.channel import Channel
from controller.transport.deadline_timer import DeadlineTimer
from controller.transport.dial import (
    DialError,
    DialSettings,
    DialStage,
    ServerAddress,
    dial_websocket,
    probe_server,
)
from controller.transport.http_upgrade import CompressionOffer, basic_authorization
from controller.transport.tls import RenewedContext
from controller.transport.transport_errors import ConnectionLostError, find_connection_loss
from controller.transport.websocket_connection import WebSocketConnection

log = logging.getLogger("controller.transport")

DIALS_PER_SECOND = 200.0
"""As many as stations may connect by default: a storm of stations goes on to the backend as it came."""

START_WAIT_S = 30.0
"""Longest wait for a pool that is started while its first links are opened (s)."""

NORMAL = 1000
GOING_AWAY = 1001
POLICY_VIOLATION = 1008
"""WebSocket close codes (RFC 6455, 7.4.1)."""

CERTIFICATE_CHECK_S = 5.0
"""Interval at which the certificates of open connections are checked for a revocation."""

PATH_SEGMENT = re.compile(r"(?:[A-Za-z0-9\-._~!$&'()*+,;=:@]|%[0-9A-Fa-f]{2})+")
"""A segment of a URL's path (RFC 3986, 3.3)."""

SEGMENT_SAFE = "-._~!$&'()*+,;=:@"
"""Characters that need no percent-encoding in a segment (RFC 3986, 3.3)."""


class LinkRequest(msgspec.Struct, frozen=True):
    """A request for one station's link to a backend.

    `versions` are offered in order. `authorization`: the header that the station sent; it is a secret, and
    goes to its owner alone. `segment`: the last segment of the station's own URL, as the station wrote it.
    """

    station: str
    versions: tuple[str, ...]
    authorization: bytes | None = None
    segment: str | None = None

    def __repr__(self) -> str:
        return f"LinkRequest({self.station!r}, {self.versions})"

    @property
    def claim(self) -> str:
        """A name for what the station has shown: id, credentials and versions, without the secret."""
        shown = b"\0".join((self.authorization or b"", *(each.encode() for each in self.versions)))
        return f"{self.station} {hashlib.blake2b(shown, digest_size=12).hexdigest()}"

    @property
    def path_segment(self) -> str:
        """The station's id in a URL: the station's own bytes where they are valid."""
        own = self.segment
        if own is not None and PATH_SEGMENT.fullmatch(own) and unquote(own) == self.station:
            return own
        return quote(self.station, safe=SEGMENT_SAFE)


class EndpointAnswer(msgspec.Struct, frozen=True):
    """An open connection to an endpoint, and the version that the backend chose."""

    channel: Channel
    version: str


def _accept_any(certificate: bytes) -> str | None:
    """Accept each certificate that TLS has verified."""
    return None


class DialableEndpoint(Protocol):
    """One endpoint of a backend: an `Endpoint`, or a route of an overlay network."""

    async def open(self, request: LinkRequest, nursery: trio.Nursery) -> EndpointAnswer:
        """Open a connection for a station; `nursery` runs its sender. Raises DialError."""

    async def probe(self) -> None:
        """Test whether it can be reached. Raises DialError."""


Endpoints = Mapping[str, Mapping[str, tuple[int, DialableEndpoint]]]
"""Endpoints of each backend, by its name and theirs, with their priorities."""


class Endpoint:
    """One URL of a backend; `{station}` in it stands for the station's id.

    With `password`, stations are presented with it, else with what they have sent. `headers` go into each
    request. `turns` limits the rate of dials. `find_objection` returns why a certificate of the server (DER)
    is not accepted now; open connections are checked against it, too.
    """

    def __init__(
        self,
        url: str,
        tls: RenewedContext | None,
        password: bytes | None,
        max_message_bytes: int,
        connect_timeout_s: float,
        turns: TokenBucket | None = None,
        *,
        compression: bool = True,
        headers: tuple[tuple[str, str], ...] = (),
        find_objection: Callable[[bytes], str | None] | None = None,
    ) -> None:
        self._find_objection = find_objection
        self._certified: WeakKeyDictionary[WebSocketConnection, bytes] = WeakKeyDictionary()
        """Certificate of the server by open connection."""
        self._is_watching = False
        self._url = url
        self._tls = tls
        self._password = password
        self._max_message_bytes = max_message_bytes
        self._connect_timeout_s = connect_timeout_s
        self._turns = turns or TokenBucket(DIALS_PER_SECOND, burst=DIALS_PER_SECOND)
        self._compression = CompressionOffer.BEST if compression else CompressionOffer.NONE
        self._headers = headers
        self._server = ServerAddress()

    def __repr__(self) -> str:
        return f"Endpoint({self._url!r})"

    async def open(self, request: LinkRequest, nursery: trio.Nursery) -> EndpointAnswer:
        """Open a connection for a station, when it is its turn. Raises DialError.

        A server that answers the compression offer in an invalid way gets the next offer, at once and in all
        later dials.
        """
        if wait_s := self._turns.take(trio.current_time()):
            await trio.sleep(wait_s)
        while True:
            offer = self._compression
            try:
                channel, version = await dial_websocket(nursery, self._settings(request, offer))
            except DialError as failed:
                following = offer.next_offer
                if not failed.is_extension or following is None:
                    raise
                if self._compression is offer:
                    self._compression = following
                    log.info(
                        "compression offer answered in an invalid way url=%s next_offer=%s reason=%s",
                        self._url,
                        following.name.lower(),
                        failed,
                    )
            else:
                self._watch(channel, nursery)
                return EndpointAnswer(channel, version)

    def _watch(self, connection: WebSocketConnection, nursery: trio.Nursery) -> None:
        """Check the certificate of a connection from now on."""
        certificate = connection.peer_certificate_der
        if self._find_objection is None or certificate is None:
            return
        self._certified[connection] = certificate
        if not self._is_watching:
            self._is_watching = True
            nursery.start_soon(self._watch_certificates, self._find_objection)

    async def _watch_certificates(self, find_objection: Callable[[bytes], str | None]) -> None:
        """Close connections to a server whose certificate is not accepted any more, until cancelled."""
        try:
            while True:
                await trio.sleep(CERTIFICATE_CHECK_S)
                for connection, certificate in list(self._certified.items()):
                    objection = find_objection(certificate)
                    if objection is not None:
                        log.warning("connection to backend closed url=%s reason=%s", self._url, objection)
                        del self._certified[connection]
                        await connection.close(POLICY_VIOLATION, "")
        finally:
            self._is_watching = False

    async def probe(self) -> None:
        """Test whether TCP and TLS can be opened, as no station. Raises DialError."""
        parts = urlsplit(self._url)
        port = parts.port or (80 if self._tls is None else 443)
        await probe_server(parts.hostname or "", port, self._context(), self._connect_timeout_s)

    def _settings(self, request: LinkRequest, offer: CompressionOffer) -> DialSettings:
        password = self._password
        return DialSettings(
            self._url.replace("{station}", request.path_segment),
            request.versions,
            self._context(),
            request.authorization if password is None else basic_authorization(request.station, password),
            self._max_message_bytes,
            self._connect_timeout_s,
            offer,
            self._headers,
            self._find_objection or _accept_any,
            self._server,
        )

    def _context(self) -> ssl.SSLContext | None:
        return None if self._tls is None else self._tls.current(trio.current_time())


class OpenedLink:
    """An open link of one station; give it back with `release`.

    `source`: what `endpoint` was when it was dialled. `on_outdated` is called once that is not configured any
    more; without it, the channel is closed then.
    """

    __slots__ = (
        "channel",
        "endpoint",
        "is_released",
        "on_outdated",
        "opened_at",
        "pool",
        "request",
        "source",
        "version",
    )

    def __init__(
        self,
        pool: BackendPool,
        answer: EndpointAnswer,
        endpoint: str,
        source: DialableEndpoint,
        request: LinkRequest,
        now: float,
    ) -> None:
        self.pool = pool
        self.channel = answer.channel
        self.version = answer.version
        self.endpoint = endpoint
        self.source = source
        self.request = request
        self.opened_at = now
        self.is_released = False
        self.on_outdated: Callable[[], None] | None = None

    def release(self, lost: ConnectionLostError | None = None) -> None:
        """Give the link back that was closed; `lost` is counted against its endpoint if it was not local."""
        self.pool.release(self, lost)


class BackendPool:
    """All endpoints of one backend by id, with their priorities; the lowest is dialled first."""

    def __init__(
        self,
        backend: str,
        endpoints: Mapping[str, tuple[int, DialableEndpoint]],
        chance: random.Random | None = None,
    ) -> None:
        self.backend = backend
        self._endpoints = {name: endpoint for name, (_, endpoint) in endpoints.items()}
        priorities = [(name, priority) for name, (priority, _) in endpoints.items()]
        self._selector = EndpointSelector(priorities, chance or random.Random())
        self._timer = DeadlineTimer(self._selector.next_probe_at)
        self._nursery: trio.Nursery | None = None
        self._is_running = trio.Event()
        self._scope = trio.CancelScope()
        self._newest: dict[str, object] = {}
        self._opened: set[OpenedLink] = set()
        self.links = dict.fromkeys(self._endpoints, 0)
        """Open links, by endpoint."""

    def replace_endpoints(self, endpoints: Mapping[str, tuple[int, DialableEndpoint]]) -> None:
        """Dial these endpoints from now on; links over endpoints that stay are not touched.

        Users of the other links are notified, and move to an endpoint of these.
        """
        before, self._endpoints = self._endpoints, {name: each for name, (_, each) in endpoints.items()}
        changed = {name for name, each in before.items() if self._endpoints.get(name) is not each}
        priorities = [(name, priority) for name, (priority, _) in endpoints.items()]
        self._selector.replace_endpoints(priorities, changed)
        self.links = {name: 0 if name in changed else self.links.get(name, 0) for name in self._endpoints}
        for opened in [each for each in self._opened if each.endpoint in changed]:
            if opened.on_outdated is not None:
                opened.on_outdated()
            elif self._nursery is not None:
                self._nursery.start_soon(opened.channel.close, GOING_AWAY, "")
        self._timer.update()

    def start_soon(self, run: Callable[[], Awaitable[object]]) -> None:
        """Run a task of a link beside the pool, which has to run."""
        if self._nursery is not None:
            self._nursery.start_soon(run)

    async def retire(self, wait_s: float) -> None:
        """End `run` once no link is open, after `wait_s` at most: the backend is not configured any more."""
        with trio.move_on_after(wait_s):
            while self._opened:
                await self._timer.wait_updated()
        self._scope.cancel()

    def is_configured(self, opened: OpenedLink) -> bool:
        """Return True if a link goes over an endpoint as it is configured now."""
        return self._is_current(opened.endpoint, opened.source)

    def _is_current(self, endpoint: str, source: DialableEndpoint) -> bool:
        return self._endpoints.get(endpoint) is source

    # -- links ----------------------------------------------------------------------------------------

    async def open_link(self, request: LinkRequest, *, is_owner: bool) -> OpenedLink:
        """Open a link for a station; what the station showed goes to its owner alone.

        Tries all endpoints that may be tried now, and waits only while another station tries one. Raises
        DialError if none can be opened: its stage is REFUSED where the backend has given its verdict, and
        its `retry_after_s` states when to ask again, as does `wait_ready`.
        """
        if not is_owner:
            request = msgspec.structs.replace(request, authorization=None)
        marker = object()
        self._newest[request.station] = marker
        try:
            opened = await self._open(request)
        except BaseException:
            if self._newest.get(request.station) is marker:
                del self._newest[request.station]
                self._timer.update()
            raise
        if self._newest.get(request.station) is marker:
            self._newest[request.station] = opened
        self._opened.add(opened)
        if self._is_current(opened.endpoint, opened.source):
            self.links[opened.endpoint] += 1
        return opened

    def release(self, opened: OpenedLink, lost: ConnectionLostError | None = None) -> None:
        """Give a link back that was closed; `lost` is counted against its endpoint if it was not local."""
        if opened.is_released:
            return
        opened.is_released = True
        self._opened.discard(opened)
        is_current = self._is_current(opened.endpoint, opened.source)
        if is_current:
            self.links[opened.endpoint] -= 1
        if self._newest.get(opened.request.station) is opened:
            del self._newest[opened.request.station]
        if lost is not None and not lost.is_local and is_current:
            now = trio.current_time()
            lasted_s = now - opened.opened_at
            claim = opened.request.claim
            self._selector.on_link_lost(
                claim, opened.endpoint, str(lost), lasted_s, now, is_clean=lost.is_clean
            )
        self._timer.update()

    @asynccontextmanager
    async def hold_link(self, request: LinkRequest, *, is_owner: bool) -> AsyncIterator[OpenedLink]:
        """Open a link for the block, and close it afterwards; see `open_link`."""
        opened = await self.open_link(request, is_owner=is_owner)
        lost = None
        try:
            yield opened
        except BaseException as error:
            lost = find_connection_loss(error)
            raise
        finally:
            self.release(opened, lost)
            await opened.channel.close(NORMAL, "")

    def report_unanswered(self, opened: OpenedLink) -> None:
        """Report that calls over an open link have no answer: the next link goes elsewhere."""
        if not self._is_current(opened.endpoint, opened.source):
            return
        self._selector.on_calls_unanswered(opened.request.claim, opened.endpoint, trio.current_time())
        self._timer.update()

    async def wait_ready(self, request: LinkRequest) -> None:
        """Wait until this station can be dialled for, and no newer link of it is open.

        A station that has connected a second time has its newer link first: many backends close the older
        one then, which must not be opened again.
        """
        while True:
            if request.station not in self._newest:
                if self._selector.select(request.claim, trio.current_time()) is not None:
                    return
                await self._wait_updated(self._selector.ready_at(request.claim))
            else:
                await self._timer.wait_updated()

    async def wait_better_endpoint(self, opened: OpenedLink) -> None:
        """Wait until a better endpoint is there for this link, which should move to it when it is idle."""
        claim = opened.request.claim
        while True:
            if not self._is_current(opened.endpoint, opened.source):
                await trio.sleep_forever()  # its user was notified by `on_outdated`
            at = self._selector.better_at(claim, opened.endpoint)
            if at <= trio.current_time():
                return
            await self._wait_updated(at)

    @property
    def has_alternatives(self) -> bool:
        """True if there is more than one endpoint."""
        return len(self._endpoints) > 1

    @property
    def is_down(self) -> bool:
        """True while no endpoint can be reached."""
        return self._selector.is_down

    def turn_away(self, request: LinkRequest) -> float:
        """Return the s after which a station should ask again that is turned away while all are down.

        The endpoints are probed for a while, so that the station is accepted as soon as one answers.
        """
        now = trio.current_time()
        self._selector.on_station_turned_away(now)
        self._timer.update()
        return self._retry_after_s(request, now)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Send what waits on its links, and probe endpoints that are down, until cancelled."""
        with self._scope:
            async with trio.open_nursery() as self._nursery:
                self._is_running.set()
                task_status.started()
                while True:
                    await self._timer.wait_due()
                    async with trio.open_nursery() as nursery:
                        for endpoint in self._selector.endpoints_to_probe(trio.current_time()):
                            nursery.start_soon(self._probe, endpoint)

    # -- dials ----------------------------------------------------------------------------------------

    async def _open(self, request: LinkRequest) -> OpenedLink:
        failures: dict[str, DialError] = {}
        while True:
            now = trio.current_time()
            endpoint = self._selector.select(request.claim, now, failures)
            if endpoint is not None:
                source = self._endpoints[endpoint]
                outcome = await self._dial(endpoint, source, request)
                if not isinstance(outcome, DialError):
                    return OpenedLink(self, outcome, endpoint, source, request, trio.current_time())
                failures[endpoint] = outcome
            elif self._selector.is_trial_running(request.claim, now, failures):
                await self._timer.wait_updated()
            else:
                raise self._error(request, list(failures.values()), now)

    def _error(self, request: LinkRequest, failures: list[DialError], now: float) -> DialError:
        """Summarize why no endpoint gives a link: a verdict counts more than an endpoint that is away."""
        wait_s = self._retry_after_s(request, now)
        refused = [each for each in failures if each.stage is DialStage.REFUSED]
        if failures:
            first = refused[0] if refused else failures[0]
            return DialError(
                "; ".join(dict.fromkeys(map(str, failures))),
                stage=first.stage,
                status=first.status,
                retry_after_s=wait_s,
                is_version=first.is_version,
            )
        verdict = self._selector.find_verdict(request.claim, now)
        if verdict is not None:
            return DialError(
                f"{verdict.reason}; next try in {_format_wait(wait_s)}",
                stage=DialStage.REFUSED,
                status=verdict.status,
                retry_after_s=wait_s,
                is_version=verdict.is_version,
            )
        why = "; ".join(self._selector.reasons(request.claim)) or "it did not answer"
        return DialError(f"{why}; next try in {_format_wait(wait_s)}", retry_after_s=wait_s)

    def _retry_after_s(self, request: LinkRequest, now: float) -> float:
        """Return the s until this station may dial; while another station's trial runs, those of a probe."""
        ready_at = self._selector.ready_at(request.claim)
        return PROBE_INTERVAL_S if ready_at == math.inf else max(0.0, ready_at - now)

    async def _dial(
        self, endpoint: str, source: DialableEndpoint, request: LinkRequest
    ) -> EndpointAnswer | DialError:
        """Dial an endpoint. Failures of one that is replaced meanwhile are not counted."""
        began = trio.current_time()
        was_up = self._selector.is_up(endpoint)
        self._selector.on_dial_started(endpoint)
        try:
            if self._nursery is None:
                with trio.fail_after(START_WAIT_S):
                    await self._is_running.wait()
            assert self._nursery is not None
            answer = await source.open(request, self._nursery)
        except DialError as failed:
            if self._is_current(endpoint, source):
                self._on_dial_failed(endpoint, request, began, failed)
            return failed
        except BaseException:
            if self._is_current(endpoint, source):
                self._selector.on_dial_cancelled(endpoint)
            raise
        else:
            now = trio.current_time()
            if self._is_current(endpoint, source) and self._selector.on_link_opened(
                request.claim, request.station, endpoint, now
            ):
                log.info("backend reachable again backend=%s", self._name(endpoint))
            return answer
        finally:
            # Dials that all succeed are no news: each would wake all links that wait.
            if not (was_up and self._is_current(endpoint, source) and self._selector.is_up(endpoint)):
                self._timer.update()

    def _on_dial_failed(self, endpoint: str, request: LinkRequest, began: float, failed: DialError) -> None:
        now, claim, station, reason = trio.current_time(), request.claim, request.station, str(failed)
        if failed.stage is DialStage.REFUSED:
            verdict = BackendVerdict(reason, failed.status, failed.is_version)
            if self._selector.on_station_refused(claim, endpoint, verdict, now):
                log.warning(
                    "backend rejected station backend=%s station=%s reason=%s; "
                    "check the station's id, password and OCPP version at the backend",
                    self._name(endpoint),
                    station,
                    reason,
                )
            return
        if failed.stage is DialStage.UPGRADE:
            is_new, is_down = self._selector.on_upgrade_failed(
                claim, station, endpoint, reason, began, now, failed.retry_after_s
            )
            if is_new and not is_down:
                log.warning(
                    "link failed backend=%s station=%s reason=%s", self._name(endpoint), station, reason
                )
        else:
            is_down = self._selector.on_unreachable(endpoint, reason, began, now)
        if is_down:
            log.warning(
                "backend unreachable backend=%s reason=%s remedy=%s",
                self._name(endpoint),
                reason,
                failed.remedy,
            )

    # -- probes ---------------------------------------------------------------------------------------

    async def _probe(self, endpoint: str) -> None:
        began = trio.current_time()
        source = self._endpoints[endpoint]
        try:
            await source.probe()
        except DialError as failed:
            if self._is_current(endpoint, source):
                self._selector.on_unreachable(endpoint, str(failed), began, trio.current_time())
        else:
            if self._is_current(endpoint, source) and self._selector.on_probe_answered(
                endpoint, trio.current_time()
            ):
                log.info("backend reachable again backend=%s", self._name(endpoint))
        self._timer.update()

    async def _wait_updated(self, deadline: float) -> None:
        with trio.move_on_at(deadline):
            await self._timer.wait_updated()

    def _name(self, endpoint: str) -> str:
        return self.backend if len(self._endpoints) == 1 else f"{self.backend} endpoint={endpoint}"


def _format_wait(wait_s: float) -> str:
    """Format a wait in full s, one below 10 s in tenths, rounded up: it is never over before that."""
    return f"{math.ceil(wait_s):d} s" if wait_s >= 10 else f"{math.ceil(wait_s * 10) / 10:g} s"
