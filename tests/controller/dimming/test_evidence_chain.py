"""The evidence chain: its records, and the detection of each changed byte."""

from __future__ import annotations

import base64
import json
from functools import cache

import pytest
import rfc8785
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from controller.dimming.dimming_messages import moment
from controller.dimming.evidence_audit import EvidenceAudit, audit
from controller.dimming.evidence_chain import (
    BEGINNING,
    ChainHead,
    EvidenceChain,
    EvidenceKind,
    EvidenceRecord,
    InvalidRecordError,
    line_hash,
    read_record,
)
from controller.signing import curves
from controller.signing.curves import EllipticCurve
from controller.signing.hardware_keys import HardwareKeyError
from tests.controller.dimming.commands import NOON

KEY = ec.derive_private_key(7, ec.SECP256R1())
OTHER = ec.derive_private_key(8, ec.SECP256R1())
CHECKPOINT_AT = 6


@cache
def lines() -> tuple[bytes, ...]:
    """Eight records; the sixth is the beginning of a second file, and the one after it a checkpoint."""
    chain, made = EvidenceChain(KEY, ChainHead()), []
    kinds = [
        EvidenceKind.COMMAND,
        EvidenceKind.VERDICT,
        EvidenceKind.LIMIT,
        EvidenceKind.DECISION,
        EvidenceKind.READINGS,
        EvidenceKind.ROTATION,
        EvidenceKind.CHECKPOINT,
        EvidenceKind.RELEASE,
    ]
    for number, kind in enumerate(kinds):
        line = chain.add_record(
            kind, {"w": 1500.5 * number, "why": "Über \u2028 limit", "n": [number]}, moment(NOON)
        )
        made.append(line)
    return tuple(made)


def look(first: bytes, second: bytes | None = None, *checkpoints: bytes, part: bool = False) -> EvidenceAudit:
    files = [("a.jsonl", first)] + ([] if second is None else [("b.jsonl", second)])
    return audit(files, [KEY.public_key()], [("kept.json", each) for each in checkpoints], part=part)


def both(changed: list[bytes]) -> EvidenceAudit:
    """All that there is, as one file was cut in two where the rotation is."""
    cut = next((i for i, line in enumerate(changed) if b'"rotation"' in line), len(changed))
    return look(b"".join(changed[:cut]), b"".join(changed[cut:]))


def found(of: EvidenceAudit) -> list[str]:
    return [str(each) for each in of.findings]


def test_evidence_log_verifies_after_writing() -> None:
    result = look(b"".join(lines()[:5]), b"".join(lines()[5:]), lines()[CHECKPOINT_AT])
    assert result.findings == ()
    assert (result.records, result.first) == (8, 0)
    assert result.head == ChainHead(8, line_hash(lines()[-1][:-1]))


def test_record_is_written_in_canonical_form() -> None:
    record = read_record(lines()[1][:-1])
    assert (record.number, record.kind, record.time) == (1, "verdict", "2026-11-21T12:00:00.000Z")
    assert record.body == {"w": 1500.5, "why": "Über \u2028 limit", "n": [1]}
    assert record.previous == line_hash(lines()[0][:-1])
    assert read_record(lines()[0][:-1]).previous == BEGINNING
    assert rfc8785.dumps(json.loads(lines()[1])) == lines()[1][:-1]


def test_evidence_chain_record_that_cannot_be_made_leaves_no_gap() -> None:
    chain = EvidenceChain(KEY, ChainHead())
    with pytest.raises(rfc8785.CanonicalizationError):
        chain.add_record(EvidenceKind.LIMIT, {"watts": float("inf")}, moment(NOON))
    first = chain.add_record(EvidenceKind.LIMIT, {}, moment(NOON))
    assert chain.head == ChainHead(1, line_hash(first[:-1]))
    second = read_record(chain.add_record(EvidenceKind.LIMIT, {"other": True}, moment(NOON))[:-1])
    assert (second.number, second.previous) == (1, line_hash(first[:-1]))


