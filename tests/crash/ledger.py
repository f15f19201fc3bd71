"""What was said of transactions: a station's journal, a backend's ledger, and the difference."""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

Payload = dict[str, Any]

COUNTED = {"StartTransaction", "MeterValues", "StopTransaction", "TransactionEvent"}
"""What is billed by."""


class Part(NamedTuple):
    """One message of a transaction. `transaction`: the 2.x id, or when a 1.6 one began; None: unknown."""

    transaction: str | None
    what: str
    mark: str


class Difference(NamedTuple):
    """What the ledger lacks, what it has too much, and whether the rest is in another order."""

    lost: list[Part]
    doubled: list[Part]
    disordered: bool


def difference(journal: Sequence[Part], ledger: Sequence[Part]) -> Difference:
    """What is wrong with the ledger."""
    lost, more = Counter(journal) - Counter(ledger), Counter(ledger) - Counter(journal)
    first_heard = list(dict.fromkeys(ledger))
    in_order = [part for part in journal if part in set(first_heard)]
    disordered = first_heard != in_order and not more
    return Difference(list(lost.elements()), list(more.elements()), disordered)


def overtakes_its_start(journal: Sequence[Part], ledger: Sequence[Part]) -> bool:
    """Whether a part of a transaction was heard before the transaction's first part."""
    first = {part.transaction: part for part in reversed(journal)}
    begun: set[str | None] = set()
    for part in ledger:
        if part == first.get(part.transaction):
            begun.add(part.transaction)
        elif part.transaction not in begun:
            return True
    return False


def part_of(action: str, payload: Payload, begun: Mapping[int, str]) -> Part:
    """What a message says, whoever numbered its transaction: `begun` knows each by the number used there."""
    if action == "TransactionEvent":
        kind, number = payload["eventType"], payload["seqNo"]
        return Part(payload["transactionInfo"]["transactionId"], kind, str(number))
    if action == "StartTransaction":
        return Part(payload["timestamp"], action, "")
    number = payload["transactionId"]
    if action == "StopTransaction":
        return Part(begun.get(number), action, payload["timestamp"])
    return Part(begun.get(number), action, payload["meterValue"][0]["timestamp"])


class Ledger:
    """What one backend has heard: a message with an id that it knows is the same message (OCPP-J)."""

    def __init__(self, first_number: int) -> None:
        self.parts: defaultdict[str, list[Part]] = defaultdict(list)
        self.resent = 0
        self._answers: dict[tuple[str, str], Payload] = {}
        self._begun: dict[int, str] = {}
        self._numbers = itertools.count(first_number)

    def hear(self, station: str, message_id: str, action: str, payload: Payload) -> Payload:
        """Write down a transaction's message; its answer."""
        key = (station, message_id)
        if key in self._answers:
            self.resent += 1
            return self._answers[key]
        answer: Payload = {}
        if action == "StartTransaction":
            number = next(self._numbers)
            self._begun[number] = payload["timestamp"]
            answer = {"transactionId": number, "idTagInfo": {"status": "Accepted"}}
        self.parts[station].append(part_of(action, payload, self._begun))
        self._answers[key] = answer
        return answer
