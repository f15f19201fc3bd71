"""Urgency of renewals, by the days that are left."""

from __future__ import annotations

import pytest

from controller.model.expiry import DAY_S, Expiry, ExpiryLevel, warn_before

NOW = 1.8e9


@pytest.mark.parametrize(
    ("days", "level"),
    [
        (31, ExpiryLevel.NONE),
        (30, ExpiryLevel.SOON),
        (14.1, ExpiryLevel.SOON),
        (14, ExpiryLevel.URGENT),
        (7.1, ExpiryLevel.URGENT),
        (7, ExpiryLevel.CRITICAL),
        (0.01, ExpiryLevel.CRITICAL),
        (0, ExpiryLevel.EXPIRED),
        (-400, ExpiryLevel.EXPIRED),
    ],
)
def test_expiry_level_rises_at_30_14_and_7_days(days: float, level: ExpiryLevel) -> None:
    assert Expiry(name="key", not_after=NOW + days * DAY_S).level(NOW) is level


@pytest.mark.parametrize(
    ("days", "level"),
    [(11, ExpiryLevel.NONE), (9, ExpiryLevel.SOON), (4, ExpiryLevel.URGENT), (2, ExpiryLevel.CRITICAL)],
)
def test_expiry_of_30_day_certificate_is_warned_of_once_due(days: float, level: ExpiryLevel) -> None:
    end = Expiry(name="CS01", not_after=NOW + days * DAY_S, warn_before_s=warn_before(30 * DAY_S))
    assert end.level(NOW) is level


@pytest.mark.parametrize("days", [90, 365])
def test_expiry_of_long_certificate_is_warned_of_from_30_days(days: float) -> None:
    assert warn_before(days * DAY_S) == 30 * DAY_S


@pytest.mark.parametrize(
    ("hours", "text"), [(240, "ends in 10 days"), (30, "ends in 30 h"), (-1, "has expired")]
)
def test_expiry_is_described_in_days_then_hours(hours: float, text: str) -> None:
    assert Expiry(name="key", not_after=NOW + hours * 3600).describe(NOW) == f"key {text}"
