"""Rules of [web] and [mqtt]: roles and permissions, certificates, a page that other machines reach."""

from __future__ import annotations

from collections.abc import Iterator

from controller.access.permissions import (
    BUILT_IN_ROLES,
    PermissionSyntaxError,
    Resource,
    Verb,
    read_permissions,
)
from controller.config.schema import Config
from controller.tomlcheck.coded_text import coded
from controller.tomlcheck.diagnostics import Problem
from controller.tomlcheck.positions import DataPath

LOOPBACK = ("127.0.0.1", "::1", "localhost")


def check_web(config: Config) -> Iterator[Problem]:
    """Find roles that cannot be used, and half a pair of certificate and key."""
    web = config.web
    if web is None:
        return
    if bool(web.certificate) != bool(web.key):
        missing = "key" if web.certificate else "certificate"
        yield Problem(
            ("web", missing), coded("is missing"), coded("name both certificate and key, or none of them")
        )
    seen = set(BUILT_IN_ROLES)
    for index, role in enumerate(web.role):
        if role.name in seen:
            yield Problem(
                ("web", "role", index, "name"),
                coded('"{name}" exists', name=role.name),
                coded("choose another name"),
            )
        seen.add(role.name)
        try:
            read_permissions(role.permissions)
        except PermissionSyntaxError as error:
            yield _unreadable(error, ("web", "role", index, "permissions"))


def _unreadable(error: PermissionSyntaxError, path: DataPath) -> Problem:
    """Return the problem of a permission that cannot be read."""
    if error.meant:
        remedy = coded("did you mean {meant}?", meant=f'"{error.meant}"')
    else:
        remedy = coded(
            "write RESOURCE:VERB with a resource of {resources} or *, and a verb of {verbs} or *",
            resources=", ".join(Resource),
            verbs=", ".join(Verb),
        )
    return Problem(path, coded('permission "{permission}"', permission=error.permission), remedy)


def check_webhooks(config: Config) -> Iterator[Problem]:
    """Find addresses that are none of the web."""
    for index, webhook in enumerate(config.webhook):
        path: DataPath = ("webhook", index, "url")
        if not webhook.url.startswith(("http://", "https://")):
            yield Problem(
                path,
                coded('"{url}" is no URL', url=webhook.url),
                coded('begin it with "{scheme}://"', scheme="https"),
            )
        elif " " in webhook.url:
            yield Problem(path, coded("contains a blank"), coded("remove it, or write it as %20"))


def check_mqtt(config: Config) -> Iterator[Problem]:
    """Find permissions that cannot be read, and TLS files without TLS."""
    mqtt = config.mqtt
    if mqtt is None:
        return
    try:
        read_permissions(mqtt.permissions)
    except PermissionSyntaxError as error:
        yield _unreadable(error, ("mqtt", "permissions"))
    if bool(mqtt.certificate) != bool(mqtt.key):
        missing = "key" if mqtt.certificate else "certificate"
        yield Problem(
            ("mqtt", missing), coded("is missing"), coded("name both certificate and key, or none of them")
        )
    if not mqtt.tls and (mqtt.ca or mqtt.certificate):
        yield Problem(("mqtt", "tls"), coded("is false, and certificates are named"), coded("set tls = true"))
    if mqtt.password_file is not None and mqtt.username is None:
        yield Problem(
            ("mqtt", "username"),
            coded("is missing"),
            coded("name the user whose password password_file holds"),
        )


def find_web_hints(config: Config) -> Iterator[Problem]:
    """Find passwords that others in the network can read, an MQTT user without one, and doubled webhooks."""
    web = config.web
    if web is not None and web.host not in LOOPBACK and not web.certificate:
        yield Problem(
            ("web", "host"),
            coded("passwords and tokens pass in the clear: other machines reach the page by http"),
            coded('name certificate and key, or set host = "127.0.0.1" with a reverse proxy in front'),
        )
    urls = [webhook.url for webhook in config.webhook]
    for index, url in enumerate(urls):
        if url in urls[:index]:
            yield Problem(
                ("webhook", index, "url"),
                coded("is that of another webhook: each alarm is posted twice"),
                coded("remove one of the two"),
            )
    mqtt = config.mqtt
    if mqtt is not None and mqtt.username and mqtt.password_file is None and mqtt.certificate is None:
        yield Problem(
            ("mqtt", "username"),
            coded("has no password"),
            coded(
                "write it into a file and name that: password_file = ...; keep this if the broker asks "
                "for none"
            ),
        )
    if mqtt is not None and not mqtt.tls and (mqtt.password_file or mqtt.permissions):
        yield Problem(
            ("mqtt", "tls"),
            coded("the password and the commands pass in the clear"),
            coded("set tls = true, or keep the broker in a network of its own"),
        )
