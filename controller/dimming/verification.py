"""Whether a command is obeyed: each way in which it may not be, with its reason, in one order.

First who speaks (signature, role), then of what (scope), then whether it was said before (id, sequence),
then when (clock, validity), and last whether this issuer may. What fails early tells nothing of what comes
after it: without a good signature nobody learns which EVSEs there are, or which sequence comes next.

A command that is refused changes nothing, not even what counts as said before: a forged one cannot use up
an id or a sequence. Of those that were obeyed the last sequence of each source is kept, for ever, and a
few ids, for a better word than "sequence went back". That is all memory that it takes: a copy of an older
command has an older sequence.

`notBefore` may lie ahead, up to a day: the command is accepted, and begins then.
"""

from __future__ import annotations

import enum
from collections.abc import Collection, Mapping, Sequence

import msgspec
from msgspec.structs import replace

from controller.dimming.dimming_command import CommandMalformedError, DimmingCommand, read_command
from controller.dimming.dimming_messages import moment
from controller.dimming.key_proofs import CommandProof, ProofSigner, ProofVerifier
from controller.model.observations import EvseRef

MOST_AHEAD_S = 86_400.0
"""How far ahead a command may begin: what is further may as well be a clock that is wrong."""
LONGEST_S = 7 * 86_400.0
"""How long a limit may hold by one command: longer than any that section 14a is for."""
MOST_SKIPPED = 2**32
"""Sequences that one command may skip. Those made from a clock may be as high as its microseconds."""
KEYS_KEPT = 64
ANY_KEY = ""
IDS_KEPT = 64
"""Of each source, the newest."""


class Reason(enum.StrEnum):
    """Why a command is refused."""

    MALFORMED = "malformed"
    UNSIGNED = "unsigned"
    BAD_SIGNATURE = "bad-signature"
    """None of its signatures is good: another key, or other bytes than were signed."""
    KEY_NOT_VALID = "key-not-valid"
    """The key's own time has not come yet, or is over."""
    WRONG_ROLE = "wrong-role"
    """The key does not bear the role that the command claims, or the role dims nothing here."""
    OUT_OF_SCOPE = "out-of-scope"
    CLOCK = "clock-not-trusted"
    EXPIRED = "expired"
    NOT_YET_VALID = "not-yet-valid"
    TOO_LONG = "too-long"
    REPLAYED = "replayed"
    SEQUENCE_BACK = "sequence-back"
    SEQUENCE_AHEAD = "sequence-ahead"
    NO_MEMORY = "memory-unavailable"
    LOWER_ROLE = "lower-role"
    """It would lift what a higher role has set."""


class Issuers(msgspec.Struct, frozen=True, kw_only=True):
    """A source of signed commands: its `id` in records, the role that it takes, and its rank.

    Of two sources, the one with the HIGHER `rank` is the higher role. `signed`: its commands need a
    signature; without, an unsigned one is believed whatever role it claims.
    """

    id: str
    role: str
    rank: int = 0
    signed: bool = True


class CommandContext(msgspec.Struct, frozen=True):
    """The commands of one source that were obeyed: last sequence, ids, and the last sequence of each key.

    Sequences count per key: who holds one key of a role cannot lock the others out.
    """

    sequence: int = 0
    ids: tuple[str, ...] = ()
    keys: Mapping[str, int] = {}

    def last_of(self, keys: Collection[str]) -> int:
        """Return the last sequence of these keys; of none, or before any key was recorded, of the source."""
        if not keys or not self.keys:
            return self.sequence
        return max(self.keys.get(key, self.keys.get(ANY_KEY, 0)) for key in keys)


class Situation(msgspec.Struct, frozen=True, kw_only=True):
    """What a command is judged in. `utc` is POSIX s; `holding` are the sources whose limits hold now.

    `memory_durable`: False while the ids and sequences of obeyed commands cannot be stored.
    """

    utc: float
    clock_trusted: bool
    memory_durable: bool = True
    holding: Collection[str] = ()


class CommandVerdict(msgspec.Struct, frozen=True, kw_only=True):
    """What was found. Without a `reason` the command is to be obeyed, as one of the source `source`."""

    reason: Reason | None = None
    detail: str = ""
    command: DimmingCommand | None = None
    source: str | None = None
    signers: tuple[ProofSigner, ...] = ()


class _RefusedError(Exception):
    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


