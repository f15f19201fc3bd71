"""Evidence on the page and in the API: export of a span, verification of the files of a site."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio
from cryptography.hazmat.primitives.asymmetric import ec

from controller.dimming.evidence_audit import audit
from controller.dimming.evidence_chain import EvidenceKind
from controller.services.dimming.evidence_reader import EvidenceReader
from controller.store.evidence_files import evidence_files
from controller.store.state_store import StateStore
from controller.web.http_messages import ProblemError
from tests.controller.dimming.commands import NOON
from tests.scenario.evidence import WrittenEvidenceLog

KEY = ec.derive_private_key(7, ec.SECP256R1())
DAY = 86_400.0


@pytest.fixture
def log(tmp_path: Path) -> WrittenEvidenceLog:
    """A log of five records on as many days, in the files of two months."""
    made = WrittenEvidenceLog(tmp_path / "evidence", KEY, NOON, StateStore(tmp_path / "store"))
    for day in range(0, 60, 12):
        made.append(EvidenceKind.LIMIT, {"w": 4200 + day}, NOON + day * DAY)
    return made


def reader_of(folder: Path, log: WrittenEvidenceLog, *keys: ec.EllipticCurvePrivateKey) -> EvidenceReader:
    public = [key.public_key() for key in keys or (KEY,)]
    return EvidenceReader(folder / "evidence", lambda: public, lambda: log.written)


async def test_evidence_reader_export_of_span_is_verified(tmp_path: Path, log: WrittenEvidenceLog) -> None:
    reader = reader_of(tmp_path, log)
    exported = await reader.export(NOON + 12 * DAY, NOON + 36 * DAY)
    result = audit([("export", exported)], [KEY.public_key()], part=True)
    assert (result.findings, result.first) == ((), 1)
    assert b'"w":4212' in exported
    assert b'"w":4236' not in exported
    whole = await reader.export(0, NOON + 90 * DAY)
    assert whole == b"".join(path.read_bytes() for path in evidence_files(tmp_path / "evidence"))


async def test_evidence_reader_verifies_whole_log(tmp_path: Path, log: WrittenEvidenceLog) -> None:
    result = await reader_of(tmp_path, log).verify()
    assert (result.good, result.first, result.last) == (True, 0, log.head.count - 1)
    assert (result.head, result.records) == (log.head.hash, log.head.count)
    foreign = await reader_of(tmp_path, log, ec.derive_private_key(8, ec.SECP256R1())).verify()
    assert (foreign.good, foreign.finding_count) == (False, log.head.count)


async def test_evidence_reader_verifies_log_of_a_key_and_the_next(
    tmp_path: Path, log: WrittenEvidenceLog
) -> None:
    following = ec.derive_private_key(8, ec.SECP256R1())
    log.use_key(following)
    log.append(EvidenceKind.LIMIT, {"w": 4200}, NOON + 60 * DAY)
    both = await reader_of(tmp_path, log, KEY, following).verify()
    assert (both.good, both.records) == (True, log.head.count)
    assert (await reader_of(tmp_path, log, KEY).verify()).finding_count == 1


async def test_evidence_reader_finds_edit_and_cut_end(tmp_path: Path, log: WrittenEvidenceLog) -> None:
    last = evidence_files(tmp_path / "evidence")[-1]
    last.write_bytes(last.read_bytes()[:-1].rpartition(b"\n")[0] + b"\n")
    cut = await reader_of(tmp_path, log).verify()
    number = log.head.count - 1
    assert cut.findings == [f"the end is cut off: records from {number} to {number} are missing"]
    first = evidence_files(tmp_path / "evidence")[0]
    first.write_bytes(first.read_bytes().replace(b"4200", b"9999"))
    edited = await reader_of(tmp_path, log).verify()
    assert not edited.good
    assert edited.findings[0].startswith(f"{first.name}:1: ")


async def test_evidence_reader_without_records_is_404_and_good(tmp_path: Path) -> None:
    reader = EvidenceReader(tmp_path / "missing", lambda: [KEY.public_key()], lambda: 0)
    with pytest.raises(ProblemError) as error:
        await reader.export(0, NOON)
    assert error.value.status == 404
    result = await reader.verify()
    assert (result.good, result.records, result.last) == (True, 0, None)


async def test_evidence_reader_second_request_at_once_is_409(tmp_path: Path, log: WrittenEvidenceLog) -> None:
    reader, refused = reader_of(tmp_path, log), []

    async def verify() -> None:
        try:
            await reader.verify()
        except ProblemError as error:
            refused.append(error.status)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(verify)
        nursery.start_soon(verify)
    assert refused == [409]
    assert (await reader.verify()).good
