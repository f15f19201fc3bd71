"""The dimming controller with its evidence: records are complete and verify."""

from __future__ import annotations

import base64
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.dimming.digital_inputs import DigitalInput, DigitalInputsSettings
from controller.dimming.dimming_controller import DimmingController
from controller.dimming.dimming_limits import effective as find_effective
from controller.dimming.dimming_messages import moment
from controller.dimming.dimming_settings import SourceSettings
from controller.dimming.events import (
    ClockTrusted,
    CommandAnswer,
    CommandReceived,
    DimmingChanged,
    DimmingEvent,
    DimmingTick,
    EebusReported,
    InputsRead,
    Measured,
    NotifyBackends,
    RecordEvidence,
    SourceLimited,
    SourceReached,
)
from controller.dimming.evidence_audit import audit
from controller.dimming.evidence_chain import ChainHead, EvidenceChain, EvidenceKind, read_record
from controller.model.journal import Persist
from controller.store.evidence_files import evidence_files
from controller.store.state_store import StateStore
from drivers.eebus import lpc
from tests.controller.dimming.commands import NOON, command
from tests.controller.dimming.signers import PlainSignatures, signed
from tests.examples import examples
from tests.scenario.dimming_harness import ONE, SETTINGS, TWO, DimmingHarness
from tests.scenario.evidence import WrittenEvidenceLog

KEY = ec.derive_private_key(7, ec.SECP256R1())
WIRED = DigitalInputsSettings(contacts=(DigitalInput(name="W3", watts=8000),))
EVERYTHING = msgspec.structs.replace(
    SETTINGS,
    sources=(
        *SETTINGS.sources,
        SourceSettings(id="box", kind="eebus", minimum=False),
        SourceSettings(id="wired", kind="contact", contacts=WIRED),
    ),
)


def test_dimming_evidence_of_day_verifies(tmp_path: Path) -> None:
    log = WrittenEvidenceLog(tmp_path / "evidence", KEY, NOON, StateStore(tmp_path))
    scenario = DimmingHarness()
    good, forged = signed(command(1, 9000.0), "dso"), signed(command(2, 0.0), "mallory")
    kinds: list[str] = []
    for at, event in enumerate(
        (
            Measured({ONE: 11_000.0, TWO: 11_000.0}, 30_000.0),
            CommandReceived(1, "cpo", good),
            Measured({ONE: 11_000.0, TWO: 0.0}, None, {ONE: (13.0, "its share"), TWO: (0.0, "waits")}),
            CommandReceived(2, "cpo", forged),
            CommandReceived(3, "cpo", good),
            Measured({ONE: 8900.0, TWO: 0.0}, 20_000.0),
            CommandReceived(4, "cpo", signed(command(3, None), "dso")),
        )
    ):
        for action in scenario.handle(event, float(at)):
            if isinstance(action, RecordEvidence):
                log.append(action.kind, action.body, NOON + at)
                kinds.append(action.kind.value)
    assert kinds == [
        "command",
        "verdict",
        "limit",
        "readings",
        "decision",
        "command",
        "verdict",
        "command",
        "verdict",
        "readings",
        "command",
        "verdict",
        "readings",
        "release",
    ]
    [path] = evidence_files(tmp_path / "evidence")
    assert audit([("log", path.read_bytes())], [KEY.public_key()]).good
    records = [read_record(line) for line in path.read_bytes().splitlines()]
    received = [
        base64.b64decode(each.body["received"]) for each in records if each.kind == EvidenceKind.COMMAND
    ]
    assert received[:3] == [good, forged, good]
    refused = [each.body["reason"] for each in records if each.kind == EvidenceKind.VERDICT]
    assert refused == [None, "bad-signature", "replayed", None]


watts = st.sampled_from([None, 0.0, 1000.0, 4200.0, 9000.0, 50_000.0])
measured = st.sampled_from([None, 0.0, 5000.0, 22_000.0, float("nan"), float("inf")])
signers = st.sampled_from(["dso", "cpo", "mallory", "old"])


@st.composite
def commands(draw: st.DrawFn) -> DimmingEvent:
    payload: dict[str, Any] = command(
        draw(st.integers(1, 30)),
        draw(watts),
        role=draw(st.sampled_from(["grid-operator", "operator"])),
        begins=draw(st.sampled_from([0.0, 500.0])),
        ends=draw(st.sampled_from([600.0, 9000.0])),
        evses=draw(st.sampled_from([None, ["CS01/1"], ["CS01/1", "CS02/1"]])),
    )
    if draw(st.booleans()):
        payload["failsafe"] = {"limitW": 5000.0, "durationS": 900.0}
    received = draw(st.sampled_from([signed(payload, draw(signers)), b"{", b"\xff" * 9]))
    return CommandReceived(1, "cpo", received)


events = st.one_of(
    commands(),
    st.builds(SourceLimited, source=st.just("csms"), watts=watts),
    st.builds(SourceReached, st.sampled_from(["dso", "cpo"]), st.booleans()),
    st.builds(EebusReported, st.just("box"), st.just(lpc.Heartbeat())),
    st.builds(
        lambda limit_w, active: EebusReported("box", lpc.LimitWritten(watts=limit_w, active=active)),
        st.sampled_from([-1.0, 0.0, 6000.0, float("nan")]),
        st.booleans(),
    ),
    st.builds(lambda level: InputsRead("wired", (level,)), st.sampled_from([True, False, None])),
    st.builds(lambda one, two, grid: Measured({ONE: one, TWO: two}, grid), measured, measured, measured),
    st.builds(lambda a: Measured({}, None, {ONE: (a, "why")}), st.sampled_from([0.0, 6.0])),
    st.builds(ClockTrusted, st.booleans()),
    st.just(DimmingTick()),
)


@settings(max_examples=examples(150))
@given(st.lists(st.tuples(events, st.sampled_from([0.0, 0.5, 30.0, 400.0, 4000.0])), max_size=25))
def test_dimming_random_events_leave_lowest_limit(
    script: list[tuple[DimmingEvent, float]],
) -> None:
    controller = DimmingController(EVERYTHING, PlainSignatures(), 0.0)
    chain, lines = EvidenceChain(KEY, ChainHead()), []
    now, effective = 0.0, controller.effective
    for event, wait in script:
        now += wait
        actions = controller.handle(event, now, NOON + now)
        counts = Counter(type(each) for each in actions)
        assert counts[CommandAnswer] == isinstance(event, CommandReceived)
        assert counts[DimmingChanged] == (controller.effective != effective)
        effective = controller.effective
        for action in actions:
            match action:
                case RecordEvidence(kind=kind, body=body):
                    lines.append(chain.add_record(kind, body, moment(NOON + now)))
                case Persist(records=(memory,)):
                    saved = msgspec.json.encode(memory)
                    assert msgspec.json.decode(saved, type=type(memory)) == memory
                case NotifyBackends(payload=payload) | CommandAnswer(payload=payload):
                    assert msgspec.json.decode(payload)["signatures"]
        if isinstance(event, DimmingTick):
            assert controller.deadline > now
        if not isinstance(event, CommandReceived):  # a refused one waits for the tick that is due
            limits = [limit for source in controller._sources for limit in source.limits(now)]
            assert controller.effective == find_effective(map(EVERYTHING.raised, limits), now)
    if lines:
        assert audit([("log", b"".join(lines))], [KEY.public_key()]).good
