"""Users, logins and bearer tokens: the actor of a request, and its present permissions.

Users and tokens are read from the store, which `local-controller user` writes as well: a change holds within
a second, also for requests of sessions that are open.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from itertools import chain

import trio

from controller.access.access_records import TokenStored, UserStored
from controller.access.login_sessions import LoginSessions, LoginThrottle
from controller.access.passwords import (
    check_password,
    generate_password,
    generate_secret,
    hash_secret,
    hash_user_password,
    verify_user_password,
)
from controller.access.permissions import (
    BUILT_IN_ROLES,
    AccessError,
    AccessPermission,
    Actor,
    UserRole,
    read_permissions,
)
from controller.commands.command_statements import describe_password_change
from controller.commands.site_command import AddUser, CreateToken, RemoveUser, RevokeToken
from controller.config.schema import WebConfig
from controller.model.plausible_time import EARLIEST
from controller.services.access.audit_log import AuditLog
from controller.services.access.command_service import (
    CommandForbiddenError,
    CommandService,
    SiteCommandError,
    TargetUnknownError,
)
from controller.store.state_store import StateStore
from drivers.coded_text import coded, text_of

log = logging.getLogger("controller.access")

TOKEN_PREFIX = "lc_"
REFRESH_S = 1.0
"""Longest time until a change that another process has stored is used."""
MOST_LOGINS_WAITING = 16
DAY_S = 86_400.0
LONGEST_STEP_BACK_S = 2 * DAY_S
"""A clock that is further before the creation of a token is wrong: then the token's end is unknown."""


class LoginRejectedError(SiteCommandError):
    """A login that failed, or may be tried again only in `wait_s` s (0: at once)."""

    def __init__(self, text: str, wait_s: float = 0.0) -> None:
        super().__init__(text)
        self.wait_s = wait_s


