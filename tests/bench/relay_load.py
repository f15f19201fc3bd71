"""The relay bench's load, a process of its own: stations on one side of a relay, their backend on the other.

Cheap enough to keep a relay on another core busy: frames are prebuilt and masked with zeros, only the id in
them changes, and one epoll loop holds all sockets of both sides. With deflate `websockets` makes the frames.

    python -m tests.bench.relay_load '{"relay": 8887, "backend": 9000, "stations": 64}'

prints "through" when all stations are connected to the backend, goes on at a line on its standard input,
and ends with what was measured, as one JSON object.
"""

from __future__ import annotations

import json
import select
import socket
import ssl
import sys
import time

import msgspec
from websockets.client import ClientProtocol
from websockets.extensions.permessage_deflate import (
    ClientPerMessageDeflateFactory,
    enable_server_permessage_deflate,
)
from websockets.frames import Frame
from websockets.http11 import Request
from websockets.protocol import Protocol
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol
from websockets.uri import parse_uri

from tests.tls_clients import make_test_client

VERSION = "ocpp1.6"
WARM_S = 4.0
"""Until the first limits are in the stations, which a controller sets after their first messages."""

WARM_STATIONS_PER_S = 100.0
"""Stations that get their first limits in a second, while all send as fast as they can."""

NOT_NOW = (BlockingIOError, ssl.SSLWantReadError)


class Load(msgspec.Struct):
    """Parameters of a run.

    With `rate`, so many calls a second over all stations; else each calls when it is answered.
    `bare`: the stations do their TLS handshakes, and nothing else.
    """

    relay: int
    backend: int
    stations: int
    size: int = 300
    seconds: float = 2.0
    rate: float = 0.0
    deflate: bool = False
    ca: str | None = None
    certificate: str | None = None
    key: str | None = None
    bare: bool = False


class Template:
    """A message in which only the nine digits of its id change."""

    def __init__(self, before: str, after: str, size: int, *, masked: bool) -> None:
        self._before = before.encode()
        self._after = after.replace("PAD", "x" * (size - len(before) - 9 - len(after) + 3)).encode()
        length = len(self._before) + 9 + len(self._after)
        self._head = b"\x81" + (
            bytes([0x80 * masked | length])
            if length < 126
            else bytes([0x80 * masked | 126, *length.to_bytes(2, "big")])
        )
        self._head += bytes(4 * masked)  # a mask of zeros leaves the payload as it is

    def payload(self, number: int) -> bytes:
        return b"%b%09d%b" % (self._before, number, self._after)

    def frame(self, number: int) -> bytes:
        return b"%b%b%09d%b" % (self._head, self._before, number, self._after)


