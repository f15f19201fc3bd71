"""Settings of dimming: a grid connection, its controllable EVSEs, and the sources of limits."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Literal

import msgspec

from controller.dimming.digital_inputs import DigitalInputsSettings
from controller.dimming.dimming_limits import SourceFailsafe, SourceLimit
from controller.dimming.pmin import Counting, device_count, minimum_w
from controller.model.observations import EvseRef
from controller.model.section_14a import DEVICE_W

ControllableEvses = dict[EvseRef, str]
"""Controllable EVSEs with their circuits."""


class SourceSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of one source. `role` and `signed` are for kind "signed", `contacts` for kind "contact".

    HIGHER `rank` is the higher role. `minimum`: its limits are raised to what the law leaves the devices.
    `refuses_below_minimum`: limits of an energy guard below that are refused instead.
    `lost_after_s`: how long its link may be away before its failsafe holds; None: for ever.
    """

    id: str
    kind: Literal["signed", "ocpp", "contact", "eebus"]
    role: str = ""
    signed: bool = True
    rank: int = 0
    minimum: bool = True
    refuses_below_minimum: bool = False
    lost_after_s: float | None = None
    contacts: DigitalInputsSettings | None = None


class DimmingSettings(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """All settings. `devices`: the controllable EVSEs with their circuits; `counting` as in `pmin`.

    `devices` follows the stations that are added and removed while the site runs, for all who hold the
    settings.
    """

    connection_point: str
    sources: tuple[SourceSettings, ...]
    failsafe: SourceFailsafe
    devices: ControllableEvses
    counting: Counting = "evse"

    @cached_property
    def minimum_w(self) -> float:
        """Minimum of all devices together (W)."""
        return minimum_w(device_count(list(self.devices.values()), self.counting))

    def set_devices(self, devices: ControllableEvses) -> None:
        """Use these controllable EVSEs with their circuits."""
        self.devices.clear()
        self.devices.update(devices)
        self.__dict__.pop("minimum_w", None)  # computed of them

    @cached_property
    def _sources_by_id(self) -> Mapping[str, SourceSettings]:
        return {each.id: each for each in self.sources}

    def can_be_lost(self, source: str) -> bool:
        """Return True if a source has a failsafe that begins when its link is lost."""
        found = self._sources_by_id.get(source)
        return found is not None and found.lost_after_s is not None

    def raised(self, limit: SourceLimit) -> SourceLimit:
        """Return a limit raised to the minimum, if its source may not go below that.

        Limits per phase go up with it, in proportion; where they allow nothing, they are left out.
        """
        source = self._sources_by_id.get(limit.source)
        if source is None or not source.minimum or limit.watts is None:
            return limit
        if limit.evse is not None:
            return msgspec.structs.replace(limit, watts=max(limit.watts, DEVICE_W))
        watts = max(limit.watts, self.minimum_w)
        one, two, three = _phases_raised(limit, self.minimum_w)
        return msgspec.structs.replace(limit, watts=watts, phases_w=(one, two, three))


def _phases_raised(limit: SourceLimit, minimum_w: float) -> tuple[float | None, ...]:
    given = [each for each in limit.phases_w if each is not None]
    if len(given) < len(limit.phases_w) or sum(given) >= minimum_w:
        return limit.phases_w
    if not sum(given):
        return (None,) * len(limit.phases_w)
    return tuple(each * minimum_w / sum(given) for each in given)
