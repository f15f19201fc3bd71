"""Publication of the status by MQTT, and commands received by it where they are allowed.

The client is paho-mqtt with its own thread: name resolution, TLS and reconnecting block there and not the
control loop, at the same cost as its socket hooks. Its queue is bounded.
"""

from __future__ import annotations

import contextlib
import logging
import math
import socket
import ssl
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import paho.mqtt.client as mqtt
import trio
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.reasoncodes import ReasonCode

from controller.access.permissions import Actor, read_permissions
from controller.commands.site_command import CommandFormatError, convert_command, read_request
from controller.config.schema import Config, MqttConfig
from controller.publishing.home_assistant import is_discovery_of, make_discovery
from controller.publishing.mqtt_topics import (
    OFFLINE,
    ONLINE,
    MqttMessage,
    TopicMemory,
    level,
    make_event,
    make_state_messages,
)
from controller.services import ServiceError
from controller.services.access.command_service import CommandService
from controller.transport.tls import make_checked_context
from controller.web.alarm_model import AlarmChange
from controller.web.status_model import ControllerStatus

log = logging.getLogger("controller.mqtt")

MOST_QUEUED = 2000
"""Messages that wait for the broker; the state is published whole after each new connection."""
MOST_COMMANDS_WAITING = 32
LONGEST_COMMAND = 4096
KEEP_ALIVE_S = 30
WHOLE_S = 60.0
"""Interval at which also values are published that have not changed: they expire in Home Assistant."""
LEFT_S = 10.0
"""Time for which retained messages are received that an earlier run has left at the broker."""
STOP_S = 2.0
CERTIFICATE_CHECK_S = 5.0
"""Interval at which the certificate of the connected broker is checked for a revocation."""


