"""Logins, rights and tokens: who may do what now, and what ends it."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
import trio

from controller.access.access_records import TokenStored, UserStored
from controller.access.passwords import hash_secret, hash_user_password, verify_user_password
from controller.access.permissions import LOCAL_ACTOR, Actor, read_permissions
from controller.commands.site_command import AddUser, CreateToken, RemoveUser, RevokeToken
from controller.config.schema import WebConfig, WebRoleConfig
from controller.services.access import access_service
from controller.services.access.access_service import AccessService, LoginRejectedError, make_roles
from controller.services.access.audit_log import AuditLog
from controller.services.access.command_service import (
    CommandContentError,
    CommandForbiddenError,
    CommandService,
    SiteCommandError,
    TargetUnknownError,
)
from controller.services.web.web_problems import await_or_problem
from controller.store.state_store import StateStore
from controller.web.http_messages import ProblemError
from drivers.coded_text import coded

PASSWORD = "correct horse"
ROLES = make_roles(WebConfig(role=(WebRoleConfig(name="service", permissions=("stations:run",)),)))


class StoredAccess:
    """Access with its commands, around one store."""

    def __init__(self, folder: Path) -> None:
        self.store = StateStore(folder)
        audit = AuditLog(self.store)
        self.access = AccessService(self.store, audit, ROLES)
        self.commands = CommandService(audit)
        self.access.register_handlers(self.commands)

    async def add(self, name: str = "anna", role: str = "operator") -> None:
        await self.commands.execute(AddUser(user=name, role=role, password=PASSWORD), LOCAL_ACTOR)


@asynccontextmanager
async def site(folder: Path) -> AsyncIterator[StoredAccess]:
    made = StoredAccess(folder)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(made.store.run)
        yield made
        nursery.cancel_scope.cancel()


async def test_access_service_right_password_opens_session_with_roles_rights(tmp_path: Path) -> None:
    async with site(tmp_path) as made:
        await made.add()
        secret = await made.access.login("anna", PASSWORD, "192.0.2.1")
        actor = made.access.find_login(secret)
        assert actor is not None
        assert (actor.name, actor.origin) == ("anna", "page")
        assert actor.permissions == ROLES["operator"].permissions
        made.access.logout(secret)
        assert made.access.find_login(secret) is None


@pytest.mark.parametrize(("name", "password"), [("anna", "wrong"), ("nobody", PASSWORD), ("", "")])
async def test_access_service_wrong_login_has_one_text_and_no_name_in_log(
    tmp_path: Path, name: str, password: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with site(tmp_path) as made:
        await made.add()
        with pytest.raises(LoginRejectedError, match="name or password is wrong"):
            await made.access.login(name, password, "192.0.2.1")
    assert "wrong" not in caplog.text
    assert "nobody" not in caplog.text


async def test_access_service_guessing_is_paused_before_password_is_checked(tmp_path: Path) -> None:
    async with site(tmp_path) as made:
        await made.add()
        for _ in range(3):
            with pytest.raises(LoginRejectedError):
                await made.access.login("anna", "wrong", "192.0.2.1")
        with pytest.raises(LoginRejectedError, match="too many wrong passwords") as rejected:
            await made.access.login("anna", PASSWORD, "192.0.2.1")
        assert 0 < rejected.value.wait_s <= 2
        assert await made.access.login("anna", PASSWORD, "192.0.2.2")


async def test_access_service_rights_follow_role_changed_after_login(tmp_path: Path) -> None:
    async with site(tmp_path) as made:
        await made.add()
        secret = await made.access.login("anna", PASSWORD, "192.0.2.1")
        await made.add(role="viewer")
        assert made.access.find_login(secret) is None, "password and role were set anew"
        secret = await made.access.login("anna", PASSWORD, "192.0.2.1")
        actor = made.access.find_login(secret)
        assert actor is not None
        assert actor.permissions == ROLES["viewer"].permissions


async def test_user_changed_by_another_process_is_seen(tmp_path: Path) -> None:
    async with site(tmp_path) as made:
        await made.add()
        secret = await made.access.login("anna", PASSWORD, "192.0.2.1")
        made.store.persist_now([UserStored("anna", "operator", "")])
        made.access._refreshed_at = float("-inf")
        assert made.access.find_login(secret) is None


async def test_removed_user_cannot_log_in(tmp_path: Path) -> None:
    async with site(tmp_path) as made:
        await made.add()
        await made.commands.execute(RemoveUser(user="anna"), LOCAL_ACTOR)
        with pytest.raises(LoginRejectedError):
            await made.access.login("anna", PASSWORD, "192.0.2.1")
        assert not made.access.has_users


async def test_login_that_waited_while_password_changed_is_rejected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The old password is verified while the new one is stored."""
    async with site(tmp_path) as made:
        await made.add()

        def verify_after_change(password: str, phc: str) -> bool:
            trio.from_thread.run_sync(change)
            return verify_user_password(password, phc)

        def change() -> None:
            made.store.persist_now([UserStored("anna", "operator", hash_user_password("another horse"))])
            made.access._refresh(force=True)

        monkeypatch.setattr(access_service, "verify_user_password", verify_after_change)
        with pytest.raises(LoginRejectedError, match="name or password is wrong"):
            await made.access.login("anna", PASSWORD, "192.0.2.1")


