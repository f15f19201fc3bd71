"""Webhook requests about alarms: a JSON body, signed by HMAC-SHA256 where a secret is configured."""

from __future__ import annotations

import hashlib
import hmac

import msgspec

from controller.web.alarm_model import AlarmChange, Severity

SIGNATURE_HEADER = "X-Signature-256"


class WebhookRequest(msgspec.Struct, frozen=True):
    """One POST request: its body and headers."""

    body: bytes
    headers: dict[str, str]


def make_webhook(site: str, change: AlarmChange, utc: float, secret: bytes | None) -> WebhookRequest:
    """Return the request for an alarm that began or ended; `utc`: POSIX s."""
    body = msgspec.json.encode(
        {
            "site": site,
            "event": "alarm ended" if change.has_ended else "alarm began",
            "time": round(utc, 3),
            "alarm": change.alarm,
        }
    )
    headers = {"Content-Type": "application/json", "User-Agent": "local-controller"}
    if secret:
        headers[SIGNATURE_HEADER] = "sha256=" + hmac.new(secret, body, hashlib.sha256).hexdigest()
    return WebhookRequest(body, headers)


def is_wanted(change: AlarmChange, least: str) -> bool:
    """Return True for an alarm of at least this severity."""
    order = list(Severity)
    return order.index(Severity(change.alarm.severity)) >= order.index(Severity(least))
