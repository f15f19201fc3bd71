"""Rules of [web]: the roles of users, and a page that other machines reach."""

from __future__ import annotations

from collections.abc import Iterator

from controller.access.permissions import BUILT_IN_ROLES, PermissionSyntaxError, read_permissions
from controller.config.schema import Config
from controller.tomlcheck.diagnostics import Problem

LOOPBACK = ("127.0.0.1", "::1", "localhost")


def check_web(config: Config) -> Iterator[Problem]:
    """Find roles that cannot be used, and half a pair of certificate and key."""
    web = config.web
    if web is None:
        return
    if bool(web.certificate) != bool(web.key):
        missing = "key" if web.certificate else "certificate"
        yield Problem(("web", missing), "is missing", "name both certificate and key, or none of them")
    seen = set(BUILT_IN_ROLES)
    for index, role in enumerate(web.role):
        if role.name in seen:
            yield Problem(("web", "role", index, "name"), f'"{role.name}" exists', "choose another name")
        seen.add(role.name)
        try:
            read_permissions(role.permissions)
        except PermissionSyntaxError as error:
            what, _, remedy = str(error).partition(": ")
            yield Problem(("web", "role", index, "permissions"), what, remedy)


def find_web_hints(config: Config) -> Iterator[Problem]:
    """Find a page whose passwords others in the network can read."""
    web = config.web
    if web is not None and web.host not in LOOPBACK and not web.certificate:
        yield Problem(
            ("web", "host"),
            "passwords and tokens pass in the clear: other machines reach the page by http",
            'name certificate and key, or set host = "127.0.0.1" with a reverse proxy in front',
        )
