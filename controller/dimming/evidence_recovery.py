"""Recovery of the commands that were obeyed, from the evidence log, if their stored state is lost.

Without that memory an old signed command would be obeyed a second time.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from typing import Any

from controller.dimming.dimming_messages import CommandMalformedError, read_command
from controller.dimming.evidence_chain import EvidenceKind, EvidenceRecord
from controller.dimming.verification import CommandContext


def recover_obeyed_commands(
    records: Iterable[EvidenceRecord], known: Mapping[str, CommandContext]
) -> Mapping[str, CommandContext]:
    """Return, by source, the commands that were obeyed, with the last sequence of each key.

    `known`: those of which the stored state is there.
    A refused command does not count: its sender must not be able to lock a source out.
    """
    received: dict[str, str] = {}
    obeyed = dict(known)
    for record in records:
        body = record.body
        if record.kind == EvidenceKind.COMMAND and "received" in body:
            received[body["sha256"]] = body["received"]
        elif record.kind == EvidenceKind.VERDICT and body.get("reason") is None:
            text, source = received.get(body.get("sha256", "")), body.get("source")
            if text is None or not isinstance(source, str):
                continue
            try:
                command = read_command(base64.b64decode(text))
            except (CommandMalformedError, ValueError):
                continue
            obeyed[source] = obeyed.get(source, CommandContext()).add_command(command, _signing_keys(body))
    return obeyed


def _signing_keys(verdict: Mapping[str, Any]) -> list[str]:
    """Return the fingerprints of the keys that have signed a command.

    Their roles are not in the record. One that did not have the role has only signed this sequence itself.
    """
    return [each["key"] for each in verdict.get("signers", ())]
