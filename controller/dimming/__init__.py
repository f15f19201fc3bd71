"""Dimming under section 14a EnWG: who may limit the steerable devices, what holds, and what is on record."""
