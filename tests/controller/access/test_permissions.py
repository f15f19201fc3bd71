from __future__ import annotations

import pytest

from controller.access.permissions import (
    BUILT_IN_ROLES,
    LOCAL_ACTOR,
    VERBS_OF,
    AccessPermission,
    PermissionSyntaxError,
    Resource,
    Verb,
    read_permissions,
)
from controller.commands.site_command import COMMANDS


def test_permissions_are_read_with_wildcards() -> None:
    assert read_permissions(["stations:run"]) == {AccessPermission(Resource.STATIONS, Verb.RUN)}
    assert len(read_permissions(["stations:*"])) == len(Verb)
    assert len(read_permissions(["*:read"])) == len(Resource)
    assert len(read_permissions(["*:*"])) == len(Resource) * len(Verb)


@pytest.mark.parametrize("text", ["", "stations", "stations:", ":run", "moon:read", "stations:fly"])
def test_permissions_unknown_permission_is_rejected_with_known_ones(text: str) -> None:
    with pytest.raises(PermissionSyntaxError, match="stations"):
        read_permissions([text])


def test_verbs_beyond_read_are_those_of_the_commands() -> None:
    needed = {(command.permission.resource, command.permission.verb) for command in COMMANDS.values()}
    changing = {(each, verb) for each, verbs in VERBS_OF.items() for verb in verbs if verb is not Verb.READ}
    assert changing == needed
    assert {verbs[0] for verbs in VERBS_OF.values()} == {Verb.READ}


def test_roles_contain_each_other() -> None:
    viewer, operator, administrator = (
        BUILT_IN_ROLES[name].permissions for name in ("viewer", "operator", "administrator")
    )
    assert viewer < operator < administrator


def test_viewer_sees_no_personal_data_and_changes_nothing() -> None:
    viewer = BUILT_IN_ROLES["viewer"]
    assert not viewer.allows(AccessPermission(Resource.SESSIONS, Verb.READ))
    assert not viewer.allows(AccessPermission(Resource.MESSAGES, Verb.READ))
    assert {each.verb for each in viewer.permissions} == {Verb.READ}


def test_local_actor_may_do_everything() -> None:
    assert all(LOCAL_ACTOR.allows(AccessPermission(each, verb)) for each in Resource for verb in Verb)
