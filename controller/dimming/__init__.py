"""Dimming under section 14a EnWG: limit sources, verification, the effective limit and its evidence."""


class DimmingError(Exception):
    """A command, a record or a request of the dimming cannot be used; the text states why."""
