"""Permissions of people and programs: verbs on resources, and the roles that group them.

    role = ROLES["operator"]
    role.allows(AccessPermission(Resource.STATIONS, Verb.RUN))

`read` shows a resource, `run` operates what is there for a time (pause, reset, retry), `edit` changes what
lasts (configuration, users, trusted partners).
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches

import msgspec

from drivers.coded_text import coded


class AccessError(Exception):
    """Base class of the errors of this package. Its text is for a person."""


class PermissionSyntaxError(AccessError):
    """A permission that cannot be read: `what` quotes it, `remedy` has the one that is most likely meant."""

    def __init__(self, permission: str, meant: str | None) -> None:
        self.what = coded('permission "{permission}"', permission=permission)
        self.remedy = (
            coded("did you mean {meant}?", meant=f'"{meant}"')
            if meant
            else coded(
                "write RESOURCE:VERB with a resource of {resources} or *, and a verb of {verbs} or *",
                resources=", ".join(Resource),
                verbs=", ".join(Verb),
            )
        )
        super().__init__(coded("{what}: {remedy}", what=self.what, remedy=self.remedy))


class Verb(enum.StrEnum):
    """Kind of access to a resource."""

    READ = "read"
    EDIT = "edit"
    RUN = "run"


class Resource(enum.StrEnum):
    """Part of the controller that access is granted to.

    `sessions` holds charging sessions with card labels, and the OCPP messages of a station without identities
    of drivers; `messages` these identities, too. Both are personal data. `events` is the list of events with
    the audit of changes.
    """

    STATUS = "status"
    STATIONS = "stations"
    SESSIONS = "sessions"
    MESSAGES = "messages"
    OUTBOX = "outbox"
    DIMMING = "dimming"
    EEBUS = "eebus"
    EVENTS = "events"
    HISTORY = "history"
    CONFIGURATION = "configuration"
    USERS = "users"


class AccessPermission(msgspec.Struct, frozen=True, order=True):
    """One verb on one resource, written `stations:run`."""

    resource: Resource
    verb: Verb

    def __str__(self) -> str:
        return f"{self.resource}:{self.verb}"


VERBS_OF: Mapping[Resource, tuple[Verb, ...]] = {
    **dict.fromkeys(Resource, (Verb.READ,)),
    Resource.STATIONS: (Verb.READ, Verb.EDIT, Verb.RUN),
    Resource.OUTBOX: (Verb.READ, Verb.EDIT, Verb.RUN),
    Resource.EEBUS: (Verb.READ, Verb.EDIT),
    Resource.CONFIGURATION: (Verb.READ, Verb.EDIT),
    Resource.USERS: (Verb.READ, Verb.EDIT),
}
"""The verbs of each resource that a view or a command needs; another one permits nothing."""


class UserRole(msgspec.Struct, frozen=True):
    """Named set of permissions."""

    name: str
    permissions: frozenset[AccessPermission]

    def allows(self, permission: AccessPermission) -> bool:
        """Return True if the role has this permission."""
        return permission in self.permissions


def read_permissions(texts: Iterable[str]) -> frozenset[AccessPermission]:
    """Read permissions like `stations:run`; `*` stands for all resources or all verbs.

    Raises PermissionSyntaxError.
    """
    found: set[AccessPermission] = set()
    for text in texts:
        resource, colon, verb = text.partition(":")
        resources = list(Resource) if resource == "*" else [each for each in Resource if each == resource]
        verbs = list(Verb) if verb == "*" else [each for each in Verb if each == verb]
        if not (resources and verbs and colon):
            raise PermissionSyntaxError(text, _meant_permission(text))
        found.update(AccessPermission(each, kind) for each in resources for kind in verbs)
    return frozenset(found)


def _meant_permission(text: str) -> str | None:
    """Return the permission that a text most likely means, e.g. `stations:edit` for `station:write`."""
    written, _, action = (
        part.strip() for part in re.sub(r"\s*[:./= ]\s*", ":", text.lower().strip()).partition(":")
    )
    if written in list(Verb):  # read:stations
        written, action = action, written
    resources = ["*"] if written in ("*", "all") else get_close_matches(written, list(Resource), 1, 0.8)
    verb = _OTHER_VERBS.get(action, action)
    return f"{resources[0]}:{verb}" if resources and verb in ("*", *Verb) else None


_OTHER_VERBS = {"": "*", "all": "*", "view": "read", "execute": "run", "operate": "run", "write": "edit"}
"""Other words for verbs that people write."""

VIEWER = "viewer"
OPERATOR = "operator"
ADMINISTRATOR = "administrator"

_VIEWER = ("status:read", "stations:read", "dimming:read", "eebus:read", "history:read")
_OPERATOR = (*_VIEWER, "sessions:read", "events:read", "outbox:read", "stations:run", "outbox:run")

BUILT_IN_ROLES: Mapping[str, UserRole] = {
    VIEWER: UserRole(VIEWER, read_permissions(_VIEWER)),
    OPERATOR: UserRole(OPERATOR, read_permissions(_OPERATOR)),
    ADMINISTRATOR: UserRole(ADMINISTRATOR, read_permissions(["*:*"])),
}
"""A viewer sees no personal data and no messages; an operator sees sessions and operates stations."""


class Actor(msgspec.Struct, frozen=True):
    """Person or program that acts, the way it came, and its permissions.

    `origin`: socket, page, api or mqtt.
    """

    name: str
    origin: str
    permissions: frozenset[AccessPermission]

    def allows(self, permission: AccessPermission) -> bool:
        """Return True if the actor has this permission."""
        return permission in self.permissions


LOCAL_ACTOR = Actor("local", "socket", BUILT_IN_ROLES[ADMINISTRATOR].permissions)
"""Actor at the control socket: the owner of the store, on this machine."""
