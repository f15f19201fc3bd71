"""Publishing to other programs at the site: MQTT and webhooks, where they are configured."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import trio

from controller.config.schema import Config
from controller.services.access.command_service import CommandService
from controller.services.publishing.alarm_service import AlarmService
from controller.services.publishing.webhook_service import WebhookService
from controller.web.status_model import ControllerStatus

if TYPE_CHECKING:
    from controller.services.publishing.mqtt_service import MqttService


class PublishingService:
    """MQTT and webhooks of one site; both receive its alarms.

    `find_objection` returns why the certificate of a broker or a webhook's server is not accepted.
    """

    def __init__(
        self,
        config: Config,
        read_status: Callable[[], ControllerStatus],
        commands: CommandService,
        alarms: AlarmService,
        find_objection: Callable[[bytes], str | None] | None = None,
    ) -> None:
        self._mqtt: MqttService | None = None
        if config.mqtt is not None:
            # Here and not above: paho-mqtt costs 6 MB, which a site without MQTT does not need.
            from controller.services.publishing.mqtt_service import MqttService

            self._mqtt = MqttService(config, config.mqtt, read_status, commands, find_objection)
        self._webhooks = [WebhookService(config.site.id, each, find_objection) for each in config.webhook]
        if self._mqtt is not None:
            alarms.listeners.append(self._mqtt.on_alarm)
        alarms.listeners += [each.on_alarm for each in self._webhooks]

    async def run(self) -> None:
        """Publish until cancelled."""
        async with trio.open_nursery() as nursery:
            if self._mqtt is not None:
                nursery.start_soon(self._mqtt.run)
            for webhook in self._webhooks:
                nursery.start_soon(webhook.run)
