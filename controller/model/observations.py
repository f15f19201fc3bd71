"""Observations of a station's EVSEs, read from its messages, alike for all OCPP versions."""

from __future__ import annotations

import enum
from typing import NamedTuple

import msgspec

PerPhase = tuple[float | None, float | None, float | None]
"""The station's own L1, L2, L3; None where unknown."""


class EvseRef(NamedTuple):
    """One EVSE of the site: the station's id and the EVSE's number in it (1.6: the connector's number)."""

    station: str
    evse: int

    def __str__(self) -> str:
        return f"{self.station}/{self.evse}"


class EvseRating(NamedTuple):
    """Phases and rated current (A per phase) of an EVSE, as configured.

    `dc_watts_per_ampere`: of a DC EVSE, the power to the car for each A that it draws on a phase; else None.
    """

    phases: int
    max_a: float
    dc_watts_per_ampere: float | None = None


class EvseState(enum.StrEnum):
    """State of an EVSE, in the names of OCPP 1.6, the most specific of the three versions."""

    UNKNOWN = "unknown"
    AVAILABLE = "available"
    PREPARING = "preparing"
    CHARGING = "charging"
    SUSPENDED_EV = "suspended-ev"
    SUSPENDED_EVSE = "suspended-evse"
    FINISHING = "finishing"
    RESERVED = "reserved"
    UNAVAILABLE = "unavailable"
    FAULTED = "faulted"


class EvseRecord(msgspec.Struct, frozen=True):
    """The state of an EVSE as it is stored.

    `transaction`: the id of the running one; None while it has none (1.6, until the backend answers).
    `connector`: where it runs; None where its station has not named one (2.x).
    """

    evse: int
    state: EvseState
    is_running: bool = False
    transaction: int | str | None = None
    connector: int | None = None


class Booted(msgspec.Struct, frozen=True):
    """The station has started: it may have lost every profile that is not persistent."""

    vendor: str
    model: str
    firmware: str = ""
    serial_number: str = ""


class StateSeen(msgspec.Struct, frozen=True, gc=False):
    """The state of an EVSE, as the station reports it."""

    evse: int
    state: EvseState


class TransactionSeen(msgspec.Struct, frozen=True, gc=False):
    """A transaction began or ended at an EVSE: the car may be another one from now on.

    `transaction`: its id, where the station gave it one itself as it began (2.x). `inferred`: its end was not
    reported; a state of the EVSE shows it. `waits`: it began with the cable, and its car is not authorized
    yet; once it is, the begin is observed again.
    """

    evse: int
    running: bool
    transaction: str | None = None
    inferred: bool = False
    waits: bool = False


class DrawSeen(msgspec.Struct, frozen=True, gc=False):
    """The current that an EVSE draws, in A per phase of the station.

    `least_phases`: the station names no phases; each may carry `current_a`, and at least so many do. 0: the
    values are those of the phases. `total_a`: of all phases, where only that is reported; else 0. `mean_s`:
    the values are the mean of the last so many s; 0: of this moment. `at_v`: they are powers, as currents at
    this declared voltage (V, line to neutral); 0: they are currents, or powers at a measured voltage.
    """

    evse: int
    current_a: PerPhase
    least_phases: int = 0
    total_a: float = 0.0
    mean_s: float = 0.0
    at_v: float = 0.0

    def at_voltage(self, voltage_v: float) -> DrawSeen:
        """Return the draw with powers as currents at a measured voltage (V, line to neutral)."""
        if not self.at_v:
            return self
        factor = self.at_v / voltage_v
        first, second, third = (None if amps is None else amps * factor for amps in self.current_a)
        return msgspec.structs.replace(
            self, current_a=(first, second, third), total_a=self.total_a * factor, at_v=0.0
        )


class ProfilesTouched(msgspec.Struct, frozen=True):
    """Our profiles in the station may be gone or outdated: set them again."""

    cause: str


class BackendLimit(msgspec.Struct, frozen=True):
    """Limit of the station's backend for an EVSE from now on, in A per phase; None: no limit.

    `limit_w`: it is W of all phases, for a station that accepts W only.
    """

    evse: int
    limit_a: float | None
    limit_w: float | None = None


class NeedsSeen(msgspec.Struct, frozen=True):
    """The needs of a car (OCPP 2.x): energy in Wh from now on, and s from now until it leaves.

    None where unknown. `is_planned`: by a rule of the site, not by the car or a person.
    """

    evse: int
    energy_wh: float | None
    departs_in_s: float | None
    is_planned: bool = False

    @property
    def is_goal(self) -> bool:
        """Return True if both are known: a departure goal."""
        return self.energy_wh is not None and self.departs_in_s is not None


EvseObservation = StateSeen | TransactionSeen | DrawSeen | NeedsSeen
"""Observation of one EVSE and its car."""
Observation = Booted | ProfilesTouched | BackendLimit | EvseObservation
