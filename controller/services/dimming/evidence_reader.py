"""Evidence of dimming: export of a span, and verification of the whole log.

Both read files in a thread, one request at a time: the files of years take seconds and memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import trio
from cryptography.hazmat.primitives.asymmetric import ec

from controller.dimming.evidence_audit import EvidenceAudit, audit
from controller.dimming.evidence_export import select_records
from controller.store.evidence_files import evidence_files
from controller.web.http_messages import ProblemError
from controller.web.site_interface import EvidenceVerification
from drivers.coded_text import coded

MOST_EXPORTED_BYTES = 32 << 20
"""Size of one export; a longer one is made on the gateway."""

MOST_FINDINGS = 20
"""Findings of a verification that are named."""


def describe_audit(
    result: EvidenceAudit, findings: Sequence[str], *, finds_cut_end: bool
) -> EvidenceVerification:
    """Return the result of a verification as the page and the command line show it."""
    return EvidenceVerification(
        good=not findings,
        records=result.records,
        first=result.first,
        last=None if result.first is None else result.head.count - 1,
        head=result.head.hash,
        findings=list(findings[:MOST_FINDINGS]),
        finding_count=len(findings),
        finds_cut_end=finds_cut_end,
    )


class EvidenceReader:
    """Reader of the evidence in `directory`.

    `find_keys` returns the public keys of the site. `count_written` returns the number of the next record in
    the files.
    """

    def __init__(
        self,
        directory: Path,
        find_keys: Callable[[], Sequence[ec.EllipticCurvePublicKey]],
        count_written: Callable[[], int],
    ) -> None:
        self._directory = directory
        self._find_keys = find_keys
        self._count_written = count_written
        self._is_busy = False

    async def export(self, since: float, until: float) -> bytes:
        """Return the lines of the records from `since` until before `until` (POSIX s).

        Raises ProblemError: 404 without any, 422 if they are too many, 409 while another request is served.
        """
        with self._reserve():
            part = await trio.to_thread.run_sync(self._select, since, until)
        if not part:
            raise ProblemError(404, coded("no record is of that time"))
        if len(part) > MOST_EXPORTED_BYTES:
            raise ProblemError(422, coded("the records are too many: choose a shorter time"))
        return part

    async def verify(self) -> EvidenceVerification:
        """Verify all files with the keys that the site has. Raises ProblemError."""
        with self._reserve():
            count = self._count_written()
            result = await trio.to_thread.run_sync(self._audit)
        findings = [str(each) for each in result.findings]
        if result.head.count < count:
            findings.append(
                f"the end is cut off: records from {result.head.count} to {count - 1} are missing"
            )
        return describe_audit(result, findings, finds_cut_end=True)

    @contextmanager
    def _reserve(self) -> Iterator[None]:
        if self._is_busy:
            raise ProblemError(
                409, coded("the evidence is being read for another request: try again in a moment")
            )
        self._is_busy = True
        try:
            yield
        except OSError as error:
            raise ProblemError(
                503, coded("the evidence cannot be read: {reason}", reason=error.strerror)
            ) from error
        finally:
            self._is_busy = False

    def _select(self, since: float, until: float) -> bytes:
        lines = (line for _, data in self._files() for line in data.removesuffix(b"\n").split(b"\n"))
        return b"".join(line + b"\n" for line in select_records(lines, since, until))

    def _audit(self) -> EvidenceAudit:
        return audit(list(self._files()), self._find_keys())

    def _files(self) -> Iterator[tuple[str, bytes]]:
        """Yield names and contents, without a last line that is just being written."""
        if not self._directory.is_dir():
            return
        paths = evidence_files(self._directory)
        for path in paths:
            data = path.read_bytes()
            if path == paths[-1]:
                data = data[: data.rfind(b"\n") + 1]
            if data or path != paths[-1]:
                yield path.name, data