async def test_access_service_user_of_deleted_role_cannot_log_in(tmp_path: Path) -> None:
    async with site(tmp_path) as made:
        made.store.persist_now([UserStored("anna", "former", hash_user_password(PASSWORD))])
        made.access._refreshed_at = float("-inf")
        with pytest.raises(LoginRejectedError):
            await made.access.login("anna", PASSWORD, "192.0.2.1")


async def test_access_service_own_password_change_needs_old_one_ends_sessions(tmp_path: Path) -> None:
    async with site(tmp_path) as made:
        await made.add()
        secret = await made.access.login("anna", PASSWORD, "192.0.2.1")
        actor = made.access.find_login(secret)
        assert actor is not None
        with pytest.raises(LoginRejectedError):
            await made.access.change_password(actor, "wrong", "another horse", "192.0.2.1")
        await made.access.change_password(actor, PASSWORD, "another horse", "192.0.2.1")
        assert made.access.find_login(secret) is None
        assert await made.access.login("anna", "another horse", "192.0.2.1")


@pytest.mark.parametrize("command", [AddUser(user="eve", role="administrator"), RemoveUser(user="root")])
async def test_access_service_grants_no_permission_beyond_own(
    tmp_path: Path, command: AddUser | RemoveUser
) -> None:
    async with site(tmp_path) as made:
        await made.add("root", "administrator")
        manager = Actor("mia", "page", read_permissions(["users:*", "status:read"]))
        with pytest.raises(CommandForbiddenError):
            await made.commands.execute(command, manager)
        with pytest.raises(CommandForbiddenError, match="stations:run"):
            await made.commands.execute(AddUser(user="root", role="service", password=PASSWORD), manager)
        with pytest.raises(CommandForbiddenError):
            await made.commands.execute(CreateToken(token="t", scopes=("*:*",)), manager)


async def test_weak_password_is_rejected(tmp_path: Path) -> None:
    async with site(tmp_path) as made:
        with pytest.raises(SiteCommandError, match="characters"):
            await made.commands.execute(AddUser(user="anna", role="viewer", password="short"), LOCAL_ACTOR)


