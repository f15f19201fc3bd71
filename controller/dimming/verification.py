"""Verification of commands: all reasons for a refusal, in one order.

First the sender (signature, role), then of what (scope), then whether it is a repetition (id, sequence),
then when (clock, validity), and last whether this issuer may. A refusal discloses nothing of what comes
after it: without a good signature no sender learns which EVSEs there are, or which sequence comes next.

A command that is refused changes nothing, not even what counts as a repetition: a forged one cannot use up
an id or a sequence. Of those that were obeyed the last sequence of each source is kept, for ever, and a
few ids, for a better word than "sequence went back". That is all memory that it takes: a copy of an older
command has an older sequence. Where that memory was lost, or a restore took it back, a command that begins
before that counts as repeated.

`notBefore` may lie ahead, up to a day: the command is accepted, and begins then.

The sender is found by the keys and roles of the signature policy. The permissions of a role over OCPP do not
count: scope and rank of a command have their own rules. A holder is his own key group: the keys that follow
one another in his name.
"""

from __future__ import annotations

import enum
from collections.abc import Collection, Iterable, Mapping, Sequence
from operator import attrgetter, itemgetter
from typing import Protocol

import msgspec
from msgspec.structs import replace

from controller.dimming import DimmingError
from controller.dimming.dimming_messages import (
    COMMAND_CONTEXT,
    CommandMalformedError,
    DimmingCommand,
    moment,
    read_command,
)
from controller.model.observations import EvseRef
from controller.signing import payload_signatures, signing_keys
from controller.signing.hardware_keys import HardwareKeyError
from controller.signing.payload_signatures import KeyId
from controller.signing.policy_schema import SignerRole
from controller.signing.signed_text import SignedTextError
from controller.signing.signing_keys import Keyring, OwnKey


class ProofSigner(msgspec.Struct, frozen=True, kw_only=True):
    """Signer with a valid signature and a key that is valid now. `key`: its fingerprint."""

    holder: str
    key: str
    roles: frozenset[str]
    groups: frozenset[str] = frozenset()


class CommandProof(msgspec.Struct, frozen=True, kw_only=True):
    """Result of the verification of a payload.

    `signatures` counts all; `signers` are the good ones. `problem`: what is wrong with the first that
    is not; `off_duty` that a good one is of a key that is not valid yet, or no longer.
    """

    signatures: int = 0
    signers: tuple[ProofSigner, ...] = ()
    problem: str = ""
    off_duty: bool = False


class ProofVerifier(Protocol):
    """Verifier of commands, and signer of our answers."""

    def verify(self, received: bytes, utc: float) -> CommandProof:
        """Verify the signatures on these bytes at a moment (POSIX s)."""

    def sign(self, payload: bytes, context: str, utc: float) -> bytes:
        """Return the payload, which has this `@context`, with the controller's signature, else unchanged."""


class KeyProofs:
    """Verification by the keyring, and signing with the newest own key."""

    def __init__(self, keyring: Keyring, roles: Iterable[SignerRole], own: Iterable[OwnKey]) -> None:
        self.replace_keys(keyring, roles, own)

    def replace_keys(self, keyring: Keyring, roles: Iterable[SignerRole], own: Iterable[OwnKey]) -> None:
        """Replace keys and roles."""
        self._keyring, self._roles, self._own = keyring, tuple(roles), tuple(own)

    def verify(self, received: bytes, utc: float) -> CommandProof:
        """Verify the signatures on a command at a moment (POSIX s)."""
        try:
            examined = payload_signatures.verify_payload(
                received, COMMAND_CONTEXT, self._keyring.__contains__
            )
        except SignedTextError as error:
            return CommandProof(signatures=1, problem=str(error))
        held: list[tuple[KeyId, str]] = []
        off_duty = False
        for key in sorted(examined.keys, key=attrgetter("curve", "point")):
            holder = self._keyring.holder(key, utc)
            if holder is None:
                off_duty = True
            else:
                held.append((key, holder))
        present = frozenset(map(itemgetter(1), held))
        signers = [
            ProofSigner(
                holder=holder,
                key=signing_keys.fingerprint(key),
                roles=self._roles_of(holder, present),
                groups=frozenset({holder}),
            )
            for key, holder in held
        ]
        wrong = [each.wrong for each in examined.signatures if each.wrong is not None]
        return CommandProof(
            signatures=len(examined.signatures),
            signers=tuple(signers),
            problem="its key does not count at this time" if off_duty else next(iter(wrong), ""),
            off_duty=off_duty,
        )

    def sign(self, payload: bytes, context: str, utc: float) -> bytes:
        """Return the payload with our signature; unsigned where no key is valid, or a hardware key fails."""
        own = signing_keys.select_signing_key(self._own, utc)
        if own is None:
            return payload
        try:
            return payload_signatures.add_signature(payload, own.private, context, own.known.holder or None)
        except HardwareKeyError:
            return payload  # the limit is obeyed all the same, and its evidence names the reason

    def _roles_of(self, holder: str, present: frozenset[str]) -> frozenset[str]:
        """Return the roles of a holder, given the other signers."""
        return frozenset(
            role.id
            for role in self._roles
            if holder in role.holders and len(present.intersection(role.holders)) >= role.approvals
        )


