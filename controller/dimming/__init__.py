"""Dimming under section 14a EnWG: limit sources, verification, the effective limit and its evidence."""