async def test_access_service_token_is_shown_once_and_ends_with_revocation(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with site(tmp_path) as made:
        result = await made.commands.execute(
            CreateToken(token="grafana", scopes=("status:read",)), LOCAL_ACTOR
        )
        assert isinstance(result, dict)
        secret = result["secret"]
        actor = made.access.find_token(secret)
        assert actor is not None
        assert (actor.name, actor.origin, sorted(map(str, actor.permissions))) == (
            "grafana",
            "api",
            ["status:read"],
        )
        assert secret not in caplog.text
        assert secret.encode() not in (tmp_path / "state.sqlite").read_bytes()
        with pytest.raises(SiteCommandError, match="exists already"):
            await made.commands.execute(CreateToken(token="grafana", scopes=("status:read",)), LOCAL_ACTOR)
        await made.commands.execute(RevokeToken(token="grafana"), LOCAL_ACTOR)
        assert made.access.find_token(secret) is None


async def test_access_service_token_ends_by_time(tmp_path: Path) -> None:
    async with site(tmp_path) as made:
        made.store.persist_now([TokenStored("old", hash_secret("lc_old"), ("status:read",), 0.0, 1.0)])
        made.access._refreshed_at = float("-inf")
        assert made.access.find_token("lc_old") is None


@pytest.mark.parametrize(
    ("days_ahead", "is_accepted"),
    [(-20_000, False), (-3, False), (-1, True), (0, True), (9, True), (11, False)],
)
async def test_token_with_end_is_rejected_while_clock_is_wrong(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, days_ahead: float, is_accepted: bool
) -> None:
    async with site(tmp_path) as made:
        result = await made.commands.execute(
            CreateToken(token="grafana", scopes=("status:read",), days=10), LOCAL_ACTOR
        )
        lasting = await made.commands.execute(
            CreateToken(token="lasting", scopes=("status:read",)), LOCAL_ACTOR
        )
        assert isinstance(result, dict)
        assert isinstance(lasting, dict)
        right = time.time()
        made.access._utc = lambda: right + days_ahead * 86_400
        for _ in range(2):
            assert (made.access.find_token(result["secret"]) is not None) is is_accepted
        assert made.access.find_token(lasting["secret"]) is not None
        assert caplog.text.count("token rejected token=grafana") == (days_ahead < -2)
        made.access._utc = lambda: right
        assert made.access.find_token(result["secret"]) is not None


async def test_token_with_end_is_not_made_before_clock_is_set(tmp_path: Path) -> None:
    async with site(tmp_path) as made:
        made.access._utc = lambda: 3000.0
        with pytest.raises(SiteCommandError, match="clock is not set"):
            await made.commands.execute(
                CreateToken(token="grafana", scopes=("status:read",), days=10), LOCAL_ACTOR
            )
        await made.commands.execute(CreateToken(token="lasting", scopes=("status:read",)), LOCAL_ACTOR)


async def test_error_of_a_command_keeps_its_template_for_the_page() -> None:
    async def reject() -> None:
        raise TargetUnknownError(coded("user {user} is unknown", user="'mia'"))

    with pytest.raises(ProblemError) as raised:
        await await_or_problem(reject())
    body = msgspec.json.decode(raised.value.response().body)
    assert (body["status"], body["detail"]) == (404, "user 'mia' is unknown")
    assert body["coded"] == {"template": "user {user} is unknown", "values": {"user": "'mia'"}}
    assert "coded" not in msgspec.json.decode(ProblemError(404, "plain").response().body)


async def test_error_in_content_of_a_command_is_unprocessable() -> None:
    async def reject() -> None:
        raise CommandContentError("departure 1: station: is empty")

    with pytest.raises(ProblemError) as raised:
        await await_or_problem(reject())
    assert raised.value.status == 422


async def test_role_that_a_reload_changes_counts_for_logins_that_are_open(tmp_path: Path) -> None:
    async with site(tmp_path) as made:
        await made.add("ben", "service")
        secret = await made.access.login("ben", PASSWORD, "192.0.2.9")
        role = WebRoleConfig(name="service", permissions=("history:read",))
        made.access.set_roles(make_roles(WebConfig(role=(role,))))
        actor = made.access.find_login(secret)
        assert actor is not None
        assert actor.permissions == read_permissions(["history:read"])
        made.access.set_roles(make_roles(WebConfig()))
        assert made.access.find_login(secret) is None