class MqttService:
    """The MQTT client of one site. `on_alarm` publishes an alarm that began or ended.

    `find_objection` returns why the certificate of the broker (DER) is not accepted; an open connection to
    such a broker is closed.
    """

    def __init__(
        self,
        config: Config,
        settings: MqttConfig,
        read_status: Callable[[], ControllerStatus],
        commands: CommandService,
        find_objection: Callable[[bytes], str | None] | None = None,
    ) -> None:
        self._find_objection = find_objection
        self._settings = settings
        self._voltage = config.site.voltage
        self._root = settings.root or f"local-controller/{level(config.site.id)}"
        self._read_status = read_status
        self._commands = commands
        self._actor = Actor("mqtt", "mqtt", read_permissions(settings.permissions))
        self._memory = TopicMemory()
        self._discovered = TopicMemory()
        self._is_connected = False
        self._has_failed = False
        self._must_discover = True
        self._whole_at = -math.inf
        self._cleared_at = math.inf
        """Time from which on no messages of an earlier run are expected any more (s)."""
        self._changed = trio.Event()
        self._received_in, self._received_out = trio.open_memory_channel[bytes](MOST_COMMANDS_WAITING)
        self._client = self._make_client(config.site.id)

    def on_alarm(self, change: AlarmChange) -> None:
        """Publish an alarm that began or ended."""
        if self._is_connected:
            self._publish(make_event(self._root, change.alarm, has_ended=change.has_ended))
        self._changed.set()

    async def run(self) -> None:
        """Publish and receive until cancelled."""
        token = trio.lowlevel.current_trio_token()
        self._client.on_connect = partial(self._on_connect, token)
        self._client.on_disconnect = partial(self._on_disconnect, token)
        self._client.on_message = partial(self._on_message, token)
        self._client.on_connect_fail = partial(self._on_connect_fail, token)
        self._client.connect_async(self._settings.host, self._port, KEEP_ALIVE_S)
        self._client.loop_start()
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._execute_commands)
                if self._find_objection is not None:
                    nursery.start_soon(self._watch_certificate, self._find_objection)
                await self._keep_publishing()
        finally:
            with trio.CancelScope(shield=True), trio.move_on_after(STOP_S):
                await trio.to_thread.run_sync(self._stop, abandon_on_cancel=True)

    async def _watch_certificate(self, find_objection: Callable[[bytes], str | None]) -> None:
        """Close the connection to a broker whose certificate is not accepted any more, until cancelled.

        The client's thread then connects again, and its handshake gives the reason.
        """
        while True:
            await trio.sleep(CERTIFICATE_CHECK_S)
            connection = self._client.socket()
            # The client's thread may close the connection meanwhile, or be in its handshake.
            with contextlib.suppress(OSError, ValueError):
                if not isinstance(connection, ssl.SSLSocket):
                    continue
                objection = find_objection(connection.getpeercert(binary_form=True) or b"")
                if objection is not None:
                    log.warning("MQTT connection closed host=%s reason=%s", self._settings.host, objection)
                    connection.shutdown(socket.SHUT_RDWR)

    async def _keep_publishing(self) -> None:
        while True:
            self._changed = trio.Event()
            if self._is_connected:
                is_first = self._whole_at == -math.inf
                whole = trio.current_time() >= self._whole_at
                if whole:
                    self._whole_at = trio.current_time() + WHOLE_S
                self._publish_state(whole=whole)
                if is_first:
                    # After the state: a retained message received from now on that is not in the memory of
                    # topics is one that an earlier run has left, however late this task was scheduled.
                    self._client.subscribe([(topic, 0) for topic in self._own_topics])
                    self._cleared_at = trio.current_time() + LEFT_S
                elif trio.current_time() >= self._cleared_at:
                    self._client.unsubscribe(self._own_topics)
                    self._cleared_at = math.inf
            with trio.move_on_after(self._settings.interval_s):
                await self._changed.wait()

    @property
    def _own_topics(self) -> list[str]:
        """Return the topics of all that is published retained, but for the status."""
        kinds = ("alarms", "circuits", "dimming", "meters", "stations")
        return [
            *(f"{self._root}/{kind}/#" for kind in kinds),
            f"{self._settings.discovery_prefix}/device/+/config",
        ]

    def _publish_state(self, *, whole: bool) -> None:
        status = self._read_status()
        if self._settings.home_assistant:
            prefix, commands = self._settings.discovery_prefix, bool(self._actor.permissions)
            found = make_discovery(prefix, self._root, status, commands=commands)
            for message in self._discovered.changed(found, whole=self._must_discover):
                self._publish(message)
            self._must_discover = False
        state = make_state_messages(self._root, status, self._voltage)
        for message in self._memory.changed(state, whole=whole):
            self._publish(message)

    def _publish(self, message: MqttMessage) -> None:
        self._client.publish(message.topic, message.payload, message.qos, message.retain)

    # -- connection: callbacks run in the client's thread -------------------------------------------------

    def _make_client(self, site: str) -> mqtt.Client:
        settings = self._settings
        client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=f"local-controller-{level(site)}")
        client.max_queued_messages_set(MOST_QUEUED)
        client.reconnect_delay_set(min_delay=1, max_delay=60)
        client.will_set(f"{self._root}/status", OFFLINE, qos=1, retain=True)
        if settings.username is not None:
            password = settings.password_file
            client.username_pw_set(
                settings.username,
                None if password is None else Path(password).read_text("utf-8").rstrip("\r\n"),
            )
        if settings.tls:
            client.tls_set_context(
                make_checked_context(settings.ca, settings.certificate, settings.key, self._find_objection)
            )
        return client

    @property
    def _port(self) -> int:
        return self._settings.port or (8883 if self._settings.tls else 1883)

    def _stop(self) -> None:
        """Publish that the controller is offline, if the broker is there, and end the client's thread."""
        if self._is_connected:
            sent = self._client.publish(f"{self._root}/status", OFFLINE, qos=1, retain=True)
            try:
                sent.wait_for_publish(STOP_S)
            except (RuntimeError, ValueError) as error:
                # The connection is lost and `_disconnected` has not run yet: the broker publishes the last
                # will, the same message. Or the queue is full: the broker acknowledges nothing any more.
                log.info("MQTT status not published status=offline reason=%s", error)
        self._client.disconnect()
        self._client.loop_stop()

    def _on_connect(
        self,
        token: trio.lowlevel.TrioToken,
        client: mqtt.Client,
        _userdata: Any,
        _flags: Any,
        reason: ReasonCode,
        _properties: Any,
    ) -> None:
        if reason.is_failure:
            _run_soon(token, partial(self._rejected, str(reason)))
            return
        client.publish(f"{self._root}/status", ONLINE, qos=1, retain=True)
        if self._actor.permissions:
            client.subscribe(f"{self._root}/command", qos=1)
        if self._settings.home_assistant:
            client.subscribe(f"{self._settings.discovery_prefix}/status", qos=0)
        _run_soon(token, self._connected)

    def _on_disconnect(
        self,
        token: trio.lowlevel.TrioToken,
        _client: mqtt.Client,
        _userdata: Any,
        _flags: Any,
        reason: ReasonCode,
        _properties: Any,
    ) -> None:
        _run_soon(token, partial(self._disconnected, str(reason), is_own=reason.value == 0))

    def _on_message(
        self, token: trio.lowlevel.TrioToken, _client: mqtt.Client, _userdata: Any, message: mqtt.MQTTMessage
    ) -> None:
        if message.topic == f"{self._settings.discovery_prefix}/status":
            if message.payload == ONLINE:
                _run_soon(token, self._rediscover)
        elif message.topic != f"{self._root}/command":
            if message.retain and message.payload:
                _run_soon(token, partial(self._on_retained, message.topic, bytes(message.payload)))
        elif message.retain:  # it would be executed again on each connection
            log.warning("MQTT command ignored topic=%s reason=retained", message.topic)
        else:
            _run_soon(token, partial(self._received, bytes(message.payload)))

    def _on_connect_fail(self, token: trio.lowlevel.TrioToken, _client: mqtt.Client, _userdata: Any) -> None:
        """Process a failed connection attempt; the client calls this while it handles the error."""
        _run_soon(token, partial(self._failed, str(sys.exc_info()[1])))

    # -- in the trio thread -------------------------------------------------------------------------------

    def _connected(self) -> None:
        log.info("MQTT connected host=%s port=%d root=%s", self._settings.host, self._port, self._root)
        self._is_connected, self._has_failed = True, False
        self._whole_at = -math.inf
        self._rediscover()

    def _failed(self, reason: str) -> None:
        """Log once why the broker cannot be reached."""
        if not self._has_failed:
            log.warning(
                "MQTT connection failed host=%s port=%d reason=%s remedy=check host, tls and ca in [mqtt]",
                self._settings.host,
                self._port,
                reason,
            )
        self._has_failed = True

    def _rejected(self, reason: str) -> None:
        """Log once why the broker does not accept the connection."""
        if not self._has_failed:
            log.warning(
                "MQTT connection rejected host=%s reason=%s remedy=check username and password_file",
                self._settings.host,
                reason,
            )
        self._has_failed = True

    def _disconnected(self, reason: str, *, is_own: bool) -> None:
        """Note the end of a connection; `is_own`: the controller has ended it, as it stops."""
        if self._is_connected and is_own:
            log.info("MQTT disconnected host=%s", self._settings.host)
        elif self._is_connected:
            log.warning(
                "MQTT disconnected host=%s reason=%s remedy=check the broker", self._settings.host, reason
            )
        self._is_connected = False

    def _rediscover(self) -> None:
        self._must_discover = True
        self._changed.set()

    def _on_retained(self, topic: str, payload: bytes) -> None:
        """Remove what an earlier run of the controller has left at the broker, e.g. of a removed station."""
        is_own = topic.startswith(f"{self._root}/") or is_discovery_of(self._root, payload)
        if is_own and not (self._memory.has(topic) or self._discovered.has(topic)):
            self._publish(MqttMessage(topic, b""))

    def _received(self, payload: bytes) -> None:
        try:
            self._received_in.send_nowait(payload[: LONGEST_COMMAND + 1])
        except trio.WouldBlock:
            log.warning("MQTT command dropped reason=too many at once")

    async def _execute_commands(self) -> None:
        async for payload in self._received_out:
            self._publish(MqttMessage(f"{self._root}/result", await self._execute(payload), retain=False))

    async def _execute(self, payload: bytes) -> bytes:
        """Execute a command; return the JSON of its result."""
        answer: dict[str, object] = {"time": round(time.time(), 3)}
        try:
            if len(payload) > LONGEST_COMMAND:
                raise CommandFormatError(f"longer than {LONGEST_COMMAND} bytes")
            request, members = read_request(payload)
            answer |= msgspec.to_builtins(request)
            answer["result"] = await self._commands.execute(convert_command(members), self._actor)
        except (CommandFormatError, ServiceError) as error:
            answer["error"] = str(error)
        return msgspec.json.encode(answer)


def _run_soon(token: trio.lowlevel.TrioToken, act: Callable[[], object]) -> None:
    try:
        token.run_sync_soon(act)
    except trio.RunFinishedError:
        log.debug("MQTT event after the end of the controller")