MOST_AHEAD_S = 86_400.0
"""Longest time (s) from now to the begin of a command; more is taken for a wrong clock."""
LONGEST_S = 7 * 86_400.0
"""Longest limit (s) of one command."""
MOST_SKIPPED = 2**32
"""Sequences that one command may skip. Those made from a clock may be as high as its microseconds."""
KEYS_KEPT = 64
ANY_KEY = ""
IDS_KEPT = 64
"""Ids that are stored of each source, the newest."""


class Reason(enum.StrEnum):
    """Reason for a refusal."""

    MALFORMED = "malformed"
    UNSIGNED = "unsigned"
    BAD_SIGNATURE = "bad-signature"
    """No valid signature: an unknown key, or changed bytes."""
    KEY_NOT_VALID = "key-not-valid"
    """The key is not valid yet, or no longer."""
    WRONG_ROLE = "wrong-role"
    """The key does not have the role of the command, or the role has no source here."""
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
    """The command would lift the limit of a higher role."""


class Issuers(msgspec.Struct, frozen=True, kw_only=True):
    """A source of signed commands: its `id` in records, its role, and its rank.

    Of two sources, the one with the HIGHER `rank` is the higher role. `signed`: its commands need a
    signature; without, an unsigned one is accepted with the role that it claims.
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

    def add_command(self, command: DimmingCommand, keys: Collection[str]) -> CommandContext:
        """Return the context with one more command that was obeyed; these keys have signed it."""
        ids = (*self.ids, command.command_id)[-IDS_KEPT:]
        # Before keys were recorded, the last sequence was that of any key.
        last = dict(self.keys) or {ANY_KEY: self.sequence}
        floor = last.pop(ANY_KEY, 0)
        for key in keys:
            before = last.pop(key, 0)  # the keys used last come last
            last[key] = max(before, command.sequence)
        # A key that is left out counts as one that was never recorded: its old commands stay refused.
        left_out = list(last.values())[:-KEYS_KEPT]
        floor = max([floor, *left_out])
        newest = {ANY_KEY: floor, **dict(list(last.items())[-KEYS_KEPT:])}
        return CommandContext(max(self.sequence, command.sequence), ids, newest)


class Situation(msgspec.Struct, frozen=True, kw_only=True):
    """Circumstances of a command. `utc` is POSIX s; `holding`: the sources whose limits apply now.

    `memory_durable`: False while the ids and sequences of obeyed commands cannot be stored.
    """

    utc: float
    clock_trusted: bool
    memory_durable: bool = True
    holding: Collection[str] = ()


class CommandVerdict(msgspec.Struct, frozen=True, kw_only=True):
    """Result of a verification. Without a `reason` the command of `source` is obeyed."""

    reason: Reason | None = None
    detail: str = ""
    command: DimmingCommand | None = None
    source: str | None = None
    signers: tuple[ProofSigner, ...] = ()


class _RefusedError(DimmingError):
    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


class Verification:
    """Verification of commands for one grid connection. `ranks`: of all sources."""

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
        self._obeyed: dict[str, CommandContext] = {}
        self.unknown_until: float | None = 0.0
        """When commands were obeyed that are not known (POSIX s); None: to be found by a trusted clock."""

    @property
    def obeyed(self) -> Mapping[str, CommandContext]:
        """Obeyed commands by source, to be stored."""
        return dict(self._obeyed)

    def restore(self, obeyed: Mapping[str, CommandContext], unknown_until: float | None = 0.0) -> None:
        """Restore the obeyed commands of before a restart."""
        self._obeyed, self.unknown_until = dict(obeyed), unknown_until

    def confirm_loss(self, utc: float) -> bool:
        """Find the end of the unknown time by a trusted clock (POSIX s); return True if it was open."""
        if self.unknown_until is not None:
            return False
        self.unknown_until = utc
        return True

    def verify_command(self, received: bytes, situation: Situation) -> CommandVerdict:
        """Verify the bytes of a command; an obeyed one is recorded."""
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
        self._record_command(command, issuer.id, keys)
        return verdict

    def _issuer(self, command: DimmingCommand, proof: CommandProof) -> Issuers:
        """Return the source of a command."""
        role = command.issuer.role
        issuer = self._issuers.get(role)
        if proof.signatures and not proof.signers:
            off_duty = Reason.KEY_NOT_VALID if proof.off_duty else Reason.BAD_SIGNATURE
            raise _RefusedError(off_duty, proof.problem)
        if not proof.signatures and (issuer is None or issuer.signed):
            raise _RefusedError(Reason.UNSIGNED, "a signature is asked for, and there is none")
        if issuer is None:
            raise _RefusedError(Reason.WRONG_ROLE, f"role {role!r} dims nothing here")
        holders = [signer for signer in proof.signers if role in signer.roles]
        if proof.signatures and not holders:
            raise _RefusedError(Reason.WRONG_ROLE, f"no key that has signed it has the role {role!r}")
        group = command.issuer.key_group
        if group is not None and proof.signatures and not any(group in each.groups for each in holders):
            raise _RefusedError(Reason.WRONG_ROLE, f"no key that has signed it is of the key group {group!r}")
        return issuer

    def _check_scope(self, command: DimmingCommand) -> None:
        if command.scope.connection_point != self._connection_point:
            raise _RefusedError(
                Reason.OUT_OF_SCOPE, f"it is for grid connection {command.scope.connection_point!r}"
            )
        unknown = sorted(map(str, command.evses - self._evses))
        if unknown:
            raise _RefusedError(Reason.OUT_OF_SCOPE, f"{unknown[0]} is no controllable EVSE of this site")

    def _check_order(
        self, command: DimmingCommand, source: str, keys: frozenset[str], situation: Situation
    ) -> None:
        if not situation.memory_durable:
            reason = "the memory of obeyed commands cannot be stored: check the controller's disk"
            raise _RefusedError(Reason.NO_MEMORY, reason)
        obeyed = self._obeyed.get(source, CommandContext())
        last = obeyed.last_of(keys)
        if command.command_id in obeyed.ids:
            raise _RefusedError(Reason.REPLAYED, f"command {command.command_id!r} was obeyed before")
        if command.sequence <= last:
            reason = f"sequence {command.sequence}, and {last} was the last of {source}"
            raise _RefusedError(Reason.SEQUENCE_BACK, reason)
        if self.unknown_until is None or command.begins <= self.unknown_until:
            until = "now" if self.unknown_until is None else moment(self.unknown_until)
            reason = (
                f"which commands were obeyed is not known for the time until {until} and may include it; "
                "one with a later notBefore is needed"
            )
            raise _RefusedError(Reason.REPLAYED, reason)
        most = max(last + MOST_SKIPPED, int((situation.utc + MOST_AHEAD_S) * 1e6))
        if command.sequence > most:
            reason = f"sequence {command.sequence} is too far ahead: {most} is the most now"
            raise _RefusedError(Reason.SEQUENCE_AHEAD, reason)

    def _check_rank(self, command: DimmingCommand, issuer: Issuers, holding: Collection[str]) -> None:
        """Refuse to lift a limit of a higher role."""
        if command.limit_w is not None or issuer.id in holding:
            return
        higher = sorted(each for each in holding if self._ranks.get(each, 0) > issuer.rank)
        if higher:
            raise _RefusedError(Reason.LOWER_ROLE, f"{higher[0]} of a higher role limits the site")

    def _record_command(self, command: DimmingCommand, source: str, keys: frozenset[str]) -> None:
        obeyed = self._obeyed.get(source, CommandContext())
        self._obeyed[source] = obeyed.add_command(command, keys)


def _check_time(command: DimmingCommand, situation: Situation) -> None:
    if not situation.clock_trusted:
        raise _RefusedError(Reason.CLOCK, "the controller's clock is not synchronised")
    utc = situation.utc
    if command.ends <= utc:
        raise _RefusedError(Reason.EXPIRED, f"notAfter is over, it is {moment(utc)}")
    if command.begins > utc + MOST_AHEAD_S:
        raise _RefusedError(Reason.NOT_YET_VALID, f"notBefore is more than a day ahead of {moment(utc)}")
    if command.ends - command.begins > LONGEST_S:
        raise _RefusedError(Reason.TOO_LONG, f"notAfter is over {LONGEST_S / 86_400:g} days after notBefore")
