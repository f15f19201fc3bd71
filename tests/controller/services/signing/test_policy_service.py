"""The policy service follows its files, and durable state survives a restart."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
import trio

from controller.access.permissions import LOCAL_ACTOR
from controller.commands.site_command import ResumeSigning
from controller.ocpp.frames import Version
from controller.services.signing.policy_service import PolicyService, SigningSetupError
from controller.services.signing.replay_memory import SigningWaitError
from controller.signing import signing_keys
from controller.signing.policy_enforcer import ForwardDecision
from controller.signing.replay_cache import ReplayRecord, ReplayWait
from controller.signing.rule_set import RuleKey
from controller.signing.signature_format import Direction, MessageKind
from controller.signing.signing_keys import write_key_file
from controller.store.sqlite_journal import FILE, SqliteJournal
from controller.store.state_journal import StoreError
from controller.store.state_store import StateStore
from controller.store.store_files import KEY_FILE
from controller.store.store_transfer import import_entries
from tests.controller.signing.authors import compact
from tests.controller.signing.files import write_policy
from tests.controller.signing.policy_examples import NOW, OLGA, TOM, decide, describe_decision, limit, signed

ROLE = {"id": "helper", "holders": ["tom"], "may": [{"actions": ["Reset"]}]}
REJECT_RESET = '[[verify]]\nid = "no-reset"\nactions = ["Reset"]\nrequire = "reject"\n'
SIGN = '[[sign]]\nid = "own"\nactions = ["Reset"]\n'


def keeper(folder: Path, key: Path | None = None, store: StateStore | None = None) -> PolicyService:
    return PolicyService("lc", folder / "signing.toml", key, store or StateStore(folder), lambda: True)


def reset(keeper: PolicyService) -> str:
    return describe_decision(decide(keeper.enforcer, b"{}", action="Reset"))


async def test_changed_policy_applies_at_once_and_keeps_replays(tmp_path: Path) -> None:
    write_policy(tmp_path)
    kept = keeper(tmp_path)
    text = signed(limit(), TOM)
    assert isinstance(decide(kept.enforcer, text), ForwardDecision)
    assert reset(kept) == "pass"
    write_policy(tmp_path, REJECT_RESET)
    await kept.reload_changed_files()
    assert reset(kept).startswith("refuse no-reset")
    assert describe_decision(decide(kept.enforcer, text)) == "refuse safe-profiles: it was received before"


async def test_unusable_file_is_reported_once_and_old_one_kept(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_policy(tmp_path, REJECT_RESET)
    kept = keeper(tmp_path)
    for _ in range(2):
        (tmp_path / "signing.toml").write_text("version = 2")
        os.utime(tmp_path / "signing.toml", ns=(7, 7))
        await kept.reload_changed_files()
    assert reset(kept).startswith("refuse no-reset")
    assert caplog.text.count("signature policy not reloaded") == 1
    (tmp_path / "signing.toml").unlink()
    await kept.reload_changed_files()
    assert reset(kept).startswith("refuse no-reset")
    write_policy(tmp_path)
    await kept.reload_changed_files()
    assert reset(kept) == "pass"


async def test_policy_service_new_key_in_folder_signs(tmp_path: Path) -> None:
    write_policy(tmp_path, SIGN)
    folder = tmp_path / "keys"
    write_key_file(folder, "a", signing_keys.new_private_key("secp256r1", "lc", NOW - 10, NOW - 5))
    kept = keeper(tmp_path, folder)
    own = RuleKey(
        version=Version.V201,
        action="Reset",
        direction=Direction.DOWN,
        kind=MessageKind.REQUEST,
        link="CS01",
    )
    assert "no key of the controller is valid" in kept.enforcer.sign_own(own, b"{}", NOW).unsigned_reason
    write_key_file(folder, "b", signing_keys.new_private_key("secp256r1", "lc", NOW - 5, NOW + 5))
    await kept.reload_changed_files()
    assert kept.enforcer.sign_own(own, b"{}", NOW).unsigned_reason == ""


@pytest.mark.parametrize(
    ("policy", "key", "words"),
    [
        (None, None, "signing.toml: cannot be read"),
        ("version = 2", None, "version"),
        ("version = 1", "keys", "keys cannot be read"),
    ],
)
def test_tls_without_valid_files_prevents_start(
    tmp_path: Path, policy: str | None, key: str | None, words: str
) -> None:
    if policy is not None:
        (tmp_path / "signing.toml").write_text(policy)
    with pytest.raises(SigningSetupError, match=words):
        keeper(tmp_path, None if key is None else tmp_path / key)


def test_policy_service_replay_memory_survives_a_restart(tmp_path: Path) -> None:
    write_policy(tmp_path)
    text = signed(limit(), TOM)
    before = keeper(tmp_path)
    ruling = decide(before.enforcer, text)
    assert isinstance(ruling, ForwardDecision)
    assert isinstance(ruling.record, ReplayRecord)
    StateStore(tmp_path).persist_now([ruling.record])
    assert (
        describe_decision(decide(keeper(tmp_path).enforcer, text))
        == "refuse safe-profiles: it was received before"
    )


def test_policy_service_removed_store_rejects_accepted_message(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_policy(tmp_path)
    assert isinstance(decide(keeper(tmp_path).enforcer, signed(limit(), TOM)), ForwardDecision)
    assert "memory of signed messages lost" not in caplog.text, "a new installation has lost nothing"
    (tmp_path / KEY_FILE).touch()
    (tmp_path / FILE).unlink()
    kept = keeper(tmp_path)
    assert "or the memory of received messages was lost" in describe_decision(
        decide(kept.enforcer, signed(limit(), TOM))
    )
    assert "memory of signed messages lost" in caplog.text
    assert kept.replays.find_wait() is not None
    assert keeper(tmp_path).replays.find_wait() == kept.replays.find_wait()


@pytest.mark.parametrize("loss", ["damaged", "restored"])
async def test_lost_memory_waits_for_trusted_clock(tmp_path: Path, loss: str) -> None:
    write_policy(tmp_path)
    if loss == "damaged":
        (tmp_path / FILE).write_bytes(b"no database" * 1000)
    else:
        import_entries(SqliteJournal(tmp_path / FILE), [], replace=False)
    trusted = False
    store = StateStore(tmp_path)
    kept = PolicyService("lc", tmp_path / "signing.toml", None, store, lambda: trusted)
    assert "the clock is not trusted" in describe_decision(decide(kept.enforcer, signed(limit(), TOM)))
    await kept.replays.check_clock()
    assert kept.replays.find_wait() == ReplayWait(None, can_shorten=True)
    trusted = True
    async with trio.open_nursery() as nursery:
        nursery.start_soon(store.run)
        await kept.replays.check_clock()
        nursery.cancel_scope.cancel()
    wait = kept.replays.find_wait()
    assert wait is not None
    assert wait.end == pytest.approx(time.time() + kept.in_force[0].policy().window_s, abs=5)
    again = PolicyService("lc", tmp_path / "signing.toml", None, StateStore(tmp_path), lambda: False)
    assert again.replays.find_wait() == wait


async def test_wait_is_shortened_by_command_and_named_after(tmp_path: Path) -> None:
    write_policy(tmp_path)
    store = StateStore(tmp_path)
    store.persist_now([ReplayRecord((), time.time() + 90 * 86_400)])
    kept = keeper(tmp_path, store=store)
    window_s = kept.in_force[0].policy().window_s
    async with trio.open_nursery() as nursery:
        nursery.start_soon(store.run)
        await kept.replays.on_resume(ResumeSigning(), LOCAL_ACTOR)
        with pytest.raises(SigningWaitError, match="this wait cannot be shortened"):
            await kept.replays.on_resume(ResumeSigning(), LOCAL_ACTOR)
        nursery.cancel_scope.cancel()
    wait = keeper(tmp_path).replays.find_wait()
    assert wait is not None
    assert wait.end == pytest.approx(time.time() + window_s, abs=5)


async def test_command_without_wait_has_nothing_to_resume(tmp_path: Path) -> None:
    write_policy(tmp_path)
    with pytest.raises(SigningWaitError, match="nothing to resume"):
        await keeper(tmp_path).replays.on_resume(ResumeSigning(), LOCAL_ACTOR)


async def add_role(kept: PolicyService, signer: object = OLGA) -> bytes:
    payload = {"userRole": ROLE, "customData": limit()["customData"]}
    body = signed(payload, OLGA, action="AddUserRole") if signer is OLGA else compact(payload)
    return await kept.answer_policy_message(
        "AddUserRole", body, decide(kept.enforcer, body, action="AddUserRole")
    )


async def test_received_role_is_in_force_at_once_and_after_restart(
    tmp_path: Path, nursery: trio.Nursery
) -> None:
    write_policy(tmp_path, '[[verify]]\nid = "reset"\nactions = ["Reset"]\nrequire = "verifyAny"\n')
    store = StateStore(tmp_path)
    nursery.start_soon(store.run)
    kept = keeper(tmp_path, store=store)
    toms = signed({"type": "Soft"}, TOM, action="Reset")
    assert describe_decision(decide(kept.enforcer, toms, action="Reset")).startswith("refuse reset: tom")
    assert await add_role(kept) == b'{"status":"Accepted"}'
    for each in (kept, keeper(tmp_path)):
        assert describe_decision(decide(each.enforcer, toms, action="Reset")) == "pass reset: signed by tom"
    write_policy(tmp_path, "# it stays beside a new file\n" + REJECT_RESET)
    await kept.reload_changed_files()
    assert reset(kept).startswith("refuse no-reset")


async def test_policy_service_logs_received_id_in_quotes(
    tmp_path: Path, nursery: trio.Nursery, caplog: pytest.LogCaptureFixture
) -> None:
    write_policy(tmp_path)
    store = StateStore(tmp_path)
    nursery.start_soon(store.run)
    kept = keeper(tmp_path, store=store)
    role = ROLE | {"id": "x reason=forged"}
    body = signed({"userRole": role, "customData": limit()["customData"]}, OLGA, action="AddUserRole")
    decision = decide(kept.enforcer, body, action="AddUserRole")
    assert await kept.answer_policy_message("AddUserRole", body, decision) == b'{"status":"Accepted"}'
    (line,) = [each for each in caplog.messages if each.startswith("policy changed")]
    assert line.startswith('policy changed action=AddUserRole id="x reason=forged" reason=')


async def test_policy_service_unsigned_change_is_refused(tmp_path: Path, nursery: trio.Nursery) -> None:
    write_policy(tmp_path)
    store = StateStore(tmp_path)
    nursery.start_soon(store.run)
    kept = keeper(tmp_path, store=store)
    assert b"Rejected" in await add_role(kept, None)
    deletion = b'{"userRoleId":"helper"}'
    answer = await kept.answer_policy_message("DeleteUserRole", deletion, ForwardDecision(rule="r"))
    assert answer.startswith(b'{"status":"Rejected"')


async def test_policy_service_change_that_cannot_be_stored_is_undone(
    tmp_path: Path, nursery: trio.Nursery
) -> None:
    write_policy(tmp_path, '[[verify]]\nid = "reset"\nactions = ["Reset"]\nrequire = "verifyAny"\n')
    store = StateStore(tmp_path)
    nursery.start_soon(store.run)
    kept = keeper(tmp_path, store=store)
    store.close()
    with pytest.raises(StoreError):
        await add_role(kept)
    toms = signed({"type": "Soft"}, TOM, action="Reset")
    assert describe_decision(decide(kept.enforcer, toms, action="Reset")).startswith("refuse reset: tom")
    assert kept.in_force[0].file.role == keeper(tmp_path).in_force[0].file.role


async def test_policy_service_received_role_that_fits_no_more_is_reported(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, nursery: trio.Nursery
) -> None:
    write_policy(tmp_path)
    store = StateStore(tmp_path)
    nursery.start_soon(store.run)
    await add_role(keeper(tmp_path, store=store))
    (tmp_path / "signing.toml").write_text("version = 1")
    keeper(tmp_path)
    assert "received policy not in force, it does not fit" in caplog.text
    assert "UserRole helper" in caplog.text


def test_policy_of_docs_is_valid(tmp_path: Path) -> None:
    page = (Path(__file__).parents[4] / "docs" / "signing.md").read_text()
    (block,) = (each for each in page.split("```toml")[1:] if "[[role]]" in each.partition("```")[0])
    (tmp_path / "signing.toml").write_text(block.partition("```")[0])
    kept = keeper(tmp_path)
    assert reset(kept) == "refuse resets: it is not signed"
    assert (
        describe_decision(decide(kept.enforcer, compact(limit()))) == "refuse safe-profiles: it is not signed"
    )