@given(st.data())
def test_evidence_chain_changed_byte_is_found_in_line(data: st.DataObject) -> None:
    which = data.draw(st.integers(0, len(lines()) - 1))
    line = bytearray(lines()[which])
    at = data.draw(st.integers(0, len(line) - 1))
    line[at] ^= data.draw(st.integers(1, 255))
    changed = [*lines()]
    changed[which] = bytes(line)
    text = b"".join(changed)
    where = text[: sum(map(len, changed[:which])) + at].count(b"\n") + 1
    result = look(text)
    assert any(finding.line == where for finding in result.findings), found(result)


@given(st.integers(0, 6))
def test_evidence_chain_removed_line_is_found_at_place(which: int) -> None:
    changed = [*lines()]
    del changed[which]
    result = look(b"".join(changed))
    assert any(finding.line == which + 1 for finding in result.findings), found(result)


@given(st.integers(0, 7), st.integers(0, 7))
def test_swapped_lines_are_found(one: int, other: int) -> None:
    changed = [*lines()]
    changed[one], changed[other] = changed[other], changed[one]
    assert both(changed).good == (one == other)


@given(st.integers(0, 7), st.integers(0, 8))
def test_doubled_line_is_found(which: int, at: int) -> None:
    changed = [*lines()]
    changed.insert(at, lines()[which])
    assert not both(changed).good


def test_findings_have_place_and_text() -> None:
    a = [*lines()[:5]]
    assert found(look(b"".join(a[:1] + a[3:]))) == ["a.jsonl:2: records 1 to 2 are missing before it"]
    assert found(look(b"".join(a[1:]))) == ["a.jsonl:1: the beginning is cut off: this is record 1"]
    assert found(look(b"".join([a[0], a[2], a[1], a[3]])))[:2] == [
        "a.jsonl:2: record 1 is missing before it",
        "a.jsonl:3: it is out of order: record 1 where record 3 should be",
    ]
    edited = a[2].replace(b'"w":3001', b'"w":3002')
    assert edited != a[2]
    assert found(look(b"".join([*a[:2], edited, *a[3:]]))) == [
        "a.jsonl:3: it was changed after it was signed"
    ]
    assert found(look(b"".join(a)[:-20])) == ["a.jsonl:5: the line is torn: it does not end"]
    assert found(look(b"")) == ["a.jsonl: there is no record in it"]


def test_evidence_chain_part_of_log_verifies() -> None:
    part = b"".join(lines()[2:4])
    assert not look(part).good
    assert look(part, part=True).good
    assert look(part, part=True).first == 2


def test_evidence_chain_log_without_older_files_begins_with_rotation() -> None:
    assert look(b"".join(lines()[5:])).good
    assert not look(b"".join(lines()[6:])).good


def test_evidence_chain_rotation_begins_file() -> None:
    assert found(look(b"".join(lines()))) == ["a.jsonl:6: a new file should begin here"]


def test_evidence_chain_truncated_end_is_found_with_checkpoint() -> None:
    short = lines()[:CHECKPOINT_AT]
    assert both([*short]).good  # nothing shows it
    result = look(b"".join(short[:5]), b"".join(short[5:]), lines()[CHECKPOINT_AT])
    assert found(result) == [
        "kept.json:1: the log's end is cut off: it ends before record 6, "
        "and at 2026-11-21T12:00:00.000Z record 6 was in it"
    ]


def test_evidence_chain_rewritten_log_is_found_with_checkpoint() -> None:
    chain = EvidenceChain(KEY, ChainHead())
    made = [chain.add_record(EvidenceKind.LIMIT, {}, moment(NOON)) for _ in range(9)]
    assert look(b"".join(made)).good
    result = look(b"".join(made), None, lines()[CHECKPOINT_AT])
    assert found(result) == ["kept.json:1: the log has another record 6 than at 2026-11-21T12:00:00.000Z"]


def test_line_of_another_chain_is_found() -> None:
    other = EvidenceChain(KEY, ChainHead(2, BEGINNING)).add_record(EvidenceKind.LIMIT, {}, moment(NOON))
    changed = [*lines()[:2], other, *lines()[3:5]]
    assert [finding.line for finding in look(b"".join(changed)).findings] == [3, 4]


def test_record_of_another_key_is_invalid() -> None:
    result = audit([("a.jsonl", lines()[0])], [OTHER.public_key()])
    assert found(result)[0].startswith("a.jsonl:1: it is signed with another key (")
    assert audit([("a.jsonl", lines()[0])], [OTHER.public_key(), KEY.public_key()]).good


