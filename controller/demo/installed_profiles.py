"""Evaluation of the profiles installed in a charging station, OCPP 1.6 and 2.x.

Independent of the controller's arithmetic on purpose: this is the station's side of the same rules.
Sources: OCPP 1.6 edition 2, 3.13 and 5.16; OCPP 2.0.1 Part 2, K01 and section 3 (charging profiles).

Times are POSIX seconds (UTC), currents A per phase; no limit is `math.inf`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from datetime import datetime
from typing import Any, Literal

import msgspec

from controller.demo.demo_frames import DemoError

Purpose = Literal["station", "default", "transaction"]

_PURPOSES: dict[str, Purpose] = {
    "ChargePointMaxProfile": "station",
    "ChargingStationMaxProfile": "station",
    "TxDefaultProfile": "default",
    "TxProfile": "transaction",
}
_DAY_S = 86_400.0
_PERIODS_S = {"Daily": _DAY_S, "Weekly": 7 * _DAY_S}


class ProfileRefusedError(DemoError):
    """The station rejects a profile. Its text gives the reason."""


class InstalledSchedule(msgspec.Struct, frozen=True, kw_only=True):
    """Limits over time: `periods` are (seconds after the start, limit in `unit`), ascending."""

    start: float | None
    duration_s: float | None
    unit: str
    periods: tuple[tuple[float, float], ...]


class InstalledProfile(msgspec.Struct, frozen=True, kw_only=True):
    """An installed profile; `every_s` for a recurring one, `relative` counts from the transaction."""

    id: int
    evse: int
    purpose: Purpose
    stack_level: int
    relative: bool
    every_s: float | None
    valid_from: float
    valid_to: float
    transaction: str | None
    schedule: InstalledSchedule


class Charging(msgspec.Struct, frozen=True):
    """A running transaction, as profiles see it: its id, its start, and how many phases it uses."""

    transaction: str
    since: float
    phases: int


def parse_profile(message: dict[str, Any], utc: float) -> InstalledProfile:
    """Parse the payload of a SetChargingProfile of 1.6 or 2.x that arrived at `utc`.

    Raises ProfileRefusedError for a purpose that a CSMS must not set, and for a form that cannot be read.
    """
    try:
        old = "csChargingProfiles" in message
        profile = message["csChargingProfiles" if old else "chargingProfile"]
        schedules = profile["chargingSchedule"]
        schedule = schedules if old else schedules[0]
        return InstalledProfile(
            id=profile["chargingProfileId" if old else "id"],
            evse=message["connectorId" if old else "evseId"],
            purpose=_PURPOSES[profile["chargingProfilePurpose"]],
            stack_level=profile["stackLevel"],
            relative=profile["chargingProfileKind"] == "Relative",
            every_s=_PERIODS_S.get(profile.get("recurrencyKind", "")),
            valid_from=_time(profile.get("validFrom"), -math.inf),
            valid_to=_time(profile.get("validTo"), math.inf),
            transaction=_text(profile.get("transactionId")),
            schedule=_schedule(schedule, utc),
        )
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise ProfileRefusedError(f"{type(error).__name__}: {error}") from error


class InstalledProfiles:
    """The profiles that are installed in one station."""

    def __init__(self, voltage_v: float) -> None:
        self._profiles: list[InstalledProfile] = []
        self._voltage_v = voltage_v

    def __len__(self) -> int:
        return len(self._profiles)

    def install(self, profile: InstalledProfile, running: str | None) -> None:
        """Install a profile; it replaces one with the same id or place. `running`: the EVSE's transaction.

        Raises ProfileRefusedError where its purpose does not go with its EVSE or transaction.
        """
        if profile.purpose == "station" and profile.evse != 0:
            raise ProfileRefusedError("a profile for the whole station needs EVSE 0")
        if profile.purpose == "transaction":
            if profile.evse == 0 or running is None:
                raise ProfileRefusedError("a TxProfile needs an EVSE with a running transaction")
            if profile.transaction not in (None, running):
                raise ProfileRefusedError(f"transaction {profile.transaction} does not run")
        self._profiles = [
            other for other in self._profiles if other.id != profile.id and _place(other) != _place(profile)
        ]
        self._profiles.append(profile)

    def clear(
        self,
        *,
        id: int | None = None,
        evse: int | None = None,
        purpose: str | None = None,
        stack_level: int | None = None,
    ) -> bool:
        """Remove by id, or else all that match every criterion; returns whether there were any."""
        expected = _PURPOSES.get(purpose) if purpose else None

        def hit(profile: InstalledProfile) -> bool:
            if id is not None:
                return profile.id == id
            return (
                evse in (None, profile.evse)
                and (purpose is None or expected == profile.purpose)
                and stack_level in (None, profile.stack_level)
            )

        kept = [profile for profile in self._profiles if not hit(profile)]
        cleared = len(kept) < len(self._profiles)
        self._profiles = kept
        return cleared

    def end_transaction(self, evse: int) -> None:
        """Remove the TxProfile of an ended transaction."""
        self._profiles = [
            profile
            for profile in self._profiles
            if not (profile.purpose == "transaction" and profile.evse == evse)
        ]

    def limit_a(self, evse: int, utc: float, charging: Charging | None, sharers: int = 1) -> float:
        """Return the limit of an EVSE at `utc`; `sharers` transactions share the station's.

        The minimum across purposes; a TxProfile overrules the defaults, a default for this EVSE the one
        for all; no profile that is valid now means no limit.
        """
        phases = charging.phases if charging else 3
        in_force = self._prevailing(_of("station", 0, self._profiles), utc, charging, phases)
        whole = in_force / max(1, sharers)
        for tier in (
            _of("transaction", evse, self._profiles),
            _of("default", evse, self._profiles),
            _of("default", 0, self._profiles),
        ):
            limit = self._prevailing(tier, utc, charging, phases)
            if limit < math.inf:
                return min(whole, limit)
        return whole

    def _prevailing(
        self, profiles: Iterable[InstalledProfile], utc: float, charging: Charging | None, phases: int
    ) -> float:
        """Return the limit of the highest stack level that has one now."""
        for profile in sorted(profiles, key=lambda each: -each.stack_level):
            limit = _limit(profile, utc, charging)
            if limit is not None:
                return limit / (self._voltage_v * phases) if profile.schedule.unit == "W" else limit
        return math.inf


def _of(purpose: Purpose, evse: int, profiles: Iterable[InstalledProfile]) -> list[InstalledProfile]:
    return [profile for profile in profiles if profile.purpose == purpose and profile.evse == evse]


def _place(profile: InstalledProfile) -> tuple[Purpose, int, int]:
    return profile.purpose, profile.evse, profile.stack_level


def _limit(profile: InstalledProfile, utc: float, charging: Charging | None) -> float | None:
    """Return the limit in the schedule's unit; None where the profile has none at this time."""
    if not profile.valid_from <= utc < profile.valid_to:
        return None
    schedule = profile.schedule
    start = schedule.start
    if profile.relative or start is None:
        if charging is None:
            return None
        start = charging.since
    elapsed = utc - start
    if profile.every_s is not None and elapsed >= 0:
        elapsed %= profile.every_s
    if elapsed < 0 or (schedule.duration_s is not None and elapsed >= schedule.duration_s):
        return None
    begun = [limit for begins, limit in schedule.periods if begins <= elapsed]
    return begun[-1] if begun else None


def _schedule(schedule: dict[str, Any], utc: float) -> InstalledSchedule:
    periods = tuple(
        (float(each["startPeriod"]), float(each["limit"])) for each in schedule["chargingSchedulePeriod"]
    )
    if not periods or periods[0][0] != 0:
        raise ValueError("the first period must start at 0")
    if schedule["chargingRateUnit"] not in ("A", "W"):
        raise ValueError(f"no charging rate unit: {schedule['chargingRateUnit']}")
    start = schedule.get("startSchedule")
    return InstalledSchedule(
        start=None if start is None else _time(start, utc),
        duration_s=schedule.get("duration"),
        unit=schedule["chargingRateUnit"],
        periods=periods,
    )


def _time(text: str | None, otherwise: float) -> float:
    return otherwise if text is None else datetime.fromisoformat(text).timestamp()


def _text(value: object) -> str | None:
    return None if value is None else str(value)