class AccessService:
    """Access to one site. `roles`: all roles by name."""

    def __init__(
        self,
        store: StateStore,
        audit: AuditLog,
        roles: Mapping[str, UserRole],
        utc: Callable[[], float] = time.time,
    ) -> None:
        self.roles = roles
        self._store = store
        self._audit = audit
        self._utc = utc
        self._users: dict[str, UserStored] = {}
        self._tokens: dict[str, TokenStored] = {}
        self._rejected_tokens: set[str] = set()
        """Names of tokens whose creation lies ahead of the clock."""
        self._sessions = LoginSessions()
        self._throttle = LoginThrottle()
        self._hashing = trio.CapacityLimiter(1)
        self._waiting = 0
        self._places = (0, 0)
        self._refreshed_at = float("-inf")
        self._unknown_hash = ""
        self.revision = 0
        """Number of changes of users, tokens and roles that were taken in."""
        self._refresh(force=True)

    def register_handlers(self, commands: CommandService) -> None:
        """Register the handlers of the commands about users and tokens."""
        commands.add_handler(AddUser, self._on_add_user)
        commands.add_handler(RemoveUser, self._on_remove_user)
        commands.add_handler(CreateToken, self._on_create_token)
        commands.add_handler(RevokeToken, self._on_revoke_token)

    # -- who makes a request ----------------------------------------------------------------------------

    def find_login(self, secret: str, *, touch: bool = True) -> Actor | None:
        """Return the actor of a login session with the rights of now; None if it has ended."""
        self._refresh()
        name = self._sessions.find_user(secret, trio.current_time(), touch=touch)
        user = None if name is None else self._users.get(name)
        role = None if user is None or not user.is_active else self.roles.get(user.role)
        return None if user is None or role is None else Actor(user.name, "page", role.permissions)

    def find_token(self, secret: str) -> Actor | None:
        """Return the actor of a bearer token; None if it is unknown, revoked or over."""
        self._refresh()
        token = self._tokens.get(hash_secret(secret))
        if token is None or self._has_ended(token):
            return None
        return Actor(token.name, "api", _scopes(token))

    def _has_ended(self, token: TokenStored) -> bool:
        """Return True for a token whose end has come, or may have: a clock may be wrong."""
        if token.expires is None:
            return False
        is_behind = self._utc() < token.created - LONGEST_STEP_BACK_S
        if not is_behind:
            self._rejected_tokens.discard(token.name)
            return token.expires <= self._utc()
        if token.name not in self._rejected_tokens:
            self._rejected_tokens.add(token.name)
            log.warning(
                "token rejected token=%s reason=the clock is before its creation, so its end is unknown "
                "remedy=check NTP (timedatectl)",
                token.name,
            )
        return True

    @property
    def has_users(self) -> bool:
        """Return True if anybody can log in."""
        self._refresh()
        return any(user.is_active for user in self._users.values())

    def list_users(self) -> list[UserStored]:
        """Return the users that may log in."""
        self._refresh()
        return [each for each in self._users.values() if each.is_active]

    def list_tokens(self) -> list[TokenStored]:
        """Return the tokens that are not revoked."""
        self._refresh()
        return list(self._tokens.values())

    def set_roles(self, roles: Mapping[str, UserRole]) -> None:
        """Use other roles; each request and stream is judged by them from now on."""
        self.roles = roles
        self.revision += 1

    # -- login ------------------------------------------------------------------------------------------

    async def login(self, name: str, password: str, peer: str) -> str:
        """Check name and password; return the secret of a new session. Raises LoginRejectedError."""
        self._refresh()
        self._require_no_pause(peer)
        if self._waiting >= MOST_LOGINS_WAITING:
            raise LoginRejectedError(coded("too many logins at once; try again"), 2.0)
        user = self._users.get(name)
        is_known = user is not None and user.is_active and user.role in self.roles
        phc = user.hash if user is not None and is_known else await self._hash_of_unknown_user()
        self._waiting += 1
        try:
            async with self._hashing:
                self._require_no_pause(peer)  # wrong passwords may have come while this one waited
                is_right = await trio.to_thread.run_sync(verify_user_password, password, phc)
        finally:
            self._waiting -= 1
        # The password may have been changed, or the user removed, while this login waited.
        if not (is_right and is_known and self._users.get(name) is user):
            self._throttle.on_failure(peer, trio.current_time())
            wait_s = self._throttle.wait_s(peer, trio.current_time())
            log.warning("login rejected peer=%s wait=%.0fs", peer, wait_s)
            raise LoginRejectedError(coded("name or password is wrong"), wait_s)
        self._throttle.on_success(peer)
        log.info("login accepted user=%s peer=%s", name, peer)
        return self._sessions.open(name, trio.current_time())

    def logout(self, secret: str) -> None:
        """End a login session."""
        self._sessions.close(secret)

    async def change_password(self, actor: Actor, old: str, new: str, peer: str) -> None:
        """Set a user's own password; all its sessions end. Raises LoginRejectedError, SiteCommandError."""
        secret = await self.login(actor.name, old, peer)
        self._sessions.close(secret)
        user = self._users[actor.name]
        await self._store_user(user.name, user.role, new)
        await self._audit.record(
            actor, "user.password", f"user={user.name}", describe_password_change(user.name)
        )

    async def _hash_of_unknown_user(self) -> str:
        """Return a hash to verify against for an unknown name, which takes as long as for a known one."""
        if not self._unknown_hash:
            self._unknown_hash = await trio.to_thread.run_sync(hash_user_password, generate_secret())
        return self._unknown_hash

    def _require_no_pause(self, peer: str) -> None:
        wait_s = self._throttle.wait_s(peer, trio.current_time())
        if wait_s > 0:
            raise LoginRejectedError(coded("too many wrong passwords; wait and try again"), wait_s)

    # -- changes ----------------------------------------------------------------------------------------

    async def _on_add_user(self, command: AddUser, actor: Actor) -> object:
        role = self.roles.get(command.role)
        if role is None:
            raise TargetUnknownError(
                coded(
                    "role {role} is unknown; there are: {roles}",
                    role=repr(command.role),
                    roles=", ".join(self.roles),
                )
            )
        self._require_rights(actor, role.permissions)
        present = self._users.get(command.user)
        if present is not None and present.is_active and present.role in self.roles:
            self._require_rights(actor, self.roles[present.role].permissions)
        generated = "" if command.password else generate_password()
        await self._store_user(command.user, command.role, command.password or generated)
        return {"user": command.user, "role": command.role, **({"password": generated} if generated else {})}

    async def _store_user(self, name: str, role: str, password: str) -> None:
        try:
            check_password(password)
        except AccessError as error:
            raise SiteCommandError(text_of(error)) from error
        async with self._hashing:
            phc = await trio.to_thread.run_sync(hash_user_password, password)
        await self._store.persist([UserStored(name, role, phc)])
        self._sessions.close_all(name)
        self._refresh(force=True)

    async def _on_remove_user(self, command: RemoveUser, actor: Actor) -> object:
        user = self._users.get(command.user)
        if user is None or not user.is_active:
            raise TargetUnknownError(coded("user {user} is unknown", user=repr(command.user)))
        if user.role in self.roles:
            self._require_rights(actor, self.roles[user.role].permissions)
        await self._store.persist([UserStored(user.name, user.role, "")])
        self._sessions.close_all(user.name)
        self._refresh(force=True)
        return {"user": user.name}

    async def _on_create_token(self, command: CreateToken, actor: Actor) -> object:
        try:
            scopes = read_permissions(command.scopes)
        except AccessError as error:
            raise SiteCommandError(text_of(error)) from error
        self._require_rights(actor, scopes)
        if any(each.name == command.token for each in self._tokens.values()):
            raise SiteCommandError(
                coded(
                    "token {token} exists already; revoke it or choose another name",
                    token=repr(command.token),
                )
            )
        secret, now = generate_secret(TOKEN_PREFIX), self._utc()
        if command.days is not None and now < EARLIEST:
            raise SiteCommandError(
                "the clock is not set, so no end can be found; check NTP (timedatectl), or leave out the days"
            )
        expires = None if command.days is None else now + command.days * DAY_S
        texts = tuple(sorted(map(str, scopes)))
        await self._store.persist([TokenStored(command.token, hash_secret(secret), texts, now, expires)])
        self._refresh(force=True)
        return {"token": command.token, "secret": secret, "scopes": list(texts), "expires": expires}

    async def _on_revoke_token(self, command: RevokeToken, _: Actor) -> object:
        token = next((each for each in self._tokens.values() if each.name == command.token), None)
        if token is None:
            raise TargetUnknownError(coded("token {token} is unknown", token=repr(command.token)))
        await self._store.persist([TokenStored(token.name, "", token.scopes, token.created, token.expires)])
        self._refresh(force=True)
        return {"token": token.name}

    def _require_rights(self, actor: Actor, permissions: Iterable[AccessPermission]) -> None:
        """Raise CommandForbiddenError for permissions that the actor lacks: no actor can grant more."""
        missing = set(permissions) - actor.permissions
        if missing:
            raise CommandForbiddenError(
                coded("you lack what you would give: {missing}", missing=", ".join(sorted(map(str, missing))))
            )

    # -- the store --------------------------------------------------------------------------------------

    def _refresh(self, *, force: bool = False) -> None:
        """Take in what was stored since the last time, by this process or another one."""
        now = trio.current_time()
        if not force and now - self._refreshed_at < REFRESH_S:
            return
        self._refreshed_at = now
        users_place, users = self._store.follow(UserStored, self._places[0])
        tokens_place, tokens = self._store.follow(TokenStored, self._places[1])
        self._places = (users_place, tokens_place)
        self.revision += bool(users or tokens)
        for user in users:
            if not user.is_active or self._users.get(user.name, user).hash != user.hash:
                self._sessions.close_all(user.name)
            self._users[user.name] = user
        if tokens:
            by_name = {each.name: each for each in chain(self._tokens.values(), tokens)}
            self._tokens = {each.hash: each for each in by_name.values() if each.hash}


def _scopes(token: TokenStored) -> frozenset[AccessPermission]:
    try:
        return read_permissions(token.scopes)
    except AccessError:  # stored by another version with other resources
        return frozenset()


def make_roles(web: WebConfig | None) -> dict[str, UserRole]:
    """Return the built-in roles and those of the configuration. Raises PermissionSyntaxError."""
    further = () if web is None else web.role
    return {
        **BUILT_IN_ROLES,
        **{each.name: UserRole(each.name, read_permissions(each.permissions)) for each in further},
    }
