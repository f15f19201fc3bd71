"""Messages of transactions that a station sent and a CSMS received, and their difference."""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

Payload = dict[str, Any]

COUNTED = {"StartTransaction", "MeterValues", "StopTransaction", "TransactionEvent"}
"""Actions whose messages are billed."""


class Part(NamedTuple):
    """One message of a transaction; `transaction`: the 2.x id, or the 1.6 start time; None: unknown."""

    transaction: str | None
    what: str
    mark: str


class Difference(NamedTuple):
    """Parts that a ledger lacks, parts that it has too often, and True if the rest is in another order."""

    lost: list[Part]
    doubled: list[Part]
    disordered: bool


def compare_parts(journal: Sequence[Part], ledger: Sequence[Part]) -> Difference:
    """Return the difference between the parts sent and the parts received."""
    lost, more = Counter(journal) - Counter(ledger), Counter(ledger) - Counter(journal)
    first_received = list(dict.fromkeys(ledger))
    in_order = [part for part in journal if part in set(first_received)]
    disordered = first_received != in_order and not more
    return Difference(list(lost.elements()), list(more.elements()), disordered)


def precedes_start(journal: Sequence[Part], ledger: Sequence[Part]) -> bool:
    """Return True if a part of a transaction was received before the transaction's first part."""
    first = {part.transaction: part for part in reversed(journal)}
    begun: set[str | None] = set()
    for part in ledger:
        if part == first.get(part.transaction):
            begun.add(part.transaction)
        elif part.transaction not in begun:
            return True
    return False


def make_part(action: str, payload: Payload, begun: Mapping[int, str]) -> Part:
    """Return the part in a message; `begun`: start times of 1.6 transactions by the sender's number."""
    if action == "TransactionEvent":
        kind, number = payload["eventType"], payload["seqNo"]
        return Part(payload["transactionInfo"]["transactionId"], kind, str(number))
    if action == "StartTransaction":
        return Part(payload["timestamp"], action, "")
    number = payload["transactionId"]
    if action == "StopTransaction":
        return Part(begun.get(number), action, payload["timestamp"])
    return Part(begun.get(number), action, payload["meterValue"][0]["timestamp"])


class TransactionLedger:
    """Parts that one CSMS has received; the same message under a known id is the same part (OCPP-J).

    A station may count its ids anew after a restart: another message under a known id is another part.
    `rejected`: parts that were answered with an error, each once.
    """

    def __init__(self, first_number: int) -> None:
        self.parts: defaultdict[str, list[Part]] = defaultdict(list)
        self.resent = 0
        self.rejected: set[tuple[str, Part]] = set()
        self._answers: dict[tuple[str, str, Part], Payload] = {}
        self._begun: dict[int, str] = {}
        self._numbers = itertools.count(first_number)

    def receive(self, station: str, message_id: str, action: str, payload: Payload) -> Payload:
        """Record a message of a transaction; return its answer."""
        part = make_part(action, payload, self._begun)
        key = (station, message_id, part)
        if key in self._answers:
            self.resent += 1
            return self._answers[key]
        answer: Payload = {}
        if action == "StartTransaction":
            number = next(self._numbers)
            self._begun[number] = payload["timestamp"]
            answer = {"transactionId": number, "idTagInfo": {"status": "Accepted"}}
        self.parts[station].append(part)
        self._answers[key] = answer
        return answer

    def reject(self, station: str, message_id: str, action: str, payload: Payload) -> bool:
        """Reject a message of a transaction; return False if it was received or rejected before."""
        part = make_part(action, payload, self._begun)
        if (station, message_id, part) in self._answers or (station, part) in self.rejected:
            return False
        self.rejected.add((station, part))
        return True
