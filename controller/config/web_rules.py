"""Rules of [web] and [mqtt]: roles and permissions, certificates, a page that other machines reach."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from controller.access.permissions import (
    BUILT_IN_ROLES,
    VERBS_OF,
    AccessPermission,
    PermissionSyntaxError,
    Resource,
    Verb,
    read_permissions,
)
from controller.config.schema import Config, MqttConfig, WebConfig
from controller.tomlcheck.diagnostics import Problem, blank_in_url, nearest_names
from controller.tomlcheck.positions import DataPath
from drivers.coded_text import coded, join_or

LOOPBACK = ("127.0.0.1", "::1", "localhost")
_VERBS_OF_COMMANDS = {
    resource: tuple(verb for verb in verbs if verb is not Verb.READ) for resource, verbs in VERBS_OF.items()
}
"""Verbs of the commands, which alone are accepted by MQTT."""


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
            yield Problem(("web", "role", index, "permissions"), error.what, error.remedy)


def check_webhooks(config: Config) -> Iterator[Problem]:
    """Find addresses that are none of the web."""
    for index, webhook in enumerate(config.webhook):
        path: DataPath = ("webhook", index, "url")
        if not webhook.url.startswith(("http://", "https://")):
            yield Problem(
                path,
                coded('"{url}" is no http or https URL', url=webhook.url),
                coded('begin it with "{scheme}://"', scheme="https"),
            )
        elif " " in webhook.url:
            yield blank_in_url(path, webhook.url)


def check_mqtt(config: Config) -> Iterator[Problem]:
    """Find permissions that cannot be read, and TLS files without TLS."""
    mqtt = config.mqtt
    if mqtt is None:
        return
    try:
        read_permissions(mqtt.permissions)
    except PermissionSyntaxError as error:
        yield Problem(("mqtt", "permissions"), error.what, error.remedy)
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
            depends_on=("mqtt", "password_file"),
        )


def find_web_hints(config: Config) -> Iterator[Problem]:
    """Find what others in the network can read, what is doubled, and roles that are taken for others."""
    web = config.web
    if web is not None:
        yield from _role_hints(web)
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
    if mqtt is not None:
        yield from _mqtt_hints(config, mqtt)


def _role_hints(web: WebConfig) -> Iterator[Problem]:
    """Find names of roles that are taken for another role, and permissions without effect."""
    names = [role.name for role in web.role]
    for index, role in enumerate(web.role):
        path: DataPath = ("web", "role", index)
        before = [each for each in names[:index] if each != role.name and each.lower() == role.name.lower()]
        near = before or nearest_names(role.name, BUILT_IN_ROLES)
        if len(near) == 1 and role.name not in BUILT_IN_ROLES:
            yield Problem(
                (*path, "name"),
                coded('"{name}" is easily taken for the role "{other}"', name=role.name, other=near[0]),
                coded("choose another name; viewer, operator and administrator exist without a table"),
            )
        yield from _permission_hints(role.permissions, (*path, "permissions"))


def _permission_hints(
    texts: Sequence[str], path: DataPath, verbs_of: Mapping[Resource, Sequence[Verb]] = VERBS_OF
) -> Iterator[Problem]:
    """Find permissions that another one contains, and those that no view and no command needs."""
    permitted: list[frozenset[AccessPermission]] = []
    for text in texts:
        try:
            permitted.append(read_permissions([text]))
        except PermissionSyntaxError:
            return
    for index, (text, found) in enumerate(zip(texts, permitted, strict=True)):
        others = [other for place, other in enumerate(texts) if place != index and found < permitted[place]]
        needed = [each for each in found if each.verb in verbs_of[each.resource]]
        if found in permitted[:index]:
            yield Problem(
                (*path, index), coded('"{name}" is listed twice', name=text), coded("remove one of the two")
            )
        elif others:
            yield Problem(
                (*path, index),
                coded(
                    '"{permission}" has no effect: "{other}" contains it', permission=text, other=others[0]
                ),
                coded("remove it"),
            )
        elif not needed:
            resource = text.partition(":")[0]
            verbs = [f'"{resource}:{verb}"' for verb in verbs_of.get(Resource(resource), ())]
            yield Problem(
                (*path, index),
                coded('"{permission}" permits nothing', permission=text),
                coded("did you mean {meant}?", meant=join_or(verbs)) if verbs else coded("remove it"),
            )


def _mqtt_hints(config: Config, mqtt: MqttConfig) -> Iterator[Problem]:
    """Find topics that run into each other, commands that do not exist, and what passes in the clear."""
    yield from _permission_hints(mqtt.permissions, ("mqtt", "permissions"), _VERBS_OF_COMMANDS)
    root = mqtt.root or f"local-controller/{config.site.id}"
    if mqtt.home_assistant and f"{root}/".startswith(f"{mqtt.discovery_prefix}/"):
        yield Problem(
            ("mqtt", "root"),
            coded(
                '"{root}" is below discovery_prefix, where Home Assistant expects announcements', root=root
            ),
            coded('write other first levels, e.g. root = "local-controller/{site}"', site=config.site.id),
        )
    elif mqtt.home_assistant and f"{mqtt.discovery_prefix}/".startswith(f"{root}/"):
        yield Problem(
            ("mqtt", "discovery_prefix"),
            coded('"{prefix}" is below root, the topics of the values', prefix=mqtt.discovery_prefix),
            coded('write the prefix that Home Assistant is set to, by default "homeassistant"'),
        )
    if mqtt.username and mqtt.password_file is None and mqtt.certificate is None:
        yield Problem(
            ("mqtt", "username"),
            coded("has no password"),
            coded(
                "write it into a file and name that: password_file = ...; keep this if the broker asks "
                "for none"
            ),
        )
    if not mqtt.tls and (mqtt.password_file or mqtt.permissions):
        yield Problem(
            ("mqtt", "tls"),
            coded("the password and the commands pass in the clear"),
            coded("set tls = true, or keep the broker in a network of its own"),
            depends_on=("mqtt", "password_file" if mqtt.password_file else "permissions"),
        )