def call_of(size: int) -> Template:
    """MeterValues of OCPP 1.6: what stations send most."""
    sampled = '{"value":"2417.5","context":"Sample.Periodic","measurand":"Power.Active.Import","unit":"W"}'
    values = ",".join([sampled] * max(1, (size - 150) // len(sampled)))
    meter = f'{{"timestamp":"2026-11-21T14:00:00Z","sampledValue":[{values}]}}'
    after = f'","MeterValues",{{"connectorId":1,"meterValue":[{meter}],"pad":"PAD"}}]'
    return Template('[2,"', after, size, masked=True)


def answer_of(size: int) -> Template:
    """Its answer, made as long, so that both ways carry the same."""
    return Template('[3,"', '",{"pad":"PAD"}]', size, masked=False)


class Side:
    """One socket of a station or of the backend: counts the messages that come, and sends a template."""

    def __init__(
        self, sock: socket.socket, template: Template, protocol: Protocol | None, early: bytes = b""
    ) -> None:
        self.sock = sock
        self.number = 0
        self.sent_at = 0.0
        self._template = template
        self._is_station = template.payload(0).startswith(b"[2")
        self._protocol = protocol
        self._rest = early

    def receive(self) -> int:
        """Return the number of received calls and answers."""
        try:
            data = self.sock.recv(65_536)
        except NOT_NOW:
            return 0
        if not data:
            raise EOFError("the relay has closed a link in the middle of the bench")
        if self._protocol is None:
            return sum(map(self._counts, self._payloads(data)))
        self._protocol.receive_data(data)
        return sum(
            self._counts(bytes(each.data))
            for each in self._protocol.events_received()
            if isinstance(each, Frame)
        )

    def _payloads(self, data: bytes) -> list[bytes]:
        data, payloads, at = self._rest + data, [], 0
        while len(data) >= at + 4:
            masked, length, start = data[at + 1] >> 7, data[at + 1] & 0x7F, at + 2
            if length == 126:
                length, start = int.from_bytes(data[start : start + 2], "big"), start + 2
            start += 4 * masked
            if len(data) < start + length:
                break
            payloads.append(b"" if masked else data[start : start + length])
            at = start + length
        self._rest = data[at:]
        return payloads

    def _counts(self, payload: bytes) -> bool:
        """The controller's own calls to its stations are accepted, and do not count."""
        if not (self._is_station and payload.startswith(b"[2")):
            return True
        accepted = b'[3,"' + payload.split(b'"', 2)[1] + b'",{"status":"Accepted"}]'
        self._send(accepted, bytes([0x81, 0x80 | len(accepted), 0, 0, 0, 0]) + accepted)
        return False

    def send(self) -> None:
        number, self.number = self.number, self.number + 1
        self._send(self._template.payload(number) if self._protocol else b"", self._template.frame(number))

    def _send(self, payload: bytes, frame: bytes) -> None:
        if self._protocol is not None:
            self._protocol.send_text(payload)
            frame = b"".join(self._protocol.data_to_send())
        if self.sock.send(frame) != len(frame):
            raise RuntimeError("a socket's buffer is full")


# -- the links ---------------------------------------------------------------------------------------------


def head_of(sock: socket.socket) -> bytes:
    data = b""
    while b"\r\n\r\n" not in data:
        more = sock.recv(4096)
        if not more:
            raise EOFError(f"no upgrade: {data!r}")
        data += more
    return data


def connected(load: Load) -> socket.socket:
    """A station's socket."""
    sock = socket.create_connection(("127.0.0.1", load.relay))
    if not load.ca:
        return sock
    return make_test_client(load.ca).wrap_socket(sock, server_hostname="localhost")


def opened(load: Load, number: int, listener: socket.socket) -> tuple[Side, Side]:
    """A station, and the backend's end of its way through the relay."""
    ours = connected(load)
    client = ClientProtocol(
        parse_uri(f"ws://localhost/ocpp/CS{number:04}"),
        extensions=[ClientPerMessageDeflateFactory(compress_settings={"memLevel": 5})]
        if load.deflate
        else None,
        subprotocols=[Subprotocol(VERSION)],
    )
    client.send_request(client.connect())
    ours.sendall(b"".join(client.data_to_send()))
    theirs, _ = listener.accept()
    if load.certificate and load.key:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(load.certificate, load.key)
        theirs = context.wrap_socket(theirs, server_side=True)
    server = ServerProtocol(
        extensions=enable_server_permessage_deflate(None) if load.deflate else None,
        subprotocols=[Subprotocol(VERSION)],
    )
    server.receive_data(head_of(theirs))
    (request,) = server.events_received()
    assert isinstance(request, Request)
    server.send_response(server.accept(request))
    theirs.sendall(b"".join(server.data_to_send()))
    client.receive_data(head_of(ours))
    if client.handshake_exc is not None:
        raise client.handshake_exc
    if load.deflate and not (client.extensions and server.extensions):
        raise RuntimeError("the relay does not compress")
    for sock in (ours, theirs):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setblocking(False)
    return (
        Side(ours, call_of(load.size), client if load.deflate else None),
        Side(theirs, answer_of(load.size), server if load.deflate else None),
    )


# -- the links ----------------------------------------------------------------------------------------------


class LoadedLinks:
    """Calls and answers over all links. `delays`: how long each call took from station to backend, in s."""

    def __init__(self, pairs: list[tuple[Side, Side]]) -> None:
        self.delays: list[float] = []
        self.round_trips = 0
        self._stations = {station.sock.fileno(): station for station, _ in pairs}
        self._backends = {backend.sock.fileno(): (backend, station) for station, backend in pairs}
        self._all = [station for station, _ in pairs]
        self._epoll = select.epoll()
        for file in (*self._stations, *self._backends):
            self._epoll.register(file, select.EPOLLIN)

    def at_once(self, warm_s: float, seconds: float) -> None:
        """Each station calls as soon as it is answered; what counts begins after `warm_s`."""
        for station in self._all:
            self._call(station)
        self._keep_calling(warm_s)
        self.round_trips = 0
        self.delays.clear()
        print("warm", flush=True)
        self._keep_calling(seconds)
        print("over", flush=True)

    def _keep_calling(self, seconds: float) -> None:
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            for station in self._turn(0.1):
                self._call(station)

    def at_rate(self, warm_s: float, seconds: float, rate: float) -> None:
        """So many calls a second, of each station in its turn; what counts begins after `warm_s`."""
        self._keep_calling_at(rate, warm_s)
        self.delays.clear()
        self._keep_calling_at(rate, seconds)
        self._turn(1.0)

    def _keep_calling_at(self, rate: float, seconds: float) -> None:
        start = time.perf_counter()
        for number in range(int(seconds * rate)):
            due = start + number / rate
            while (now := time.perf_counter()) < due:
                self._turn(due - now)
            self._call(self._all[number % len(self._all)])

    def _call(self, station: Side) -> None:
        station.sent_at = time.perf_counter()
        station.send()

    def _turn(self, timeout_s: float) -> list[Side]:
        """Wait for something to come; the stations that were answered."""
        answered = []
        for file, _ in self._epoll.poll(max(0.0, timeout_s)):
            if file in self._stations:
                station = self._stations[file]
                if station.receive():
                    self.round_trips += 1
                    answered.append(station)
            else:
                backend, station = self._backends[file]
                for _ in range(backend.receive()):
                    self.delays.append(time.perf_counter() - station.sent_at)
                    backend.number = station.number - 1
                    backend.send()
        return answered


def main() -> None:
    load = msgspec.json.decode(sys.argv[1], type=Load)
    with socket.create_server(("127.0.0.1", load.backend), backlog=1024) as listener:
        bare = [connected(load) for _ in range(load.stations)] if load.bare else []
        pairs = [opened(load, number, listener) for number in range(0 if load.bare else load.stations)]
        print("through", flush=True)
        if not sys.stdin.readline().strip():
            sys.exit(f"{len(bare) + len(pairs)} stations got no request")
        links = LoadedLinks(pairs)
        if load.rate:
            links.at_rate(WARM_S + load.stations / load.rate, load.seconds, load.rate)
        else:
            links.at_once(WARM_S + load.stations / WARM_STATIONS_PER_S, load.seconds)
        delays = sorted(links.delays)
        print(
            json.dumps(
                {
                    "round_trips": links.round_trips,
                    "p50_ms": delays[len(delays) // 2] * 1e3,
                    "p99_ms": delays[len(delays) * 99 // 100] * 1e3,
                }
            )
        )


if __name__ == "__main__":
    main()