class Verification:
    """Judges commands for one grid connection. `ranks` are those of all sources, signed ones or not."""

    def __init__(
        self,
        connection_point: str,
        evses: Collection[EvseRef],
        issuers: Sequence[Issuers],
        ranks: Mapping[str, int],
        signatures: ProofVerifier,
    ) -> None:
        self._connection_point = connection_point
        self._evses = frozenset(evses)
        self._issuers = {each.role: each for each in issuers}
        self._ranks = {**ranks, **{each.id: each.rank for each in issuers}}
        self._signatures = signatures
        self._said: dict[str, CommandContext] = {}

    @property
    def said(self) -> Mapping[str, CommandContext]:
        """What must survive a restart, by source."""
        return dict(self._said)

    def recall(self, said: Mapping[str, CommandContext]) -> None:
        """Take over what was saved before a restart."""
        self._said = dict(said)

    def judge(self, received: bytes, situation: Situation) -> CommandVerdict:
        """What to do with a command's bytes. One that is obeyed counts as said from now on."""
        try:
            command = read_command(received)
        except CommandMalformedError as error:
            return CommandVerdict(reason=Reason.MALFORMED, detail=str(error))
        proof = self._signatures.verify(received, situation.utc)
        verdict = CommandVerdict(command=command, signers=proof.signers)
        try:
            issuer = self._issuer(command, proof)
            verdict = replace(verdict, source=issuer.id)
            self._check_scope(command)
            keys = frozenset(each.key for each in proof.signers if command.issuer.role in each.roles)
            self._check_order(command, issuer.id, keys, situation)
            _check_time(command, situation)
            self._check_rank(command, issuer, situation.holding)
        except _RefusedError as error:
            return replace(verdict, reason=error.reason, detail=str(error))
        self._note(command, issuer.id, keys)
        return verdict

    def _issuer(self, command: DimmingCommand, proof: CommandProof) -> Issuers:
        """Who speaks."""
        role = command.issuer.role
        issuer = self._issuers.get(role)
        if proof.signatures and not proof.signers:
            off_duty = Reason.KEY_NOT_VALID if proof.off_duty else Reason.BAD_SIGNATURE
            raise _RefusedError(off_duty, proof.problem)
        if not proof.signatures and (issuer is None or issuer.signed):
            raise _RefusedError(Reason.UNSIGNED, "a signature is asked for, and there is none")
        if issuer is None:
            raise _RefusedError(Reason.WRONG_ROLE, f"role {role!r} dims nothing here")
        bearers = [signer for signer in proof.signers if role in signer.roles]
        if proof.signatures and not bearers:
            raise _RefusedError(Reason.WRONG_ROLE, f"no key that has signed it bears the role {role!r}")
        group = command.issuer.key_group
        if group is not None and proof.signatures and not any(group in each.groups for each in bearers):
            raise _RefusedError(Reason.WRONG_ROLE, f"no key that has signed it is of the key group {group!r}")
        return issuer

    def _check_scope(self, command: DimmingCommand) -> None:
        if command.scope.connection_point != self._connection_point:
            raise _RefusedError(Reason.OUT_OF_SCOPE, "it is for another grid connection")
        strangers = sorted(map(str, command.evses - self._evses))
        if strangers:
            raise _RefusedError(Reason.OUT_OF_SCOPE, f"{strangers[0]} is no steerable EVSE of this site")

    def _check_order(
        self, command: DimmingCommand, source: str, keys: frozenset[str], situation: Situation
    ) -> None:
        if not situation.memory_durable:
            reason = "the memory of obeyed commands cannot be stored: check the controller's disk"
            raise _RefusedError(Reason.NO_MEMORY, reason)
        said = self._said.get(source, CommandContext())
        last = said.last_of(keys)
        if command.command_id in said.ids:
            raise _RefusedError(Reason.REPLAYED, f"command {command.command_id!r} was obeyed before")
        if command.sequence <= last:
            reason = f"sequence {command.sequence}, and {last} was the last of {source}"
            raise _RefusedError(Reason.SEQUENCE_BACK, reason)
        most = max(last + MOST_SKIPPED, int((situation.utc + MOST_AHEAD_S) * 1e6))
        if command.sequence > most:
            reason = f"sequence {command.sequence} is too far ahead: {most} is the most now"
            raise _RefusedError(Reason.SEQUENCE_AHEAD, reason)

    def _check_rank(self, command: DimmingCommand, issuer: Issuers, holding: Collection[str]) -> None:
        """Who lifts what he has not set means what somebody else has set: a higher one's stays."""
        if command.limit_w is not None or issuer.id in holding:
            return
        higher = sorted(each for each in holding if self._ranks.get(each, 0) > issuer.rank)
        if higher:
            raise _RefusedError(Reason.LOWER_ROLE, f"{higher[0]} of a higher role limits the site")

    def _note(self, command: DimmingCommand, source: str, keys: frozenset[str]) -> None:
        said = self._said.get(source, CommandContext())
        ids = (*said.ids, command.command_id)[-IDS_KEPT:]
        # Before keys were recorded, the last sequence was that of any key.
        last = dict(said.keys) or {ANY_KEY: said.sequence}
        floor = last.pop(ANY_KEY, 0)
        last |= dict.fromkeys(keys, command.sequence)
        newest = {ANY_KEY: floor, **dict(list(last.items())[-KEYS_KEPT:])}
        self._said[source] = CommandContext(max(said.sequence, command.sequence), ids, newest)


def _check_time(command: DimmingCommand, situation: Situation) -> None:
    if not situation.clock_trusted:
        raise _RefusedError(Reason.CLOCK, "the controller does not know what time it is")
    utc = situation.utc
    if command.ends <= utc:
        raise _RefusedError(Reason.EXPIRED, f"notAfter is over, it is {moment(utc)}")
    if command.begins > utc + MOST_AHEAD_S:
        raise _RefusedError(Reason.NOT_YET_VALID, f"notBefore is more than a day ahead of {moment(utc)}")
    if command.ends - command.begins > LONGEST_S:
        raise _RefusedError(Reason.TOO_LONG, f"notAfter is over {LONGEST_S / 86_400:g} days after notBefore")
