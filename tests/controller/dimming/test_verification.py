"""Each way in which a command may not be obeyed, and that nothing comes of it."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from controller.dimming.verification import (
    ANY_KEY,
    IDS_KEPT,
    KEYS_KEPT,
    LONGEST_S,
    MOST_AHEAD_S,
    CommandContext,
    CommandVerdict,
    Issuers,
    Reason,
    Situation,
    Verification,
)
from controller.model.observations import EvseRef
from tests.controller.dimming.commands import NOON, POINT, command
from tests.controller.dimming.signers import DSO, PlainSignatures, signed

DAY = 86_400.0
ISSUERS = (
    Issuers(id="dso", role="grid-operator", rank=10),
    Issuers(id="cpo", role="operator"),
    Issuers(id="bench", role="commissioning", signed=False),
)
NOW = Situation(utc=NOON + 10, clock_trusted=True)
FULL_DISK = Situation(utc=NOON + 10, clock_trusted=True, memory_durable=False)


def verification() -> Verification:
    return Verification(POINT, [EvseRef("CS01", 1)], ISSUERS, {"box": 5}, PlainSignatures())


def obeyed(to: Verification, received: bytes, situation: Situation = NOW) -> CommandVerdict:
    verdict = to.verify_command(received, situation)
    assert verdict.reason is None, verdict.detail
    return verdict


def forged(payload: dict[str, Any]) -> bytes:
    """Signed by the grid operator, and then changed."""
    return signed(payload, "dso").replace(b'"limitW":4200.0', b'"limitW":4201.0')


CASES: list[tuple[str, bytes, Situation, Reason]] = [
    ("a sequence far ahead", signed(command(2**53 - 1), "dso"), NOW, Reason.SEQUENCE_AHEAD),
    ("a full disk", signed(command(2), "dso"), FULL_DISK, Reason.NO_MEMORY),
    ("no JSON", b"{", NOW, Reason.MALFORMED),
    ("no signature", signed(command(2)), NOW, Reason.UNSIGNED),
    ("no signature, unknown role", signed(command(2, role="king")), NOW, Reason.UNSIGNED),
    ("an unknown key", signed(command(2), "mallory"), NOW, Reason.BAD_SIGNATURE),
    ("changed after signing", forged(command(2)), NOW, Reason.BAD_SIGNATURE),
    (
        "a bad signature where none is asked for",
        signed(command(2, role="commissioning"), "mallory"),
        NOW,
        Reason.BAD_SIGNATURE,
    ),
    ("a key whose time is over", signed(command(2), "old"), NOW, Reason.KEY_NOT_VALID),
    ("another role than the key's", signed(command(2), "cpo"), NOW, Reason.WRONG_ROLE),
    ("a role that dims nothing", signed(command(2, role="king"), "dso"), NOW, Reason.WRONG_ROLE),
    (
        "another key group",
        signed(command(2, issuer={"role": "grid-operator", "keyGroup": "x"}), "dso"),
        NOW,
        Reason.WRONG_ROLE,
    ),
    ("another grid connection", signed(command(2, point="DE9"), "dso"), NOW, Reason.OUT_OF_SCOPE),
    (
        "an EVSE that is not here",
        signed(command(2, evses=["CS01/1", "CS02/1"]), "dso"),
        NOW,
        Reason.OUT_OF_SCOPE,
    ),
    ("no clock", signed(command(2), "dso"), Situation(utc=NOON, clock_trusted=False), Reason.CLOCK),
    ("expired", signed(command(2), "dso"), Situation(utc=NOON + 3600, clock_trusted=True), Reason.EXPIRED),
    ("not yet valid", signed(command(2, begins=DAY * 2, ends=DAY * 3), "dso"), NOW, Reason.NOT_YET_VALID),
    ("longer than anything", signed(command(2, ends=LONGEST_S + 1), "dso"), NOW, Reason.TOO_LONG),
    ("the same again", signed(command(1), "dso"), NOW, Reason.REPLAYED),
    ("the same id, another sequence", signed(command(1, sequence=9), "dso"), NOW, Reason.REPLAYED),
    ("the same sequence, another id", signed(command(2, sequence=1), "dso"), NOW, Reason.SEQUENCE_BACK),
    (
        "a replay long after",
        signed(command(1), "dso"),
        Situation(utc=NOON + DAY, clock_trusted=True),
        Reason.REPLAYED,
    ),
    (
        "a lower role's lift",
        signed(command(2, None, role="operator"), "cpo"),
        Situation(utc=NOON, clock_trusted=True, holding=("dso",)),
        Reason.LOWER_ROLE,
    ),
    (
        "a lower role's lift of a contact's limit",
        signed(command(2, None, role="operator"), "cpo"),
        Situation(utc=NOON, clock_trusted=True, holding=("box",)),
        Reason.LOWER_ROLE,
    ),
]


@pytest.mark.parametrize(
    ("received", "situation", "reason"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)
def test_invalid_command_is_refused_without_effect(
    received: bytes, situation: Situation, reason: Reason
) -> None:
    judge = verification()
    obeyed(judge, signed(command(1), "dso"))
    before = judge.obeyed
    verdict = judge.verify_command(received, situation)
    assert verdict.reason is reason
    assert verdict.detail
    assert judge.obeyed == before
    obeyed(judge, signed(command(3), "dso"))  # and the right one is still obeyed


def test_verification_refusal_reasons_all_have_case() -> None:
    assert {case[3] for case in CASES} == set(Reason)


@pytest.mark.parametrize(
    ("received", "source"),
    [
        (signed(command(2), "dso"), "dso"),
        (signed(command(2), "mallory", "dso"), "dso"),  # one good one is enough
        (signed(command(2, issuer={"role": "grid-operator", "keyGroup": "dso/limit"}), "dso"), "dso"),
        (signed(command(2, evses=["CS01/1"]), "dso"), "dso"),
        (signed(command(2, begins=MOST_AHEAD_S, ends=MOST_AHEAD_S + 900), "dso"), "dso"),
        (signed(command(2, role="operator"), "cpo"), "cpo"),
        (signed(command(2, role="commissioning")), "bench"),
    ],
)
def test_valid_command_is_applied(received: bytes, source: str) -> None:
    assert obeyed(verification(), received).source == source


def test_verification_verdict_record_has_signers() -> None:
    assert obeyed(verification(), signed(command(1), "dso")).signers == (DSO,)


def test_verification_role_lifts_own_limit_beside_one_of_higher_role() -> None:
    both = Situation(utc=NOON, clock_trusted=True, holding=("dso", "cpo"))
    assert obeyed(verification(), signed(command(2, None, role="operator"), "cpo"), both).source == "cpo"
    obeyed(verification(), signed(command(2, None), "dso"), both)


def test_sequences_count_per_source() -> None:
    judge = verification()
    obeyed(judge, signed(command(9), "dso"))
    obeyed(judge, signed(command(1, role="operator"), "cpo"))


def test_restart_keeps_applied_commands() -> None:
    before, after = verification(), verification()
    obeyed(before, signed(command(5), "dso"))
    after.restore(before.obeyed)
    assert after.verify_command(signed(command(5), "dso"), NOW).reason is Reason.REPLAYED
    assert after.verify_command(signed(command(4), "dso"), NOW).reason is Reason.SEQUENCE_BACK


def test_memory_of_ids_is_bounded_and_old_copies_are_refused() -> None:
    judge = verification()
    for number in range(1, IDS_KEPT + 10):
        obeyed(judge, signed(command(number), "dso"))
    keys = {ANY_KEY: 0, "k-dso": number}
    assert judge.obeyed == {"dso": CommandContext(number, judge.obeyed["dso"].ids, keys)}
    assert len(judge.obeyed["dso"].ids) == IDS_KEPT
    assert judge.verify_command(signed(command(1), "dso"), NOW).reason is Reason.SEQUENCE_BACK


def test_verification_sequence_far_ahead_is_refused_without_effect() -> None:
    judge = verification()
    obeyed(judge, signed(command(17), "dso"))
    ahead = signed(command(2**53 - 1), "dso")
    assert judge.verify_command(ahead, NOW).reason is Reason.SEQUENCE_AHEAD
    unsigned = signed(command(2**53 - 1, role="commissioning"))
    assert judge.verify_command(unsigned, NOW).reason is Reason.SEQUENCE_AHEAD
    obeyed(judge, signed(command(18), "dso"))
    obeyed(judge, signed(command(1, role="commissioning")))


def test_verification_sequences_from_clock_are_accepted() -> None:
    judge = verification()
    obeyed(judge, signed(command(3), "dso"))
    obeyed(judge, signed(command(int(NOON * 1e6)), "dso"))


def test_verification_one_key_does_not_lock_another_of_role_out() -> None:
    signatures = PlainSignatures()
    signatures.known = {"dso": DSO, "second": msgspec.structs.replace(DSO, key="k-second")}
    judge = Verification(POINT, [EvseRef("CS01", 1)], ISSUERS, {}, signatures)
    obeyed(judge, signed(command(4_000_000_000), "second"))
    obeyed(judge, signed(command(18), "dso"))
    assert judge.verify_command(signed(command(17), "dso"), NOW).reason is Reason.SEQUENCE_BACK
    assert judge.verify_command(signed(command(19), "second"), NOW).reason is Reason.SEQUENCE_BACK


def test_memory_from_before_keys_were_recorded_counts_for_every_key() -> None:
    judge = verification()
    judge.restore({"dso": CommandContext(9)})
    assert judge.verify_command(signed(command(9), "dso"), NOW).reason is Reason.SEQUENCE_BACK
    obeyed(judge, signed(command(10), "dso"))


def test_verification_command_of_unknown_time_counts_as_repeated() -> None:
    judge = verification()
    judge.restore({}, None)
    lift = signed(command(7, None), "dso")
    assert judge.verify_command(lift, NOW).reason is Reason.REPLAYED
    assert judge.confirm_loss(NOON + 20)
    assert not judge.confirm_loss(NOON + 40), "the end is found once"
    assert judge.unknown_until == NOON + 20
    later = Situation(utc=NOON + 60, clock_trusted=True)
    verdict = judge.verify_command(lift, later)
    assert verdict.reason is Reason.REPLAYED
    assert "the time until 2026-11-21T12:00:20.000Z" in verdict.detail
    obeyed(judge, signed(command(8, begins=20.001), "dso"), later)


def test_verification_command_is_refused_while_id_cannot_be_stored() -> None:
    judge = verification()
    assert judge.verify_command(signed(command(1), "dso"), FULL_DISK).reason is Reason.NO_MEMORY
    obeyed(judge, signed(command(1), "dso"))


def test_command_of_key_that_is_recorded_no_more_is_refused_again() -> None:
    signatures = PlainSignatures()
    others = {f"dso-{number}": msgspec.structs.replace(DSO, key=f"k-{number}") for number in range(KEYS_KEPT)}
    signatures.known = {"dso": DSO, **others}
    judge = Verification(POINT, [EvseRef("CS01", 1)], ISSUERS, {}, signatures)
    obeyed(judge, signed(command(10), "dso"))
    for number, name in enumerate(others, 11):
        obeyed(judge, signed(command(number), name))
    assert judge.verify_command(signed(command(10), "dso"), NOW).reason is Reason.SEQUENCE_BACK
    obeyed(judge, signed(command(100), "dso"))
    assert judge.verify_command(signed(command(100), "dso"), NOW).reason is Reason.REPLAYED
