"""Figures of section 14a EnWG (BNetzA BK6-22-300, Annex 1) that configuration and dimming share."""

from __future__ import annotations

DEVICE_W = 4200.0
"""Minimum of each controllable device under direct control (W); one of at most this power is none."""
