"""Status of the EEBUS node, for the page, the metrics and the command line."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from controller.web.status_model import EebusLimitStatus, EebusPartnerStatus
from controller.web.status_model import EebusStatus as EebusStatus
from drivers.eebus.announcement import Announcement
from drivers.eebus.eebus_node import PartnerStatus
from drivers.eebus.limitation import PowerDirection
from drivers.eebus.lpc import LpcView


def make_status(
    announcement: Announcement,
    views: Mapping[PowerDirection, LpcView],
    trusted: Mapping[str, str],
    connected: Iterable[PartnerStatus],
    now: float,
    *,
    register_s: float,
    totals: Mapping[str, int],
) -> EebusStatus:
    """Return the status now (s, monotonic); `totals`: the counters, by their names in the status."""
    consumption = views[PowerDirection.CONSUME]
    production = views.get(PowerDirection.PRODUCE)
    heartbeat_at = consumption.heartbeat_at
    partners = {
        ski: EebusPartnerStatus(ski=ski, trusted=True, phase="away", ship_id=ship_id)
        for ski, ship_id in trusted.items()
    }
    for each in connected:
        partners[each.ski] = EebusPartnerStatus(
            ski=each.ski,
            trusted=each.trusted,
            phase=each.phase.value,
            ship_id=trusted.get(each.ski, ""),
            device=each.device or "",
            guard=each.is_guard,
        )
    return EebusStatus(
        ski=announcement.ski,
        ship_id=announcement.ship_id,
        consumption=_limit(consumption, now),
        production=None if production is None else _limit(production, now),
        heartbeat_age_s=None if heartbeat_at is None else round(now - heartbeat_at, 1),
        partners=tuple(partners[ski] for ski in sorted(partners)),
        register_s=round(max(0.0, register_s), 1),
        qr=announcement.qr_text(),
        **totals,
    )


def _limit(view: LpcView, now: float) -> EebusLimitStatus:
    return EebusLimitStatus(
        state=view.state.value,
        limit_w=view.limit_w,
        until_s=None if view.until is None else round(view.until - now, 1),
        failsafe_w=view.failsafe.watts,
        failsafe_duration_s=view.failsafe.duration_s,
    )
