"""Energy register of an EVSE in a station's message (Energy.Active.Import.Register), in Wh.

The value of the outlet counts, and of all phases together; where a station reports each phase by itself,
their sum. An energy register without a measurand is the default of OCPP (1.6 section 7.43, 2.x
SampledValueType).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from controller.ocpp import v2, v16
from controller.ocpp.frames import Version
from controller.ocpp.meter_values import (
    METER_VALUES_2,
    METER_VALUES_16,
    TRANSACTION_EVENT_2,
    Sample,
    read_carrier,
    read_sample,
    read_samples,
)

REGISTER = "Energy.Active.Import.Register"
MOST_WH = 1e12
"""Highest register that is read (Wh); a higher one is an error of the station, and skipped."""

_SCALES = {None: 1.0, "": 1.0, "Wh": 1.0, "kWh": 1000.0}
_LOCATIONS = {None: 0, "": 0, "Outlet": 0, "Cable": 1, "Body": 2, "EV": 3}
"""Locations of the car's supply, the preferred first; Inlet is the station's own consumption, too."""


def read_energy_wh(version: Version, action: str, payload: bytes) -> float | None:
    """Return the newest register of MeterValues or a TransactionEvent (Wh); None where there is none."""
    message: v16.MeterValuesV16 | v2.MeterValuesV2 | v2.TransactionEventV2 | None
    if version is Version.V16:
        message = read_carrier(METER_VALUES_16, payload)
    elif action == "TransactionEvent":
        message = read_carrier(TRANSACTION_EVENT_2, payload)
    else:
        message = read_carrier(METER_VALUES_2, payload)
    meter_value: Sequence[v16.MeterValueV16 | v2.MeterValueV2] = ()
    if message is not None and message.meter_value is not None:
        meter_value = message.meter_value
    for values in reversed(meter_value):
        found = read_register(read_samples(values))
        if found is not None:
            return found
    return None


def read_register(samples: Iterable[Sample]) -> float | None:
    """Return the register among the samples of one moment (Wh); None where there is none."""
    totals: dict[int, float] = {}
    phases: dict[int, float] = {}
    for sample in samples:
        place = _LOCATIONS.get(sample.location)
        value = read_sample(sample, _SCALES, MOST_WH)
        if (sample.measurand or REGISTER) != REGISTER or place is None or value is None:
            continue
        if sample.phase:
            phases[place] = phases.get(place, 0.0) + value
        else:
            totals[place] = value
    best = totals or phases
    return best[min(best)] if best else None