@pytest.mark.parametrize(
    ("kept", "named"),
    [
        (b"{}", "no record"),
        (lines()[0], "it is a command, no checkpoint"),
        (lines()[CHECKPOINT_AT].replace(b'"w":9003', b'"w":9004'), "changed after it was signed"),
    ],
)
def test_invalid_checkpoint_is_rejected(kept: bytes, named: str) -> None:
    result = look(b"".join(lines()[:5]), b"".join(lines()[5:]), kept)
    assert len(result.findings) == 1
    assert named in found(result)[0]
    assert found(result)[0].endswith("proves nothing")


def test_evidence_chain_checkpoint_before_audited_part_is_not_searched() -> None:
    chain = EvidenceChain(KEY, ChainHead())
    old = chain.add_record(EvidenceKind.CHECKPOINT, {}, moment(NOON))
    result = look(b"".join(lines()[2:5]), None, old, part=True)
    assert found(result) == ["kept.json:1: record 0 is older than what is looked at"]


@pytest.mark.parametrize("line", [b"", b"{}", b"[" * 5000, b"\xff", b'{"a":1}', b"null"])
def test_evidence_chain_invalid_line_is_not_record(line: bytes) -> None:
    with pytest.raises(InvalidRecordError):
        read_record(line)


def test_record_in_another_form_is_invalid() -> None:
    with pytest.raises(InvalidRecordError, match="one form"):
        read_record(lines()[0][:-1].replace(b'"kind"', b' "kind"'))


def test_signature_without_base64_is_invalid() -> None:
    record = json.loads(lines()[0])
    for value in ("!", base64.b64encode(b"\0").decode()):
        changed = rfc8785.dumps({**record, "signature": value}) + b"\n"
        assert found(look(changed)) == ["a.jsonl:1: it was changed after it was signed"]


def test_command_struct_has_every_member() -> None:
    assert sorted(json.loads(lines()[0])) == sorted(EvidenceRecord.__struct_fields__)


# -- hardware keys that do not sign in time ---------------------------------------------------------------


def partly_signed(signed: str, monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Return the lines of a chain; those with `s` in `signed` are signed."""
    chain, made = EvidenceChain(KEY, ChainHead()), []
    sign_text = curves.sign_text
    for number, each in enumerate(signed):

        def sign(
            key: ec.EllipticCurvePrivateKey,
            text: bytes,
            curve: EllipticCurve,
            is_signed: bool = each == "s",
        ) -> bytes:
            if not is_signed:
                raise HardwareKeyError("hardware key lc is too slow")
            return sign_text(key, text, curve)

        monkeypatch.setattr(curves, "sign_text", sign)
        line = chain.add_record(EvidenceKind.READINGS, {"n": number}, moment(NOON))
        assert bool(chain.unsigned_reason) is (each != "s")
        made.append(line)
    return made


@pytest.mark.parametrize("signed", ["s.s", ".s", "s..s", "ss.ss.s"])
def test_unsigned_record_is_proven_by_next_signed_one(signed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert look(b"".join(partly_signed(signed, monkeypatch))).good


@pytest.mark.parametrize(("signed", "lines_found"), [("s.", [2]), ("s.s..", [4, 5]), (".", [1])])
def test_unsigned_record_without_signed_successor_is_found(
    signed: str, lines_found: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    result = look(b"".join(partly_signed(signed, monkeypatch)))
    assert [each.line for each in result.findings] == lines_found
    assert all("it is not signed" in each.what for each in result.findings)


def test_altered_unsigned_record_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    made = partly_signed("s.s", monkeypatch)
    made[1] = made[1].replace(b'{"n":1}', b'{"n":7}')
    assert [each.line for each in look(b"".join(made)).findings] == [3, 2]


def test_signature_removed_from_signed_record_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    made = partly_signed("sss", monkeypatch)
    record = json.loads(made[1])
    made[1] = rfc8785.dumps({**record, "signature": ""}) + b"\n"
    assert look(b"".join(made)).findings


def test_unsigned_checkpoint_proves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    (line,) = partly_signed(".", monkeypatch)
    assert "proves nothing" in found(look(line, None, line))[-1]
