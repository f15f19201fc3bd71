"""A simulated grid operator: it dims the site with a signed command; a forged and a repeated one follow.

Commands are JSON, signed as documented: ECDSA on P-256 with SHA-256 over the command without white space and
without its member `signatures`, here in an independent implementation. They arrive as the data of a
DataTransfer of the site's backend.
"""

from __future__ import annotations

import base64
import json
from collections import Counter
from datetime import UTC, datetime, timedelta

import msgspec
import trio
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from trio_websocket import ConnectionClosed

from controller.demo.demo_frames import Payload
from controller.demo.peer_connection import NoAnswerError
from controller.demo.simulated_csms import SimulatedCsms
from controller.demo.site_physics import VOLTAGE_V, SimulatedSite

COMMAND_S = 22.0
"""Time from the start to the command."""
LASTS_S = 15.0
LIMIT_W = 27_000
"""A little more than the minimum of thirteen devices: 4.2 kW + 12 x 0.45 x 4.2 kW."""
APART_S = 1.0
"""Time between the command, the forged one and the repeated one."""
POLL_S = 0.05
ROLE = "grid-operator"
CONTEXT = "urn:local-controller:dim:command:1"


class DimmingReport(msgspec.Struct, frozen=True, kw_only=True):
    """Results of the commands, as measured by the grid operator and the physics.

    `refused`: by reason. `grid_w_before`, `grid_w_after`: what the controllable devices drew when the first
    command was sent, and when they drew no more than `limit_w`, `time_to_effect_s` later (None: never).
    """

    commands: int
    accepted: int
    refused: dict[str, int]
    time_to_effect_s: float | None
    grid_w_before: float
    grid_w_after: float | None
    limit_w: float


class Signer:
    """The holder of a key."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())

    @property
    def public(self) -> str:
        """Return the public key: its point, uncompressed, in base64."""
        point = self._key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        return base64.b64encode(point).decode()

    def signed(self, command: Payload) -> Payload:
        """Return the command with its signature."""
        text = json.dumps(command, separators=(",", ":"), ensure_ascii=False).encode()
        value = base64.b64encode(self._key.sign(text, ec.ECDSA(hashes.SHA256()))).decode()
        return {**command, "signatures": [{"keyId": self.public, "value": value}]}


class GridOperator:
    """Grid operator of the site `site_id`: it commands over the backend, and measures the effect."""

    def __init__(self, site_id: str, site: SimulatedSite, backend: SimulatedCsms) -> None:
        self.signer = Signer()
        self._site_id = site_id
        self._site = site
        self._backend = backend
        self._answers: Counter[str] = Counter()
        self._sent_at: float | None = None
        self._before_w = 0.0
        self._reached: tuple[float, float] | None = None

    def report(self) -> DimmingReport | None:
        """Return the results; None where the run was too short for a command."""
        if self._sent_at is None:
            return None
        refused = {reason: count for reason, count in sorted(self._answers.items()) if reason}
        return DimmingReport(
            commands=self._answers.total(),
            accepted=self._answers[""],
            refused=refused,
            time_to_effect_s=None if self._reached is None else round(self._reached[0] - self._sent_at, 2),
            grid_w_before=round(self._before_w),
            grid_w_after=None if self._reached is None else round(self._reached[1]),
            limit_w=LIMIT_W,
        )

    async def run(self) -> None:
        """Dim the site once, then send a forged lift, and the first command again."""
        await trio.sleep(COMMAND_S)
        command = self.signer.signed(self._command(1, LIMIT_W))
        forged = Signer().signed(self._command(2, None))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._watch)
            await self._send(command)
            for each in (forged, command):
                await trio.sleep(APART_S)
                await self._send(each)

    async def _send(self, command: Payload) -> None:
        transfer = {"vendorId": "org.local-controller", "messageId": "dim", "data": command}
        try:
            answer = await self._backend.call_site("DataTransfer", transfer)
        except (NoAnswerError, ConnectionClosed):
            self._answers["no-answer"] += 1
        else:
            self._answers[answer["data"].get("reason", "")] += 1

    async def _watch(self) -> None:
        """Measure until the limit is over; while it holds, no controller can let more through."""
        self._sent_at, self._before_w = self._site.now, self._drawn_w()
        self._site.dimmed_to_w = LIMIT_W
        while self._site.now < self._sent_at + LASTS_S:
            if self._reached is None and self._drawn_w() <= LIMIT_W:
                self._reached = (self._site.now, self._drawn_w())
            await trio.sleep(POLL_S)
        self._site.dimmed_to_w = None

    def _drawn_w(self) -> float:
        evses = self._site.evses.values()
        return sum(evse.drawn_a * len(evse.used_phases) for evse in evses) * VOLTAGE_V

    def _command(self, number: int, limit_w: int | None) -> Payload:
        now = datetime.now(UTC)
        return {
            "@context": CONTEXT,
            "commandId": f"demo-{number}",
            "issuer": {"role": ROLE},
            "scope": {"connectionPoint": self._site_id},
            "limitW": limit_w,
            "notBefore": now.isoformat(timespec="milliseconds"),
            "notAfter": (now + timedelta(seconds=LASTS_S)).isoformat(timespec="milliseconds"),
            "sequence": number,
            "reason": "the feeder is overloaded",
        }
