"""Recorded sessions of another stack, replayed from the guard's side: see recordings/README.md."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from drivers.eebus.lpc import State
from drivers.reading import Reading
from tests.drivers.eebus.guard import GUARD_SKI, ControlledSite, Guard, commands_of, to_object

FOLDER = Path(__file__).parent / "recordings"
EXPECTATIONS: dict[str, dict[str, Any]] = json.loads((FOLDER / "expectations.json").read_text())
SYSTEM = "d:_n:Blackbox_System-1"
GUARD = "d:_n:Blackbox_Guard-1"

NOT_COMPARED = {"read", "call"}
"""Our own requests have their own order: that they are sent is tested by the cases."""

TIMES = {"timestamp"}

TOLERANCE_S = 0.005
"""Frames were recorded where they were sent and received: their times differ by so much."""


class Player:
    """Sends a recording's frames of the guard to a site, and compares the site's answers."""

    def __init__(self, name: str) -> None:
        file, _, run = name.partition("#")
        self.expected = EXPECTATIONS[name]
        setup = self.expected.get("setup", {})
        lines = [json.loads(line) for line in (FOLDER / file).read_text().splitlines()]
        self.lines = [(number, each) for number, each in enumerate(lines, 1) if each.get("run", "") == run]
        self.site = ControlledSite(
            trusted={GUARD_SKI: ""} if setup.get("trusted", True) else {},
            production=setup.get("production", False),
            ship_id="Blackbox-System-1",
            device=SYSTEM,
            nominal_w=11_000.0,
        )
        self.guard = Guard(self.site, device=GUARD)
        self.controls: list[Any] = []
        self.compared = 0
        if not any(each.get("hex") == "0000" for _, each in self.lines):
            self.guard.handshake()
        reading = Reading(time=0.0, power_total_w=3456.0)
        self.site.do(self.site.node.update_reading(reading, self.site.now, self.site.utc))

    def play(self) -> None:
        for number, line in self.lines:
            later = self.expected.get("later", {}).get(str(number), 0.0)
            tolerance = TOLERANCE_S if line["from"] == "system" else 0.0
            if (at := line["at_s"] + later + tolerance) > self.site.now:
                self.controls += self.guard.wait(at - self.site.now)
            for step in self.expected.get("before", {}).get(str(number), []):
                self._do(step)
            if line.get("event") == "open":
                if not self.guard.received:
                    self.site.open()
            elif line.get("event") == "close":
                if line["from"] == "system":
                    assert "c1" in self.site.closed, number
                self.site.node.lost("c1")
            elif line["from"] == "guard":
                self.controls += self.guard.send(_message(line))
            else:
                self._compare(number, line)

    def _do(self, step: str) -> None:
        guard = self.guard
        match step:
            case "bind":
                assert [guard.link("Binding", each, each) for each in (1, 2)] == [0, 0]
            case "subscribe":
                assert [guard.link("Subscription", each, each) for each in (1, 2)] == [0, 0]
            case "beat":
                guard.beat()
            case "trust" | "refuse":
                change = self.site.node.trust if step == "trust" else self.site.node.revoke
                self.site.do(change(GUARD_SKI, self.site.now))
                self.controls += self.guard.take()

    def _compare(self, number: int, line: dict[str, Any]) -> None:
        if str(number) in self.expected.get("skip", {}):
            return
        if line["json"] is None or "datagram" not in line["json"]:
            recorded = (
                bytes.fromhex(line["hex"]) if line["json"] is None else to_object(json.loads(line["json"]))
            )
            assert self.controls.pop(0) == recorded, number
            self.compared += 1
            return
        datagram = to_object(json.loads(line["json"]))["data"]["payload"]["datagram"]
        header, command = datagram["header"], commands_of(datagram)
        if header["cmdClassifier"] in NOT_COMPARED:
            return
        ours = self._answer_to(header, next(iter(command)))
        if str(number) in self.expected.get("differs", {}):
            return
        self.compared += 1
        if header["cmdClassifier"] == "result":
            result = self.expected.get("result", {}).get(str(number), command["resultData"]["errorNumber"])
            assert commands_of(ours)["resultData"]["errorNumber"] == result, number
            return
        assert ours["header"]["addressSource"] == header["addressSource"], number
        assert _contains(commands_of(ours), command), (number, commands_of(ours), command)

    def _answer_to(self, header: dict[str, Any], function: str) -> dict[str, Any]:
        """Return the node's answer with the same reference, or its next notification of the function."""
        reference = header.get("msgCounterReference")
        for each in self.guard.received:
            ours = each["header"]
            if ours["cmdClassifier"] != header["cmdClassifier"]:
                continue
            if ours.get("msgCounterReference") == reference and function in commands_of(each):
                self.guard.received.remove(each)
                return each
        raise AssertionError(f"no {header['cmdClassifier']} of {function} for {reference}")


def _message(line: dict[str, Any]) -> bytes:
    if line["json"] is None:
        return bytes.fromhex(line["hex"])
    return bytes.fromhex(line["hex"]) + line["json"].encode()


def _contains(ours: Any, recorded: Any) -> bool:
    """Return True if everything recorded is in the node's message, which may have more."""
    if isinstance(recorded, dict):
        ours = ours or {}  # an empty object is an empty list as well
        return isinstance(ours, dict) and all(
            name in TIMES or each == [] or (name in ours and _contains(ours[name], each))
            for name, each in recorded.items()
        )
    if isinstance(recorded, list):
        return (
            isinstance(ours, list)
            and len(ours) == len(recorded)
            and all(_contains(one, other) for one, other in zip(ours, recorded, strict=True))
        )
    return bool(ours == recorded)


@pytest.mark.parametrize("name", EXPECTATIONS)
def test_recording_is_answered_as_recorded(name: str) -> None:
    player = Player(name)
    player.play()
    assert player.compared > 0
    assert len(player.controls) == player.expected.get("unrecorded", 0)


def test_every_recording_is_played() -> None:
    files = {each.name for each in FOLDER.glob("*.jsonl")}
    assert {name.partition("#")[0] for name in EXPECTATIONS} == files


def test_heartbeat_loss_leads_to_failsafe_after_120_s_and_back() -> None:
    player = Player("heartbeat-loss.jsonl")
    player.play()
    assert player.site.moves == [1, 4, 7, 9, 6]
    assert player.site.state is State.CONTROLLED


def test_recordings_refused_writes_of_session_leave_limit() -> None:
    player = Player("session.jsonl")
    player.play()
    assert player.site.lpc.failsafe.watts == 4300
    assert max(each.event.watts or 0 for each in player.site.requests) == 1e99
    assert player.site.lpc.limit_w is None
