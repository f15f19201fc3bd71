"""Settings of dimming that follow from the controllable EVSEs."""

from __future__ import annotations

from controller.dimming.dimming_limits import SourceFailsafe, SourceLimit
from controller.dimming.dimming_settings import DimmingSettings, SourceSettings
from controller.model.observations import EvseRef


def test_dimming_settings_added_device_raises_minimum() -> None:
    settings = DimmingSettings(
        connection_point="lc",
        sources=(SourceSettings(id="dso", kind="signed", role="grid-operator"),),
        failsafe=SourceFailsafe(4200.0, 7200.0),
        devices={EvseRef("CS01", 1): "grid"},
    )
    limit = SourceLimit(source="dso", watts=0.0, begins=0.0)
    assert settings.raised(limit).watts == 4200.0
    settings.set_devices({**settings.devices, EvseRef("CS02", 1): "grid"})
    assert settings.raised(limit).watts == 4200.0 + 0.8 * 4200.0
