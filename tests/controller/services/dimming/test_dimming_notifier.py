"""Notices of limits to the site's backend: of which source, and how much."""

from __future__ import annotations

from typing import Any

import msgspec
import trio

from controller.dimming.dimming_builder import make_dimming_settings
from controller.dimming.dimming_limits import SourceLimit, effective
from controller.model.observations import EvseRef
from controller.services.dimming.dimming_notifier import DimmingNotifier
from controller.services.site_identity.site_mailbox import SiteMailbox
from controller.stations.registry import SessionRegistry
from tests.scenario.configuration import read_valid_config

ONE, TWO = EvseRef("CS01", 1), EvseRef("CS02", 1)
STATION = """
    [[station]]
    id = "{}"
    circuit = "grid"
    owner = "cpo"
    [[station.evse]]
    id = 1
    steuve = true
"""
CONFIG = (
    """
    [site]
    id = "lc"
    backend = "cpo"
    [[backend]]
    id = "cpo"
    url = "ws://127.0.0.1:9/{station}"
    [dimming]
    [[dimming.source]]
    id = "dso"
    kind = "eebus"
    [[dimming.source]]
    id = "csms"
    kind = "ocpp"
    [eebus]
    [signing]
    key = "key.pem"
    [[circuit]]
    id = "grid"
    limit_a = 60
"""
    + STATION.format("CS01")
    + STATION.format("CS02")
)


class NotifierHarness:
    """A notifier of a site with two controllable EVSEs, and what it posts to the backend."""

    def __init__(self) -> None:
        config = read_valid_config(CONFIG)
        assert config.dimming is not None
        self._mailbox = SiteMailbox()
        settings = make_dimming_settings(config, config.dimming)
        self._notifier = DimmingNotifier(config, config.dimming, settings, SessionRegistry(), self._mailbox)

    async def limit(self, *limits: tuple[str, float, EvseRef | None]) -> list[tuple[str, str, float | None]]:
        """Notify these limits (source, W, EVSE); return action, source and W of what is posted."""
        now = trio.current_time()
        holding = [
            SourceLimit(source=source, watts=watts, begins=now, evse=evse) for source, watts, evse in limits
        ]
        self._notifier.notify(effective(holding, now), now)
        with trio.move_on_after(0):
            return [_posted(each.action, each.payload) for each in await self._mailbox.take_messages()]
        return []


def _posted(action: str, payload: bytes) -> tuple[str, str, float | None]:
    sent: dict[str, Any] = msgspec.json.decode(payload)
    if action == "ClearedChargingLimit":
        return action, sent["chargingLimitSource"], None
    period = sent["chargingSchedule"][0]["chargingSchedulePeriod"][0]
    return action, sent["chargingLimit"]["chargingLimitSource"], period["limit"]


async def test_limit_of_source_is_cleared_while_other_one_holds() -> None:
    site = NotifierHarness()
    both = (("dso", 5000.0, None), ("csms", 8000.0, None))
    assert await site.limit(*both) == [("NotifyChargingLimit", "SO", 5000.0)]
    assert await site.limit(both[1]) == [
        ("ClearedChargingLimit", "SO", None),
        ("NotifyChargingLimit", "CSO", 8000.0),
    ]
    assert await site.limit(*both) == [
        ("ClearedChargingLimit", "CSO", None),
        ("NotifyChargingLimit", "SO", 5000.0),
    ]
    assert await site.limit() == [("ClearedChargingLimit", "SO", None)]
    assert await site.limit() == []


async def test_limit_of_site_is_at_most_sum_of_those_of_evses() -> None:
    site = NotifierHarness()
    each = (("dso", 4200.0, ONE), ("dso", 4200.0, TWO))
    assert await site.limit(*each) == [("NotifyChargingLimit", "SO", 8400.0)]
    assert await site.limit(*each, ("csms", 20_000.0, None)) == [("NotifyChargingLimit", "SO", 8400.0)]
    assert await site.limit(*each, ("csms", 8000.0, None)) == [
        ("ClearedChargingLimit", "SO", None),
        ("NotifyChargingLimit", "CSO", 8000.0),
    ]
    assert await site.limit(each[0]) == [("ClearedChargingLimit", "CSO", None)]
